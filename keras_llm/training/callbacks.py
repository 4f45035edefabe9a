"""What happens beside the updates: log, validation, checkpoints, samples.

A Keras "epoch" here is one row of the log, `log_interval` steps; `fit` calls
`on_epoch_end` after each. The callbacks run in the order of their classes.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import keras

from keras_llm.errors import InputError
from keras_llm.recipes.settings import TrainingSettings
from keras_llm.training.checkpoints import (
    Checkpoint,
    checkpoint_paths,
    remove_checkpoints,
    save_checkpoint,
)
from keras_llm.training.log import append_row, draw_curves
from keras_llm.training.optimizers import current_learning_rate
from keras_llm.training.state import (
    ClockState,
    RunState,
    SamplesState,
    ValidationState,
)

ADVICE = (
    "Pass a lower --training.learning_rate or a longer "
    "--training.warmup_steps, with --redo or another --out."
)


class TrainingDiverged(InputError):
    """The loss is no longer a number."""


class Clock(keras.callbacks.Callback):
    """Counts batches, steps, tokens and seconds of training.

    Validation is left out of the seconds. Every other callback asks it.

    Args:
        settings: Of the run.
        num_tokens: Tokens of a batch, by its number.
    """

    def __init__(
        self, settings: TrainingSettings, num_tokens: Callable[[int], int]
    ):
        super().__init__()
        self.settings = settings
        self.interrupted = False
        self.tokens_per_second = 0.0
        self.batch = 0
        self.tokens = 0
        self.seconds = 0.0
        self._num_tokens = num_tokens

    def get_state(self) -> ClockState:
        return ClockState(self.batch, self.tokens, self.seconds)

    def set_state(self, state: ClockState) -> None:
        vars(self).update(asdict(state))

    @property
    def step(self) -> int:
        """Optimizer updates done."""
        return self.batch // self.settings.gradient_accumulation_steps

    @property
    def at_row(self) -> bool:
        """Whether this is where a row of the log belongs."""
        whole = self.batch % self.settings.gradient_accumulation_steps == 0
        return whole and (
            self.step % self.settings.log_interval == 0
            or self.step == self.settings.steps
        )

    @property
    def at_validation(self) -> bool:
        due = self.step % self.settings.validation_interval == 0
        return self.at_row and (due or self.step == self.settings.steps)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """The first Ctrl-C within ends the current batch, a second one all."""

        def interrupt(signum, frame):
            self.interrupted = True
            signal.signal(signal.SIGINT, before)

        if threading.current_thread() is not threading.main_thread():
            yield  # where no Ctrl-C arrives
            return
        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.monotonic()
        self._epoch_tokens = self.tokens

    def on_train_batch_end(self, batch, logs=None):
        self.tokens += self._num_tokens(self.batch)
        self.batch += 1
        if self.interrupted:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.monotonic() - self._started
        self.seconds += seconds
        tokens = self.tokens - self._epoch_tokens
        self.tokens_per_second = tokens / max(seconds, 1e-9)


class StopOnDivergence(keras.callbacks.Callback):
    """Ends the run at the first batch whose loss is no number."""

    def __init__(self, clock: Clock, checkpoints: Path):
        super().__init__()
        self.clock = clock
        self.checkpoints = checkpoints

    def on_train_batch_end(self, batch, logs=None):
        if math.isfinite(logs["loss"]):
            return
        accumulation = self.clock.settings.gradient_accumulation_steps
        kept = checkpoint_paths(self.checkpoints)
        raise TrainingDiverged(
            f"The loss became {logs['loss']} at step "
            f"{math.ceil(self.clock.batch / accumulation)}. {ADVICE} "
            + (f"The last good checkpoint is {kept[-1]}." if kept else "")
        )


class Validation(keras.callbacks.Callback):
    """Validates, remembers the best step, and stops early if asked to.

    Puts what it finds, with `val_` before each name, into the logs of the
    epochs after which it is due, for the callbacks that follow.

    Args:
        clock: Knows the step.
        validate: Returns the loss, and what else is logged.
    """

    def __init__(self, clock: Clock, validate: Callable[[], dict[str, float]]):
        super().__init__()
        self.clock = clock
        self.validate = validate
        self.best_step = None
        self.best_loss = math.inf
        self.waited = 0

    def on_epoch_end(self, epoch, logs=None):
        if not self.clock.at_validation:
            return
        found = self.validate()
        loss = found["loss"]
        if not math.isfinite(loss):  # by the row's last update
            raise TrainingDiverged(
                f"The validation loss became {loss} at step "
                f"{self.clock.step}. {ADVICE}"
            )
        logs.update({f"val_{name}": value for name, value in found.items()})
        if loss < self.best_loss:
            self.best_step = self.clock.step
            self.best_loss = loss
            self.waited = 0
        else:
            self.waited += 1
        if self.out_of_patience:
            self.model.stop_training = True

    @property
    def out_of_patience(self) -> bool:
        patience = self.clock.settings.early_stopping_patience
        return patience is not None and self.waited >= patience

    def get_state(self) -> ValidationState:
        loss = None if self.best_step is None else self.best_loss
        return ValidationState(self.best_step, loss, self.waited)

    def set_state(self, state: ValidationState) -> None:
        vars(self).update(asdict(state))
        if state.best_loss is None:
            self.best_loss = math.inf


# Seconds between pictures of a run that goes on: each takes a third of one.
BETWEEN_PICTURES = 10


class Log(keras.callbacks.Callback):
    """Writes a row of the log, and draws the curves after a validation."""

    def __init__(self, clock: Clock, folder: Path, columns: tuple[str, ...]):
        super().__init__()
        self.clock = clock
        self.folder = folder
        self.columns = columns
        self.drawn = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        if not self.clock.at_row:
            return
        measured = ("loss", "val_loss", *self.columns)
        row = {
            "step": self.clock.step,
            "tokens": self.clock.tokens,
            **{k: float(logs[k]) if k in logs else None for k in measured},
            "learning_rate": current_learning_rate(self.model.optimizer),
            "tokens_per_second": round(self.clock.tokens_per_second),
            "seconds": round(self.clock.seconds, 2),
        }
        append_row(self.folder / "log.csv", row)
        since = time.monotonic() - self.drawn
        if self.clock.at_validation and since > BETWEEN_PICTURES:
            self.draw()

    def draw(self) -> None:
        """Draws the curves of the rows so far, if there are any."""
        draw_curves(self.folder / "log.csv", self.folder / "curves.png")
        self.drawn = time.monotonic()


class Samples(keras.callbacks.Callback):
    """Writes what the model says as it learns to `samples.txt`."""

    def __init__(self, clock: Clock, folder: Path, sample: Callable[[], str]):
        super().__init__()
        self.clock = clock
        self.path = folder / "samples.txt"
        self.sample = sample

    def on_epoch_end(self, epoch, logs=None):
        if not self.clock.at_validation:
            return
        text = self.sample()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"=== step {self.clock.step}\n{text}\n\n")

    def get_state(self) -> SamplesState:
        is_there = self.path.exists()
        return SamplesState(self.path.stat().st_size if is_there else 0)

    def set_state(self, state: SamplesState) -> None:
        """Removes the samples that came later."""
        if self.path.exists():
            size = self.path.stat().st_size
            os.truncate(self.path, min(state.bytes, size))


class Checkpointer(keras.callbacks.Callback):
    """Saves after each validation and on Ctrl-C; keeps the last two, and the
    best.

    Args:
        clock: Knows the step.
        validation: Knows the best step, if there is a validation split.
        samples: Knows how many it has written, if any.
        metrics: Of the run, beside the loss.
        path: Folder of the checkpoints.
    """

    def __init__(
        self,
        clock: Clock,
        validation: Validation | None,
        samples: Samples | None,
        metrics: Sequence[keras.metrics.Metric],
        path: Path,
    ):
        super().__init__()
        self.clock = clock
        self.validation = validation
        self.metrics = metrics
        self.path = path
        callbacks = {"clock": clock, "validation": validation}
        callbacks["samples"] = samples
        self._stateful = {k: v for k, v in callbacks.items() if v is not None}
        self._metrics_to_restore = None

    def groups(self) -> dict:
        """What training changes; seeds of dropout are among the model's.

        Frozen weights are left out: they are what the run began with.
        """
        metrics = self._metrics()
        frozen = self.model.non_trainable_weights
        left_out = {id(variable) for variable in [*metrics, *frozen]}
        return {
            "model": [v for v in self.model.variables if id(v) not in left_out],
            "optimizer": self.model.optimizer.variables,
            "metrics": metrics,
            "states": getattr(self.model, "states", []),
        }

    def _metrics(self) -> list[keras.Variable]:
        """Variables of the loss's mean and of the metrics.

        Those of the metrics are the model's only after its first step.
        """
        found = [*self.model.metrics_variables]
        found += [v for metric in self.metrics for v in metric.variables]
        return list({id(variable): variable for variable in found}.values())

    def on_epoch_begin(self, epoch, logs=None):
        # `fit` has just reset the metrics; a row begun before an interrupt
        # goes on from what they were.
        if self._metrics_to_restore is not None:
            pairs = zip(self._metrics(), self._metrics_to_restore, strict=True)
            for variable, value in pairs:
                variable.assign(value)
            self._metrics_to_restore = None

    def on_epoch_end(self, epoch, logs=None):
        if self.clock.at_validation or self.model.stop_training:
            self.save()

    def save(self) -> None:
        validation = self.validation
        states = {k: each.get_state() for k, each in self._stateful.items()}
        step = self.clock.step
        save_checkpoint(self.path, step, self.groups(), RunState(**states))
        steps = [int(path.name) for path in checkpoint_paths(self.path)]
        best = validation.best_step if validation is not None else None
        remove_checkpoints(self.path, keep={*steps[-2:], best})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes back to a checkpoint; call once the model is built."""
        checkpoint.restore(self.groups())
        for name, callback in self._stateful.items():
            if (state := getattr(checkpoint.state, name)) is not None:
                callback.set_state(state)
        if not self.clock.at_row:
            self._metrics_to_restore = [
                keras.ops.convert_to_numpy(variable)
                for variable in self._metrics()
            ]
        # `fit` resets those that are the model's, after the first step only.
        for metric in self.metrics:
            metric.reset_state()
