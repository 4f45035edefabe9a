"""Datasets, by a folder: as `datasets` keeps them, read as any other files."""

import json
import os

import pytest

from keras_llm.corpus.sources import list_sources
from keras_llm.corpus.sources.reader import FileReader
from keras_llm.errors import InputError
from keras_llm.recipes.settings import CorpusSettings

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def folder(tmp_path):
    """A folder as `load_dataset` takes it."""
    folder = tmp_path / "data"
    folder.mkdir()
    for split, count in (("train", 2500), ("test", 3)):
        rows = [
            {"text": f"{split} {number}", "n": number, "list": [number]}
            for number in range(count)
        ]
        lines = "\n".join(map(json.dumps, rows))
        (folder / f"{split}.jsonl").write_text(lines)
    return folder


def documents(source, **settings):
    files = list_sources([source])
    reader = FileReader([files], CorpusSettings(**settings))
    return [
        (document.metadata["split"], document.text) for document in reader.run()
    ]


def expected(split, count, named=True):
    return [
        (split if named else None, f"{split} {number}")
        for number in range(count)
    ]


def test_splits_of_a_dataset_are_given(folder):
    found = documents(f"hf:{folder}")
    assert found == expected("test", 3) + expected("train", 2500)
    ids = [file.id for file in list_sources([f"hf:{folder}"])]
    assert ids == ["test/00000.arrow", "train/00000.arrow"]


def test_a_chosen_split_is_to_be_divided(folder):
    found = documents(f"hf:{folder}@train", template="{text}")
    assert found == expected("train", 2500, named=False)
    with pytest.raises(InputError, match="one of t.*Received: dev"):
        list_sources([f"hf:{folder}@dev"])


def test_a_saved_dataset_is_the_same(folder, tmp_path):
    data = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "c"))
    data.save_to_disk(str(tmp_path / "saved"))
    found = documents(f"hf:{tmp_path / 'saved'}")
    assert sorted(found) == sorted(documents(f"hf:{folder}"))
    data["test"].save_to_disk(str(tmp_path / "one"))
    found = documents(f"hf:{tmp_path / 'one'}")
    assert found == expected("test", 3, named=False)


def test_a_dataset_is_read_again_when_files_have_changed(folder):
    assert len(documents(f"hf:{folder}@test")) == 3
    (folder / "test.jsonl").write_text('{"text": "new", "n": 1, "list": []}')
    os.utime(folder / "test.jsonl", (1, 1))
    assert documents(f"hf:{folder}@test") == [(None, "new")]


@pytest.mark.parametrize("name", ["no/such_dataset", "a b", "../up"])
def test_an_unknown_dataset_is_one_error(name):
    with pytest.raises(InputError, match="could not be read as a dataset"):
        list_sources([f"hf:{name}"])


def test_a_dataset_must_have_a_name():
    with pytest.raises(InputError, match="name of a dataset"):
        list_sources(["hf:@train"])
