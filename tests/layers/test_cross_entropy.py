"""Cross-entropy, against Keras' own and float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_llm.layers.cross_entropy import cross_entropy, lean_cross_entropy


def inputs(scale):
    rng = np.random.default_rng(0)
    logits = scale * rng.normal(size=(2, 5, 17)).astype("float32")
    return rng.integers(0, 17, (2, 5)).astype("int32"), logits


def exact(labels, logits):
    logits = logits.astype("float64")
    logits -= logits.max(-1, keepdims=True)
    total = np.log(np.exp(logits).sum(-1))
    return total - np.take_along_axis(logits, labels[..., None], -1)[..., 0]


@pytest.mark.parametrize("scale", [0, 1, 30, 1000])
@pytest.mark.parametrize("function", [cross_entropy, lean_cross_entropy])
def test_it_is_that_of_float64(function, scale):
    labels, logits = inputs(scale)
    found = function(labels, logits)
    np.testing.assert_allclose(found, exact(labels, logits), rtol=1e-6)


def gradients(function, dtype, jit_compile=False):
    labels, logits = inputs(3)
    logits = tf.constant(logits, dtype)
    weights = tf.reshape(tf.range(10.0), (2, 5))

    @tf.function(jit_compile=jit_compile)
    def of(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = tf.reduce_sum(function(labels, logits) * weights)
        return tape.gradient(loss, logits)

    return np.array(of(logits), "float32")


def kerases(labels, logits):
    return keras.losses.sparse_categorical_crossentropy(
        labels, logits, from_logits=True
    )


@pytest.mark.parametrize("jit_compile", [False, True])
def test_its_gradient_is_that_of_keras(jit_compile):
    expected = gradients(kerases, "float32")
    for function in (cross_entropy, lean_cross_entropy):
        found = gradients(function, "float32", jit_compile)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    half = gradients(lean_cross_entropy, "bfloat16")
    np.testing.assert_allclose(half, expected, rtol=0.02, atol=0.1)
