"""Runs a stage: the tasks of a pipeline that have not been finished yet."""

from collections.abc import Callable
from pathlib import Path

from datatrove.pipeline.base import PipelineStep

from keras_llm.errors import InputError, Interrupted
from keras_llm.executors.base import TaskExecutor
from keras_llm.executors.local import LocalTasks
from keras_llm.executors.on_ray import RayTasks
from keras_llm.executors.on_slurm import SlurmTasks
from keras_llm.executors.progress import watched
from keras_llm.recipes.corpus_settings import ExecutionSettings

_EXECUTORS: dict[str, type[TaskExecutor]] = {
    "local": LocalTasks,
    "ray": RayTasks,
    "slurm": SlurmTasks,
}


def check_executor(execution: ExecutionSettings, out: Path) -> None:
    """Raises what is wrong with an executor before anything is made.

    Args:
        execution: Where tasks are to run.
        out: The folder whose neighbour they work in.

    Raises:
        InputError: It is not to be had here.
    """
    try:
        _EXECUTORS[execution.executor].require(out, execution)
    except Interrupted as error:  # not yet: nothing has been done
        raise InputError(str(error)) from error


def run_tasks(
    pipeline: list[PipelineStep],
    tasks: int,
    folder: Path,
    execution: ExecutionSettings,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Runs a pipeline once for each rank from 0 to `tasks - 1`.

    Ranks that an earlier call with the same `folder` has finished are
    skipped. So a task must write each of its files beside and rename it: one
    that was killed runs again from its start.

    Each task has a pipeline of its own, pickled: tasks import no Keras where
    they are defined, and hold little. What differs from rank to rank is read
    from files.

    Args:
        pipeline: datatrove steps or other callables; each is called with
            what the one before it yields (the first with nothing), the rank,
            and the number of tasks.
        tasks: Number of tasks.
        folder: Of this stage alone; holds logs and marks of finished tasks.
            Every machine of a cluster must see it under the same path.
        execution: Where and how many at once.
        progress: Called in another thread, about twice a second, with the
            total that tasks have told `advance` so far.

    Raises:
        InputError: One that a task raised.
        Interrupted: A worker was killed, the disk is full, or the executor
            is not to be had; the same call goes on.
        TaskError: A task failed for any other reason; names its log.
    """
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    executor = _EXECUTORS[execution.executor].build(
        pipeline, tasks, folder, execution
    )
    with watched(folder, progress):
        left = executor.get_incomplete_ranks()
        if left:
            executor.prepare(left)
            executor.run()
            executor.check(left)
