"""What requests ask for as tensors, a row each."""

from collections.abc import Sequence

import numpy as np
from keras import ops

from keras_llm.serving.requests import Request


def ends_of(requests: Sequence[Request]):
    """int32 `(batch, count)`: what ends each answer, filled up with -1."""
    rows = [request.ends.token_ids for request in requests]
    ends = np.full((len(rows), max(map(len, rows))), -1, "int32")
    for row, token_ids in zip(ends, rows, strict=True):
        row[: len(token_ids)] = token_ids
    return ops.convert_to_tensor(ends)


def bias_of(requests: Sequence[Request], vocabulary_size: int):
    """float32 `(batch, vocabulary_size)`, or `None` if nobody asks for any."""
    if not any(request.logit_bias for request in requests):
        return None
    bias = np.zeros((len(requests), vocabulary_size), "float32")
    for row, request in zip(bias, requests, strict=True):
        for token, value in request.logit_bias.items():
            row[token] = value
    return ops.convert_to_tensor(bias)
