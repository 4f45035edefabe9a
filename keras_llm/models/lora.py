"""LoRA: thin factors beside the frozen kernels of Keras's projections.

Knows nothing of files or of choosing; see `adapters.py`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

import keras
from keras import ops

from keras_llm.layers.einsum import EinsumAxes


class Factored:
    """A projection with factors: `activation(x W + scale (x A) B + b)`.

    Keras adds the product of the factors to the kernel, and so computes a
    gradient of the kernel's size, and keeps a kernel more for it. Nor are the
    factors that it gives an `EinsumDense` those of the matrix of inputs by
    outputs, which is LoRA to everyone else
    (Hu et al. 2021, https://arxiv.org/abs/2106.09685).

    A layer becomes one in place: functions and models that hold it go on.

    Attributes:
        lora_kernel_a: float `(inputs, rank)`, uniform within `inputs ** -0.5`
            at first, as PEFT draws it.
        lora_kernel_b: float `(rank, outputs)`, zero at first.
    """

    def enable_lora(self, rank, lora_alpha=None):
        inputs, outputs = matrix_shape(self)
        self._tracker.unlock()  # as Keras's own `enable_lora` does
        self.lora_kernel_a = self.add_weight(
            name="lora_kernel_a",
            shape=(inputs, rank),
            initializer=keras.initializers.VarianceScaling(
                1 / 3, "fan_in", "uniform"
            ),
        )
        self.lora_kernel_b = self.add_weight(
            name="lora_kernel_b", shape=(rank, outputs), initializer="zeros"
        )
        self._tracker.lock()
        self.lora_enabled = True
        self.lora_rank = rank
        self.lora_alpha = rank if lora_alpha is None else lora_alpha

    def disable_lora(self):
        """Lets go of the factors."""
        # Functions that were traced before go on reading it.
        self.lora_kernel_b.assign(ops.zeros(self.lora_kernel_b.shape))
        for name in ("lora_kernel_a", "lora_kernel_b"):
            self._untrack_variable(getattr(self, name))
            # Keras's own collects garbage each time, for half a second.
            super(keras.layers.Layer, self).__delattr__(name)
        self.lora_enabled = False
        self.lora_rank = self.lora_alpha = None

    @property
    def kernel(self):
        """With the factors, for what is more than a call of the layer."""
        if not self.lora_enabled:
            return self._kernel
        return self._kernel + lora_update(self)

    def call(self, inputs, training=None):
        if not self.lora_enabled:
            return super().call(inputs)
        x = self._product(inputs) + self._product_of_factors(inputs)
        if self.bias is not None:
            x = x + self.bias
        return x if self.activation is None else self.activation(x)


class FactoredDense(Factored, keras.layers.Dense):
    """A `Dense` with factors."""

    def _product(self, inputs):
        return ops.matmul(inputs, self._kernel)

    def _product_of_factors(self, inputs):
        x = ops.matmul(inputs, self.lora_kernel_a) * lora_scale(self)
        return ops.matmul(x, self.lora_kernel_b)


class FactoredEinsumDense(Factored, keras.layers.EinsumDense):
    """An `EinsumDense` with factors."""

    def _product(self, inputs):
        return ops.einsum(self.equation, inputs, self._kernel)

    def _product_of_factors(self, inputs):
        axes = EinsumAxes(self.equation)
        first, second = axes.factored()
        shapes = axes.factor_shapes(self._kernel.shape, self.lora_rank)
        a = ops.reshape(self.lora_kernel_a, shapes[0])
        b = ops.reshape(self.lora_kernel_b, shapes[1])
        x = ops.einsum(first, inputs, a) * lora_scale(self)
        return ops.einsum(second, x, b)


FACTORED = {
    keras.layers.Dense: FactoredDense,
    keras.layers.EinsumDense: FactoredEinsumDense,
}
PLAIN = {factored: plain for plain, factored in FACTORED.items()}
Projection = keras.layers.Dense | keras.layers.EinsumDense


def projections(model: keras.Model) -> dict[str, Projection]:
    """The layers that can have factors, by the paths of their kernels."""
    return {
        layer._kernel.path: layer
        for layer in model._flatten_layers()
        if type(layer) in FACTORED | PLAIN
        and getattr(layer, "_kernel", None) is not None
        and _is_matrix(layer)
    }


def adapted_layers(model: keras.Model) -> dict[str, Projection]:
    """The layers that have factors, ours or Keras's own; likewise."""
    return {
        layer._kernel.path: layer
        for layer in model._flatten_layers()
        if getattr(layer, "lora_enabled", False) and hasattr(layer, "_kernel")
    }


def enable_factors(layer: Projection, rank: int, alpha: float) -> None:
    """Puts factors beside a kernel, which is frozen or not as it was."""
    layer.__class__ = FACTORED[type(layer)]
    layer.enable_lora(rank, alpha)


def merge_factors(layer: Projection) -> None:
    """Adds the factors of a layer to its kernel, for good."""
    layer._kernel.assign(layer._kernel + lora_update(layer))
    if isinstance(layer, Factored):
        layer.disable_lora()
        layer.__class__ = PLAIN[type(layer)]
    else:
        layer.lora_kernel_b.assign(ops.zeros(layer.lora_kernel_b.shape))


def matrix_shape(layer: Projection) -> tuple[int, int]:
    """Inputs and outputs of a projection, all axes of each together."""
    shape = tuple(layer._kernel.shape)
    if isinstance(layer, keras.layers.Dense):
        return shape
    return EinsumAxes(layer.equation).matrix_shape(shape)


def as_kernel(layer: Projection, matrix):
    """A matrix `(inputs, outputs)` in the shape of a layer's kernel."""
    if isinstance(layer, keras.layers.Dense):
        return matrix
    axes = EinsumAxes(layer.equation)
    return axes.as_kernel(matrix, layer._kernel.shape)


def lora_scale(layer: Projection) -> float:
    """What the product of the factors is multiplied by."""
    return layer.lora_alpha / layer.lora_rank


def lora_update(layer: Projection):
    """What the factors of a layer add to its kernel, in the kernel's shape."""
    product = ops.matmul(layer.lora_kernel_a, layer.lora_kernel_b)
    product = lora_scale(layer) * product
    return as_kernel(layer, product) if isinstance(layer, Factored) else product


@contextmanager
def merged_lora(model: keras.Model) -> Iterator[None]:
    """Within, each adapted layer has one kernel, and no factors.

    Afterwards the model is what it was, to the bit. Besides the factors, the
    kernels that are adapted take their memory once more.
    """
    kept = [
        (layer, ops.convert_to_numpy(layer._kernel))
        for layer in adapted_layers(model).values()
    ]
    with without_factors(model):
        try:
            for layer, _ in kept:
                layer._kernel.assign(layer._kernel + lora_update(layer))
            yield
        finally:
            for layer, kernel in kept:
                layer._kernel.assign(kernel)


@contextmanager
def without_factors(model: keras.Model) -> Iterator[None]:
    """Within, each adapted layer is what it was before it had factors."""
    adapted = list(adapted_layers(model).values())
    try:
        for layer in adapted:
            layer.lora_enabled = False
        yield
    finally:
        for layer in adapted:
            layer.lora_enabled = True


def with_lora_merged(write: Callable) -> Callable:
    """A function of a model and more, within `merged_lora`."""

    @wraps(write)
    def merged(model, *arguments, **options):
        if not isinstance(model, keras.Model):
            return write(model, *arguments, **options)  # which says so
        with merged_lora(model):
            return write(model, *arguments, **options)

    return merged


def _is_matrix(layer: Projection) -> bool:
    is_dense = isinstance(layer, keras.layers.Dense)
    return is_dense or not EinsumAxes(layer.equation).shared
