"""Work on many texts, those of like length together."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from keras_llm.recipes.checks import check

T = TypeVar("T")
R = TypeVar("R")


def in_batches(
    work: Callable[[list[T]], Sequence[R]],
    items: Sequence[T],
    batch_size: int,
    length: Callable[[T], int] = len,
) -> list[R]:
    """What work gives for each item, in the order of the items.

    Args:
        work: From some of the items to as many results.
        items: All of them.
        batch_size: Items at once.
        length: Of an item; those of like length are worked on together.

    Raises:
        InputError: `batch_size` is below 1.
    """
    check(batch_size >= 1, "batch_size", "at least 1", batch_size)
    order = sorted(range(len(items)), key=lambda index: length(items[index]))
    results = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        found = work([items[index] for index in chosen])
        results |= dict(zip(chosen, found, strict=True))
    return [results[index] for index in range(len(items))]
