"Wrong command lines, by the words that the answer must have, and a runner: `python tests/wrong_commands.py early`"
import io, json, os, shlex, sys, time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch
import numpy as np
from PIL import Image

STUDIES = 'run', 'results'
WITH_SEEDS = 'demo', 'run h6_sigmoid', 'compare lamps'
WITH_WORKERS = 'run h6_sigmoid', 'compare lamps'
NO_WHOLE = 'many', '2.5', '1e3', '0x10', 'nan', '½', '[red]3[/]'
NO_NUMBER = 'x', '1:100', '0,01', '[red]'
NEAR = {'h6_sigmoids':'h6_sigmoid', 'H6_SIGMOID':'h6_sigmoid', 'h6-sigmoid':'h6_sigmoid', ' h6_sigmoid':'h6_sigmoid',
        'h6_sigmoid.csv':'h6_sigmoid', 'h2_ratios':'h2_ratio', 'confidance':'confidence', 'Demo':'demo',
        'alternative_fc':'alternatives_fc', 'findings':'finding'}
ONLY = {"'lrr', did you mean 'lr'": 'lrr=0.1', "'LR', did you mean 'lr'": 'LR=0.1', "'architecture'": 'architecture=fc',
        "did you mean 'fc'": 'arch=fcc', "did you mean 'True'": 'final_bn=true', 'no final_bn=yes': 'final_bn=yes',
        'no lr=0.1 here: there is 0.001': 'lr=0.1', 'no lr= here': 'lr=', 'no seed=99': 'seed=99',
        'no seed=-1': 'seed=-1',
        'no lr=0 here': 'lr=0,001', 'no output=sigmoid softmax': "'output=sigmoid softmax'", 'no seed=1.0': 'seed=1.0',
        'write it as setting=value': 'lr', '--only =3: write it': '=3', '--only =: write it': '=',
        "'ł'": 'ł=1', 'no minority=[red]3[/]': 'minority=[red]3[/]'}
TABLE_ONLY = '--name-column x', '--label-column x', '--images .', '--group x'
PATTERNS = '(', '[a', '*', 'a{99999999999}', r'(?P<1>.)'
PLACES = {'taken':'taken', 'taken/in/it':'taken/in/it', '/proc/nowhere':'/proc/nowhere', 'x'*300:'too long',
          '[red]taken[/]/x':'[red]taken[/]/x'}
ADDRESSES = ('tls://', 'ucx://127.0.0.1:8786', 'tcp://', 'tcp://127.0.0.1', 'localhost', 'words', 'inproc://', 'ws://h:1',
             'http://127.0.0.1:8786', 'tcp://127.0.0.1:99999', 'tcp://127.0.0.1:x', 'tcp://:8786', '127.0.0.1:1',
             'tcp://[::1', '[red]x[/]')
OPTIONS = {'demo --sede 3':'--sede', 'run h6_sigmoid --seed 3':'--seed', 'results h6_sigmoid --only lr=1':'--only',
           'doctor --out x':'--out', 'compare lamps --lrs 1':'--lrs', 'bench data --plants apple':'--plants',
           'bench engine --seeds 1':'--seeds', '--device cpu run':'--device', 'run -x':'-x', 'demo --Seeds 3':'--Seeds',
           'run h6_sigmoid --dry_run':'--dry_run', 'compare lamps --[red]':'--[red]'}
EXTRA = 'demo 3', 'doctor here', 'run h6_sigmoid h2_ratio', 'results a b', 'compare lamps lamps', 'bench data apple'
UNKNOWN = 'nothing', '../demo', 'results', "'a b'", '[red]x[/]', 'ßtudie'
FOLDERS = ('nowhere', 'taken/in/it', "'[red]x[/]'", 'nowhere.csv', 'y'*200, '/dev/null', 'nowhere --group x')
PREVALENCES = '0', '1', '-1', '2', 'nan', 'inf', '.1 --prevalence 7'
TWICE = {'run h6_sigmoid --seeds 3 --seeds 4':'--seeds', 'demo --out a --out b':'--out',
         'demo --device cpu --device cpu':'--device', 'run h6_sigmoid --dry-run --dry-run':'--dry-run',
         'compare lamps --lr .1 --lr .2':'--lr',
         'results h6_sigmoid --out a --out a':'--out', 'bench data --plant apple --plant pepper':'--plant'}
