"""Factors of LoRA in the kernels that they adapt, for as long as it takes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

import keras


@contextmanager
def merged_lora(model: keras.Model) -> Iterator[None]:
    """Within, each adapted layer has one kernel, and no factors.

    Afterwards the model is what it was, to the bit. Besides the factors, the
    kernels that are adapted take their memory once more.
    """
    kept = [
        (layer, keras.ops.convert_to_numpy(layer._kernel))
        for layer in model._flatten_layers()
        if getattr(layer, "lora_enabled", False) and hasattr(layer, "_kernel")
    ]
    try:
        for layer, _ in kept:
            layer._kernel.assign(layer.kernel)  # with its factors
            layer.lora_enabled = False
        yield
    finally:
        for layer, kernel in kept:
            layer.lora_enabled = True
            layer._kernel.assign(kernel)


def with_lora_merged(write: Callable) -> Callable:
    """A function of a model and more, within `merged_lora`."""

    @wraps(write)
    def merged(model, *arguments, **options):
        if not isinstance(model, keras.Model):
            return write(model, *arguments, **options)  # which says so
        with merged_lora(model):
            return write(model, *arguments, **options)

    return merged
