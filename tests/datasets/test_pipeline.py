"""Pipelines: the same batches through tf.data and through grain."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from testing import NO_TENSORFLOW
from tiny_corpus import sample_tokenizer

from keras_llm.datasets import (
    EvaluationWindows,
    TrainingWindows,
    dataset,
    encode,
    open_tokens,
)
from keras_llm.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    encode(folder / "corpus", sample_tokenizer(folder), folder / "tokens")
    return folder / "tokens"


@pytest.fixture
def training(folder):
    return TrainingWindows(open_tokens(folder, "train"), 16, 4, seed=3)


@pytest.fixture
def evaluation(folder):
    return EvaluationWindows(open_tokens(folder, "validation"), 16, 4)


@pytest.fixture
def without_tensorflow(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)


def assert_equal_batches(one, other):
    parts = zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True)
    for array, expected in parts:
        assert np.asarray(array).dtype == np.asarray(expected).dtype
        assert np.array_equal(array, expected)


def test_batches_in_order(training, evaluation):
    for batches, start, count in [
        (training, 5, 7),
        (evaluation, 0, len(evaluation)),
    ]:
        served = dataset(batches, start, count)
        assert len(served) == count > 2
        for k, batch in enumerate(served, start):
            assert_equal_batches(batch, batches.batch(k))


def test_shapes_are_static(training, evaluation):
    spec = tf.TensorSpec((4, 16), tf.int32)
    features = {
        "token_ids": spec,
        "padding_mask": tf.TensorSpec((4, 16), tf.bool),
    }
    assert dataset(training, 0, 1).element_spec == (features, spec)
    weight = tf.TensorSpec((4, 16), tf.float32)
    assert dataset(evaluation, 0, 1).element_spec == (features, spec, weight)


def assert_equal_datasets(first, second):
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert_equal_batches(one, other)


def test_grain_serves_the_same_batches(training, evaluation, request):
    served = [(training, 3, 5), (evaluation, 0, len(evaluation))]
    from_tf = [dataset(*each) for each in served]
    request.getfixturevalue("without_tensorflow")
    for each, expected in zip(served, from_tf, strict=True):
        assert_equal_datasets(dataset(*each), expected)


def test_missing_grain(training, without_tensorflow, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(InputError, match=r'pip install "keras-llm\[jax\]"'):
        dataset(training, 0, 1)


# Trains a small model for as many steps as there are batches, and prints
# its loss at every one.
FIT = """
import sys
import keras
from keras_llm.datasets import *

def inputs():
    token_ids = keras.Input((16,), dtype="int32", name="token_ids")
    mask = keras.Input((16,), dtype="bool", name="padding_mask")
    return {"token_ids": token_ids, "padding_mask": mask}

keras.utils.set_random_seed(0)
features = inputs()
x = keras.layers.Embedding(360, 8)(features["token_ids"])
model = keras.Model(features, keras.layers.Dense(360)(x))
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss, weighted_metrics=[])
training = TrainingWindows(open_tokens(sys.argv[1], "train"), 16, 4, seed=3)
held = EvaluationWindows(open_tokens(sys.argv[1], "validation"), 16, 4)
losses = []
log = keras.callbacks.LambdaCallback(
    on_train_batch_end=lambda batch, logs: losses.append(logs["loss"])
)
model.fit(dataset(training, 2, 6), callbacks=[log], verbose=0)
losses.append(model.evaluate(dataset(held, 0, len(held)), verbose=0))
assert ("tensorflow" in sys.modules) == (sys.argv[2] != "blocked")
print(*losses)
"""


def losses_of_fit(folder, backend, blocked):
    code = NO_TENSORFLOW + FIT if blocked == "blocked" else FIT
    ran = subprocess.run(
        [sys.executable, "-c", code, str(folder), blocked],
        env={"KERAS_BACKEND": backend, "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return [float(loss) for loss in ran.stdout.split()]


@pytest.mark.slow  # a process without TensorFlow; test_design has another
def test_fit_without_tensorflow_sees_the_same_batches(folder):
    alone = losses_of_fit(folder, "jax", "blocked")
    assert len(alone) == 7
    both = losses_of_fit(folder, "jax", "there")
    np.testing.assert_allclose(alone, both, rtol=1e-6)
