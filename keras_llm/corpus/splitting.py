"""Which document belongs to which split. Knows nothing of files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from keras_llm.corpus.documents import SPLITS
from keras_llm.errors import InputError, Interrupted
from keras_llm.recipes.corpus_settings import SplitSettings

ENOUGH_TO_HASH = 100  # documents; fewer may leave a split empty by chance
TRAIN, VALIDATION, TEST = range(len(SPLITS))
NO_SPLIT = len(SPLITS)  # a document that its source gives no split
END = np.iinfo(np.uint32).max  # of any document


@dataclass(frozen=True)
class Division:
    """How documents are divided: train comes first, test last.

    Args:
        method: `"hash"`, `"position"` or `"given"`.
        begins: uint32 `(documents, 2)`. The bytes of UTF-8 at which validation
            and test begin in each, 0 or `END` but for the few that are cut.
    """

    method: str
    begins: np.ndarray

    def documents(self, is_kept: np.ndarray) -> dict[str, int]:
        """How many of the kept documents have text in each split."""
        validation, test = self.begins[is_kept].T
        holds = validation > 0, validation < test, test < END
        counts = [int(each.sum()) for each in holds]
        return {k: n for k, n in zip(SPLITS, counts, strict=True) if n}


def whole(splits: np.ndarray) -> np.ndarray:
    """What `begins` is of documents that are not cut, of these splits."""
    is_before = splits[:, None] < [VALIDATION, TEST]
    return np.where(is_before, np.uint32(END), np.uint32(0))


def is_cut(begins: Sequence[int]) -> bool:
    """Whether a document ends in another split than it begins in."""
    return any(0 < begin < END for begin in begins)


def divide(
    digests: np.ndarray,
    sizes: np.ndarray,
    given: np.ndarray,
    settings: SplitSettings,
) -> Division:
    """Divides documents into train, validation and test.

    With the method `"given"`, documents that the source gives no split are
    divided among train and the splits that the source does not name. If it
    gives every document a split, its training documents are divided so.

    Args:
        digests: uint64 `(documents,)`. Uniform hashes of their contents;
            documents that must stay together have the same.
        sizes: int `(documents,)`. UTF-8 bytes of their texts.
        given: uint8 `(documents,)`. Split that the source gives each, or
            `NO_SPLIT`.
        settings: The method and the shares.

    Returns:
        The method that `"auto"` stands for, and the split of every
            document. A split may come out empty: see `check_splits`.

    Raises:
        InputError: The method is `"given"`, but the source names no splits.
    """
    is_named = bool(np.any(given != NO_SPLIT))
    method = settings.method
    if method == "auto":
        method = "given" if is_named else _hash_or_position(len(sizes))
    if method == "given" and not is_named:
        raise InputError(
            'corpus.split.method is "given", but the source names no splits '
            "(folders or files called train, and validation or test, or "
            "corpus.split_column). Pass --corpus.split.method auto."
        )
    # Decimal fractions: 1 - 0.1 - 0.2 is not 0.7 in floating point.
    shares = {
        VALIDATION: Fraction(str(settings.validation)),
        TEST: Fraction(str(settings.test)),
    }
    if method == "given":
        return _as_given(digests, sizes, given, shares)
    return _METHODS[method](digests, sizes, shares)


def check_splits(
    documents: dict[str, int], method: str, settings: SplitSettings
) -> None:
    """Checks that no split is empty that was asked for.

    Args:
        documents: Of each split, 0 for one that the source names but that
            is empty.
        method: How they were divided.
        settings: The shares that were asked for.

    Raises:
        Interrupted: A split is empty; the message says why, and what to
            pass.
    """
    shares = {"validation": settings.validation, "test": settings.test}
    shares["train"] = 1 - sum(shares.values())
    for split in SPLITS:
        is_asked = shares[split] > 0 or split in documents
        if is_asked and not documents.get(split):
            raise _empty_split(split, shares[split], method)


def cut(text: str, begins: Sequence[int]) -> Iterator[tuple[str, str]]:
    """Yields each split that a text is in, and its piece of it, none empty.

    No character is cut: one on both sides of an end goes to the later split.

    Args:
        begins: A row of `Division.begins`.
    """
    if not is_cut(begins):
        yield SPLITS[list(begins).count(0)], text
        return
    data = text.encode()
    places = [_character_start(data, place) for place in (0, *begins, END)]
    for split, (start, stop) in zip(SPLITS, pairwise(places), strict=True):
        if start < stop:
            yield split, data[start:stop].decode()


def _hash_or_position(documents: int) -> str:
    return "hash" if documents >= ENOUGH_TO_HASH else "position"


def _by_hash(
    digests: np.ndarray, sizes: np.ndarray, shares: dict[int, Fraction]
) -> Division:
    # 48 bits, exact in floating point. Test comes first, so that it stays
    # what it is when the share of validation changes.
    uniform = (digests >> np.uint64(16)) / 2.0**48
    splits = np.full(len(digests), TRAIN, np.uint8)
    splits[uniform < float(shares[TEST] + shares[VALIDATION])] = VALIDATION
    splits[uniform < float(shares[TEST])] = TEST
    return Division("hash", whole(splits))


def _by_position(
    digests: np.ndarray, sizes: np.ndarray, shares: dict[int, Fraction]
) -> Division:
    total = int(sizes.sum())
    ends = [
        int(total * (1 - shares[VALIDATION] - shares[TEST])),
        int(total * (1 - shares[TEST])),
    ]
    starts = np.cumsum(sizes, dtype=np.int64) - sizes
    begins = np.maximum(np.array(ends) - starts[:, None], 0)
    begins[begins >= np.maximum(sizes, 1)[:, None]] = END
    # Those that must stay together go where the first of them goes.
    _, firsts, groups = np.unique(
        digests, return_index=True, return_inverse=True
    )
    begins = begins[firsts[groups]]
    return Division("position", begins.astype(np.uint32))


def _as_given(
    digests: np.ndarray,
    sizes: np.ndarray,
    given: np.ndarray,
    shares: dict[int, Fraction],
) -> Division:
    shares = {
        split: Fraction(0) if np.any(given == split) else share
        for split, share in shares.items()
    }
    open_split = NO_SPLIT if np.any(given == NO_SPLIT) else TRAIN
    pool = np.flatnonzero(given == open_split)
    divided = _METHODS[_hash_or_position(len(pool))](
        digests[pool], sizes[pool], shares
    )
    begins = whole(given)
    begins[pool] = divided.begins
    return Division("given", begins)


_METHODS = {"hash": _by_hash, "position": _by_position}


def _character_start(data: bytes, offset: int) -> int:
    """The last byte at or before `offset` at which a character starts."""
    offset = min(offset, len(data))
    while offset < len(data) and data[offset] & 0b1100_0000 == 0b1000_0000:
        offset -= 1
    return offset


def _empty_split(split: str, share: float, method: str) -> Interrupted:
    why = {
        "hash": f"no document's hash fell into its share of {share:g}",
        "position": f"{share:g} of this text is less than one character",
        "given": "the source has no text for it, or none was kept",
    }[method]
    advice = ["add text"]
    if method != "position":
        advice.insert(0, "pass --corpus.split.method position")
    if split != "train" and method != "given":
        advice.append(f"pass --corpus.split.{split} 0")
    advice = ", or ".join(advice)
    return Interrupted(
        f"The {split} split is empty: {why}. Please {advice}. What has been "
        "cleaned is kept, and gone on with."
    )
