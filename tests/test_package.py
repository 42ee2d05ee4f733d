"The built wheel and source distribution; the wheel in a clean environment of its own, with the newest fastai"
import os, pytest, venv
from zipfile import ZipFile

pytestmark = pytest.mark.slow


def build(run, source, dest, *kinds):
    "Build a checkout as it would be for PyPI; the folder of what came out"
    done = run('python', '-m', 'build', *kinds, '--outdir', dest, source)
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
def clean_bin(run, wheel, tmp_path_factory):
    "A new environment with the wheel and what it asks for, nothing else"
    env = tmp_path_factory.mktemp('env')
    venv.create(env, with_pip=True)
    done = run(env/'bin/python', '-m', 'pip', 'install', '--quiet', wheel)
    assert done.returncode==0, done.stderr
    return env/'bin'


def test_contents(wheel, tracked):
    "The library and the paper's numbers; not the notebooks, results, tests or benchmarks, nor nbdev's index of links"
    found = {n for n in contents(wheel) if '.dist-info' not in n}
    assert {'finalbn_fastai/head.py', 'finalbn_fastai/paper_tables.csv', 'finalbn_fastai/__init__.py'} <= found
    library = {f.as_posix() for f in tracked if f.parts[0]=='finalbn_fastai'}
    left_out = {n for n in library if n.endswith('/_modidx.py') or '/benchmarks/' in n}
    assert 'finalbn_fastai/_modidx.py' in left_out
    assert found==library-left_out


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


def test_command(run, clean_bin, tmp_path):
    "The command is installed, and trains"
    done = run(clean_bin/'finalbn', 'demo', '--seeds', 1, '--epochs', 2, '--out', tmp_path)
    assert done.returncode==0, done.stderr
    assert (tmp_path/'demo.csv').exists()
