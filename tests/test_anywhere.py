"The copies that readers take along: published, installed as written, and run in an empty folder without a network"
import os, re, shutil, sysconfig, urllib.request, venv
from configparser import ConfigParser
from pathlib import Path
import nbformat, pytest, yaml
from bs4 import BeautifulSoup
from helpers import run_python

CHAPTERS = ['10_demo', '11_finding', '19_h6_sigmoid', '20_prevalence']

OFFLINE = '''"Refuses every connection that leaves this machine"
import socket
def refuse(self, address, *args, connect=socket.socket.connect):
    host = address[0] if isinstance(address, tuple) else '127.0.0.1'
    if not host.startswith('127.') and host not in ('::1', 'localhost'): raise OSError(f'no network: {host}')
    return connect(self, address, *args)
def unknown(host, *args, find=socket.getaddrinfo, **kwargs):
    if host not in (None, 'localhost', '127.0.0.1', '::1'): raise socket.gaierror(-2, f'no network: {host}')
    return find(host, *args, **kwargs)
socket.socket.connect,socket.getaddrinfo = refuse,unknown
'''


@pytest.fixture(scope='module')
def copies(html):
    "The published copies, by name"
    return {f.stem: nbformat.read(f, as_version=4) for f in sorted((html/'notebooks').glob('*.ipynb'))}


@pytest.fixture(scope='module')
def dist(run, copy, tmp_path_factory):
    "A folder with the wheel, built from the checkout"
    dest = tmp_path_factory.mktemp('dist')
    done = run('python', '-m', 'build', '--no-isolation', '--wheel', '--outdir', dest, copy)
    assert done.returncode==0, done.stdout+done.stderr
    return dest


def is_ours(name):
    "Is an installed package the checkout's package, or says where it is?"
    return re.match('(__editable__.*|_*)finalbn', name.lower()) is not None


@pytest.fixture(scope='module')
def python(tmp_path_factory):
    "A new environment's Python: it sees all that is installed here but this package, and no network"
    env = tmp_path_factory.mktemp('env')
    venv.create(env/'venv', symlinks=True)
    shared = env/'shared'
    shared.mkdir()
    for f in Path(sysconfig.get_path('purelib')).iterdir():
        if not is_ours(f.name): (shared/f.name).symlink_to(f)
    packages, = (env/'venv').glob('lib/python*/*-packages')
    (packages/'shared.pth').write_text(f'{shared}\nimport refuse_network\n')
    (packages/'refuse_network.py').write_text(OFFLINE)
    return env/'venv/bin/python'


def alone(home, **more):
    "The variables of a process that has its home in an empty folder, and knows nothing of this checkout"
    kept = {k:v for k,v in os.environ.items() if not k.startswith(('PYTHON', 'VIRTUAL_ENV', 'FINALBN', 'JUPYTER'))}
    folders = dict(HOME=home, XDG_CACHE_HOME=home/'cache', FASTAI_HOME=home/'fastai', IPYTHONDIR=home/'ipython',
                   JUPYTER_DATA_DIR=home/'jupyter', JUPYTER_RUNTIME_DIR=home/'runtime')
    return {**kept, **{k:str(v) for k,v in folders.items()}, 'PYTHONWARNINGS':'ignore', 'OMP_NUM_THREADS':'1', **more}


@pytest.fixture(scope='module')
def installed(run, python, dist, copies, tmp_path_factory):
    "The environment after the install cell of the copies, as written, has run there"
    home = tmp_path_factory.mktemp('home')
    lines = {c.source.splitlines()[0] for nb in copies.values() for c in nb.cells if c.id=='install'}
    line, = lines
    env = alone(home, PIP_NO_INDEX='1', PIP_FIND_LINKS=str(dist))
    where = run(python, '-c', 'import finalbn_fastai', cwd=home, env=env)
    assert 'ModuleNotFoundError' in where.stderr
    code = f'from IPython import InteractiveShell\nInteractiveShell().run_cell({line!r})'
    done = run(python, '-c', code, cwd=home, env=env)
    where = run(python, '-c', 'import finalbn_fastai; print(finalbn_fastai.__file__)', cwd=home, env=env)
    assert Path(where.stdout.strip()).is_relative_to(python.parent.parent), done.stdout+done.stderr+where.stderr
    return python


@pytest.fixture
def outside(run, installed, tmp_path):
    "Runs code with the installed package, in an empty folder; the finished process"
    def _run(code, **more): return run(installed, '-c', code, cwd=tmp_path, env=alone(tmp_path/'home', **more))
    (tmp_path/'home').mkdir()
    return _run


