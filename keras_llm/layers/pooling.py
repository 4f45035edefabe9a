"""One vector for a whole sequence."""

import keras
from keras import ops

from keras_llm.errors import InputError
from keras_llm.registration import register

MODES = ("last", "first", "mean")


@register
class SequencePooling(keras.layers.Layer):
    """Takes one position of each row, or the mean of all.

    Args:
        mode: str. `"last"`, the last position that is no padding, where a
            causal model has read all; `"first"`; or `"mean"` of all positions
            that are no padding.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        x: float tensor `(batch, length, hidden_dim)`.
        padding_mask: int32 or bool `(batch, length)`, 0 where padded, at the
            right.

    Returns:
        float tensor `(batch, hidden_dim)`; zeros for a row of padding alone.

    Raises:
        InputError: Another mode.

    Example:
        >>> mask = keras.ops.ones((2, 5), "int32")
        >>> SequencePooling("mean")(keras.ops.ones((2, 5, 8)), mask).shape
        (2, 8)
    """

    def __init__(self, mode: str, **kwargs):
        super().__init__(**kwargs)
        if mode not in MODES:
            raise InputError(
                f"pooling must be one of {', '.join(MODES)}. Received: {mode!r}"
            )
        self.mode = mode

    def call(self, x, padding_mask):
        mask = ops.cast(padding_mask, x.dtype)
        if self.mode == "mean":
            count = ops.maximum(ops.sum(mask, axis=1, keepdims=True), 1)
            return ops.sum(x * mask[:, :, None], axis=1) / count
        if self.mode == "first":
            return x[:, 0] * mask[:, :1]
        following = ops.pad(mask[:, 1:], [[0, 0], [0, 1]])
        return ops.sum(x * (mask * (1 - following))[:, :, None], axis=1)

    def compute_output_shape(self, x_shape, padding_mask_shape=None):
        return (x_shape[0], x_shape[-1])

    def get_config(self):
        return super().get_config() | {"mode": self.mode}
