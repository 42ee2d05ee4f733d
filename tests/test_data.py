"Decoding and drawing, on the real data where they are"
import hashlib, os, signal, subprocess
from pathlib import Path
import finalbn_fastai.downloads as downloads, pytest
from finalbn_fastai.data import image_array
from finalbn_fastai.digits import digit_dls, mnist
from finalbn_fastai.leaves import PLANTS, plantvillage
from helpers import picture, run_python

def test_cache_on_a_read_only_folder(tmp_path, monkeypatch):
    "No cache is no reason to give up: a warning, and the images"
    (tmp_path/'file').write_text('not a folder')
    monkeypatch.setenv('FINALBN_CACHE', str(tmp_path/'file/cache'))
    (tmp_path/'1.jpg').write_bytes(picture(1))
    with pytest.warns(UserWarning, match='set FINALBN_CACHE'): x = image_array([tmp_path/'1.jpg'], 8)
    assert x.shape==(1, 8, 8, 3)


def test_cache_write_killed(tmp_path, monkeypatch):
    "A write that dies leaves no half cache under the cache's name"
    cache,file = tmp_path/'cache',tmp_path/'1.jpg'
    monkeypatch.setenv('FINALBN_CACHE', str(cache))
    file.write_bytes(picture(1))
    code = ("import os, signal, numpy as np\n"
            "from finalbn_fastai.data import image_array\n"
            "def die(f, a):\n"
            "    f.write(b'half')\n"
            "    f.flush()\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
            "np.lib.format.write_array = die\n"
            f"image_array([{str(file)!r}], 8)")
    assert run_python(code).wait()==-signal.SIGKILL
    assert not list(cache.glob('*.npy'))
    assert image_array([file], 8).shape==(1, 8, 8, 3)
    assert len(list(cache.glob('*.npy')))==1


def test_two_processes_decode_once(tmp_path):
    "One cache file, whole, and both have the images"
    for i in range(40): (tmp_path/f'{i}.jpg').write_bytes(picture(i))
    code = ("from pathlib import Path\n"
            "from finalbn_fastai.data import image_array\n"
            f"files = sorted(Path({str(tmp_path)!r}).glob('*.jpg'))\n"
            "print(image_array(files, 64).sum())")
    env = {**os.environ, 'FINALBN_CACHE': str(tmp_path/'cache')}
    children = [run_python(code, stdout=subprocess.PIPE, text=True, env=env) for _ in range(2)]
    sums = {c.communicate(timeout=120)[0].strip() for c in children}
    assert len(sums)==1 and sums!={''} and len(list((tmp_path/'cache').glob('*.npy')))==1


def test_digits_without_the_full_set(tmp_path, monkeypatch):
    "The 5,000 embedded digits stand in, and that is said"
    monkeypatch.setenv('FINALBN_DATA', str(tmp_path))
    monkeypatch.setattr(downloads, 'fastai_path', lambda _: tmp_path)
    with pytest.warns(UserWarning, match='full MNIST is not here'): assert len(mnist().y)==5000


def test_doctor(run, tmp_path):
    "Everything is named, found or with the size of its download, and wrong folders get one line"
    homes = {'FASTAI_HOME': str(tmp_path/'home'), 'TORCH_HOME': str(tmp_path/'torch')}
    env = {**os.environ, **homes, 'FINALBN_DATA': str(tmp_path)}
    done = run('finalbn', 'doctor', env=env)
    assert done.returncode==0, done.stderr
    named = 'MNIST, full','PlantVillage: tomato','VGG-16','AlexNet','VGG-19','EfficientNet-Lite0','5,000'
    sizes = [f'would download {mb} MB' for mb in (868, 11, 528, 233, 548)]
    for words in (*named, *sizes): assert words in done.stdout
    done = run('finalbn', 'doctor', env={**env, 'FINALBN_DATA': str(tmp_path/'nowhere')})
    assert done.returncode==2 and done.stderr.count('\n')==1 and 'nowhere' in done.stderr


real = pytest.mark.skipif(not os.environ.get('FINALBN_DATA'), reason='FINALBN_DATA names no folder with the real data')


def files(df, split): return set(df[df.split==split].file)


@real
@pytest.mark.parametrize('plant', PLANTS)
def test_ratio_sweep_of_leaves(plant):
    "With more unhealthy leaves, those of the smaller training set stay, and the test set is the same"
    sweep = [plantvillage(plant, seed=1, train=(1000, n)) for n in (5, 10, 100)]
    few,ten,many = (files(df[df.label=='unhealthy'], 'train') for df in sweep)
    assert [len(o) for o in (few, ten, many)]==[5, 10, 100]
    assert few < ten < many
    tests = [files(df, 'test') for df in sweep]
    assert tests[0]==tests[1]==tests[2] and len(tests[0])==300


@real
def test_leaves_kept_together():
    together = plantvillage('pepper', seed=1, by_leaf=True)
    assert together.groupby('leaf').split.nunique().max()==1 and len(together)==1467


@real
@pytest.mark.parametrize('few,many', [(3,8), (2,8), (3,5), (3,(5,8)), ((3,5),8)])
def test_digits_in_every_setting(few, many):
    "The minority digits are one in a hundred of the rarest majority digit"
    dls = digit_dls(few, many, seed=1)
    assert 'full MNIST' in dls.source
    n_many = min(dls.counts[c] for c in dls.vocab if c not in dls.minority)
    assert dls.minority
    for c in dls.minority: assert dls.counts[c]==round(.01*n_many)


DRAWN = {'apple': 'f6a9389db279', 'pepper': '7c88f2381846', 'tomato': 'c5f63f0a26e2'}


@real
def test_the_same_draw_on_every_machine():
    "The names drawn by seed 0 are part of the book's results: a change of the draw must be noticed"
    def name(file): return '/'.join(Path(file).parts[-2:]).lower()
    def digest(plant):
        names = '\n'.join(map(name, plantvillage(plant, seed=0).file))
        return hashlib.sha256(names.encode()).hexdigest()[:12]
    assert {p: digest(p) for p in PLANTS}==DRAWN


@real
@pytest.mark.slow
def test_bench_prints_its_table(run):
    done = run('finalbn', 'bench', 'data', '--size', 64)
    assert done.returncode==0, done.stderr
    assert '1,467 images' in done.stdout and 'peak memory' in done.stdout
    assert run('finalbn', 'bench', 'data', '--plant', 'potato').returncode==2
