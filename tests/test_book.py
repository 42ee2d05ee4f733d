"The built book: its files, then its pages in a browser"
from urllib.parse import unquote, urldefrag, urljoin
import pytest
from bs4 import BeautifulSoup
from helpers import open_page


@pytest.fixture(scope='module')
def pages(html):
    "Every page with its soup, by its path below the book's folder"
    return {p.relative_to(html).as_posix(): BeautifulSoup(p.read_text(encoding='utf-8'), 'html.parser')
            for p in html.rglob('*.html') if '_static' not in p.parts}


def test_every_page_is_built_and_reachable(pages, toc):
    "Each page of the table of contents exists and is linked from the cover"
    cover = toc[0]+'.html'
    linked = {urldefrag(urljoin(cover, a['href']))[0] for a in pages[cover].select('a[href]')}
    for file in toc[1:]:
        assert file+'.html' in pages
        assert file+'.html' in linked, f'{file} is not linked from the cover'


def test_start_page_leads_to_the_cover(pages, toc):
    "Who opens the folder sees the cover"
    assert toc[0] in str(pages['index.html'])


def test_no_directives(pages):
    "No `#|` of nbdev's is printed: no line of any code block begins with one"
    lines = []
    for name,soup in pages.items():
        blocks = '\n'.join(pre.get_text() for pre in soup.select('pre'))
        lines += [(name, line) for line in blocks.splitlines()]
    assert len(lines) > 100
    assert not [line for line in lines if line[1].startswith('#|')]


def test_no_broken_internal_link(html, pages):
    "Links, pictures, style sheets and scripts inside the book lead somewhere, and so do their anchors"
    broken = []
    for name,soup in pages.items():
        for tag in soup.select('a[href],img[src],link[href],script[src]'):
            url = tag.get('href') or tag.get('src')
            if url.startswith(('http:', 'https:', 'mailto:', 'data:', 'javascript:')): continue
            path,anchor = urldefrag(urljoin(name, url))
            path = unquote(path).split('?')[0] or name
            if not (html/path).exists():
                broken.append(f'{name}: {url}')
                continue
            lost = anchor and path in pages and not pages[path].find(id=unquote(anchor))
            if lost: broken.append(f'{name}: {url} (no such anchor)')
    assert not broken


def is_silent(img):
    "Does a picture have no words, or only its file's name?"
    alt = img.get('alt', '')
    return len(alt)<20 or alt==img['src']


def test_pictures_have_alt_text(pages):
    "Every figure of a page's body says in words what it shows"
    silent = {}
    for name,soup in pages.items():
        pictures = soup.select('article img')
        silent[name] = [img['src'] for img in pictures if is_silent(img)]
    assert not any(silent.values()), silent


def test_papers_are_cited(pages, demo):
    "Citations lead to the bibliography"
    page = pages[f'nbs/{demo}.html']
    text = page.get_text()
    assert 'Kocaman' in text and '2021' in text
    assert page.select('a[href*="references.html#"]')
    assert '2109.09016' in pages['nbs/references.html'].get_text()


def test_labels_of_the_bibliography(pages):
    "An entry of the bibliography is labelled as it is cited"
    entries = pages['nbs/references.html'].select('.citation[role=listitem]')
    labels = {e['id']: e.select_one('.label').get_text().strip('[]') for e in entries}
    cited = [a for soup in pages.values() for a in soup.select('article a[href*="references.html#id"]')]
    assert len(labels)>40 and len(cited)>len(labels)
    for a in cited: assert a.get_text().replace('\xa0', ' ') in labels[a['href'].partition('#')[2]]


def test_outputs_are_there(pages, demo):
    "The chapter shows what its cells printed"
    page = pages[f'nbs/{demo}.html']
    assert page.select('article img') and page.select('article table')
    assert 'without final BN' in page.get_text()


def test_search_finds_the_layer(browser, site):
    "The book's own search, typed and answered"
    page = open_page(browser, f'{site}/search.html?q=fold_final_bn')
    page.wait_for_selector('ul.search li a[href*="00_head"]', timeout=20_000)
    page.context.close()