def test_every_notebook_has_a_copy(copies, root):
    assert set(copies)=={f.stem for f in (root/'nbs').glob('*.ipynb')}
    for name,nb in copies.items():
        nbformat.validate(nb)
        assert not any(c.get('outputs') for c in nb.cells), name


def test_copies_are_plain(copies):
    "No directive of nbdev's or MyST's is left, and every link says where it leads, wherever the copy is"
    raw = re.compile(r'^\(\S+\)=$|^:{3,}|^`{3,}\{|\{[a-z:]+\}`(?!`)|\]\((?!https?:|#)|\[\]\(', re.M)
    for name,nb in copies.items():
        for c in nb.cells:
            text = re.sub('``+.+?``+|`[^`{}]+`(?!`)', 'code', c.source)
            if c.cell_type=='markdown': assert not raw.search(text), f'{name}: {c.source}'
            else: assert not re.search(r'^#\| ', c.source, re.M), f'{name}: {c.source}'


def test_tables_are_published(html, root):
    "The tables of the studies stand beside the pages, and are those of the checkout"
    for f in (root/'results').glob('*.csv'): assert (html/'results'/f.name).read_bytes()==f.read_bytes()


def test_buttons(html, root):
    "A page leads to the repository, to its notebook there, to an issue, and to its copy: here, in Colab and in Binder"
    config = ConfigParser(delimiters=['='])
    config.read(root/'settings.ini')
    git,branch = config['DEFAULT']['git_url'],config['DEFAULT']['branch']
    owner = git.removeprefix('https://github.com/')
    soup = BeautifulSoup((html/'nbs/10_demo.html').read_text(encoding='utf-8'), 'html.parser')
    links = {a['href'] for a in soup.select('.article-header-buttons a[href]')}
    issue, = (link for link in links if link.startswith(f'{git}/issues/new?title='))
    assert links=={git, f'{git}/edit/{branch}/nbs/10_demo.ipynb', issue, '../notebooks/10_demo.ipynb',
                   f'https://colab.research.google.com/github/{owner}/blob/notebooks/10_demo.ipynb',
                   f'https://mybinder.org/v2/gh/{owner}/notebooks?urlpath=lab/tree/10_demo.ipynb'}
    assert (root/'nbs/10_demo.ipynb').exists() and (html/'notebooks/10_demo.ipynb').exists()
    job = yaml.safe_load((root/'.github/workflows/pages.yml').read_text())['jobs']['copies']
    assert 'git init --quiet --initial-branch notebooks' in job['steps'][-1]['run']
    assert (html/'notebooks/requirements.txt').read_text().strip() in (html/'notebooks/10_demo.ipynb').read_text()


def tables(nb):
    "The tables and sentences that a notebook's cells have computed"
    out = [o.get('data', {}) for c in nb.cells if c.cell_type=='code' for o in c.outputs]
    return {data['text/markdown'] for data in out if 'text/markdown' in data}


@pytest.mark.slow
@pytest.mark.parametrize('name', CHAPTERS)
def test_chapter_runs_anywhere(run, root, site, installed, tmp_path, dist, name):
    "Taken from the published book, in an empty folder, without data or network: it ends, with the page's numbers"
    home = tmp_path/'home'
    home.mkdir()
    copy = tmp_path/'here'/f'{name}.ipynb'
    copy.parent.mkdir()
    with urllib.request.urlopen(f'{site}/notebooks/{name}.ipynb') as answer: copy.write_bytes(answer.read())
    env = alone(home, PIP_NO_INDEX='1', PIP_FIND_LINKS=str(dist))
    code = f'from nbclient.cli import main; main(["--inplace", "--timeout=600", {copy.name!r}])'
    done = run(installed, '-c', code, cwd=copy.parent, env=env)
    assert done.returncode==0, done.stderr
    nb = nbformat.read(copy, as_version=4)
    ours = tables(nbformat.read(root/f'nbs/{name}.ipynb', as_version=4))
    assert len(ours & tables(nb)) > len(ours)/2
    needing = [c for c in nb.cells if c.source.startswith('%%with_data')]
    texts = [o.text for c in needing for o in c.outputs]
    assert len(texts)==len(needing) and all(re.fullmatch('(Not here|Passed over): .+\n', t) for t in texts), texts
    assert [f.name for f in copy.parent.iterdir()]==[copy.name]


