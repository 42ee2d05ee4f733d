"What holds the repository together: exported, clean, in step, nothing that does not belong"
import json, logging, os, re, shutil
from configparser import ConfigParser
from pathlib import Path
import nbformat, pandas as pd, pytest, yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

try: import tomllib
except ModuleNotFoundError: import tomli as tomllib  # Python 3.10


def same(a, b):
    "Do two files hold the same bytes?"
    return a.read_bytes()==b.read_bytes()


def code_cells(path):
    "The code cells of a notebook"
    return [c for c in json.loads(path.read_text())['cells'] if c['cell_type']=='code']


@pytest.fixture(scope='module')
def notebooks(tracked):
    "The notebooks of the repository"
    return [f for f in tracked if f.suffix=='.ipynb']


@pytest.fixture(scope='module')
def settings(root):
    "What settings.ini says: nbdev 2 and setup.py read it"
    ini = ConfigParser(delimiters=['='])
    ini.read(root/'settings.ini', encoding='utf-8')
    return ini['DEFAULT']


@pytest.fixture(scope='module')
def pyproject(root):
    "What pyproject.toml says"
    return tomllib.loads((root/'pyproject.toml').read_text())


def modules(root):
    "The modules of the library in a checkout, also those in folders"
    return {p.relative_to(root) for p in (root/'finalbn_fastai').rglob('*.py')}


def test_exported(run, root, tracked, copy):
    "`nbdev_export` changes nothing: the library is what the notebooks say"
    shutil.rmtree(copy/'finalbn_fastai')
    (copy/'finalbn_fastai').mkdir()
    done = run('nbdev_export', cwd=copy)
    assert done.returncode==0, done.stderr
    made = modules(copy)
    assert made==modules(root) & set(tracked)
    differ = [str(f) for f in sorted(made) if not same(root/f, copy/f)]
    assert not differ, f'run `make export` and commit: {differ}'


def test_clean(run, root, notebooks, copy):
    "`nbdev_clean` changes nothing"
    done = run('nbdev_clean', cwd=copy)
    assert done.returncode==0, done.stderr
    differ = [str(f) for f in notebooks if not same(root/f, copy/f)]
    assert not differ, f'run `nbdev_clean` and commit: {differ}'


def test_readme(run, root, copy):
    "The README is made from the cover"
    done = run('python', '-c', 'from finalbn_fastai.book import readme\nreadme()', cwd=copy)
    assert done.returncode==0, done.stderr
    assert same(root/'README.md', copy/'README.md'), 'run `make readme` and commit'


def test_outputs(root, notebooks):
    "Every notebook was run before it was committed, top to bottom and without an error"
    show_nothing = '_package', '_book'
    for f in notebooks:
        cells = code_cells(root/f)
        if not cells: continue # A page of prose
        outputs = sum((c['outputs'] for c in cells), [])
        errors = [o for o in outputs if o['output_type']=='error']
        assert not errors, f
        if not any(name in f.name for name in show_nothing): assert outputs, f'{f} has no outputs: `make run-notebooks`'


def lacks_its_figure(cell):
    "Does a cell describe a figure that its outputs do not have?"
    described = '#| fig-alt: ' in ''.join(cell['source'][:4])
    return described and not any('image/png' in o.get('data', {}) for o in cell['outputs'])


def test_figures_are_there(root, notebooks):
    "Every cell that describes a figure has one"
    missing = []
    for f in notebooks:
        if '_book' in f.name: continue
        missing += [f"{f} {c['id']}" for c in code_cells(root/f) if lacks_its_figure(c)]
    assert not missing


def would_run(page, excluded):
    "Does MyST-NB itself choose to execute a page, these patterns being excluded?"
    from myst_nb.core.config import NbParserConfig
    from myst_nb.core.execute import NotebookClientDirect, create_client
    config = NbParserConfig(execution_mode='force', execution_excludepatterns=excluded)
    client = create_client(nbformat.v4.new_notebook(), str(page), config, logging.getLogger(__name__), {})
    return isinstance(client, NotebookClientDirect)


def test_live_page(root, toc, demo):
    "`make book` trains the demo, and nothing else"
    excluded = yaml.safe_load((root/'_config.yml').read_text())['execute']['exclude_patterns']
    pages = [root/f'{file}.ipynb' for file in toc]
    assert [p.stem for p in pages if p.exists() and would_run(p, excluded)]==[demo]


def test_numbers_on_the_cover(root):
    "The README shows the rows that are kept, computed here another way"
    df = pd.read_csv(root/'results/demo.csv')
    text = (root/'README.md').read_text().replace('\u00a0', ' ')
    for bn in (False, True):
        f1 = df[df.final_bn==bn].f1_minority
        assert f'{f1.mean():.2f} ± {f1.std(ddof=1):.2f}' in text


def test_small(root, tracked):
    "Nothing large, and no weights; the scores of all studies stay below 10 MB"
    weights = '.pth', '.pkl', '.npz', '.safetensors'
    scores = [f for f in tracked if f.parts[:2]==('results','scores')]
    large = [str(f) for f in tracked if (root/f).stat().st_size > 2e6]
    assert not large
    assert not [str(f) for f in set(tracked)-set(scores) if f.suffix in weights]
    assert sum((root/f).stat().st_size for f in scores) < 10e6


