"The built book: its files, then its pages in a browser"
import functools, http.server, os, shutil, threading
from urllib.parse import unquote, urldefrag, urljoin
import pytest, yaml
from bs4 import BeautifulSoup


@pytest.fixture(scope='module')
def pages(html):
    "Every page with its soup, by its path below the book's folder"
    return {p.relative_to(html).as_posix(): BeautifulSoup(p.read_text(encoding='utf-8'), 'html.parser')
            for p in html.rglob('*.html') if '_static' not in p.parts}


@pytest.fixture(scope='module')
def toc(root):
    "The pages that the table of contents names, the cover first"
    toc = yaml.safe_load((root/'_toc.yml').read_text())
    return [toc['root'], *(c['file'] for part in toc['parts'] for c in part['chapters'])]


def test_every_page_is_built_and_reachable(pages, toc):
    "Each page of the table of contents exists and is linked from the cover"
    cover = toc[0]+'.html'
    linked = {urldefrag(urljoin(cover, a['href']))[0] for a in pages[cover].select('a[href]')}
    for file in toc[1:]:
        assert file+'.html' in pages
        assert file+'.html' in linked, f'{file} is not linked from the cover'


def test_start_page_leads_to_the_cover(pages, toc):
    assert toc[0] in str(pages['index.html'])


def test_no_directives(pages):
    "No `#|` of nbdev's is printed: no line of any code block begins with one"
    lines = [(n, l) for n,soup in pages.items() for pre in soup.select('pre') for l in pre.get_text().splitlines()]
    assert len(lines) > 100 and not [l for l in lines if l[1].startswith('#|')]


def test_no_broken_internal_link(html, pages):
    "Links, pictures, style sheets and scripts inside the book lead somewhere, and so do their anchors"
    broken = []
    for name,soup in pages.items():
        for tag in soup.select('a[href],img[src],link[href],script[src]'):
            url = tag.get('href') or tag.get('src')
            if url.startswith(('http:', 'https:', 'mailto:', 'data:', 'javascript:')): continue
            path,anchor = urldefrag(urljoin(name, url))
            path = unquote(path).split('?')[0] or name
            if not (html/path).exists(): broken.append(f'{name}: {url}')
            elif anchor and path in pages and not pages[path].find(id=unquote(anchor)): broken.append(f'{name}: {url} (no such anchor)')
    assert not broken


def test_pictures_have_alt_text(pages):
    "Every figure of a page's body says in words what it shows"
    silent = [f"{n}: {img['src']}" for n,soup in pages.items() for img in soup.select('article img') if len(img.get('alt', ''))<20 or img['alt']==img['src']]
    assert not silent


def test_papers_are_cited(pages):
    "Citations lead to the bibliography"
    text = pages['nbs/09_demo.html'].get_text()
    assert 'Kocaman' in text and '2021' in text
    assert pages['nbs/09_demo.html'].select('a[href*="references.html#"]')
    assert '2109.09016' in pages['nbs/references.html'].get_text()


def test_outputs_are_there(pages):
    "The chapter shows what its cells printed"
    demo = pages['nbs/09_demo.html']
    assert demo.select('article img') and 'without final BN' in demo.get_text() and demo.select('article table')


@pytest.fixture(scope='module')
def site(html):
    "The book on a loopback port: search needs a server"
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


@pytest.fixture(scope='module')
def browser():
    "Headless Chromium: the one of `CHROMIUM`, or the system's"
    exe = os.environ.get('CHROMIUM') or shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    if not exe: pytest.skip('no Chromium here: install it, or name it in CHROMIUM')
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=exe, args=['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync'])
        yield browser
        browser.close()


def open_page(browser, url, **kwargs):
    "A new page at `url`; what it asks of other hosts is refused, as on a train, and kept in `refused`"
    page = browser.new_context(**kwargs).new_page()
    page.refused = []
    def refuse(route): page.refused.append(route.request.url); route.abort()
    page.route(lambda u: not u.startswith('http://127.0.0.1'), refuse)
    page.goto(url, wait_until='load')
    return page


def test_search_finds_the_layer(browser, site):
    "The book's own search, typed and answered"
    page = open_page(browser, f'{site}/search.html?q=fold_final_bn')
    page.wait_for_selector('ul.search li a', timeout=20_000)
    assert any('00_head' in a.get_attribute('href') for a in page.query_selector_all('ul.search li a'))
    page.context.close()


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_light_and_dark(browser, site, scheme):
    "The page follows the reader's light or dark mode, with readable contrast"
    page = open_page(browser, f'{site}/nbs/09_demo.html', color_scheme=scheme)
    assert page.evaluate("document.documentElement.dataset.theme")==scheme
    def luminance(what): return page.evaluate("""what => {
        const e = document.querySelector('article p'); let n = e, c;
        if (what=='color') c = getComputedStyle(e).color;
        else do { c = getComputedStyle(n).backgroundColor; n = n.parentElement } while (n && /, 0\\)$|transparent/.test(c));
        const [r,g,b] = c.match(/[\\d.]+/g).map(Number); return (.2126*r + .7152*g + .0722*b)/255 }""", what)
    text,back = luminance('color'),luminance('backgroundColor')
    assert text < .3 < .8 < back if scheme=='light' else back < .3 < .7 < text
    page.context.close()


def test_formulas_are_set(browser, site):
    "MathJax comes with the book and sets its formulas"
    page = open_page(browser, f'{site}/nbs/00_head.html')
    page.wait_for_selector('mjx-container', timeout=20_000)
    assert '\\frac' not in page.inner_text('article')
    page.context.close()


@pytest.mark.parametrize('width', [360, 1400])
def test_fits_the_screen(browser, site, toc, width):
    "No page scrolls sideways, on a telephone or on a wide screen, and none needs another host"
    wide = []
    for file in toc:
        page = open_page(browser, f'{site}/{file}.html', viewport={'width': width, 'height': 800})
        if page.evaluate("document.documentElement.scrollWidth") > width+1: wide.append(file)
        assert not page.refused
        page.context.close()
    assert not wide
