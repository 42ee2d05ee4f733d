"What the command says to wrong command lines, and what it leaves of a demo that is killed, or of two at once"
import csv, json, os
import pandas as pd, pytest
from wrong_commands import EARLY, LATE


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    "An environment without data, cache and results"
    home = tmp_path_factory.mktemp('home')
    env = {k:v for k,v in os.environ.items() if not k.startswith(('FINALBN_', 'XDG_'))}
    return dict(env, HOME=str(home), FINALBN_CACHE=str(home/'cache'), PYTHONWARNINGS='ignore')


@pytest.fixture(scope='module')
def answers(run, root, home, tmp_path_factory):
    "What was said to each line, by a process that has not loaded PyTorch and by one that has"
    def ask(which):
        place = tmp_path_factory.mktemp(which)
        env = dict(home, FINALBN_CACHE=str(place/'cache'))
        done = run('python', root/'tests/wrong_commands.py', which, cwd=place, env=env)
        assert done.returncode==0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])
    return {which:ask(which) for which in ('early', 'late')}


def check(answer, words):
    "Exit code 2, one line that has the words, no traceback, nothing left behind"
    assert not answer['error']
    assert answer['code']==2 and answer['err'].count('\n')==1 and words in answer['err'], answer
    assert not answer['left']


@pytest.mark.parametrize('words,line', EARLY)
def test_what_needs_no_torch(answers, words, line):
    "Said in under two seconds, and in the same words where PyTorch is loaded"
    early,late = (answers[which]['answers'][line] for which in ('early', 'late'))
    check(early, words)
    assert early['seconds']<2
    assert (late['code'],late['err'],late['left'])==(early['code'],early['err'],early['left'])


@pytest.mark.parametrize('words,line', LATE)
def test_what_needs_torch(answers, words, line):
    "Devices, bodies, images and data"
    check(answers['late']['answers'][line], words)


def test_how_many(answers):
    "At least 250 lines, each once; and PyTorch was loaded only where it was needed"
    lines = [line for _,line in EARLY+LATE]
    assert len(set(lines))==len(lines)>=250
    assert [answers[which]['torch'] for which in ('early', 'late')]==[False,True]


DRY = """
import os, socket, sys
from pathlib import Path
from finalbn_fastai.cli import main
from finalbn_fastai.downloads import data_folders
import finalbn_fastai.tables
sys.path.insert(0, {tests!r})
from wrong_commands import paint

data = Path('data').resolve()
paint(data/'plantvillage/raw/color', Apple___healthy=1300, Apple___Apple_scab=167)
data_folders()
def lies(): return {{f: f.stat().st_mtime_ns for d in ('.', os.environ['HOME']) for f in Path(d).rglob('*')}}
before = lies()
def no_network(*args, **kwargs): raise SystemExit('the network was asked for')
socket.socket.connect = socket.getaddrinfo = no_network

def dry_run(line, out='out'):
    print(f'== {{line}}')
    try: main(['run', *line.split(), '--dry-run', '--out', out])
    except SystemExit as e: assert not e.code, e.code
dry_run('h6_sigmoid --seeds 1')
dry_run('finding --only plant=apple --seeds 1')
os.environ['FINALBN_DATA'] = str(data)
dry_run('finding --only plant=apple --seeds 1')
dry_run('h1_inference --only plant=apple --only arch=vgg19 --seeds 1')
dry_run('demo --seeds 1', '[red]x[/]')
print('==', sorted(map(str, dict(set(lies().items())-set(before.items())))))
"""


def test_dry_run_changes_nothing(run, root, home, tmp_path):
    "A dry run downloads nothing, writes nothing anywhere, and says what a run would do"
    done = run('python', '-c', DRY.format(tests=str(root/'tests')), cwd=tmp_path, env=home)
    assert done.returncode==0, done.stderr
    said = [' '.join(part.split()) for part in done.stdout.split('== ')[1:]]
    words = 'download 11 MB', 'download 868 MB', 'compute features', 'MB from download.pytorch.org', 'about', '[]'
    assert len(said)==6 and all(w in s for w,s in zip(words, said, strict=True)), said
    assert all('not known until then' in s for s in said[:4]), said
    assert '2 runs to do, 0 are in [red]x[/]/demo.csv' in said[4], said


DEMOS = """
import json, os, random, signal, sys, time
from pathlib import Path
import finalbn_fastai.studies.demo, torch
from PIL import Image
from finalbn_fastai.cli import main
torch.set_num_threads(1)

def start(out, err, *options, seeds='4'):
    'A demo in a process of its own'
    pid = os.fork()
    if pid: return pid
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream,fd in (('/dev/null',1), (err,2)): os.dup2(os.open(stream, os.O_WRONLY|os.O_CREAT), fd)
    main(['demo', '--epochs', '1', '--seeds', seeds, '--out', out, *options])

try: main(['demo', '--epochs', '1', '--seeds', '1', '--out', 'warm'])
except SystemExit: pass

def wait(pid): return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def rows(out):
    try: return Path(out, 'demo.csv').read_text()
    except FileNotFoundError: return ''
def until_rows(out):
    while not rows(out): time.sleep(.01)

began = time.perf_counter()
codes = [wait(start('whole', 'err'))]
whole,draw,lines = time.perf_counter()-began,random.Random(0),[]
for _ in range(10):
    pid = start('killed', 'err')
    time.sleep(draw.uniform(0, whole))
    os.kill(pid, signal.SIGKILL)
    wait(pid)
    lines.append(rows('killed'))
    if Path('killed/demo.png').exists(): Image.open('killed/demo.png').load()
codes.append(wait(start('killed', 'err')))

first = start('shared', 'first', seeds='8')
until_rows('shared')
codes += [wait(start('shared', 'second', '--minority', '2')), wait(first)]

pid = start('stopped', 'stop', seeds='200')
until_rows('stopped')
for _ in range(5):
    os.kill(pid, signal.SIGINT)
    time.sleep(.02)
codes.append(wait(pid))
print(json.dumps(dict(lines=lines, codes=codes)))
"""


def scores(out):
    "The rows of a demo, without what is another each time"
    rows = pd.read_csv(out/'demo.csv').drop(columns=['seconds', 'date'])
    return rows.sort_values(['seed', 'final_bn'], ignore_index=True)


@pytest.mark.slow
def test_demos_killed_and_two_at_once(run, home, tmp_path):
    "Ten kills lose, double and tear no row; a second demo in the folder is refused; Ctrl-C five times gives one line"
    done = run('python', '-c', DEMOS, cwd=tmp_path, env=home)
    assert done.returncode==0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    for before,after in zip(said['lines'], said['lines'][1:]): assert after.startswith(before)
    assert len({len(row) for text in said['lines'] for row in csv.reader(text.splitlines())})==1
    assert all(text.endswith('\n') for text in said['lines'] if text)
    assert said['codes'] in ([0, 0, 2, 0, 130], [0, 0, 2, 0, -2])
    stop = (tmp_path/'stop').read_text()
    assert stop.count('\n')==1 and f"{len(pd.read_csv(tmp_path/'stopped/demo.csv'))} finished runs are in" in stop, stop
    pd.testing.assert_frame_equal(scores(tmp_path/'killed'), scores(tmp_path/'whole'))
    assert len(scores(tmp_path/'whole'))==8 and len(scores(tmp_path/'shared'))==16
    assert 'another process' in (tmp_path/'second').read_text() and (tmp_path/'second').read_text().count('\n')==1
    for out in ('killed', 'whole', 'shared'):
        assert {f.name for f in (tmp_path/out).iterdir() if f.name[0]!='.'}=={'demo.csv', 'demo.png'}
