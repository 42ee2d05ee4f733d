"Tables met by hand: edited, merged, opened in spreadsheets. Each is read as it was meant, or refused in one line"
import gzip, os
from pathlib import Path
from unittest.mock import patch
import pytest
from finalbn_fastai.files import append_rows, read_rows
from finalbn_fastai.study import Study, StudyError, Task, missing, rows_of, run_study
from finalbn_fastai.tables import beside_paper, results, summary


def scores(trial):
    "Made-up scores, a failed run and one without an area"
    failed = 'the loss, "CCE", was not finite' if trial['seed']==2 and trial['final_bn'] else ''
    if failed: return dict(failed=failed)
    auc = 'nan' if trial['seed']==3 else .9
    f1 = .5+.3*trial['final_bn']+.01*trial['seed']
    return dict(f1_minority=f1, roc_auc=auc, log_loss=7*trial['lr'], failed='', pool='1467 1f0e3d')


def made_up(trials, device, tick=lambda f: None): return list(map(scores, trials))


USUAL = dict(final_bn=[False,True], arch='fc', lr=1e-3, epochs=100, size=None, momentum=.01, minority=3)
GRID = dict(lr=[1e-3,1e-5], epochs=20, arch=['fc','cnn'], minority=[3,(3,5)])
HAND = Study('hand', Task(made_up, USUAL, block=4), GRID, seeds=4, paper=lambda t: (7, 'softmax CCE'))
N = 2*2*2*2*4


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "The bytes of a table as the study writes it"
    out = tmp_path_factory.mktemp('whole')
    run_study(HAND, out=out, device='cpu', workers=1, progress=False)
    return (out/'hand.csv').read_bytes()


def lines(raw): return raw.splitlines(keepends=True)


def with_lines(raw, f):
    "The table after `f` of its list of lines"
    return b''.join(f(lines(raw)))


def by_field(raw, f):
    "The table after `f` of the fields of each line and of their columns; no field of these lines has a comma"
    simple = [l for l in lines(raw) if b'"' not in l]
    columns = simple[0].rstrip(b'\n').split(b',')
    def one(line): return b','.join(f(line.rstrip(b'\n').split(b','), columns))+b'\n'
    return b''.join(map(one, simple))


def in_column(name, change):
    "Spoil one column below its name"
    def spoil(raw):
        def one(fields, columns):
            i = columns.index(name)
            return [change(v) if j==i and v!=name else v for j,v in enumerate(fields)]
        return by_field(raw, one)
    return spoil


def without(name):
    "Lose a column"
    def one(fields, columns): return [v for v,c in zip(fields, columns) if c!=name]
    return lambda raw: by_field(raw, one)


def in_reverse(raw): return by_field(raw, lambda fields, columns: fields[::-1])


def header(old, new): return lambda raw: with_lines(raw, lambda l: [l[0].replace(old, new), *l[1:]])


def becomes(old, new, n=1): return lambda raw: raw.replace(old, new, n)


def after_first(*more): return lambda raw: with_lines(raw, lambda l: [*l[:2], *more, *l[2:]])


def another_score(raw): return with_lines(raw, lambda l: [*l[:2], l[1].replace(b',0.5,', b',0.6,'), *l[2:]])


def conflict(raw):
    "Two versions of a row, as git leaves them"
    ours,theirs = b'<<<<<<< HEAD\n', b'=======\n'
    return with_lines(raw, lambda l: [l[0], ours, l[1], theirs, l[1], b'>>>>>>> other\n', *l[2:]])


