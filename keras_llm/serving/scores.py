"""How likely a model finds tokens, and what else it finds likely."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from keras import ops

from keras_llm.serving.requests import MOST_ALTERNATIVES, Token


class Scores(NamedTuple):
    """How likely tokens were; without the batch, of one row.

    Args:
        log_probability: float32 `(batch, length)`.
        ids, log_probabilities: int32 and float32 `(batch, length, count)`, of
            the likeliest tokens in their places.
    """

    log_probability: np.ndarray
    ids: np.ndarray
    log_probabilities: np.ndarray

    def row(self, number: int) -> "Scores":
        """Those of one row."""
        return Scores(*(part[number] for part in self))

    def tokens(self, token_ids: Sequence[int], count: int) -> list[Token]:
        """The first tokens of one row, with so many alternatives each."""
        return [
            Token(
                token,
                float(self.log_probability[place]),
                tuple(
                    zip(
                        self.ids[place, :count].tolist(),
                        self.log_probabilities[place, :count].tolist(),
                        strict=True,
                    )
                ),
            )
            for place, token in enumerate(token_ids)
        ]


def scores_of(logits, targets) -> tuple:
    """What `Scores` has, as tensors.

    Args:
        logits: float `(batch, length, vocabulary_size)`.
        targets: int32 `(batch, length)`, the tokens that are scored.
    """
    logits = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    chosen = ops.take_along_axis(logits, targets[..., None], axis=-1)
    most = min(MOST_ALTERNATIVES, logits.shape[-1])
    best, ids = ops.top_k(logits, most)
    return chosen[..., 0], ops.cast(ids, "int32"), best
