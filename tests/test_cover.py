"The cover: an answer in a minute, on a telephone too, with a threshold that moves and commands that are true"
import json, re, pytest
import pandas as pd
from bs4 import BeautifulSoup
from finalbn_fastai.threshold_figure import f1_at_odds
from helpers import open_page

PHONE = dict(width=390, height=844)


@pytest.fixture(scope='module')
def readme(root):
    "The README, without the breaks of its lines"
    return re.sub(r'\s+', ' ', (root/'README.md').read_text(encoding='utf-8'))


@pytest.fixture(scope='module')
def pair(root):
    "The rows of the figure's seed, without the layer and with it"
    rows = pd.read_csv(root/'results/demo.csv').query('seed==0').sort_values('final_bn')
    return rows.to_dict('records')


def alarms(row):
    "Share of the eights that are taken for threes, on a test set with as many of both"
    return row['recall_minority']/row['precision_minority']-row['recall_minority']


def said(row):
    "What the figure says of a network's row: threes found, eights called threes"
    found,false = (round(100*o) for o in (row['recall_minority'], alarms(row)))
    return f'{found} of 100 threes found, {false} of 100 eights called threes'


def scores(row):
    "F1 at both mixtures of the classes, as shown"
    stream = f1_at_odds(row['recall_minority'], alarms(row), 99)
    return [f"{row['f1_minority']:.2f}", f'{stream:.2f}']


def test_figure_shows_the_rows(readme, root, pair):
    "Counts and F1 of the picture and of its words are those of the seed's rows"
    picture = (root/'_static/cover.svg').read_text(encoding='utf-8')
    for row in pair:
        half,stream = scores(row)
        assert f'{said(row)}: F1 {half}, and {stream} at 99 to 1' in readme
        assert f'>{said(row)}</text>' in picture
    assert '](_static/cover.svg)' in readme


def test_three_sentences(readme):
    "The answer is three sentences in a list"
    items = re.findall(r' \d\. (\*\*.+?\.)(?= \d\. \*\*| !\[)', readme)
    assert len(items)==3
    for item in items: assert len(re.findall(r'[.!?](?= |$)', item))==1, item


def test_commands_are_true(readme, root):
    "Where to clone from, the Python, the versions and the book are those of the settings"
    text = (root/'settings.ini').read_text(encoding='utf-8')
    found = dict(re.findall(r'^(\w+) = (.*)$', text, re.M))
    assert f"git clone {found['git_url']} cd {found['lib_name']} make book " in readme
    assert f"Python {found['min_python']} or newer" in readme
    assert f"]({found['doc_host']}{found['doc_baseurl']})" in readme
    pins = [o for o in found['dev_requirements'].split() if o.startswith(('torch==', 'torchvision=='))]
    cpu = '--index-url https://download.pytorch.org/whl/cpu'
    assert len(pins)==2 and ' \\ '.join([f'pip install {pins[0]}', pins[1], cpu]) in readme


def test_at_most_eight_lines(html):
    "The verdicts are eight lines at most, the verdict first, and all else unfolds"
    page = BeautifulSoup((html/'nbs/index.html').read_text(encoding='utf-8'), 'html.parser')
    lines = [o.get_text() for o in page.select('#the-papers-claims summary')]
    verdicts = [o for o in lines if re.match(r'reproduced \d+ of \d+: .+', o)]
    assert 6 <= len(verdicts) <= 8 and len(lines)==len(verdicts)+1
    assert all(table.find_parent('details') for table in page.select('#the-papers-claims table'))
    assert (html/'nbs/index.html').stat().st_size < 2e6


def box(page, selector):
    "Where an element is on the page"
    return page.locator(selector).first.bounding_box()


