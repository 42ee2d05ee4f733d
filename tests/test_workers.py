"Workers: killed, interrupted, frozen, gone or of another version, they cost no row and end in one line"
import os, shutil, signal, socket, subprocess, sys, textwrap, threading, time
from importlib import import_module
import pandas as pd, psutil, pytest
from dask import config as dask_config
from distributed import Client
from helpers import table
from finalbn_fastai.study import StudyError, run_study

TOY = '''
import time
from finalbn_fastai.study import Study, Task
def score(trial):
    failed = 'the loss was not finite at step 1' if trial['seed']==3 else ''
    return dict(f1_minority=trial['a']+trial['seed']/100, failed=failed)
def scores(trials, device, tick=lambda f: None):
    if trials[0]['nap']: time.sleep(trials[0]['nap'])
    return [score(t) for t in trials]
toy = Study('toy', Task(scores, block=2), dict(final_bn=[False,True], a=[.1,.2,.3], nap=[.3]), seeds=4)
'''
DYING = '''
import os, shutil, signal, sys, time, torch
from pathlib import Path
from finalbn_fastai.workers import run_groups
torch.set_num_threads(2)
def die_sending():
    "Send half a row, and be killed"
    frame = sys._getframe()
    while 'result_queue' not in frame.f_locals: frame = frame.f_back
    queue = frame.f_locals['result_queue']
    with queue._wlock:
        os.write(queue._writer.fileno(), bytes([0,0,1,0,1]))
        os.kill(os.getpid(), signal.SIGKILL)
def run(trials, device, tick):
    how,left = trials[0]
    if how=='nap':
        Path(f'at-{os.getpid()}').touch()
        time.sleep(60)
    if left and len(list(Path().glob(f'{how}-*')))<left:
        Path(f'{how}-{os.getpid()}').touch()
        if how=='sending': die_sending()
        os.kill(os.getpid(), signal.SIGKILL)
    return [torch.get_num_threads()]*len(trials)
def go(groups):
    with run_groups(run, groups, 'cpu', workers=2) as finished: pairs = list(finished)
    for i,f in sorted(pairs, key=lambda pair: pair[0]): print(i, f.exception() or f.result())
if __name__=='__main__': go(eval(sys.argv[1]))
'''


def python_path(folder):
    "Where Python looks for modules, and in a folder before that"
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get('PYTHONPATH')])])


@pytest.fixture
def toy(tmp_path):
    "A module with a quick study that other processes can import, and the environment for it"
    (tmp_path/'toy_study.py').write_text(TOY)
    return {**os.environ, 'PYTHONPATH':python_path(tmp_path), 'PYTHONWARNINGS':'ignore'}


def script(body): return [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(body)]


def measure_toy(nap=.3, **how):
    "A script that measures the toy study, where a group takes `nap` seconds, as `run_study` is told"
    how = dict(device='cpu', progress=False, **how)
    return f"""
from finalbn_fastai.study import run_study
from toy_study import toy
toy.grid[0]['nap'] = [{nap}]
if __name__=='__main__': run_study(toy, {', '.join(f'{k}={v!r}' for k,v in how.items())})
"""


def size(path):
    "How many bytes a file has, -1 where there is none"
    try: return path.stat().st_size
    except FileNotFoundError: return -1


def wait_for(path, seconds, least=1):
    "Wait until a file has so many bytes (a table is tried before it has rows), or the time is up"
    deadline = time.monotonic()+seconds
    while size(path)<least and time.monotonic()<deadline: time.sleep(.02)


def start(folder, text, *args):
    "A script, started in a session of its own"
    (folder/'go.py').write_text(textwrap.dedent(text))
    env = {**os.environ, 'PYTHONPATH':python_path(folder)}
    return subprocess.Popen([sys.executable, '-W', 'ignore', 'go.py', *args], cwd=folder, env=env, text=True,
                            start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def is_left(process, leader):
    "Does a process still run in the session that another one leads?"
    try: return os.getsid(process.pid)==leader and process.status()!=psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess): return False


def all_gone(leader, seconds=20):
    "Is nothing left of a session after this time at the latest?"
    deadline = time.monotonic()+seconds
    while time.monotonic()<deadline:
        if not any(is_left(p, leader) for p in psutil.process_iter()): return True
        time.sleep(.1)
    return False


