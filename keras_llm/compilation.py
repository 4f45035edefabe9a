"""One function compiled for whichever backend Keras runs on."""

from collections.abc import Callable

import keras


def compile_function(function: Callable, model: keras.Model) -> Callable:
    """Compiles a function of tensors that only reads the model.

    Keras compiles `fit` and `predict` but has no such call for a function of
    one's own, as KerasHub's `make_generate_function` shows.

    Args:
        function: Takes and returns nested structures of tensors.
        model: The model whose variables it reads.

    Returns:
        A function of the same signature, traced again for new shapes only.
    """
    backend = keras.config.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False)
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