READ = '''
from finalbn_fastai.files import read_rows
from finalbn_fastai.settings import results_folder
print(len(read_rows(results_folder('finding')/'finding.csv')))
'''


def unpacked(home):
    "Where the tables are unpacked"
    folder, = (home/'cache/finalbn_fastai').glob('results-*/')
    return folder


@pytest.mark.slow
def test_spoiled_tables_are_repaired(outside, tmp_path, root):
    "What was cut off, overwritten or removed in the cache is there again for the next process"
    rows = outside(READ).stdout
    assert int(rows)>1000
    folder = unpacked(tmp_path/'home')
    tables = [folder/f'{name}.csv' for name in ('finding', 'demo', 'h1_inference')]
    wanted = [(root/'results'/f.name).read_bytes() for f in tables]
    assert [f.read_bytes() for f in tables]==wanted
    tables[0].write_bytes(wanted[0][:999])
    tables[1].write_bytes(b'x'*len(wanted[1]))
    tables[2].unlink()
    shutil.rmtree(folder/'scores')
    assert outside(READ).stdout==rows
    assert [f.read_bytes() for f in tables]==wanted and list(folder.glob('scores/*/*.npz'))


@pytest.mark.slow
def test_two_processes_unpack(installed, outside, tmp_path):
    "Two that need the tables at once both get them"
    env = alone(tmp_path/'home')
    two = [run_python(READ, python=installed, cwd=tmp_path, env=env, stdout=-1, stderr=-1, text=True) for _ in range(2)]
    said = [p.communicate() for p in two]
    assert said[0][0]==said[1][0] and int(said[0][0])>1000, said
    assert not list(unpacked(tmp_path/'home').parent.glob('.unpacking-*'))


@pytest.mark.slow
def test_damaged_package(run, installed, outside, tmp_path):
    "One line that says what to do, where the archive in the package is spoiled or the cache cannot be written"
    archive, = installed.parent.parent.glob('lib/python*/*-packages/finalbn_fastai/results.zip')
    command,env = installed.parent/'finalbn',alone(tmp_path/'home')
    raw = archive.read_bytes()
    try:
        archive.write_bytes(raw[:10**6]+bytes(99)+raw[10**6+99:])
        done = run(command, 'results', 'finding', cwd=tmp_path, env=env)
    finally: archive.write_bytes(raw)
    assert done.returncode==2 and done.stderr.count('\n')==1 and 'install the package again' in done.stderr, done.stderr
    (tmp_path/'full').write_text('a file')
    done = run(command, 'results', 'finding', cwd=tmp_path, env={**env, 'FINALBN_CACHE':str(tmp_path/'full')})
    assert done.returncode==2 and done.stderr.count('\n')==1 and 'set FINALBN_CACHE' in done.stderr, done.stderr


@pytest.mark.slow
def test_own_rows_come_first(run, installed, outside, tmp_path):
    "A study that was measured here is read here, into a folder of one's own; the others as the book has them"
    command,env = installed.parent/'finalbn',alone(tmp_path/'home')
    def ours(*args): return run(command, *args, cwd=tmp_path, env=env)
    done = ours('run', 'demo', '--seeds', 2, '--only', 'epochs=100')
    assert done.returncode==0, done.stderr
    assert {f.name for f in tmp_path.iterdir()}=={'home', 'results'}
    assert len((tmp_path/'results/demo.csv').read_text().splitlines())==5
    assert int(outside(READ.replace('finding', 'demo')).stdout)==4 and int(outside(READ).stdout)>1000


@pytest.mark.slow
def test_pdf(html, root, tmp_path):
    "Two pages of the book as a PDF: in their order, with an outline, links between them inside, pictures and formulas"
    if not any(map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))): pytest.skip('no Chromium here')
    from pypdf import PdfReader
    from finalbn_fastai.pdf import book_pdf
    reader = PdfReader(book_pdf(html, tmp_path/'book.pdf', root, ['nbs/10_demo', 'nbs/references']))
    text = '\n'.join(p.extract_text() for p in reader.pages)
    assert 'F1 of 3' in text and text.index('What it depends on') < text.index('2109.09016')
    assert [o.title for o in reader.outline[::2]][0]=='The finding'
    assert any(p.images for p in reader.pages)
    links = [o.get_object()['/A'] for p in reader.pages for o in p.get('/Annots', ())]
    inside = [a for a in links if a['/S']=='/GoTo']
    outside = {a['/URI'] for a in links if '/URI' in a}
    assert len(inside)>3 and outside and not [u for u in outside if '10_demo' in u or not u.startswith('https://')]
