"""Functions compiled for whichever backend Keras runs on."""

from collections.abc import Callable

import keras


def compile_function(
    function: Callable,
    model: keras.Model,
    inputs: tuple | None = None,
    jit_compile: bool = False,
) -> Callable:
    """Compiles a function of tensors that only reads the model.

    Keras compiles `fit` and `predict` but has no such call for a function of
    one's own, as KerasHub's `make_generate_function` shows.

    Args:
        function: Takes and returns nested structures of tensors.
        model: The model whose variables it reads.
        inputs: Nested `keras.KerasTensor`, what it takes, `None` for sizes
            that differ: TensorFlow then traces it once for all of them.
        jit_compile: Whether TensorFlow has XLA compile it for each shape, as
            JAX does.

    Returns:
        A function of the same signature, otherwise traced again for new
        shapes only.
    """
    backend = keras.config.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        specs = inputs and tf.nest.map_structure(
            lambda x: tf.TensorSpec(x.shape, x.dtype), inputs
        )
        return tf.function(
            function, specs, autograph=False, jit_compile=jit_compile
        )
    if backend == "jax":
        import jax

        def with_weights(weights, *args):
            mapping = zip(model.variables, weights, strict=True)
            with keras.StatelessScope(state_mapping=mapping):
                return function(*args)

        jitted = jax.jit(with_weights)
        return lambda *args: jitted([v.value for v in model.variables], *args)
    if backend == "torch":
        import torch

        return torch.no_grad()(function)
    return function


def share_function(function: Callable, inline: bool) -> Callable:
    """A function that graphs call, instead of repeating what is in it.

    Args:
        function: Of a list of weights, and nested structures of tensors.
            Reads no variables, and returns nested tensors.
        inline: Whether TensorFlow puts it into the graphs that call it before
            it optimises them. That takes time for every call, and spares
            copies: only then may it write into its arguments.

    Returns:
        A function of the same signature that takes the values of variables
        for weights, traced again for new shapes only.
    """
    backend = keras.config.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        attributes = None if inline else {"_noinline": True}
        traced = tf.function(
            function, autograph=False, experimental_attributes=attributes
        )

        def with_values(weights, *args, **kwargs):
            # Read here: a function without variables can be used in any order.
            weights = [tf.convert_to_tensor(weight) for weight in weights]
            return traced(weights, *args, **kwargs)

        return with_values
    if backend == "jax":
        import jax

        return jax.jit(function)
    return function
