"""Learning rates over a run."""

import math

import keras
import numpy as np
import pytest

from keras_llm.training import WarmupSchedule


def rates(schedule, steps):
    return np.array([float(schedule(step)) for step in range(steps)])


def test_warms_up_linearly_and_wastes_no_update():
    schedule = WarmupSchedule(0.5, 100, warmup_steps=5, shape="constant")
    np.testing.assert_allclose(
        rates(schedule, 8), [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("cosine", lambda p: 0.1 + 0.9 * (1 + math.cos(math.pi * p)) / 2),
        ("linear", lambda p: 1 - 0.9 * p),
        ("constant", lambda p: 1.0),
    ],
)
def test_falls_from_the_end_of_the_warmup_to_the_last_update(shape, expected):
    schedule = WarmupSchedule(
        2.0, 60, warmup_steps=10, shape=shape, final_share=0.1
    )
    for step in (10, 23, 35, 59, 60, 80):
        progress = min(1.0, (step - 10) / 50)
        rate = float(schedule(step))
        assert rate == pytest.approx(2 * expected(progress), rel=1e-5)


def test_stays_at_the_peak_until_the_decay():
    schedule = WarmupSchedule(
        1.0, 100, shape="warmup_stable_decay", decay_share=0.4
    )
    observed = rates(schedule, 101)
    assert np.all(observed[:61] == 1.0)
    np.testing.assert_allclose(observed[80], 0.5, rtol=1e-6)
    assert observed[100] == 0


def test_counts_optimizer_updates_where_keras_counts_batches():
    plain = WarmupSchedule(1.0, 10, warmup_steps=2, shape="linear")
    accumulating = WarmupSchedule(
        1.0, 10, warmup_steps=2, shape="linear", gradient_accumulation_steps=4
    )
    # The update of Keras's batches 3, 7, 11 … are 0, 1, 2 ….
    updates = [float(accumulating(4 * update + 3)) for update in range(10)]
    np.testing.assert_allclose(updates, rates(plain, 10), rtol=1e-6)


def test_config_round_trip():
    schedule = WarmupSchedule(0.3, 50, 5, "warmup_stable_decay", 0.2, 0.1, 2)
    copy = keras.optimizers.schedules.deserialize(
        keras.optimizers.schedules.serialize(schedule)
    )
    assert isinstance(copy, WarmupSchedule)
    np.testing.assert_array_equal(rates(copy, 50), rates(schedule, 50))
