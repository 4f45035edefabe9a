"""Dropout of half as many random numbers drops as Keras's does."""

import keras
import numpy as np
import pytest

from keras_llm.layers.dropout import Dropout


def dropped(layer, shape=(64, 31, 128)):
    """bool: where a tensor of ones has become zero."""
    ones = keras.ops.ones(shape, layer.compute_dtype)
    result = np.array(layer(ones, training=True), "float32")
    kept = 1 / (1 - layer.rate)
    assert set(np.unique(result.round(2))) == {0, np.float32(kept).round(2)}
    return result == 0


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_so_many_are_dropped_and_the_mean_stays(rate):
    found = dropped(Dropout(rate, seed=0))
    deviation = (rate * (1 - rate) / found.size) ** 0.5
    assert abs(found.mean() - rate) < 5 * deviation + 1 / 4096
    for axis in range(3):  # nor are some places dropped more than others
        rest = tuple(each for each in range(3) if each != axis)
        spread = (rate * (1 - rate) * found.shape[axis] / found.size) ** 0.5
        assert np.abs(found.mean(rest) - rate).max() < 5 * spread


def test_the_two_halves_of_a_number_know_nothing_of_each_other():
    found = dropped(Dropout(0.3, seed=0), (512, 1024))
    upper, lower = found[:, :512].ravel(), found[:, 512:].ravel()
    both = (upper & lower).mean()
    deviation = (0.09 * 0.91 / upper.size) ** 0.5
    assert abs(both - upper.mean() * lower.mean()) < 5 * deviation


def test_gradients_pass_where_activations_do():
    import tensorflow as tf

    layer, x = Dropout(0.4, seed=1), tf.random.normal((3, 5, 7))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
    gradient = tape.gradient(y, x).numpy()
    np.testing.assert_allclose(y, gradient * x.numpy(), rtol=1e-6)


def test_a_seed_is_a_sequence_of_masks():
    first, again = Dropout(0.5, seed=3), Dropout(0.5, seed=3)
    one, two = dropped(first), dropped(first)
    assert (one != two).any()
    assert (dropped(again) == one).all() and (dropped(again) == two).all()


def test_nothing_is_dropped_while_not_training():
    x = keras.random.normal((2, 3))
    assert Dropout(0.5)(x) is x or (np.array(Dropout(0.5)(x)) == x).all()
    same = Dropout(0.0)(x, training=True)
    np.testing.assert_array_equal(same, x)


def test_half_precision_keeps_its_dtype():
    layer = Dropout(0.25, seed=0, dtype="bfloat16")
    y = layer(keras.ops.ones((4, 9), "bfloat16"), training=True)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