# Kind to what is done to the table, and how many runs are then read
READ = {
    'untouched': (lambda raw: raw, N),
    'a row pasted twice': (lambda raw: with_lines(raw, lambda l: [*l[:2], *l[1:]]), N),
    'the whole pasted twice, without the names': (lambda raw: with_lines(raw, lambda l: [*l, *l[1:]]), N),
    'sorted the other way': (lambda raw: with_lines(raw, lambda l: [l[0], *l[:0:-1]]), N),
    'lines that end as on Windows': (becomes(b'\n', b'\r\n', -1), N),
    'some lines that end as on Windows': (becomes(b'\n', b'\r\n', 5), N),
    'a byte order mark': (lambda raw: b'\xef\xbb\xbf'+raw, N),
    'a mark and lines of Windows': (lambda raw: b'\xef\xbb\xbf'+raw.replace(b'\n', b'\r\n'), N),
    'empty lines': (after_first(b'\n', b'\n'), N),
    'an empty line before all': (lambda raw: b'\n'+raw, N),
    'an empty line after all': (lambda raw: raw+b'\n', N),
    'a last line cut off': (lambda raw: raw[:-9], N-1),
    'no line break at the end': (lambda raw: raw[:-1], N-1),
    'a row deleted': (lambda raw: with_lines(raw, lambda l: [l[0], *l[2:]]), N-1),
    'the names alone': (lambda raw: lines(raw)[0], 0),
    'an empty file': (lambda raw: b'', 0),
    'nothing but empty lines': (lambda raw: b'\n\n', 0),
    'names cut off': (lambda raw: raw[:20], 0),
    'all fields quoted': (lambda raw: by_field(raw, lambda fields, _: [b'"'+v+b'"' for v in fields]), N-8),
    'columns in another order': (in_reverse, N-8),
    'a column of scores lost': (without(b'roc_auc'), N-8),
    'a setting lost that is usual everywhere': (without(b'momentum'), N-8),
    'a column added': (lambda raw: by_field(raw, lambda f, c: [*f, b'note' if f==c else b'fine']), N-8),
    'scores that a program wrote': (in_column(b'f1_minority', lambda v: v and b'%.17e' % float(v)), N-8),
    'NaN spelled otherwise in a score': (becomes(b',nan,', b',NaN,', -1), N),
    'a seed that no study has': (after_first(b'hand,False,fc,0.001,20,,0.01,3,%s,0.5,0.9,1,,\n' % (b'9'*30)), N),
}