KILLED = 'a worker process was killed (SIGKILL), most often because memory ran out'


@pytest.mark.slow
@pytest.mark.parametrize('how', ['killed', 'sending'])
def test_killed_worker(tmp_path, how):
    "A worker is killed, once even in the middle of a row: one new process does the rest, on one thread, as all do"
    child = start(tmp_path, DYING, f"[[('fine', 0)]]*2+[[('{how}', 1)]]+[[('fine', 0)]]*5")
    out,err = child.communicate(timeout=120)
    assert out.splitlines()==[f'{i} [1]' for i in range(8)], out+err
    assert err.startswith(KILLED) and err.endswith('of 8 groups go on with workers=1\n') and err.count('\n')==1
    assert all_gone(child.pid)


@pytest.mark.slow
def test_killed_twice(tmp_path):
    "A group that kills each worker has its error, in one line; all that no worker had in hand with it have their rows"
    child = start(tmp_path, DYING, "[[('killed', 9)]]+[[('fine', 0)]]*5")
    out,err = child.communicate(timeout=120)
    first,_,*others = out.splitlines()
    assert first==f'0 {KILLED}, and again with workers=1: use fewer, or free memory', out+err
    assert others==[f'{i} [1]' for i in range(2, 6)]


@pytest.mark.slow
def test_workers_leave_with_their_parent(tmp_path):
    "SIGKILL of the process that leads two others, in the middle of a long group: they go at once"
    child = start(tmp_path, DYING, "[[('nap', 0)]]*4")
    deadline = time.monotonic()+60
    while len(list(tmp_path.glob('at-*')))<2 and time.monotonic()<deadline: time.sleep(.05)
    workers = [int(f.name[3:]) for f in tmp_path.glob('at-*')]
    assert len(workers)==2 and all(map(psutil.pid_exists, workers))
    child.kill()
    child.wait()
    assert all_gone(child.pid)


COMMAND = '''
from finalbn_fastai import study
from toy_study import toy
study.all_studies = lambda: {'toy':toy}
if __name__=='__main__':
    import signal
    from finalbn_fastai.cli import main
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start this with Ctrl-C ignored
    main(['run', 'toy', '--device', 'cpu', '--workers', '2', '--out', 'out'])
'''


@pytest.mark.slow
@pytest.mark.parametrize('first,second', [('out/.toy.csv.lock', .1), ('out/toy.csv', .05)])
def test_ctrl_c_twice(tmp_path, toy, first, second):
    "Ctrl-C while workers start, or with rows there, and again a moment later: one line, and no process is left"
    child = start(tmp_path, COMMAND)
    wait_for(tmp_path/first, 60, least=0 if first.endswith('lock') else 1)
    os.killpg(child.pid, signal.SIGINT)
    time.sleep(second)
    os.killpg(child.pid, signal.SIGINT)
    err = child.communicate(timeout=60)[1]
    assert child.returncode in (130, -signal.SIGINT) and err.startswith('finalbn: stopped') and err.count('\n')==1, err
    assert all_gone(child.pid)
    rows = len(pd.read_csv(tmp_path/'out/toy.csv')) if (tmp_path/'out/toy.csv').exists() else 0
    assert rows%2==0 and bool(rows)==(first=='out/toy.csv')
    assert not list(tmp_path.glob('out/.*.lock'))


@pytest.mark.slow
def test_killed_with_workers(tmp_path, toy):
    "SIGKILL of the process that leads two others: they go as well, and running again does the rest"
    (tmp_path/'go.py').write_text(measure_toy(out='.', workers=2))
    command = [sys.executable, '-W', 'ignore', 'go.py']
    def start(): return subprocess.Popen(command, cwd=tmp_path, env=toy, stderr=subprocess.PIPE, text=True)
    child = start()
    wait_for(tmp_path/'toy.csv', 120)
    workers = psutil.Process(child.pid).children(recursive=True)
    child.kill()
    child.wait()
    assert len(workers)>=2 and not psutil.wait_procs(workers, timeout=20)[1]
    assert 0<len(pd.read_csv(tmp_path/'toy.csv'))<24
    child = start()
    assert child.wait(120)==0, child.stderr.read()
    by = ['final_bn','a','seed']
    df = table(tmp_path/'toy.csv', by)
    assert len(df)==24 and not df.duplicated(by).any() and df.failed.notna().sum()==6


