"""Exercise 4: from scores to the next token."""

import numpy as np


def choose(
    scores: np.ndarray,
    temperature: float,
    top_k: int,
    top_p: float,
    uniform: float,
) -> int:
    """The number of the token that is drawn.

    Args:
        scores: float `(vocabulary_size,)`, all different.
        temperature: Divides the scores; 0 takes the likeliest.
        top_k: How many of the likeliest may be drawn; 0 for all.
        top_p: Of these, the likeliest whose probabilities (among these) reach
            this sum.
        uniform: A random number in [0, 1). The tokens lie side by side, in the
            order of their numbers, each as wide as its probability; the token
            that this number points into is the one.
    """
    raise NotImplementedError
