"""The progress bar of a training run."""

import keras
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from keras_llm.training.callbacks import Clock


class ProgressBar(keras.callbacks.Callback):
    """Shows steps, loss, tokens per second and time left.

    Where the output is no terminal, one line a validation instead.

    Args:
        clock: Knows the step.
        console: Where to draw.
    """

    def __init__(self, clock: Clock, console: Console):
        super().__init__()
        self.clock = clock
        self.console = console
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
            TextColumn("{task.fields[validation]}"),
            TextColumn("{task.fields[speed]:,.0f} tokens/s"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(
            "",
            total=clock.settings.steps,
            completed=clock.step,
            loss=float("nan"),
            validation="",
            speed=0.0,
        )

    def __enter__(self):
        self._bar.start()
        return self

    def __exit__(self, *error):
        self._bar.stop()

    def on_train_batch_end(self, batch, logs=None):
        self._bar.update(self._task, completed=self.clock.step)

    def on_epoch_end(self, epoch, logs=None):
        speed = self.clock.tokens_per_second
        self._bar.update(self._task, loss=logs["loss"], speed=speed)
        if "val_loss" in logs:
            validation = f"validation {logs['val_loss']:.3f}"
            self._bar.update(self._task, validation=validation)
            if not self.console.is_terminal:
                self.console.print(
                    f"step {self.clock.step}/{self.clock.settings.steps}  "
                    f"loss {logs['loss']:.3f}  {validation}  "
                    f"{speed:,.0f} tokens/s"
                )
