"""Which learning rates a training bears: a range test.

The rate grows at every step by the same factor, and the loss is noted (Smith
2017, https://arxiv.org/abs/1506.01186). Knows nothing of text.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
from keras import ops

from keras_llm.datasets import dataset
from keras_llm.errors import InputError
from keras_llm.recipes.checks import check
from keras_llm.recipes.settings import TrainingSettings
from keras_llm.registration import register
from keras_llm.training import TrainingRun
from keras_llm.training.optimizers import current_learning_rate
from keras_llm.training.run import compile_for_training, without_preprocessor

SMOOTHING = 0.8  # share of what was smoothed before
DIVERGED = 1.2  # times the loss that it began with
BELOW_LOWEST = 10  # times: where a training may begin


@dataclass(frozen=True)
class RateRange:
    """What a range test found.

    Args:
        rates: Learning rate of each step.
        losses: Loss of its batch, before the update.
        smoothed: The same, averaged over the steps before.
        lowest: Rate at which the smoothed loss was lowest.
        diverges: Rate from which on it was a fifth above that of the untrained
            model, or no number; `None` if it never was.
        suggested: A tenth of `lowest`, to begin with.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    lowest: float
    diverges: float | None
    suggested: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@register
class ExponentialGrowth(keras.optimizers.schedules.LearningRateSchedule):
    """From `low` to `high` over so many steps, by the same factor at each."""

    def __init__(self, low: float, high: float, steps: int):
        self.low, self.high, self.steps = low, high, steps

    def __call__(self, step):
        share = ops.cast(step, "float32") / max(1, self.steps - 1)
        return self.low * ops.exp(math.log(self.high / self.low) * share)

    def get_config(self):
        return dict(vars(self))


def rate_range(
    run: TrainingRun,
    settings: TrainingSettings,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
) -> RateRange:
    """Trains while the learning rate grows, until it diverges.

    The model's weights are of no use afterwards.

    Args:
        run: What is trained on what.
        settings: Its optimizer. Muon's rate grows in proportion to the other.
        low: Rate of the first step.
        high: Rate of the last.
        steps: Batches.

    Raises:
        InputError: A range that is none, or one that diverges at once.
    """
    check(0 < low < high <= 1e6, "--low", f"above 0 and below {high}", low)
    check(10 <= steps <= 100_000, "--steps", "in [10, 100,000]", steps)
    settings = replace(settings, gradient_accumulation_steps=1)

    def schedule(settings: TrainingSettings, peak: float):
        scale = peak / settings.learning_rate
        return ExponentialGrowth(low * scale, high * scale, steps)

    compile_for_training(run.model, settings, run.loss, schedule=schedule)
    notes = _Notes()
    with without_preprocessor(run.model):
        run.model.fit(
            dataset(run.batches, 0, steps),
            epochs=steps,
            steps_per_epoch=1,
            callbacks=[notes],
            shuffle=False,
            verbose=0,
        )
    if len(notes.smoothed) < 3:
        raise InputError(
            f"The loss diverges at a rate of {low:g} already. Pass a lower "
            "--low."
        )
    lowest = notes.rates[_index_of_least(notes.smoothed)]
    return RateRange(
        rates=notes.rates,
        losses=notes.losses,
        smoothed=notes.smoothed,
        lowest=lowest,
        diverges=notes.diverges,
        suggested=lowest / BELOW_LOWEST,
    )


def _index_of_least(values: Sequence[float]) -> int:
    return min(range(len(values)), key=values.__getitem__)


class _Notes(keras.callbacks.Callback):
    """Notes rate and loss of every step; ends where the loss diverges."""

    def __init__(self):
        super().__init__()
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self.diverges: float | None = None
        self._sum = self._weight = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._rate = current_learning_rate(self.model.optimizer)

    def on_epoch_end(self, epoch, logs=None):
        loss = float(logs["loss"])
        self._sum = SMOOTHING * self._sum + (1 - SMOOTHING) * loss
        self._weight = SMOOTHING * self._weight + 1 - SMOOTHING
        smoothed = self._sum / self._weight
        first = self.losses[0] if self.losses else loss
        if not math.isfinite(loss) or smoothed > DIVERGED * first:
            # By the updates before: this loss is of what they have made.
            self.diverges = self.rates[-1] if self.rates else self._rate
            self.model.stop_training = True
            return
        self.rates.append(self._rate)
        self.losses.append(loss)
        self.smoothed.append(smoothed)
