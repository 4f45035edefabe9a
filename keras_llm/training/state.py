"""What a checkpoint keeps beside variables: the state of each callback."""

from dataclasses import dataclass

from keras_llm.recipes.checks import check


@dataclass(frozen=True)
class ClockState:
    """Of `Clock`: batches, tokens and seconds of training so far."""

    batch: int
    tokens: int
    seconds: float

    def __post_init__(self) -> None:
        for name in ("batch", "tokens", "seconds"):
            value = getattr(self, name)
            check(value >= 0, name, "at least 0", value)


@dataclass(frozen=True)
class ValidationState:
    """Of `Validation`: the best so far, if any, and validations since."""

    best_step: int | None
    best_loss: float | None
    waited: int

    def __post_init__(self) -> None:
        are_both = (self.best_step is None) == (self.best_loss is None)
        expected = "there with best_step, and not without"
        check(are_both, "best_loss", expected, self.best_loss)
        check(self.waited >= 0, "waited", "at least 0", self.waited)


@dataclass(frozen=True)
class SamplesState:
    """Of `Samples`: how long their file is, in bytes."""

    bytes: int

    def __post_init__(self) -> None:
        check(self.bytes >= 0, "bytes", "at least 0", self.bytes)


@dataclass(frozen=True)
class RunState:
    """Of a whole run."""

    clock: ClockState
    validation: ValidationState | None = None
    samples: SamplesState | None = None
