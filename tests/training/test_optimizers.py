"""Optimizers against references that we did not write."""

import dataclasses

import keras
import numpy as np
import pytest
import torch
from testing import tiny_model

from keras_llm.recipes.settings import TrainingSettings
from keras_llm.training import BatchedMuon, compile_for_training
from keras_llm.training.optimizers import make_optimizer


def jordan_update(gradient, momentum, rate=0.02, beta=0.95):
    """One step of the published Muon, on a matrix (outputs, inputs)."""
    momentum.mul_(beta).add_(gradient)
    update = gradient + beta * momentum
    transposed = update.shape[0] > update.shape[1]
    x = update.T if transposed else update
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        product = x @ x.T
        x = 3.4445 * x + (-4.7750 * product + 2.0315 * product @ product) @ x
    x = x.T if transposed else x
    return rate * max(1, x.shape[0] / x.shape[1]) ** 0.5 * x


def test_batched_muon_is_the_published_muon():
    draw = np.random.default_rng(0)
    shapes = [(8, 8), (8, 24), (24, 8), (8, 8)]
    variables = [
        keras.Variable(draw.normal(size=shape), dtype="float32", name="kernel")
        for shape in shapes
    ]
    optimizer = BatchedMuon(0.02, weight_decay=None, adam_weight_decay=None)
    optimizer.build(variables)
    expected = [torch.tensor(np.array(v)).T.clone() for v in variables]
    momenta = [torch.zeros_like(matrix) for matrix in expected]
    for _ in range(3):
        gradients = [draw.normal(size=s).astype("float32") for s in shapes]
        optimizer.apply(
            [keras.ops.convert_to_tensor(g) for g in gradients], variables
        )
        for matrix, momentum, gradient in zip(
            expected, momenta, gradients, strict=True
        ):
            matrix -= jordan_update(torch.tensor(gradient).T, momentum)
    for variable, matrix in zip(variables, expected, strict=True):
        np.testing.assert_allclose(
            np.array(variable), matrix.T.numpy(), atol=1e-5
        )


def test_batched_muon_leaves_the_rest_to_adamw():
    model = tiny_model()
    settings = TrainingSettings(optimizer="muon")
    compile_for_training(model, settings)
    optimizer = model.optimizer
    for variable in model.trainable_variables:
        velocity = optimizer.adam_velocities[
            optimizer._get_variable_index(variable)
        ]
        is_matrix = len(variable.shape) == 2
        by_muon = is_matrix and "embedding" not in variable.path
        assert (velocity is None) == by_muon, variable.path


def test_weight_decay_is_for_matrices_only():
    model = tiny_model(position_embedding="learned", use_bias=True)
    optimizer = make_optimizer(TrainingSettings(optimizer="adamw"), model)
    decayed = {
        variable.path.split("/")[-1]
        for variable in model.trainable_variables
        if optimizer._use_weight_decay(variable)
    }
    assert decayed == {"kernel"}


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "muon"])
def test_a_token_that_comes_twice_counts_as_its_sum(name):
    import tensorflow as tf

    values, indices = tf.constant([[3.0], [1.0]]), tf.constant([0, 0])
    rows = tf.IndexedSlices(values, indices, tf.constant([3, 1]))
    updates = []
    for gradient in (rows, tf.constant([[4.0], [0.0], [0.0]])):
        model = keras.Sequential(
            [keras.layers.Embedding(3, 1, name="embedding")]
        )
        model.build((None, 1))
        model.set_weights([np.zeros((3, 1))])
        settings = TrainingSettings(optimizer=name, global_clipnorm=1.0)
        optimizer = make_optimizer(settings, model)
        optimizer.build(model.trainable_variables)
        optimizer.apply([gradient], model.trainable_variables)
        optimizer.apply([gradient], model.trainable_variables)
        updates.append(model.get_weights()[0])
    assert updates[0][0] != 0
    np.testing.assert_allclose(updates[0], updates[1], rtol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["adamw", "sgd", "muon", pytest.param("adam", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(
    "changes",
    [
        {"gradient_accumulation_steps": 2},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param(
            {"global_clipnorm": 0.0, "weight_decay": 0.0},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_every_optimizer_learns_a_batch(name, changes):
    model = tiny_model()
    settings = TrainingSettings(
        optimizer=name, steps=30, learning_rate=0.01, warmup_steps=0
    )
    compile_for_training(model, dataclasses.replace(settings, **changes))
    model.preprocessor = None
    ids = np.random.default_rng(0).integers(3, 60, (4, 9))
    inputs = {
        "token_ids": ids[:, :-1],
        "padding_mask": np.ones((4, 8), "int32"),
    }
    losses = [model.train_on_batch(inputs, ids[:, 1:]) for _ in range(30)]
    first, last = losses[0], losses[-1]
    assert float(np.squeeze(last)) < 0.9 * float(np.squeeze(first))


@pytest.mark.parametrize(
    "dtype",
    [
        "mixed_bfloat16",
        pytest.param("mixed_float16", marks=pytest.mark.slow),
    ],
)
def test_mixed_precision_trains_with_float32_weights(dtype):
    model = tiny_model(dtype=dtype)
    settings = TrainingSettings(learning_rate=0.01, dtype=dtype)
    compile_for_training(model, settings)
    model.preprocessor = None
    ids = np.random.default_rng(0).integers(3, 60, (4, 9))
    inputs = {
        "token_ids": ids[:, :-1],
        "padding_mask": np.ones((4, 8), "int32"),
    }
    losses = [
        float(np.squeeze(model.train_on_batch(inputs, ids[:, 1:])))
        for _ in range(20)
    ]
    assert np.all(np.isfinite(losses)) and losses[-1] < losses[0]
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
