"The reference in the built book: every name, its parameters, its place in the index; what machines read of a page"
import inspect, re, zlib
from collections import Counter
from importlib import import_module
from urllib.parse import urlparse
import pytest, yaml
from bs4 import BeautifulSoup, SoupStrainer
from finalbn_fastai import reference
from finalbn_fastai.descriptions import shortened

MODULES = [*reference.modules(), *reference.studies()]


def declared_name(module, name):
    "Under which name the reference declares a name of a module: the package's, where it offers it"
    import finalbn_fastai
    offered = finalbn_fastai._names.get(module, [])
    return f'finalbn_fastai.{name}' if name in offered else f'finalbn_fastai.{module}.{name}'


def public_names(module):
    "The public names of a module, as the reference declares them, with what they are"
    m = import_module(f'finalbn_fastai.{module}')
    return {declared_name(module, n): getattr(m, n) for n in m.__all__}


def soup_of(path, part='article'):
    "A part of a page, parsed"
    return BeautifulSoup(path.read_text(encoding='utf-8'), 'html.parser', parse_only=SoupStrainer(part))


@pytest.fixture(scope='module')
def inventory(html):
    "What other books are told: (name, kind, address), as Sphinx writes it"
    raw = (html/'objects.inv').read_bytes()
    lines = zlib.decompress(raw.split(b'\n', 4)[4]).decode().splitlines()
    found = [re.match(r'(.+?)\s+(\S+:\S+)\s+(-?\d+)\s+(\S*)\s+(.*)', line).groups() for line in lines]
    return [(name, kind, url.replace('$', name)) for name,kind,_,url,_ in found]


@pytest.fixture(scope='module')
def pages(html):
    "The pages of the reference with their soup"
    return {p.stem: soup_of(p) for p in (html/'nbs/reference').glob('*.html')}


def test_files_in_step(root, tmp_path, toc):
    "The files of the reference are those that its module writes, and all are in the table of contents"
    names = reference.write_pages(tmp_path)
    kept = root/'nbs/reference'
    assert names==sorted(p.stem for p in kept.glob('*.md')), 'call `write_pages` and commit'
    for name in names: assert (tmp_path/f'{name}.md').read_text()==(kept/f'{name}.md').read_text(), name
    assert {f'nbs/reference/{name}' for name in names} <= set(toc)


def test_every_module_has_a_page(root):
    "No module of the library is left out, but the benchmarks, which are not installed"
    files = {p.relative_to(root/'finalbn_fastai').with_suffix('') for p in (root/'finalbn_fastai').rglob('*.py')}
    names = {'.'.join(f.parts) for f in files if f.parts[0]!='benchmarks' and not f.name.startswith('_')}
    assert names==set(MODULES)


def test_names_in_the_inventory(inventory):
    "Every public name, and every module, is there once; what the package offers, under its module's name as well"
    import finalbn_fastai
    python = Counter(name for name,kind,_ in inventory if kind.startswith('py:'))
    wanted = {n for module in MODULES for n in public_names(module)}
    wanted |= {f'finalbn_fastai.{m}' for m in MODULES} | {'finalbn_fastai'}
    for module,names in finalbn_fastai._names.items(): wanted |= {f'finalbn_fastai.{module}.{n}' for n in names}
    assert {f'finalbn_fastai.{n}' for n in finalbn_fastai.__all__} <= wanted
    assert {n: python[n] for n in wanted}==dict.fromkeys(wanted, 1)


def test_addresses_of_the_inventory(html, inventory):
    "What the inventory says of a name leads to a place on a page"
    anchors = {}
    for name,kind,url in inventory:
        if not kind.startswith('py:'): continue
        path,_,anchor = url.partition('#')
        if path not in anchors: anchors[path] = set(re.findall(r'id="([^"]+)"', (html/path).read_text()))
        assert anchor in anchors[path], name


def test_index(html):
    "The index and the list of modules lead to the names"
    index = {a['href'] for a in soup_of(html/'genindex.html').select('a[href]')}
    for module in MODULES:
        page = 'studies' if '.' in module else module
        for name in public_names(module): assert f'nbs/reference/{page}.html#{name}' in index, name
    modules = soup_of(html/'py-modindex.html').get_text()
    for module in MODULES: assert f'finalbn_fastai.{module}' in modules


@pytest.mark.parametrize('module', MODULES)
def test_parameters_have_rows(pages, module):
    "Each parameter of a signature has a row, in its order; each name its words, and a link to its source"
    soup = pages['studies' if '.' in module else module]
    entries = {dt['id']: dt.parent for dt in soup.select('dl.py > dt')}
    for name,o in public_names(module).items():
        entry,is_data = entries[name],reference.kind_of(o)=='data'
        tables = entry.find('dd', recursive=False).find_all('div', recursive=False)
        rows = [r.td.get_text(strip=True) for t in tables for r in t.select('.fbn-parameters > tbody > tr')]
        wanted = [] if is_data else [p['name'] for p in reference.parameters(o)]
        assert rows==wanted, name
        signature = entry.dt.get_text()
        for p in wanted: assert p in signature, name
        assert entry.dt.select_one('a.reference.external[href*="#L"]'), name
        if not is_data: assert entry.select_one('dd > p'), f'{name} has no docstring'


