"""Learning rates over a run, counted in optimizer updates."""

import math

import keras
from keras import ops

from keras_llm.registration import register


@register
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up, then one of four shapes.

    `"cosine"` and `"linear"` fall from the end of the warm-up to the last
    update, `"warmup_stable_decay"` stays at the peak and falls linearly over
    the last `decay_share` (Hu et al. 2024, https://arxiv.org/abs/2404.06395),
    `"constant"` stays.

    Args:
        peak: float. Learning rate at the end of the warm-up.
        steps: int. Optimizer updates in all.
        warmup_steps: int. Updates from zero to the peak.
        shape: str. `"cosine"`, `"linear"`, `"warmup_stable_decay"` or
            `"constant"`.
        decay_share: float in (0, 1]. See above.
        final_share: float in [0, 1]. Learning rate at the end, as a share of
            the peak.
        gradient_accumulation_steps: int. Batches an update. Keras counts
            batches; a schedule that took its count would pass too soon.

    Call arguments:
        step: int scalar, batches seen.

    Returns:
        float32 scalar.
    """

    def __init__(
        self,
        peak: float,
        steps: int,
        warmup_steps: int = 0,
        shape: str = "cosine",
        decay_share: float = 0.5,
        final_share: float = 0.0,
        gradient_accumulation_steps: int = 1,
    ):
        self.peak = peak
        self.steps = steps
        self.warmup_steps = warmup_steps
        self.shape = shape
        self.decay_share = decay_share
        self.final_share = final_share
        self.gradient_accumulation_steps = gradient_accumulation_steps

    def __call__(self, step):
        update = ops.floor_divide(
            ops.cast(step, "int32"), self.gradient_accumulation_steps
        )
        update = ops.cast(update, "float32")
        # The first update is not wasted on a rate of zero.
        warmup = ops.minimum(1.0, (update + 1) / max(1, self.warmup_steps))
        return self.peak * warmup * self._decay(update)

    def _decay(self, update):
        if self.shape == "constant":
            return 1.0
        begin = self.warmup_steps
        if self.shape == "warmup_stable_decay":
            begin = max(begin, round(self.steps * (1 - self.decay_share)))
        progress = (update - begin) / max(1, self.steps - begin)
        progress = ops.clip(progress, 0.0, 1.0)
        if self.shape == "cosine":
            progress = (1 - ops.cos(math.pi * progress)) / 2
        return 1 - progress * (1 - self.final_share)

    def get_config(self):
        return dict(vars(self))
