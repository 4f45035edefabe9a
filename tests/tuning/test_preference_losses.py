"""Losses of preferences against NumPy forms of TRL's formulas."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_llm.recipes.tuning_settings import PreferenceSettings
from keras_llm.tuning.preference_losses import (
    JudgedLoss,
    PairLoss,
    preference_loss,
    preference_metrics,
)

RNG = np.random.default_rng(0)
POLICY = RNG.normal(-18, 4, (6, 2))
REFERENCE = RNG.normal(-20, 4, (6, 2))
GOOD = np.array([1, 0, 1, 1, 0, 0.0])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def dpo(policy, reference, beta=0.1, smoothing=0.0):
    ratios = policy[:, 0] - policy[:, 1]
    logits = ratios - (reference[:, 0] - reference[:, 1])
    return (
        -np.log(sigmoid(beta * logits)) * (1 - smoothing)
        - np.log(sigmoid(-beta * logits)) * smoothing
    )


def ipo(policy, reference, beta=0.1):
    ratios = policy[:, 0] - policy[:, 1]
    logits = ratios - (reference[:, 0] - reference[:, 1])
    return (logits - 1 / (2 * beta)) ** 2


def simpo(policy, beta=2.0, gamma=1.0):
    logits = policy[:, 0] - policy[:, 1] - gamma / beta
    return -np.log(sigmoid(beta * logits))


def kto(policy, reference, good, beta=0.1, desirable=1.0, undesirable=1.0):
    kl = max(0, np.mean(policy[:, 1] - reference[:, 1]))
    ratio = policy[:, 0] - reference[:, 0]
    chosen = desirable * (1 - sigmoid(beta * (ratio - kl)))
    rejected = undesirable * (1 - sigmoid(beta * (kl - ratio)))
    return np.where(good > 0.5, chosen, rejected)


JUDGED = np.concatenate([REFERENCE, GOOD[:, None]], axis=1)
CASES = {
    "dpo": ({}, REFERENCE, dpo(POLICY, REFERENCE)),
    "smoothed": (
        {"label_smoothing": 0.2, "beta": 0.3},
        REFERENCE,
        dpo(POLICY, REFERENCE, 0.3, 0.2),
    ),
    "ipo": ({"loss": "ipo"}, REFERENCE, ipo(POLICY, REFERENCE)),
    "simpo": (
        {"loss": "simpo", "beta": 2.0, "margin": 1.0},
        np.zeros((6, 2)),
        simpo(POLICY),
    ),
    "kto": ({"loss": "kto"}, JUDGED, kto(POLICY, REFERENCE, GOOD)),
    "weighted kto": (
        {"loss": "kto", "desirable_weight": 2.0, "undesirable_weight": 0.5},
        JUDGED,
        kto(POLICY, REFERENCE, GOOD, 0.1, 2.0, 0.5),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_losses_are_the_published_ones(case):
    settings, targets, expected = CASES[case]
    loss = preference_loss(PreferenceSettings(**settings))
    found = loss.call(
        ops.convert_to_tensor(targets, "float32"),
        ops.convert_to_tensor(POLICY, "float32"),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_finite_differences(case):
    import tensorflow as tf

    settings, targets, _ = CASES[case]
    loss = preference_loss(PreferenceSettings(**settings))
    columns = 2
    if case.endswith("kto"):  # the origin, which is not differentiated
        assert np.mean(POLICY[:, 1] - REFERENCE[:, 1]) > 0
        columns = 1
    policy = tf.constant(POLICY, tf.float64)
    targets = tf.constant(targets, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(policy)
        total = tf.reduce_sum(loss.call(targets, policy))
    gradient = tape.gradient(total, policy).numpy()
    step = 1e-6
    for row, column in np.ndindex(6, columns):
        moved = np.zeros((6, 2))
        moved[row, column] = step
        up, down = (
            tf.reduce_sum(loss.call(targets, policy + sign * moved))
            for sign in (1, -1)
        )
        expected = (up - down) / (2 * step)
        np.testing.assert_allclose(
            gradient[row, column], expected, rtol=1e-5, atol=1e-7
        )


def test_rows_of_no_weight_change_nothing():
    loss = JudgedLoss()
    filled = [
        np.concatenate([array, np.zeros((2, array.shape[1]))]).astype("float32")
        for array in (JUDGED, POLICY)
    ]
    weights = np.array([1.0] * 6 + [0.0] * 2, "float32")
    alone = loss(JUDGED.astype("float32"), POLICY.astype("float32"))
    np.testing.assert_allclose(loss(*filled, weights), alone, rtol=1e-6)


@pytest.mark.parametrize("loss", [PairLoss("ipo", 0.3), JudgedLoss(0.2, 2.0)])
def test_losses_are_saved_with_a_model(loss):
    config = keras.losses.serialize(loss)
    again = keras.losses.deserialize(config)
    assert again.get_config() == loss.get_config()


def test_metrics_of_pairs():
    settings = PreferenceSettings(beta=0.5)
    found = {}
    for metric in preference_metrics(settings):
        metric.update_state(
            REFERENCE.astype("float32"), POLICY.astype("float32")
        )
        found[metric.name] = float(metric.result())
    rewards = 0.5 * (POLICY - REFERENCE)
    margins = rewards[:, 0] - rewards[:, 1]
    expected = {
        "accuracy": np.mean(margins > 0),
        "margin": np.mean(margins),
        "reward_chosen": rewards[:, 0].mean(),
        "reward_rejected": rewards[:, 1].mean(),
    }
    assert found == pytest.approx(expected, rel=1e-5)