def test_parameters_are_those_of_python():
    "What the reference calls the parameters of a function are the names that Python knows"
    from finalbn_fastai import bn_learner, compare, run_study
    for f in (bn_learner, compare, run_study):
        assert [p['name'].strip('*') for p in reference.parameters(f)]==list(inspect.signature(f).parameters)


def test_sources(pages, root):
    "A link to the source names lines that define the name"
    for dt in pages['thresholds'].select('dl.py > dt'):
        url = urlparse(dt.select_one('a.external')['href'])
        lines = (root/url.path.partition('/blob/main/')[2]).read_text().splitlines()
        first = int(re.match(r'L(\d+)-L\d+', url.fragment)[1])
        assert f"def {dt['id'].rpartition('.')[2]}(" in lines[first-1]


def test_both_ways(html, pages):
    "A page of the reference leads to the making of its module, and that page back"
    for module in reference.modules():
        made = reference.notebook_of(f'finalbn_fastai.{module}').replace('.ipynb', '.html')
        assert pages[module].select_one(f'article a[href="../{made}"]'), module
        back = f'Reference: <a class="reference internal" href="reference/{module}.html">'
        assert back in (html/'nbs'/made).read_text(), module


def test_signatures_are_narrow(pages):
    "No line of a signature has more than 88 characters"
    for page,soup in pages.items():
        for dt in soup.select('dl.py > dt'):
            widest = max(len(part.get_text(strip=True)) for part in dt.select('dd, .sig-line') or [dt])
            assert widest<=88+len('[source]#'), f'{page}: {dt["id"]}'


@pytest.fixture(scope='module')
def heads(html, toc):
    "The head of every page: of the table of contents, and of those that Sphinx adds"
    files = [*toc, 'genindex', 'py-modindex', 'search']
    texts = {f: (html/f'{f}.html').read_text(encoding='utf-8').partition('</head>')[0] for f in files}
    return {f: BeautifulSoup(text, 'html.parser').head for f,text in texts.items()}


def said(head, **attrs):
    "What a tag of a page's head says"
    tag, = head.find_all('meta', attrs=attrs)
    return tag['content']


def test_descriptions(heads):
    "Every page says in at most 160 characters what it is about, and no two say the same"
    texts = {f: said(head, name='description') for f,head in heads.items()}
    assert all(10<len(t)<=160 for t in texts.values()), texts
    twice = [t for t,n in Counter(texts.values()).items() if n>1]
    assert not twice
    for file,head in heads.items():
        assert said(head, property='og:description')==texts[file]
        assert said(head, property='og:title')


def test_address_of_the_book(heads, root, html):
    "Pages name their published address: the one of settings.ini; and their language"
    from configparser import ConfigParser
    ini = ConfigParser(delimiters=['='])
    ini.read(root/'settings.ini', encoding='utf-8')
    base = f"{ini['DEFAULT']['doc_host']}{ini['DEFAULT']['doc_baseurl']}/"
    assert yaml.safe_load((root/'_config.yml').read_text())['html']['baseurl']==base
    for file,head in heads.items():
        assert head.select_one('link[rel=canonical]')['href']==f'{base}{file}.html'
        assert head.parent['lang']=='en'


def test_llms(html, toc, heads):
    "`llms.txt` has a title, a summary, and every page once, with its title and what it is about"
    title,_,rest = (html/'llms.txt').read_text(encoding='utf-8').partition('\n\n')
    assert title.startswith('# ') and rest.startswith('> ')
    links = re.findall(r'^- \[(.+)\]\((\S+)\): (.+)$', rest, re.M)
    assert len(links)==rest.count('\n- ')
    base = heads[toc[0]].select_one('link[rel=canonical]')['href'].removesuffix(f'{toc[0]}.html')
    assert sorted(url for _,url,_ in links)==sorted(f'{base}{file}.html' for file in toc[1:])
    texts = {f'{base}{f}.html': said(heads[f], name='description') for f in toc[1:]}
    for title,url,text in links: assert text[:120] in f'{title}: {texts[url]}', url
    assert re.findall(r'^## (.+)$', rest, re.M)[-1]=='Optional'


@pytest.mark.parametrize('text,most,expected', [
    ('One. Two three.', 100, 'One. Two three.'),
    ('One two. Three four five.', 12, 'One two.'),
    ('One two three four', 12, 'One two…'),
])
def test_shortened(text, most, expected):
    "A description ends where a sentence does, or else after a whole word"
    assert shortened(text, most)==expected
