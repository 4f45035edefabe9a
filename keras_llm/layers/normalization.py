"""Normalisation layers by name."""

import keras

from keras_llm.errors import InputError


def make_norm(
    normalization: str, epsilon: float, use_bias: bool, **kwargs
) -> keras.layers.Layer:
    """The normalisation layer of that name.

    Args:
        normalization: `"layer"`, or `"rms"` (Zhang and Sennrich 2019,
            https://arxiv.org/abs/1910.07467), or `"none"`, which changes
            nothing.
        epsilon: Added to the variance.
        use_bias: Whether layer normalisation has a bias.
        **kwargs: forwarded to the layer.

    Raises:
        InputError: an unknown normalisation.
    """
    if normalization == "rms":
        return keras.layers.RMSNormalization(epsilon=epsilon, **kwargs)
    if normalization == "layer":
        return keras.layers.LayerNormalization(
            epsilon=epsilon, center=use_bias, **kwargs
        )
    if normalization == "none":
        # `Identity` has no config where its dtype is a policy.
        return keras.layers.Activation("linear", **kwargs)
    raise InputError(
        f"normalization must be layer, rms or none. Received: {normalization!r}"
    )
