import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from testing import randomize

from keras_llm.errors import InputError
from keras_llm.layers import RecurrentLayer
from keras_llm.models.lora import enable_factors

CELL_TYPES = ("gru", "lstm", "rnn")
BATCH, LENGTH, INPUT, WIDTH = 2, 6, 5, 8
PADDING = np.arange(LENGTH) < np.array([[LENGTH], [3]])


def recurrent_layer(cell_type):
    layer = RecurrentLayer(WIDTH, cell_type)
    layer.build((BATCH, LENGTH, INPUT))
    randomize(layer)
    return layer


def inputs(seed=1):
    shape = (BATCH, LENGTH, INPUT)
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def weights(layer):
    """Input kernel and bias, recurrent kernel and bias."""
    outer, inner = layer.input_projection, layer.cell.recurrent
    bias = (
        inner.bias.numpy()
        if inner.use_bias
        else np.zeros(inner.units, "float32")
    )
    kernels = outer.kernel.numpy(), outer.bias.numpy(), inner.kernel.numpy()
    return *kernels, bias


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru_step(x, h, hidden):
    update, reset = (
        sigmoid(x[i * WIDTH : (i + 1) * WIDTH] + h[i * WIDTH : (i + 1) * WIDTH])
        for i in range(2)
    )
    new = np.tanh(x[2 * WIDTH :] + reset * h[2 * WIDTH :])
    return ((1 - update) * new + update * hidden,)


def lstm_step(x, h, hidden, carry):
    gates = np.split(x + h, 4)
    carry = sigmoid(gates[1]) * carry + sigmoid(gates[0]) * np.tanh(gates[2])
    return sigmoid(gates[3]) * np.tanh(carry), carry


def rnn_step(x, h, hidden):
    return (np.tanh(x + h),)


STEPS = {"gru": gru_step, "lstm": lstm_step, "rnn": rnn_step}


def reference(layer, x, padding_mask):
    """Outputs and last states, one row and step at a time."""
    kernel, bias, recurrent, recurrent_bias = weights(layer)
    outputs = np.zeros((BATCH, LENGTH, WIDTH))
    last = []
    for row in range(BATCH):
        states = tuple(np.zeros(WIDTH) for _ in layer.cell.state_size)
        for t in range(LENGTH):
            if not padding_mask[row, t]:
                continue
            states = STEPS[layer.cell_type](
                x[row, t] @ kernel + bias,
                states[0] @ recurrent + recurrent_bias,
                *states,
            )
            outputs[row, t] = states[0]
        last.append(states)
    return outputs, [np.array(state) for state in zip(*last, strict=True)]


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_recurrence_equals_the_definition(cell_type):
    layer, x = recurrent_layer(cell_type), inputs()
    expected, _ = reference(layer, x, np.ones_like(PADDING))
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_states_do_not_advance_over_padding(cell_type):
    layer, x = recurrent_layer(cell_type), inputs()
    expected, last = reference(layer, x, PADDING)
    received, states = layer(
        x, padding_mask=PADDING, cache=layer.initial_cache(BATCH)
    )
    np.testing.assert_allclose(
        received.numpy()[PADDING], expected[PADDING], rtol=1e-5, atol=1e-5
    )
    for state, expected_state in zip(states, last, strict=True):
        np.testing.assert_allclose(state, expected_state, rtol=1e-5, atol=1e-5)


def torch_twin(layer):
    """Gates are update, reset, new here and reset, update, new there."""
    orders = {"gru": [1, 0, 2], "lstm": [0, 1, 2, 3], "rnn": [0]}
    order = orders[layer.cell_type]
    classes = {
        "gru": torch.nn.GRU,
        "lstm": torch.nn.LSTM,
        "rnn": torch.nn.RNN,
    }
    twin = classes[layer.cell_type](INPUT, WIDTH, batch_first=True)

    def reordered(matrix):
        gates = np.split(matrix, len(order), axis=-1)
        gates = np.concatenate([gates[i] for i in order], axis=-1)
        return torch.tensor(gates.T.copy())

    kernel, bias, recurrent, recurrent_bias = map(reordered, weights(layer))
    with torch.no_grad():
        twin.weight_ih_l0.copy_(kernel)
        twin.bias_ih_l0.copy_(bias)
        twin.weight_hh_l0.copy_(recurrent)
        twin.bias_hh_l0.copy_(recurrent_bias)
    return twin


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_recurrence_equals_torch(cell_type):
    layer, x = recurrent_layer(cell_type), inputs()
    expected, last = torch_twin(layer)(torch.tensor(x))
    received, states = layer(x, cache=layer.initial_cache(BATCH))
    np.testing.assert_allclose(
        received, expected.detach(), rtol=1e-5, atol=1e-5
    )
    last = last if cell_type == "lstm" else (last,)
    for state, expected_state in zip(states, last, strict=True):
        np.testing.assert_allclose(
            state, expected_state.detach()[0], rtol=1e-5, atol=1e-5
        )


def gradients(layer, x, states, padding_mask, training):
    """Of inputs, first states and weights, of a sum over what is returned."""
    x, states = tf.constant(x), [tf.constant(each) for each in states]
    with tf.GradientTape() as tape:
        tape.watch([x, *states])
        y, after = layer(
            x, padding_mask=padding_mask, cache=states, training=training
        )
        if padding_mask is not None:
            y = y * tf.cast(padding_mask, "float32")[..., None]
        total = sum(tf.reduce_sum(tf.sin(each)) for each in (y, *after))
    return tape.gradient(total, [x, *states, *layer.trainable_variables])


