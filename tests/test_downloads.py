"Fetching and unpacking, against a server on this machine that misbehaves"
import errno, hashlib, http.server, os, re, shutil, signal, socket, stat, struct, subprocess, threading, time
import warnings, zlib
from contextlib import suppress
from pathlib import PurePosixPath
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile, ZipInfo
import numpy as np, pytest
import finalbn_fastai.downloads as downloads
from finalbn_fastai.downloads import FetchError, Source, fetch, lacking, unpack
from finalbn_fastai.leaves import plantvillage
from helpers import picture, run_python

BODY = np.random.default_rng(0).bytes(3_000_000)
HALF = len(BODY)//2
ENDLESS = 60_000_000 # Bytes that stand for endlessly many: nobody may take them
PAGE = b'<!DOCTYPE html><html><body>Welcome to our hotel. Log in</body></html>'


def head(status=200, length=None, **headers):
    "The head of an answer"
    if length is not None: headers['Content-Length'] = length
    lines = [f"{name.replace('_', '-')}: {value}" for name,value in headers.items()]
    return '\r\n'.join([f'HTTP/1.1 {status} -', *lines, '', '']).encode()


def whole(body=BODY, status=200, **headers): return head(status, len(body), **headers), body


def chunk(part): return f'{len(part):x}\r\n'.encode()+part+b'\r\n'


