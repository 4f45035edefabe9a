"""Recurrences that are linear in their state: a chunk of positions at once.

Within a chunk all positions are matrix products; only from chunk to chunk is
there a loop. So time grows with length, not with its square. Knows nothing of
what a state is.
"""

import math

import keras
import numpy as np
from keras import ops

from keras_llm.layers.rows import length_of

# Chunks that are computed without a loop, the most that XLA compiles on
# TensorFlow: not Keras' `scan`, whose steps it cannot count.
MOST_UNROLLED = 32


class LinearRecurrence(keras.layers.Layer):
    """Carries a state from chunk to chunk of positions.

    Subclasses say what a chunk does to it: `initial_states`, `project`,
    `summarize`, `advance`, `read` and `output`. Of what is in chunks, the axes
    are `(chunks, batch, heads, positions, ...)`, the first only if there may
    be several.

    Args:
        hidden_dim: int. Width of input and output.
        **kwargs: forwarded to `keras.layers.Layer`.

    Attributes:
        chunk: int. Positions of a chunk.
        max_unrolled_length: int. Positions that XLA compiles on TensorFlow.

    Call arguments:
        x: float tensor `(batch, length, hidden_dim)`.
        padding_mask: bool `(batch, length)`. Where `False`, the state does
            not advance.
        cache: states, as `initial_cache` makes them.
        cache_update_index: ignored, for a state has no positions.
        training: bool.

    Returns:
        float tensor `(batch, length, hidden_dim)`; with a cache, that and the
        updated states.
    """

    chunk = 64

    def __init__(self, hidden_dim: int, **kwargs):
        # States stay in float32 where all else is computed in bfloat16.
        super().__init__(autocast=False, **kwargs)
        self.hidden_dim = hidden_dim

    def call(
        self,
        x,
        padding_mask=None,
        cache=None,
        cache_update_index=None,
        training=None,
    ):
        order = None
        if padding_mask is not None:
            order = _real_first(padding_mask)
            x, padding_mask = _take(x, order), _take(padding_mask, order)
        states = cache
        if cache is None:
            states = self.initial_cache(ops.shape(x)[0])
        inputs, window, states = self.project(x, padding_mask, states)
        y, states = self._over_positions(x, inputs, list(states))
        y = self.output(y, x)
        if order is not None:
            y = _take(y, ops.argsort(order, axis=1))
        return y if cache is None else (y, (*window, *states))

    @property
    def max_unrolled_length(self) -> int:
        return MOST_UNROLLED * self.chunk

    def _over_positions(self, x, inputs, states):
        if x.shape[1] is not None and x.shape[1] <= self.chunk:
            inputs = [ops.swapaxes(each, 1, 2) for each in inputs]
            summary, inside = self.summarize(*inputs)
            y = ops.swapaxes(self.read(states, *inside), 1, 2)
            return y, self.advance(states, summary)
        inputs = [_chunked(each, self.chunk) for each in inputs]
        summary, inside = self.summarize(*inputs)
        begins, states = self._over_chunks(states, summary)
        return _joined(self.read(begins, *inside), length_of(x)), states

    def _over_chunks(self, states, summary):
        """The states that chunks begin with, and those after the last."""
        number = summary[0].shape[0]
        if number is not None and number <= MOST_UNROLLED:
            begins = []
            for index in range(number):
                begins.append(states)
                states = self.advance(states, [x[index] for x in summary])
            return [
                ops.stack(each) for each in zip(*begins, strict=True)
            ], states
        shapes = [(-1, *each.shape[2:]) for each in summary]
        widths = [math.prod(shape[2:]) for shape in shapes]

        def step(states, joined):
            parts = ops.split(joined, np.cumsum(widths)[:-1].tolist(), axis=-1)
            pairs = zip(parts, shapes, strict=True)
            summary = [ops.reshape(part, shape) for part, shape in pairs]
            return self.advance(states, summary), states

        # As one tensor: Keras 3.15 loops over several on TensorFlow only if
        # it knows how many chunks there are.
        flat = (*ops.shape(summary[0])[:2], summary[0].shape[2])
        joined = [
            ops.reshape(each, (*flat, width))
            for each, width in zip(summary, widths, strict=True)
        ]
        after, begins = ops.scan(step, states, ops.concatenate(joined, axis=-1))
        return begins, after

    def initial_cache(self, batch_size, max_length=None, dtype=None):
        """Zero states in float32: they add up over all that was read."""
        return tuple(self.initial_states(batch_size))

    def initial_states(self, batch_size) -> list:
        """What `advance` carries, before anything was read."""
        raise NotImplementedError

    def project(self, x, padding_mask, cache):
        """What a chunk needs of each position.

        A position of zeros must leave the states as they are, and padding,
        which comes last, must be such positions.

        Returns:
            list of float32 tensors `(batch, length, heads, ...)`; what the
            next cache has before its states; the states of this one.
        """
        raise NotImplementedError

    def summarize(self, *inputs):
        """What chunks do to states, and what `read` needs beside these.

        Returns:
            two tuples of tensors `(..., batch, heads, ...)`.
        """
        raise NotImplementedError

    def advance(self, states, summary):
        """The states after a chunk: a list of the same shapes."""
        raise NotImplementedError

    def read(self, begins, *inside):
        """What each position gives, from the states that chunks begin with.

        Returns:
            float32 tensor `(..., batch, heads, positions, width)`.
        """
        raise NotImplementedError

    def output(self, y, x):
        """`(batch, length, heads, width)` to the width of `x`."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape, **kwargs):
        return (*input_shape[:-1], self.hidden_dim)

    def get_config(self):
        return super().get_config() | {"hidden_dim": self.hidden_dim}


def _real_first(padding_mask):
    """int32 `(batch, length)`: real positions in their order, then others."""
    length = length_of(padding_mask)
    places = ops.arange(length, dtype="int32")[None]
    is_padding = 1 - ops.cast(ops.cast(padding_mask, "bool"), "int32")
    return ops.cast(ops.argsort(places + length * is_padding, axis=1), "int32")


def _take(x, order):
    index = order if len(x.shape) == 2 else order[..., None]
    return ops.take_along_axis(x, index, axis=1)


def _chunked(x, size: int):
    """`(batch, length, heads, ...)` to `(chunks, batch, heads, size, ...)`."""
    _, length, heads, *rest = x.shape
    if length is None or length % size:
        more = -length_of(x) % size
        x = ops.pad(x, [[0, 0], [0, more], [0, 0], *([[0, 0]] * len(rest))])
    chunks = -1 if length is None else -(-length // size)
    shape = (ops.shape(x)[0], chunks, size, heads, *rest)
    axes = (1, 0, 3, 2, *range(4, 4 + len(rest)))
    return ops.transpose(ops.reshape(x, shape), axes)


def _joined(y, length):
    """`(chunks, batch, heads, size, d)` to `(batch, length, heads, d)`."""
    chunks, _, heads, size, width = y.shape
    total = size * (ops.shape(y)[0] if chunks is None else chunks)
    y = ops.transpose(y, (1, 0, 3, 2, 4))
    return ops.reshape(y, (-1, total, heads, width))[:, :length]


def lower_triangle(size: int, offset: int = 0):
    """bool `(size, size)`: which columns are not after a row."""
    place = ops.arange(size, dtype="int32")
    return place[None] <= place[:, None] + offset