EMPTY = {"demo --out ''":'--out', "demo --device ''":'--device', "run ''":'NAME', "results ''":'NAME',
         "compare ''":'DATA',
         "run h6_sigmoid --scheduler ''":'--scheduler', "run h6_sigmoid --only ''":'--only', "bench data --plant ''":
         '--plant', "compare lamps --rare ''":'--rare', "compare lamps --group-pattern ''":'--group-pattern'}


def of_shares(option):
    "A share of a comparison above 0"
    return [f'compare lamps --{option} {v}' for v in ('0', '-0.1', '1.5', 'nan', 'inf')]


# What PyTorch is not needed for: words of the answer, and the command lines that get it
EARLY = {
    'No such command': ['dmo', 'RUN', 'runs', 'result', 'docter', 'benchmark', 'run-all', 'h6_sigmoid', 'données',
                        "''", "'demo\t'", '[red]demo[/]', 'bench dta', 'bench engines'],
    'Missing argument': ['compare', 'compare --seeds 3'],
    'requires an argument': ['run h6_sigmoid --seeds', 'demo --out', 'compare lamps --rare'],
    'unexpected extra argument': list(EXTRA),
    'no study': [f'{c} {n}' for c in STUDIES for n in UNKNOWN],
    'is for one study': ['run --seeds 3', 'run --only lr=1', 'run --dry-run', 'run --workers 2', 'run --device cpu',
                         'run --scheduler tcp://127.0.0.1:1'],
    'holds a NUL byte': ['run a\0b', 'demo --out a\0b', 'run h6_sigmoid --only lr=\0'],
    "Invalid value for '--": [f'{c} --seeds {n}' for c in WITH_SEEDS for n in ('0', '-1')] +
                           ['demo --seeds 1000000000', 'compare lamps --seeds 1000000000', 'compare lamps --seeds 1'] +
                           [f'{c} --workers {n}' for c in WITH_WORKERS for n in ('0', '-1')] +
                           [f'demo --epochs {n}' for n in ('0', '-1')] +
                           ['demo --minority 10', 'demo --majority -1'] +
                           ['compare lamps --size 0', 'compare lamps --size 7',
                            'compare lamps --size 1000000', 'compare lamps --epochs 0', 'compare lamps --bs 0',
                            'compare lamps --bs 1', 'bench data --size 4', 'bench data --size 1000000000'],
    "Invalid value for '-": [f'{c} --seeds {n}' for c in WITH_SEEDS for n in NO_WHOLE] +
                          [f'{c} --workers {n}' for c in WITH_WORKERS for n in ('many', '1.5')] +
                          ['demo --epochs 1.5', 'demo --minority three', 'compare lamps --size 224x224',
                           'bench data --size big'],
    "Invalid value for '": [f'demo --ratio {n}' for n in NO_NUMBER] +
                            [f'compare lamps --lr {n}' for n in NO_NUMBER] +
                            [f'compare lamps --prevalence {n}' for n in NO_NUMBER],
    'ratio=': [f'demo --ratio {n}' for n in ('0', '-1', '2', '1.0001', 'nan', 'inf', '-inf')],
    'lr=': [f'compare lamps --lr {n}' for n in ('0', '-1', 'nan', 'inf')],
    'prevalence=': [f'compare lamps --prevalence {n}' for n in PREVALENCES],
    'valid=': of_shares('valid'),
    'test=': of_shares('test') + ['compare lamps --valid .9', 'compare lamps --valid .5 --test .5'],
    'are both 8': ['demo --minority 8', 'demo --minority 8 --majority 8'],
    'seeds=1000000000': ['run h6_sigmoid --seeds 1000000000'],
    'more than 100,000: ask for fewer': ['run h6_sigmoid --seeds 90000', 'run configurations --seeds 1000 --dry-run'],
    '--only lr is given twice': ['run h6_sigmoid --only lr=0.001 --only lr=0.001'],
    'is not there: give a folder': [f'compare {f}' for f in FOLDERS],
    'is for a CSV file': [f'compare lamps {o}' for o in TABLE_ONLY],
    'no regular expression': [f'compare lamps --group-pattern {shlex.quote(p)}' for p in PATTERNS],
    'give one': ['compare names.csv --group a --group-pattern a',
                 'run h6_sigmoid --workers 2 --scheduler tcp://127.0.0.1:1',
                 'compare lamps --workers 1 --scheduler tcp://127.0.0.1:1'],
    'write it as tcp://': [f'run h6_sigmoid --scheduler {shlex.quote(a)}' for a in ADDRESSES] +
                          [f'compare lamps --scheduler {a}' for a in ADDRESSES[:4]],
    'no Dask scheduler answers': [f'{c} --scheduler {a}' for c in WITH_WORKERS
                                  for a in ('tcp://127.0.0.1:1', 'tls://127.0.0.1:1', 'tcp://no.such.host.invalid:8786')],
    'no plant': [f'bench data --plant {p}' for p in ('pear', 'Apple', '[red]apple[/]')],
    'cannot write to': ['FINALBN_RESULTS=taken run h6_sigmoid', 'FINALBN_RESULTS=taken/in run h6_sigmoid'],
    **{f'No such option: {o}': [line] for line,o in OPTIONS.items()},
    **{f'{o} is given 2 times': [line] for line,o in TWICE.items()},
    **{f'{o} is empty': [line] for line,o in EMPTY.items()}}
