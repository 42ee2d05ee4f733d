"What holds the repository together: exported, clean, in step, nothing that does not belong"
import json, re, shutil
from pathlib import Path
import pandas as pd, pytest


def same(a, b):
    "Do two files hold the same bytes?"
    return a.read_bytes()==b.read_bytes()


@pytest.fixture(scope='module')
def copy(root, tracked, tmp_path_factory):
    "The repository's files, copied"
    dest = tmp_path_factory.mktemp('copy')
    for f in tracked:
        (dest/f).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root/f, dest/f)
    return dest


def test_exported(run, root, tracked, copy):
    "`nbdev_export` changes nothing: the library is what the notebooks say"
    shutil.rmtree(copy/'finalbn_fastai')
    (copy/'finalbn_fastai').mkdir()
    done = run('nbdev_export', cwd=copy)
    assert done.returncode==0, done.stderr
    made = {p.name for p in (copy/'finalbn_fastai').glob('*.py')}
    assert made=={f.name for f in tracked if f.parent.name=='finalbn_fastai' and f.suffix=='.py'}
    differ = [n for n in sorted(made) if not same(root/'finalbn_fastai'/n, copy/'finalbn_fastai'/n)]
    assert not differ, f'run `make export` and commit: {differ}'


def test_clean(run, root, tracked, copy):
    "`nbdev_clean` changes nothing"
    done = run('nbdev_clean', cwd=copy)
    assert done.returncode==0, done.stderr
    differ = [str(f) for f in tracked if f.suffix=='.ipynb' and not same(root/f, copy/f)]
    assert not differ, f'run `nbdev_clean` and commit: {differ}'


def test_readme(run, root, copy):
    "The README is made from the cover"
    done = run('python', '-c', 'from finalbn_fastai.book import readme; readme()', cwd=copy)
    assert done.returncode==0, done.stderr
    assert same(root/'README.md', copy/'README.md'), 'run `make readme` and commit'


def test_outputs(root, tracked):
    "Every notebook was run before it was committed, top to bottom and without an error"
    for f in tracked:
        if f.suffix!='.ipynb': continue
        cells = [c for c in json.loads((root/f).read_text())['cells'] if c['cell_type']=='code']
        errors = [o for c in cells for o in c['outputs'] if o['output_type']=='error']
        assert not errors, f
        if '_package' not in f.name and '_book' not in f.name: assert any(c['outputs'] for c in cells), f'{f} has no outputs: `make run-notebooks`'


def test_figures_are_there(root, tracked):
    "Every cell that describes a figure has one"
    missing = []
    for f in tracked:
        if f.suffix!='.ipynb': continue
        for c in json.loads((root/f).read_text())['cells']:
            if c['cell_type']=='code' and '#| fig-alt: ' in ''.join(c['source'][:4]) and '_book' not in f.name:
                if not any('image/png' in o.get('data', {}) for o in c['outputs']): missing.append(f"{f} {c['id']}")
    assert not missing


def test_numbers_on_the_cover(root):
    "The README shows the rows that are kept, computed here another way"
    df = pd.read_csv(root/'results/demo.csv')
    text = (root/'README.md').read_text()
    for bn in (False, True):
        o = df[df.final_bn==bn].f1_minority
        assert f'{o.mean():.2f} ± {o.std(ddof=1):.2f}' in text


def test_small(root, tracked):
    "Nothing large, and no weights"
    large = [str(f) for f in tracked if (root/f).stat().st_size > 2e6 or f.suffix in ('.pth', '.pkl', '.npz', '.safetensors')]
    assert not large


def test_no_paths_of_a_machine(root, tracked):
    "No absolute path of whoever ran the notebooks"
    found = []
    for f in tracked:
        if f.suffix not in ('.ipynb', '.py', '.md', '.csv', '.yml', '.ini', '.toml'): continue
        if m := re.search(r'(/home/\w+|/Users/\w+|/root/|/tmp/\w+|site-packages)', (root/f).read_text()):
            if f.name!=Path(__file__).name: found.append(f'{f}: {m[0]}')
    assert not found


def test_public_names():
    "Everything public comes from the package, `from finalbn_fastai import bn_learner` first of all"
    import finalbn_fastai
    for name in finalbn_fastai.__all__: assert getattr(finalbn_fastai, name) is not None
    assert 'bn_learner' in dir(finalbn_fastai)
    with pytest.raises(AttributeError): finalbn_fastai.no_such_name
