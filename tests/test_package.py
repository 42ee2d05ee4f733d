"The built wheel, in a clean environment of its own, with the newest fastai"
import os, venv
from zipfile import ZipFile
import pytest

pytestmark = pytest.mark.slow

SMOKE = """
import sys
from fastai.vision.all import *
from finalbn_fastai import FinalBN, bn_learner, final_bn, fold_final_bn, recompute_stats, minority_f1
import finalbn_fastai
assert sys.prefix in finalbn_fastai.__file__, finalbn_fastai.__file__
import fastai; print('fastai', fastai.__version__)

def picture(i): return PILImage.create((np.random.RandomState(i).rand(32,32,3)*100 + 150*(i%4==0)).astype(np.uint8))
def label(i): return 'rare' if i%4==0 else 'common'
db = DataBlock((TransformBlock(type_tfms=picture), CategoryBlock), get_y=label, splitter=IndexSplitter(range(8)), item_tfms=ToTensor, batch_tfms=IntToFloatTensor)
dls = db.dataloaders(list(range(40)), bs=16, num_workers=0, device='cpu')
learn = bn_learner(dls, resnet18, pretrained=False, metrics=minority_f1(dls), path='.')
with learn.no_bar():
    learn.fit_one_cycle(1); recompute_stats(learn); before = learn.get_preds()[0]; fold_final_bn(learn)
    torch.testing.assert_close(learn.get_preds()[0], before, rtol=1e-5, atol=1e-5)
    learn.export(); again = load_learner('export.pkl')
    torch.testing.assert_close(again.get_preds(dl=dls.valid)[0], before, rtol=1e-5, atol=1e-5)
own = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3*32*32, 2)), loss_func=CrossEntropyLossFlat(), cbs=FinalBN())
with own.no_bar(): own.fit(1)
assert final_bn(own) is own.model[-1] and final_bn(learn) is None
"""


@pytest.fixture(scope='module')
def wheel(run, root, tmp_path_factory):
    "The wheel, built as it would be for PyPI"
    dest = tmp_path_factory.mktemp('dist')
    done = run('python', '-m', 'build', '--wheel', '--outdir', dest, root)
    assert done.returncode==0, done.stdout+done.stderr
    return next(dest.glob('*.whl'))


@pytest.fixture(scope='module')
def clean_bin(run, wheel, tmp_path_factory):
    "A new environment with the wheel and what it asks for, nothing else"
    env = tmp_path_factory.mktemp('env')
    venv.create(env, with_pip=True)
    done = run(env/'bin/python', '-m', 'pip', 'install', '--quiet', wheel)
    assert done.returncode==0, done.stderr
    return env/'bin'


def test_contents(wheel):
    "The library and the paper's numbers, not the notebooks, results or tests"
    names = {n for n in ZipFile(wheel).namelist() if '.dist-info' not in n}
    assert {'finalbn_fastai/head.py', 'finalbn_fastai/paper_tables.csv', 'finalbn_fastai/__init__.py'} <= names
    assert all(n.startswith('finalbn_fastai/') and n.endswith(('.py', '.csv')) for n in names), names


def test_installed(run, clean_bin, tmp_path):
    "Import, train, fold, export and load, in the clean environment"
    env = {k:v for k,v in os.environ.items() if not k.startswith(('PYTHON', 'VIRTUAL_ENV'))}
    done = run(clean_bin/'python', '-W', 'ignore', '-c', SMOKE, cwd=tmp_path, env=env)
    print(done.stdout)
    assert done.returncode==0, done.stderr


def test_command(run, clean_bin, tmp_path):
    "The command is installed, and trains"
    done = run(clean_bin/'finalbn', 'demo', '--seeds', 1, '--epochs', 2, '--out', tmp_path)
    assert done.returncode==0, done.stderr
    assert (tmp_path/'demo.csv').exists()