@pytest.mark.parametrize('scripts', [True, False])
def test_two_screens_of_a_phone(browser, site, scripts):
    "Answer, figure and doors within two screens; no verdict is cut off; nothing scrolls sideways"
    page = open_page(browser, f'{site}/nbs/index.html', viewport=PHONE, java_script_enabled=scripts)
    def end(what): return box(page, what)['y']+box(page, what)['height']
    below = {what: end(what) for what in ('article ol', '.fbn-cut', '#three-doors ul')}
    assert below['article ol'] < PHONE['height']*1.2, below
    assert max(below.values()) < 2*PHONE['height'], below
    for what in ('.fbn-cut', '.fbn-cut svg', '.fbn-cut table', '#the-papers-claims summary', '#three-doors li'):
        for b in (o.bounding_box() for o in page.locator(what).all()):
            assert 0 <= b['x'] and b['x']+b['width'] <= PHONE['width'], what
    assert page.is_visible('.fbn-hold')==scripts
    if scripts: assert page.evaluate('document.documentElement.scrollWidth') <= PHONE['width']+1
    assert not page.errors and not page.refused
    page.context.close()


def counts(page):
    "What the figure says of each network"
    return page.eval_on_selector_all('.fbn-cut .fbn-said', 'all => all.map(o => o.textContent)')


def shown(page):
    "F1 in the figure's table, a list a network"
    rows = "rows => rows.map(row => [...row.querySelectorAll('td')].map(o => o.textContent))"
    return page.eval_on_selector_all('.fbn-cut tbody tr', rows)


def test_threshold_by_keyboard(browser, site, pair):
    "Arrows, Home and End move the threshold, and the counts with it; a reader who does not see it is told"
    page = open_page(browser, f'{site}/nbs/index.html', viewport=PHONE)
    assert counts(page)==[said(row) for row in pair] and shown(page)==[scores(row) for row in pair]
    page.focus('.fbn-cut input')
    for _ in range(10): page.keyboard.press('ArrowLeft')
    moved = counts(page)
    assert all(a!=b for a,b in zip(moved, map(said, pair)))
    told = page.get_attribute('.fbn-cut input', 'aria-valuetext')
    assert told.startswith('threshold 0.') and all(o in told for o in moved)
    assert page.get_attribute('.fbn-cut svg', 'aria-label')==told
    page.keyboard.press('Home')
    assert counts(page)==['100 of 100 threes found, 100 of 100 eights called threes']*2
    assert shown(page)==[[f'{f1_at_odds(1, 1, odds):.2f}' for odds in (1, 99)]]*2
    page.keyboard.press('End')
    assert counts(page)==['0 of 100 threes found, 0 of 100 eights called threes']*2
    assert shown(page)==[['0.00', '0.00']]*2
    assert not page.errors and not page.refused
    page.context.close()


def test_threshold_by_mouse(browser, site):
    "The line follows a drag in the figure, and the counts are those of what lies to its right"
    page = open_page(browser, f'{site}/nbs/index.html')
    data = json.loads(page.text_content('.fbn-cut script[type="application/json"]'))
    page.locator('.fbn-cut svg').scroll_into_view_if_needed()
    b = box(page, '.fbn-cut svg')
    page.mouse.move(b['x']+b['width']*.8, b['y']+b['height']/2)
    page.mouse.down()
    page.mouse.move(b['x']+b['width']*.3, b['y']+b['height']/2, steps=4)
    page.mouse.up()
    at = int(page.input_value('.fbn-cut input'))
    assert 1100 < at < 1300
    found = [[sum(x>at for x in places) for places in net] for net in data['nets']]
    assert counts(page)==[f'{t} of 100 threes found, {e} of 100 eights called threes' for e,t in found]
    page.mouse.move(b['x']+b['width']*.9, b['y']+b['height']/2)
    assert page.input_value('.fbn-cut input')==str(at), 'it follows only while it is held'
    page.context.close()


def test_cover_on_paper(browser, site):
    "In print the figure stands, without its slider"
    page = open_page(browser, f'{site}/nbs/index.html')
    page.emulate_media(media='print')
    assert page.is_visible('.fbn-cut svg') and not page.is_visible('.fbn-hold')
    page.context.close()
