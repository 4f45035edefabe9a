"""Many runs of one recipe, each with other values of some of its fields.

The trials are processes; what to try, and what is not worth more steps, the
study decides here. Killed and called again, a sweep goes on: trials that had
not ended are taken up from their checkpoints.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from keras_llm.errors import InputError
from keras_llm.experiments.making import alone, make_run, share_stages
from keras_llm.experiments.runs import PRETRAINING
from keras_llm.experiments.space import AnyRecipe, Axis
from keras_llm.experiments.study import STORAGE, Study, asked_of, require_optuna
from keras_llm.experiments.trial import COMPLETE, FAILED, GO_ON, STOP
from keras_llm.experiments.trial_process import TrialProcess, threads_of
from keras_llm.files import is_free, one_command
from keras_llm.recipes.checks import check
from keras_llm.recipes.loading import with_values
from keras_llm.recipes.tuning_settings import TuningRecipe

TRIALS, LOCK = "trials", ".lock"
SECONDS_TO_SAVE = 20  # after Ctrl-C, which a terminal sends to all processes
VALIDATIONS = 10  # of a trial, at least, so that it can be cut short
# Of a validation, where the recipe validates on all: ten times that is more
# work than so few steps. All trials see the same ones.
VALIDATION_BATCHES = 5


@dataclass(frozen=True)
class Sweep:
    """What is swept, and where.

    Args:
        recipe: Of each trial, but for what is tried.
        axes: What is tried.
        sources: Text, or data for tuning.
        out: The folder.
        kind: `"pretraining"`, or a kind of tuning.
        preset: What is tuned.
    """

    recipe: AnyRecipe
    axes: Sequence[Axis]
    sources: Sequence[str]
    out: Path
    kind: str = PRETRAINING
    preset: str | None = None

    def __post_init__(self) -> None:
        tunes = isinstance(self.recipe, TuningRecipe)
        if tunes == (self.preset is not None):
            return
        raise InputError(
            "--preset must be given: what is tuned."
            if tunes
            else "--preset needs a recipe of tuning, such as classifier."
        )

    def trial(self, number: int) -> Path:
        """Where the run of a trial is."""
        return self.out / TRIALS / f"{number:04d}"


def shortened(recipe: AnyRecipe, steps: int | None) -> AnyRecipe:
    """The recipe of a trial: of fewer steps, with warm-up in proportion.

    It validates ten times at least, for what the pruning goes by, on a part
    of the split that is the same for all trials. A classifier
    is trained alone, without the networks that it is compared with.

    Args:
        recipe: That of the whole run.
        steps: Of a trial; the recipe's if omitted.
    """
    recipe, training = alone(recipe), recipe.training
    if steps is None:
        return recipe
    check(steps >= 1, "--steps", "at least 1", steps)
    warmup = training.warmup_steps
    if training.epochs is None and steps < training.steps:
        warmup = round(warmup * steps / training.steps)
    row = min(training.log_interval, max(1, steps // VALIDATIONS))
    rows = max(1, steps // (VALIDATIONS * row))
    interval = training.validation_interval
    if interval > rows * row or interval % row:
        interval = rows * row
    training = replace(
        training,
        steps=steps,
        epochs=None,
        warmup_steps=warmup,
        log_interval=row,
        validation_interval=interval,
        validation_batches=training.validation_batches or VALIDATION_BATCHES,
    )
    return replace(recipe, training=training)


def run_sweep(
    sweep: Sweep, trials: int, jobs: int = 1, console: Console | None = None
) -> Study:
    """Runs trials until there are so many, or goes on with a sweep.

    Args:
        sweep: What is swept.
        trials: How many there are in the end, cut short ones counted.
        jobs: How many at once; they share the cores.
        console: Where each is announced; the terminal if omitted.

    Returns:
        The study.

    Raises:
        InputError: The recipe's own settings, the text or the data cannot be
            used, or `out` holds something else.
        KeyboardInterrupt: Ctrl-C; the same command goes on.
    """
    require_optuna()
    check(trials >= 1, "--trials", "at least 1", trials)
    check(1 <= jobs <= 64, "--jobs", "in [1, 64]", jobs)
    out, console = sweep.out, console or Console(stderr=True)
    if not (out / STORAGE).is_file() and not is_free(out):
        raise InputError(
            f"{out} must be a new or empty folder, or that of a sweep (with "
            f"{STORAGE}). Pass another --out."
        )
    asked = asked_of(
        sweep.kind, sweep.recipe, sweep.axes, sweep.sources, sweep.preset
    )
    with one_command(out / LOCK, out):
        study = Study(out, asked, sweep.recipe, sweep.axes)
        _Trials(sweep, study, trials, jobs, console).run()
    return study


class _Trials:
    """The trials of a sweep that are still to be done."""

    def __init__(
        self,
        sweep: Sweep,
        study: Study,
        trials: int,
        jobs: int,
        console: Console,
    ):
        self.sweep, self.study, self.console = sweep, study, console
        self.trials, self.jobs = trials, jobs
        self._lock = threading.Lock()  # of the study
        self._unfinished = study.unfinished()
        # Set once the stages that all share are there, or nobody makes them.
        self._shared = threading.Event()
        if len(study) > len(self._unfinished):
            self._shared.set()
        self._processes: set[TrialProcess] = set()
        self._interrupted = False

    def run(self) -> None:
        with ThreadPoolExecutor(self.jobs) as pool:
            workers = [pool.submit(self._work, i) for i in range(self.jobs)]
            try:
                for worker in workers:
                    worker.result()
            except KeyboardInterrupt:
                self._stop(SECONDS_TO_SAVE)
            except BaseException:
                self._stop()
                raise
        if self._interrupted:
            done = sum(r["state"] != "running" for r in self.study.rows())
            raise KeyboardInterrupt(
                f"stopped, {done} of {self.trials} trials done; the same "
                "command goes on"
            )

    def _stop(self, patience: int = 0) -> None:
        """Ends the processes; the trials can go on from their checkpoints."""
        self._interrupted = True
        self._shared.set()
        for process in list(self._processes):
            process.stop(patience)

    def _work(self, worker: int) -> None:
        if worker:
            self._shared.wait()
        while not self._interrupted:
            with self._lock:
                trial = self._next()
            if trial is None:
                return
            try:
                self._do(trial)
            except BaseException:
                self._stop()  # the others, too
                raise
            self._shared.set()

    def _next(self) -> Any:
        if self._unfinished:
            return self._unfinished.pop(0)
        return self.study.begin() if len(self.study) < self.trials else None

    def _do(self, trial: Any) -> None:
        out = self.sweep.trial(trial.number)
        try:
            with self._lock:
                recipe = self.study.recipe_of(trial)
        except InputError as error:
            self._end(trial, None, str(error))
            return
        donors = map(self.sweep.trial, range(trial.number))
        share_stages([*donors], out, recipe)
        with TrialProcess(self.sweep, recipe, out, threads_of(self.jobs)) as it:
            self._processes.add(it)
            if self._interrupted:  # while it started
                it.stop(0)
            last = self._follow(trial, it)
            self._processes.discard(it)
        if last is None or self._interrupted:  # by Ctrl-C, as all are
            self._interrupted = True
            return
        if last["state"] == FAILED and trial.number == 0 and not it.reports:
            raise InputError(f"The recipe's own settings fail: {last['error']}")
        if last["state"] == COMPLETE and last["loss"] is None:
            raise InputError(
                "A sweep goes by the validation loss, and there is no "
                "validation split. Pass a share of one, such as "
                "--corpus.split.validation 0.1."
            )
        self._end(trial, last.get("loss"), last.get("error"))

    def _follow(self, trial: Any, process: TrialProcess) -> dict | None:
        """Answers a process; returns its last message, if it had any."""
        for message in process.messages():
            if "state" in message:
                return message
            self._shared.set()
            with self._lock:
                step, loss = message["step"], message["loss"]
                is_bad = self.study.report(trial, step, loss)
            process.answer(STOP if is_bad else GO_ON)
        return process.failure()

    def _end(self, trial: Any, loss: float | None, error: str | None) -> None:
        with self._lock:
            self.study.end(trial, loss, error)
            rows = self.study.rows()
        done = sum(each["state"] != "running" for each in rows)
        known = [each["loss"] for each in rows if each["loss"] is not None]
        found = rows[trial.number]["state"] if loss is None else f"{loss:.4f}"
        best = f" (best {min(known):.4f})" if known else ""
        values = rows[trial.number]["values"].items()
        self.console.print(
            f"{done}/{self.trials}: trial {trial.number} {found}{best}  "
            + "  ".join(f"{name} {_short(value)}" for name, value in values)
            + (f"\n  {error}" if error else ""),
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def continue_best(
    sweep: Sweep,
    study: Study,
    recipe: AnyRecipe,
    out: Path,
    console: Console | None = None,
) -> dict[str, Any]:
    """Makes a run of a whole recipe with the values of the best trial.

    It begins anew, for a schedule of other length has other rates from the
    first step on; what comes before training is taken from the trial. Where
    the trial was as long, it is the run.

    Args:
        sweep: What was swept.
        study: What came of it.
        recipe: That of the whole run, but for what was tried.
        out: Folder of the run.
        console: Where progress is shown.
    """
    best = best_row(study.rows())
    if best["trial"]:
        recipe = with_values(recipe, best["values"], "the best trial")
    share_stages([sweep.trial(best["trial"])], out, recipe)
    return make_run(
        sweep.kind, sweep.sources, sweep.preset, recipe, out, console
    )


def best_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The trial of the lowest validation loss.

    Raises:
        InputError: None was completed.
    """
    complete = [row for row in rows if row["loss"] is not None]
    if not complete:
        raise InputError("No trial of the sweep was completed.")
    return min(complete, key=lambda row: row["loss"])
