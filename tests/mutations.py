"""
Bugs put in on purpose, one at a time: each could falsify a number of the study, and a test near it must fail.

`python tests/mutations.py` runs all, `--name 'ties counted as better'` one; `--out results/mutations.csv` keeps the
table. Exit code 1 if one survives. A bug is put into a copy of the repository, into the exported module and into the
cell of the notebook that it comes from, so that the tests of any notebook meet it.
"""
import argparse, csv, json, os, re, shutil, signal, subprocess, sys, tempfile, time
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from importlib import import_module
from pathlib import Path
import pytest
from mutation_table import TABLE

ROOT = Path(__file__).parent.parent
LIMIT = 600 # Seconds after which a test is taken to hang


@dataclass(frozen=True)
class Mutation:
    "A bug, and the test that must notice it"
    name:str # What is wrong, in words
    file:str # Module of `finalbn_fastai`
    old:str # Its text, which stands there once
    new:str # What it becomes
    test:str # A notebook, or a node of pytest


@dataclass(frozen=True)
class Found:
    "What came out of one mutation"
    mutation:str
    file:str
    test:str
    caught:str # `'yes'`, `'NO'`, or `'hangs'`
    seconds:float


def module_path(file): return Path('finalbn_fastai')/f'{file}.py'


def notebook_of(file, root=ROOT):
    "The notebook that a module is exported from"
    said = re.search(r'File to edit: \.\./(nbs/.*\.ipynb)', (root/module_path(file)).read_text(encoding='utf-8'))
    return Path(said[1])


def all_mutations():
    "The table as `Mutation`s; the nearest test is the module's own notebook unless another is named"
    found = []
    for file,bugs in TABLE.items():
        for name,old,new,*named in bugs:
            test = named[0] if named else str(notebook_of(file))
            if '/' not in test: test = f'tests/test_integrity.py::test_{test}'
            found.append(Mutation(name, file, old, new, test))
    return found


def replace_once(text, old, new, where):
    "`text` with `new` for `old`; a `ValueError` unless `old` stands there once"
    if (n := text.count(old))==1: return text.replace(old, new)
    raise ValueError(f"{where} has {n} times {old!r}: the code has moved on, put the table right")


def broken_module(m, root=ROOT):
    "The text of the module with the bug"
    return replace_once((root/module_path(m.file)).read_text(encoding='utf-8'), m.old, m.new, module_path(m.file))


def broken_notebook(m, root=ROOT):
    "The text of its notebook with the bug in the cell that is exported"
    notebook = notebook_of(m.file, root)
    nb = json.loads((root/notebook).read_text(encoding='utf-8'))
    cells = [c for c in nb['cells'] if re.search(r'^#\|\s*export', ''.join(c['source']), re.M)]
    holding = [c for c in cells if m.old in ''.join(c['source'])]
    if len(holding)!=1: raise ValueError(f"{len(holding)} cells of {notebook} have {m.old!r}: put the table right")
    source = replace_once(''.join(holding[0]['source']), m.old, m.new, notebook)
    holding[0]['source'] = source.splitlines(keepends=True)
    return json.dumps(nb)


@contextmanager
def mutated(m, copy):
    "In this block the copy has the bug"
    files = {copy/module_path(m.file): broken_module(m), copy/notebook_of(m.file): broken_notebook(m)}
    before = {f:f.read_text(encoding='utf-8') for f in files}
    try:
        for f,text in files.items(): f.write_text(text, encoding='utf-8')
        yield
    finally:
        for f,text in before.items(): f.write_text(text, encoding='utf-8')


def run_notebook(path):
    "Does a notebook's every test pass?"
    from nbdev.test import test_nb
    skipped = set() if os.environ.get('FINALBN_DATA') else {'data'}
    return test_nb(Path(path).absolute(), skip_flags=['cuda', *skipped], showerr=True)[0]


def run_pytest(node): return pytest.main(['-x', '-q', '-p', 'no:cacheprovider', node])==0