@pytest.mark.slow
def test_two_at_once(tmp_path, toy):
    "The second process on one study stops with one line"
    command = script(measure_toy(nap=2.5, out='.', workers=1))
    first = subprocess.Popen(command, cwd=tmp_path, env=toy)
    wait_for(tmp_path/'toy.csv', 60)
    second = subprocess.run(command, cwd=tmp_path, env=toy, capture_output=True, text=True)
    assert second.returncode and 'another process is running this study' in second.stderr.splitlines()[-1]
    assert first.wait(120)==0 and len(pd.read_csv(tmp_path/'toy.csv'))==24


def free_port():
    "A port of this machine on which nothing listens"
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def wait_for_port(port, process):
    "Wait until something listens, as long as the process that shall do so lives"
    deadline = time.monotonic()+60
    while time.monotonic()<deadline and process.poll() is None:
        with socket.socket() as s:
            if not s.connect_ex(('127.0.0.1', port)): return
        time.sleep(.1)
    raise TimeoutError(f"nothing listens on {port}")


@pytest.fixture
def dask(tmp_path, toy):
    "A function that starts a command of Dask's on loopback, which ends with the test"
    started,quiet = [],dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    def _dask(*args):
        command = [sys.executable, '-W', 'ignore', '-m', 'dask', *map(str, args), '--no-dashboard']
        started.append(subprocess.Popen(command, cwd=tmp_path, env=toy, **quiet))
        return started[-1]
    yield _dask
    for p in reversed(started):
        p.kill()
        p.wait()


@pytest.fixture
def scheduler(dask):
    "A Dask scheduler on loopback: its address and its process"
    port = free_port()
    process = dask('scheduler', '--host', '127.0.0.1', '--port', port)
    wait_for_port(port, process)
    return f'tcp://127.0.0.1:{port}',process


def start_worker(dask, address, *options):
    "A worker of a Dask cluster, with PyTorch imported before it joins: it is silent while it does that"
    return dask('worker', address, '--nthreads', 1, '--no-nanny', '--preload', 'toy_study', *options)


@pytest.fixture
def cluster(dask, scheduler):
    "A Dask scheduler with two workers on loopback: its address and the workers"
    address,_ = scheduler
    return address,[start_worker(dask, address) for _ in range(2)]


@pytest.fixture
def measure(tmp_path, toy, monkeypatch):
    "A function that measures the toy study on a cluster: how many rows there are, or what is said instead"
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'toy_study', raising=False)
    study = import_module('toy_study').toy
    def _measure(address, patience='8s', **config):
        how = dict(device='cpu', progress=False, out=tmp_path/'out', scheduler=address)
        with dask_config.set({'finalbn_fastai.patience':patience, **config}):
            try: return f'{len(run_study(study, **how))} rows'
            except StudyError as e: return str(e)
    return _measure


def test_no_worker(tmp_path, scheduler, measure):
    "A cluster without a worker is not waited for without end; nothing is left behind"
    address,_ = scheduler
    assert measure(address, '1s')==(f"the Dask scheduler at {address} has had no worker for 1 s: start one with "
                                    f"`dask worker {address} --nthreads 1`")
    assert not (tmp_path/'out').exists()


def when_there(path, do):
    "Do something half a second after a file has something in it"
    def wait():
        wait_for(path, 60)
        time.sleep(.5)
        do()
    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.parametrize('who,how,why', [
    ('worker', signal.SIGSTOP, 'nothing was heard of the workers of the Dask scheduler at {} (1) for 8 s'),
    ('worker', signal.SIGKILL, 'the Dask scheduler at {} has had no worker for 8 s: start one with '),
    ('scheduler', signal.SIGKILL, 'the connection to the Dask scheduler at {} broke off'),
    ('scheduler', signal.SIGSTOP, 'the Dask scheduler at {} has not answered for 8 s'),
])
def test_lost_cluster(tmp_path, dask, scheduler, measure, who, how, why):
    "The only worker or the scheduler is frozen or killed: one line, and how many rows are safe"
    address,leader = scheduler
    lost = {'worker':start_worker(dask, address), 'scheduler':leader}[who]
    with Client(address, set_as_default=False) as client: client.wait_for_workers(1, timeout=60)
    stop = when_there(tmp_path/'out/toy.csv', lambda: lost.send_signal(how))
    said = measure(address)
    stop.join()
    rows = len(pd.read_csv(tmp_path/'out/toy.csv'))
    assert 0<rows<24 and said.startswith(f'{24-rows} of 24 runs did not finish ({why.format(address)}'), said
    assert f'; {rows} new rows are in ' in said and '\n' not in said