EARLY = [(words, line) for words,lines in EARLY.items() for line in lines]
EARLY += [(f"did you mean '{meant}'", f'{c} {shlex.quote(name)}') for c in STUDIES for name,meant in NEAR.items()]
EARLY += [(words, f'run h6_sigmoid --only {o}') for words,o in ONLY.items()]
EARLY += [(words, f'{c} --out {shlex.quote(place)}') for place,words in PLACES.items()
          for c in ('demo', 'run h6_sigmoid', 'compare lamps', 'bench engine')]

DEVICES = 'meta', 'hpu', 'gpu', 'cuda:99', 'xpu', 'CPU', 'cuda:-1', 'tpu', 'xla', '[red]cpu[/]'
SPOILED = {'none': 'no folders inside', 'lamps/off': 'has images directly inside', 'nested': 'has folders inside',
           'hollow': 'holds no image', 'single': 'one class only', 'few': 'too few for three parts',
           'equal': 'equally rare', 'binary.csv': 'cannot be read as CSV', 'empty.csv': 'cannot be read as CSV',
           'narrow.csv': '1 columns', 'names.csv': '2 of 2 images are not there', 'twice.csv': 'more than once',
           'unlabelled.csv': 'has no label', 'ragged.csv': 'cannot be read as CSV', '[red]none[/]': 'no folders inside'}
# What needs PyTorch: devices, bodies, images, data
LATE = [(f'no device {d!r} here', f'{c} --device {shlex.quote(d)}') for d in DEVICES
        for c in ('demo', 'run h6_sigmoid', 'compare lamps')]