# Kind to what is done to the table, and what is said of it
REFUSED = {
    'one run with two scores': (another_score, 'has two rows of one run with different scores'),
    'a conflict that git has left': (conflict, 'line 2: a conflict'),
    'an end of a conflict': (after_first(b'>>>>>>> other\n'), 'line 3: a conflict'),
    'a bad byte': (becomes(b'fc', b'f\xff'), 'line 2: a byte that is no text'),
    'Latin-1': (becomes(b'CCE', 'é'.encode('latin-1')), 'a byte that is no text'),
    'a zero byte': (becomes(b'fc', b'f\0'), 'line 2: a byte that is no text'),
    'UTF-16': (lambda raw: raw.decode().encode('utf-16'), 'line 1: a byte that is no text'),
    'UTF-16 without a mark': (lambda raw: raw.decode().encode('utf-16-le'), 'line 1: a byte that is no text'),
    'compressed': (lambda raw: gzip.compress(raw, mtime=0), 'a byte that is no text'),
    'lines that end as on old Macs': (becomes(b'\n', b'\r', -1), 'line 1: lines that end'),
    'a quotation mark left open': (becomes(b'fc', b'"fc'), 'line 2: '),
    'a quotation mark inside': (becomes(b',"', b',x"'), 'fields where there are'),
    'a line break inside a field': (becomes(b'fc', b'"f\nc"'), 'line 2: a quotation mark'),
    'a field of 200,000 letters': (becomes(b'fc', b'f'*200_000), 'line 2: it cannot be read (field larger'),
    'a field too many': (becomes(b'fc', b'fc,fc'), 'line 2: '),
    'a field lost': (becomes(b',fc', b''), 'line 2: '),
    'a remark': (after_first(b'# these look odd\n'), 'line 3: 1 fields'),
    'semicolons': (becomes(b',', b';', -1), 'has no column seed'),
    'tabs': (becomes(b',', b'\t', -1), 'has no column seed'),
    'names in the middle': (lambda raw: with_lines(raw, lambda l: [*l, l[0]]), 'seed=seed'),
    'no names': (lambda raw: with_lines(raw, lambda l: l[1:]), 'line 1: '),
    'a column of one name twice': (header(b'roc_auc', b'failed'), "line 1: two columns 'failed'"),
    'a column without a name': (header(b'roc_auc', b''), 'line 1: a column without a name'),
    'spaces around a name': (header(b'roc_auc', b' roc_auc'), 'line 1: spaces around the name'),
    'an empty column at the end': (becomes(b'\n', b',\n', -1), 'line 1: a column without a name'),
    'the seed lost': (without(b'seed'), 'has no column seed'),
    'the seed renamed': (header(b'seed', b'Seed'), 'has no column seed'),
    'a setting lost that is unusual everywhere': (without(b'epochs'), 'has no column epochs'),
    'a setting renamed that is unusual everywhere': (header(b'epochs', b'epoch'), 'has no column epochs'),
    'a setting lost that tells runs apart': (without(b'lr'), 'has two rows of one run'),
    'a setting renamed that tells runs apart': (header(b'lr', b'rate'), 'has two rows of one run'),
    'TRUE': (becomes(b'True', b'TRUE', -1), 'final_bn=TRUE'),
    'true': (becomes(b'True', b'true'), 'final_bn=true'),
    'one for True': (in_column(b'final_bn', lambda v: b'1' if v==b'True' else b'0'), 'final_bn='),
    'yes for True': (becomes(b'True', b'yes'), 'final_bn=yes'),
    'WAHR for True': (becomes(b'True', b'WAHR', -1), 'final_bn=WAHR'),
    'seeds 1.0': (in_column(b'seed', lambda v: v+b'.0'), 'seed=0.0'),
    'seeds 01': (in_column(b'seed', lambda v: b'0'+v), 'seed=00'),
    'seeds below 0': (in_column(b'seed', lambda v: b'-'+v), 'seed=-0'),
    'no seed': (in_column(b'seed', lambda v: b''), 'seed='),
    'seeds of another script': (in_column(b'seed', lambda v: '٣'.encode()), 'seed='),
    'spaces before words': (in_column(b'arch', lambda v: b' '+v), 'arch= fc'),
    'capital letters': (in_column(b'arch', lambda v: v.upper()), 'arch=FC'),
    'numbers of Excel': (becomes(b',1e-05,', b',1.00E-05,', -1), 'lr=1.00E-05'),
    'numbers rounded': (becomes(b',0.001,', b',0.0010,', -1), 'lr=0.0010'),
    'decimal commas in a setting': (in_column(b'lr', lambda v: b'"0,001"'), 'lr=0,001'),
    'whole numbers with a point': (becomes(b',20,', b',20.0,', -1), 'epochs=20.0'),
    'a date for a number': (becomes(b',20,', b',20. Jan,', -1), 'epochs=20. Jan'),
    'an error for a number': (becomes(b',20,', b',#NAME?,', -1), 'epochs=#NAME?'),
    'an empty cell for a number': (becomes(b',20,', b',,', -1), 'epochs='),
    'NA for an empty cell': (in_column(b'size', lambda v: b'NA'), 'size=NA'),
    'None for an empty cell': (in_column(b'size', lambda v: b'None'), 'size=None'),
    'two digits with a comma': (becomes(b',3 5,', b',3  5,', -1), 'minority=3  5'),
}

# Scores that are none: said wherever they are shown
SCORES = {
    'decimal commas in a score': (becomes(b',0.5,', b',"0,5",'), 'f1_minority=0,5'),
    'a thousandfold score': (becomes(b',0.51,', b',510,'), 'f1_minority=510'),
    'a date for a score': (becomes(b',0.51,', b',51. Mai,'), 'f1_minority=51. Mai'),
    'an error for a score': (becomes(b',0.51,', b',#VALUE!,'), 'f1_minority=#VALUE!'),
    'a minus before a score': (becomes(b',0.51,', b',-0.51,'), 'f1_minority=-0.51'),
    'two pools in one table': (becomes(b'1467 1f0e3d', b'1400 aaaaaa'), 'mixes rows'),
}


def spoiled(spoil, whole, folder):
    "The table in a folder, after what was done to it"
    path = folder/'hand.csv'
    path.write_bytes(spoil(whole))
    return path


def refusal(f):
    "What a function says when it refuses: one line"
    with pytest.raises(StudyError) as e: f()
    said = str(e.value)
    assert '\n' not in said and 'hand.csv' in said
    return said


