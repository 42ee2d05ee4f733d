"Fetching and unpacking, against a server on this machine that misbehaves"
import hashlib, http.server, signal, stat, subprocess, threading, time
from pathlib import PurePosixPath
from zipfile import ZipFile, ZipInfo
import numpy as np, pytest
import finalbn_fastai.downloads as downloads
from finalbn_fastai.downloads import FetchError, Source, fetch, unpack
from finalbn_fastai.leaves import plantvillage
from helpers import picture, run_python

BODY = np.random.default_rng(0).bytes(3_000_000)


class Handler(http.server.BaseHTTPRequestHandler):
    "What a path asks for: /good, /short (cut off), /wrong (another file), /missing, /asleep, /slow (dripping)"
    def log_message(self, *args): pass

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path=='/missing': return self.send_error(404)
        if self.path=='/asleep': return self.server.stop.wait(5)
        body = BODY[::-1] if self.path=='/wrong' else BODY
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        try:
            if self.path=='/short': return self.wfile.write(body[:len(body)//2])
            if self.path!='/slow': return self.wfile.write(body)
            for i in range(0, len(body), 30_000):
                self.wfile.write(body[i:i+30_000])
                self.wfile.flush()
                if self.server.stop.wait(.05): return
        except OSError: pass


@pytest.fixture
def server():
    s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    s.asked,s.stop = [],threading.Event()
    threading.Thread(target=s.serve_forever, daemon=True).start()
    yield s
    s.stop.set()
    s.shutdown()
    s.server_close()


def source(server, path, body=BODY, file='sub/file.bin'):
    "The file at `path` of the server, with the checksum that it should have"
    url = f'http://127.0.0.1:{server.server_port}{path}'
    return Source(file, url, hashlib.sha256(body).hexdigest(), len(body), 'this test')


def kept(folder):
    "The files in a folder that anybody could take for data"
    return [p.name for p in folder.rglob('*') if p.is_file() and p.suffix!='.lock']


def run_fetch(source, folder):
    "A process that fetches `source` to `folder`"
    code = ("from pathlib import Path\n"
            "from finalbn_fastai.downloads import Source, fetch\n"
            f"fetch({source!r}, Path({str(folder)!r}))")
    return run_python(code, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_good(server, tmp_path):
    "Downloaded once, then taken from the disk"
    for _ in range(2): assert fetch(source(server, '/good'), tmp_path).read_bytes()==BODY
    assert server.asked==['/good'] and kept(tmp_path)==['file.bin']


@pytest.mark.parametrize('path,words', [
    ('/short', 'broke off'),
    ('/wrong', 'not the file it should be'),
    ('/missing', 'answers 404'),
    ('/asleep', 'did not answer within 0.5 s'),
])
def test_bad(server, tmp_path, path, words):
    "An error that says what to do, in one line; nothing kept; and a clean restart afterwards"
    with pytest.raises(FetchError) as e: fetch(source(server, path), tmp_path, timeout=.5)
    said = str(e.value)
    assert words in said and 'FINALBN_DATA' in said and '\n' not in said
    assert not kept(tmp_path)
    assert fetch(source(server, '/good'), tmp_path).read_bytes()==BODY


def test_a_wrong_file_that_lies_there_is_replaced(server, tmp_path):
    (tmp_path/'sub').mkdir()
    (tmp_path/'sub/file.bin').write_bytes(b'half of it')
    assert fetch(source(server, '/good'), tmp_path).read_bytes()==BODY


def test_no_network(tmp_path):
    "A port where nobody listens"
    with http.server.HTTPServer(('127.0.0.1', 0), Handler) as s: port = s.server_port
    with pytest.raises(FetchError, match='no network and no copy of file.bin in .* set FINALBN_DATA'):
        fetch(Source('file.bin', f'http://127.0.0.1:{port}/good', '0'*64, 1, ''), tmp_path)


def test_put_there_by_hand(tmp_path, monkeypatch):
    "The file itself, in the folder that FINALBN_DATA names, needs no network"
    monkeypatch.setenv('FINALBN_DATA', str(tmp_path))
    file = tmp_path/'sub/file.bin'
    file.parent.mkdir()
    file.write_bytes(BODY)
    there = Source('sub/file.bin', 'https://nowhere.invalid/f', hashlib.sha256(BODY).hexdigest(), len(BODY), '')
    assert fetch(there)==file


def test_only_https(tmp_path):
    plain = Source('f', 'http://example.org/f', '0'*64, 1, '')
    with pytest.raises(FetchError, match='not https'): fetch(plain, tmp_path)
    assert len(downloads.SOURCES)==2
    for s in downloads.SOURCES.values(): assert s.url.startswith('https://') and len(s.sha256)==64 and s.size>1e6


def test_killed_half_way(server, tmp_path):
    "SIGKILL in the middle of a download leaves nothing that looks complete, and the next one is clean"
    def begun(): return [p for p in tmp_path.rglob('*') if p.is_file() and p.suffix!='.lock' and p.stat().st_size>0]
    child = run_fetch(source(server, '/slow'), tmp_path)
    deadline = time.monotonic()+60
    while not begun() and time.monotonic()<deadline: time.sleep(.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert begun() and not (tmp_path/'sub/file.bin').exists()
    assert fetch(source(server, '/good'), tmp_path).read_bytes()==BODY


def test_two_processes_fetch_once(server, tmp_path):
    "The second waits for the first and takes what it got"
    children = [run_fetch(source(server, '/slow'), tmp_path) for _ in range(2)]
    assert [c.wait(timeout=120) for c in children]==[0, 0]
    assert server.asked==['/slow'] and kept(tmp_path)==['file.bin']


def archive(path, members):
    "A zip file of `(name, bytes)`; a name that starts with `->` becomes a link"
    with ZipFile(path, 'w') as z:
        for name,content in members:
            info = ZipInfo(name.removeprefix('->'))
            mode = stat.S_IFLNK if name.startswith('->') else stat.S_IFREG | 0o644
            info.external_attr = mode << 16
            z.writestr(info, content)
    return path


def all_of_it(path): return path


@pytest.mark.parametrize('members,words', [
    ([('a.txt', b'a'), ('../evil.txt', b'x')], 'outside'),
    ([('/etc/evil', b'x')], 'outside'),
    ([('a\\..\\..\\evil', b'x')], 'outside'),
    ([('C:/evil', b'x')], 'outside'),
    ([('a.txt', b'a'), ('->link', b'/etc/passwd')], 'link'),
    ([('a.txt', b'x'*2000)], 'more than'),
])
def test_unsafe_archives(tmp_path, members, words):
    "Refused as a whole, before anything is written"
    zip = archive(tmp_path/'a.zip', members)
    with pytest.raises(FetchError, match=words): unpack(zip, tmp_path/'in/out', all_of_it, max_bytes=1000)
    assert not kept(tmp_path/'in') and not (tmp_path/'evil.txt').exists()


def test_unpack_keeps_what_is_wanted(tmp_path):
    zip = archive(tmp_path/'a.zip', [('x/yes/1', b'1'), ('x/no/2', b'2')])
    def only_yes(path): return PurePosixPath(path.name) if 'yes' in path.parts else None
    unpack(zip, tmp_path/'out', only_yes)
    assert kept(tmp_path/'out')==['1']
    with pytest.raises(FetchError, match='nothing that is wanted'): unpack(zip, tmp_path/'out2', lambda p: None)


def test_unpack_killed_or_broken(tmp_path):
    "A damaged archive leaves no folder behind"
    zip = archive(tmp_path/'a.zip', [('x/1', b'1'*5000), ('x/2', b'2'*5000)])
    raw = bytearray(zip.read_bytes())
    raw[7000] ^= 255
    zip.write_bytes(raw)
    with pytest.raises(Exception): unpack(zip, tmp_path/'in/out', all_of_it)
    assert not (tmp_path/'in/out').exists() and not kept(tmp_path/'in')


def test_plantvillage_from_the_network(server, tmp_path, monkeypatch):
    "Found nowhere, downloaded, only the plant's classes unpacked, split; the second time without the network"
    apples = ['Apple___Apple_scab','Apple___Black_rot','Apple___healthy']
    members = []
    for c in (*apples, 'Grape___healthy', 'Tomato___healthy'):
        members += [(f'Plants/{c}/image ({i}).JPG', picture(i)) for i in range(12)]
    body = archive(tmp_path/'p.zip', members).read_bytes()
    monkeypatch.setitem(globals(), 'BODY', body)
    here = source(server, '/good', body, 'plantvillage/all.zip')
    monkeypatch.setitem(downloads.SOURCES, 'plantvillage', here)
    monkeypatch.setattr(downloads, 'fastai_path', lambda _: tmp_path/'home')
    monkeypatch.setenv('FINALBN_CACHE', str(tmp_path/'cache'))
    monkeypatch.delenv('FINALBN_DATA', raising=False)
    sizes = dict(train=(5,2), valid=(2,1), test=(3,3))
    for _ in range(2):
        df = plantvillage('apple', **sizes)
        assert df.groupby(['split','label']).size()['train'].to_dict()=={'healthy':5, 'unhealthy':2}
    assert server.asked==['/good']
    assert sorted(p.name for p in (tmp_path/'home/plantvillage/apple').iterdir())==apples
    with pytest.raises(FetchError, match='nothing that is wanted'): plantvillage('pepper')
    with pytest.raises(ValueError, match='160 healthy'): plantvillage('apple', **{**sizes, 'train': (155,1)})
