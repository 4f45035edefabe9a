"""A run that was stopped, whatever stopped it, ends as if it had not been."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from training_run import make_tokens, train

from keras_llm.errors import InputError
from keras_llm.training import TrainingInterrupted
from keras_llm.training.checkpoints import checkpoint_paths
from keras_llm.training.log import (
    FILLED,
    TIMINGS,
    append_row,
    cut_log,
    read_log,
)

SCRIPT = Path(__file__).with_name("training_run.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    make_tokens(folder)
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    """An uninterrupted run."""
    train(folder, folder / "whole")
    return folder / "whole"


def start(folder, out, **environment):
    paths = [str(SCRIPT.parents[1]), environment.pop("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), str(out)],
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows_without_timings(run):
    rows = read_log(run / "log.csv")
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]


def wait_for_rows(run, count, process):
    deadline = time.monotonic() + 120
    while len(read_log(run / "log.csv")) < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_same_run(run, whole):
    assert rows_without_timings(run) == rows_without_timings(whole)
    assert (run / "samples.txt").read_text() == (
        whole / "samples.txt"
    ).read_text()
    newest, expected = (
        np.load(checkpoint_paths(each / "checkpoints")[-1] / "variables.npz")
        for each in (run, whole)
    )
    assert newest.files == expected.files
    for name in expected.files:
        np.testing.assert_array_equal(newest[name], expected[name], name)


@pytest.mark.slow
def test_killed_run_equals_an_uninterrupted_one(folder, whole, tmp_path):
    batch = random.randint(18, 38)  # of 48
    print("batch", batch)
    process = start(folder, tmp_path / "run", KILL_AT=str(batch))
    assert process.wait() == -signal.SIGKILL, process.stderr.read()
    assert 3 <= len(read_log(tmp_path / "run" / "log.csv")) < 8
    assert checkpoint_paths(tmp_path / "run" / "checkpoints")
    train(folder, tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.slow  # test_stateful.py interrupts a run in every suite
@pytest.mark.parametrize("batch", [1, 7, 12, 18])
def test_interrupted_run_equals_an_uninterrupted_one(
    folder, whole, tmp_path, monkeypatch, batch
):
    # Ctrl-C in the middle of a row, of an update, and at their ends.
    from keras_llm.training.callbacks import Clock

    count = Clock.on_train_batch_end

    def interrupt(self, *args, **kwargs):
        if self.batch + 1 == batch:
            signal.raise_signal(signal.SIGINT)
        count(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Clock, "on_train_batch_end", interrupt)
        with pytest.raises(TrainingInterrupted):
            train(folder, tmp_path / "run")
    newest = checkpoint_paths(tmp_path / "run" / "checkpoints")[-1]
    state = json.loads((newest / "checkpoint.json").read_text())["state"]
    assert state["clock"]["batch"] == batch
    train(folder, tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)


def test_damaged_checkpoint_is_named_and_the_one_before_taken(
    folder, whole, tmp_path, capsys
):
    run = shutil.copytree(whole, tmp_path / "run")
    newest = checkpoint_paths(run / "checkpoints")[-1]
    with (newest / "variables.npz").open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    train(folder, run)
    assert str(newest / "variables.npz") in capsys.readouterr().err
    assert_same_run(run, whole)


def test_finished_run_is_not_trained_again(folder, whole):
    log = (whole / "log.csv").read_bytes()
    result, _ = train(folder, whole)
    assert (whole / "log.csv").read_bytes() == log
    assert result.steps == 24


def test_a_log_that_was_killed_as_it_was_made_has_its_header(tmp_path):
    path = tmp_path / "log.csv"
    path.touch()
    cut_log(path, 0)
    for step in (1, 2):
        append_row(path, dict.fromkeys([*FILLED, "val_loss"], step))
    assert [row["step"] for row in read_log(path)] == [1, 2]


def test_checkpoint_of_another_model_is_refused(folder, whole):
    import dataclasses

    from training_run import MODEL

    wider = dataclasses.replace(MODEL, hidden_dim=32)
    with pytest.raises(InputError, match="does not fit this model"):
        train(folder, whole, model=wider)


@pytest.mark.slow
def test_resumes_on_jax_without_tensorflow(folder, tmp_path):
    environment = {"KERAS_BACKEND": "jax", "PYTHONPATH": _blocker(tmp_path)}
    process = start(folder, tmp_path / "whole", **environment)
    assert process.wait(timeout=200) == 0, process.stderr.read()
    process = start(folder, tmp_path / "run", **environment)
    wait_for_rows(tmp_path / "run", 3, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=100) != 0
    process = start(folder, tmp_path / "run", **environment)
    assert process.wait(timeout=200) == 0, process.stderr.read()
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def _blocker(folder):
    """A folder on the path whose `tensorflow` cannot be imported."""
    blocker = folder / "blocker"
    blocker.mkdir()
    (blocker / "tensorflow.py").write_text("raise ImportError('blocked')")
    return str(blocker)