def in_child(test, copy, log):
    "Run a test in the copy and end this process: 0 if it passes"
    os.chdir(copy)
    os.environ.update(PYTHONPATH=str(copy), PYTHONWARNINGS='ignore')
    sys.path[:] = [str(copy), *(p for p in sys.path if p!=str(ROOT))]
    for fd in (1, 2): os.dup2(log.fileno(), fd)
    passed = False
    try: passed = run_notebook(test) if test.endswith('.ipynb') else run_pytest(test)
    finally: os._exit(not passed)


def passes(test, copy):
    "Does a test pass in the copy, in a fork of this process that has the libraries? `None` if it does not end"
    with open(copy/'log.txt', 'w') as log:
        child = os.fork()
        if not child: in_child(test, copy, log)
    deadline = time.monotonic()+LIMIT
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic()>deadline:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0) and None
        time.sleep(.05)
    return ended[1]==0


@contextmanager
def a_copy():
    "The repository's files in a folder of their own"
    listed = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True)
    with tempfile.TemporaryDirectory() as tmp:
        for f in listed.stdout.splitlines():
            if not (ROOT/f).is_file(): continue
            (Path(tmp)/f).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT/f, Path(tmp)/f)
        yield Path(tmp)


def try_one(m, copy):
    "Put the bug in, and see what its test says"
    start = time.perf_counter()
    with mutated(m, copy): passed = passes(m.test, copy)
    caught = {True:'NO', False:'yes', None:'hangs'}[passed]
    return Found(m.name, m.file, m.test, caught, round(time.perf_counter()-start, 1))


def check_untouched(mutations, copy):
    "End with one line unless every test passes without a bug: it would notice all, and so none"
    for test in dict.fromkeys(m.test for m in mutations):
        if not passes(test, copy): sys.exit(f"{test} fails without any mutation: mend it first")


def load_libraries():
    "Import what the package imports, but for its own modules: each test's process then begins with it"
    sys.dont_write_bytecode = True
    names = 'claims','comparison','leaf_runs'
    code = f"import sys; import {', '.join(f'finalbn_fastai.{n}' for n in names)}; print(*sys.modules)"
    env = {**os.environ, 'PYTHONPATH':str(ROOT)}
    done = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True, check=True)
    for name in [*done.stdout.split(), 'nbdev.test']:
        with suppress(Exception):
            if name.partition('.')[0] not in ('finalbn_fastai','__main__'): import_module(name)


def main(args):
    "Run the wanted mutations, print what each test said, and keep the table"
    wanted = [m for m in all_mutations() if m.name in (args.name or [m.name]) and m.file in (args.file or [m.file])]
    if not wanted: sys.exit("no mutation of this name: python tests/mutations.py --help")
    load_libraries()
    found = []
    with a_copy() as copy:
        if not args.quick: check_untouched(wanted, copy)
        for m in wanted:
            found.append(try_one(m, copy))
            said = 'caught' if found[-1].caught=='yes' else 'SURVIVED'
            print(f'{said:>8}  {found[-1].seconds:6.1f} s  {m.file}: {m.name}', flush=True)
    if args.out:
        with open(args.out, 'w', newline='', encoding='utf-8') as f:
            table = csv.writer(f, lineterminator='\n')
            table.writerow(Found.__dataclass_fields__)
            table.writerows(map(astuple, found))
    left = [o for o in found if o.caught!='yes']
    print(f"{len(found)-len(left)} of {len(found)} mutations were caught")
    return 1 if left else 0


if __name__=='__main__':
    parser = argparse.ArgumentParser(description="Put in one bug after the other, and see which tests notice")
    parser.add_argument('--name', nargs='*', help="only those of these names")
    parser.add_argument('--file', nargs='*', help="only those of these modules")
    parser.add_argument('--quick', action='store_true', help="do not run each test without a bug first")
    parser.add_argument('--out', help="a CSV file for the table")
    sys.exit(main(parser.parse_args()))
