"Fetching and unpacking, against a server on this machine that misbehaves; drawing, on the real data where they are"
import hashlib, http.server, io, os, signal, stat, subprocess, sys, threading, time
from pathlib import Path, PurePosixPath
from zipfile import ZipFile, ZipInfo
import numpy as np, pytest
from PIL import Image
import finalbn_fastai.data as data
from finalbn_fastai.data import FetchError, Source, fetch, image_array, unpack
from finalbn_fastai.digits import digit_dls, mnist
from finalbn_fastai.leaves import PLANTS, plantvillage

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


def run_python(code, **kwargs):
    "A Python process that runs `code`"
    return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code], **kwargs)


def run_fetch(source, folder):
    "A process that fetches `source` to `folder`"
    code = ("from pathlib import Path\n"
            "from finalbn_fastai.data import Source, fetch\n"
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
    assert len(data.SOURCES)==2
    for s in data.SOURCES.values(): assert s.url.startswith('https://') and len(s.sha256)==64 and s.size>1e6


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


def picture(seed):
    "The bytes of a small JPEG"
    out,noise = io.BytesIO(),np.random.default_rng(seed).integers(0, 255, (16, 16, 3), np.uint8)
    Image.fromarray(noise).save(out, 'JPEG')
    return out.getvalue()


def test_plantvillage_from_the_network(server, tmp_path, monkeypatch):
    "Found nowhere, downloaded, only the plant's classes unpacked, split; the second time without the network"
    apples = ['Apple___Apple_scab','Apple___Black_rot','Apple___healthy']
    members = []
    for c in (*apples, 'Grape___healthy', 'Tomato___healthy'):
        members += [(f'Plants/{c}/image ({i}).JPG', picture(i)) for i in range(12)]
    body = archive(tmp_path/'p.zip', members).read_bytes()
    monkeypatch.setitem(globals(), 'BODY', body)
    here = source(server, '/good', body, 'plantvillage/all.zip')
    monkeypatch.setitem(data.SOURCES, 'plantvillage', here)
    monkeypatch.setattr(data, 'fastai_path', lambda _: tmp_path/'home')
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


def test_cache_on_a_read_only_folder(tmp_path, monkeypatch):
    "No cache is no reason to give up: a warning, and the images"
    (tmp_path/'file').write_text('not a folder')
    monkeypatch.setenv('FINALBN_CACHE', str(tmp_path/'file/cache'))
    (tmp_path/'1.jpg').write_bytes(picture(1))
    with pytest.warns(UserWarning, match='set FINALBN_CACHE'): x = image_array([tmp_path/'1.jpg'], 8)
    assert x.shape==(1, 8, 8, 3)


def test_cache_write_killed(tmp_path, monkeypatch):
    "A write that dies leaves no half cache under the cache's name"
    cache,file = tmp_path/'cache',tmp_path/'1.jpg'
    monkeypatch.setenv('FINALBN_CACHE', str(cache))
    file.write_bytes(picture(1))
    code = ("import os, signal, numpy as np\n"
            "from finalbn_fastai.data import image_array\n"
            "def die(f, a):\n"
            "    f.write(b'half')\n"
            "    f.flush()\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
            "np.lib.format.write_array = die\n"
            f"image_array([{str(file)!r}], 8)")
    assert run_python(code).wait()==-signal.SIGKILL
    assert not list(cache.glob('*.npy'))
    assert image_array([file], 8).shape==(1, 8, 8, 3)
    assert len(list(cache.glob('*.npy')))==1


def test_two_processes_decode_once(tmp_path):
    "One cache file, whole, and both have the images"
    for i in range(40): (tmp_path/f'{i}.jpg').write_bytes(picture(i))
    code = ("from pathlib import Path\n"
            "from finalbn_fastai.data import image_array\n"
            f"files = sorted(Path({str(tmp_path)!r}).glob('*.jpg'))\n"
            "print(image_array(files, 64).sum())")
    env = {**os.environ, 'FINALBN_CACHE': str(tmp_path/'cache')}
    children = [run_python(code, stdout=subprocess.PIPE, text=True, env=env) for _ in range(2)]
    sums = {c.communicate(timeout=120)[0].strip() for c in children}
    assert len(sums)==1 and sums!={''} and len(list((tmp_path/'cache').glob('*.npy')))==1


def test_digits_without_the_full_set(tmp_path, monkeypatch):
    "The 5,000 embedded digits stand in, and that is said"
    monkeypatch.setenv('FINALBN_DATA', str(tmp_path))
    monkeypatch.setattr(data, 'fastai_path', lambda _: tmp_path)
    with pytest.warns(UserWarning, match='full MNIST is not here'): assert len(mnist().y)==5000


def test_doctor(run, tmp_path):
    "Everything is named, found or with the size of its download, and wrong folders get one line"
    homes = {'FASTAI_HOME': str(tmp_path/'home'), 'TORCH_HOME': str(tmp_path/'torch')}
    env = {**os.environ, **homes, 'FINALBN_DATA': str(tmp_path)}
    done = run('finalbn', 'doctor', env=env)
    assert done.returncode==0, done.stderr
    named = 'MNIST, full','PlantVillage: tomato','VGG-16','AlexNet','VGG-19','EfficientNet-Lite0','5,000'
    sizes = [f'would download {mb} MB' for mb in (868, 11, 528, 233, 548)]
    for words in (*named, *sizes): assert words in done.stdout
    done = run('finalbn', 'doctor', env={**env, 'FINALBN_DATA': str(tmp_path/'nowhere')})
    assert done.returncode==2 and done.stderr.count('\n')==1 and 'nowhere' in done.stderr


real = pytest.mark.skipif(not os.environ.get('FINALBN_DATA'), reason='FINALBN_DATA names no folder with the real data')


def files(df, split): return set(df[df.split==split].file)


@real
@pytest.mark.parametrize('plant', PLANTS)
def test_ratio_sweep_of_leaves(plant):
    "With more unhealthy leaves, those of the smaller training set stay, and the test set is the same"
    sweep = [plantvillage(plant, seed=1, train=(1000, n)) for n in (5, 10, 100)]
    few,ten,many = (files(df[df.label=='unhealthy'], 'train') for df in sweep)
    assert [len(o) for o in (few, ten, many)]==[5, 10, 100]
    assert few < ten < many
    tests = [files(df, 'test') for df in sweep]
    assert tests[0]==tests[1]==tests[2] and len(tests[0])==300


@real
def test_leaves_kept_together():
    together = plantvillage('pepper', seed=1, by_leaf=True)
    assert together.groupby('leaf').split.nunique().max()==1 and len(together)==1467


@real
@pytest.mark.parametrize('few,many', [(3,8), (2,8), (3,5), (3,(5,8)), ((3,5),8)])
def test_digits_in_every_setting(few, many):
    "The minority digits are one in a hundred of the rarest majority digit"
    dls = digit_dls(few, many, seed=1)
    assert 'full MNIST' in dls.source
    n_many = min(dls.counts[c] for c in dls.vocab if c not in dls.minority)
    assert dls.minority
    for c in dls.minority: assert dls.counts[c]==round(.01*n_many)


DRAWN = {'apple': 'f6a9389db279', 'pepper': '7c88f2381846', 'tomato': 'c5f63f0a26e2'}


@real
def test_the_same_draw_on_every_machine():
    "The names drawn by seed 0 are part of the book's results: a change of the draw must be noticed"
    def name(file): return '/'.join(Path(file).parts[-2:]).lower()
    def digest(plant):
        names = '\n'.join(map(name, plantvillage(plant, seed=0).file))
        return hashlib.sha256(names.encode()).hexdigest()[:12]
    assert {p: digest(p) for p in PLANTS}==DRAWN


@real
@pytest.mark.slow
def test_bench_prints_its_table(run):
    done = run('finalbn', 'bench', 'data', '--size', 64)
    assert done.returncode==0, done.stderr
    assert '1,467 images' in done.stdout and 'peak memory' in done.stdout
    assert run('finalbn', 'bench', 'data', '--plant', 'potato').returncode==2
