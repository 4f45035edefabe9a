"""MinHash signatures: near-duplicates share one of a text's few band keys.

A text is the set of its word 5-grams (shingles). Two texts whose sets have
Jaccard similarity s agree in one of `bands` keys of `rows` minima each with
probability `1 - (1 - s ** rows) ** bands` (Leskovec, Rajaraman and Ullman,
Mining of Massive Datasets, chapter 3, http://www.mmds.org).

datatrove's `MinhashDedupSignature` hashes shingles in a Python loop, and its
14 bands of 8 find 92% of the pairs at 0.8. Ours are chosen for the similarity
in question, and find 99% of the pairs that just reach it.
"""

import functools
import math

import numpy as np

from keras_llm.corpus.arrays import distinct
from keras_llm.corpus.duplicates.hashing import mixed, ngram_hashes, word_hashes
from keras_llm.errors import InputError

SHINGLE = 5  # words
RECALL = 0.99  # of pairs that just reach the similarity
NO_KEY = 0  # of a text without words, which is like no other

_LEAST_SIMILARITY = 0.1
_MOST_HASHES = 160  # but for similarities so low that one row takes more
_MOST_ROWS = 16
_STRIDE = 512  # shingles at a time: all their hashes fit in the cache


def bands_and_rows(similarity: float) -> tuple[int, int]:
    """The most selective bands that find pairs of this similarity.

    Args:
        similarity: Jaccard similarity from which texts are near-duplicates.

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
        """The keys of a text.

        Returns:
            uint64 array `(bands,)`; all `NO_KEY` if the text has no word.
        """
        return self._keys(self._minima(text))

    def _minima(self, text: str) -> np.ndarray:
        """The smallest value of each hash function over the shingles.

        Returns:
            uint32 array `(bands * rows,)`; all the largest uint32 if the text
            has no word.
        """
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
        """The keys of a text, from its minima."""
        if minima.min() == np.iinfo(np.uint32).max:
            return np.full(self.bands, NO_KEY, np.uint64)
        rows = minima.reshape(self.bands, self.rows).astype(np.uint64)
        keys = np.full(self.bands, self.rows, np.uint64)
        for row in rows.T:
            keys = mixed(keys ^ row)
        return np.maximum(keys, np.uint64(NO_KEY + 1))


def shingle_hashes(text: str) -> np.ndarray:
    """The hash of each shingle, in order, repeated ones too.

    Returns:
        uint64 array `(shingles,)`; empty only if the text has no word.
    """
    words = word_hashes(text)
    return ngram_hashes(words, min(SHINGLE, max(len(words), 1)))


def shingle_set(text: str) -> np.ndarray:
    """The distinct shingles' hashes, sorted: a uint64 array."""
    return distinct(shingle_hashes(text))


def jaccard(a: str, b: str) -> float:
    """Shingles that two texts share, of those that either has."""
    return jaccard_of_sets(shingle_set(a), shingle_set(b))


def jaccard_of_sets(a: np.ndarray, b: np.ndarray) -> float:
    """The same, of two arrays from `shingle_set`; 0 if both are empty."""
    shared = len(np.intersect1d(a, b, assume_unique=True))
    union = len(a) + len(b) - shared
    return shared / union if union else 0.0


@functools.cache
def _factors(size: int) -> np.ndarray:
    """Odd uint32 factors, the same on every machine."""
    counters = np.arange(1, size + 1, dtype=np.uint64)
    return (mixed(counters) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)


def _bands_needed(probability: float) -> int:
    """Keys needed to have one in common, if each has this probability."""
    if probability >= RECALL:
        return 1
    return math.ceil(math.log(1 - RECALL) / math.log(1 - probability))
