"What the tests share: where things are, and how to run a command"
import functools, http.server, os, shutil, subprocess, sys, threading
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
        command,*rest = map(str, args)
        if (BIN/command).exists(): command = str(BIN/command)
        return subprocess.run([command, *rest], capture_output=True, text=True, **kwargs)
    return _run


@pytest.fixture(scope='session')
def tracked(root, run):
    "The files that belong to the repository: tracked, or new and not ignored"
    done = run('git', 'ls-files', '-co', '--exclude-standard', cwd=root)
    assert done.returncode==0, done.stderr
    return [Path(f) for f in done.stdout.splitlines() if (root/f).exists()]


@pytest.fixture(scope='module')
def copy(root, tracked, tmp_path_factory):
    "The repository's files, copied: nothing that was built beside them"
    dest = tmp_path_factory.mktemp('copy')
    for f in tracked:
        (dest/f).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root/f, dest/f)
    return dest


@pytest.fixture(scope='session')
def toc(root):
    "The pages that the table of contents names, the cover first"
    from sphinx_external_toc.parsing import parse_toc_yaml
    return list(parse_toc_yaml(root/'_toc.yml'))


@pytest.fixture(scope='session')
def demo(root):
    "The name of the chapter that `make book` trains, whatever its number"
    page, = (root/'nbs').glob('*_demo.ipynb')
    return page.stem


@pytest.fixture(scope='session')
def html(root):
    "The built book; `make html` builds it"
    folder = root/'_build/html'
    if not (folder/'index.html').exists(): pytest.fail("no book in _build/html: run `make html` first")
    return folder


@pytest.fixture(scope='module')
def site(html):
    "What is published, on a loopback port: search needs a server"
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


NO_BROWSER = ('no browser here: `apt-get install chromium` or `.venv/bin/playwright install chromium`, '
              'or name your Chromium: CHROMIUM=/path/to/chrome make test')


def chromium(playwright):
    "Chromium's program: the one of `CHROMIUM`, the system's, or Playwright's own; `None` where there is none"
    named = os.environ.get('CHROMIUM')
    if named and not shutil.which(named): pytest.fail(f'CHROMIUM={named} is no program: name your Chromium there')
    installed = map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))
    own = shutil.which(playwright.chromium.executable_path)
    return named or next(filter(None, installed), own)


@pytest.fixture(scope='module')
def browser():
    "Headless Chromium"
    from playwright.sync_api import sync_playwright
    quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync']
    with sync_playwright() as p:
        exe = chromium(p)
        if not exe: pytest.skip(NO_BROWSER)
        browser = p.chromium.launch(executable_path=exe, args=['--no-sandbox', '--disable-gpu', *quiet])
        yield browser
        browser.close()
