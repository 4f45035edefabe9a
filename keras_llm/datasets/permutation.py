"""A pseudo-random order of any length that takes no memory."""

from math import isqrt

import numpy as np

from keras_llm.corpus.duplicates.hashing import mixed


def permute(
    indices: np.ndarray, size: int, round_keys: np.ndarray
) -> np.ndarray:
    """Where a permutation of `range(size)` sends each index.

    A Feistel network over pairs of digits is a permutation, whatever its
    round function, of the next square; a value that falls beyond `size` is
    sent on until it falls within (Black and Rogaway 2002,
    https://eprint.iacr.org/2001/012).

    Args:
        indices: Integers in `[0, size)`.
        size: Length of the order.
        round_keys: uint64 `(rounds,)`; they choose the permutation.

    Returns:
        int64, the shape of `indices`.
    """
    base = np.uint64(isqrt(size - 1) + 1)
    values = _feistel(indices.astype(np.uint64), base, round_keys)
    while (beyond := values >= size).any():
        values[beyond] = _feistel(values[beyond], base, round_keys)
    return values.astype(np.int64)


def _feistel(
    values: np.ndarray, base: np.uint64, keys: np.ndarray
) -> np.ndarray:
    left, right = np.divmod(values, base)
    for key in keys:
        left, right = right, (left + mixed(right ^ key) % base) % base
    return left * base + right
