"""What a GRU, an LSTM and a plain recurrence do at one position."""

import keras
from keras import ops

from keras_llm.registration import register


@register
class Orthogonal(keras.initializers.Orthogonal):
    """Keras's, of any dtype: the decomposition it takes knows no bfloat16."""

    def __call__(self, shape, dtype=None):
        kernel = super().__call__(shape, dtype="float32")
        return ops.cast(kernel, dtype or keras.config.floatx())


class RecurrentCell(keras.layers.Layer):
    """One time step of a recurrence whose input is already projected.

    Projecting all inputs at once, before the loop, leaves one matrix product
    a step. All else is of one unit each, so that what its gradient needs is
    computed of all steps at once. Subclasses say how many gates and states
    they have, `gates`, `advance`, `slopes` and `back`.

    Args:
        units: int. Width of output and states.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        inputs: float tensor `(batch, num_gates * units)`.
        states: list of `num_states` float tensors `(batch, units)`.

    Returns:
        float tensor `(batch, units)` and the list of new states.
    """

    num_gates = 1  # that are projected
    num_kept = 1  # values that `gates` returns
    num_states = 1
    recurrent_bias = False

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.output_size = units
        self.state_size = [units] * self.num_states
        self.recurrent = keras.layers.Dense(
            self.num_gates * units,
            use_bias=self.recurrent_bias,
            kernel_initializer=Orthogonal(),
            dtype=self.dtype_policy,
            name="recurrent",
        )

    def build(self, input_shape):
        self.recurrent.build((None, self.units))
        self.built = True

    def call(self, inputs, states):
        gates = self.gates(inputs, self.recurrent(states[0]))
        states = self.advance(gates, states)
        return states[0], states

    def gates(self, inputs, recurrent) -> list:
        """Values of the gates, and what else `slopes` needs.

        Args:
            inputs: `(batch, num_gates * units)`, projected.
            recurrent: of the same shape, the first state projected.

        Returns:
            list of `num_kept` tensors `(batch, units)`.
        """
        raise NotImplementedError

    def advance(self, gates, states) -> list:
        """The new states."""
        raise NotImplementedError

    def slopes(self, gates, states, new_states) -> list:
        """What `back` needs, of any number of steps: tensors `(..., units)`."""
        raise NotImplementedError

    def back(self, slopes, gradients):
        """Gradients of what the new states were made of.

        Args:
            slopes: list of tensors.
            gradients: of the new states, list of tensors `(..., units)`.

        Returns:
            that of `recurrent`, and a list of those of the states, by all
            ways but `recurrent`.
        """
        raise NotImplementedError

    def of_inputs(self, slopes, of_recurrent, gradients):
        """The gradient of the inputs: that of what they are added to."""
        return of_recurrent

    def get_config(self):
        return super().get_config() | {"units": self.units}


@register
class RNNCell(RecurrentCell):
    """`h = tanh(x + U h)` (Elman 1990)."""

    def gates(self, inputs, recurrent):
        return [ops.tanh(inputs + recurrent)]

    def advance(self, gates, states):
        return gates

    def slopes(self, gates, states, new_states):
        return [1 - ops.square(gates[0])]

    def back(self, slopes, gradients):
        return gradients[0] * slopes[0], [0]


@register
class GRUCell(RecurrentCell):
    """Update and reset gates (Cho et al. 2014, https://arxiv.org/abs/1406.1078).

    The reset gate is applied after the recurrent product, as in cuDNN,
    PyTorch and Keras's `reset_after=True`. Gate order: update, reset, new.
    """

    num_gates = 3
    num_kept = 4
    recurrent_bias = True

    def gates(self, inputs, recurrent):
        update_x, reset_x, new_x = ops.split(inputs, 3, axis=-1)
        update_h, reset_h, new_h = ops.split(recurrent, 3, axis=-1)
        update = ops.sigmoid(update_x + update_h)
        reset = ops.sigmoid(reset_x + reset_h)
        return [update, reset, ops.tanh(new_x + reset * new_h), new_h]

    def advance(self, gates, states):
        update, _, new, _ = gates
        return [update * states[0] + (1 - update) * new]

    def slopes(self, gates, states, new_states):
        update, reset, new, new_h = gates
        of_update = (states[0] - new) * update * (1 - update)
        of_new = (1 - update) * (1 - ops.square(new))
        of_reset = of_new * new_h * reset * (1 - reset)
        return [of_update, of_reset, of_new * reset, of_new, update]

    def back(self, slopes, gradients):
        [of_hidden] = gradients
        *of_gates, _, update = slopes
        of_gates = [of_hidden * each for each in of_gates]
        return ops.concatenate(of_gates, axis=-1), [of_hidden * update]

    def of_inputs(self, slopes, of_recurrent, gradients):
        of_summands = of_recurrent[..., : 2 * self.units]
        of_new = gradients[0] * slopes[3]
        return ops.concatenate([of_summands, of_new], axis=-1)


@register
class LSTMCell(RecurrentCell):
    """Input, forget and output gates (Hochreiter and Schmidhuber 1997).

    Gate order: input, forget, new, output.
    """

    num_gates = num_kept = 4
    num_states = 2

    def gates(self, inputs, recurrent):
        enter, forget, new, leave = ops.split(inputs + recurrent, 4, axis=-1)
        enter, forget, leave = map(ops.sigmoid, (enter, forget, leave))
        return [enter, forget, ops.tanh(new), leave]

    def advance(self, gates, states):
        enter, forget, new, leave = gates
        carry = forget * states[1] + enter * new
        return [leave * ops.tanh(carry), carry]

    def slopes(self, gates, states, new_states):
        enter, forget, new, leave = gates
        shown = ops.tanh(new_states[1])
        return [
            new * enter * (1 - enter),
            states[1] * forget * (1 - forget),
            enter * (1 - ops.square(new)),
            shown * leave * (1 - leave),
            leave * (1 - ops.square(shown)),
            forget,
        ]

    def back(self, slopes, gradients):
        *in_carry, in_hidden, of_shown, forget = slopes
        of_hidden, of_carry = gradients
        of_carry = of_carry + of_hidden * of_shown
        of_gates = [of_carry * each for each in in_carry]
        of_gates.append(of_hidden * in_hidden)
        return ops.concatenate(of_gates, axis=-1), [0, of_carry * forget]


CELLS = {"rnn": RNNCell, "gru": GRUCell, "lstm": LSTMCell}
