"""Position-wise feed-forward layer. Knows nothing of attention or of time."""

import math

import keras
from keras import ops

from keras_llm.errors import InputError
from keras_llm.layers.rows import on_rows
from keras_llm.registration import register

# `gelu(x) = x sigmoid(x (LINEAR + CUBIC x^2))`, in the tanh form.
LINEAR = 2 * math.sqrt(2 / math.pi)
CUBIC = 0.044715 * LINEAR


def _share(x):
    return ops.sigmoid(x * (LINEAR + CUBIC * (x * x)))


@ops.custom_gradient
def lean_gelu(x):
    """GELU in the tanh form, with a gradient that keeps little for itself.

    Of all intermediate values only the sigmoid is kept until the gradient is
    computed, where Keras on TensorFlow keeps four.
    """
    share = _share(x)
    y = x * share

    def gradient(*args, upstream=None):
        if upstream is None:  # PyTorch gives `x` first
            [upstream] = args
        slope = LINEAR + 3 * CUBIC * (x * x)
        return upstream * (share + (y - y * share) * slope)

    return y, gradient


NONLINEARITIES = {
    "gelu": lambda x: x * _share(x),
    "gelu_exact": lambda x: ops.gelu(x, approximate=False),
    "relu": ops.relu,
    "relu_squared": lambda x: ops.square(ops.relu(x)),
    "silu": lambda x: x * ops.sigmoid(x),
}
# With gradients of their own, which spare memory. In training only: a graph
# with one of them is kept by TensorFlow as long as the process runs.
LEAN = {"gelu": lean_gelu, "silu": ops.silu}
ACTIVATIONS = (*NONLINEARITIES, "swiglu")


@register
class FeedForward(keras.layers.Layer):
    """Two projections with a nonlinearity, applied to every position alike.

    With `activation="swiglu"` the first projection is doubled and one half
    gates the other (Shazeer 2020, https://arxiv.org/abs/2002.05202);
    `"relu_squared"` is So et al. 2021, https://arxiv.org/abs/2109.08668;
    `"gelu"` is the tanh form of GPT-2, `"gelu_exact"` the one of Hendrycks
    and Gimpel 2016, https://arxiv.org/abs/1606.08415.

    Args:
        hidden_dim: int. Width of input and output.
        intermediate_dim: int. Width between the projections.
        activation: str. `"gelu"`, `"gelu_exact"`, `"relu"`, `"relu_squared"`,
            `"silu"` or `"swiglu"`.
        use_bias: bool. Whether the projections have a bias.
        kernel_initializer: of the first projection.
        output_initializer: of the second projection.
        **kwargs: forwarded to `keras.layers.Layer`.

    Call arguments:
        x: float tensor `(batch, length, hidden_dim)`.
        training: bool. Whether memory is spared for a gradient.

    Returns:
        float tensor `(batch, length, hidden_dim)`.

    Raises:
        InputError: an unknown activation.

    Example:
        >>> FeedForward(8, 32)(keras.ops.ones((2, 5, 8))).shape
        (2, 5, 8)
    """

    def __init__(
        self,
        hidden_dim: int,
        intermediate_dim: int,
        activation: str = "gelu",
        use_bias: bool = True,
        kernel_initializer="glorot_uniform",
        output_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if activation not in ACTIVATIONS:
            raise InputError(
                f"activation must be one of {', '.join(ACTIVATIONS)}. "
                f"Received: {activation!r}"
            )
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.activation = activation
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)

        def projection(name, width, initializer):
            return keras.layers.Dense(
                width,
                use_bias=use_bias,
                kernel_initializer=initializer.clone(),
                dtype=self.dtype_policy,
                name=name,
            )

        kernel = self.kernel_initializer
        self.intermediate = projection("intermediate", intermediate_dim, kernel)
        if activation == "swiglu":
            self.gate = projection("gate", intermediate_dim, kernel)
        self.feed_forward_output = projection(
            "feed_forward_output", hidden_dim, self.output_initializer
        )

    def build(self, input_shape):
        self.intermediate.build((None, None, self.hidden_dim))
        if self.activation == "swiglu":
            self.gate.build((None, None, self.hidden_dim))
        self.feed_forward_output.build((None, None, self.intermediate_dim))
        self.built = True

    def call(self, x, training=False):
        return on_rows(self._transform, x, training=training)

    def _transform(self, x, training):
        hidden = self.intermediate(x)  # (rows, intermediate)
        known = NONLINEARITIES | LEAN if training else NONLINEARITIES
        if self.activation == "swiglu":
            hidden = known["silu"](self.gate(x)) * hidden
        else:
            hidden = known[self.activation](hidden)
        return self.feed_forward_output(hidden)

    def get_config(self):
        return super().get_config() | {
            "hidden_dim": self.hidden_dim,
            "intermediate_dim": self.intermediate_dim,
            "activation": self.activation,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "output_initializer": keras.initializers.serialize(
                self.output_initializer
            ),
        }
