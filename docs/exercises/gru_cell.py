"""Exercise 2: one step of a GRU, in NumPy."""

import numpy as np


def gru_step(inputs: np.ndarray, recurrent: np.ndarray, state: np.ndarray):
    """The state after one more token.

    Args:
        inputs: float `(3 * width,)`, what the token says to each gate: the
            update gate first, then the reset gate, then the new state.
        recurrent: float `(3 * width,)`, what the state says to each of them.
        state: float `(width,)`.

    Returns:
        float `(width,)`.
    """
    raise NotImplementedError
