"""The one training run: everything that is trained is trained by this.

Knows nothing of text or of what is learned: a run is a model, batches, a loss,
a validation and a budget.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import keras
from rich.console import Console

from keras_llm.datasets import Batches, dataset
from keras_llm.errors import InputError
from keras_llm.recipes.memory import check_memory, values_of_a_token
from keras_llm.recipes.settings import TrainingSettings
from keras_llm.training.callbacks import (
    Checkpointer,
    Clock,
    Log,
    Samples,
    StopOnDivergence,
    Validation,
)
from keras_llm.training.checkpoints import latest_checkpoint, read_checkpoint
from keras_llm.training.log import cut_log
from keras_llm.training.loss import NextTokenLoss
from keras_llm.training.optimizers import (
    Schedule,
    make_optimizer,
    warmup_schedule,
)
from keras_llm.training.progress import ProgressBar
from keras_llm.training.state import SamplesState
from keras_llm.training.watching import Watch


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C, after a checkpoint has been written."""


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended.

    Args:
        steps: Optimizer updates done.
        seconds: Seconds of training, validation left out.
        best_step: Step of the lowest validation loss, whose weights the model
            has now; the last step without a validation split.
        best_loss: That loss, in nats per token where tokens are predicted, or
            `None`.
    """

    steps: int
    seconds: float
    best_step: int
    best_loss: float | None

    def to_dict(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class TrainingRun:
    """What one kind of training has of its own.

    Args:
        model: What `fit` is called on. One with a preprocessor takes batches,
            not strings, while it is trained.
        batches: What it reads.
        loss: Of a batch.
        metrics: Beside the loss, weighted by the rows' or positions' weights.
        validate: Returns what the log shows of a validation, by name; the
            lowest `"loss"` is the best. No validation if omitted.
        columns: Names of what `metrics` and, with `val_` before them,
            `validate` return beside the loss.
        sample: Returns what `samples.txt` shows of the model as it is.
    """

    model: keras.Model
    batches: Batches
    loss: keras.losses.Loss
    metrics: Sequence[keras.metrics.Metric] = ()
    validate: Callable[[], dict[str, float]] | None = None
    columns: tuple[str, ...] = ()
    sample: Callable[[], str] | None = None

    def train(
        self,
        out: Path,
        settings: TrainingSettings,
        console: Console | None = None,
    ) -> TrainingResult:
        """Trains, or goes on where an earlier call stopped.

        Leaves the weights of the best validation in the model, and in `out`
        the log, the curves, samples and checkpoints.

        Args:
            out: Folder of this run.
            settings: How to train, and for how long.
            console: Where progress is shown; the terminal if omitted.

        Raises:
            InputError: Nothing to train, a checkpoint of another model, a
                loss that is no number.
            TrainingInterrupted: Ctrl-C, after a checkpoint.
        """
        settings = _with_steps(settings, len(self.batches))
        check_tensorboard(settings)
        check_fits(self.model, settings, self.batches.num_tokens(0))
        out = Path(out)
        out.mkdir(parents=True, exist_ok=True)
        compile_for_training(self.model, settings, self.loss, self.metrics)
        fitting = _Fitting(self, out, settings)
        fitting.resume()
        console = console or Console(file=sys.stderr)
        with without_preprocessor(self.model), fitting.clock.interruptible():
            fitting.fit(console)
            fitting.log.draw()
        if fitting.clock.interrupted:
            raise TrainingInterrupted(f"stopped at step {fitting.clock.step}")
        return fitting.finish()


def check_fits(
    model: keras.Model, settings: TrainingSettings, tokens: int
) -> None:
    """Raises `InputError` if this machine cannot hold the training of a model.

    Args:
        model: The model.
        settings: How it is trained.
        tokens: Of a batch.
    """
    backbone = getattr(model, "backbone", model)
    parameters, trainable = (
        sum(math.prod(variable.shape) for variable in variables)
        for variables in (model.variables, model.trainable_variables)
    )
    names = ("num_layers", "hidden_dim", "intermediate_dim", "vocabulary_size")
    sizes = [getattr(backbone, name, 0) for name in names]
    known = [size if isinstance(size, int) else 0 for size in sizes]
    batch = tokens * values_of_a_token(*known)
    check_memory(settings, parameters, trainable, batch, is_accelerated)


def is_accelerated() -> bool:
    """Whether Keras computes on a GPU or TPU."""
    return not keras.distribution.list_devices()[0].startswith("cpu")


def _with_steps(settings: TrainingSettings, batches: int) -> TrainingSettings:
    """The settings with epochs, if they are given, counted in steps."""
    if settings.epochs is None:
        return settings
    updates = batches / settings.gradient_accumulation_steps
    steps = max(1, math.ceil(settings.epochs * updates))
    return replace(settings, steps=steps)


def compile_for_training(
    model: keras.Model,
    settings: TrainingSettings,
    loss: keras.losses.Loss | None = None,
    metrics: Sequence[keras.metrics.Metric] = (),
    schedule: Schedule = warmup_schedule,
) -> None:
    """Compiles a model, with optimizer variables, as the settings say.

    Args:
        model: The model.
        settings: Its optimizer, and whether XLA compiles.
        loss: Of a batch; that of next tokens if omitted.
        metrics: Beside the loss.
        schedule: From the settings and a peak to the learning rate's.

    Raises:
        InputError: None of the model's weights is to be trained.
    """
    if not model.trainable_variables:
        raise InputError(
            f"{model.name} has no weights to train: all are frozen. Set "
            "`trainable = True` where it should learn, or choose other "
            "targets of the adapter."
        )
    model.compile(
        optimizer=make_optimizer(settings, model, schedule),
        loss=NextTokenLoss() if loss is None else loss,
        metrics=None,  # KerasHub's classifiers would bring one of their own
        weighted_metrics=list(metrics),
        jit_compile=_jit_compile(model, settings),
    )
    model.optimizer.build(model.trainable_variables)


class _Fitting:
    """The callbacks of one `TrainingRun.train`, and where it stands."""

    def __init__(self, run: TrainingRun, out: Path, settings: TrainingSettings):
        self.run = run
        self.model = run.model
        self.out = out
        self.settings = settings
        self.clock = Clock(settings, run.batches.num_tokens)
        self.validation = self.samples = None
        if run.validate is not None:
            self.validation = Validation(self.clock, run.validate)
        if run.sample is not None:
            self.samples = Samples(self.clock, out, run.sample)
        self.checkpointer = Checkpointer(
            self.clock,
            self.validation,
            self.samples,
            run.metrics,
            out / "checkpoints",
        )
        self.checkpointer.set_model(self.model)
        self.log = Log(self.clock, out, run.columns)

    def resume(self) -> None:
        """Goes back to the newest whole checkpoint, or to the beginning."""
        accumulation = self.settings.gradient_accumulation_steps
        path = self.checkpointer.path
        checkpoint = latest_checkpoint(path, accumulation)
        if checkpoint is not None:
            self.checkpointer.restore(checkpoint)
        elif self.samples is not None:
            self.samples.set_state(SamplesState(0))
        cut_log(self.out / "log.csv", self.clock.step)

    def fit(self, console: Console) -> None:
        if self.validation is not None and self.validation.out_of_patience:
            return
        with ProgressBar(self.clock, console) as bar:
            callbacks = [
                self.clock,
                StopOnDivergence(self.clock, self.checkpointer.path),
                self.validation,
                self.log,
                self.samples,
                self.checkpointer,
                Watch(self.clock),
                bar,
                *_tensorboard(self.settings, self.out),
            ]
            callbacks = [each for each in callbacks if each is not None]
            for first, rows, batches in self._stretches():
                self.model.fit(
                    dataset(self.run.batches, first, rows * batches),
                    initial_epoch=first // batches,
                    epochs=first // batches + rows,
                    steps_per_epoch=batches,
                    callbacks=callbacks,
                    shuffle=False,
                    verbose=0,
                )
                if self.model.stop_training:
                    return

    def _stretches(self) -> Iterator[tuple[int, int, int]]:
        """First batch, rows of the log, and batches a row.

        A `fit` has epochs of one length. The row that an interrupt has cut,
        and a last short one, take a call of their own.
        """
        accumulation = self.settings.gradient_accumulation_steps
        row = self.settings.log_interval * accumulation
        end = self.settings.steps * accumulation
        batch = self.clock.batch
        while batch < end:
            to_boundary = min(row - batch % row, end - batch)
            rows = (end - batch) // row if to_boundary == row else 1
            yield batch, rows, to_boundary
            batch += rows * to_boundary

    def finish(self) -> TrainingResult:
        """Leaves the best weights in the model."""
        best = self.validation.best_step if self.validation else None
        if best is not None and best != self.clock.step:
            self._restore_weights(best)
        return TrainingResult(
            steps=self.clock.step,
            seconds=round(self.clock.seconds, 1),
            best_step=self.clock.step if best is None else best,
            best_loss=self.validation.best_loss if self.validation else None,
        )

    def _restore_weights(self, step: int) -> None:
        path = self.checkpointer.path / f"{step:08d}"
        groups = {"model": self.checkpointer.groups()["model"]}
        try:
            read_checkpoint(path).restore(groups)
        except InputError as error:
            print(
                f"keras-llm: {error} It was the best; the weights of step "
                f"{self.clock.step} are kept instead.",
                file=sys.stderr,
            )


@contextmanager
def without_preprocessor(model: keras.Model) -> Iterator[None]:
    """Within, `fit` takes batches of tokens instead of strings."""
    preprocessor = getattr(model, "preprocessor", None)
    if preprocessor is None:
        yield
        return
    model.preprocessor = None
    try:
        yield
    finally:
        model.preprocessor = preprocessor


def _jit_compile(model: keras.Model, settings: TrainingSettings) -> bool | str:
    backend = keras.config.backend()
    if backend == "torch":
        return False  # `torch.compile` is another compiler
    backbone = getattr(model, "backbone", model)
    if settings.jit_compile and backend == "tensorflow":
        _check_unrolled(backbone)
    if settings.jit_compile is not None:
        return settings.jit_compile
    if backend != "tensorflow":
        return "auto"
    # On two cores it gives a model as small as `nano` 1.3 times the tokens,
    # and `mini` 0.9 times (scripts/benchmark.py). Recurrences are unrolled.
    gpu = bool(keras.distribution.list_devices("gpu"))
    return gpu and set(getattr(backbone, "block_types", ())) <= {"attention"}


def _check_unrolled(backbone: keras.Model) -> None:
    for block in getattr(backbone, "blocks", ()):
        most = getattr(block.mixer, "max_unrolled_length", math.inf)
        if backbone.max_sequence_length > most:
            raise InputError(
                "With training.jit_compile, model.max_sequence_length must be "
                f"at most {most} where a block type is {block.block_type}, or "
                "training.jit_compile false. Received: "
                f"{backbone.max_sequence_length}"
            )


def check_tensorboard(settings: TrainingSettings) -> None:
    """Raises `InputError` if it is asked for and not there."""
    needed = ("tensorboard", "tensorflow") if settings.tensorboard else ()
    if not all(map(find_spec, needed)):
        raise InputError(
            "training.tensorboard needs TensorFlow and TensorBoard: "
            'pip install "keras-llm[tensorboard]"'
        )


def _tensorboard(settings: TrainingSettings, out: Path) -> list:
    if not settings.tensorboard:
        return []
    return [keras.callbacks.TensorBoard(str(out / "tensorboard"))]
