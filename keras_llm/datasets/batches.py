"""What training and evaluation read. Knows nothing of where it comes from."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class ArraySpec:
    """Shape and type of an array; `None` where a length varies."""

    shape: tuple[int | None, ...]
    dtype: type


class Batches(Protocol):
    """Batches in the form of `fit`, of which number `k` is a function of `k`.

    A run that goes on at batch `k` therefore sees what it would have seen.
    """

    def __len__(self) -> int:
        """Batches an epoch."""

    @property
    def signature(self) -> Any:
        """An `ArraySpec` for every array of a batch, nested as it is."""

    def batch(self, k: int) -> tuple:
        """Inputs, labels and, where rows or positions count differently,
        their weights."""

    def num_tokens(self, k: int) -> int:
        """Tokens of batch `k`, padding left out; for the speed."""


def token_batch(*arrays: np.ndarray, padding_mask: np.ndarray) -> tuple:
    """Token ids, labels and perhaps weights in the form of `fit`."""
    token_ids, *rest = arrays
    features = {"token_ids": token_ids, "padding_mask": padding_mask}
    return features, *rest


def token_signature(
    batch_size: int, length: int | None, weighted: bool = False
) -> tuple:
    """The signature of `token_batch`."""
    shape = (batch_size, length)
    ids = ArraySpec(shape, np.int32)
    features = {"token_ids": ids, "padding_mask": ArraySpec(shape, bool)}
    weight = [ArraySpec(shape, np.float32)] if weighted else []
    return features, ids, *weight
