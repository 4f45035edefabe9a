"""Log-likelihoods in NumPy, of one row without padding."""

import numpy as np


def log_probabilities(model, token_ids):
    """float64 `(length, vocabulary)` after each of int ids `(length,)`."""
    ids = np.array([token_ids], "int32")
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    logits = np.array(model(inputs), "float64")[0]
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def scored(model, max_length, before, scored):
    """Nats of `scored` after `before`, and whether each is the likeliest."""
    ids = (before + scored)[-max_length - 1 :]
    found = log_probabilities(model, ids[:-1])[-len(scored) :]
    nats = found[np.arange(len(scored)), scored].sum()
    return nats, bool((found.argmax(-1) == scored).all())