LATE += [("no device 'meta' here", 'bench engine --device meta')]
LATE += [(words, f'compare {shlex.quote(place)}') for place,words in SPOILED.items()]
LATE += [('workers=999', f'{c} --workers 999') for c in (*WITH_WORKERS, 'run h6_sigmoid --dry-run')]
LATE += [('arch=', f'compare lamps --arch {a}') for a in ('nope', 'resnet999', 'resnet34.bad', '[red]x[/]', '../x')]
LATE += [("rare='dim'", 'compare lamps --rare dim'), ("fewer than a batch", 'compare lamps --bs 100000'),
         ('finds nothing in the file name', 'compare lamps --group-pattern z+'),
         ('tries too many ways', "compare lamps --group-pattern '^([0-9]+)+!'"),
         ("label_column='colour'", 'compare names.csv --label-column colour'),
         ("name_column='x'", 'compare names.csv --name-column x'), ("group='x'", 'compare names.csv --group x'),
         ('not measured', 'results h6_sigmoid --out none'), ('taken', 'results h6_sigmoid --out taken'),
         ('taken', 'FINALBN_RESULTS=taken/in results h6_sigmoid'), ('taken', 'FINALBN_RESULTS=taken run'),
         ('FINALBN_DATA=nowhere', 'FINALBN_DATA=nowhere doctor'), ('FINALBN_DATA=taken', 'FINALBN_DATA=taken doctor'),
         ('[red]x[/]', 'FINALBN_DATA=[red]x[/] run finding --only seed=0')]


def paint(folder, **counts):
    "Folders of grey squares"
    rng = np.random.default_rng(0)
    for name,n in counts.items():
        (folder/name).mkdir(parents=True)
        for k in range(n):
            x = rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(x).save(folder/name/f'{k:028}.png')


def furnish():
    "What the command lines name, here"
    paint(Path('lamps'), off=40, on=15)
    paint(Path('single'), off=2)
    paint(Path('few'), off=9, on=2)
    paint(Path('equal'), off=9, on=9)
    paint(Path('nested/lamps'), off=1)
    for name in ('none', 'hollow/off', '[red]none[/]', '[red]taken['): Path(name).mkdir(parents=True)
    for name in ('taken', '[red]taken[/]', 'empty.csv'): Path(name).touch()
    Path('binary.csv').write_bytes(bytes(range(256)))
    texts = dict(narrow='name\na.png\n', names='name,label\na.png,on\nb.png,off\n', ragged='a,b\n1,2\n1,2,3,4\n',
                 twice=f'name,label\nlamps/on/{0:028}.png,on\nlamps/on/{0:028}.png,on\n',
                 unlabelled=f'name,label\nlamps/on/{0:028}.png,on\nlamps/off/{0:028}.png,\n')
    for name,text in texts.items(): Path(f'{name}.csv').write_text(text)


def files():
    "All that lies below the current folder, with sizes"
    return {str(f): f.stat().st_size if f.is_file() else 'folder' for f in Path().rglob('*')}


def answer(line):
    "What the command says to a line, and what it leaves behind"
    from finalbn_fastai.cli import main
    words = shlex.split(line) if '\0' not in line else line.split(' ')
    env = dict(w.split('=', 1) for w in words if w.startswith('FINALBN_'))
    args = [w for w in words if not w.startswith('FINALBN_')]
    before,start,error = files(),time.process_time(),''
    with patch.dict(os.environ, env), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as err:
        try: main(args)
        except SystemExit as e: code = e.code
        except BaseException as e: code,error = None,f'{type(e).__name__}: {e}'
    left = sorted(f for f,size in files().items() if before.get(f)!=size)
    return dict(code=code, err=err.getvalue(), error=error, left=left, seconds=time.process_time()-start)


if __name__=='__main__':
    which, = sys.argv[1:]
    furnish()
    if which=='late':
        import finalbn_fastai.own_runs
        finalbn_fastai.own_runs.PATTERN_SECONDS = .3
    lines = [line for _,line in {'early':EARLY, 'late':EARLY+LATE}[which]]
    answers = {line:answer(line) for line in lines}
    print(json.dumps(dict(answers=answers, torch='torch' in sys.modules)))
