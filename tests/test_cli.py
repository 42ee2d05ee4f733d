"The `finalbn` command, as a user meets it"
import os, shutil, signal, subprocess, sys, time
from pathlib import Path
import numpy as np, pandas as pd, pytest
from PIL import Image


def test_help_needs_no_torch(run):
    "`--help` answers without importing PyTorch, and names the commands"
    script = "from finalbn_fastai.cli import main\nmain(['--help'])"
    done = run('python', '-X', 'importtime', '-c', script)
    assert done.returncode==0 and 'demo' in done.stdout
    times = [line for line in done.stderr.splitlines() if line.startswith('import time')]
    imported = {line.split('|')[-1].strip() for line in times}
    assert 'typer' in imported
    assert not imported & {'torch', 'fastai', 'pandas', 'numpy', 'matplotlib'}


@pytest.mark.parametrize('args,words', [
    (['demo', '--seeds', '0'], '--seeds'),
    (['demo', '--seeds', 'many'], '--seeds'),
    (['demo', '--epochs', '-1'], '--epochs'),
    (['demo', '--ratio', '2'], 'ratio=2'),
    (['demo', '--ratio', '0'], 'ratio=0'),
    (['demo', '--ratio', 'nan'], 'ratio=nan'),
    (['demo', '--minority', '12'], '--minority'),
    (['demo', '--minority', '8'], 'both 8'),
    (['demo', '--device', 'gpu'], "no device 'gpu' here"),
    (['demo', '--out', '/proc/nowhere'], 'cannot write to /proc/nowhere'),
    (['demo', '--sede', '3'], '--sede'),
    (['dmo'], 'dmo'),
])
def test_wrong_values_get_one_line(run, tmp_path, args, words):
    "One line on stderr, exit code 2, no traceback, nothing left behind"
    done = run('finalbn', *args, cwd=tmp_path)
    assert done.returncode==2, done.stderr
    assert words in done.stderr and done.stderr.count('\n')==1, done.stderr
    assert not list(tmp_path.iterdir())


def test_out_is_a_file(run, tmp_path):
    "One line too where a file has the name of the folder"
    (tmp_path/'taken').write_text('x')
    done = run('finalbn', 'demo', '--out', tmp_path/'taken')
    assert done.returncode==2 and done.stderr.count('\n')==1, done.stderr


def test_no_command_shows_the_help(run):
    "Without a command: the help, and exit code 2"
    for args in ((), ('bench',)):
        done = run('finalbn', *args)
        assert done.returncode==2 and 'Usage: finalbn' in done.stdout and not done.stderr


@pytest.mark.slow
def test_interrupted(tmp_path):
    "Ctrl-C: one line, exit code 130, and what was measured is kept"
    def heed_sigint():
        "A shell that runs the tests in the background passes SIGINT on as ignored"
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    rows = tmp_path/'demo.csv'
    args = [Path(sys.executable).parent/'finalbn', 'demo', '--seeds', '50', '--epochs', '20', '--out', tmp_path]
    child = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=heed_sigint)
    deadline = time.monotonic()+120
    while not rows.exists() and time.monotonic()<deadline: time.sleep(.1)
    time.sleep(1)
    child.send_signal(signal.SIGINT)
    err = child.communicate(timeout=60)[1]
    n = len(pd.read_csv(rows))
    assert child.returncode==130 and 0<n<100
    assert err.count('\n')==1 and f'{n} finished runs are in' in err


def test_version(run):
    "The command and the package say the same"
    import finalbn_fastai
    assert run('finalbn', '--version').stdout.strip()==finalbn_fastai.__version__


def test_demo(run, tmp_path):
    "A short demo writes its rows and its figure, and the same seeds give the same rows in another company"
    rows = {}
    for n in (1, 2):
        out = tmp_path/str(n)
        done = run('finalbn', 'demo', '--seeds', n, '--epochs', 3, '--minority', 2, '--out', out)
        assert done.returncode==0, done.stderr
        assert all(words in done.stdout for words in ('2 (minority)', 'final BN', 'not'))
        rows[n] = pd.read_csv(out/'demo.csv').sort_values(['seed', 'final_bn'], ignore_index=True)
        assert len(rows[n])==2*n
        assert (out/'demo.png').stat().st_size > 5000
    alone,together = rows[1],rows[2]
    scores = [c for c in alone if c.startswith(('f1', 'precision', 'recall'))]
    assert len(scores)==7
    pd.testing.assert_frame_equal(alone[scores], together[together.seed==0][scores])


def test_demos_in_one_folder(run, tmp_path):
    "Other options add rows of their own; the same options again train nothing and show the same table"
    def demo(*options):
        done = run('finalbn', 'demo', '--seeds', 1, '--epochs', 2, *options, '--out', tmp_path)
        assert done.returncode==0, done.stderr
        return done.stdout, (tmp_path/'demo.csv').read_text()
    first,alone = demo()
    other,both = demo('--ratio', '0.02')
    again,after = demo()
    assert both.startswith(alone) and both.count('\n')==5
    assert after==both
    def table(text): return [line for line in text.splitlines() if line.strip().startswith(('F1', 'ROC'))]
    assert len(table(first))==4 and table(first)==table(again)!=table(other)
    assert '400 images of 8 and 8 of 3' in ' '.join(other.split())


