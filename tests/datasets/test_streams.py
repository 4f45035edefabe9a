"""Streams: rows that go on, complete, and functions of (seed, k)."""

import numpy as np
import pytest
from test_windows import END, CountingTokens

from keras_llm.datasets import EvaluationStreams, TrainingStreams
from keras_llm.errors import InputError


def training(count=1000, length=10, batch_size=4, seed=0):
    return TrainingStreams(CountingTokens(count), length, batch_size, seed)


def test_rows_go_on_where_they_ended():
    streams = training(count=997)
    before = None
    for k in range(300):
        features, labels = streams.batch(k)
        assert features["padding_mask"].all()
        ids = features["token_ids"] - 100
        assert np.array_equal((ids + 1) % 997, labels - 100)
        if before is not None:
            assert np.array_equal(ids[:, 0], before[:, -1])
        before = labels - 100


def test_an_epoch_has_every_token_once():
    streams = training()
    assert len(streams) == 25
    labels = [streams.batch(k)[1] for k in range(25)]
    expected = np.arange(100, 1100)
    assert np.array_equal(np.sort(np.ravel(labels)), expected)
    # A row goes on where the next one began.
    assert np.array_equal(streams.batch(25)[1][0], streams.batch(0)[1][1])


def test_a_batch_is_a_function_of_seed_and_k():
    later = training(seed=7).batch(123)[1]
    streams = training(seed=7)
    for k in range(9):
        streams.batch(k)
    assert np.array_equal(streams.batch(123)[1], later)
    assert not np.array_equal(training(seed=8).batch(123)[1], later)


def test_a_text_of_one_window_and_no_less():
    assert training(count=11, batch_size=16).batch(5)[1].shape == (16, 10)
    with pytest.raises(InputError, match="10 tokens; a window needs 11"):
        training(count=10)


@pytest.mark.parametrize("count", [1, 9, 10, 11, 40, 41, 400])
@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_evaluation_has_every_token_once_in_streams(count, batch_size):
    streams = EvaluationStreams(CountingTokens(count), 10, batch_size)
    rows = streams.batch_size
    assert rows == min(batch_size or 10, count)
    batches = [streams.batch(k) for k in range(len(streams))]
    token_ids = np.hstack([features["token_ids"] for features, *_ in batches])
    masks = np.hstack([features["padding_mask"] for features, *_ in batches])
    labels, weights = (
        np.hstack([batch[part] for batch in batches]) for part in (1, 2)
    )
    assert np.array_equal(masks, weights == 1)
    assert np.array_equal(labels[masks], 100 + np.arange(count))
    contexts = [END, *range(100, 100 + count - 1)]
    assert np.array_equal(token_ids[masks], contexts)
