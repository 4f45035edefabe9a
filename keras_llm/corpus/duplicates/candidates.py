"""Candidates: the pairs of documents that have a band key in common.

One band is in memory at a time. Knows nothing of texts.
"""

from collections.abc import Sequence

import numpy as np

from keras_llm.corpus.arrays import distinct, is_among, repeated_values
from keras_llm.corpus.duplicates.signatures import NO_KEY

# Of a key that more documents share, not all pairs are candidates, which
# would be the square of their number: each is compared with the first and
# with the next sixteen.
NEIGHBOURS = 16

_HALF = np.uint64(32)


def candidate_pairs(
    keys: Sequence[np.ndarray], is_kept: np.ndarray
) -> np.ndarray:
    """All pairs of kept documents that share a key.

    Args:
        keys: For each task a uint64 array `(documents, bands)`, which may be
            memory-mapped; fastest to read if in Fortran order.
        is_kept: bool array, for each document of all tasks in order: whether
            it is compared at all (exact duplicates need not be).

    Returns:
        int64 array `(pairs, 2)` of indices of documents, the smaller first,
        sorted, each pair once.
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
