"""A GRU whose gate looks at the input alone. Knows nothing of blocks."""

import keras
from keras import ops

from keras_llm.layers.linear_recurrence import LinearRecurrence
from keras_llm.layers.rows import on_rows
from keras_llm.registration import register


@register
class MinGRU(LinearRecurrence):
    """`h = (1 - z) h + z g(x W)`, with `z = sigmoid(x U)`.

    Neither gate nor candidate sees the state, so that all positions are
    computed in a logarithm of their number of steps (Feng et al. 2024,
    https://arxiv.org/abs/2410.01201, `g` as in its appendix B).

    Args:
        hidden_dim: int. Width of input, output and state.
        **kwargs: forwarded to `keras.layers.Layer`.

    Example:
        >>> MinGRU(8)(keras.ops.ones((2, 5, 8))).shape
        (2, 5, 8)
    """

    chunk = 16  # more cost more in it than they spare in the loop

    def __init__(self, hidden_dim: int, **kwargs):
        super().__init__(hidden_dim, **kwargs)
        self.input_projection = keras.layers.Dense(
            2 * hidden_dim, dtype=self.dtype_policy, name="input_projection"
        )

    def build(self, input_shape):
        self.input_projection.build(input_shape)
        self.built = True

    def initial_states(self, batch_size):
        return [ops.zeros((batch_size, 1, self.hidden_dim), "float32")]

    def project(self, x, padding_mask, cache):
        projected = on_rows(self.input_projection, x)
        projected = ops.cast(projected, "float32")
        gate, candidate = ops.split(projected, 2, axis=-1)
        gate = ops.sigmoid(gate)
        if padding_mask is not None:
            gate *= ops.cast(padding_mask, "float32")[..., None]
        candidate = ops.where(
            candidate >= 0, candidate + 0.5, ops.sigmoid(candidate)
        )
        # Not `1 - gate` later on: LiteRT's converter makes `gate - 1` of it,
        # where an axis was moved before and is cut after.
        inputs = [-gate, gate * candidate]
        return [each[:, :, None] for each in inputs], (), cache

    def summarize(self, forget, new):
        kept, new = _scanned(1 + forget, new)
        return (kept[..., -1, :], new[..., -1, :]), (kept, new)

    def advance(self, states, summary):
        [hidden], (kept, new) = states, summary
        return [kept * hidden + new]

    def read(self, begins, kept, new):
        [hidden] = begins
        return kept * ops.expand_dims(hidden, -2) + new

    def output(self, y, x):
        return ops.cast(y[:, :, 0], self.compute_dtype)


def _scanned(kept, new):
    """Of `h = kept h + new`: how much of the first state is left, and added.

    Doubles how far each position looks back (Hillis and Steele 1986).

    Args:
        kept, new: `(..., positions, width)`.
    """
    size, shift = kept.shape[-2], 1
    while shift < size:
        axes = [[0, 0]] * (len(kept.shape) - 2)
        before = [*axes, [shift, 0], [0, 0]]
        new = new + kept * ops.pad(new[..., :-shift, :], before)
        kept = kept * ops.pad(
            kept[..., :-shift, :], before, constant_values=1.0
        )
        shift *= 2
    return kept, new
