"""Tasks of EleutherAI's `lm_eval`, run on models of KerasHub."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras_hub

from keras_llm.errors import InputError
from keras_llm.recipes.checks import check
from keras_llm.recipes.loading import nearest


def run_tasks(
    model: keras_hub.models.CausalLM,
    tasks: Sequence[str],
    num_fewshot: int | None = None,
    limit: int | None = None,
    include_path: Path | None = None,
    batch_size: int | None = None,
    log_samples: bool = False,
) -> dict[str, Any]:
    """Runs tasks as `lm_eval` does.

    Args:
        model: The model, with its preprocessor.
        tasks: Names of tasks, groups or tags, or YAML files of tasks.
        num_fewshot: Examples before each question; the task's own number if
            omitted.
        limit: Of each task only the first so many questions.
        include_path: A folder with tasks of one's own.
        batch_size: Rows at once; does not change the result.
        log_samples: Whether the result has each question and answer.

    Returns:
        What `lm_eval.simple_evaluate` returns: `results` by task and metric,
        and the settings.

    Raises:
        InputError: `lm_eval` is not installed, there is no such task, or its
            data cannot be read or downloaded.

    Example:
        >>> run_tasks(model, ["arc_easy"], limit=100)["results"]["arc_easy"]
    """
    for name, value in (("limit", limit), ("batch_size", batch_size)):
        valid = value is None or value >= 1
        check(valid, name, "at least 1", value)
    valid = num_fewshot is None or num_fewshot >= 0
    check(valid, "num_fewshot", "at least 0", num_fewshot)
    require_lm_eval()
    import lm_eval

    from keras_llm.evaluation.harness_model import HarnessModel

    manager = _manager(tasks, include_path)
    return lm_eval.simple_evaluate(
        HarnessModel(model, batch_size),
        tasks=list(tasks),
        num_fewshot=num_fewshot,
        limit=limit,
        task_manager=manager,
        log_samples=log_samples,
    )


def require_lm_eval() -> None:
    """Raises `InputError` unless `lm_eval` is installed."""
    try:
        import lm_eval  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"Tasks need {error.name}, which is not installed. Run "
            "`pip install 'keras-llm[lm-eval]'`."
        ) from error


def _manager(tasks: Sequence[str], include_path: Path | None):
    """Finds tasks; without reading all of `lm_eval`'s if there is no need.

    That takes it seconds.
    """
    if include_path is not None:
        if not Path(include_path).is_dir():
            raise InputError(
                "include_path must be a folder with YAML files of tasks. "
                f"Received: {include_path}"
            )
        manager = _open_manager(include_path, include_defaults=False)
        # A group may have tasks that are elsewhere.
        if {*tasks} <= {*manager.all_subtasks}:
            return manager
    manager = _open_manager(include_path)
    for name in tasks:
        if name not in manager.all_tasks and not Path(name).is_file():
            raise InputError(
                f"{name} must be a task of lm_eval, a group or a tag, or a "
                "YAML file of one. For tasks in a folder of yours, pass "
                f"include_path.{nearest(name, manager.all_tasks)}"
            )
    return manager


def _open_manager(include_path: Path | None, **kwargs):
    from lm_eval.tasks import TaskManager

    class Tasks(TaskManager):
        """Says in one line why a task cannot be had."""

        def load(self, task_list):
            try:
                return super().load(task_list)
            except Exception as error:  # of any library, or the task's code
                reason = (str(error).strip() or repr(error)).splitlines()[0]
                raise InputError(
                    "The data of these tasks cannot be read or downloaded: "
                    f"{', '.join(task_list)}. {type(error).__name__}: {reason}"
                ) from error

    return Tasks(include_path=include_path and str(include_path), **kwargs)
