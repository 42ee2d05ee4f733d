"Studies: killed, interrupted, in company and on other machines, they end with the same rows"
import os, subprocess, sys, textwrap, time
import pandas as pd, pytest

TOY = '''
import time
from finalbn_fastai.study import Study
def scores(trials, device, tick=lambda f: None):
    if trials[0]['nap']: time.sleep(trials[0]['nap'])
    return [dict(f1_minority=t['a']+t['seed']/100, failed='the loss was not finite at step 1' if t['seed']==3 else '') for t in trials]
toy = Study('toy', scores, dict(final_bn=[False,True], a=[.1,.2,.3], nap=[.3]), seeds=4, block=2)
'''
DIGITS = '''
import os, random, signal, sys, time
from finalbn_fastai.runs import digit_grid, run_digits
from finalbn_fastai.study import Study, read_rows, run_study
study = Study('real', run_digits, digit_grid(source='embedded', epochs=2, lr=[1e-3,2e-3,3e-3,4e-3,5e-3], ratio=[.01,.02,.05]), seeds=4, block=2)
def measure(out): run_study(study, out=out, device='cpu', workers=1, progress=False)
'''
IGNORED = ['seconds', 'date']


def table(path, by):
    "A study's rows in a fixed order, without what a clock has written"
    df = pd.read_csv(path, dtype=str)
    return df.drop(columns=[c for c in IGNORED if c in df]).sort_values(by).reset_index(drop=True)


@pytest.fixture
def toy(tmp_path):
    "A module with a quick study that other processes can import, and the environment for it"
    (tmp_path/'toy_study.py').write_text(TOY)
    return {**os.environ, 'PYTHONPATH':str(tmp_path), 'PYTHONWARNINGS':'ignore'}


def script(body): return [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(body)]


@pytest.mark.slow
def test_killed_twenty_times(tmp_path):
    "A real study, killed with SIGKILL at twenty random moments, ends with the rows of an undisturbed one"
    body = DIGITS+'''
quiet,killed,seed = sys.argv[1],sys.argv[2],int(sys.argv[3])
start = time.perf_counter(); measure(quiet); whole = time.perf_counter()-start
rng,kills = random.Random(seed),0
while kills<20:
    pid = os.fork()
    if not pid: measure(killed); os._exit(0)
    time.sleep(rng.uniform(0, whole/30))
    os.kill(pid, signal.SIGKILL)
    if os.waitpid(pid, 0)[1]!=signal.SIGKILL: break
    kills += 1
print(kills, len(read_rows(killed+'/real.csv')))
measure(killed)
'''
    done = subprocess.run([*script(body), tmp_path/'quiet', tmp_path/'killed', '0'], capture_output=True, text=True, timeout=600)
    assert done.returncode==0, done.stderr
    kills,rows = map(int, done.stdout.split())
    assert kills==20 and 0<rows<120, "the kills should fall into the run"
    by = ['lr','ratio','final_bn','seed']
    quiet,killed = (table(tmp_path/k/'real.csv', by) for k in ('quiet','killed'))
    assert len(quiet)==5*3*2*4 and not killed.duplicated(by).any()
    pd.testing.assert_frame_equal(quiet, killed)


@pytest.mark.slow
def test_killed_with_workers(tmp_path, toy):
    "SIGKILL of the process that leads two others: they go as well, and running again does the rest"
    body = "from finalbn_fastai.study import run_study\nfrom toy_study import toy\nif __name__=='__main__': run_study(toy, out='.', device='cpu', workers=2, progress=False)"
    (tmp_path/'go.py').write_text(body)
    def start(): return subprocess.Popen([sys.executable, '-W', 'ignore', 'go.py'], cwd=tmp_path, env=toy, stderr=subprocess.PIPE, text=True)
    child = start()
    deadline = time.monotonic()+120
    while not (tmp_path/'toy.csv').exists() and time.monotonic()<deadline: time.sleep(.02)
    import psutil
    workers = psutil.Process(child.pid).children(recursive=True)
    child.kill(); child.wait()
    assert len(workers)>=2 and not psutil.wait_procs(workers, timeout=20)[1]
    n = len(pd.read_csv(tmp_path/'toy.csv'))
    assert 0<n<24
    child = start(); assert child.wait(120)==0, child.stderr.read()
    df = table(tmp_path/'toy.csv', ['final_bn','a','seed'])
    assert len(df)==24 and not df.duplicated(['final_bn','a','seed']).any() and df.failed.notna().sum()==6


@pytest.mark.slow
def test_two_at_once(tmp_path, toy):
    "The second process on one study stops with one line"
    body = "from finalbn_fastai.study import run_study\nfrom toy_study import toy\ntoy.grid[0]['nap'] = [2.5]\nrun_study(toy, out='.', device='cpu', workers=1, progress=False)"
    first = subprocess.Popen(script(body), cwd=tmp_path, env=toy)
    deadline = time.monotonic()+60
    while not (tmp_path/'toy.csv').exists() and time.monotonic()<deadline: time.sleep(.02)
    second = subprocess.run(script(body), cwd=tmp_path, env=toy, capture_output=True, text=True)
    assert second.returncode and 'another process is running this study' in second.stderr.splitlines()[-1]
    assert first.wait(120)==0 and len(pd.read_csv(tmp_path/'toy.csv'))==24