LUMINANCE = """what => {
    let element = document.querySelector('article p')
    let color = getComputedStyle(element)[what]
    const transparent = () => /, 0\\)$|transparent/.test(color)
    while (what=='backgroundColor' && transparent() && element.parentElement) {
        element = element.parentElement
        color = getComputedStyle(element)[what]
    }
    const [r,g,b] = color.match(/[\\d.]+/g).map(Number)
    return (.2126*r + .7152*g + .0722*b)/255
}"""


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_light_and_dark(browser, site, demo, scheme):
    "The page follows the reader's light or dark mode, with readable contrast"
    page = open_page(browser, f'{site}/nbs/{demo}.html', color_scheme=scheme)
    assert page.evaluate("document.documentElement.dataset.theme")==scheme
    text,back = (page.evaluate(LUMINANCE, what) for what in ('color', 'backgroundColor'))
    if scheme=='light': assert text < .3 and back > .8
    else: assert back < .3 and text > .7
    page.context.close()


def test_formulas_are_set(browser, site):
    "MathJax comes with the book and sets its formulas"
    page = open_page(browser, f'{site}/nbs/00_head.html')
    page.wait_for_selector('mjx-container', timeout=20_000)
    assert '\\frac' not in page.inner_text('article')
    page.context.close()


def test_fits_the_screen(browser, site, toc):
    "No page scrolls sideways, on a telephone or a wide screen; none needs another host, or makes its scripts complain"
    page,wide = open_page(browser, f'{site}/{toc[0]}.html'),[]
    for file in toc:
        page.goto(f'{site}/{file}.html', wait_until='load')
        for width in 360, 1400:
            page.set_viewport_size({'width': width, 'height': 800})
            if page.evaluate("document.documentElement.scrollWidth") > width+1: wide.append((file, width))
        assert not page.refused
        assert not page.errors, f'{file}: {page.errors}'
    page.context.close()
    assert not wide


def dots(page):
    "Where the majority's dots of each network are"
    first_path = "svgs => svgs.map(svg => svg.querySelector('svg > path').getAttribute('d'))"
    return page.eval_on_selector_all('.fbn-live svg', first_path)


@pytest.mark.parametrize('motion', ['reduce', 'no-preference'])
def test_stepped_figure(browser, site, motion):
    "The keyboard moves the slider, the slider moves the dots, and nothing is asked of another host"
    page = open_page(browser, f'{site}/nbs/08d_steps.html', reduced_motion=motion)
    assert page.is_visible('.fbn-live') and not page.is_visible('.fbn-still')
    first,said = dots(page),page.get_attribute('.fbn-bar input', 'aria-valuetext')
    assert len(first)==2 and all(d.count('M')==400 for d in first)
    page.wait_for_timeout(300)
    assert dots(page)==first, 'the figure moves by itself'
    page.focus('.fbn-bar input')
    for _ in range(9): page.keyboard.press('ArrowRight')
    moved = dots(page)
    assert all(a!=b for a,b in zip(first, moved))
    assert page.get_attribute('.fbn-bar input', 'aria-valuetext')!=said
    page.keyboard.press('Home')
    assert dots(page)==first
    page.keyboard.press('End')
    last = page.get_attribute('.fbn-bar input', 'aria-valuetext')
    page.click('.fbn-play')
    page.wait_for_function("document.querySelector('.fbn-bar input').value>0")
    page.click('.fbn-play')
    assert page.inner_text('.fbn-play')=='Play'
    assert page.get_attribute('.fbn-bar input', 'aria-valuetext') not in (said, last)
    assert not page.refused and not page.errors
    page.context.close()


@pytest.mark.parametrize('how', ['no scripts', 'paper'])
def test_stepped_figure_stands_still(browser, site, how):
    "Without scripts, and in print, there is a picture with words"
    page = open_page(browser, f'{site}/nbs/08d_steps.html', java_script_enabled=how=='paper')
    if how=='paper': page.emulate_media(media='print')
    assert page.is_visible('.fbn-still') and not page.is_visible('.fbn-live')
    still = page.locator('.fbn-still')
    assert still.get_attribute('role')=='img' and 'threes found' in still.get_attribute('aria-label')
    assert all(svg.bounding_box()['height']>50 for svg in still.locator('svg').all())
    page.context.close()
