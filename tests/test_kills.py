"""A run that is killed at whatever it does to files ends as if it had not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kill_walk.py")
slow = pytest.mark.slow


def walk(folder: Path, what: str, step: int) -> dict:
    # No TensorFlow where it is not needed: processes with it fork slowly.
    light = {} if what == "model" else {"KERAS_LLM_WORKER": "1"}
    command = [sys.executable, str(SCRIPT), str(folder), what, str(step)]
    done = subprocess.run(
        command, env=os.environ | light, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("what", "step", "fewest"),
    [
        ("tokens", 37, 10),
        pytest.param("tokens", 1, 350, marks=slow),
        pytest.param("redo", 1, 350, marks=slow),
        pytest.param("model", 1, 100, marks=slow),
    ],
)
def test_a_command_killed_anywhere_goes_on(tmp_path, what, step, fewest):
    report = walk(tmp_path, what, step)
    assert report["problems"] == []
    assert report["kills"] >= fewest