@pytest.mark.parametrize('kind', READ)
def test_read_as_meant(whole, tmp_path, kind):
    "Every run that still stands there counts, once, and what is missing is measured: then the table is whole"
    spoil,n = READ[kind]
    path = spoiled(spoil, whole, tmp_path)
    left = missing(HAND, HAND.trials(), path)
    assert len(left)==N-n
    if n: assert len(results(HAND, tmp_path))>=n and summary(results('hand', tmp_path), ['arch','lr','minority'],
                                                           ['f1_minority']).failed.sum()<=8
    else:
        with pytest.raises(StudyError, match='not measured yet'): results(HAND, tmp_path)
    before = read_rows(path)
    df = run_study(HAND, out=tmp_path, device='cpu', workers=1, progress=False)
    assert len(df)==N and not missing(HAND, HAND.trials(), path)
    for old,new in zip(before, read_rows(path)): assert old.items()<=new.items()


@pytest.mark.parametrize('kind', REFUSED)
def test_refused_in_one_line(whole, tmp_path, kind):
    "Nothing is measured again without a word, and the file stays as it is"
    spoil,words = REFUSED[kind]
    path = spoiled(spoil, whole, tmp_path)
    before = path.read_bytes()
    assert before!=whole
    def run(): run_study(HAND, out=tmp_path, device='cpu', workers=1, progress=False)
    assert words in refusal(run)
    assert path.read_bytes()==before
    if 'two rows of one run' in words: return
    for f in (lambda: missing(HAND, HAND.trials(), path), lambda: rows_of(HAND, path), lambda: results(HAND, tmp_path)):
        assert words in refusal(f)


@pytest.mark.parametrize('kind', SCORES)
def test_scores_that_are_none(whole, tmp_path, kind):
    "A table with a score that is none is not shown"
    spoil,words = SCORES[kind]
    path = spoiled(spoil, whole, tmp_path)
    assert path.read_bytes()!=whole
    for f in (lambda: results('hand', tmp_path), lambda: beside_paper(HAND, tmp_path)): assert words in refusal(f)


def test_no_file(tmp_path):
    "A folder of that name, a folder that is a file, a file that may not be read: one line each"
    (tmp_path/'hand.csv').mkdir()
    assert 'cannot be read: Is a directory' in refusal(lambda: missing(HAND, HAND.trials(), tmp_path/'hand.csv'))
    assert 'cannot be read: Is a directory' in refusal(lambda: results(HAND, tmp_path))
    assert 'cannot write' in refusal(lambda: run_study(HAND, out=tmp_path, device='cpu', workers=1, progress=False))
    (tmp_path/'file').touch()
    assert 'cannot be read: Not a directory' in refusal(lambda: results(HAND, tmp_path/'file'))
    denied = patch.object(Path, 'read_bytes', side_effect=PermissionError(13, 'Permission denied'))
    with denied: assert 'cannot be read: Permission denied' in refusal(lambda: results(HAND, tmp_path))


def test_a_column_added_to_a_table_of_windows(whole, tmp_path):
    "With a mark, lines of Windows and an empty line first, a new column still keeps what is there"
    path = spoiled(lambda raw: b'\xef\xbb\xbf\r\n'+raw.replace(b'\n', b'\r\n'), whole, tmp_path)
    before = read_rows(path)
    append_rows(path, [dict(seed=7, more=1)])
    after = read_rows(path)
    for old,new in zip(before, after): assert old.items()<=new.items()
    assert len(after)==len(before)+1 and after[-1]['more']=='1'


def test_one_spoiled_table_in_the_list_of_all(run, root, tmp_path):
    "The other studies are listed, and the bad one's line says what is wrong"
    for name in ('finding','smoothing'):
        (tmp_path/f'{name}.csv').write_bytes((root/f'results/{name}.csv').read_bytes())
    with open(tmp_path/'finding.csv', 'ab') as f: f.write(b'>>>>>>> other\n')
    done = run('finalbn', 'results', env={**os.environ, 'COLUMNS':'400', 'FINALBN_RESULTS':str(tmp_path)})
    assert done.returncode==0, done.stderr
    by_name = {l.split()[0]:l for l in done.stdout.splitlines() if l.strip()}
    assert '120 of 480' in by_name['smoothing'] and 'spoiled' in by_name['finding']
    assert 'finding.csv, line 2762: a conflict' in by_name['finding']
