"""MinHash: near-duplicates share one of a few band keys; pairs are verified.

A text is the set of its word 5-grams (shingles). Two texts whose sets have
Jaccard similarity s agree in one of `bands` keys of `rows` minima each with
probability `1 - (1 - s ** rows) ** bands` (Leskovec, Rajaraman and Ullman,
Mining of Massive Datasets, chapter 3, http://www.mmds.org). Keys are computed
with each document, in tasks; the pairs that share one are candidates; tasks
compute their exact similarity.

datatrove's four MinHash stages hash shingles in a Python loop, compare keys in
a heap of Python objects, find 92% of the pairs at 0.8 (14 bands of 8; ours are
chosen for the similarity in question, and find 99%), and take whatever shares a
key for a duplicate.
"""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from keras_llm.corpus.duplicates.hashing import (
    distinct,
    is_among,
    mixed,
    ngram_hashes,
    repeated_values,
    word_hashes,
)
from keras_llm.errors import InputError

SHINGLE = 5  # words
RECALL = 0.99  # of pairs that just reach the similarity
NO_KEY = 0  # of a text without words, which is like no other
# Of a key that more documents share, not all pairs are candidates, which
# would be the square of their number: each is compared with the first and
# with the next sixteen.
NEIGHBOURS = 16

_LEAST_SIMILARITY = 0.1
_MOST_HASHES = 160  # but for similarities so low that one row takes more
_MOST_ROWS = 16
_STRIDE = 512  # shingles at a time: all their hashes fit in the cache
_KEPT_SETS = 4 * NEIGHBOURS  # of shingles, of the texts compared last
_HALF = np.uint64(32)


def bands_and_rows(similarity: float) -> tuple[int, int]:
    """The most selective bands that find pairs of this Jaccard similarity.

    Returns:
        `(bands, rows)`: as many rows as `RECALL` allows with 160 hashes.

    Raises:
        InputError: The similarity is outside [0.1, 1].
    """
    if not _LEAST_SIMILARITY <= similarity <= 1:
        raise InputError(
            f"corpus.similarity must be in [{_LEAST_SIMILARITY}, 1] to find "
            f"near-duplicates by. Received: {similarity}. Pass 0.8, say."
        )
    best = None
    for rows in range(1, _MOST_ROWS + 1):
        bands = _bands_needed(similarity**rows)
        if best is None or bands * rows <= _MOST_HASHES:
            best = bands, rows
    return best


def recall(similarity: float, bands: int, rows: int) -> float:
    """Share of pairs of a similarity that have a key in common, in theory."""
    return 1 - (1 - similarity**rows) ** bands


