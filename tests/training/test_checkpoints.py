"""Checkpoints are whole or not there."""

import errno

import keras
import numpy as np
import pytest

from keras_llm.errors import InputError
from keras_llm.training.checkpoints import (
    latest_checkpoint,
    remove_checkpoints,
    save_checkpoint,
)
from keras_llm.training.state import (
    ClockState,
    RunState,
    SamplesState,
    ValidationState,
)


def variables(fill, dtype="float32"):
    return [
        keras.Variable(np.full((2, 3), fill), dtype=dtype, name="kernel"),
        keras.Variable(fill, dtype="int64", name="iterations"),
    ]


def save(folder, step):
    """A checkpoint of a run of one batch a step."""
    state = RunState(ClockState(step, 128 * step, 0.5))
    return save_checkpoint(folder, step, {"model": variables(step)}, state)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_round_trip(tmp_path, dtype):
    saved, restored = variables(3, dtype), variables(0, dtype)
    state = RunState(
        ClockState(5, 640, 3.25), ValidationState(4, 1.5, 1), SamplesState(99)
    )
    save_checkpoint(tmp_path, 5, {"model": saved}, state)
    checkpoint = latest_checkpoint(tmp_path)
    assert (checkpoint.step, checkpoint.state) == (5, state)
    checkpoint.restore({"model": restored})
    for old, new in zip(saved, restored, strict=True):
        assert new.dtype == old.dtype
        np.testing.assert_array_equal(np.array(new), np.array(old))


def test_newest_is_taken_and_leftovers_are_ignored(tmp_path):
    for step in (5, 10):
        save(tmp_path, step)
    (tmp_path / ".00000015.partial").mkdir()
    assert latest_checkpoint(tmp_path).step == 10
    remove_checkpoints(tmp_path, keep={5})
    assert [path.name for path in tmp_path.iterdir()] == ["00000005"]


@pytest.mark.parametrize("name", ["variables.npz", "checkpoint.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_damaged_one_is_named_and_passed_over(tmp_path, capsys, name, damage):
    for step in (5, 10):
        save(tmp_path, step)
    file = tmp_path / "00000010" / name
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        file.write_bytes(b"\xff" + content[1:])
    assert latest_checkpoint(tmp_path).step == 5
    assert "00000010" in capsys.readouterr().err


def test_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    save(tmp_path, 5)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 10)
    assert [path.name for path in tmp_path.iterdir()] == ["00000005"]


def test_variables_of_another_model_are_refused(tmp_path):
    save(tmp_path, 5)
    other = [keras.Variable(np.zeros((2, 4)), name="kernel")]
    with pytest.raises(InputError, match=r"\(2, 4\).*\(2, 3\)"):
        latest_checkpoint(tmp_path).restore({"model": other})
