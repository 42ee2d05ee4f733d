"Faults: every call that changes a file fails in every way, and nothing is lost; many writers, and none loses a row"
import subprocess, sys
import pandas as pd, pytest
from finalbn_fastai.benchmarks.faults import MODES, SUBJECTS, faults, summed
from finalbn_fastai.files import StudyError, read_rows

WRITERS = """
import os, sys
from finalbn_fastai.files import append_rows
path = sys.argv[1]
def row(who, i):
    more = {f'more{who}':i} if i>100 else {}
    return dict(who=who, i=i, text=f'{who} '*50, **more)
def write(who):
    for i in range(0, 200, 2): append_rows(path, [row(who, i), row(who, i+1)])
pids = []
for who in range(5):
    if not (pid := os.fork()):
        write(who)
        os._exit(0)
    pids.append(pid)
sys.exit(sum(os.waitpid(pid, 0)[1] for pid in pids))
"""


def test_five_writers(tmp_path):
    "A thousand rows by five processes, each of which adds a column in the middle: none lost, none twice, none torn"
    path = tmp_path/'t.csv'
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', WRITERS, path], capture_output=True, text=True)
    assert done.returncode==0, done.stderr
    rows = read_rows(path)
    assert len(path.read_bytes().splitlines())==1001
    assert sorted((int(r['who']), int(r['i'])) for r in rows)==[(who, i) for who in range(5) for i in range(200)]
    assert all(r['text']==f"{r['who']} "*50 for r in rows)
    assert all(r[f"more{r['who']}"]==(r['i'] if int(r['i'])>100 else '') for r in rows)


@pytest.fixture(scope='module')
def tried():
    "Every subject and every fault, alone and beside a second process, but only every few calls"
    return pd.concat([faults(stride=4, writers=(1,)), faults(stride=12, writers=(2,))])


def test_every_call_fails(tried):
    "Nothing is lost, and every error is one line"
    bad = tried[tried['first']!='']
    assert not len(bad), bad[['subject','fault','writers','first']].to_string()


def test_each_fault_strikes(tried):
    "Each subject is tried with each fault"
    assert set(tried.subject)==set(SUBJECTS) and set(tried.fault)==set(MODES)
    alone = tried[tried.writers==1]
    assert (alone.calls>=6).all() and (alone.injected>0).all() and (alone.survived==alone.injected).all()


def test_a_file_written_in_place_is_found():
    "What must be lost is said to be lost: half of a file has the name of the whole"
    df = faults(['a file written in place'])
    found = summed(df[df.writers==1], ['fault'])
    assert (found.lost>0).all() and (found.tracebacks[['error','full disk','short write']]>0).all()
    assert 'neither old nor new' in df['first'].iloc[0]


def test_unknown_names_are_refused():
    with pytest.raises(StudyError, match="'rows' cannot be tried: there is rows of a table, "): faults(['rows'])
    with pytest.raises(StudyError, match="'power cut' cannot be tried: there is error, "): faults(modes=['power cut'])
