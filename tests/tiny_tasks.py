"""A stage whose tasks write a file each, for tests of executors."""

import errno
import json
import logging
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger

from keras_llm.errors import InputError
from keras_llm.executors import advance, run_tasks
from keras_llm.recipes.corpus_settings import ExecutionSettings

# For PYTHONPATH of other processes: tests, and the package that they test.
_HERE = Path(__file__).parent
PATHS = os.pathsep.join([str(_HERE), str(_HERE.parent)])
BYTES = 1000  # that a task says it has done


class Make(PipelineStep):
    """Yields ten documents, slowly; notes that its rank has started.

    Args:
        notes: Folder of notes, one a task that was started.
        seconds: How long a task takes.
        trouble: What happens to task 2, after half of its documents.
    """

    type, name = "test", "make"

    def __init__(self, notes, seconds=0.0, trouble=None):
        super().__init__()
        self.notes = Path(notes)
        self.seconds = seconds
        self.trouble = trouble

    def run(self, data, rank=0, world_size=1):
        logger.info("loguru speaks")
        logging.getLogger("some.library").warning("logging speaks")
        text = f"warnings speak to {self.notes}"  # each is told once
        warnings.warn(text, RuntimeWarning, stacklevel=1)
        with (self.notes / f"{rank:05d}").open("a") as note:
            note.write(f"{os.getpid()}\n")
        for number in range(10):
            time.sleep(self.seconds / 10)
            advance(BYTES // 10)
            if self.trouble and rank == 2 and number == 5:
                self.trouble()
            text = f"{rank} of {world_size}, {number}\n" * 20
            yield Document(text=text, id=str(number))


class Write(PipelineStep):
    """Writes what comes to one file a task, beside and renamed."""

    type, name = "test", "write"

    def __init__(self, out):
        super().__init__()
        self.out = Path(out)

    def run(self, data, rank=0, world_size=1):
        partial = self.out / f".{rank}.{os.getpid()}"
        partial.write_text("".join(document.text for document in data))
        partial.rename(self.out / f"{rank:05d}")
        return ()


class Environment(PipelineStep):
    """Writes what modules and variables a task has."""

    type, name = "test", "environment"

    def __init__(self, out):
        super().__init__()
        self.out = out

    def run(self, data, rank=0, world_size=1):
        found = {"modules": [*sys.modules], "environment": {**os.environ}}
        (self.out / f"{rank:05d}").write_text(json.dumps(found))
        return ()


def run(folder, tasks=6, seconds=0.0, trouble=None, progress=None, **settings):
    """Runs the stage in `folder`; returns what it has written, by name."""
    notes, out = Path(folder, "notes"), Path(folder, "out")
    for made in (notes, out):
        made.mkdir(parents=True, exist_ok=True)
    pipeline = [Make(notes, seconds, trouble), Write(out)]
    execution = ExecutionSettings(**settings)
    run_tasks(pipeline, tasks, Path(folder, "stage"), execution, progress)
    return written(folder)


def written(folder):
    """What tasks have finished writing, by name."""
    return {
        path.name: path.read_bytes()
        for path in sorted(Path(folder, "out").iterdir())
        if not path.name.startswith(".")
    }


def notes(folder):
    """The processes that each task was started in, by name."""
    return {
        path.name: [int(line) for line in path.read_text().split()]
        for path in sorted(Path(folder, "notes").iterdir())
    }


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def start(folder, tasks, workers, seconds, executor="local"):
    """The stage in a process group of its own, to be interrupted or killed."""
    arguments = [str(folder), tasks, float(seconds)]
    settings = {"workers": workers, "executor": executor}
    # Imported, for of classes in `__main__` a task gets a copy without `os`.
    program = (
        f"import sys; sys.path.append({str(Path(__file__).parent)!r})\n"
        f"from tiny_tasks import run; run(*{arguments!r}, **{settings!r})\n"
        "print('finished')"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {"KERAS_LLM_WORKER": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def refuse():
    raise InputError("the text is no text")


def fail():
    raise ZeroDivisionError("by zero")


def run_out_of_memory():
    raise MemoryError


def fill_the_disk():
    raise OSError(errno.ENOSPC, "No space left on device", "out/00002")


def be_killed():
    os.kill(os.getpid(), 9)
