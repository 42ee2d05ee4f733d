"Fetching and unpacking, against a server on this machine that misbehaves; finding, on the real data where they are"
import hashlib, http.server, io, os, signal, stat, subprocess, sys, threading, time
from pathlib import Path, PurePosixPath
from zipfile import ZipFile, ZipInfo
import numpy as np, pytest
import finalbn_fastai.data as data
from finalbn_fastai.data import FetchError, Source, fetch, unpack

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
                self.wfile.write(body[i:i+30_000]); self.wfile.flush()
                if self.server.stop.wait(.05): return
        except OSError: pass


@pytest.fixture
def server():
    s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    s.asked,s.stop = [],threading.Event()
    threading.Thread(target=s.serve_forever, daemon=True).start()
    yield s
    s.stop.set(); s.shutdown(); s.server_close()


def source(server, path, body=BODY):
    "The file at `path` of the server, with the checksum that it should have"
    return Source('sub/file.bin', f'http://127.0.0.1:{server.server_port}{path}', hashlib.sha256(body).hexdigest(), len(body), 'this test')


def kept(folder):
    "The files in a folder that anybody could take for data"
    return [p.name for p in folder.rglob('*') if p.is_file() and p.suffix!='.lock']


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
    assert words in str(e.value) and 'FINALBN_DATA' in str(e.value) and '\n' not in str(e.value)
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
    (tmp_path/'sub').mkdir(); (tmp_path/'sub/file.bin').write_bytes(BODY)
    assert fetch(Source('sub/file.bin', 'https://nowhere.invalid/f', hashlib.sha256(BODY).hexdigest(), len(BODY), ''))==tmp_path/'sub/file.bin'


def test_only_https(tmp_path):
    with pytest.raises(FetchError, match='not https'): fetch(Source('f', 'http://example.org/f', '0'*64, 1, ''), tmp_path)
    assert all(s.url.startswith('https://') and len(s.sha256)==64 and s.size>1e6 for s in data.SOURCES.values())


def test_killed_half_way(server, tmp_path):
    "SIGKILL in the middle of a download leaves nothing that looks complete, and the next one is clean"
    s = source(server, '/slow')
    code = f"from pathlib import Path; from finalbn_fastai.data import Source, fetch; fetch({s!r}, Path({str(tmp_path)!r}))"
    child = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic()+60
    begun = lambda: [p for p in tmp_path.rglob('*') if p.is_file() and p.suffix!='.lock' and p.stat().st_size > 0]
    while not begun() and time.monotonic()<deadline: time.sleep(.02)
    child.send_signal(signal.SIGKILL); child.wait()
    assert begun() and not (tmp_path/'sub/file.bin').exists()
    assert fetch(source(server, '/good'), tmp_path).read_bytes()==BODY


def test_two_processes_fetch_once(server, tmp_path):
    "The second waits for the first and takes what it got"
    code = f"from pathlib import Path; from finalbn_fastai.data import Source, fetch; fetch({source(server, '/slow')!r}, Path({str(tmp_path)!r}))"
    children = [subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [c.wait(timeout=120) for c in children]==[0, 0]
    assert server.asked==['/slow'] and kept(tmp_path)==['file.bin']


def archive(path, members):
    "A zip file of `(name, bytes)`; a name that starts with `->` becomes a link"
    with ZipFile(path, 'w') as z:
        for name,content in members:
            info = ZipInfo(name.removeprefix('->'))
            info.external_attr = (stat.S_IFLNK if name.startswith('->') else stat.S_IFREG | 0o644) << 16
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
    unpack(zip, tmp_path/'out', lambda p: PurePosixPath(p.name) if 'yes' in p.parts else None)
    assert kept(tmp_path/'out')==['1']
    with pytest.raises(FetchError, match='nothing that is wanted'): unpack(zip, tmp_path/'out2', lambda p: None)


def test_unpack_killed_or_broken(tmp_path):
    "A damaged archive leaves no folder behind"
    zip = archive(tmp_path/'a.zip', [('x/1', b'1'*5000), ('x/2', b'2'*5000)])
    raw = bytearray(zip.read_bytes()); raw[7000] ^= 255; zip.write_bytes(raw)
    with pytest.raises(Exception): unpack(zip, tmp_path/'in/out', all_of_it)
    assert not (tmp_path/'in/out').exists() and not kept(tmp_path/'in')


def picture(seed):
    "The bytes of a small JPEG"
    from PIL import Image
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16, 3), np.uint8)).save(out, 'JPEG')
    return out.getvalue()


