"""Downloads against servers that cut, ignore, change and lie."""

import gzip
import hashlib
import random
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import filelock
import pytest

from keras_llm.corpus.sources import fetching, list_sources
from keras_llm.corpus.sources.fetching import cache_folder, fetch
from keras_llm.errors import InputError

CONTENT = random.Random(0).randbytes(300_000)
LIMIT = 10**6
MODIFIED = formatdate(1e9, usegmt=True)


class Server(ThreadingHTTPServer):
    """Serves `content`; a test sets how badly."""

    content = CONTENT
    headers = {"ETag": '"one"'}
    cut = None  # bytes after which the connection breaks
    cuts = 10**6  # how often it does
    ranges = True
    stated = None  # length, if it lies
    status = 200
    failures = 10**6  # how often it answers `status`
    agents = ()
    asked = ()
    paths = ()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked = [*server.asked, self.headers.get("Range")]
        server.paths = [*server.paths, self.path]
        server.agents = [*server.agents, self.headers["User-Agent"]]
        if server.status != 200 and server.failures:
            server.failures -= 1
            self.send_response(server.status)
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = self.start()
        self.send_response(206 if start else 200)
        for name, value in server.headers.items():
            self.send_header(name, value)
        size = len(server.content)
        if start:
            span = f"bytes {start}-{size - 1}/{size}"
            self.send_header("Content-Range", span)
        if server.stated != "none":
            self.send_header("Content-Length", server.stated or size - start)
        self.end_headers()
        body = server.content[start:]
        if server.cut and server.cuts:
            server.cuts -= 1
            body = body[: server.cut]
        self.wfile.write(body)

    def start(self):
        asked, known = self.headers.get("Range"), self.headers.get("If-Range")
        if not asked or not self.server.ranges:
            return 0
        is_same = known in self.server.headers.values()
        return int(asked.removeprefix("bytes=").rstrip("-")) if is_same else 0

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setattr(fetching, "PAUSE", 0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    server = Server(("127.0.0.1", 0), Handler)
    server.address = f"http://127.0.0.1:{server.server_port}/data/a%20b.txt"
    threading.Thread(
        target=server.serve_forever, args=(0.01,), daemon=True
    ).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "target.txt"


def test_a_broken_download_goes_on_where_it_broke(server, target):
    server.cut = 100_000
    fetch(server.address, target, LIMIT)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=200000-"]
    assert not list(target.parent.glob(".*partial*"))


def test_what_another_process_downloads_is_let_alone(
    server, target, monkeypatch
):
    def interrupt(lock, *arguments, **options):
        raise KeyboardInterrupt

    partial = target.with_name(f".{target.name}.partial")
    partial.write_text("of another process, which has the lock")
    monkeypatch.setattr(filelock.FileLock, "acquire", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(server.address, target, LIMIT)
    assert partial.exists()


@pytest.mark.parametrize(
    "headers", [{}, {"ETag": 'W/"weak"'}, {"Last-Modified": MODIFIED}]
)
def test_only_what_surely_is_the_same_file_goes_on(server, target, headers):
    server.cut, server.cuts, server.headers = 100_000, 2, headers
    fetch(server.address, target, LIMIT)
    assert target.read_bytes() == CONTENT
    resumed = any(server.asked)
    assert resumed == ("Last-Modified" in headers)


def test_a_server_without_ranges_sends_all_again(server, target):
    server.cut, server.cuts, server.ranges = 100_000, 2, False
    fetch(server.address, target, LIMIT)
    assert target.read_bytes() == CONTENT


def test_a_file_that_changed_in_between_is_read_from_its_begin(
    server, target, monkeypatch
):
    server.cut, server.cuts, changed = 200_000, 1, CONTENT[::-1]
    copy = fetching._copy

    def change(*args):
        try:
            copy(*args)
        finally:
            server.content, server.headers = changed, {"ETag": '"two"'}

    monkeypatch.setattr(fetching, "_copy", change)
    fetch(server.address, target, LIMIT)
    assert server.asked[-1] == "bytes=200000-"
    assert target.read_bytes() == changed


@pytest.mark.parametrize("stated", [300_001, 400_000])
def test_a_server_that_promises_more_is_given_up(server, target, stated):
    server.stated, server.ranges = stated, False
    with pytest.raises(InputError, match="downloaded: 300000 bytes arrived"):
        fetch(server.address, target, LIMIT)
    assert not target.exists()
    assert len(server.asked) == fetching.ATTEMPTS


def test_a_server_that_never_goes_further_is_given_up(server, target):
    server.cut, server.headers = 1000, {}
    with pytest.raises(InputError, match="1000 bytes arrived"):
        fetch(server.address, target, LIMIT)
    assert len(server.asked) == fetching.ATTEMPTS


@pytest.mark.parametrize("stated", [None, "none"])
def test_too_much_is_refused(server, target, stated):
    server.stated = stated
    with pytest.raises(InputError, match="larger than 299999 bytes"):
        fetch(server.address, target, len(CONTENT) - 1)
    assert not target.exists()


@pytest.mark.parametrize("status, attempts", [(404, 1), (403, 1), (503, 5)])
def test_errors_that_may_pass_are_tried_again(server, target, status, attempts):
    server.status = status
    with pytest.raises(InputError, match="could not be downloaded") as error:
        fetch(server.address, target, LIMIT)
    assert "\n" not in str(error.value)
    assert len(server.asked) == attempts


@pytest.mark.parametrize("asked", ["7", "a date"])
def test_a_server_is_given_the_time_it_asks_for(
    server, target, monkeypatch, asked
):
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    server.status, server.failures = 429, 1
    date = formatdate(time.time() + 30, usegmt=True)
    server.headers = {"Retry-After": asked.replace("a date", date)}
    fetch(server.address, target, LIMIT)
    assert target.read_bytes() == CONTENT
    [pause] = pauses
    assert pause == 7 or 20 < pause <= 30


def test_a_server_that_asks_for_an_hour_is_given_two_minutes(
    server, target, monkeypatch
):
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    server.status, server.headers = 503, {"Retry-After": "3600"}
    with pytest.raises(InputError, match="could not be downloaded: 503"):
        fetch(server.address, target, LIMIT)
    assert pauses == [fetching.LONGEST_PAUSE] * (fetching.ATTEMPTS - 1)


def test_servers_see_a_browser(server, target):
    fetch(server.address, target, LIMIT)
    assert server.agents[0].startswith("Mozilla/5.0 (")


@pytest.mark.parametrize("broken", [False, True])
def test_what_a_server_compresses_is_what_it_was(server, target, broken):
    plain = b"A line of text.\n" * 20_000
    server.content = gzip.compress(plain, mtime=0)
    server.headers = {**server.headers, "Content-Encoding": "gzip"}
    if broken:
        server.cut, server.cuts = 100, 2
    fetch(server.address, target, LIMIT)
    assert target.read_bytes() == plain
    assert not any(server.asked)  # half of it is of no use
    with pytest.raises(InputError, match="larger than 1000 bytes"):
        fetch(server.address, target, 1000)


def test_a_compressed_file_stays_as_it_is(server):
    server.content = gzip.compress(b"text", mtime=0)
    server.headers = {**server.headers, "Content-Encoding": "gzip"}
    address = server.address.replace(".txt", ".txt.gz")
    [file] = list_sources([address])
    assert file.path.read_bytes() == server.content


def test_an_address_is_a_source(server):
    digest = hashlib.sha256(CONTENT).hexdigest()
    for source in (server.address, f"{server.address}#sha256={digest}"):
        [file] = list_sources([source])
        assert file.path.read_bytes() == CONTENT
        assert (file.id, file.source) == ("a_b.txt", source)
    assert server.asked == [None]  # the second time it was in the cache


def test_other_content_than_named_is_refused(server):
    with pytest.raises(InputError, match=f"expected sha256 {'0' * 64}"):
        list_sources([f"{server.address}#sha256={'0' * 64}"])
    with pytest.raises(InputError, match="64 hexadecimal digits"):
        list_sources([f"{server.address}#sha256=00"])


def test_the_server_says_what_a_nameless_file_is(server):
    server.headers = {"Content-Type": "text/html; charset=utf-8"}
    address = server.address.rpartition("/")[0]
    for _ in range(2):
        [file] = list_sources([f"{address}/?page=1"])
        assert file.id == "index.html"
    assert len(server.asked) == 1
    server.headers = {"Content-Type": "image/png"}
    with pytest.raises(InputError, match=r"Received: image/png\."):
        list_sources([f"{address}/?page=2"])


def test_an_address_that_leads_nowhere_is_one_error(server):
    with pytest.raises(InputError, match="could not be downloaded"):
        list_sources(["http://127.0.0.1:1/a.txt"])


@pytest.mark.parametrize(
    "address", ["http://", "http://[bad/x", "http://a:b/x", "ftps://x/y"]
)
def test_an_impossible_address_is_tried_once(server, monkeypatch, address):
    target = cache_folder() / "x"
    monkeypatch.setattr(time, "sleep", None)
    with pytest.raises(InputError, match="could not be downloaded"):
        fetch(address, target, LIMIT)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("ünï.txt", "%C3%BCn%C3%AF.txt"),
        ("a b.txt", "a%20b.txt"),
        ("a%20b.txt?x=ü&y=a b/c", "a%20b.txt?x=%C3%BC&y=a%20b/c"),
        ("(a)+b,c;d=e~f@g!.txt", "(a)+b,c;d=e~f@g!.txt"),
        ("caf\udce9.txt", "caf%E9.txt"),
    ],
)
def test_names_are_asked_for_in_ascii(server, name, asked):
    server.paths = []
    [file] = list_sources([server.address.replace("a%20b.txt", name)])
    assert file.path.read_bytes() == CONTENT
    assert server.paths == [f"/data/{asked}"]
