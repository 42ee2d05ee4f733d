"The lines of wrong_commands.txt, by the words that their answer must have, and a process that runs them"
import io, json, os, shlex, sys, time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch
import numpy as np
from PIL import Image


def read(text):
    "Pairs of words and command line, by section: `# section`, `words:`, and below them a line each, indented"
    found,words = {},''
    for o in text.splitlines():
        line = o.replace('\\0', '\0').replace('\\t', '\t').replace('\\\\', '\\')
        if o.startswith('# '): cases = found.setdefault(o[2:], [])
        elif o.startswith('\t'): cases.append((words, line[1:]))
        else: words = line[:-1]
    return found


CASES = read(Path(__file__).with_suffix('.txt').read_text(encoding='utf-8'))
EARLY,LATE = CASES['early'],CASES['late']  # What is known without PyTorch, and what needs it


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
