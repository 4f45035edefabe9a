"""What the executors share: how a task runs, and what is kept of it.

FOLDER/executor.pickle      what workers read
FOLDER/completions/00007    task 7 is finished
FOLDER/progress/00007       bytes that it has done
FOLDER/logs/task_00007.log  what it and the libraries it uses said
FOLDER/errors/00007.json    why it failed, unless the disk is full
"""

import errno
import json
import logging
import shutil
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypedDict

import cloudpickle
from datatrove.executor.base import PipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import log_pipeline, logger
from datatrove.utils.stats import PipelineStats

from keras_llm.errors import InputError, Interrupted
from keras_llm.executors.progress import FOLDER as PROGRESS
from keras_llm.executors.progress import reporting
from keras_llm.files import write_text
from keras_llm.recipes.corpus_settings import ExecutionSettings

PICKLE = "executor.pickle"
# A process of many: it imports no Keras, and its neighbours have the cores.
WORKER_ENVIRONMENT = {
    "KERAS_LLM_WORKER": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VECLIB_MAXIMUM_THREADS": "1",
}
_FULL_DISK = {errno.ENOSPC, errno.EDQUOT}
_ROOM = 2**20  # bytes that are free on a disk on which logs can be written

logger.remove()  # importing datatrove makes it write to standard error


class TaskError(RuntimeError):
    """A task failed, and not for what the user passed."""


class Failure(TypedDict):
    """Why a task failed: what `check` is to raise."""

    kind: str
    message: str


