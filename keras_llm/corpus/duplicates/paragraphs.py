"""Paragraphs that came before in the corpus.

A paragraph is a line. Two are the same if they differ in letter case and
spaces only. Knows nothing of how texts are stored.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_llm.corpus.arrays import (
    hash_range,
    is_among,
    is_first,
    repeated_values,
)
from keras_llm.corpus.duplicates.hashing import hash_bytes

LEAST = 60  # characters: shorter lines (headings, refrains) repeat by nature
NOT_COMPARED = 0  # instead of the hash of a shorter line
_PASS = 2**24  # hashes in memory at a time, about


class TaskParagraphs(NamedTuple):
    """The paragraphs of a task's documents, in the corpus's order.

    Each is an array with one entry a paragraph, which may be memory-mapped.
    Paragraphs that are not compared may be left out.

    Attributes:
        hashes: uint64, from `paragraph_hashes`.
        documents: int64, index of the document in the corpus.
        paragraphs: int64, index of the paragraph in its document.
    """

    hashes: np.ndarray
    documents: np.ndarray
    paragraphs: np.ndarray


def paragraph_hashes(text: str) -> np.ndarray:
    """A hash of each line that is long enough to be compared.

    Returns:
        uint64 array `(lines,)`; `NOT_COMPARED` for a line of fewer than
        `LEAST` characters.
    """
    hashes = [_hash(line) for line in text.split("\n")]
    return np.array(hashes, np.uint64)


def repeated(
    tasks: Sequence[TaskParagraphs], is_kept: np.ndarray
) -> list[np.ndarray]:
    """Finds all but the first occurrence of each paragraph.

    Hashes are compared one range after the other, so that memory is bounded
    by what is found, not by the corpus.

    Args:
        tasks: In the corpus's order.
        is_kept: bool array, for each document of the corpus; paragraphs of
            the others neither count as occurrences nor are returned.

    Returns:
        For each task an int64 array `(removed, 2)` of document and paragraph,
        in the corpus's order.
    """
    total = sum(len(task.hashes) for task in tasks)
    passes = max(1, -(-total // _PASS))
    found = [[] for _ in tasks]
    for part in range(passes):
        removed = _repeated_in(part, passes, tasks, is_kept)
        for mine, positions in zip(found, removed, strict=True):
            mine.append(positions)
    return [
        _places(task, np.sort(np.concatenate(positions)))
        for task, positions in zip(tasks, found, strict=True)
    ]


def without(text: str, paragraphs: np.ndarray) -> str:
    """Removes lines, each with its line end; the rest stays as it is.

    Args:
        text: The text.
        paragraphs: int array of the indices of lines, as in
            `paragraph_hashes`.
    """
    removed = set(np.asarray(paragraphs).tolist())
    lines = text.split("\n")
    last = len(lines) - 1
    return "".join(
        line if index == last else line + "\n"
        for index, line in enumerate(lines)
        if index not in removed
    )


def _hash(line: str) -> int:
    if len(line) < LEAST:
        return NOT_COMPARED
    words = " ".join(line.casefold().split())
    if len(words) < LEAST:
        return NOT_COMPARED
    hashed = hash_bytes(words.encode("utf-8", "surrogatepass"))
    return max(hashed, NOT_COMPARED + 1)


def _repeated_in(
    part: int,
    passes: int,
    tasks: Sequence[TaskParagraphs],
    is_kept: np.ndarray,
) -> list[np.ndarray]:
    """Positions in each task of repeated hashes of one range."""
    positions = []
    for task in tasks:
        is_mine = hash_range(task.hashes, passes) == part
        mine = np.flatnonzero(is_mine & (task.hashes != NOT_COMPARED))
        positions.append(mine[is_kept[task.documents[mine]]])
    hashes = np.concatenate(
        [task.hashes[mine] for task, mine in zip(tasks, positions, strict=True)]
        or [np.empty(0, np.uint64)]
    )
    candidates = np.flatnonzero(is_among(hashes, repeated_values(hashes)))
    order = np.argsort(hashes[candidates], kind="stable")
    candidates = candidates[order]
    is_repeated = np.zeros(len(hashes), bool)
    is_repeated[candidates[~is_first(hashes[candidates])]] = True
    ends = np.cumsum([len(mine) for mine in positions])[:-1]
    parts = np.split(is_repeated, ends) if positions else []
    return [mine[part] for mine, part in zip(positions, parts, strict=True)]


def _places(task: TaskParagraphs, positions: np.ndarray) -> np.ndarray:
    """Document and paragraph of positions in a task's arrays."""
    columns = (task.documents[positions], task.paragraphs[positions])
    return np.stack(columns, axis=1).astype(np.int64)
