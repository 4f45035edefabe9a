"""Tasks on a Ray cluster.

datatrove's own executor starts two processes for every task, waits for ever
if the inner one is killed, and only warns of tasks that failed.
"""

import logging
import os
import socket
import sys
from collections import deque
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from datatrove.executor.ray import RayPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from keras_llm.errors import Interrupted
from keras_llm.executors.base import (
    WORKER_ENVIRONMENT,
    TaskError,
    TaskExecutor,
    attempt,
)
from keras_llm.recipes.corpus_settings import ExecutionSettings

CONNECT_SECONDS = 10  # that a cluster has to answer
RETRIES = 5  # of a task whose machine or process is gone
MEMORY_GB = 1  # that Ray sets aside for a task


class RayTasks(TaskExecutor, RayPipelineExecutor):
    """A Ray task each, run again elsewhere if its machine is gone."""

    @classmethod
    def require(cls, out: Path, execution: ExecutionSettings) -> None:
        """Raises `Interrupted` if it cannot run here; see `check_executor`."""
        _connected(execution.ray_address)

    @classmethod
    def build(
        cls,
        pipeline: list[PipelineStep],
        tasks: int,
        folder: Path,
        execution: ExecutionSettings,
    ) -> "RayTasks":
        """Makes one; the arguments are those of `run_tasks`."""
        executor = cls(
            pipeline,
            tasks,
            execution.workers or -1,
            logging_dir=str(folder),
            mem_per_cpu_gb=MEMORY_GB,
        )
        executor.address = execution.ray_address
        return executor

    def run(self) -> None:
        """Runs the tasks that are left, until one fails."""
        ray = _connected(self.address)
        # Ray tells of lost machines there, whatever its settings are.
        with redirect_stdout(sys.stderr):
            self._run_on(ray)

    def _run_on(self, ray: Any) -> None:
        remote = ray.remote(attempt).options(
            num_cpus=self.cpus_per_task,
            memory=self.mem_per_cpu_gb * 2**30,
            max_retries=RETRIES,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": WORKER_ENVIRONMENT},
        )
        waiting, running = deque(self.get_incomplete_ranks()), {}
        try:
            while waiting or running:
                while waiting and len(running) < self.workers:
                    rank = waiting.popleft()
                    running[remote.remote(str(self.folder), rank)] = rank
                [done], _ = ray.wait([*running])
                rank = running.pop(done)
                if failure := ray.get(done):
                    self.note(rank, failure)
                    return
        except ray.exceptions.RayTaskError as error:
            cause = f"{type(error.cause).__name__}: {error.cause}"
            raise TaskError(
                f"A machine of the Ray cluster cannot run tasks ({cause}). "
                "All need the same packages, and the same files under the "
                "same paths."
            ) from error
        except ray.exceptions.RayError as error:
            raise Interrupted(
                f"Ray gave up on a task after {RETRIES} more attempts "
                f"({type(error).__name__}: {error}). The logs of tasks are in "
                f"{self.folder / 'logs'}; the same command goes on."
            ) from error
        finally:
            for task in running:
                ray.cancel(task, force=True)


def _connected(address: str | None) -> Any:
    """The module `ray`, with a cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise Interrupted(
            "`--executor ray` needs Ray. Install it with `pip install "
            "'keras-llm[ray]'`, here and on every machine of the cluster."
        ) from error
    if ray.is_initialized():
        return ray
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        _check_listens(address)
        ray.init(
            address=address,
            configure_logging=False,
            include_dashboard=False,
            log_to_driver=False,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise Interrupted(
            f"ray_address must be of a running Ray cluster, e.g. "
            f"10.0.0.1:6379. Received: {address!r} ({error})"
        ) from error
    return ray


def _check_listens(address: str | None) -> None:
    """Raises `OSError` where nobody answers, whom Ray would wait for."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        with socket.create_connection((host, int(port)), CONNECT_SECONDS):
            pass
