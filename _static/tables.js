// A click on a heading sorts a folded table: numbers by their size, words by the alphabet; again, the other way round
addEventListener('DOMContentLoaded', () => {
  const minus = /[\u2212\u2013]/g
  const number = text => parseFloat(text.replace(/,/g, '').replace(minus, '-').replace(/^[~+]/, ''))
  const cell = (row, i) => row.cells[i].textContent.trim()

  function compare(a, b, up) {
    const [x, y] = [number(a), number(b)]
    if (isNaN(x) != isNaN(y)) return isNaN(x) ? 1 : -1
    const order = isNaN(x) ? a.localeCompare(b, 'en', {numeric: true}) : x - y
    return up ? order : -order
  }

  function sort(table, heading, i) {
    const up = heading.getAttribute('aria-sort') != 'ascending'
    for (const other of table.querySelectorAll('thead th')) other.removeAttribute('aria-sort')
    heading.setAttribute('aria-sort', up ? 'ascending' : 'descending')
    const body = table.tBodies[0]
    body.append(...[...body.rows].sort((a, b) => compare(cell(a, i), cell(b, i), up)))
  }

  for (const table of document.querySelectorAll('details.numbers table')) {
    [...table.querySelectorAll('thead th')].forEach((heading, i) => {
      const button = document.createElement('button')
      button.type = 'button'
      button.className = 'sort'
      button.append(...heading.childNodes)
      heading.append(button)
      button.addEventListener('click', () => sort(table, heading, i))
    })
  }

  // What unfolds a part of the contents has a picture only
  for (const summary of document.querySelectorAll('.bd-sidenav summary')) {
    summary.setAttribute('aria-label', `Pages of ${summary.closest('li').querySelector('a').textContent.trim()}`)
  }
})
