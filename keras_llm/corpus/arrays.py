"""Arrays of hashes: complete on disk or not there, sorted and looked up.

`np.unique` on uint64 takes NumPy 2.4 8 to 51 times as long as sorting and
comparing neighbours.
"""

from pathlib import Path

import numpy as np

_STRIDE = 2**16  # values looked up at a time, so that this takes no room


def save_array(path: Path, array: np.ndarray) -> None:
    """Writes an `.npy` file beside its place, and renames it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as out:
            np.save(out, array)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def task_files(folder: Path, suffix: str = ".npy") -> list[Path]:
    """The files that tasks wrote as `{rank:05d}` and suffix, by rank."""
    paths = Path(folder).glob(f"[0-9]*{suffix}")
    ranked = (path for path in paths if path.stem.isdigit())
    return sorted(ranked, key=lambda path: int(path.stem))


def is_first(ordered: np.ndarray) -> np.ndarray:
    """bool array: whether each value differs from the one before."""
    result = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=result[1:])
    return result


def distinct(values: np.ndarray) -> np.ndarray:
    """The values, sorted, each once."""
    ordered = np.sort(values)
    return ordered[is_first(ordered)]


def counted(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values, sorted, each once, and how often each occurs."""
    ordered = np.sort(values)
    starts = np.flatnonzero(is_first(ordered))
    return ordered[starts], np.diff(starts, append=len(ordered))


def repeated_values(values: np.ndarray) -> np.ndarray:
    """The values that occur more than once, sorted, each once."""
    ordered = np.sort(values)  # of the size of `values`, and the only copy
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    return repeated[is_first(repeated)]


def is_among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """bool array: which values are in `known`, which is sorted."""
    found = np.zeros(len(values), bool)
    if not len(known):
        return found
    for start in range(0, len(values), _STRIDE):
        part = values[start : start + _STRIDE]
        positions = np.searchsorted(known, part)
        positions[positions == len(known)] = 0
        found[start : start + _STRIDE] = known[positions] == part
    return found


def hash_range(hashes: np.ndarray, ranges: int) -> np.ndarray:
    """int64 array: in which of equal ranges each uint64 hash falls.

    A larger hash never falls in an earlier range.
    """
    high = hashes >> np.uint64(32)
    return (high * np.uint64(ranges) >> np.uint64(32)).astype(np.int64)
