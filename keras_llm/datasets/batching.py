"""Which examples make up which batch, where they differ in length."""

import numpy as np

MOST_LENGTHS = 12  # that batches are padded to; each is compiled once,
LEAST_BATCHES = 4  # which takes the time of several batches
MOST_CHOICES = 256  # of lengths that these are chosen from


class BatchesByLength:
    """Batches of examples of like length, of which `k` is a function of `k`.

    Examples are shuffled within groups of like length, and the batches among
    each other, anew every epoch. The last batch of an epoch may be short.

    Args:
        lengths: int `(examples,)`, in tokens.
        batch_size: Examples a batch; all, if there are fewer.
        seed: Decides the order; in order of length, always the same, if
            `None`.
    """

    def __init__(
        self, lengths: np.ndarray, batch_size: int, seed: int | None = None
    ):
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size = min(batch_size, len(self.lengths))
        self.seed = seed
        self.num_batches = -(-len(self.lengths) // batch_size)
        most = min(MOST_LENGTHS, -(-self.num_batches // LEAST_BATCHES))
        self._padded = _padded_lengths(self.lengths, most)
        self._epoch: tuple[int, list[np.ndarray]] | None = None

    def indices(self, k: int) -> np.ndarray:
        """Examples of batch `k`, counted over all epochs."""
        epoch, index = divmod(int(k), self.num_batches)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self._batches(epoch))
        return self._epoch[1][index]

    def length(self, indices: np.ndarray) -> int:
        """What a batch of these examples is padded to."""
        return int(self._padded[indices].max())

    def padding_share(self) -> float:
        """Share of positions of an epoch that hold padding, in [0, 1)."""
        held = positions = 0
        for batch in self._batches(0):
            held += int(self.lengths[batch].sum())
            positions += self.batch_size * self.length(batch)
        return 1 - held / positions

    def _batches(self, epoch: int) -> list[np.ndarray]:
        if self.seed is None:
            order = np.argsort(self._padded, kind="stable")
            return _cut(order, self.batch_size)
        sequence = np.random.SeedSequence([self.seed, epoch])
        draw = np.random.Generator(np.random.Philox(sequence))
        shuffled = draw.permutation(len(self.lengths))
        # Stable: of one padded length, they stay shuffled.
        by_length = np.argsort(self._padded[shuffled], kind="stable")
        batches = _cut(shuffled[by_length], self.batch_size)
        return [batches[i] for i in draw.permutation(len(batches))]


class ByLength:
    """What batches of examples of like length have alike.

    Attributes:
        order: Which examples make up which batch.
    """

    order: BatchesByLength

    def __len__(self) -> int:
        """Batches an epoch."""
        return self.order.num_batches

    def padding_share(self) -> float:
        """Share of an epoch's positions that hold padding, in [0, 1)."""
        return self.order.padding_share()

    def num_tokens(self, k: int) -> int:
        """Tokens of batch `k`, padding left out."""
        return int(self.order.lengths[self.order.indices(k)].sum())


def _cut(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    return [
        order[start : start + batch_size]
        for start in range(0, len(order), batch_size)
    ]


def _padded_lengths(lengths: np.ndarray, most: int) -> np.ndarray:
    """Each example's length, rounded up to one of at most `most`.

    Of all choices, theirs has the least padding.
    """
    grain = -(-int(lengths.max()) // MOST_CHOICES)
    choices, counts = np.unique(-(-lengths // grain), return_counts=True)
    ends = _best_ends(choices, np.cumsum(counts), most)
    steps = np.minimum(choices[ends] * grain, lengths.max())
    return steps[np.searchsorted(steps, lengths)]


def _best_ends(choices: np.ndarray, seen: np.ndarray, most: int) -> list[int]:
    """Where to end groups, so that the sum of padded lengths is least.

    Args:
        choices: Lengths, growing.
        seen: How many examples are no longer than each.
        most: Groups.
    """
    # cost[i, j]: of one group that begins after choice i - 1 and ends at j.
    before = np.concatenate([[0], seen[:-1]])
    sizes = seen[None] - before[:, None]
    cost = np.where(sizes > 0, sizes * choices[None], np.inf)
    best, groups = cost[0], []
    for _ in range(min(most, len(choices)) - 1):
        # The last group begins at i, what is before it is at its best.
        total = np.concatenate([[0], best[:-1]])[:, None] + cost
        groups.append(total.argmin(axis=0))
        best = total.min(axis=0)
    ends, end = [], len(choices) - 1
    for first in reversed(groups):
        ends.append(end)
        end = first[end] - 1
        if end < 0:
            break
    else:
        ends.append(end)
    return ends[::-1]