class TaskExecutor(PipelineExecutor):
    """A datatrove executor whose tasks say nothing, and tell why they fail.

    Comes before one of datatrove's executors in the bases of a class.
    """

    @classmethod
    def require(cls, out: Path, execution: ExecutionSettings) -> None:
        """Raises `Interrupted` if it cannot run here; see `check_executor`."""

    @classmethod
    @abstractmethod
    def build(
        cls,
        pipeline: list[PipelineStep],
        tasks: int,
        folder: Path,
        execution: ExecutionSettings,
    ) -> "TaskExecutor":
        """Makes one; the arguments are those of `run_tasks`."""

    @property
    def folder(self) -> Path:
        """The folder of the stage."""
        return Path(self.logging_dir.path)

    def prepare(self, ranks: list[int]) -> None:
        """Forgets what earlier attempts at these tasks left behind."""
        self._failures: dict[int, Failure] = {}
        (self.folder / PICKLE).write_bytes(cloudpickle.dumps(self))
        for rank in ranks:
            (self.folder / PROGRESS / f"{rank:05d}").unlink(missing_ok=True)
            self._error(rank).unlink(missing_ok=True)

    def note(self, rank: int, failure: Failure) -> None:
        """Remembers why a task failed; a full disk does not hold it."""
        self._failures[rank] = failure

    def check(self, ranks: list[int]) -> None:
        """Raises what hindered tasks from being finished.

        Raises:
            InputError: One that a task raised.
            Interrupted: Memory or disk did not suffice.
            TaskError: Another failure, or none that left a trace.
        """
        left = self.get_incomplete_ranks(ranks)
        for rank in left:
            if failure := self._failures.get(rank) or self._kept(rank):
                raise self._raised(rank, failure)
        if left and shutil.disk_usage(self.folder).free < _ROOM:
            raise Interrupted(
                f"The disk of {self.folder} is full. Make room; the same "
                "command goes on."
            )
        if left:
            raise self.unexplained(left)

    def unexplained(self, left: list[int]) -> Exception:
        """What to raise of unfinished tasks that left no reason."""
        return TaskError(
            f"{len(left)} of {self.world_size} tasks were not finished, and "
            f"left no reason. Their logs: {self._log(left[0])} and beside it. "
            "The same command goes on with them."
        )

    def has_failed(self) -> bool:
        """Whether any task has failed so far."""
        errors = self.folder / "errors"
        is_kept = errors.is_dir() and any(errors.glob("*.json"))
        return bool(self._failures) or is_kept

    def save_executor_as_json(self, indent: int = 4) -> None:
        """Does nothing: what steps hold need not be JSON."""

    def _run_for_rank(
        self, rank: int, local_rank: int = 0, node_rank: int = -1
    ) -> PipelineStats:
        if self.is_rank_completed(rank):
            return PipelineStats()
        try:
            with self._logged(rank), reporting(self.folder, rank):
                stats = self._run_steps(rank)
            self.mark_rank_as_completed(rank)
        except Exception as error:
            self._keep(rank, failure_of(rank, error))
            raise
        return stats

    def _run_steps(self, rank: int) -> PipelineStats:
        try:
            log_pipeline(self.pipeline)
            data = None
            for step in self.pipeline:
                data = step(data, rank, self.world_size)
            deque(data or (), maxlen=0)
            stats = PipelineStats(self.pipeline)
            logger.info(stats.get_repr(f"Task {rank}"))
        except Exception:
            logger.exception("The task failed.")
            raise
        return stats

    @contextmanager
    def _logged(self, rank: int) -> Iterator[None]:
        """Within, what libraries log or warn of goes to the task's file."""
        path = self._log(rank)
        path.parent.mkdir(exist_ok=True)
        handler = _LogFile(path, mode="w", encoding="utf-8")
        number = logger.add(handler, format="{time} {name}: {message}")
        logging.root.addHandler(handler)
        logging.captureWarnings(True)
        try:
            yield
        finally:
            logging.captureWarnings(False)
            logging.root.removeHandler(handler)
            with suppress(OSError):
                logger.remove(number)
                handler.close()

    def _keep(self, rank: int, failure: Failure) -> None:
        """Writes why a task failed, for those that only see the folder."""
        with suppress(OSError):  # a full disk: see `note`
            self._error(rank).parent.mkdir(exist_ok=True)
            write_text(self._error(rank), json.dumps(failure))

    def _kept(self, rank: int) -> Failure | None:
        path = self._error(rank)
        if not path.is_file():
            return None
        return json.loads(path.read_text(encoding="utf-8"))

    def _raised(self, rank: int, failure: Failure) -> Exception:
        if failure["kind"] == InputError.__name__:
            return InputError(failure["message"])
        if failure["kind"] == Interrupted.__name__:
            return Interrupted(failure["message"])
        return TaskError(
            f"Task {rank} of {self.world_size} failed ({failure['message']}). "
            f"The whole traceback is in {self._log(rank)}."
        )

    def _error(self, rank: int) -> Path:
        return self.folder / "errors" / f"{rank:05d}.json"

    def _log(self, rank: int) -> Path:
        return self.folder / "logs" / f"task_{rank:05d}.log"


class _LogFile(logging.FileHandler):
    """A log that says nothing on standard error where its disk is full."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Does nothing."""


def failure_of(rank: int, error: Exception) -> Failure:
    """What is kept of the error that ended a task."""
    kind, message = TaskError, f"{type(error).__name__}: {error}"
    if isinstance(error, Interrupted):
        kind, message = Interrupted, str(error)
    elif isinstance(error, InputError):
        kind, message = InputError, str(error)
    elif isinstance(error, MemoryError):
        kind, message = Interrupted, out_of_memory(f"Task {rank} failed")
    elif isinstance(error, OSError) and error.errno in _FULL_DISK:
        kind = Interrupted
        message = f"{message}. Make room; the same command goes on."
    return Failure(kind=kind.__name__, message=message)


def out_of_memory(what: str) -> str:
    """The message of an error for want of memory."""
    return (
        f"{what}, probably for want of memory. Pass fewer --workers, or close "
        "other programs: the same command goes on where it stopped."
    )


def attempt(folder: str, rank: int) -> Failure | None:
    """Runs one task in this process.

    Args:
        folder: Of the stage.
        rank: Of the task.

    Returns:
        Why it failed; nothing if it succeeded.
    """
    executor = cloudpickle.loads((Path(folder) / PICKLE).read_bytes())
    try:
        executor._run_for_rank(rank)
    except Exception as error:
        return failure_of(rank, error)
    return None
