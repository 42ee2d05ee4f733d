"What the tests share: where things are, and how to run a command"
import subprocess, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


@pytest.fixture(scope='session')
def root():
    "The repository"
    return ROOT


@pytest.fixture(scope='session')
def run():
    "Run a command of this environment and return the finished process, its output as text"
    def _run(*args, **kwargs):
        exe = BIN/args[0]
        return subprocess.run([str(exe if exe.exists() else args[0]), *map(str, args[1:])], capture_output=True, text=True, **kwargs)
    return _run


@pytest.fixture(scope='session')
def tracked(root):
    "The files that belong to the repository: tracked, or new and not ignored"
    out = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard'], cwd=root, capture_output=True, text=True, check=True).stdout
    return [Path(f) for f in out.splitlines() if (root/f).exists()]


@pytest.fixture(scope='session')
def html(root):
    "The built book; `make html` builds it"
    folder = root/'_build/html'
    if not (folder/'index.html').exists(): pytest.fail("no book in _build/html: run `make html` first")
    return folder