def again(part, n=ENDLESS):
    "The same again, up to `n` bytes"
    for _ in range(n//len(part)): yield part


def dripping(part, seconds=.05):
    "One byte after the other"
    for b in part:
        yield bytes([b])
        yield seconds


def forwarded(target, status=302, body=b''): return whole(body, status, Location=target)


CHUNKED = head(Transfer_Encoding='chunked')
ASLEEP = [5.] # Seconds

# What each path is answered: bytes, and seconds of silence between them
ANSWERS = {
    '/good': whole(),
    '/chunked': [CHUNKED, chunk(BODY[:HALF]), chunk(BODY[HALF:]), b'0\r\n\r\n'],
    '/no-length': [head(), BODY],
    '/named-html': whole(Content_Type='text/html'),
    '/more-behind': [*whole(), BODY],
    '/many-headers': whole(**{f'X-{i}': 'x' for i in range(80)}),
    '/continue': [head(100), *whole()],
    '/forwarded': forwarded('/good'),
    '/forwarded-far': forwarded('/forwarded'),
    '/401': whole(PAGE, 401),
    '/403': whole(PAGE, 403),
    '/404': whole(PAGE, 404),
    '/410': whole(PAGE, 410),
    '/429': whole(PAGE, 429, Retry_After='7'),
    '/429-oddly': whole(PAGE, 429, Retry_After='\x1b[31m7'),
    '/500': whole(PAGE, 500),
    '/503': whole(PAGE, 503, Retry_After='120'),
    '/204': [head(204)],
    '/304': [head(304)],
    '/206': whole(BODY[5:], 206, Content_Range='bytes 5-2999999/3000000'),
    '/nowhere': [head(302, 0)],
    '/loop': forwarded('/loop'),
    '/to-http': forwarded('http://example.org/good'),
    '/to-ftp': forwarded('ftp://127.0.0.1/good'),
    '/to-file': forwarded('file:///etc/passwd'),
    '/to-nonsense': forwarded('https://['),
    '/endless-forward': [head(302, ENDLESS, Location='/good'), *again(bytes(1_000_000))],
    '/short': [head(200, len(BODY)), BODY[:HALF]],
    '/short-chunked': [CHUNKED, chunk(BODY[:HALF])],
    '/short-chunk': [CHUNKED, chunk(BODY)[:HALF]],
    '/short-no-length': [head(), BODY[:HALF]],
    '/empty': [head(200, 0)],
    '/said-too-long': [head(200, len(BODY)+1), BODY, b'x'],
    '/said-too-short': [head(200, len(BODY)-1), BODY[:-1]],
    '/said-endless': [head(200, 10**15), *again(bytes(1_000_000))],
    '/said-negative': [head(200, -1), BODY],
    '/said-nonsense': [head(200, 'many'), BODY],
    '/said-twice': [head(200, f'5, {len(BODY)}'), BODY],
    '/endless': [head(), *again(bytes(1_000_000))],
    '/endless-chunked': [CHUNKED, *again(chunk(bytes(1_000_000)))],
    '/endless-gzip': [head(Content_Encoding='gzip', Transfer_Encoding='chunked'), *again(chunk(bytes(1_000_000)))],
    '/gzip': whole(Content_Encoding='gzip'),
    '/wrong': whole(BODY[::-1]),
    '/page': whole(PAGE, Content_Type='text/html; charset=utf-8'),
    '/page-chunked': [head(Transfer_Encoding='chunked', Content_Type='text/html'), chunk(PAGE), b'0\r\n\r\n'],
    '/page-unnamed': whole(PAGE),
    '/asleep': ASLEEP,
    '/half-head': [head()[:-2], *ASLEEP],
    '/drip-head': [*dripping(head(200, len(BODY), X='x'*500))],
    '/endless-head': [b'HTTP/1.1 200 -\r\n', *again(b'X: '+b'x'*60_000+b'\r\n')],
    '/endless-header': [b'HTTP/1.1 200 -\r\nX: ', *again(b'x'*60_000)],
    '/endless-continue': [b'HTTP/1.1 ', *again(b'100 -\r\n\r\nHTTP/1.1 ', 100_000), *ASLEEP],
    '/silent': [head(200, len(BODY)), BODY[:HALF], *ASLEEP],
    '/drip': [head(200, len(BODY)), BODY[:HALF], *dripping(BODY[HALF:HALF+100])],
    '/drip-chunk': [CHUNKED, chunk(BODY[:HALF]), *dripping(b'f'*100)],
    '/bad-chunk': [CHUNKED, b'nonsense\r\n'+BODY],
    '/endless-trailer': [CHUNKED, chunk(BODY), b'0\r\n', *again(b'X: x\r\n', 60_000), *ASLEEP],
    '/not-http': [b'SSH-2.0-OpenSSH_9.6\r\n'],
    '/closed': [],
}
GOOD = ['/good','/chunked','/no-length','/named-html','/more-behind','/many-headers','/continue','/forwarded',
        '/forwarded-far','/endless-forward']
BAD = {
    '/401': 'asks for a password (answers 401)', '/403': 'refuses it (answers 403)',
    '/404': 'does not have it (answers 404)', '/410': 'does not have it any more',
    '/429': 'asked too often (answers 429). Try again in 7 s.', '/429-oddly': 'answers 429). Try again later.',
    '/500': 'out of order (answers 500). Try again later.', '/503': 'Try again in 120 s.',
    '/204': 'sends no file (answers 204)', '/304': 'answers 304', '/206': 'answers 206', '/nowhere': 'answers 302',
    '/loop': 'from one address to the next without end', '/to-http': 'not https: refused',
    '/to-ftp': 'not https: refused', '/to-file': 'not https: refused', '/to-nonsense': 'an address that is none',
    '/short': 'broke off. 1.5 MB of 3.0 MB are kept', '/short-chunked': 'broke off. 1.5 MB',
    '/short-chunk': 'broke off', '/short-no-length': 'broke off. 1.5 MB', '/empty': '0.0 MB where 3.0 MB are expected',
    '/said-too-long': 'sends another file', '/said-too-short': 'sends another file',
    '/said-endless': 'where 3.0 MB are expected', '/said-negative': 'does not say sensibly',
    '/said-nonsense': 'does not say sensibly', '/said-twice': 'web server',
    '/endless': 'sends more than the 3.0 MB expected', '/endless-chunked': 'sends more than the 3.0 MB expected',
    '/endless-gzip': 'compressed', '/gzip': 'compressed', '/wrong': 'its sha256 differs',
    '/page': 'sends a web page', '/page-chunked': 'sends a web page', '/page-unnamed': '0.0 MB where 3.0 MB',
    '/asleep': 'did not answer within 0.3 s', '/half-head': 'did not answer within 0.3 s',
    '/drip-head': 'did not answer within 0.6 s', '/endless-head': 'does not answer as a web server does',
    '/endless-header': 'does not answer as a web server does', '/endless-continue': 'did not answer within',
    '/silent': 'fell silent for 0.3 s. 1.5 MB of 3.0 MB are kept', '/drip': 'sends next to nothing. 1.5 MB',
    '/drip-chunk': 'sends next to nothing. 1.5 MB', '/bad-chunk': 'broke off', '/endless-trailer': 'fell silent',
    '/not-http': 'does not answer as a web server does', '/closed': 'closed the line without an answer',
}
SLOW = {'/asleep','/half-head','/drip-head','/endless-continue','/silent','/drip','/drip-chunk','/endless-trailer'}


class Handler(http.server.BaseHTTPRequestHandler):
    "What `ANSWERS` has for a path, or a download that can be taken up again: /ranges, /breaks, /drips"
    def log_message(self, *args): pass

    def do_GET(self):
        s = self.server
        s.asked.append(self.path)
        s.ranges.append(self.headers.get('Range'))
        with suppress(OSError):
            for o in self.parts():
                if isinstance(o, bytes):
                    self.wfile.write(o)
                    s.sent += len(o)
                elif s.stop.wait(o): break
        self.close_connection = True

    def parts(self):
        "The answer, piece by piece"
        if self.path in ANSWERS: return ANSWERS[self.path]
        start = int((self.headers.get('Range') or 'bytes=0-')[6:-1])
        begin = head(206 if start else 200, len(BODY)-start, Content_Range=f'bytes {start}-{len(BODY)-1}/{len(BODY)}')
        if self.path=='/breaks' and not start: return begin,BODY[:HALF]
        if self.path!='/slow': return begin,BODY[start:]
        pieces = [BODY[i:i+30_000] for i in range(start, len(BODY), 30_000)]
        return begin,*sum(([p, .05] for p in pieces), [])


@pytest.fixture
def server():
    s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    s.asked,s.ranges,s.sent,s.stop = [],[],0,threading.Event()
    threading.Thread(target=s.serve_forever, args=(.01,), daemon=True).start()
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
    found = [p.name for p in folder.rglob('*') if p.is_file()]
    return [name for name in found if not name.startswith('.') and not name.endswith('.lock')]


def waiting(folder):
    "How many bytes of downloads that broke off are in a folder"
    return sum(p.stat().st_size for p in folder.rglob('.*.part'))


def run_fetch(source, folder):
    "A process that fetches `source` to `folder`"
    code = ("from pathlib import Path\n"
            "from finalbn_fastai.downloads import Source, fetch\n"
            f"fetch({source!r}, Path({str(folder)!r}))")
    return run_python(code, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize('path', GOOD)
def test_good(server, tmp_path, path):
    "Downloaded once, then taken from the disk"
    for _ in range(2): assert fetch(source(server, path), tmp_path).read_bytes()==BODY
    assert server.asked.count(path)==1 and kept(tmp_path)==['file.bin'] and not waiting(tmp_path)
    assert server.sent<ENDLESS/2


def test_every_answer_is_tried(): assert len(ANSWERS)>=55 and sorted([*GOOD, *BAD])==sorted(ANSWERS)


@pytest.mark.parametrize('path', BAD)
def test_bad(server, tmp_path, path):
    "Soon an error that says what to do, in one line; nothing that looks like data, and a clean start afterwards"
    words,timeout,began = BAD[path],.3 if path in SLOW else 20,time.monotonic()
    with pytest.raises(FetchError) as e: fetch(source(server, path), tmp_path, timeout)
    said = str(e.value)
    assert time.monotonic()-began < 10
    assert words in said and said.isprintable()
    assert said.startswith('file.bin: 127.0.0.1 ') and 'put the file in' in said
    assert not kept(tmp_path)
    assert waiting(tmp_path)<=len(BODY) and server.sent<ENDLESS/2
    assert fetch(source(server, '/ranges'), tmp_path).read_bytes()==BODY
    assert not waiting(tmp_path)


def test_too_slow(server, tmp_path):
    "Less than is asked for, though it comes steadily; what came is kept"
    with pytest.raises(FetchError, match='sends less than 9000 kB a second. .* are kept'):
        fetch(source(server, '/slow'), tmp_path, timeout=1, slowest=9_000_000)
    assert waiting(tmp_path)


def test_goes_on_where_it_broke_off(server, tmp_path):
    "The second try asks for what is lacking, and no byte comes twice"
    here = source(server, '/breaks')
    with pytest.raises(FetchError, match='broke off. 1.5 MB of 3.0 MB are kept'): fetch(here, tmp_path)
    assert fetch(here, tmp_path).read_bytes()==BODY
    assert server.ranges==[None, f'bytes={HALF}-'] and server.sent < 1.01*len(BODY)


@pytest.mark.parametrize('path,asked', [('/ranges', 2), ('/good', 1)])
def test_goes_on_from_what_is_wrong(server, tmp_path, path, asked):
    "What was kept is of another edition: downloaded from the start, whether the server knows ranges or not"
    here = source(server, path)
    (tmp_path/'sub').mkdir()
    (tmp_path/f'sub/.file.bin.{here.sha256[:12]}.part').write_bytes(b'of another edition')
    (tmp_path/'sub/.file.bin.0123.part').write_bytes(b'of a source that is no more')
    assert fetch(here, tmp_path).read_bytes()==BODY
    assert len(server.asked)==asked and not list(tmp_path.rglob('*.part'))


def test_begun_again_by_a_server_without_ranges(server, tmp_path):
    "What is kept is what came, without the rest of what was there before"
    here = source(server, '/short')
    (tmp_path/'sub').mkdir()
    (tmp_path/f'sub/.file.bin.{here.sha256[:12]}.part').write_bytes(bytes(HALF+500_000))
    with pytest.raises(FetchError, match='broke off'): fetch(here, tmp_path)
    assert 0<waiting(tmp_path)<=HALF


def test_a_link_is_not_written_through(server, tmp_path):
    here = source(server, '/good')
    (tmp_path/'sub').mkdir()
    (tmp_path/'mine').write_text('mine')
    (tmp_path/f'sub/.file.bin.{here.sha256[:12]}.part').symlink_to(tmp_path/'mine')
    assert fetch(here, tmp_path).read_bytes()==BODY and (tmp_path/'mine').read_text()=='mine'


def test_a_size_that_is_known_roughly(server, tmp_path):
    "No more than that is taken, and the first digits of the checksum decide"
    here = source(server, '/ranges')
    of = dict(url=here.url, sha256=here.sha256[:8], published='', at_most=True)
    with pytest.raises(FetchError, match='3.0 MB where 2.9 MB'): fetch(Source('a', size=2_900_000, **of), tmp_path)
    assert fetch(Source('b', size=3_100_000, **of), tmp_path).read_bytes()==BODY


def test_a_wrong_file_that_lies_there_is_replaced(server, tmp_path):
    (tmp_path/'sub').mkdir()
    (tmp_path/'sub/file.bin').write_bytes(b'half of it')
    assert fetch(source(server, '/good'), tmp_path).read_bytes()==BODY


def test_no_network(tmp_path):
    "A port where nobody listens"
    with http.server.HTTPServer(('127.0.0.1', 0), Handler) as s: port = s.server_port
    with pytest.raises(FetchError, match='refuses the connection. There is no copy of it: .* set FINALBN_DATA'):
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


def test_no_address(tmp_path, monkeypatch):
    def unknown(*args, **kwargs): raise socket.gaierror(-3, 'Temporary failure in name resolution')
    monkeypatch.setattr(socket, 'getaddrinfo', unknown)
    with pytest.raises(FetchError, match='example.org has no address: no network, or no DNS'):
        fetch(Source('f', 'https://example.org/f', '0'*64, 1, ''), tmp_path)


def test_no_https_there(server, tmp_path):
    url = source(server, '/good').url.replace('http:', 'https:')
    with pytest.raises(FetchError, match='does not speak https'): fetch(Source('f', url, '0'*64, 1, ''), tmp_path)


def test_a_full_disk(server, tmp_path, monkeypatch):
    "Seen before the download where it can be; in the middle of it the bytes make room again"
    here = source(server, '/good')
    with monkeypatch.context() as m:
        m.setattr(downloads, 'disk_usage', lambda _: shutil._ntuple_diskusage(9, 9, 1_000_000))
        with pytest.raises(FetchError, match='no room for file.bin in .*: 3.0 MB are needed, 1.0 MB are free'):
            fetch(here, tmp_path)
        assert not server.asked
    def full(*args, **kwargs): raise OSError(errno.ENOSPC, 'No space left on device')
    with monkeypatch.context() as m:
        m.setattr(downloads.Path, 'mkdir', full)
        with pytest.raises(FetchError, match='no room for file.bin'): fetch(here, tmp_path)
    with monkeypatch.context() as m:
        m.setattr(downloads.os, 'fsync', full)
        with pytest.raises(FetchError, match='no room for file.bin'): fetch(here, tmp_path)
    assert not kept(tmp_path) and not waiting(tmp_path)
    assert fetch(here, tmp_path).read_bytes()==BODY


def test_no_permission(server, tmp_path, monkeypatch):
    here = source(server, '/good')
    def forbidden(*args): raise PermissionError(errno.EACCES, 'Permission denied')
    with monkeypatch.context() as m:
        m.setattr(downloads.os, 'replace', forbidden)
        with pytest.raises(FetchError, match='no permission to write file.bin in'): fetch(here, tmp_path)
    (tmp_path/'file').touch()
    with pytest.raises(FetchError, match='cannot be written'): fetch(here, tmp_path/'file')


def test_killed_half_way(server, tmp_path):
    "SIGKILL in the middle of a download leaves nothing that looks complete, and the next one goes on from there"
    child = run_fetch(source(server, '/slow'), tmp_path)
    deadline = time.monotonic()+60
    while not waiting(tmp_path) and time.monotonic()<deadline: time.sleep(.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert waiting(tmp_path) and not kept(tmp_path)
    assert fetch(source(server, '/ranges'), tmp_path).read_bytes()==BODY
    assert server.ranges[-1].startswith('bytes=') and not waiting(tmp_path)


def test_two_processes_fetch_once(server, tmp_path):
    "The second waits for the first and takes what it got"
    children = [run_fetch(source(server, '/slow'), tmp_path) for _ in range(2)]
    assert [c.wait(timeout=120) for c in children]==[0, 0]
    assert server.asked==['/slow'] and kept(tmp_path)==['file.bin']


def archive(path, members, method=ZIP_DEFLATED):
    "A zip file of `(name, bytes)`; a name that starts with `->` becomes a link, with `|` a pipe"
    kinds = {'->': stat.S_IFLNK, '|': stat.S_IFIFO}
    with ZipFile(path, 'w', method) as z, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for name,content in members:
            mark = next((m for m in kinds if name.startswith(m)), '')
            info = ZipInfo('a')
            info.filename = name.removeprefix(mark)
            info.external_attr = (kinds.get(mark, stat.S_IFREG) | 0o644) << 16
            info.compress_type = method
            z.writestr(info, content)
    return path


def poke(path, at, value, skip=None):
    "Write another value into the headers of all members, `at` bytes behind that of the local and of the central one"
    raw = bytearray(path.read_bytes())
    for sign,behind in zip((b'PK\3\4', b'PK\1\2'), at):
        for m in [] if sign==skip else re.finditer(re.escape(sign), raw):
            struct.pack_into('<H' if at in (FLAGS, METHOD) else '<I', raw, m.start()+behind, value)
    path.write_bytes(raw)


FLAGS,METHOD,CRC,SIZE = (6,8),(8,10),(14,16),(22,24) # Where they stand in the local and in the central header
USUAL = [('x/1', b'1'*5000), ('x/2', np.random.default_rng(0).bytes(5000))]


def names(*names): return lambda path: archive(path, [('ok', b'ok'), *((n, b'x') for n in names)])


def poked(at, value, **kwargs):
    def make(path): poke(archive(path, USUAL), at, value, **kwargs)
    return make


def bent(change):
    "An archive whose bytes `change` has changed"
    def make(path): path.write_bytes(change(archive(path, USUAL).read_bytes()))
    return make


def flipped(start, method):
    "An archive in which some bits of the first member are others"
    def make(path):
        raw = bytearray(archive(path, [('x', np.random.default_rng(0).bytes(3000)+bytes(3000))], method).read_bytes())
        for i in range(start, start+40): raw[i] ^= 85
        path.write_bytes(raw)
    return make


def bomb(path):
    "Fifty million zeros that say that they are ten"
    poke(archive(path, [('x', bytes(50_000_000))]), SIZE, 10)


def zip64(path):
    "Sizes that stand in a field of 64 bits, which there is none of"
    archive(path, USUAL)
    poke(path, SIZE, 2**32-1)


def not_utf8(path):
    archive(path, [('\u00e9', b'x')])
    path.write_bytes(path.read_bytes().replace('\u00e9'.encode(), b'\xff\xfe'))


def many(path): archive(path, [(str(i), b'') for i in range(1001)], ZIP_STORED)


HOSTILE = {
    'text': (lambda p: p.write_text('no archive'), 'damaged, or no archive'),
    'empty file': (lambda p: p.write_bytes(b''), 'damaged, or no archive'),
    'folder': (lambda p: p.mkdir(), 'a.zip cannot be read'),
    'missing': (lambda p: None, 'a.zip cannot be read'),
    'nothing in it': (lambda p: archive(p, []), 'nothing that is wanted'),
    'cut': (bent(lambda raw: raw[:-30]), 'damaged'),
    'cut inside': (bent(lambda raw: raw[:40]+raw[900:]), 'damaged'),
    'begun later': (bent(lambda raw: raw[1000:]), 'damaged'),
    'zeros': (bent(lambda raw: bytes(100)+raw[100:]), 'damaged'),
    'no directory': (bent(lambda raw: raw.replace(b'PK\1\2', b'PK\0\0')), 'damaged'),
    'checksum': (poked(CRC, 2**31), 'damaged'),
    'deflated wrongly': (flipped(40, ZIP_DEFLATED), 'damaged'),
    'bzip2 wrongly': (flipped(40, ZIP_BZIP2), 'damaged'),
    'lzma wrongly': (flipped(60, ZIP_LZMA), 'damaged'),
    'encrypted': (poked(FLAGS, 1), 'the archive is encrypted'),
    'unknown method': (poked(METHOD, 99), 'damaged, or no archive that can be read'),
    'another method': (poked(METHOD, ZIP_BZIP2), 'damaged'),
    'zip64': (zip64, 'expected: refused|damaged'),
    'says too little': (bomb, 'damaged'),
    'says too much': (poked(SIZE, 9000), 'as many bytes as it says'),
    'says far too much': (poked(SIZE, 2**31), 'more than the 1.0 MB expected'),
    'holds too much': (lambda p: archive(p, [('x', bytes(1_000_001))]), 'more than the 1.0 MB expected'),
    'too many': (many, '1,001 files, more than 1,000'),
    'the same twice': (names('a', 'a'), 'twice'),
    'the same but for its case': (names('x/a', 'X/A'), 'twice'),
    'file and folder': (names('a', 'a/b'), 'cannot be written'),
    'folder and file': (names('a/b', 'a'), 'cannot be written'),
    'long name': (names('n'*300), 'cannot be written'),
    'deep': (names('d/'*2000+'x'), 'nested too deep'),
    'zero in the name': (names('a\0b'), 'not every system can write'),
    'line in the name': (names('a\nb'), 'not every system can write'),
    'colour in the name': (names('\x1b[31ma'), 'not every system can write'),
    'turned round': (names('a\u202egpj.exe'), 'not every system can write'),
    'device': (names('x/CON'), 'not every system can write'),
    'device with an ending': (names('nul.txt'), 'not every system can write'),
    'dot at the end': (names('a.'), 'not every system can write'),
    'space at the end': (names('x /a'), 'not every system can write'),
    'not utf-8': (not_utf8, 'damaged'),
    'above': (names('../evil.txt'), 'outside'),
    'root': (names('/etc/evil'), 'outside'),
    'above by backslash': (names('a\\..\\..\\evil.txt'), 'outside'),
    'drive': (names('C:/evil'), 'outside'),
    'share': (names('\\\\server\\evil'), 'outside'),
    'link': (names('->link'), 'link'),
    'pipe': (names('|pipe'), 'link or a device'),
}
HARMLESS = {
    'usual': bent(lambda raw: raw),
    'something before': bent(lambda raw: b'#!/bin/sh\n'+raw),
    'something behind': bent(lambda raw: raw+b'more'),
    'no permissions': poked((0,38), 0, skip=b'PK\3\4'),
}


def all_of_it(path): return path


@pytest.mark.parametrize('how', HOSTILE)
def test_hostile_archives(tmp_path, how):
    "One line, nothing unpacked, and nothing left"
    make,words = HOSTILE[how]
    make(tmp_path/'a.zip')
    with pytest.raises(FetchError, match=words) as e:
        unpack(tmp_path/'a.zip', tmp_path/'in/out', all_of_it, max_bytes=1_000_000, max_files=1000)
    assert str(e.value).isprintable() and 'a.zip' in str(e.value) and len(str(e.value))<600
    assert not list((tmp_path/'in').iterdir()) and not (tmp_path/'evil.txt').exists()


@pytest.mark.parametrize('how', HARMLESS)
def test_harmless_archives(tmp_path, how):
    HARMLESS[how](tmp_path/'a.zip')
    out = unpack(tmp_path/'a.zip', tmp_path/'in/out', all_of_it)
    for name,content in USUAL: assert (out/name).read_bytes()==content
    assert lacking(out)==0 and [p.name for p in out.parent.iterdir()]==['out']


@pytest.mark.parametrize('says', [10, 9000])
def test_no_more_and_no_less_than_it_says(tmp_path, says):
    "A member whose checksum is right for what it says is written up to there, and refused where it holds less"
    zip = archive(tmp_path/'a.zip', [('x', bytes(5000))])
    poke(zip, SIZE, says)
    poke(zip, CRC, zlib.crc32(bytes(min(says, 5000))))
    if says>5000:
        with pytest.raises(FetchError, match='as many bytes as it says'): unpack(zip, tmp_path/'out', all_of_it)
    else: assert (unpack(zip, tmp_path/'out', all_of_it)/'x').read_bytes()==bytes(says)


def test_what_a_killed_unpacking_left(tmp_path):
    "Removed after a day; what another process unpacks now is left alone"
    for name,age in (('.unpacking-old', 2*24*3600), ('.unpacking-new', 60)):
        (tmp_path/name/'out').mkdir(parents=True)
        os.utime(tmp_path/name, (time.time()-age,)*2)
    unpack(archive(tmp_path/'a.zip', USUAL), tmp_path/'out', all_of_it)
    assert sorted(p.name for p in tmp_path.iterdir())==['.unpacking-new','a.zip','out']


def test_completing_breaks_off(tmp_path, monkeypatch):
    "A folder that is completed is known to be incomplete until the last file is there"
    zip,replace,done = archive(tmp_path/'a.zip', USUAL),os.replace,[]
    (tmp_path/'out/x').mkdir(parents=True)
    def second_fails(a, b):
        done.append(b)
        if len(done)==2: raise OSError(errno.EIO, 'Input/output error')
        replace(a, b)
    with monkeypatch.context() as m:
        m.setattr(downloads.os, 'replace', second_fails)
        with pytest.raises(FetchError, match='cannot be written'): unpack(zip, tmp_path/'out', all_of_it)
    assert lacking(tmp_path/'out')==2
    unpack(zip, tmp_path/'out', all_of_it)
    assert lacking(tmp_path/'out')==0 and sorted(p.name for p in (tmp_path/'out/x').iterdir())==['1','2']


def test_a_full_disk_is_no_place_to_unpack(tmp_path, monkeypatch):
    zip = archive(tmp_path/'a.zip', USUAL)
    monkeypatch.setattr(downloads, 'disk_usage', lambda _: shutil._ntuple_diskusage(9, 9, 5000))
    with pytest.raises(FetchError, match='no room for out'): unpack(zip, tmp_path/'in/out', all_of_it)


def test_unpack_keeps_what_is_wanted(tmp_path):
    zip = archive(tmp_path/'a.zip', [('x/yes/1', b'1'), ('x/no/2', b'2')])
    def only_yes(path): return PurePosixPath(path.name) if 'yes' in path.parts else None
    unpack(zip, tmp_path/'out', only_yes)
    assert kept(tmp_path/'out')==['1']
    with pytest.raises(FetchError, match='nothing that is wanted'): unpack(zip, tmp_path/'out2', lambda p: None)


def test_plantvillage_from_the_network(server, tmp_path, monkeypatch):
    "Found nowhere, downloaded, only the plant's classes unpacked, split; lost photographs come back from the archive"
    apples = ['Apple___Apple_scab','Apple___Black_rot','Apple___healthy']
    members = []
    for c in (*apples, 'Grape___healthy', 'Tomato___healthy'):
        members += [(f'Plants/{c}/image ({i}).JPG', picture(i)) for i in range(12)]
    body = archive(tmp_path/'p.zip', members).read_bytes()
    monkeypatch.setitem(ANSWERS, '/good', whole(body))
    here = source(server, '/good', body, 'plantvillage/all.zip')
    monkeypatch.setitem(downloads.SOURCES, 'plantvillage', here)
    monkeypatch.setattr(downloads, 'fastai_path', lambda _: tmp_path/'home')
    monkeypatch.setenv('FINALBN_CACHE', str(tmp_path/'cache'))
    monkeypatch.delenv('FINALBN_DATA', raising=False)
    sizes = dict(train=(5,2), valid=(2,1), test=(3,3))
    for _ in range(2):
        df = plantvillage('apple', **sizes)
        assert df.groupby(['split','label']).size()['train'].to_dict()=={'healthy':5, 'unhealthy':2}
    there = sorted((tmp_path/'home/plantvillage/apple').rglob('*.JPG'))
    for f in there[::3]: f.unlink()
    assert plantvillage('apple', **sizes).file.tolist()==df.file.tolist() and all(f.exists() for f in there)
    assert server.asked==['/good']
    assert sorted(p.name for p in (tmp_path/'home/plantvillage/apple').glob('[!.]*'))==apples
    with pytest.raises(FetchError, match='nothing that is wanted'): plantvillage('pepper')
    with pytest.raises(ValueError, match='160 healthy'): plantvillage('apple', **{**sizes, 'train': (155,1)})
