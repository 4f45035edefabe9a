"""Blocks that are alike are traced once, with their weights as arguments."""

from collections.abc import Callable

import keras

from keras_llm.compilation import share_function


class SharedBlocks:
    """Calls blocks of a model, each kind of them through one function.

    A model of thirty alike layers is then traced as fast as one of a single
    layer, and its graph holds the operations of a layer once. Where blocks
    differ (an adapter on one, weights of another dtype) so do their functions.

    Call arguments:
        block: a built block, which is not trained: the state of its dropout
            is neither read nor changed.
        x: float tensor `(batch, length, hidden_dim)`.
        **kwargs: the block's other arguments: nested tensors or `None`.

    Returns:
        What `block(x, **kwargs)` does.
    """

    def __init__(self):
        self._functions: dict[tuple[str, bool], Callable] = {}

    def __call__(self, block: keras.layers.Layer, x, **kwargs):
        # A step writes a position into a cache, which must not be copied.
        inline = x.shape[1] == 1
        kind = _kind(block), inline
        if kind not in self._functions:
            function = share_function(_with_weights(block), inline)
            self._functions[kind] = function
        weights = [weight.value for weight in block.weights]
        return self._functions[kind](weights, x, **kwargs)


def _with_weights(block: keras.layers.Layer) -> Callable:
    def call(weights, x, **kwargs):
        mapping = zip(block.weights, weights, strict=True)
        with keras.StatelessScope(state_mapping=mapping):
            return block(x, **kwargs)

    return call


def _kind(block: keras.layers.Layer) -> str:
    """All that a layer and those in it are told, but their names."""
    return repr(
        [
            # Factors that are merged for a while are still in the config.
            (layer.get_config() | {"name": None}, _is_adapted(layer))
            for layer in block._flatten_layers()
        ]
    )


def _is_adapted(layer: keras.layers.Layer) -> bool:
    return getattr(layer, "lora_enabled", False)
