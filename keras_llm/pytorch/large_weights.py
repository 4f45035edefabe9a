"""Weights that show what new ones hide."""

import keras
import numpy as np

from keras_llm.pytorch.weights import Weight, weights_of


def draw_large_weights(model: keras.Model, seed: int = 0) -> None:
    """Sets the weights of a model so that every part of it is seen.

    New weights are so small that a nonlinearity is a straight line and
    attention an average, and training for a moment changes little: exact GELU
    and its tanh form could not be told apart. Here what goes into a
    nonlinearity or a softmax is about as large as in a trained model, and
    what is normalised is small enough that epsilons count. Recurrent kernels
    stay orthogonal, for larger ones would amplify rounding errors from
    position to position.

    Args:
        model: See `make_twin`.
        seed: Decides the weights.
    """
    draw = np.random.default_rng(seed)
    weights = weights_of(model)
    parts = {_layer_of(weight) for weight in weights}
    for weight in weights:
        if weight.name.endswith("weight_hh_l0"):
            continue
        noise = draw.normal(size=weight.variable.shape)
        spread = _spread(weight, parts)
        is_scale = weight.name.endswith("norm.weight")
        weight.variable.assign(is_scale + spread * noise)


def _spread(weight: Weight, parts: set[str]) -> float:
    """Standard deviation of the values of a weight of a model of parts."""
    layer, kind = _layer_of(weight), weight.name.split(".")[-1]
    if "embedding" in weight.name:
        return 0.1
    if layer.endswith("norm"):
        return 0.3
    gain = 1.5
    if layer.endswith("_output"):
        # Added to the residual stream, where a recurrent state is larger.
        gain = 0.4 if "loop" in parts else 0.1
    elif layer == "loop":
        gain = 1.0
    elif layer in ("query", "key") and "query_norm" in parts:
        gain = 0.01
    is_kernel = kind.startswith("weight")
    return gain * (weight.variable.shape[0] ** -0.5 if is_kernel else 0.3)


def _layer_of(weight: Weight) -> str:
    """Empty for a weight of the model itself, which a head's bias is."""
    return f".{weight.name}".split(".")[-2]
