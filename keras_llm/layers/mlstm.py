"""An LSTM whose memory is a matrix. Knows nothing of blocks."""

import numpy as np
from keras import ops

from keras_llm.layers.linear_recurrence import lower_triangle
from keras_llm.layers.matrix_memory import MatrixMemory
from keras_llm.layers.rows import on_rows
from keras_llm.registration import register

SOFT_CAP = 15.0
NEVER = -1e30


@register
class MLSTM(MatrixMemory):
    """`C = f C + i v k'`, `n = f n + i k`, read by `C q / max(|n q|, 1)`.

    The input gate is an exponential, the forget gate a sigmoid; both are kept
    in range by the greatest of their logarithms so far (Beck et al. 2024,
    xLSTM, https://arxiv.org/abs/2405.04517; gates capped as in
    https://arxiv.org/abs/2503.13427).

    Args:
        hidden_dim, num_heads, head_dim, epsilon: see `MatrixMemory`.
        kernel_initializer, output_initializer: see there.
        **kwargs: forwarded to `keras.layers.Layer`.

    Example:
        >>> MLSTM(8, num_heads=2)(keras.ops.ones((2, 5, 8))).shape
        (2, 5, 8)
    """

    gate_activation = staticmethod(ops.sigmoid)

    def gate_bias(self):
        remembered = np.linspace(3, 6, self.num_heads)
        return np.concatenate([np.zeros(self.num_heads), remembered])

    def initial_states(self, batch_size):
        """Matrices, with the normaliser as last column, and their scale."""
        shape = (batch_size, self.num_heads, self.head_dim, self.head_dim + 1)
        return [
            ops.zeros(shape, "float32"),
            ops.zeros((batch_size, self.num_heads), "float32"),
        ]

    def project(self, x, padding_mask, cache):
        layers = self.query, self.key, self.value
        query, key, value = (
            self.in_heads(on_rows(layer, x)) for layer in layers
        )
        query = query * self.head_dim**-0.5
        value = ops.concatenate([value, ops.ones_like(value[..., :1])], -1)
        gates = self.head_gates(x)
        gate, forget = (SOFT_CAP * ops.tanh(each / SOFT_CAP) for each in gates)
        # Positions that are filled up with zeros are not to be read either.
        is_real = ops.ones_like(gate)
        if padding_mask is not None:
            is_real *= ops.cast(padding_mask, "float32")[..., None]
        forget = ops.log_sigmoid(forget) * is_real
        return [query, key, value, gate, forget, is_real], (), cache

    def summarize(self, query, key, value, gate, forget, is_real):
        forget = ops.cumsum(forget, axis=-1)
        gate = ops.where(is_real > 0, gate, NEVER)
        last = forget[..., -1:]
        summary = key, value, last - forget + gate, last[..., 0]
        overlap = query @ ops.swapaxes(key, -1, -2)
        return summary, (query, overlap, value, gate, forget)

    def advance(self, states, summary):
        [matrix, scale], (key, value, gate, forget) = states, summary
        before = forget + scale
        scale = ops.maximum(before, ops.max(gate, axis=-1))
        kept = ops.exp(before - scale)[..., None, None]
        key = key * ops.exp(gate - scale[..., None])[..., None]
        return [kept * matrix + ops.swapaxes(key, -1, -2) @ value, scale]

    def read(self, begins, query, overlap, value, gate, forget):
        [matrix, scale] = begins
        weight = forget[..., :, None] - forget[..., None, :]
        weight += gate[..., None, :]
        weight = ops.where(lower_triangle(gate.shape[-1]), weight, NEVER)
        before = forget + scale[..., None]
        scale = ops.maximum(before, ops.max(weight, axis=-1))
        weight = ops.exp(weight - scale[..., None])
        query = query * ops.exp(before - scale)[..., None]
        y = query @ matrix + overlap * weight @ value
        least = ops.exp(-scale)[..., None]
        return y[..., :-1] / ops.maximum(ops.abs(y[..., -1:]), least)
