"""What a run remembers of its stages, compares, and keeps of a failed one."""

import errno
import json
from pathlib import Path

import pytest
from rich.console import Console

from keras_llm.errors import InputError, Interrupted
from keras_llm.recipes.settings import Recipe, to_dict
from keras_llm.run_folder import RECORDS, Run, read_records

QUIET = Console(quiet=True)


def pretrained(out, settings):
    """Whether the stage was done, which it is not a second time."""
    done = []

    def work():
        for name in ("training", "preset"):
            (out / name).mkdir(exist_ok=True)
        done.append(True)
        return {}

    with Run(out, QUIET).opened(Recipe()) as run:
        run.stage("pretrain", settings, {}, work)
    return bool(done)


def test_a_setting_that_is_newer_than_the_run_was_as_it_is_by_default(
    tmp_path,
):
    out, settings = tmp_path / "run", {"model": to_dict(Recipe().model)}
    assert pretrained(out, settings)
    assert not pretrained(out, settings)
    records = json.loads((out / RECORDS).read_text())
    del records["pretrain"]["settings"]["model"]["causal"]
    (out / RECORDS).write_text(json.dumps(records))
    assert not pretrained(out, settings)
    settings["model"]["causal"] = False
    with pytest.raises(InputError, match="model.causal was True, now False"):
        pretrained(out, settings)


def stage(folder: Path, *arguments, redo=None):
    """A stage alone, as a command of its own."""
    with Run(folder, QUIET).opened(Recipe(), redo) as run:
        return run.stage(*arguments)


def fail():
    raise InputError("too large")


def test_a_first_stage_that_failed_leaves_nothing(tmp_path):
    def work():
        (tmp_path / "corpus").mkdir()
        fail()

    with pytest.raises(InputError, match="too large"):
        stage(tmp_path, "prepare", {}, {}, work)
    assert list(tmp_path.iterdir()) == []


def test_a_later_stage_that_failed_leaves_those_before_it(tmp_path):
    def work():
        (tmp_path / "tokenizer").mkdir()
        fail()

    corpus = tmp_path / "corpus"
    stage(tmp_path, "prepare", {}, {}, lambda: corpus.mkdir() or {})
    with pytest.raises(InputError, match="too large"):
        stage(tmp_path, "tokenizer", {}, {}, work)
    assert read_records(tmp_path / RECORDS).keys() == {"prepare"}
    assert corpus.is_dir() and not (tmp_path / "tokenizer").exists()


def test_too_little_memory_is_said_of_the_stage(tmp_path):
    def work():
        raise MemoryError("Unable to allocate 8.00 TiB")

    with pytest.raises(InputError, match="stage encode needs more .* 8.00 TiB"):
        stage(tmp_path, "encode", {}, {}, work)
    assert list(tmp_path.iterdir()) == []


def test_a_stage_that_was_killed_binds_nobody(tmp_path):
    def work():
        (tmp_path / "tokenizer").mkdir()
        raise Interrupted("killed")

    with pytest.raises(Interrupted):
        stage(tmp_path, "tokenizer", {"size": 9}, {}, work)
    assert "tokenizer" in read_records(tmp_path / RECORDS)
    report = stage(
        tmp_path,
        "tokenizer",
        {"size": 3},
        {},
        lambda: {"left": (tmp_path / "tokenizer").exists()},
    )
    assert report == {"left": False}


@pytest.mark.parametrize("left", ["checkpoints/00000002/model.npz", "log.csv"])
def test_what_training_has_done_outlasts_an_error(tmp_path, left):
    left = tmp_path / "training" / left

    def work():
        left.parent.mkdir(parents=True)
        left.touch()
        fail()

    with pytest.raises(InputError, match="too large"):
        stage(tmp_path, "pretrain", {"steps": 9}, {}, work)
    assert left.is_file()


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("pretrain", "training"),
        ("untrained", "untrained"),
        ("learning_curve", "learning_curve/9_texts"),
    ],
)
def test_training_that_can_go_on_is_not_lost(tmp_path, name, folder):
    checkpoint = tmp_path / folder / "checkpoints" / "00000002"

    def work():
        checkpoint.mkdir(parents=True)
        raise Interrupted("stopped at step 2")

    with pytest.raises(Interrupted):
        stage(tmp_path, name, {"steps": 9}, {}, work)
    with pytest.raises(InputError, match="steps was 9, now 3"):
        stage(tmp_path, name, {"steps": 3}, {}, dict)
    with pytest.raises(InputError, match="too large"):
        stage(tmp_path, name, {"steps": 9}, {}, fail)
    stage(tmp_path, name, {"steps": 9}, {}, dict)
    assert checkpoint.is_dir()
    stage(tmp_path, name, {"steps": 3}, {}, dict, redo=name)
    assert not checkpoint.exists()


def test_a_full_disk_names_the_stage_and_leaves_it_unfinished(tmp_path):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match="encode.*No space left"):
        stage(tmp_path, "encode", {}, {}, full)
    records = read_records(tmp_path / RECORDS)
    assert not records["encode"]["finished"]
