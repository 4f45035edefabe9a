"""Speed and memory of both sides, each measurement in a fresh process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_llm.errors import InputError
from keras_llm.pytorch.measure import TASKS

# Names for people, and the backend of Keras.
SIDES = {
    "torch": ("PyTorch, eager", None),
    "torch-compile": ("PyTorch, torch.compile", None),
    "keras-tensorflow": ("Keras on TensorFlow", "tensorflow"),
    "keras-tensorflow-xla": ("Keras on TensorFlow, XLA", "tensorflow"),
    "keras-jax": ("Keras on JAX", "jax"),
    "keras-torch": ("Keras on PyTorch", "torch"),
}
ABOUT = {
    "train": "training, one AdamW step a batch",
    "prefill": "reading a batch, logits of the last token",
    "decode": "writing one text, greedy, with a cache",
}
SECONDS = 900  # that a measurement may take, compiling included


@dataclass(frozen=True)
class Measurement:
    """What one process found.

    Args:
        side: A key of `SIDES`.
        task: `"train"`, `"prefill"` or `"decode"`.
        tokens_per_second: Of each round.
        peak_bytes: The most memory that the process had.
        library_bytes: What it had before there was a model.
        unavailable: Why it cannot run here; else `None`.
        error: What went wrong; else `None`.
    """

    side: str
    task: str
    tokens_per_second: tuple[float, ...] = ()
    peak_bytes: int | None = None
    library_bytes: int | None = None
    unavailable: str | None = None
    error: str | None = None


def check_rounds(rounds: int, seconds: float) -> None:
    """Raises `InputError` unless so many rounds of that length can be."""
    if not 0 <= rounds <= 1000 or not 0 < seconds <= 3600:
        raise InputError(
            "rounds must be in [0, 1000], and seconds above 0 and at most "
            f"3600. Received: rounds={rounds}, seconds={seconds}"
        )


def measure_sides(
    config: dict[str, Any],
    batch_size: int,
    length: int,
    rounds: int,
    seconds: float,
    sides: Sequence[str] = tuple(SIDES),
    say: Callable[[str], None] = lambda line: None,
) -> list[Measurement]:
    """Measures every side at every task, one process after another.

    Args:
        config: Arguments of `ScratchBackbone`.
        batch_size: Rows a batch.
        length: Tokens a row.
        rounds: Rounds of each measurement.
        seconds: Of a round, at least.
        sides: Keys of `SIDES`.
        say: Told what is being measured.
    """
    found = []
    for task in TASKS:
        for side in sides:
            say(f"measuring {task}: {SIDES[side][0]}")
            job = {
                "side": side,
                "task": task,
                "config": config,
                "batch_size": batch_size,
                "length": length,
                "rounds": rounds,
                "seconds": seconds,
            }
            found.append(_measure(job))
    return found


def _measure(job: dict[str, Any]) -> Measurement:
    names = job["side"], job["task"]
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "keras_llm.pytorch.measure",
                json.dumps(job),
            ],
            env=_environment(job["side"]),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return Measurement(*names, error=f"not done after {SECONDS} s")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        code = f"exit code {done.returncode}: "
        return Measurement(*names, error=code + lines[-1])
    result = json.loads(done.stdout.strip().splitlines()[-1])
    rates = tuple(result.pop("tokens_per_second", ()))
    return Measurement(*names, rates, **result)


def _environment(side: str) -> dict[str, str]:
    """All on the CPU; the package is found wherever the command was run."""
    root = str(Path(__file__).parents[2])
    path = os.environ.get("PYTHONPATH")
    return os.environ | {
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "KERAS_BACKEND": SIDES[side][1] or "torch",
        "KERAS_LLM_WORKER": "1",  # no Keras where it is not needed
        "PYTHONPATH": f"{root}:{path}" if path else root,
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
