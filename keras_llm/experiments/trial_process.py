"""The process of a trial, as the sweep sees it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_llm.experiments.space import AnyRecipe
from keras_llm.experiments.trial import FAILED
from keras_llm.recipes.settings import to_dict

# How libraries are told of how many threads they may have.
THREADS = (
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)
INTERRUPTED = (130, -2)


def threads_of(jobs: int) -> int | None:
    """Threads of each of so many processes; `None` leaves it to libraries."""
    from keras_llm.executors.local import usable_cores

    return None if jobs == 1 else max(1, usable_cores() // jobs)


class TrialProcess:
    """Starts a trial; within, it can be talked with.

    What it prints goes to a file of `logs/`.

    Args:
        sweep: What is swept.
        recipe: Of this trial.
        out: Folder of its run.
        threads: That it may have; see `threads_of`.
    """

    def __init__(
        self, sweep: Any, recipe: AnyRecipe, out: Path, threads: int | None
    ):
        self.reports = 0
        self._log = sweep.out / "logs" / f"{out.name}.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._job = {
            "kind": sweep.kind,
            "sources": list(sweep.sources),
            "preset": sweep.preset,
            "recipe": to_dict(recipe),
            "out": str(out),
        }
        self._environment = dict(os.environ)
        if threads is not None:
            self._environment |= dict.fromkeys(THREADS, str(threads))
            # Else the first would take all of a GPU's memory.
            self._environment["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"

    def __enter__(self) -> "TrialProcess":
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "keras_llm.experiments.trial"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment,
            )
        self._write(json.dumps(self._job))
        return self

    def __exit__(self, *error: Any) -> None:
        self._process.stdin.close()  # which ends it, if it has not ended
        self._process.wait()
        self._process.stdout.close()

    def messages(self) -> Iterator[dict[str, Any]]:
        """What it says, until it has ended."""
        for line in self._process.stdout:
            message = json.loads(line)
            self.reports += "step" in message
            yield message

    def answer(self, text: str) -> None:
        """Answers its last message."""
        self._write(text)

    def failure(self) -> dict[str, Any] | None:
        """How it ended that said nothing at the end; `None` if by Ctrl-C."""
        code = self._process.wait()
        if code in INTERRUPTED:
            return None
        lines = self._log.read_text("utf-8", errors="replace").splitlines()
        said = lines[-1] if lines else "it said nothing"
        why = f"killed by signal {-code}" if code < 0 else said
        return {"state": FAILED, "error": f"it ended with {code}: {why}"}

    def stop(self, patience: int) -> None:
        """Ends it, if it does not end by itself within so many seconds."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _write(self, line: str) -> None:
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:  # `failure` says why
            pass
