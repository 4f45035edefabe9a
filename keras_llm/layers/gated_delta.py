"""A matrix that is corrected, and forgets. Knows nothing of blocks."""

import keras
import numpy as np
from keras import ops

from keras_llm.layers.linear_recurrence import lower_triangle
from keras_llm.layers.matrix_memory import MatrixMemory
from keras_llm.layers.rows import length_of, on_rows
from keras_llm.registration import register

TAPS = 4  # positions that the convolution sees


@register
class GatedDeltaNet(MatrixMemory):
    """`S = a S (I - b k k') + b v k'`, read by `S q`.

    What the matrix says of a key is replaced, to the share `b`, by the value
    that comes with it; all else fades by `a` (Yang et al. 2024, Gated Delta
    Networks, https://arxiv.org/abs/2412.06464). A short convolution comes
    before, as there. Within a chunk, corrections are solved for at once (its
    section 3.3).

    Args:
        hidden_dim, num_heads, head_dim, epsilon: see `MatrixMemory`.
        kernel_initializer, output_initializer: see there.
        **kwargs: forwarded to `keras.layers.Layer`.

    Example:
        >>> GatedDeltaNet(8, num_heads=2)(keras.ops.ones((2, 5, 8))).shape
        (2, 5, 8)
    """

    gate_activation = staticmethod(ops.silu)

    def build(self, input_shape):
        super().build(input_shape)
        width = 3 * self.num_heads * self.head_dim
        self.convolution = self.add_weight(
            name="convolution",
            shape=(TAPS, width),
            initializer=keras.initializers.RandomUniform(
                -(TAPS**-0.5), TAPS**-0.5
            ),
        )
        # From heads that remember long to heads that forget fast.
        heads = self.num_heads
        self.log_rate = self.add_weight(
            name="log_rate",
            shape=(heads,),
            initializer=keras.initializers.Constant(
                np.log(np.linspace(1, 16, heads))
            ),
        )

    def gate_bias(self):
        remembered = np.log(np.expm1(np.geomspace(1e-3, 0.1, self.num_heads)))
        return np.concatenate([np.zeros(self.num_heads), remembered])

    def initial_cache(self, batch_size, max_length=None, dtype=None):
        """What the convolution looks back on, and the matrices."""
        width = 3 * self.num_heads * self.head_dim
        window = ops.zeros((batch_size, TAPS - 1, width), "float32")
        return (window, *self.initial_states(batch_size))

    def initial_states(self, batch_size):
        size = self.head_dim
        return [ops.zeros((batch_size, self.num_heads, size, size), "float32")]

    def project(self, x, padding_mask, cache):
        window, *states = cache
        layers = self.query, self.key, self.value
        projected = ops.concatenate(
            [on_rows(layer, x) for layer in layers], axis=-1
        )
        mixed, window = self._convolved(projected, padding_mask, window)
        query, key, value = map(self.in_heads, ops.split(mixed, 3, axis=-1))
        query = _unit(query) * self.head_dim**-0.5
        correction, decay = self.head_gates(x)
        correction = ops.sigmoid(correction)
        decay = -ops.exp(ops.cast(self.log_rate, "float32")) * ops.softplus(
            decay
        )
        if padding_mask is not None:
            real = ops.cast(padding_mask, "float32")[..., None]
            correction, decay = correction * real, decay * real
        inputs = [query, _unit(key), value, correction, decay]
        return inputs, (window,), states

    def _convolved(self, x, padding_mask, window):
        """Each channel's last `TAPS` positions weighed, and the new window."""
        length = length_of(x)
        x = ops.concatenate([window, ops.cast(x, "float32")], axis=1)
        weights = ops.cast(self.convolution, "float32")
        y = sum(x[:, tap : tap + length] * weights[tap] for tap in range(TAPS))
        if padding_mask is None:
            window = x[:, length:]
        else:
            count = ops.sum(ops.cast(padding_mask, "int32"), axis=1)
            places = count[:, None] + ops.arange(TAPS - 1, dtype="int32")[None]
            window = ops.take_along_axis(x, places[..., None], axis=1)
        # Its length is known, also where that of `x` is not.
        return ops.silu(y), ops.reshape(window, (-1, TAPS - 1, x.shape[-1]))

    def summarize(self, query, key, value, correction, decay):
        size = query.shape[-2]
        decay = ops.cumsum(decay, axis=-1)
        fading = _fading(decay)
        correction = correction[..., None]
        right = [value, key * ops.exp(decay)[..., None]]
        right = ops.concatenate(right, axis=-1) * correction
        if size > 1:
            overlap = key * correction @ ops.swapaxes(key, -1, -2) * fading
            overlap = ops.where(lower_triangle(size, -1), overlap, 0.0)
            left = overlap + ops.eye(size)
            right = ops.solve_triangular(left, right, lower=True)
        new, seen = ops.split(right, 2, axis=-1)
        inside = query @ ops.swapaxes(key, -1, -2) * fading
        query = query * ops.exp(decay)[..., None]
        last = decay[..., -1:]
        key = key * ops.exp(last - decay)[..., None]
        summary = key, new, seen, ops.exp(last)[..., None]
        return summary, (query, inside, new, seen)

    def advance(self, states, summary):
        [matrix], (key, new, seen, kept) = states, summary
        new = new - seen @ matrix
        return [kept * matrix + ops.swapaxes(key, -1, -2) @ new]

    def read(self, begins, query, inside, new, seen):
        [matrix] = begins
        return query @ matrix + inside @ (new - seen @ matrix)


def _fading(decay):
    """What is left at a row's position of a column's, if that is not later."""
    later = decay[..., :, None] - decay[..., None, :]
    return ops.exp(ops.where(lower_triangle(decay.shape[-1]), later, -1e9))


def _unit(x):
    """Vectors of length one."""
    return x * ops.rsqrt(ops.sum(x * x, axis=-1, keepdims=True) + 1e-6)
