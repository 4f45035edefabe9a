import math

import keras
import numpy as np
import pytest
from testing import randomize

from keras_llm.errors import InputError
from keras_llm.layers import FeedForward
from keras_llm.layers.feed_forward import ACTIVATIONS, lean_gelu


def tanh_form(x):
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return 0.5 * x * (1 + np.tanh(inner))


def project(layer, x):
    y = x @ layer.kernel.numpy()
    return y + layer.bias.numpy() if layer.use_bias else y


def reference(layer, x):
    hidden = project(layer.intermediate, x)
    if layer.activation == "gelu":
        hidden = tanh_form(hidden)
    elif layer.activation == "gelu_exact":
        hidden = hidden * (1 + np.vectorize(math.erf)(hidden / 2**0.5)) / 2
    elif layer.activation == "relu":
        hidden = np.maximum(hidden, 0)
    elif layer.activation == "silu":
        hidden = hidden / (1 + np.exp(-hidden))
    elif layer.activation == "relu_squared":
        hidden = np.maximum(hidden, 0) ** 2
    elif layer.activation == "swiglu":
        gate = project(layer.gate, x)
        hidden = gate / (1 + np.exp(-gate)) * hidden
    return project(layer.feed_forward_output, hidden)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("training", [True, False])
def test_feed_forward_equals_the_definition(activation, use_bias, training):
    layer = FeedForward(8, 20, activation=activation, use_bias=use_bias)
    layer.build((None, None, 8))
    randomize(layer)
    x = np.random.default_rng(1).normal(size=(2, 5, 8)).astype("float32")
    found = layer(x, training=training)
    np.testing.assert_allclose(found, reference(layer, x), rtol=1e-5, atol=1e-5)


def test_swiglu_gates_one_projection_by_another():
    layer = FeedForward(8, 20, activation="swiglu", use_bias=False)
    layer.build((None, None, 8))
    assert layer.count_params() == 3 * 8 * 20


def test_an_unknown_activation_is_named_with_the_known_ones():
    known = "relu, relu_squared, silu, swiglu"
    with pytest.raises(InputError, match=f"{known}. Received: 'swish'"):
        FeedForward(8, 20, activation="swish")


def gradients(function, dtype):
    import tensorflow as tf

    values = np.concatenate([np.linspace(-8, 8, 101), [-1e4, 0.0, 1e4]])
    x = tf.constant(values, dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = 3 * function(x)
    return np.array(y, "float32"), np.array(tape.gradient(y, x), "float32")


def kerases_gelu(x):
    return keras.ops.gelu(x, approximate=True)


def test_the_gradient_of_gelu_is_that_of_keras():
    found, expected = (
        gradients(f, "float32") for f in (lean_gelu, kerases_gelu)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    half = gradients(lean_gelu, "bfloat16")
    np.testing.assert_allclose(half, expected, rtol=0.02, atol=0.05)
