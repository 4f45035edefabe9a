"""Answer 2: one step of a GRU, in NumPy."""

import numpy as np


def sigmoid(x: np.ndarray) -> np.ndarray:
    """From any number to one between 0 and 1."""
    return 1 / (1 + np.exp(-x))


def gru_step(inputs: np.ndarray, recurrent: np.ndarray, state: np.ndarray):
    """The state after one more token."""
    update_x, reset_x, new_x = np.split(inputs, 3)
    update_h, reset_h, new_h = np.split(recurrent, 3)
    update = sigmoid(update_x + update_h)
    reset = sigmoid(reset_x + reset_h)
    new = np.tanh(new_x + reset * new_h)
    return update * state + (1 - update) * new
