"""Paragraphs that came before in the corpus.

A paragraph is a line. Two are the same if they differ in letter case and
spaces only. Knows nothing of how texts are stored.
"""

from collections.abc import Sequence

import numpy as np

from keras_llm.corpus.duplicates.hashing import (
    hash_bytes,
    hash_range,
    is_among,
    is_first,
    repeated_values,
)

LEAST = 60  # characters: shorter lines (headings, refrains) repeat by nature
PARAGRAPHS = np.dtype(
    [
        ("hash", "<u8"),
        ("document", "<u4"),  # in its task
        ("number", "<u4"),  # of the line in its document
        ("bytes", "<u4"),  # with the line end
    ]
)
_PASS = 2**24  # hashes in memory at a time, about


def paragraphs_of(text: str, document: int) -> np.ndarray:
    """The lines of a text that are long enough: a `PARAGRAPHS` array."""
    lines = text.split("\n")
    rows = [
        (_hash(line), document, number, len(line.encode()) + 1)
        for number, line in enumerate(lines)
        if len(line) >= LEAST and len(" ".join(line.split())) >= LEAST
    ]
    if rows and rows[-1][2] == len(lines) - 1:  # which has no line end
        rows[-1] = (*rows[-1][:3], rows[-1][3] - 1)
    return np.array(rows, PARAGRAPHS)


def repeated(
    tasks: Sequence[np.ndarray], starts: Sequence[int], is_kept: np.ndarray
) -> list[np.ndarray]:
    """Finds all but the first occurrence of each paragraph.

    Hashes are compared one range after the other, so that memory is bounded by
    what is found, not by the corpus.

    Args:
        tasks: `PARAGRAPHS` array of each task, in the corpus's order; may
            be memory-mapped.
        starts: Number of each task's first document in the corpus.
        is_kept: bool array, for each document; the others do not count.

    Returns:
        For each task an int64 array of positions in its paragraphs, sorted.
    """
    passes = max(1, -(-sum(len(rows) for rows in tasks) // _PASS))
    found = [[np.empty(0, np.int64)] for _ in tasks]
    for part in range(passes):
        mine = []
        for rows, start in zip(tasks, starts, strict=False):
            places = np.flatnonzero(hash_range(rows["hash"], passes) == part)
            documents = rows["document"][places].astype(np.int64) + start
            mine.append(places[is_kept[documents]])
        hashes = [
            rows["hash"][places]
            for rows, places in zip(tasks, mine, strict=True)
        ]
        is_repeated = _came_before(
            np.concatenate([np.empty(0, np.uint64), *hashes])
        )
        end = 0
        for each, places in zip(found, mine, strict=True):
            start, end = end, end + len(places)
            each.append(places[is_repeated[start:end]])
    return [np.sort(np.concatenate(each)) for each in found]


def without(text: str, numbers: Sequence[int]) -> str:
    """Removes lines by number, each with its line end; the rest stays."""
    removed = set(numbers)
    lines = text.split("\n")
    last = len(lines) - 1
    return "".join(
        line if index == last else line + "\n"
        for index, line in enumerate(lines)
        if index not in removed
    )


def _hash(line: str) -> int:
    words = " ".join(line.casefold().split())
    return hash_bytes(words.encode("utf-8", "surrogatepass"))


def _came_before(hashes: np.ndarray) -> np.ndarray:
    """bool array: which hashes have an equal one before them."""
    result = np.zeros(len(hashes), bool)
    candidates = np.flatnonzero(is_among(hashes, repeated_values(hashes)))
    order = np.argsort(hashes[candidates], kind="stable")
    candidates = candidates[order]
    result[candidates[~is_first(hashes[candidates])]] = True
    return result
