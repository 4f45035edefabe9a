"""Speed and memory of both sides, in processes that take turns."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
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
SECONDS = 900  # that a round may take, or the first calls, which compile
MEASURE = "keras_llm.pytorch.measure"


@dataclass(frozen=True)
class Measurement:
    """What one process found.

    Args:
        side: A key of `SIDES`.
        task: `"train"`, `"prefill"` or `"decode"`.
        tokens_per_second: Of each round.
        times_first: Those over the rates of the first side, in the rounds
            just before; empty for the first side.
        first_seconds: Of the first call, which compiles.
        peak_bytes: The most memory that the process had.
        library_bytes: What it had before there was a model.
        unavailable: Why it cannot run here; else `None`.
        error: What went wrong; else `None`.
    """

    side: str
    task: str
    tokens_per_second: tuple[float, ...] = ()
    times_first: tuple[float, ...] = ()
    first_seconds: float | None = None
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
    """Measures every side at every task.

    A machine's speed drifts: the rounds of each side alternate with rounds of
    the first one, whose process stays. No more than two are alive at a time.

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
        say(f"measuring {task}")
        jobs = jobs_of(task, config, batch_size, length, sides)
        found += alternate(jobs, rounds, seconds, say)
    return found


def jobs_of(
    task: str,
    config: dict[str, Any],
    batch_size: int,
    length: int,
    sides: Sequence[str],
) -> dict[str, dict[str, Any]]:
    """What the process of each side is told of a task."""
    return {
        side: {
            "side": side,
            "task": task,
            "config": config,
            "batch_size": batch_size,
            "length": length,
        }
        for side in sides
    }


def alternate(
    jobs: dict[str, dict[str, Any]],
    rounds: int,
    seconds: float,
    say: Callable[[str], None] = lambda line: None,
    command: Sequence[str] = (sys.executable, "-m", MEASURE),
) -> list[Measurement]:
    """Measures jobs in processes of their own, in turns with the first.

    Args:
        jobs: What each process is told, by a name for `say`.
        rounds: Rounds of each measurement.
        seconds: Of a round, at least.
        say: Told what is being measured.
        command: What measures a job, which it is given as JSON.
    """
    (first_name, first_job), *others = jobs.items()
    found = []
    say(f"    {first_name}")
    with Contender(first_job, command) as first:
        if not others:
            first.rounds(rounds, seconds)
        for name, job in others:
            say(f"    {name}")
            with Contender(job, command) as other:
                first.rounds(1, seconds)  # cold again: left out
                del first.rates[-1:]
                ratios = []
                for _ in range(rounds):
                    first.rounds(1, seconds)
                    other.rounds(1, seconds)
                    if first.rates and other.rates:
                        ratios.append(other.rates[-1] / first.rates[-1])
            found.append(other.measurement(ratios))
    return [first.measurement(), *found]


class Contender:
    """A process that has warmed up, and measures a round when it is told to.

    What goes wrong ends its rounds, and is said by `measurement`.
    """

    def __init__(self, job: dict[str, Any], command: Sequence[str]):
        self.rates: list[float] = []
        self._job, self._found = job, {}
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [*command, json.dumps(job)],
            env=_environment(job),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self) -> "Contender":
        self._read()
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._errors.close()

    def rounds(self, number: int, seconds: float) -> None:
        """Measures so many rounds, of so many seconds at least."""
        for _ in range(number):
            if {"error", "unavailable"} & set(self._found):
                return
            with suppress(BrokenPipeError):
                self._process.stdin.write(f"{seconds}\n")
                self._process.stdin.flush()
            self._read()

    def measurement(self, times_first: Sequence[float] = ()) -> Measurement:
        """What was found, with ratios to the first side's rates."""
        names = self._job["side"], self._job["task"]
        rates = tuple(self.rates)
        return Measurement(*names, rates, tuple(times_first), **self._found)

    def _read(self) -> None:
        limit = threading.Timer(SECONDS, self._process.kill)
        limit.start()
        line = self._process.stdout.readline()
        in_time = limit.is_alive()
        limit.cancel()
        if line:
            said = json.loads(line)
            if "tokens_per_second" in said:
                self.rates.append(said.pop("tokens_per_second"))
            self._found |= said
        elif not in_time:
            self._found = {"error": f"not done after {SECONDS} s"}
        else:
            self._found = {"error": self._last_words()}

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines() or ["no message"]
        return f"exit code {code}: {lines[-1]}"


def _environment(job: dict[str, Any]) -> dict[str, str]:
    """All on the CPU, unless the job says `"device": "gpu"`.

    The package is found wherever the command was run.
    """
    root = str(Path(__file__).parents[2])
    path = os.environ.get("PYTHONPATH")
    cpu_alone = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    # Two processes share the GPU.
    gpu = {"JAX_PLATFORMS": "", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return os.environ | {
        **(gpu if job.get("device") == "gpu" else cpu_alone),
        "KERAS_BACKEND": SIDES.get(job["side"], ("", None))[1] or "torch",
        "KERAS_LLM_WORKER": "1",  # no Keras where it is not needed
        "PYTHONPATH": f"{root}:{path}" if path else root,
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
