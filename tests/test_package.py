"The built wheel and source distribution; the wheel in a clean environment of its own, with the newest fastai"
import io, os, pytest, re, venv
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile
import yaml

pytestmark = pytest.mark.slow


def build(run, source, dest, *kinds):
    "Build a checkout as it would be for PyPI, without a network; the folder of what came out"
    done = run('python', '-m', 'build', '--no-isolation', *kinds, '--outdir', dest, source)
    assert done.returncode==0, done.stdout+done.stderr
    return dest


def contents(wheel):
    "The files of a wheel and their bytes, without the record of the build"
    with ZipFile(wheel) as z: return {n: z.read(n) for n in z.namelist() if not n.endswith(('/RECORD', '/WHEEL'))}


@pytest.fixture(scope='module')
def wheel(run, copy, tmp_path_factory):
    "The wheel, built from the checkout"
    dist = build(run, copy, tmp_path_factory.mktemp('dist'), '--wheel')
    return next(dist.glob('*.whl'))


@pytest.fixture(scope='module')
def metadata(wheel):
    "What PyPI reads and shows of the wheel"
    files = contents(wheel)
    name, = [n for n in files if n.endswith('/METADATA')]
    return message_from_bytes(files[name])


@pytest.fixture(scope='module')
def clean_bin(run, wheel, tmp_path_factory):
    "A new environment with the wheel and what it asks for, nothing else: no extra"
    env = tmp_path_factory.mktemp('env')
    venv.create(env, with_pip=True)
    done = run(env/'bin/python', '-m', 'pip', 'install', '--quiet', wheel)
    assert done.returncode==0, done.stderr
    return env/'bin'


def test_contents(wheel, tracked):
    "The library and the tables, packed; not the notebooks, tests or benchmarks, nor nbdev's index of links"
    found = {n for n in contents(wheel) if '.dist-info' not in n}
    wanted = 'head.py', 'paper_tables.csv', '__init__.py', '__init__.pyi', 'py.typed'
    assert {f'finalbn_fastai/{name}' for name in wanted} <= found
    library = {f.as_posix() for f in tracked if f.parts[0]=='finalbn_fastai'}
    left_out = {n for n in library if n.endswith('/_modidx.py') or '/benchmarks/' in n}
    assert 'finalbn_fastai/_modidx.py' in left_out
    assert found==library-left_out|{'finalbn_fastai/results.zip'}


def test_packed_tables(wheel, tracked, root):
    "The wheel has every table, prediction and file of scores that belongs to the repository, byte by byte"
    results = Path('results')
    wanted = {f.relative_to(results).as_posix(): (root/f).read_bytes() for f in tracked if results in f.parents}
    readme = wanted.pop('README.md')
    assert readme and len(wanted)>200
    assert contents(io.BytesIO(contents(wheel)['finalbn_fastai/results.zip']))==wanted


def test_description_stands_alone(metadata, toc):
    "PyPI shows the README, and none of its links and images depends on the repository"
    text = metadata.get_payload(decode=True).decode()
    assert text.startswith('<!--') and '## On your own images' in text
    links = re.findall(r"""(?:\]\(|href=["']|src=["'])([^)"'\s]+)""", text)
    assert not [link for link in links if not re.match('https?://|#', link)]
    pages = {m[1] for link in links if (m := re.match(r'https://.*/(nbs/\w+)\.html$', link))}
    assert len(pages)>10 and pages <= set(toc)


def test_links_of_every_kind(root):
    "Pages go to the book, other files to the repository, pictures as they are; what is absolute stays"
    source = (root/'setup.py').read_text().partition('class build_library')[0]
    setup = dict(__file__=str(root/'setup.py'))
    exec(source, setup)
    text = '[a](nbs/a.ipynb#b) [c](LICENSE) ![d](e/f.png) <img src="g.svg"> [h](#h) [i](http://j)'
    book,repository = 'https://finalbn.github.io/finalbn_fastai','https://github.com/finalbn/finalbn_fastai'
    linked = setup['absolute_links'](text)
    assert linked==(f'[a]({book}/nbs/a.html#b) [c]({repository}/blob/main/LICENSE) ![d]({repository}/raw/main/e/f.png) '
                    f'<img src="{repository}/raw/main/g.svg"> [h](#h) [i](http://j)')


def asked_for(metadata, extra=None):
    "The packages that an installation asks for, without an extra or with one"
    marked = f'; extra == "{extra}"' if extra else ''
    lines = [line for line in metadata.get_all('Requires-Dist') if line.endswith(marked)]
    if not extra: lines = [line for line in lines if ';' not in line]
    return {re.match(r'[\w-]+', line)[0] for line in lines}


def test_extras(metadata):
    "The library asks for what it loads; the book's packages come with `book`, and `cluster` and `dev` include them"
    core,book = asked_for(metadata),asked_for(metadata, 'book')
    assert {'fastai', 'torch', 'timm', 'lazy-loader'} <= core
    assert {'typer', 'rich', 'mlxtend', 'torchmetrics', 'pooch', 'tabulate', 'psutil', 'ipython'} <= book
    assert not core & book
    assert asked_for(metadata, 'onnx')=={'onnx', 'onnxscript', 'onnxruntime'}
    assert book < asked_for(metadata, 'cluster') and book|asked_for(metadata, 'onnx') < asked_for(metadata, 'dev')


def test_newest_is_tried_on_every_python(root, metadata):
    "CI runs the smoke test with the newest fastai on each Python that CI has, the oldest we allow first"
    workflows = root/'.github/workflows'
    jobs = [yaml.safe_load((workflows/f).read_text())['jobs'] for f in ('newest.yml', 'ci.yml')]
    newest,usual = [next(iter(j.values())) for j in jobs]
    pythons = newest['strategy']['matrix']['python']
    assert pythons==usual['strategy']['matrix']['python']
    assert '>='+pythons[0]==metadata['Requires-Python']
    steps = '\n'.join(s.get('run', '') for s in newest['steps'])
    assert 'python tests/smoke.py' in steps and 'fastai>=2.8.12' in steps and '[book]' in steps


def test_wheel_from_source_distribution(run, wheel, copy, tmp_path):
    "The source distribution holds all that the wheel is built from"
    dist = build(run, copy, tmp_path)
    assert len(list(dist.glob('*.tar.gz')))==1
    assert contents(next(dist.glob('*.whl')))==contents(wheel)


def test_installed(run, root, clean_bin, tmp_path):
    "Import, train, fold, export and load, in the clean environment"
    env = {k:v for k,v in os.environ.items() if not k.startswith(('PYTHON', 'VIRTUAL_ENV'))}
    done = run(clean_bin/'python', '-W', 'ignore', root/'tests/smoke.py', cwd=tmp_path, env=env)
    print(done.stdout)
    assert done.returncode==0, done.stderr


def test_command(run, wheel, clean_bin, tmp_path):
    "The command names the extra that it needs, and trains with it"
    alone = run(clean_bin/'finalbn', 'demo')
    assert alone.returncode==2 and alone.stderr.count('\n')==1 and '[book]' in alone.stderr, alone.stderr
    done = run(clean_bin/'python', '-m', 'pip', 'install', '--quiet', f'{wheel}[book]')
    assert done.returncode==0, done.stderr
    done = run(clean_bin/'finalbn', 'demo', '--seeds', 1, '--epochs', 2, '--out', tmp_path)
    assert done.returncode==0, done.stderr
    assert (tmp_path/'demo.csv').exists()