def first_states(layer):
    rng = np.random.default_rng(2)
    shape = (BATCH, WIDTH)
    return [
        rng.normal(size=shape).astype("float32") for _ in layer.cell.state_size
    ]


def check_gradients(layer, padding_mask):
    """In training they are those of TensorFlow."""
    given = layer, inputs(), first_states(layer), padding_mask
    for received, expected in zip(
        gradients(*given, True), gradients(*given, False), strict=True
    ):
        assert np.any(expected.numpy())
        np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell_type", CELL_TYPES)
@pytest.mark.parametrize("padding_mask", [None, PADDING, PADDING[:, ::-1]])
def test_gradients_in_training_are_those_of_tensorflow(cell_type, padding_mask):
    check_gradients(recurrent_layer(cell_type), padding_mask)


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_gradients_in_training_equal_those_of_torch(cell_type):
    layer, x = recurrent_layer(cell_type), inputs()
    states = first_states(layer)
    received = gradients(layer, x, states, None, True)
    inputs_, *first = (
        torch.tensor(each, requires_grad=True) for each in (x, *states)
    )
    hidden = tuple(each[None] for each in first)
    y, after = torch_twin(layer)(
        inputs_, hidden if len(hidden) > 1 else hidden[0]
    )
    after = after if len(hidden) > 1 else (after,)
    sum(torch.sum(torch.sin(each)) for each in (y, *after)).backward()
    of_given = received[: 1 + len(first)]
    for mine, given in zip(of_given, (inputs_, *first), strict=True):
        np.testing.assert_allclose(mine, given.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_factors_of_the_recurrent_kernel_learn(cell_type):
    layer = recurrent_layer(cell_type)
    enable_factors(layer.cell.recurrent, rank=2, alpha=2)
    randomize(layer)
    check_gradients(layer, PADDING)


TRAINING = """
import sys
import keras, numpy as np
from keras_llm.layers import RecurrentLayer

rng = np.random.default_rng(0)
x = y = keras.Input((6, 5))
mask = keras.Input((6,), dtype="bool")
for cell_type in ("gru", "lstm", "rnn"):
    y = RecurrentLayer(8, cell_type)(y, padding_mask=mask)
model = keras.Model([x, mask], y)
model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
model.compile(keras.optimizers.SGD(0.1), "mse")
given = [rng.normal(size=(4, 6, 5)), np.arange(6) < [[6], [3], [1], [5]]]
model.fit(given, rng.normal(size=(4, 6, 8)), epochs=3, verbose=0)
np.savez(sys.argv[1], *model.get_weights())
"""


def trained(backend, path):
    """Weights after three steps."""
    environment = os.environ | {"KERAS_BACKEND": backend}
    command = [sys.executable, "-c", TRAINING, str(path)]
    subprocess.run(command, env=environment, check=True)
    with np.load(path) as arrays:
        return list(arrays.values())


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_it_trains_as_on_tensorflow(backend, tmp_path):
    pytest.importorskip(backend)
    expected = trained("tensorflow", tmp_path / "tensorflow.npz")
    received = trained(backend, tmp_path / f"{backend}.npz")
    for mine, theirs in zip(received, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_recurrence_equals_keras(cell_type):
    layer, x = recurrent_layer(cell_type), inputs()
    kernel, bias, recurrent, recurrent_bias = weights(layer)
    twin, biases = {
        "gru": (keras.layers.GRU, np.stack([bias, recurrent_bias])),
        "lstm": (keras.layers.LSTM, bias),
        "rnn": (keras.layers.SimpleRNN, bias),
    }[cell_type]
    twin = twin(WIDTH, return_sequences=True)  # GRU: reset_after=True
    twin.build((BATCH, LENGTH, INPUT))
    twin.set_weights([kernel, recurrent, biases])
    np.testing.assert_allclose(layer(x), twin(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_one_step_at_a_time_equals_all_at_once(cell_type):
    layer, x = recurrent_layer(cell_type), inputs()
    cache, outputs = layer.initial_cache(BATCH), []
    for t in range(LENGTH):
        y, cache = layer(x[:, t : t + 1], cache=cache)
        outputs.append(y)
    outputs = np.concatenate(outputs, axis=1)
    np.testing.assert_allclose(outputs, layer(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_a_padded_step_leaves_states_as_they_are(cell_type):
    layer, x = recurrent_layer(cell_type), inputs()
    _, before = layer(x, cache=layer.initial_cache(BATCH))
    mask = np.array([[True], [False]])
    _, after = layer(x[:, :1], padding_mask=mask, cache=before)
    for old, new in zip(before, after, strict=True):
        assert np.all(old.numpy()[1] == new.numpy()[1])
        assert np.all(old.numpy()[0] != new.numpy()[0])


def test_an_lstm_remembers_at_first():
    layer = RecurrentLayer(WIDTH, "lstm")
    layer.build((BATCH, LENGTH, INPUT))
    bias = np.split(layer.input_projection.bias.numpy(), 4)
    assert np.all(bias[1] == 1)
    assert not np.any(bias[0]) and not np.any(bias[2:])


def test_an_unknown_cell_is_named_with_the_known_ones():
    with pytest.raises(InputError, match="rnn, gru, lstm. Received: 'GRU'"):
        RecurrentLayer(WIDTH, "GRU")