@pytest.fixture
def certificate(tmp_path):
    "Files with a certificate that vouches for itself, and with its key"
    if not shutil.which('openssl'): pytest.skip('no openssl here, which makes the certificate: install it')
    files = tmp_path/'certificate.pem',tmp_path/'key.pem'
    command = 'openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -days 2 -out'.split()
    subprocess.run([*command, files[0], '-keyout', files[1]], check=True, capture_output=True)
    return files


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('openssl'), reason="makes certificates with openssl")
def test_tls(dask, measure, certificate):
    "Certificates in Dask's configuration lead to a cluster behind TLS; without them nobody gets in, and is told why"
    pem,key = certificate
    tls,port = ['--tls-ca-file', pem, '--tls-cert', pem, '--tls-key', key],free_port()
    wait_for_port(port, dask('scheduler', '--protocol', 'tls', '--host', '127.0.0.1', '--port', port, *tls))
    address,name = f'tls://127.0.0.1:{port}','distributed.comm.tls'
    start_worker(dask, address, *tls)
    known = {f'{name}.ca-file':str(pem), f'{name}.client.cert':str(pem), f'{name}.client.key':str(key)}
    assert measure(address, '60s', **known)=='24 rows'
    assert measure(address).startswith("tls:// needs certificates: name them in Dask's configuration")
    assert measure(address, **{**known, f'{name}.ca-file':'nowhere.pem'}).startswith('the certificates in Dask')
    plain = address.replace('tls', 'tcp')
    assert measure(plain)==(f"what listens at {plain} does not answer as a Dask scheduler does: one that has TLS is "
                            f"reached at {address}, with the certificates it knows")


@pytest.mark.slow
def test_cluster(tmp_path, toy, cluster):
    "Two workers, one of them killed half-way: every row is there, once, and the same as at home"
    address,workers = cluster
    far = script(measure_toy(nap=.8, out='far', scheduler=address))
    child = subprocess.Popen(far, cwd=tmp_path, env=toy, stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path/'far/toy.csv', 120)
    time.sleep(.3)
    workers[0].kill()
    assert 0<len(pd.read_csv(tmp_path/'far/toy.csv'))<24, "the worker should be killed half-way"
    assert child.wait(180)==0, child.stderr.read()
    home = script(measure_toy(nap=.8, out='home', workers=1))
    assert subprocess.run(home, cwd=tmp_path, env=toy).returncode==0
    by = ['final_bn','a','seed']
    far,home = (table(tmp_path/f/'toy.csv', by) for f in ('far','home'))
    assert len(far)==24 and not far.duplicated(by).any()
    pd.testing.assert_frame_equal(far, home)


UNGUARDED = '''
from finalbn_fastai.digit_runs import DIGITS
from finalbn_fastai.study import Study, run_study
mine = Study('mine', DIGITS, dict(epochs=1, source='embedded'), seeds=20)
run_study(mine, out='results', device='cpu', workers=2)
'''


def test_unguarded_script(tmp_path):
    "A script that starts workers without a guard is told so at once, in one line; no row and no process is left"
    (tmp_path/'my_study.py').write_text(UNGUARDED)
    env = {**os.environ, 'PYTHONWARNINGS':'ignore'}
    child = subprocess.Popen([sys.executable, 'my_study.py'], cwd=tmp_path, env=env, start_new_session=True,
                             stderr=subprocess.PIPE, text=True)
    try: said = child.communicate(timeout=60)[1].splitlines()
    finally: left = [p for p in psutil.process_iter() if is_left(p, child.pid)]
    assert child.returncode==1 and not left
    assert said[-1].startswith('finalbn_fastai.files.StudyError: ') and 'my_study.py, line 5' in said[-1]
    assert "below `if __name__ == '__main__':`" in said[-1] and 'BrokenProcessPool' not in ''.join(said)
    assert not list(tmp_path.glob('**/*.csv'))
