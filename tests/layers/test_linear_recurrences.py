"""Linear recurrences against their formulas and others' PyTorch."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from testing import slow_but

from keras_llm.layers import MLSTM, GatedDeltaNet, MinGRU

LENGTH = 150  # more than two chunks


def some(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def layer_of(kind, **options):
    keras.utils.set_random_seed(0)
    layer = kind(16, **({} if kind is MinGRU else {"num_heads": 2}), **options)
    layer.build((None, None, 16))
    return layer


KINDS = [MinGRU, GatedDeltaNet, MLSTM]


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_with_a_cache_are_the_whole(kind):
    layer, x = layer_of(kind), some((2, LENGTH, 16))
    whole = ops.convert_to_numpy(layer(x))
    cache, pieces, start = layer.initial_cache(2), [], 0
    for length in (1, 1, 5, 70, 1, 64, 8):
        piece, cache = layer(x[:, start : start + length], cache=cache)
        pieces.append(ops.convert_to_numpy(piece))
        start += length
    assert start == LENGTH
    np.testing.assert_allclose(np.concatenate(pieces, 1), whole, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_anywhere_leaves_the_state(kind):
    layer, x = layer_of(kind), some((2, LENGTH, 16))
    mask = np.random.default_rng(1).random((2, LENGTH)) < 0.6
    padded, states = layer(x, padding_mask=mask, cache=layer.initial_cache(2))
    for row, real in enumerate(mask):
        y, state = layer(x[row : row + 1, real], cache=layer.initial_cache(1))
        np.testing.assert_allclose(padded[row][real], y[0], atol=1e-5)
        for found, expected in zip(states, state, strict=True):
            np.testing.assert_allclose(found[row], expected[0], atol=1e-5)


@pytest.mark.parametrize("kind", slow_but(KINDS, GatedDeltaNet))
def test_any_length_is_traced_once(kind):
    layer, x = layer_of(kind), some((2, LENGTH, 16))
    inputs = keras.Input((None, 16))
    model = keras.Model(inputs, layer(inputs))
    for length in (3, 64, LENGTH):
        np.testing.assert_allclose(
            model.predict(x[:, :length], verbose=0),
            ops.convert_to_numpy(layer(x))[:, :length],
            atol=1e-5,
        )


@pytest.mark.parametrize("kind", slow_but(KINDS, GatedDeltaNet))
def test_xla_compiles_a_step_of_training(kind):
    layer, x = layer_of(kind), tf.constant(some((2, LENGTH, 16)))

    def gradient():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, training=True) ** 2)
        return tape.gradient(loss, layer.trainable_variables)

    compiled = tf.function(gradient, jit_compile=True)
    for found, expected in zip(compiled(), gradient(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_min_gru_is_its_formula():
    layer, x = layer_of(MinGRU), some((1, LENGTH, 16))
    kernel, bias = map(ops.convert_to_numpy, layer.weights)
    gate, candidate = np.split((x @ kernel + bias)[0], 2, axis=-1)
    gate = 1 / (1 + np.exp(-gate))
    candidate = np.where(
        candidate >= 0, candidate + 0.5, 1 / (1 + np.exp(-candidate))
    )
    hidden, expected = np.zeros(16), []
    for z, new in zip(gate, candidate, strict=True):
        hidden = (1 - z) * hidden + z * new
        expected.append(hidden)
    np.testing.assert_allclose(layer(x)[0], expected, atol=1e-5)


def test_gated_delta_is_that_of_qwen():
    torch = pytest.importorskip("torch")
    qwen = pytest.importorskip(
        "transformers.models.qwen3_next.modeling_qwen3_next"
    )
    layer, x = layer_of(GatedDeltaNet, epsilon=1e-6), some((2, LENGTH, 16))
    config = qwen.Qwen3NextConfig(
        hidden_size=16,
        linear_num_value_heads=2,
        linear_num_key_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        num_hidden_layers=1,
        layer_types=["linear_attention"],
    )
    theirs = qwen.Qwen3NextGatedDeltaNet(config, 0)
    numbers = {each.path: ops.convert_to_numpy(each) for each in layer.weights}
    numbers = {path.split("/", 1)[-1]: x for path, x in numbers.items()}

    def heads(name):
        return numbers[f"{name}/kernel"].T.reshape(2, 8, 16)

    names = ("query", "key", "value", "output_gate")
    joined = np.concatenate([heads(name) for name in names], 1)
    gates, bias = numbers["gates/kernel"].T, numbers["gates/bias"]
    state = {
        "in_proj_qkvz.weight": joined.reshape(-1, 16),
        "in_proj_ba.weight": gates[[0, 2, 1, 3]],
        "conv1d.weight": numbers["convolution"].T[:, None],
        "dt_bias": bias[2:],
        "A_log": numbers["log_rate"],
        "norm.weight": numbers["memory_norm/scale"],
        "out_proj.weight": numbers["memory_output/kernel"].T,
    }
    assert not bias[:2].any()  # which theirs lacks
    theirs.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    given = torch.tensor(x, requires_grad=True)
    expected = theirs(given)
    np.testing.assert_allclose(layer(x), expected.detach(), atol=1e-5)


def test_mlstm_is_that_of_its_authors():
    torch = pytest.importorskip("torch")
    xlstm = pytest.importorskip("transformers.models.xlstm.modeling_xlstm")
    layer, x = layer_of(MLSTM), some((2, LENGTH, 16))
    inputs, _, _ = layer.project(ops.convert_to_tensor(x), None, None)
    arrays = [np.moveaxis(ops.convert_to_numpy(each), 2, 1) for each in inputs]
    query, key, value, gate, *_ = map(torch.tensor, arrays)
    gates = ops.convert_to_numpy(layer.gates(x))[..., 2:]
    forget = torch.tensor(np.moveaxis(15 * np.tanh(gates / 15), 2, 1))
    expected = xlstm.mlstm_recurrent_sequence_native(
        query * 8**0.5,  # it scales by itself
        key,
        value[..., :-1],
        gate,
        forget,
        eps=0.0,
    )
    expected = expected[0] if isinstance(expected, tuple) else expected
    layer.output = lambda y, x: y
    found = ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(
        np.moveaxis(found, 2, 1), expected, rtol=1e-4, atol=1e-5
    )