def test_dry_run_of_short_runs(run, tmp_path):
    "A run of a single step can be planned as well"
    script = """
from finalbn_fastai import DIGITS, Study, study
from finalbn_fastai.cli import main
grid = dict(epochs=1, n_majority=100, ratio=.02, source='embedded')
tiny = Study('tiny', DIGITS, grid, seeds=2)
study.all_studies = lambda: {'tiny': tiny}
main(['run', 'tiny', '--dry-run', '--out', 'out'])
"""
    done = run('python', '-W', 'ignore', '-c', script, cwd=tmp_path)
    assert done.returncode==0, done.stderr
    assert '4 runs to do' in done.stdout and 'about' in done.stdout and '?' not in done.stdout
    assert not list(tmp_path.iterdir())


def test_benchmarks_come_with_the_repository(run, root, tmp_path):
    "Where the package was installed without them: one line"
    without = shutil.ignore_patterns('benchmarks', '__pycache__')
    shutil.copytree(root/'finalbn_fastai', tmp_path/'finalbn_fastai', ignore=without)
    script = """
import sys
sys.meta_path = [f for f in sys.meta_path if '_EditableFinder' not in repr(f)]  # which would find the checkout's
from finalbn_fastai.cli import main
main(['bench', 'data'])
"""
    done = run('python', '-W', 'ignore', '-c', script, cwd=tmp_path)
    assert done.returncode==2, done.stderr
    assert 'come with the repository' in done.stderr and done.stderr.count('\n')==1


@pytest.mark.slow
def test_demo_finds_the_effect(run, tmp_path):
    "The demo as it comes: the minority gains in every seed, and the table stands beside the paper's"
    start = time.perf_counter()
    done = run('finalbn', 'demo', '--out', tmp_path)
    print(f'finalbn demo: {time.perf_counter()-start:.0f} s')
    assert done.returncode==0, done.stderr
    assert '0.67' in done.stdout and '0.88' in done.stdout
    f1 = pd.read_csv(tmp_path/'demo.csv').pivot(index='seed', columns='final_bn', values='f1_minority')
    assert len(f1)==5 and (f1[True]-f1[False] > .2).all()


def paint(folder, counts):
    "Folders of grey squares, brighter from class to class, with a little noise"
    rng = np.random.default_rng(0)
    for i,(name,n) in enumerate(counts.items()):
        (folder/name).mkdir(parents=True)
        for k in range(n):
            x = rng.normal(90+25*i, 20, (32,32,3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(x).save(folder/name/f'{k:03}.png')
    return folder


def test_compare(run, tmp_path):
    "One sentence, a table and a report; another prevalence trains nothing, and a report is of one folder"
    env = {**os.environ, 'FINALBN_CACHE': str(tmp_path/'cache')}
    paint(tmp_path/'lamps', dict(off=70, on=15))
    def compare(*args): return run('finalbn', 'compare', 'lamps', '--size', 32, '--epochs', 1, '--bs', 16, '--seeds', 2,
                                   '--workers', 1, *args, cwd=tmp_path, env=env)
    done = compare()
    assert done.returncode==0, done.stderr
    assert "Too few rare images to tell: 15 of 'on'" in ' '.join(done.stdout.split())
    assert '17.65 %' in done.stdout and 'bn_learner(dls' in done.stdout
    rows,table = sorted((tmp_path/'finalbn-compare').glob('*.csv'), key=lambda f: len(f.name))
    before = rows.read_bytes()
    report = rows.with_suffix('.html').read_text()
    assert '--seeds 2' in report and 'finalbn compare lamps' in report
    done = compare('--prevalence', .01)
    assert done.returncode==0, done.stderr
    assert 'Where 1 % of the images' in done.stdout and rows.read_bytes()==before
    assert pd.read_csv(table).prevalence.min()==.01


@pytest.mark.parametrize('args,words', [
    (['nowhere'], 'nowhere is not there'),
    (['lamps', '--prevalence', '2'], 'prevalence=2.0'),
])
def test_compare_refuses_in_one_line(run, tmp_path, args, words):
    "Exit code 2, one line, nothing written but the cache"
    paint(tmp_path/'lamps', dict(off=20, on=10))
    env = {**os.environ, 'FINALBN_CACHE': str(tmp_path/'cache')}
    done = run('finalbn', 'compare', *args, cwd=tmp_path, env=env)
    assert done.returncode==2 and words in done.stderr and done.stderr.count('\n')==1, done.stderr
    assert {f.name for f in tmp_path.iterdir()}<={'lamps', 'cache'}
