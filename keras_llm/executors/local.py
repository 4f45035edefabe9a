"""Tasks on the cores of this machine.

datatrove's own local executor starts a server process even for one worker,
and waits for ever once a worker is killed.
"""

import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

import loky
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from keras_llm.errors import Interrupted
from keras_llm.executors.base import (
    WORKER_ENVIRONMENT,
    TaskExecutor,
    attempt,
    out_of_memory,
)
from keras_llm.recipes.corpus_settings import ExecutionSettings

IDLE_SECONDS = 30  # that workers wait for the next stage


def usable_cores() -> int:
    """Cores that this process may use, as affinity and containers allow."""
    return loky.cpu_count()


class LocalTasks(TaskExecutor, LocalPipelineExecutor):
    """In this process if one worker or task is enough, else in others."""

    @classmethod
    def build(
        cls,
        pipeline: list[PipelineStep],
        tasks: int,
        folder: Path,
        execution: ExecutionSettings,
    ) -> "LocalTasks":
        """Makes one; the arguments are those of `run_tasks`."""
        workers = execution.workers or usable_cores()
        return cls(pipeline, tasks, workers, logging_dir=str(folder))

    def run(self) -> None:
        """Runs the tasks that are left, until one fails."""
        ranks = self.get_incomplete_ranks()
        workers = min(self.workers, len(ranks))
        if workers > 1:
            self._run_in_pool(ranks, workers)
            return
        for rank in ranks:
            if failure := attempt(str(self.folder), rank):
                self.note(rank, failure)
                return

    def _run_in_pool(self, ranks: list[int], workers: int) -> None:
        with _interrupts_held():
            pool = loky.get_reusable_executor(
                max_workers=workers,
                timeout=IDLE_SECONDS,
                env=WORKER_ENVIRONMENT,
                initializer=_end_with,
                initargs=(os.getpid(),),
            )
            ranks_of = {
                pool.submit(attempt, str(self.folder), rank): rank
                for rank in ranks
            }
        is_done = False
        try:
            with warnings.catch_warnings():
                # loky replaces a worker whose memory has grown.
                warnings.filterwarnings("ignore", "A worker stopped while")
                is_done = self._finish(ranks_of)
        except BrokenProcessPool as error:
            if not self.has_failed():
                what = f"One of {workers} worker processes was killed"
                raise Interrupted(out_of_memory(what)) from error
        finally:
            if not is_done:
                pool.shutdown(kill_workers=True)

    def _finish(self, ranks_of: dict[Future, int]) -> bool:
        """Waits for tasks until one fails; returns whether none did."""
        for done in as_completed(ranks_of):
            if failure := done.result():
                self.note(ranks_of[done], failure)
                return False
        return True


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Within, Ctrl-C waits until processes have been started."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with(parent: int) -> None:
    """Ends this process when its parent is killed, not on Ctrl-C itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
