"""Training a causal language model from scratch, by `compile` and `fit`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import keras
from rich.console import Console

from keras_llm.datasets import (
    TokenManifest,
    Tokens,
    TrainingWindows,
    open_tokens,
    training_dataset,
)
from keras_llm.errors import InputError
from keras_llm.evaluation import Evaluator
from keras_llm.generation import TextGenerator
from keras_llm.models import ScratchCausalLM
from keras_llm.recipes.settings import GenerationSettings, TrainingSettings
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
from keras_llm.training.optimizers import make_optimizer
from keras_llm.training.progress import ProgressBar


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after a checkpoint has been written."""


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended.

    Args:
        steps: Optimizer updates done.
        seconds: Seconds of training, validation left out.
        best_step: Step of the lowest validation loss, whose weights the model
            has now; the last step without a validation split.
        best_loss: That loss, in nats per token, or `None`.
    """

    steps: int
    seconds: float
    best_step: int
    best_loss: float | None

    def to_dict(self) -> dict:
        return asdict(self)


def pretrain(
    model: ScratchCausalLM,
    tokens: Path,
    out: Path,
    settings: TrainingSettings,
    generation: GenerationSettings | None = None,
    seed: int = 0,
    console: Console | None = None,
) -> TrainingResult:
    """Trains on token shards; goes on where an earlier call stopped.

    Leaves the weights of the best validation in the model, and in `out` the
    log, the curves, samples and checkpoints.

    Args:
        model: The model to train, with its preprocessor. A fresh one of the
            same settings and seed where a run is resumed.
        tokens: Folder of token shards, as `encode` writes it.
        out: Folder of this run.
        settings: How to train.
        generation: How samples are drawn.
        seed: Decides the order of the windows.
        console: Where progress is shown; the terminal if omitted.

    Raises:
        InputError: Text shorter than a window, damaged tokens, a checkpoint
            of another model, a loss that is no number.
        Interrupted: Ctrl-C, after a checkpoint.
    """
    tokens, out = Path(tokens), Path(out)
    length = model.backbone.max_sequence_length
    windows = TrainingWindows(
        open_tokens(tokens, "train"), length, settings.batch_size, seed
    )
    validation = _open_if_there(tokens, "validation")
    out.mkdir(parents=True, exist_ok=True)
    compile_for_training(model, settings)
    run = _Run(model, out, settings, generation, validation)
    run.resume()
    console = console or Console(file=sys.stderr)
    with _without_preprocessor(model), run.clock.interruptible():
        run.fit(windows, console)
    if run.clock.interrupted:
        raise Interrupted(f"stopped at step {run.clock.step}")
    return run.finish()


def compile_for_training(
    model: keras.Model, settings: TrainingSettings
) -> None:
    """Compiles a model, with optimizer variables, as the settings say."""
    model.compile(
        optimizer=make_optimizer(settings, model),
        loss=keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        ),
        weighted_metrics=[],
        jit_compile=_jit_compile(model, settings),
    )
    model.optimizer.build(model.trainable_variables)


class _Run:
    """The callbacks of one training run, and where it stands."""

    def __init__(self, model, out, settings, generation, validation):
        self.model = model
        self.out = out
        self.settings = settings
        self.tokens_a_batch = (
            settings.batch_size * model.backbone.max_sequence_length
        )
        self.clock = Clock(settings)
        self.validation = self.samples = None
        if validation is not None:
            evaluator = Evaluator(model, model.backbone.max_sequence_length)
            self.validation = Validation(self.clock, evaluator, validation)
        if settings.sample_prompt:
            generation = generation or GenerationSettings()
            self.samples = Samples(
                self.clock,
                out,
                TextGenerator(model),
                _fit_samples(generation, settings),
            )
        self.checkpointer = Checkpointer(
            self.clock, self.validation, self.samples, out / "checkpoints"
        )
        self.checkpointer.set_model(model)

    def resume(self) -> None:
        """Goes back to the newest whole checkpoint, or to the beginning."""
        checkpoint = latest_checkpoint(self.checkpointer.path)
        if checkpoint is not None:
            self.checkpointer.restore(checkpoint)
        elif self.samples is not None:
            self.samples.set_state({"bytes": 0})
        cut_log(self.out / "log.csv", self.clock.step)

    def fit(self, windows: TrainingWindows, console: Console) -> None:
        if self.validation is not None and self.validation.out_of_patience:
            return
        with ProgressBar(self.clock, self.tokens_a_batch, console) as bar:
            callbacks = [
                self.clock,
                StopOnDivergence(self.clock, self.checkpointer.path),
                self.validation,
                Log(self.clock, self.out, self.tokens_a_batch),
                self.samples,
                self.checkpointer,
                bar,
                *_tensorboard(self.settings, self.out),
            ]
            callbacks = [each for each in callbacks if each is not None]
            for first, rows, batches in self._stretches():
                self.model.fit(
                    training_dataset(windows, first, rows * batches),
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
def _without_preprocessor(model: ScratchCausalLM) -> Iterator[None]:
    """Within, `fit` takes token batches instead of strings."""
    preprocessor, model.preprocessor = model.preprocessor, None
    try:
        yield
    finally:
        model.preprocessor = preprocessor


def _open_if_there(tokens: Path, split: str) -> Tokens | None:
    there = split in TokenManifest.load(tokens).splits
    return open_tokens(tokens, split) if there else None


def _jit_compile(model: keras.Model, settings: TrainingSettings) -> bool | str:
    if settings.jit_compile is not None:
        return settings.jit_compile
    if keras.config.backend() != "tensorflow":
        return "auto"
    # On a CPU, compiled attention gained nothing and a compiled recurrence
    # took twice as long, measured on `nano` and `gru-mini`.
    gpu = bool(keras.distribution.list_devices("gpu"))
    return gpu and set(model.backbone.block_types) == {"attention"}


def _fit_samples(
    generation: GenerationSettings, settings: TrainingSettings
) -> GenerationSettings:
    return replace(generation, max_new_tokens=settings.sample_tokens)


def _tensorboard(settings: TrainingSettings, out: Path) -> list:
    if not settings.tensorboard:
        return []
    if not all(map(find_spec, ("tensorboard", "tensorflow"))):
        raise InputError(
            "training.tensorboard needs TensorFlow and TensorBoard: "
            'pip install "keras-llm[tensorboard]"'
        )
    return [keras.callbacks.TensorBoard(str(out / "tensorboard"))]
