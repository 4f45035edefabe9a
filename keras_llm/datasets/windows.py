"""Which tokens make up which batch. Knows nothing of pipelines or models."""

import numpy as np

from keras_llm.datasets.batches import token_batch, token_signature
from keras_llm.datasets.permutation import permute
from keras_llm.datasets.tokens import Tokens
from keras_llm.errors import InputError
from keras_llm.recipes.checks import check

ROUNDS = 4


class TrainingWindows:
    """Shuffled windows, of which batch `k` is a function of seed and `k`.

    An epoch is every one of `windows_per_epoch` non-overlapping windows once,
    in an order of its own and from an offset of its own, so that epochs cut
    the text at different places.

    Args:
        tokens: Tokens of a split.
        sequence_length: Tokens a window.
        batch_size: Windows a batch.
        seed: Decides order and offsets; not negative.

    Raises:
        InputError: Text shorter than one window.
    """

    def __init__(
        self, tokens: Tokens, sequence_length: int, batch_size: int, seed: int
    ):
        check_length(tokens, sequence_length)
        self._tokens = tokens
        self.sequence_length = sequence_length
        self.batch_size = batch_size
        self.seed = seed
        # One window less than would fit is the room for the offset.
        fitting = (len(tokens) - 1) // sequence_length
        self.windows_per_epoch = max(1, fitting - 1)

    def __len__(self) -> int:
        """Batches an epoch, at least."""
        return -(-self.windows_per_epoch // self.batch_size)

    @property
    def signature(self) -> tuple:
        return token_signature(self.batch_size, self.sequence_length)

    def batch(self, k: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Batch `k`, counted over all epochs.

        Returns:
            A dict of int32 `token_ids` and bool `padding_mask`, and int32
            `labels` (the same tokens, one on), all
            `(batch_size, sequence_length)`.
        """
        starts = self.starts(k)
        size = self.sequence_length + 1
        rows = np.stack([self._tokens.read(start, size) for start in starts])
        padding_mask = np.ones((self.batch_size, self.sequence_length), bool)
        return token_batch(rows[:, :-1], rows[:, 1:], padding_mask=padding_mask)

    def num_tokens(self, k: int) -> int:
        """Tokens of a batch, the same for all."""
        return self.batch_size * self.sequence_length

    def starts(self, k: int) -> np.ndarray:
        """First tokens of the windows of batch `k`, int64 `(batch_size,)`."""
        examples = k * self.batch_size + np.arange(self.batch_size)
        epochs, indices = np.divmod(examples, self.windows_per_epoch)
        starts = np.empty(self.batch_size, np.int64)
        for epoch in np.unique(epochs):
            rows = epochs == epoch
            starts[rows] = self._starts_in_epoch(int(epoch), indices[rows])
        return starts

    def _starts_in_epoch(self, epoch: int, indices: np.ndarray) -> np.ndarray:
        sequence = np.random.SeedSequence([self.seed, epoch])
        *keys, draw = sequence.generate_state(ROUNDS + 1, np.uint64)
        covered = self.windows_per_epoch * self.sequence_length
        offset = int(draw) % (len(self._tokens) - covered)
        order = permute(indices, self.windows_per_epoch, np.array(keys))
        return offset + order * self.sequence_length


class EvaluationWindows:
    """Windows in order, with every token of the split a label exactly once.

    The context of the first token is the end token, the boundary between
    documents. What is left over in the last window, and the last batch, is
    filled up with weight 0, so that all batches have one shape.

    Args:
        tokens: Tokens of a split.
        sequence_length: Tokens a window; the most context that a prediction
            may use.
        batch_size: Windows a batch; as many as make 4096 tokens if omitted.
        stride: Tokens from one window's beginning to the next one's: where
            windows overlap, what was a label before is context, of weight 0.
            `sequence_length`, so that none do, if omitted.

    Raises:
        InputError: A stride beyond the window.
    """

    def __init__(
        self,
        tokens: Tokens,
        sequence_length: int,
        batch_size: int | None = None,
        stride: int | None = None,
    ):
        self._tokens = tokens
        self.text_bytes = tokens.text_bytes
        self.sequence_length = sequence_length
        self.batch_size = batch_size or max(1, 4096 // sequence_length)
        self.stride = sequence_length if stride is None else stride
        valid = 1 <= self.stride <= sequence_length
        expected = f"in [1, {sequence_length}], the tokens of a window"
        check(valid, "stride", expected, stride)

    def __len__(self) -> int:
        further = max(len(self._tokens) - self.sequence_length, 0)
        windows = 1 + -(-further // self.stride)
        return -(-windows // self.batch_size)

    @property
    def signature(self) -> tuple:
        return token_signature(self.batch_size, self.sequence_length, True)

    def batch(
        self, k: int
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Batch `k` of `len(self)`.

        Returns:
            A dict of int32 `token_ids` and bool `padding_mask`, int32
            `labels` and float32 `sample_weight`, all
            `(batch_size, sequence_length)`.
        """
        first = k * self.batch_size * self.stride
        starts = first + self.stride * np.arange(self.batch_size)
        seen = np.where(starts > 0, self.sequence_length - self.stride, 0)
        ends = np.full_like(starts, len(self._tokens))
        return rows_of(self._tokens, self.sequence_length, starts, ends, seen)


def rows_of(
    tokens: Tokens,
    length: int,
    starts: np.ndarray,
    ends: np.ndarray,
    seen: np.ndarray | int = 0,
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """A batch of evaluation, filled up where a row's text has ended.

    Args:
        tokens: Tokens of a split.
        length: Of a row.
        starts: int `(batch_size,)`, each row's first label.
        ends: int `(batch_size,)`, where its text ends.
        seen: int `(batch_size,)`, how many of its labels do not count.
    """
    shape = (len(starts), length)
    token_ids, labels = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    held = np.clip(ends - starts, 0, length)
    for row in np.flatnonzero(held):
        start, count = int(starts[row]), int(held[row])
        before = max(start - 1, 0)
        read = tokens.read(before, start + count - before)
        labels[row, :count] = read[start - before :]
        token_ids[row, 0] = read[0] if start else tokens.end_token_id
        token_ids[row, 1:count] = labels[row, : count - 1]
    place = np.arange(length)
    mask = place < held[:, None]
    counts = mask & (place >= np.reshape(seen, (-1, 1)))
    weights = counts.astype(np.float32)
    return token_batch(token_ids, labels, weights, padding_mask=mask)


def check_length(tokens: Tokens, sequence_length: int) -> None:
    """Raises `InputError` if text is shorter than a window and a label."""
    count, needed = len(tokens), sequence_length + 1
    if count >= needed:
        return
    advice = "Add text."
    if count > 2:
        advice = (
            f"Pass --model.max_sequence_length {count - 1} or less, or add "
            "text."
        )
    raise InputError(
        f"This split has {count} tokens; a window needs {needed} "
        f"(sequence_length {sequence_length} + 1). {advice}"
    )
