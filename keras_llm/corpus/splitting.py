"""Which text belongs to which split. Knows nothing of files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from keras_llm.corpus.documents import SPLITS
from keras_llm.corpus.sources import TextSummary
from keras_llm.errors import InputError
from keras_llm.recipes.settings import SplitSettings

ENOUGH_TO_HASH = 100  # documents; fewer may leave a split empty by chance


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a text that belongs to one split.

    Args:
        split: Its split.
        start: First byte of the text's UTF-8.
        stop: Byte after the last.
    """

    split: str
    start: int
    stop: int


@dataclass(frozen=True)
class Division:
    """How texts are divided.

    Args:
        method: `"hash"`, `"position"` or `"given"`.
        spans: For each text its spans, in order.
    """

    method: str
    spans: list[list[Span]]


def divide(texts: Sequence[TextSummary], settings: SplitSettings) -> Division:
    """Divides texts into train, validation and test.

    With the method `"given"`, texts that the source gives no split are
    divided among train and the splits that the source does not name. If it
    gives every text a split, its training text is divided so.

    Args:
        texts: All texts of the corpus, in order.
        settings: The method and the shares.

    Returns:
        The method that `"auto"` stands for, and the spans of every text. A
        split may come out empty: see `check_splits`.

    Raises:
        InputError: The method is `"given"`, but the source names no splits.
    """
    named = {text.file.split for text in texts} - {None}
    method = settings.method
    if method == "auto":
        method = "given" if named else _hash_or_position(texts)
    if method == "given" and not named:
        raise InputError(
            'corpus.split.method is "given", but the source names no splits '
            "(folders or files called train, and validation or test). Pass "
            "--corpus.split.method auto."
        )
    # Decimal fractions: 1 - 0.1 - 0.2 is not 0.7 in floating point.
    shares = {
        "validation": Fraction(str(settings.validation)),
        "test": Fraction(str(settings.test)),
    }
    spans = _as_given if method == "given" else _METHODS[method]
    return Division(method, spans(texts, shares))


def check_splits(
    documents: dict[str, int], method: str, settings: SplitSettings
) -> None:
    """Checks that no split is empty that was asked for.

    Args:
        documents: Number of documents of each split, 0 for one that the
            source names but that has no text.
        method: How they were divided.
        settings: The shares that were asked for.

    Raises:
        InputError: A split is empty; the message says why, and what to pass.
    """
    shares = {"validation": settings.validation, "test": settings.test}
    shares["train"] = 1 - sum(shares.values())
    for split in SPLITS:
        is_asked = shares[split] > 0 or split in documents
        if is_asked and not documents.get(split):
            raise _empty_split(split, shares[split], method)


def cut(
    parts: Iterator[str], spans: Sequence[Span]
) -> Iterator[tuple[str, str]]:
    """Cuts a text at the ends of its spans, never within a character.

    A character on both sides of an end goes to the later span.

    Args:
        parts: The text, in parts.
        spans: The spans of the text.

    Yields:
        Split and text of each piece, in order, none empty.
    """
    begin = 0
    for part in parts:
        data = part.encode()
        for span in spans:
            start = _character_start(data, span.start - begin)
            stop = _character_start(data, span.stop - begin)
            if start < stop:
                yield span.split, data[start:stop].decode()
        begin += len(data)


def _hash_or_position(texts: Sequence[TextSummary]) -> str:
    return "hash" if len(texts) >= ENOUGH_TO_HASH else "position"


def _by_hash(
    texts: Sequence[TextSummary], shares: dict[str, Fraction]
) -> list[list[Span]]:
    return [[_whole(text, _side(text.digest, shares))] for text in texts]


def _side(digest: bytes, shares: dict[str, Fraction]) -> str:
    # 48 bits, exact in floating point. Test comes first, so that it stays
    # what it is when the share of validation changes.
    uniform = int.from_bytes(digest[:6], "big") / 2**48
    if uniform < shares["test"]:
        return "test"
    if uniform < shares["test"] + shares["validation"]:
        return "validation"
    return "train"


def _by_position(
    texts: Sequence[TextSummary], shares: dict[str, Fraction]
) -> list[list[Span]]:
    total = sum(text.size for text in texts)
    train = int(total * (1 - shares["validation"] - shares["test"]))
    validation = int(total * (1 - shares["test"]))
    bounds = [0, train, validation, total]
    divided = []
    begin = 0
    for text in texts:
        ends = [min(max(end - begin, 0), text.size) for end in bounds]
        spans = map(Span, SPLITS, ends[:-1], ends[1:])
        divided.append([span for span in spans if span.start < span.stop])
        begin += text.size
    return divided


def _as_given(
    texts: Sequence[TextSummary], shares: dict[str, Fraction]
) -> list[list[Span]]:
    named = {text.file.split for text in texts}
    shares = {
        split: Fraction(0) if split in named else share
        for split, share in shares.items()
    }
    open_split = None if None in named else "train"
    pool = [text for text in texts if text.file.split == open_split]
    divided = iter(_METHODS[_hash_or_position(pool)](pool, shares))
    return [
        next(divided)
        if text.file.split == open_split
        else [_whole(text, text.file.split)]
        for text in texts
    ]


_METHODS = {"hash": _by_hash, "position": _by_position}


def _whole(text: TextSummary, split: str) -> Span:
    return Span(split, 0, text.size)


def _character_start(data: bytes, offset: int) -> int:
    """The last byte at or before `offset` at which a character starts."""
    offset = min(max(offset, 0), len(data))
    while offset < len(data) and data[offset] & 0b1100_0000 == 0b1000_0000:
        offset -= 1
    return offset


def _empty_split(split: str, share: float, method: str) -> InputError:
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
    return InputError(f"The {split} split is empty: {why}. Please {advice}.")
