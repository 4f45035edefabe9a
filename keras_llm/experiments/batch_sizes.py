"""Which batch sizes fit into memory, and how fast each is.

They are tried in a process of its own, from small to large: one that memory
does not hold ends that process, and not this one.
"""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keras_llm.errors import InputError
from keras_llm.experiments.space import AnyRecipe
from keras_llm.pytorch.measure import peak_bytes
from keras_llm.quiet import import_keras
from keras_llm.recipes.checks import check
from keras_llm.recipes.loading import recipe_from_dict
from keras_llm.recipes.memory import physical_memory
from keras_llm.recipes.settings import to_dict

STEPS = 5  # timed, after one that compiles
NEARLY = 0.95  # of the greatest speed: what is smaller learns from more steps
RESIDENT = Path("/proc/{}/statm")
AVAILABLE = Path("/proc/meminfo")
LIKELIER_KILLED = "1000"  # than any other process, when memory is short


@dataclass(frozen=True)
class BatchSize:
    """One batch size.

    Args:
        batch_size: Windows a batch.
        tokens_per_second: Of training, validation left out; `None` if it does
            not fit.
        seconds_per_step: Of an update of one batch.
        memory: Bytes that the process had at most, of this size and those
            before; `None` where the system does not say.
        trouble: Why it does not fit; `None` if it does.
    """

    batch_size: int
    tokens_per_second: float | None = None
    seconds_per_step: float | None = None
    memory: int | None = None
    trouble: str | None = None


def try_batch_sizes(
    tokens: Path,
    tokenizer: Path,
    recipe: AnyRecipe,
    largest: int = 64,
    memory: int | None = None,
) -> list[BatchSize]:
    """Trains a few steps at 1, 2, 4 and so on windows a batch.

    Args:
        tokens: Folder of token shards.
        tokenizer: The tokenizer they were encoded with.
        recipe: Model and training.
        largest: Where to stop.
        memory: Bytes that the process may have; what is free if omitted.

    Returns:
        Those that were tried; the last may not fit.

    Raises:
        InputError: The recipe cannot be trained on these tokens at all.
    """
    check(1 <= largest <= 65_536, "--largest", "in [1, 65,536]", largest)
    sizes = [2**i for i in range(17) if 2**i <= largest]
    job = {
        "tokens": str(tokens),
        "tokenizer": str(tokenizer),
        "recipe": to_dict(recipe),
        "sizes": sizes,
    }
    found: list[BatchSize] = []
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_llm.experiments.batch_sizes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    guard = _Guard(process, memory or _free_memory())
    try:
        # It may have ended already, of too little memory.
        with suppress(BrokenPipeError), process.stdin as lines:
            lines.write(json.dumps(job) + "\n")
        for line in process.stdout:
            found.append(BatchSize(**json.loads(line)))
        code = process.wait()
    finally:
        process.kill()
    if code and len(found) < len(sizes):
        trouble = guard.trouble or f"its process ended with {code}"
        found.append(BatchSize(sizes[len(found)], trouble=trouble))
    if found and found[0].trouble:
        raise InputError(
            f"Not even one window a batch can be trained: {found[0].trouble}"
        )
    return found


def suggested(sizes: list[BatchSize]) -> int:
    """The smallest batch size that is nearly as fast as any."""
    fitting = [each for each in sizes if each.trouble is None]
    fastest = max(each.tokens_per_second for each in fitting)
    return min(
        each.batch_size
        for each in fitting
        if each.tokens_per_second >= NEARLY * fastest
    )


class _Guard:
    """Ends a process before it takes more memory than it may."""

    def __init__(self, process: subprocess.Popen, limit: int | None):
        self.trouble: str | None = None
        self._process, self._limit = process, limit
        if limit is not None:
            threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while self._process.poll() is None:
            if (_resident(self._process.pid) or 0) > self._limit:
                limit = self._limit / 2**30
                self.trouble = f"it needs more than {limit:.1f} GiB of memory"
                self._process.kill()
                return
            time.sleep(0.02)


def _resident(pid: int) -> int | None:
    try:
        pages = Path(str(RESIDENT).format(pid)).read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None


def _free_memory() -> int | None:
    """Bytes that another process may take; `None` if nobody says."""
    try:
        lines = AVAILABLE.read_text().splitlines()
        (free,) = (x.split()[1] for x in lines if x.startswith("MemAvailable"))
        return min(int(free) * 1024, physical_memory() or int(free) * 1024)
    except (OSError, ValueError):
        return physical_memory()


def main() -> int:
    """Tries the sizes that standard input names; prints a line of each."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = json.loads(sys.stdin.readline())
    try:
        Path("/proc/self/oom_score_adj").write_text(LIKELIER_KILLED)
    except OSError:
        pass  # another system
    import_keras()
    for size in job["sizes"]:
        found = _tried(job, size)
        lines.write(json.dumps(found) + "\n")
        lines.flush()
        if "trouble" in found:
            return 0
    return 0


def _tried(job: dict[str, Any], size: int) -> dict[str, Any]:
    import keras

    from keras_llm.experiments.probe import run_of

    recipe = recipe_from_dict(job["recipe"], "recipe")
    training = replace(
        recipe.training, batch_size=size, gradient_accumulation_steps=1
    )
    recipe = replace(recipe, training=training)
    try:
        run = run_of(Path(job["tokens"]), Path(job["tokenizer"]), recipe)
        seconds = _seconds(run, training)
    except InputError as error:
        return {"batch_size": size, "trouble": " ".join(str(error).split())}
    except Exception as error:  # a backend's own, of which each has several
        if not _is_memory(error):
            raise
        return {"batch_size": size, "trouble": "not enough memory"}
    finally:
        keras.utils.clear_session()
    tokens = run.batches.num_tokens(0)
    return {
        "batch_size": size,
        "tokens_per_second": tokens / seconds,
        "seconds_per_step": seconds,
        "memory": peak_bytes(),
    }


def _seconds(run: Any, training: Any) -> float:
    """Seconds of a step, the median of several."""
    import keras

    from keras_llm.datasets import dataset
    from keras_llm.training.run import (
        check_fits,
        compile_for_training,
        without_preprocessor,
    )

    times: list[float] = []

    class Times(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.began = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            times.append(time.perf_counter() - self.began)

    check_fits(run.model, training, run.batches.num_tokens(0))
    compile_for_training(run.model, training, run.loss)
    with without_preprocessor(run.model):
        run.model.fit(
            dataset(run.batches, 0, STEPS + 1),
            steps_per_epoch=STEPS + 1,
            callbacks=[Times()],
            shuffle=False,
            verbose=0,
        )
    return sorted(times[1:])[STEPS // 2]


def _is_memory(error: Exception) -> bool:
    said = f"{type(error).__name__} {error}".lower()
    names = ("memoryerror", "resourceexhausted", "resource_exhausted")
    return any(name in said for name in (*names, "out of memory", "oom"))


if __name__ == "__main__":
    sys.exit(main())
