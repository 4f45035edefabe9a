"""Answer 4: from scores to the next token."""

import numpy as np


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities of scores."""
    odds = np.exp(scores - scores.max())
    return odds / odds.sum()


def choose(
    scores: np.ndarray,
    temperature: float,
    top_k: int,
    top_p: float,
    uniform: float,
) -> int:
    """The number of the token that is drawn."""
    if temperature == 0:
        return int(scores.argmax())
    scores = scores / temperature
    order = np.argsort(-scores)
    if top_k:
        scores[order[top_k:]] = -np.inf
    probabilities = softmax(scores)[order]
    before = np.cumsum(probabilities) - probabilities
    scores[order[before >= top_p]] = -np.inf
    return int((np.cumsum(softmax(scores)) <= uniform).sum())