class Signer:
    """Computes signatures for one similarity.

    A text of fewer than five words is one shingle, so short texts are
    near-duplicates if their words are the same. The same text has the same
    signature on any machine.

    Args:
        similarity: Jaccard similarity from which texts are near-duplicates.

    Attributes:
        bands: Keys of a text.
        rows: Minima of a key.
    """

    def __init__(self, similarity: float):
        self.bands, self.rows = bands_and_rows(similarity)
        self._factors = _factors(self.bands * self.rows)

    def band_keys(self, text: str) -> np.ndarray:
        """The keys of a text, uint64 `(bands,)`; all `NO_KEY` without words."""
        return self._keys(self._minima(text))

    def _minima(self, text: str) -> np.ndarray:
        """The smallest value of each hash function over the shingles."""
        hashes = shingle_hashes(text)
        low = (hashes & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        high = (hashes >> np.uint64(32)).astype(np.uint32)
        size = len(self._factors)
        minima = np.full(size, np.iinfo(np.uint32).max, np.uint32)
        buffer = np.empty((size, min(_STRIDE, len(low))), np.uint32)
        for start in range(0, len(low), _STRIDE):
            part = low[start : start + _STRIDE]
            # A line through two random halves: pairwise independent.
            values = np.multiply(
                self._factors[:, None], part, out=buffer[:, : len(part)]
            )
            values += high[start : start + _STRIDE]
            np.minimum(minima, values.min(axis=1), out=minima)
        return minima

    def _keys(self, minima: np.ndarray) -> np.ndarray:
        if minima.min() == np.iinfo(np.uint32).max:
            return np.full(self.bands, NO_KEY, np.uint64)
        rows = minima.reshape(self.bands, self.rows).astype(np.uint64)
        keys = np.full(self.bands, self.rows, np.uint64)
        for row in rows.T:
            keys = mixed(keys ^ row)
        return np.maximum(keys, np.uint64(NO_KEY + 1))


def shingle_hashes(text: str) -> np.ndarray:
    """The hash of each shingle, in order, repeated ones too: a uint64 array
    `(shingles,)`, empty only if the text has no word.
    """
    words = word_hashes(text)
    return ngram_hashes(words, min(SHINGLE, max(len(words), 1)))


def shingle_set(text: str) -> np.ndarray:
    """The distinct shingles' hashes, sorted: a uint64 array."""
    return distinct(shingle_hashes(text))


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Shingles that two sets share, of those in either; 0 if both are empty."""
    shared = len(np.intersect1d(a, b, assume_unique=True))
    union = len(a) + len(b) - shared
    return shared / union if union else 0.0


@functools.cache
def _factors(size: int) -> np.ndarray:
    """Odd uint32 factors, the same on every machine."""
    counters = np.arange(1, size + 1, dtype=np.uint64)
    return (mixed(counters) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)


def _bands_needed(probability: float) -> int:
    if probability >= RECALL:
        return 1
    return math.ceil(math.log(1 - RECALL) / math.log(1 - probability))


def candidate_pairs(
    keys: Sequence[np.ndarray], is_kept: np.ndarray
) -> np.ndarray:
    """All pairs of kept documents that share a key.

    Args:
        keys: For each task a uint64 array `(documents, bands)`, which may
            be memory-mapped; fastest to read if in Fortran order.
        is_kept: bool array, for each document of all tasks in order:
            whether it is compared at all (exact duplicates need not be).

    Returns:
        int64 array `(pairs, 2)`, the smaller index first, sorted, each
            once.
    """
    bands = max((task.shape[1] for task in keys if len(task)), default=0)
    pairs = np.empty(0, np.uint64)
    for band in range(bands):
        found = _pairs_of_band([task[:, band] for task in keys], is_kept)
        pairs = distinct(np.concatenate([pairs, found]))
    seconds = pairs & np.uint64(0xFFFFFFFF)
    return np.stack([pairs >> _HALF, seconds], axis=1).astype(np.int64)


def _pairs_of_band(
    columns: list[np.ndarray], is_kept: np.ndarray
) -> np.ndarray:
    """Pairs that share a key of one band, each as one uint64."""
    keys = np.concatenate(columns)
    keys[~is_kept] = NO_KEY
    repeated = repeated_values(keys)
    repeated = repeated[repeated != NO_KEY]
    members = np.flatnonzero(is_among(keys, repeated))
    keys = keys[members]
    order = np.argsort(keys, kind="stable")
    return _pairs_of_runs(keys[order], members[order].astype(np.uint64))


def _pairs_of_runs(keys: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Pairs within runs of equal keys: near neighbours, and the first."""
    pairs = []
    positions = np.arange(len(keys))
    for distance in range(1, NEIGHBOURS + 1):
        positions = positions[positions + distance < len(keys)]
        is_same = keys[positions] == keys[positions + distance]
        positions = positions[is_same]
        if not len(positions):
            break
        pairs.append(_packed(members, positions, positions + distance))
    starts = np.flatnonzero(np.diff(keys, prepend=keys[:1] + np.uint64(1)))
    lengths = np.diff(starts, append=len(keys))
    first = np.repeat(starts, lengths)
    is_far = np.flatnonzero(np.arange(len(keys)) - first > NEIGHBOURS)
    pairs.append(_packed(members, first[is_far], is_far))
    return np.concatenate(pairs)


def _packed(
    members: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Pairs of members, which ascend within a run, as one uint64 each."""
    return members[first] << _HALF | members[second]


def verified(
    pairs: np.ndarray, read_text: Callable[[int], str], similarity: float
) -> np.ndarray:
    """The pairs whose exact Jaccard similarity reaches a threshold.

    Args:
        pairs: int64 array `(pairs, 2)` of indices of documents.
        read_text: Gives a document's text by its index in the corpus.
        similarity: Least Jaccard similarity of duplicates.
    """

    @functools.lru_cache(_KEPT_SETS)
    def shingles(document: int) -> np.ndarray:
        return shingle_set(read_text(document))

    is_near = [
        _is_near(shingles(a), shingles(b), similarity)
        for a, b in pairs.tolist()
    ]
    return pairs[np.array(is_near, bool)]


def _is_near(a: np.ndarray, b: np.ndarray, similarity: float) -> bool:
    fewer, more = sorted((len(a), len(b)))
    if not fewer or fewer / more < similarity:
        return False  # whatever they share
    return jaccard(a, b) >= similarity
