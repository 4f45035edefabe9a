"""Folders are complete or not there; hidden entries do not count."""

import shutil
import subprocess
import sys

import pytest

from keras_llm.errors import InputError, Interrupted
from keras_llm.files import (
    MADE,
    check_free,
    is_free,
    put_in_place,
    resumable_work,
    written_beside,
)

HOLD = """
import sys, time
from pathlib import Path
from keras_llm.files import resumable_work

with resumable_work(Path(sys.argv[1]), "key") as work:
    (work / "half").touch()
    print("here", flush=True)
    time.sleep(60)
"""


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


@pytest.mark.parametrize("made_by", [resumable_work, written_beside])
def test_two_commands_do_not_write_one_folder(tmp_path, made_by):
    out = tmp_path / "out"
    key = ["key"] if made_by is resumable_work else []
    with made_by(out, *key) as work:
        (work / "half").touch()
        with pytest.raises(InputError, match="out must be .* one command"):
            with made_by(out, *key):
                raise AssertionError
        assert (work / "half").exists()
        with made_by(tmp_path / "other", *key):
            pass
    assert {path.name for path in tmp_path.iterdir()} <= {"out", "other"}


def test_what_a_killed_command_held_is_free(tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-c", HOLD, str(out)]
    environment = {"KERAS_LLM_WORKER": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout.readline() == b"here\n"
    with pytest.raises(InputError, match="one command at a time"):
        with resumable_work(out, "key"):
            raise AssertionError
    process.kill()
    process.communicate()
    with resumable_work(out, "key") as work:
        assert (work / "half").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_was_filled_meanwhile_is_found_at_once(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").touch()
    with pytest.raises(InputError, match="out must be a new or empty folder"):
        with resumable_work(tmp_path / "out", "key"):
            raise AssertionError
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x" * 250, "xx cannot be written: File name too long. Pass another"),
        ("x" * 300, "xx cannot be written: File name too long. Pass another"),
        ("file/out", "out cannot be written: Not a directory. Pass another"),
        ("file/a/out", "out cannot be written: Not a directory. Pass another"),
        ("file", "file must be a new or empty folder. Received: a file"),
    ],
)
def test_an_impossible_path_is_refused_without_our_folders(
    tmp_path, name, expected
):
    (tmp_path / "file").touch()
    for made_by in (lambda out: resumable_work(out, "key"), written_beside):
        with pytest.raises(InputError, match=expected) as error:
            with made_by(tmp_path / name):
                raise AssertionError
        assert "/." not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_work_outlives_what_keeps_it_from_its_place(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(Interrupted, match="out must be a new or empty"):
        with resumable_work(out, "key") as work:
            (work / MADE / "new").touch()
            out.mkdir()
            (out / ".hidden").touch()
            (out / "late.txt").touch()
    assert {path.name for path in out.iterdir()} == {".hidden", "late.txt"}
    (out / "late.txt").unlink()
    with resumable_work(out, "key"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {path.name for path in out.iterdir()} == {".hidden", "new"}


def test_work_whose_output_has_moved_is_not_gone_on_with(tmp_path):
    # As a command leaves it that is killed before it has tidied up.
    out, left = tmp_path / "out", tmp_path / ".out.work"
    with resumable_work(out, "key") as work:
        (work / "half").touch()
        shutil.copytree(work, tmp_path / "copy")
    for is_made in (True, False):
        shutil.copytree(tmp_path / "copy", left)
        (left / MADE).rmdir()
        (tmp_path / ".out.lock").touch()
        if is_made:
            with pytest.raises(InputError, match="must be a new or empty"):
                (out / "made").touch()
                check_free(out)
        else:
            shutil.rmtree(out)
            with resumable_work(out, "key") as work:
                assert not (work / "half").exists()
        assert {path.name for path in tmp_path.iterdir()} == {"out", "copy"}


def test_folders_made_for_a_lock_do_not_outlast_an_error(tmp_path):
    with pytest.raises(InputError, match="nothing there"):
        with resumable_work(tmp_path / "new" / "folder" / "out", "key"):
            raise InputError("nothing there")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_says_why(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "made").mkdir()
    with pytest.raises(
        Interrupted, match="out was not written: Not a directory. Put that"
    ):
        put_in_place(tmp_path / "made", tmp_path / "file" / "out")
    assert (tmp_path / "made").is_dir()


def test_a_full_disk_does_not_cost_the_work(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(Interrupted, match="out was not written: .*No space"):
        with resumable_work(out, "key") as work:
            (work / "half").touch()
            raise OSError(28, "No space left on device")
    with resumable_work(out, "key") as work:
        assert (work / "half").exists()
    with resumable_work(out, "another key") as work:
        assert not (work / "half").exists()
