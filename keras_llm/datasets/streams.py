"""Rows that go on from batch to batch. Knows nothing of what reads them."""

import numpy as np

from keras_llm.datasets.batches import token_batch, token_signature
from keras_llm.datasets.tokens import Tokens
from keras_llm.datasets.windows import check_length, rows_of

STREAMS = 10  # of evaluation, as PyTorch's and AWD-LSTM's word model have


class TrainingStreams:
    """Contiguous streams, of which batch `k` is a function of seed and `k`.

    Row `i` of a batch begins where row `i` of the one before ended. The text
    is a ring: rows begin on it at equal distances, from a token that the seed
    chooses, and after an epoch each is where the next one began. Documents
    follow each other as in windows, with the end token between them.

    Args:
        tokens: Tokens of a split.
        sequence_length: Tokens a window.
        batch_size: Streams.
        seed: Decides where they begin; not negative.

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
        [draw] = np.random.SeedSequence(seed).generate_state(1, np.uint64)
        rows = np.arange(batch_size) * len(tokens) // batch_size
        self._firsts = int(draw) % len(tokens) + rows

    def __len__(self) -> int:
        """Batches an epoch, at least."""
        return -(-len(self._tokens) // self.num_tokens(0))

    @property
    def signature(self) -> tuple:
        return token_signature(self.batch_size, self.sequence_length)

    def batch(self, k: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Batch `k`, counted over all epochs; see `TrainingWindows.batch`."""
        starts = self._firsts + k * self.sequence_length
        rows = np.stack([self._read(start) for start in starts])
        padding_mask = np.ones((self.batch_size, self.sequence_length), bool)
        return token_batch(rows[:, :-1], rows[:, 1:], padding_mask=padding_mask)

    def num_tokens(self, k: int) -> int:
        """Tokens of a batch, the same for all."""
        return self.batch_size * self.sequence_length

    def _read(self, start: int) -> np.ndarray:
        """A window and the token after it, on the ring."""
        start, size = int(start) % len(self._tokens), self.sequence_length + 1
        held = min(size, len(self._tokens) - start)
        read = self._tokens.read(start, held)
        return np.concatenate([read, self._tokens.read(0, size - held)])


class EvaluationStreams:
    """A split as streams, with every token a label exactly once.

    Row `i` of a batch goes on where row `i` of the one before ended. Each
    stream begins after the token before it. What is left over in the last
    window of a stream is filled up with weight 0.

    Args:
        tokens: Tokens of a split.
        sequence_length: Tokens a window, which does not change the result.
        batch_size: Streams, each of which begins without a state; ten if
            omitted.
    """

    def __init__(
        self,
        tokens: Tokens,
        sequence_length: int,
        batch_size: int | None = None,
    ):
        self._tokens = tokens
        self.text_bytes = tokens.text_bytes
        self.sequence_length = sequence_length
        self.batch_size = min(batch_size or STREAMS, len(tokens))
        self._held = -(-len(tokens) // self.batch_size)

    def __len__(self) -> int:
        return -(-self._held // self.sequence_length)

    @property
    def signature(self) -> tuple:
        return token_signature(self.batch_size, self.sequence_length, True)

    def batch(
        self, k: int
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Batch `k` of `len(self)`; see `EvaluationWindows.batch`."""
        firsts = self._held * np.arange(self.batch_size)
        ends = np.minimum(firsts + self._held, len(self._tokens))
        starts = firsts + k * self.sequence_length
        return rows_of(self._tokens, self.sequence_length, starts, ends)