def test_plantvillage_from_the_network(server, tmp_path, monkeypatch):
    "Found nowhere, downloaded, only the plant's classes unpacked, split; the second time without the network"
    members = [(f'Plants/{c}/image ({i}).JPG', picture(i)) for c in ('Apple___healthy','Apple___Apple_scab','Apple___Black_rot','Grape___healthy','Tomato___healthy') for i in range(12)]
    body = archive(tmp_path/'p.zip', members).read_bytes()
    monkeypatch.setitem(globals(), 'BODY', body)
    s = source(server, '/good', body)
    monkeypatch.setattr(data, 'SOURCES', {'plantvillage': Source('plantvillage/all.zip', s.url, s.sha256, s.size, '')})
    monkeypatch.setattr(data, 'fastai_path', lambda _: tmp_path/'home')
    monkeypatch.setenv('FINALBN_CACHE', str(tmp_path/'cache'))
    monkeypatch.delenv('FINALBN_DATA', raising=False)
    sizes = dict(train=(5,2), valid=(2,1), test=(3,3))
    for _ in range(2):
        df = data.plantvillage('apple', **sizes)
        assert df.groupby(['split','label']).size()['train'].to_dict()=={'healthy':5, 'unhealthy':2}
    assert server.asked==['/good']
    assert sorted(p.name for p in (tmp_path/'home/plantvillage/apple').iterdir())==['Apple___Apple_scab','Apple___Black_rot','Apple___healthy']
    with pytest.raises(FetchError, match='nothing that is wanted'): data.plantvillage('pepper')
    with pytest.raises(ValueError, match='1010 .*|160 healthy'): data.plantvillage('apple', train=(155,1), valid=(2,1), test=(3,3))


def test_cache_on_a_read_only_folder(tmp_path, monkeypatch):
    "No cache is no reason to give up: a warning, and the images"
    (tmp_path/'file').write_text('not a folder')
    monkeypatch.setenv('FINALBN_CACHE', str(tmp_path/'file/cache'))
    (tmp_path/'1.jpg').write_bytes(picture(1))
    with pytest.warns(UserWarning, match='set FINALBN_CACHE'): x = data.image_array([tmp_path/'1.jpg'], 8)
    assert x.shape==(1, 8, 8, 3)


def test_cache_write_killed(tmp_path, monkeypatch):
    "A write that dies leaves no half cache under the cache's name"
    monkeypatch.setenv('FINALBN_CACHE', str(tmp_path/'cache'))
    (tmp_path/'1.jpg').write_bytes(picture(1))
    code = ("import os, signal, numpy as np, finalbn_fastai.data as d\n"
            "def die(f, a): f.write(b'half'); f.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
            f"np.lib.format.write_array = die; d.image_array([{str(tmp_path/'1.jpg')!r}], 8)")
    assert subprocess.run([sys.executable, '-W', 'ignore', '-c', code]).returncode==-signal.SIGKILL
    assert not list((tmp_path/'cache').glob('*.npy'))
    assert data.image_array([tmp_path/'1.jpg'], 8).shape==(1, 8, 8, 3)
    assert len(list((tmp_path/'cache').glob('*.npy')))==1


