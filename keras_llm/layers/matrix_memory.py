"""What recurrences with a matrix as their state have alike."""

import keras
from keras import ops

from keras_llm.errors import InputError
from keras_llm.layers.linear_recurrence import LinearRecurrence
from keras_llm.layers.rows import length_of, on_rows


class MatrixMemory(LinearRecurrence):
    """Keys and values are added to a matrix, which queries read.

    Each head has its own; what it reads is normalised and gated.

    Args:
        hidden_dim: int. Width of input and output.
        num_heads: int. How many matrices.
        head_dim: int. Width of each query, key and value,
            `hidden_dim / num_heads` if omitted.
        epsilon: float. Added to the variance of what is read.
        kernel_initializer: of projections.
        output_initializer: of the last projection.
        **kwargs: forwarded to `keras.layers.Layer`.

    Raises:
        InputError: `hidden_dim` is no multiple of `num_heads`.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_heads: int = 1,
        head_dim: int | None = None,
        epsilon: float = 1e-5,
        kernel_initializer="glorot_uniform",
        output_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(hidden_dim, **kwargs)
        if head_dim is None and hidden_dim % num_heads:
            raise InputError(
                "hidden_dim must be a multiple of num_heads. "
                f"Received: hidden_dim {hidden_dim}, num_heads {num_heads}"
            )
        self.num_heads = num_heads
        self.head_dim = head_dim or hidden_dim // num_heads
        self.epsilon = epsilon
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.output_initializer = keras.initializers.get(output_initializer)
        inner = self.num_heads * self.head_dim
        for name in ("query", "key", "value", "output_gate"):
            setattr(self, name, self._dense(inner, name))
        self.gates = keras.layers.Dense(
            2 * num_heads,
            kernel_initializer=self.kernel_initializer,
            bias_initializer=keras.initializers.Constant(self.gate_bias()),
            dtype=self.dtype_policy,
            name="gates",
        )
        self.memory_output = keras.layers.Dense(
            hidden_dim,
            use_bias=False,
            kernel_initializer=self.output_initializer,
            dtype=self.dtype_policy,
            name="memory_output",
        )
        self.memory_norm = keras.layers.RMSNormalization(
            epsilon=epsilon, dtype=self.dtype_policy, name="memory_norm"
        )

    def gate_bias(self):
        """What the gates are at first: `(2 * num_heads,)`."""
        raise NotImplementedError

    def _dense(self, units: int, name: str):
        return keras.layers.Dense(
            units,
            use_bias=False,
            kernel_initializer=self.kernel_initializer,
            dtype=self.dtype_policy,
            name=name,
        )

    def build(self, input_shape):
        inner = self.num_heads * self.head_dim
        for name in ("query", "key", "value", "output_gate", "gates"):
            getattr(self, name).build(input_shape)
        self.memory_norm.build((None, None, None, self.head_dim))
        self.memory_output.build((None, None, inner))
        self.built = True

    def in_heads(self, x):
        """`(batch, length, heads * width)` to `(batch, length, heads, ...)`.

        In float32, as the states are.
        """
        width = x.shape[-1] // self.num_heads
        x = ops.reshape(x, (-1, length_of(x), self.num_heads, width))
        return ops.cast(x, "float32")

    def head_gates(self, x):
        """Two float32 tensors `(batch, length, heads)`."""
        gates = ops.cast(on_rows(self.gates, x), "float32")
        return ops.split(gates, 2, axis=-1)

    def output(self, y, x):
        y = self.memory_norm(ops.cast(y, self.compute_dtype))
        shape = (-1, length_of(x), self.num_heads * self.head_dim)
        gate = self.gate_activation(on_rows(self.output_gate, x))
        return on_rows(self.memory_output, ops.reshape(y, shape) * gate)

    def get_config(self):
        return super().get_config() | {
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "epsilon": self.epsilon,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "output_initializer": keras.initializers.serialize(
                self.output_initializer
            ),
        }
