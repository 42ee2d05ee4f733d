"Every chapter is made alike, and no page shows more code or rows than a reader takes in at once"
import json, re, pytest
from bs4 import BeautifulSoup
from helpers import open_page

CLAIMED = ['11_finding', '12_configurations', '13_confidence', '14_h1_inference', '15_h2_ratio', '16_h3_batch_size',
           '17_h4_simple_nets', '18_h5_majorities', '19_h6_sigmoid']
CHAPTERS = ['10_demo', *CLAIMED, '20_prevalence', '21_mechanism', '22_alternatives']
GUIDES = ['24_your_data', '25_works_with', '30_verdicts']

ORDER = ['In short', 'What the papers say', 'What we did', 'What we found', 'What it depends on', 'Verdict', 'Try it',
         'Exercises', 'All numbers']
NEEDED = {'In short', 'What we found', 'What it depends on', 'Try it', 'Exercises', 'All numbers'}
NEEDED_OF_CLAIMED = NEEDED | {'What the papers say', 'What we did', 'Verdict'}
MOST_ROWS,MOST_LINES,MOST_WIDE = 12,15,88


@pytest.fixture(scope='module')
def article(html):
    "The article of a page, by its name"
    def read(name):
        text = (html/f'{name}.html').read_text(encoding='utf-8')
        return BeautifulSoup(text, 'html.parser').select_one('article')
    return read


def markdown(root, chapter):
    "The text cells of a chapter, joined"
    cells = json.loads((root/f'nbs/{chapter}.ipynb').read_text(encoding='utf-8'))['cells']
    return '\n'.join(''.join(c['source']) for c in cells if c['cell_type']=='markdown')


def is_folded(tag):
    "Does it stand in something that opens on a click?"
    return bool(tag.find_parent('details')) or bool(tag.find_parent(class_='dropdown'))


def shown(article, selector):
    "What is on the page before anything is opened"
    return [o for o in article.select(selector) if not is_folded(o)]


def caption_of(tag):
    "The numbered caption of a table or picture; empty where there is none"
    outer = tag.find_parent('figure') or tag
    found = outer.select_one('caption, figcaption')
    return found.get_text(' ', strip=True) if found else ''


def test_chapters_are_in_the_book(toc):
    "Every chapter named here is a page, and every numbered page of the reader's is named here or is a known other"
    others = {'23_related', '26_lab'}
    pages = {p.removeprefix('nbs/') for p in toc}
    assert {*CHAPTERS, *GUIDES} <= pages
    numbered = {p for p in pages if re.match(r'(1|2)\d_|30_', p)}
    assert numbered=={*CHAPTERS, *GUIDES}|others


@pytest.mark.parametrize('chapter', CHAPTERS)
def test_sections(root, chapter):
    "A question, the answer in short, then the same sections in the same order, and none beside them"
    text = markdown(root, chapter)
    subtitle = re.search(r'^> (.+)', text, re.M)[1]
    assert subtitle.endswith('?'), subtitle
    found = re.findall(r'^## (.+)', text, re.M)
    assert found==[o for o in ORDER if o in found]
    assert (NEEDED_OF_CLAIMED if chapter in CLAIMED else NEEDED) <= set(found)


@pytest.mark.parametrize('guide', GUIDES)
def test_guides_answer_first(root, guide):
    "A guide begins with what it comes to"
    assert re.findall(r'^## (.+)', markdown(root, guide), re.M)[0]=='In short'


@pytest.mark.parametrize('chapter', CHAPTERS)
def test_for_learners(article, chapter):
    "Three questions or four, and exercises that each have a solution"
    page = article(f'nbs/{chapter}')
    assert 3 <= len(page.select('details.self-check')) <= 4
    exercises,solutions = page.select('div.exercise'),page.select('div.solution')
    assert len(exercises)>=2 and len(exercises)==len(solutions)
    assert all(is_folded(o) or 'dropdown' in o['class'] for o in solutions)


@pytest.mark.parametrize('chapter', CHAPTERS)
def test_one_main_figure(article, chapter):
    "One figure leads the chapter, before any other picture or table of ours, and it is referred to"
    page = article(f'nbs/{chapter}')
    main = page.find(id=f'fig-{chapter.split("_", 1)[1].replace("_", "-")}')
    assert main and not is_folded(main)
    assert page.select(f'a[href="#{main["id"]}"].reference')


@pytest.mark.parametrize('page', [*CHAPTERS, *GUIDES])
def test_numbered_captions(article, page):
    "Every figure and table that is in sight has a number and says what it shows"
    page = article(f'nbs/{page}')
    for tag in shown(page, 'div.cell_output img, div.cell_output table'):
        words = caption_of(tag)
        assert re.match(r'(Figure|Table) \d+ .{15}', words), f'{words or "no caption"}: {str(tag)[:200]}'


@pytest.mark.parametrize('page', [*CHAPTERS, *GUIDES, 'index'])
def test_few_rows(article, page):
    "No table in sight has more than a dozen rows"
    for table in shown(article(f'nbs/{page}'), 'table'):
        assert len(table.select('tbody tr')) <= MOST_ROWS, caption_of(table) or str(table)[:300]


def test_little_code(article, toc):
    "No page shows a line of more than 88 characters or a cell of more than fifteen lines before it is unfolded"
    for name in toc:
        for pre in shown(article(name), 'pre'):
            if pre.find_parent(class_='cell_output'): continue
            lines = pre.get_text().rstrip().splitlines()
            assert len(lines) <= MOST_LINES or not pre.find_parent(class_='cell_input'), f'{name}: {lines[0]}'
            assert max(map(len, lines), default=0) <= MOST_WIDE, f'{name}: {max(lines, key=len)}'


BANNED = ['hang on', 'hangs on', 'behind the layer', 'set anew', 'no number any more', 'what it is up against',
          'as the paper prints', 'the paper prints']


def test_no_translated_words(article, toc):
    "The book says it as a native would"
    for name in toc:
        text = re.sub(r'\s+', ' ', article(name).get_text(' '))
        assert not [w for w in BANNED if w in text], name


def test_sorted_by_a_click(browser, site):
    "The headings of a folded table sort it by their numbers, up and down"
    page = open_page(browser, f'{site}/nbs/08h_page.html')
    page.click('details.numbers summary')
    first_cells = 'rows => rows.map(row => +row.cells[0].textContent)'
    def column(): return page.eval_on_selector_all('details.numbers tbody tr', first_cells)
    up = column()
    page.click('details.numbers th:first-child button')
    assert column()==sorted(up)
    page.click('details.numbers th:first-child button')
    assert column()==sorted(up, reverse=True)
    page.context.close()
