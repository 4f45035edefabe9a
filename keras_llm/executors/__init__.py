"""Tasks on the cores of this machine, on Ray or on Slurm.

A task is one run of a pipeline, told apart by its rank.
Where it ran never shows in what it wrote. Knows nothing of what tasks do.
"""

from keras_llm.executors.base import TaskError
from keras_llm.executors.local import usable_cores
from keras_llm.executors.progress import advance
from keras_llm.executors.running import check_executor, run_tasks

__all__ = [
    "TaskError",
    "advance",
    "check_executor",
    "run_tasks",
    "usable_cores",
]
