"""Examples of their own length: on disk, and as batches."""

from itertools import combinations

import numpy as np
import pytest

from keras_llm.datasets import batching, dataset
from keras_llm.datasets.batching import MOST_LENGTHS, BatchesByLength
from keras_llm.datasets.examples import (
    AnswerBatches,
    ComparisonBatches,
    Examples,
    Row,
    write_examples,
)
from keras_llm.errors import InputError


def random_rows(rng, count, rows=1):
    """Ids that are never 0, the last half of each an answer."""
    found = []
    for _ in range(count):
        sizes = rng.integers(4, 60, rows)
        found.append(
            [
                Row(
                    list(rng.integers(1, 99, size)),
                    [place >= size // 2 for place in range(size)],
                )
                for size in sizes
            ]
        )
    return found


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    rows = random_rows(np.random.default_rng(0), 101)
    write_examples(folder, rows)
    return Examples(folder), rows


def seen(batches, epoch=0):
    """Tokens and answers of every row of an epoch, padding left out."""
    found = []
    for k in range(epoch * len(batches), (epoch + 1) * len(batches)):
        features, labels, weights = batches.batch(k)
        for ids, mask, after, weight in zip(
            features["token_ids"],
            features["padding_mask"],
            labels,
            weights,
            strict=True,
        ):
            if not weight.any():  # fills up the batch
                assert mask.sum() == 1 and not ids.any()
                continue
            size = mask.sum()
            assert not ids[size:].any() and not weight[size:].any()
            answers = weight[:size] > 0
            found.append(([ids[0], *after[:size]], [False, *answers]))
            assert list(ids[1:size]) == list(after[: size - 1])
    return sorted(found)


def test_an_epoch_is_every_example_once(examples):
    examples, rows = examples
    expected = sorted((row.token_ids, row.is_answer) for [row] in rows)
    batches = AnswerBatches(examples, 8, seed=3)
    assert len(batches) == 13
    for epoch in range(2):
        assert seen(batches, epoch) == expected
    assert seen(AnswerBatches(examples, 8)) == expected


def test_batch_is_a_function_of_seed_and_k(examples):
    examples, _ = examples
    later = AnswerBatches(examples, 8, seed=7).batch(40)[1]
    again = AnswerBatches(examples, 8, seed=7)
    for k in (0, 25, 3):
        again.batch(k)
    assert np.array_equal(again.batch(40)[1], later)
    orders = [
        [tuple(AnswerBatches(examples, 8, seed).order.indices(k)) for k in span]
        for seed, span in [(7, range(13)), (7, range(13, 26)), (8, range(13))]
    ]
    assert orders[0] != orders[1] and orders[0] != orders[2]


def test_batches_are_of_few_lengths_and_little_padding():
    lengths = np.random.default_rng(0).lognormal(4, 0.5, 2000).astype(int)
    order = BatchesByLength(lengths, 16, seed=0)
    padded = {order.length(order.indices(k)) for k in range(order.num_batches)}
    assert len(padded) <= MOST_LENGTHS and max(padded) == lengths.max()
    for k in range(order.num_batches):
        indices = order.indices(k)
        assert order.length(indices) >= lengths[indices].max()
    # What batches of a random order would have.
    shuffled = np.random.default_rng(1).permutation(lengths).reshape(-1, 16)
    naive = 1 - lengths.sum() / (shuffled.max(axis=1) * 16).sum()
    assert order.padding_share() < 0.15 < naive / 2


def test_no_other_lengths_have_less_padding(monkeypatch):
    monkeypatch.setattr(batching, "MOST_LENGTHS", 3)
    monkeypatch.setattr(batching, "LEAST_BATCHES", 1)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        lengths = rng.integers(1, 12, rng.integers(1, 30))
        padded = BatchesByLength(lengths, 1)._padded
        assert np.all(padded >= lengths) and len(set(padded)) <= 3
        choices = sorted(set(lengths))
        others = [
            sum(min(end for end in ends if end >= length) for length in lengths)
            for count in (1, 2, 3)
            for ends in combinations(choices, min(count, len(choices)))
            if ends[-1] == choices[-1]
        ]
        assert padded.sum() == min(others)


def test_lengths_that_are_all_alike():
    order = BatchesByLength(np.full(5, 7), 2, seed=0)
    assert [order.length(order.indices(k)) for k in range(3)] == [7, 7, 7]
    assert order.padding_share() == pytest.approx(1 / 6)


def test_the_pipeline_serves_batches_of_any_length(examples):
    batches = AnswerBatches(examples[0], 8, seed=0)
    for k, (features, labels, weights) in enumerate(dataset(batches, 4, 9), 4):
        ids, expected, weight = batches.batch(k)
        assert np.array_equal(features["token_ids"], ids["token_ids"])
        assert np.array_equal(labels, expected)
        assert np.array_equal(weights, weight)


def test_comparisons_keep_rows_and_targets_together(tmp_path):
    rng = np.random.default_rng(0)
    rows = random_rows(rng, 10, rows=2)
    write_examples(tmp_path, rows, labels=[True] * 5 + [False] * 5)
    examples = Examples(tmp_path)
    assert list(examples.labels) == [True] * 5 + [False] * 5
    targets = np.arange(20, dtype=np.float32).reshape(10, 2)
    batches = ComparisonBatches(examples, targets, 4, seed=0)
    [*specs] = dataset(batches, 0, len(batches)).element_spec
    assert specs[1].shape == (4, 2)
    found = {}
    for features, target, counts in dataset(batches, 0, len(batches)):
        for place in np.flatnonzero(counts):
            first = features["token_ids"][place, :, 0]
            found[tuple(target[place].numpy())] = list(first.numpy())
    assert found == {
        tuple(targets[index]): [row.token_ids[0] for row in pair]
        for index, pair in enumerate(rows)
    }


@pytest.mark.parametrize("name", ["token_ids.npy", "manifest.json"])
def test_damaged_examples_are_named(tmp_path, name):
    rows = random_rows(np.random.default_rng(0), 3)
    write_examples(tmp_path, rows)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    with pytest.raises(InputError, match=f"{name} .*--redo data"):
        Examples(tmp_path)
