"""Answer 1: attention, in NumPy."""

import numpy as np


def attention(query: np.ndarray, key: np.ndarray, value: np.ndarray):
    """What each token takes from itself and from those before it."""
    scores = query @ key.T / np.sqrt(query.shape[-1])
    later = np.triu(np.ones_like(scores, dtype=bool), k=1)
    scores = np.where(later, -np.inf, scores)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights @ value