def _wait_for(port, process):
    import socket
    deadline = time.monotonic()+60
    while time.monotonic()<deadline and process.poll() is None:
        with socket.socket() as s:
            if not s.connect_ex(('127.0.0.1', port)): return
        time.sleep(.1)
    raise TimeoutError(f"nothing listens on {port}")


@pytest.fixture
def cluster(tmp_path, toy):
    "A Dask scheduler with two workers on loopback: its address and the workers"
    import socket
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]
    dask = lambda *args: subprocess.Popen([sys.executable, '-W', 'ignore', '-m', 'dask', *map(str, args)], cwd=tmp_path, env=toy, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    scheduler = dask('scheduler', '--host', '127.0.0.1', '--port', port, '--no-dashboard')
    _wait_for(port, scheduler)
    workers = [dask('worker', f'tcp://127.0.0.1:{port}', '--nthreads', 1, '--no-nanny', '--no-dashboard') for _ in range(2)]
    yield f'tcp://127.0.0.1:{port}',workers
    for p in (*workers, scheduler): p.kill(); p.wait()


@pytest.mark.slow
def test_cluster(tmp_path, toy, cluster):
    "Two workers, one of them killed half-way: every row is there, once, and the same as at home"
    address,workers = cluster
    body = f"from finalbn_fastai.study import run_study\nfrom toy_study import toy\ntoy.grid[0]['nap'] = [.8]\nrun_study(toy, out='far', device='cpu', scheduler='{address}', progress=False)"
    child = subprocess.Popen(script(body), cwd=tmp_path, env=toy, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic()+120
    while not (tmp_path/'far/toy.csv').exists() and time.monotonic()<deadline: time.sleep(.02)
    time.sleep(.3)
    workers[0].kill()
    n = len(pd.read_csv(tmp_path/'far/toy.csv'))
    assert 0<n<24, "the worker should be killed half-way"
    assert child.wait(180)==0, child.stderr.read()
    home = "from finalbn_fastai.study import run_study\nfrom toy_study import toy\ntoy.grid[0]['nap'] = [.8]\nrun_study(toy, out='home', device='cpu', workers=1, progress=False)"
    assert subprocess.run(script(home), cwd=tmp_path, env=toy).returncode==0
    by = ['final_bn','a','seed']
    far,here = table(tmp_path/'far/toy.csv', by),table(tmp_path/'home/toy.csv', by)
    assert len(far)==24 and not far.duplicated(by).any()
    pd.testing.assert_frame_equal(far, here)


@pytest.mark.parametrize('args,words', [
    (['run', 'nothing'], "no study 'nothing'"),
    (['results', 'nothing'], "no study 'nothing'"),
    (['run', 'h6_sigmoid', '--only', 'lr'], 'setting=value'),
    (['run', 'h6_sigmoid', '--only', 'lr=7'], 'there is 0.001'),
    (['run', 'h6_sigmoid', '--only', 'rate=7'], "no setting 'rate'"),
    (['run', 'h6_sigmoid', '--device', 'gpu'], "no device 'gpu' here"),
    (['run', 'h6_sigmoid', '--seeds', '0'], '--seeds'),
    (['run', 'h6_sigmoid', '--scheduler', 'tcp://127.0.0.1:1'], 'no Dask scheduler answers'),
    (['run', 'h6_sigmoid', '--out', '/proc/nowhere', '--scheduler', 'tcp://127.0.0.1:1'], 'cannot write'),
    (['results', 'h6_sigmoid', '--out', 'empty'], 'finalbn run h6_sigmoid'),
    (['bench', 'engine', '--device', 'gpu'], "no device 'gpu' here"),
])
def test_wrong_values_get_one_line(run, tmp_path, args, words):
    done = run('finalbn', *args, cwd=tmp_path, env={**os.environ, 'FINALBN_RESULTS':str(tmp_path/'out')})
    assert done.returncode==2, done.stdout+done.stderr
    assert words in done.stderr and done.stderr.count('\n')==1, done.stderr


def test_lists(run, root):
    "Without a name, the studies and how much of each is measured"
    for command in ('run', 'results'):
        done = run('finalbn', command, cwd=root)
        assert done.returncode==0 and 'h6_sigmoid' in done.stdout and ' of ' in done.stdout, done.stderr


def test_results_beside_the_paper(run, root):
    done = run('finalbn', 'results', 'h6_sigmoid', cwd=root, env={**os.environ, 'COLUMNS':'120'})
    assert done.returncode==0 and 'sigmoid BCE' in done.stdout and '0.88' in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get('FINALBN_DATA'), reason="needs full MNIST: set FINALBN_DATA")
def test_run_on_the_command_line(run, tmp_path):
    "A dry run shows what it would do and leaves nothing; the run itself measures it, and once is enough"
    args = ['run', 'h4_sensitivity', '--only', 'lr=0.003', '--only', 'epochs=20', '--only', 'ratio=0.01', '--only', 'schedule=one-cycle', '--only', 'momentum=0.01', '--seeds', '1', '--out', tmp_path/'new']
    dry = run('finalbn', *args, '--dry-run')
    assert dry.returncode==0 and '2 runs to do' in dry.stdout and 'about' in dry.stdout and not (tmp_path/'new').exists(), dry.stdout+dry.stderr
    done = run('finalbn', *args)
    assert done.returncode==0 and len(pd.read_csv(tmp_path/'new/h4_sensitivity.csv'))==2, done.stdout+done.stderr
    again = run('finalbn', *args)
    assert '0 runs to do' in again.stdout and len(pd.read_csv(tmp_path/'new/h4_sensitivity.csv'))==2