def test_no_paths_of_a_machine(root, tracked):
    "No absolute path of whoever ran the notebooks"
    of_a_machine = re.compile(r'(/home/\w+|/Users/\w+|/root/|/tmp/\w+|site-packages)')
    found = []
    for f in tracked:
        if f.suffix not in ('.ipynb', '.py', '.md', '.csv', '.yml', '.yaml', '.ini', '.toml', '.in'): continue
        if f.name==Path(__file__).name: continue
        if m := of_a_machine.search((root/f).read_text()): found.append(f'{f}: {m[0]}')
    assert not found


def test_public_names():
    "Everything public comes from the package, `from finalbn_fastai import bn_learner` first of all"
    import finalbn_fastai
    for name in finalbn_fastai.__all__: assert getattr(finalbn_fastai, name) is not None
    assert 'bn_learner' in dir(finalbn_fastai)
    with pytest.raises(AttributeError): getattr(finalbn_fastai, 'no_such_name')


def as_in_settings(value):
    "A value of pyproject.toml in the words of settings.ini"
    if isinstance(value, list): return ' '.join(value)
    return str(value)


def test_nbdev_settings_in_step(settings, pyproject):
    "What nbdev 3 reads is what nbdev 2 and setup.py read"
    project,nbdev = pyproject['project'],pyproject['tool']['nbdev']
    assert project['name']==settings['lib_name']
    assert project['requires-python']=='>='+settings['min_python']
    assert {k: as_in_settings(v) for k,v in nbdev.items()}=={k: settings.get(k) for k in nbdev}
    for key in ('lib_path', 'nbs_path', 'tst_flags', 'allowed_cell_metadata_keys'): assert key in nbdev


def test_version_in_step(root, settings):
    "The package, the change log and the citation name the same version, the change log with its date"
    version = settings['version']
    log = (root/'CHANGELOG.md').read_text()
    newest = re.search(r'^## (.*)$', log, re.M)[1]
    assert re.fullmatch(re.escape(version) + r' \(\d{4}-\d\d-\d\d\)', newest), newest
    assert f'__version__ = "{version}"' in (root/'finalbn_fastai/__init__.py').read_text(), 'run `make export`'
    citation = yaml.safe_load((root/'CITATION.cff').read_text())
    assert citation['version']==version and str(citation['date-released']) in newest


def test_hooks_in_step(root, settings):
    "The commit hooks check with the versions that `make lint` has, and the same files"
    pins = set(settings['dev_requirements'].split())
    hooks = yaml.safe_load((root/'.pre-commit-config.yaml').read_text())['repos'][0]['hooks']
    assert {hook['id'] for hook in hooks}=={'ruff', 'chkstyle', 'nbdev_clean'}
    makefile = (root/'Makefile').read_text()
    for hook in hooks:
        assert hook['additional_dependencies'] and set(hook['additional_dependencies']) <= pins
        assert f"\t{hook['entry']}\n" in makefile


def test_the_lock_is_in_step(root, settings):
    "`constraints.txt` has one version of each requirement for every Python, and `make install` installs it"
    lock = [Requirement(line) for line in (root/'constraints.txt').read_text().splitlines() if line[:1]!='#']
    wanted = [Requirement(r) for name in settings if name.endswith('requirements') for r in settings[name].split()]
    audited = yaml.safe_load((root/'.github/workflows/audit.yml').read_text())['jobs']['audit']
    for python in ('3.10', '3.11', '3.12', '3.13', *audited['strategy']['matrix']['python']):
        here = {'python_version':python, 'python_full_version':f'{python}.0'}
        valid = [r for r in lock if r.marker is None or r.marker.evaluate(here)]
        versions = {canonicalize_name(r.name):str(r.specifier).removeprefix('==') for r in valid}
        assert len(versions)==len(valid), python
        for r in wanted: assert r.specifier.contains(versions[canonicalize_name(r.name)]), f'{r}: run `make lock`'
    assert "install --quiet -c constraints.txt -e '.[dev]'" in (root/'Makefile').read_text()
    assert 'constraints.txt' in audited['steps'][-1]['run']


def test_linked_environment_is_ignored(run, tmp_path, root):
    "A `.venv` that is a link to another folder does not become part of the repository"
    run('git', 'init', '--quiet', cwd=tmp_path)
    shutil.copy(root/'.gitignore', tmp_path)
    (tmp_path/'.venv').symlink_to(root)
    done = run('git', 'status', '--short', cwd=tmp_path)
    assert done.stdout=='?? .gitignore\n'


def test_actions_are_pinned(root):
    "Workflows may do nothing unless a job says so, and use actions by the hash of a commit"
    for path in (root/'.github/workflows').glob('*.yml'):
        text = path.read_text()
        assert yaml.safe_load(text)['permissions']=={}, path
        used = re.findall(r'uses: (.*)', text)
        assert used and all(re.fullmatch(r'[\w/-]+@[0-9a-f]{40}  # v[\d.]+', action) for action in used), used


def test_says_how_to_get_a_browser(run, root, tmp_path):
    "On a machine without one, the summary of the tests names the command that installs it"
    env = {k:v for k,v in os.environ.items() if k!='CHROMIUM'} | {'PATH': '', 'PLAYWRIGHT_BROWSERS_PATH': str(tmp_path)}
    done = run('pytest', '-q', '-p', 'no:cacheprovider', 'tests/test_axe.py', cwd=root, env=env)
    assert done.returncode==0, done.stdout
    assert 'apt-get install chromium' in done.stdout and 'playwright install chromium' in done.stdout
