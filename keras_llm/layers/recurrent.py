"""GRU, LSTM and plain recurrence over positions, with a state as the cache."""

import keras
from keras import ops

from keras_llm.errors import InputError
from keras_llm.layers.over_time import lean_over_time, over_time
from keras_llm.layers.recurrent_cells import CELLS
from keras_llm.layers.rows import on_rows
from keras_llm.registration import register


@register
class RecurrentLayer(keras.layers.Layer):
    """Carries a state from position to position.

    Args:
        hidden_dim: int. Width of output and states.
        cell_type: str. `"gru"`, `"lstm"` or `"rnn"`.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        x: float tensor `(batch, length, input_dim)`.
        padding_mask: bool `(batch, length)`. Where `False`, the state does
            not advance.
        cache: states, as `initial_cache` makes them.
        cache_update_index: ignored, for a state has no positions.
        training: bool.

    Returns:
        float tensor `(batch, length, hidden_dim)`; with a cache, that and the
        updated states.

    Raises:
        InputError: an unknown cell type.

    Example:
        >>> RecurrentLayer(8, "gru")(keras.ops.ones((2, 5, 8))).shape
        (2, 5, 8)
    """

    def __init__(self, hidden_dim: int, cell_type: str = "gru", **kwargs):
        super().__init__(**kwargs)
        if cell_type not in CELLS:
            raise InputError(
                f"cell_type must be one of {', '.join(CELLS)}. "
                f"Received: {cell_type!r}"
            )
        self.hidden_dim = hidden_dim
        self.cell_type = cell_type
        self.cell = CELLS[cell_type](
            hidden_dim, dtype=self.dtype_policy, name="cell"
        )
        self.input_projection = keras.layers.Dense(
            self.cell.num_gates * hidden_dim,
            bias_initializer=_remember_at_first(cell_type, hidden_dim),
            dtype=self.dtype_policy,
            name="input_projection",
        )

    def build(self, input_shape):
        self.input_projection.build(input_shape)
        self.cell.build((None, self.input_projection.units))
        self.built = True

    def call(
        self,
        x,
        padding_mask=None,
        cache=None,
        cache_update_index=None,
        training=None,
    ):
        inputs = on_rows(self.input_projection, x)  # gates side by side
        states = cache
        if cache is None:
            states = self.initial_cache(ops.shape(x)[0])
        if cache is not None and x.shape[1] == 1 and padding_mask is None:
            output, states = self.cell(inputs[:, 0], list(states))
            return output[:, None], tuple(states)
        is_real = None
        if padding_mask is not None:
            is_real = ops.swapaxes(ops.cast(padding_mask, "bool"), 0, 1)
        run = lean_over_time if training else over_time
        after = run(self.cell, ops.swapaxes(inputs, 0, 1), states, is_real)
        output = ops.swapaxes(after[0], 0, 1)
        if cache is None:
            return output
        return output, tuple(each[-1] for each in after)

    def initial_cache(self, batch_size, max_length=None, dtype=None):
        """Zero states, each `(batch, hidden_dim)`."""
        shape = (batch_size, self.hidden_dim)
        dtype = dtype or self.compute_dtype
        return tuple(ops.zeros(shape, dtype) for _ in self.cell.state_size)

    def compute_output_shape(self, input_shape, **kwargs):
        return (*input_shape[:-1], self.hidden_dim)

    def get_config(self):
        return super().get_config() | {
            "hidden_dim": self.hidden_dim,
            "cell_type": self.cell_type,
        }


def _remember_at_first(cell_type, hidden_dim):
    """Zero biases, but one for an LSTM's forget gate.

    Jozefowicz et al. 2015, https://proceedings.mlr.press/v37/jozefowicz15.html
    """
    if cell_type != "lstm":
        return "zeros"

    def initializer(shape, dtype=None):
        gates = [0.0, 1.0, 0.0, 0.0]
        return ops.repeat(ops.convert_to_tensor(gates, dtype), hidden_dim)

    return initializer
