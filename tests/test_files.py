"""Folders are complete or not there; hidden entries do not count."""

import pytest

from keras_llm.errors import InputError
from keras_llm.files import is_free, written_beside


def test_hidden_entries_do_not_occupy_a_folder_and_stay(tmp_path):
    out = tmp_path / "out"
    (out / ".1.partial").mkdir(parents=True)
    (out / ".DS_Store").touch()
    assert is_free(out)
    with written_beside(out) as folder:
        (folder / "new").touch()
    names = {path.name for path in out.iterdir()}
    assert names == {".1.partial", ".DS_Store", "new"}
    assert not is_free(out)


def test_a_read_that_failed_is_not_called_a_write(tmp_path):
    with pytest.raises(InputError, match="out was not written.*missing"):
        with written_beside(tmp_path / "out"):
            (tmp_path / "missing").read_text()
    assert list(tmp_path.iterdir()) == []
