"""Windows: pure functions of (seed, k), complete, in bounds."""

from types import SimpleNamespace

import numpy as np
import pytest

from keras_llm.datasets import EvaluationWindows, TrainingWindows
from keras_llm.datasets.permutation import permute
from keras_llm.errors import InputError

END = 2


class CountingTokens:
    """Tokens 100, 101, 102, …, so that an id tells its position."""

    end_token_id = END
    text_bytes = None

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def read(self, start, length):
        assert 0 <= start <= start + length <= self.count
        return np.arange(100 + start, 100 + start + length, dtype=np.int32)


def round_keys(*seed):
    return np.random.SeedSequence(seed).generate_state(4, np.uint64)


@pytest.mark.parametrize(
    "size", [*range(1, 40), 63, 64, 65, 99, 100, 101, 1000, 4096, 65537]
)
def test_feistel_is_a_permutation(size):
    order = permute(np.arange(size), size, round_keys(1, size))
    assert np.array_equal(np.sort(order), np.arange(size))
    alone = permute(np.array([size // 2]), size, round_keys(1, size))
    assert alone[0] == order[size // 2]


def test_feistel_shuffles():
    first = permute(np.arange(1000), 1000, round_keys(1))
    second = permute(np.arange(1000), 1000, round_keys(2))
    assert (first == second).sum() < 10
    for order in (first, second):
        assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.15
        assert (np.diff(order) == 1).sum() < 10


def test_feistel_takes_sizes_beyond_memory():
    size = 10**15
    indices = np.arange(5) * (size // 5)
    order = permute(indices, size, round_keys(3))
    assert len(set(order)) == 5 and order.min() >= 0 and order.max() < size


def training(count=1001, length=10, batch_size=4, seed=0):
    return TrainingWindows(CountingTokens(count), length, batch_size, seed)


def ids_and_labels(windows, k):
    features, labels = windows.batch(k)
    assert features["padding_mask"].all()
    return features["token_ids"], labels


def epoch_starts(windows, epoch):
    n = windows.windows_per_epoch
    all_starts = [windows.starts(k) for k in range(2 + (epoch + 1) * n)]
    return np.concatenate(all_starts)[epoch * n : (epoch + 1) * n]


def test_labels_are_the_next_tokens():
    token_ids, labels = ids_and_labels(training(), 3)
    assert token_ids.shape == labels.shape == (4, 10)
    assert token_ids.dtype == labels.dtype == np.int32
    assert np.array_equal(token_ids + 1, labels)


@pytest.mark.parametrize("count", [11, 12, 21, 22, 31, 40, 1000, 1001, 1009])
def test_every_window_once_an_epoch(count):
    windows = training(count)
    for epoch in range(3):
        starts = epoch_starts(windows, epoch)
        offset = starts.min()
        expected = offset + 10 * np.arange(windows.windows_per_epoch)
        assert np.array_equal(np.sort(starts), expected)
        assert starts.max() + 11 <= count


def test_offset_and_order_change_every_epoch():
    windows = training()
    starts = [epoch_starts(windows, epoch) for epoch in range(8)]
    assert len({epoch.min() for epoch in starts}) > 4
    assert not np.array_equal(np.diff(starts[0]), np.diff(starts[1]))


def test_every_token_is_seen_in_some_epoch():
    windows = training(count=101)
    seen = set()
    for k in range(200):
        seen |= set(windows.batch(k)[1].ravel())
    assert seen == set(range(101, 201))


def test_batch_is_a_function_of_seed_and_k():
    windows = training(seed=7)
    later = ids_and_labels(windows, 123)
    for k in range(9):
        windows.batch(k)
    for other in (windows, training(seed=7)):
        assert np.array_equal(ids_and_labels(other, 123), later)
    assert not np.array_equal(ids_and_labels(training(seed=8), 123), later)


def test_batch_may_span_epochs():
    windows = training(count=31, batch_size=7)
    assert windows.windows_per_epoch == 2
    assert windows.batch(0)[1].shape == (7, 10)


def test_text_of_exactly_one_window():
    windows = training(count=11)
    token_ids, labels = ids_and_labels(windows, 5)
    assert np.array_equal(token_ids, np.tile(np.arange(100, 110), (4, 1)))
    assert np.array_equal(labels, np.tile(np.arange(101, 111), (4, 1)))


def test_text_shorter_than_a_window():
    with pytest.raises(InputError) as error:
        training(count=40, length=64)
    assert str(error.value) == (
        "This split has 40 tokens; a window needs 65 (sequence_length 64 + 1)."
        " Pass --model.max_sequence_length 39 or less, or add text."
    )
    with pytest.raises(InputError, match=r"\(sequence_length 64 \+ 1\)"):
        training(count=2, length=64)


@pytest.mark.parametrize("count", [1, 9, 10, 11, 40, 41, 79, 80, 81, 400])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_evaluation_covers_every_token_once_in_order(count, batch_size):
    windows = EvaluationWindows(CountingTokens(count), 10, batch_size)
    batches = []
    for k in range(len(windows)):
        features, labels, weight = windows.batch(k)
        assert np.array_equal(features["padding_mask"], weight > 0)
        batches.append((features["token_ids"], labels, weight))
    dtypes = [np.int32, np.int32, np.float32]
    for batch in batches:
        assert [array.shape for array in batch] == 3 * [(batch_size, 10)]
        assert [array.dtype for array in batch] == dtypes
    token_ids, labels, weight = (
        np.concatenate([batch[part].ravel() for batch in batches])
        for part in range(3)
    )
    assert set(weight) <= {0, 1}
    kept = weight == 1
    assert np.array_equal(labels[kept], 100 + np.arange(count))
    contexts = [END, *range(100, 100 + count - 1)]
    assert np.array_equal(token_ids[kept], contexts)
    assert not labels[~kept].any() and not token_ids[~kept].any()


def test_evaluation_reads_no_more_than_a_row():
    longest = 0

    def read(start, length):
        nonlocal longest
        longest = max(longest, length)
        return np.zeros(length, np.int32)

    class Recorded(SimpleNamespace):
        def __len__(self):
            return 1000

    recorded = Recorded(read=read, end_token_id=END, text_bytes=1)
    windows = EvaluationWindows(recorded, 10, 4)
    for k in range(len(windows)):
        windows.batch(k)
    assert longest == 11


@pytest.mark.parametrize("count", [1, 10, 11, 13, 14, 100])
@pytest.mark.parametrize("stride", [1, 3, 10])
def test_with_a_stride_every_token_counts_once_after_more_context(
    count, stride
):
    windows = EvaluationWindows(CountingTokens(count), 10, 4, stride)
    counted = []
    for k in range(len(windows)):
        features, labels, weights = windows.batch(k)
        assert not weights[~features["padding_mask"]].any()
        for row in range(4):
            places = np.flatnonzero(weights[row])
            counted += labels[row, places].tolist()
            # All that came before in the text, or in the window.
            for place in places:
                first = features["token_ids"][row, 0]
                assert place >= 10 - stride or first == END
    assert counted == [*range(100, 100 + count)]


@pytest.mark.parametrize("stride", [0, 11])
def test_a_stride_beyond_the_window_is_refused(stride):
    with pytest.raises(InputError, match=rf"\[1, 10\].*Received: {stride}"):
        EvaluationWindows(CountingTokens(50), 10, 4, stride)
