"""What pretraining minimises."""

import keras
from keras import ops

from keras_llm.layers.cross_entropy import lean_cross_entropy
from keras_llm.registration import register


@register
class NextTokenLoss(keras.losses.Loss):
    """Nats per token that counts, from logits.

    Args:
        reduction: str. As in `keras.losses.Loss`.
        **kwargs: forwarded to `keras.losses.Loss`.

    Call arguments:
        y_true: int tensor of labels `(batch, length)`.
        y_pred: float tensor of logits `(batch, length, vocabulary_size)`.
        sample_weight: float tensor `(batch, length)`; 0 where a label does
            not count.

    Returns:
        float32 scalar, or `(batch, length)` without reduction.
    """

    def __init__(self, reduction="mean_with_sample_weight", **kwargs):
        super().__init__(reduction=reduction, **kwargs)

    def call(self, y_true, y_pred):
        return lean_cross_entropy(ops.cast(y_true, "int32"), y_pred)