def test_two_processes_decode_once(tmp_path):
    "One cache file, whole, and both have the images"
    for i in range(40): (tmp_path/f'{i}.jpg').write_bytes(picture(i))
    code = f"import finalbn_fastai.data as d, pathlib; print(d.image_array(sorted(pathlib.Path({str(tmp_path)!r}).glob('*.jpg')), 64).sum())"
    env = {**os.environ, 'FINALBN_CACHE': str(tmp_path/'cache')}
    children = [subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code], stdout=subprocess.PIPE, text=True, env=env) for _ in range(2)]
    sums = {c.communicate(timeout=120)[0].strip() for c in children}
    assert len(sums)==1 and sums!={''} and len(list((tmp_path/'cache').glob('*.npy')))==1


def test_digits_without_the_full_set(tmp_path, monkeypatch):
    "The 5,000 embedded digits stand in, and that is said"
    monkeypatch.setenv('FINALBN_DATA', str(tmp_path)); monkeypatch.setattr(data, 'fastai_path', lambda _: tmp_path)
    with pytest.warns(UserWarning, match='full MNIST is not here'): assert len(data.mnist().y)==5000


def test_doctor(run, tmp_path):
    "Everything is named, found or with the size of its download, and wrong folders get one line"
    env = {**os.environ, 'FINALBN_DATA': str(tmp_path), 'FASTAI_HOME': str(tmp_path/'home'), 'TORCH_HOME': str(tmp_path/'torch')}
    done = run('finalbn', 'doctor', env=env)
    assert done.returncode==0, done.stderr
    for words in ('MNIST, full', 'PlantVillage: tomato', 'would download 868 MB', 'would download 11 MB', 'VGG-19', 'would download 548 MB', 'EfficientNet-Lite0', '5,000'): assert words in done.stdout
    done = run('finalbn', 'doctor', env={**env, 'FINALBN_DATA': str(tmp_path/'nowhere')})
    assert done.returncode==2 and done.stderr.count('\n')==1 and 'nowhere' in done.stderr


real = pytest.mark.skipif(not os.environ.get('FINALBN_DATA'), reason='FINALBN_DATA does not name a folder with the real data')


@real
def test_every_experiment_gets_its_data(monkeypatch):
    "One call each: the splits of all plants, the ratio sweep, leaves kept together, digits in every setting"
    for plant in data.PLANTS:
        sweep = [data.plantvillage(plant, seed=1, train=(1000, n)) for n in (5, 10, 100)]
        rare = [set(d[(d.split=='train') & (d.label=='unhealthy')].file) for d in sweep]
        tests = [set(d[d.split=='test'].file) for d in sweep]
        assert [len(r) for r in rare]==[5, 10, 100] and rare[0] < rare[1] < rare[2] and tests[0]==tests[1]==tests[2] and len(tests[0])==300
    together = data.plantvillage('pepper', seed=1, by_leaf=True)
    assert together.groupby('leaf').split.nunique().max()==1 and len(together)==1467
    for few,many in [(3,8), (2,8), (3,5), (3,(5,8)), ((3,5),8)]:
        dls = data.digit_dls(few, many, seed=1)
        assert 'full MNIST' in dls.source
        n = {c: dls.counts[c] for c in dls.vocab}
        assert all(n[c]==round(.01*min(n[m] for m in dls.vocab if m not in dls.minority)) for c in dls.minority)


DRAWN = {'apple': 'f6a9389db279', 'pepper': '7c88f2381846', 'tomato': 'c5f63f0a26e2'}


@real
def test_the_same_draw_on_every_machine():
    "The names drawn by seed 0 are part of the book's results: a change of the draw must be noticed"
    names = lambda df: [f'{Path(f).parent.name.lower()}/{Path(f).name.lower()}' for f in df.file]
    digest = {p: hashlib.sha256('\n'.join(names(data.plantvillage(p, seed=0))).encode()).hexdigest()[:12] for p in data.PLANTS}
    assert digest==DRAWN


@real
@pytest.mark.slow
def test_bench_prints_its_table(run):
    done = run('finalbn', 'bench', 'data', '--size', 64)
    assert done.returncode==0, done.stderr
    assert '1,467 images' in done.stdout and 'peak memory' in done.stdout
    assert run('finalbn', 'bench', 'data', '--plant', 'potato').returncode==2
