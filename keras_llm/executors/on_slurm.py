"""Tasks on a Slurm cluster: an array job, and waiting for it."""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from datatrove.executor.slurm import SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from keras_llm.errors import Interrupted
from keras_llm.executors.base import WORKER_ENVIRONMENT, TaskExecutor
from keras_llm.recipes.corpus_settings import ExecutionSettings

SECONDS = 1.0  # between looks at the folder
QUEUE_SECONDS = 15.0  # between questions to Slurm
MOST_SECONDS_TO_END = 120
# The second alone: the command itself runs in some other job.
_INSIDE_THE_JOB = {"KERAS_LLM_WORKER", "SLURM_ARRAY_TASK_ID"}
SCRIPT = "launch_pickled_pipeline"  # datatrove's; runs one task of the array


class SlurmTasks(TaskExecutor, SlurmPipelineExecutor):
    """Submits the tasks that are left, and waits until the job is gone.

    The job is named after the folder. So a killed command's job is found,
    and cancelled, by the next.
    """

    @classmethod
    def require(cls, out: Path, execution: ExecutionSettings) -> None:
        """Raises `Interrupted` if it cannot run here; see `check_executor`."""
        _check(out)

    @classmethod
    def build(
        cls,
        pipeline: list[PipelineStep],
        tasks: int,
        folder: Path,
        execution: ExecutionSettings,
    ) -> "SlurmTasks":
        """Makes one; the arguments are those of `run_tasks`."""
        _check(folder)
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()
        return cls(
            pipeline,
            tasks,
            execution.slurm_time,
            execution.slurm_partition,
            workers=execution.workers or -1,
            job_name=f"keras-llm-{digest[:12]}",
            qos=None,
            env_command=_environment(),
            logging_dir=str(folder),
        )

    def run(self) -> None:
        """Submits and waits; within the job, runs one task."""
        if _INSIDE_THE_JOB <= os.environ.keys():
            super().run()
            return
        self._end_earlier_job()
        try:
            self.launch_job()
            self._wait()
        except subprocess.CalledProcessError as error:
            raise Interrupted(
                f"sbatch did not take the job (exit code {error.returncode}). "
                f"It was told partition {self.partition!r} (slurm_partition) "
                f"and time {self.time!r} (slurm_time)."
            ) from error
        finally:
            if self.get_incomplete_ranks():
                self._cancel()

    def launch_merge_stats(self) -> None:
        """Submits no second job: statistics are in the logs of tasks."""

    def unexplained(self, left: list[int]) -> Exception:
        """What to raise of unfinished tasks that left no reason."""
        return Interrupted(
            f"Slurm ended the job with {len(left)} of {self.world_size} tasks "
            f"unfinished, e.g. task {left[0]}. What it said is in "
            f"{self.slurm_logs_folder}; was it time (slurm_time is "
            f"{self.time}) or memory ({self.mem_per_cpu_gb} GB a task)? "
            "The same command goes on with them."
        )

    def _wait(self) -> None:
        """Waits until all is done, a task has failed or the job is gone."""
        asked = time.monotonic()
        is_gone = False
        while self.get_incomplete_ranks() and not self.has_failed():
            if is_gone:  # and what it wrote has had time to get here
                return
            time.sleep(SECONDS)
            if time.monotonic() - asked >= QUEUE_SECONDS:
                asked = time.monotonic()
                is_gone = not self._is_queued()

    def _is_queued(self) -> bool:
        """Whether Slurm has any task of ours; an error of it means nothing."""
        squeue = ["squeue", "-h", "-n", self.job_name]
        asked = subprocess.run(squeue, capture_output=True)
        return asked.returncode != 0 or bool(asked.stdout.strip())

    def _cancel(self) -> None:
        subprocess.run(["scancel", "-n", self.job_name], capture_output=True)

    def _end_earlier_job(self) -> None:
        """Cancels what a killed command left running, and sees it gone."""
        for _ in range(MOST_SECONDS_TO_END):
            if not self._is_queued():
                return
            self._cancel()
            time.sleep(SECONDS)
        raise Interrupted(
            f"Slurm still has the job {self.job_name} of an earlier command, "
            f"{MOST_SECONDS_TO_END} s after `scancel -n {self.job_name}`. "
            "Wait until `squeue` shows none of it, or does not fail."
        )


def _environment() -> str:
    """The line of the job's script that finds this Python, and our limits."""
    here = str(Path(sys.executable).parent)
    found = shutil.which(SCRIPT, path=here) or shutil.which(SCRIPT)
    if found is None:
        raise Interrupted(
            f"`--executor slurm` needs {SCRIPT}, a command that datatrove "
            "installs. Add the folder of it to PATH."
        )
    exports = [f"{name}={value}" for name, value in WORKER_ENVIRONMENT.items()]
    folder = shlex.quote(str(Path(found).parent))
    return f'export PATH={folder}:"$PATH" {" ".join(exports)}'


def _check(folder: Path) -> None:
    for program in ("sbatch", "squeue", "scancel"):
        if shutil.which(program) is None:
            raise Interrupted(
                f"`--executor slurm` must be run where {program} is on PATH: "
                "on a login node of a Slurm cluster. It was not found."
            )
    if any(letter.isspace() for letter in str(folder)):
        raise Interrupted(
            f"`--executor slurm` needs an --out without blanks in its path. "
            f"Received: {folder}"
        )
