"What `from finalbn_fastai import ...` costs and offers: to Python, to editors, and without the packages of the book"
import ast, json, os, pytest

# What the extra `book` brings, but for what PyTorch, fastai and timm load themselves
BOOK = ['typer', 'mlxtend', 'torchmetrics', 'pooch', 'tabulate', 'psutil', 'IPython']

WITHOUT = f"""
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition('.')[0] in {BOOK}: return
        return PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""

ASKED = {
    'from finalbn_fastai import mnist': 'pooch',
    'from finalbn_fastai.digits import mnist': 'pooch',
    'from finalbn_fastai import probability_scores as p; p([0, 1], [.1, .9])': 'torchmetrics',
    'from finalbn_fastai import show; import pandas as pd; show(pd.DataFrame())': 'IPython'}

USED = f"""
import json
def loaded(): return {{m.partition('.')[0] for m in sys.modules}}

import finalbn_fastai
at_first = loaded()
import fastai.vision.all
before = loaded()
from finalbn_fastai import bn_learner, FinalBN, minority_f1, class_scores, fold_final_bn, recompute_stats
from finalbn_fastai import choose_threshold
beside = loaded() - before
import smoke
smoke.check()

from finalbn_fastai.extras import MissingExtra
said = []
for line in {list(ASKED)}:
    try: exec(line)
    except MissingExtra as e: said.append(str(e))
print(json.dumps(dict(at_first=list(at_first), beside=list(beside), said=said, here=smoke.offered())))
"""


@pytest.fixture(scope='module')
def used(run, root):
    "What a Python without the packages of the book loads, trains and says"
    path = os.pathsep.join([str(root/'tests'), str(root)])
    done = run('python', '-W', 'ignore', '-c', WITHOUT+USED, env={**os.environ, 'PYTHONPATH': path})
    assert done.returncode==0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope='module')
def stub(root):
    "The stub of the face, parsed"
    return ast.parse((root/'finalbn_fastai/__init__.pyi').read_text())


def test_importing_the_package_loads_nothing(used):
    "`import finalbn_fastai` waits for nobody"
    assert not {'torch', 'fastai', 'pandas', 'numpy', 'sklearn', 'matplotlib', 'timm'} & set(used['at_first'])


def test_importing_the_learner_costs_what_fastai_costs(used):
    "The learner, the layer, the scores and the thresholds load nothing beside `fastai.vision.all`"
    assert used['beside']==[]


def test_without_the_book(used):
    "It trains, chooses a threshold, folds, exports and loads (`smoke.py`), and offers what needs no more than fastai"
    here = set(used['here'])
    assert {'bn_learner', 'FinalBN', 'choose_threshold', 'class_scores', 'probability_scores', 'Study'} <= here
    assert not here & {'mnist', 'digit_dls', 'plantvillage'}


def test_the_extra_is_named(used):
    "Where something of the book is asked for, one line says how to install it"
    expected = [f"{package} is not installed: pip install 'finalbn_fastai[book]'" for package in ASKED.values()]
    assert used['said']==expected


def test_command_without_the_book(run):
    "`finalbn` without typer: one line that names the extra, and exit code 2"
    script = WITHOUT + 'from finalbn_fastai.extras import command\ncommand()'
    done = run('python', '-c', script)
    assert done.returncode==2
    assert done.stderr=="finalbn: typer is not installed: pip install 'finalbn_fastai[book]'\n"


def test_stub_in_step(root):
    "The stub is what the names of the face make it"
    import finalbn_fastai
    from finalbn_fastai.book import face_stub
    made = face_stub(finalbn_fastai._names)
    assert made==(root/'finalbn_fastai/__init__.pyi').read_text(), 'run `make export` and commit'


def test_stub_offers_the_face(stub):
    "Editors see the names that Python sees, each of them once, and no other"
    import finalbn_fastai
    imported = [a.asname for o in stub.body if isinstance(o, ast.ImportFrom) and o.level for a in o.names]
    defined = [o.name for o in stub.body if isinstance(o, ast.FunctionDef)]
    assert sorted(imported+defined)==sorted(finalbn_fastai.__all__)


@pytest.mark.parametrize('code,parameters', [
    ('from finalbn_fastai import bn_learner\nbn_learner(', {'momentum', 'prior', 'pretrained', 'metrics'}),
    ('import finalbn_fastai as f\nf.minority_f1(', {'dls'}),
    ('from finalbn_fastai import FinalBN\nFinalBN(', {'momentum', 'affine'}),
])
def test_editors_show_parameters(root, code, parameters):
    "What Jupyter and editors on jedi show, reading the code and running none"
    import jedi
    script = jedi.Script(code, project=jedi.Project(root))
    signature, = script.get_signatures()
    assert parameters <= {p.name for p in signature.params}
