"""Who else is told of the validations of a run, and may end it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import keras

Watcher = Callable[[int, float], None]
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Within, each validation of a training run is told, once it is saved.

    Args:
        watcher: Takes the step and the validation loss. What it raises ends
            the run, which can go on from there.
    """
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


class Watch(keras.callbacks.Callback):
    """Tells the watcher, if there is one; comes after the checkpoint.

    Args:
        clock: Knows the step.
    """

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def on_epoch_end(self, epoch, logs=None):
        watcher = _watcher.get()
        if watcher is not None and "val_loss" in logs:
            watcher(self.clock.step, float(logs["val_loss"]))
