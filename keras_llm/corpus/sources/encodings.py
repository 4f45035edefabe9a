"""Bytes to characters, as they come. Knows nothing of formats or documents.

UTF-8 is tried before what a page declares: text in another encoding that
happens to be valid UTF-8 is not seen in practice, wrong declarations are.
What is not UTF-8 is decided at the first block that is not ASCII, so that
nothing is read twice.

Bytes that the encoding does not have become U+FFFD as long as they are a
handful (`MOST_REPLACED`, and one in `BYTES_PER_REPLACED`); the first beyond
that ends the text as `not_text`.
"""

import codecs
import io
import re
from collections.abc import Iterator
from typing import BinaryIO

from keras_llm.corpus.sources.unreadable import Unreadable
from keras_llm.errors import InputError

BLOCK = 2**20
SAMPLE = 2**16
MOST_REPLACED = 3
BYTES_PER_REPLACED = 100_000
GOOD_PER_BAD = 20  # multi-byte characters that speak for damaged UTF-8
MOST_WORSE = 0.1  # "mess" by which cp1252 may look worse than the best guess
MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark begins it
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
# Encodings that are still found on the web (https://encoding.spec.whatwg.org),
# by Python's names. Others would only be wrong guesses.
LATIN = ("cp1252", "cp1250", "cp1254", "cp1257", "cp1258", "iso8859_2")
CYRILLIC = ("cp1251", "koi8_r", "iso8859_5")
OTHERS = ("cp1253", "iso8859_7", "cp1255", "cp1256", "cp874")
ASIAN = ("cp932", "euc_jp", "gb18030", "big5", "cp949")
GUESSES = LATIN + CYRILLIC + OTHERS + ASIAN
# Names by which pages declare a superset of what they name.
DECLARED = {
    "ascii": "cp1252",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso8859_1": "cp1252",
    "iso8859_9": "cp1254",
    "shift_jis": "cp932",
    "tis_620": "cp874",
}
MOST_CONTROLS = 0.01  # of text, beyond those that terminals know
_CONTROLS = re.compile("[\0-\6\x0e-\x1a\x1c-\x1f\x7f]")
_DECLARATION = re.compile(rb"<meta[^>]{0,500}?charset\s*=\s*[\"']?([-\w]+)")
_replaced = 0  # by the error handler, in this process


def check_encoding(name: str) -> None:
    """Raises `InputError` unless `name` is an encoding of text."""
    if not _lookup(name):
        raise InputError(
            "corpus.encoding must be the name of an encoding, such as utf-8, "
            f"cp1252 or shift_jis. Received: {name!r}."
        )


def declared_encoding(head: bytes) -> str | None:
    """The encoding that an HTML page declares in its first bytes."""
    found = _DECLARATION.search(head[:4096].lower())
    return found[1].decode("ascii", "ignore") if found else None


def looks_like_text(head: bytes, encoding: str | None = None) -> bool:
    """Whether a file of an unknown kind is text, by its first bytes."""
    try:
        text = next(characters(io.BytesIO(head), encoding), "")
    except Unreadable:
        return False
    return MOST_CONTROLS * len(text) >= len(_CONTROLS.findall(text))


def characters(
    stream: BinaryIO, encoding: str | None = None, hint: str | None = None
) -> Iterator[str]:
    """Yields what a stream of bytes says, without its byte order mark.

    Args:
        stream: Binary stream, from its begin.
        encoding: The encoding; detected if omitted.
        hint: The encoding that the text is said to have, which is tried
            where it is not UTF-8.

    Raises:
        Unreadable: It is not text.
    """
    block = stream.read(BLOCK)
    encoding = encoding or _at_once(block, hint)
    is_first = True
    for piece in _decoded(block, stream, encoding, hint):
        if is_first and piece:
            is_first = False
            if "\0" in piece[:SAMPLE]:
                raise Unreadable("not_text", "There are NUL bytes in it.")
            piece = piece.removeprefix("\ufeff")
        yield piece


def _at_once(block: bytes, hint: str | None) -> str | None:
    """The encoding, where the first block shows it; else `None`."""
    for mark, encoding in MARKS.items():
        if block.startswith(mark):
            return encoding
    if b"\0" in block[:SAMPLE]:
        encoding = _without_mark(block[:SAMPLE])
        if not encoding:
            raise Unreadable("not_text", "There are NUL bytes in it.")
        return encoding
    # It looks like ASCII, and would be taken for it.
    return "iso2022_jp" if _lookup(hint) == "iso2022_jp" else None


def _without_mark(sample: bytes) -> str | None:
    """UTF-16 or UTF-32 of mostly ASCII characters, if it is that."""
    sample = sample[: len(sample) // 4 * 4]
    for encoding in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        text = sample.decode(encoding, "replace")
        printable = sum(" " <= letter <= "~" for letter in text)
        if text and "\0" not in text and 2 * printable > len(text):
            return encoding
    return None


def _decoded(
    block: bytes, stream: BinaryIO, encoding: str | None, hint: str | None
) -> Iterator[str]:
    read = 0
    while block and not encoding:
        if block.isascii():
            read += len(block)
            yield block.decode("ascii")
            block = stream.read(BLOCK)
        else:
            encoding = _guess(block, hint)
    decoder = codecs.getincrementaldecoder(encoding or "utf-8")(_COUNTED)
    before = _replaced
    is_last = False
    while not is_last:
        read += len(block)
        is_last = not block
        try:
            piece = decoder.decode(block, is_last)
        except UnicodeError as error:  # e.g. no mark, where there must be one
            raise Unreadable("not_text", f"{error}.") from error
        if _replaced - before > MOST_REPLACED + read // BYTES_PER_REPLACED:
            raise Unreadable(
                "not_text",
                f"{_replaced - before} places within the first {read} bytes "
                f"are not {encoding}.",
            )
        yield piece
        block = b"" if is_last else stream.read(BLOCK)


def _guess(block: bytes, hint: str | None) -> str:
    """The encoding of a block that is not ASCII.

    Raises:
        Unreadable: It is not text in any encoding.
    """
    good, bad = _quality(block, "utf-8")
    if good >= GOOD_PER_BAD * bad:
        return "utf-8"
    declared = _lookup(hint)
    declared = DECLARED.get(declared, declared)
    if declared in GUESSES and _quality(block, declared)[1] <= MOST_REPLACED:
        return declared
    guess = _likeliest(_sample(block))
    if not guess:
        raise Unreadable("not_text", "It is text in no known encoding.")
    return guess


def _quality(block: bytes, encoding: str) -> tuple[int, int]:
    """Numbers of characters outside ASCII, and of places that are none."""
    before = _replaced
    text = codecs.getincrementaldecoder(encoding)(_COUNTED).decode(block)
    bad = _replaced - before
    return len(text) - len(text.encode("ascii", "ignore")) - bad, bad


def _sample(block: bytes) -> bytes:
    """Whole words, from where the block is no longer ASCII."""
    first = re.search(rb"[\x80-\xff]", block).start()
    start = max(0, first - SAMPLE // 64)
    sample = block[start : start + SAMPLE]
    end = max(sample.rfind(b"\n"), sample.rfind(b" "))
    return sample[: end + 1] if end > first - start else sample


def _likeliest(sample: bytes) -> str | None:
    from charset_normalizer import from_bytes

    matches = from_bytes(sample, cp_isolation=list(GUESSES))
    best = matches.best()
    if best is None or best.encoding not in LATIN:
        return best.encoding if best else None
    # These differ in a few letters only: the commonest, unless it reads worse.
    for match in matches:
        names = [match.encoding, *match.could_be_from_charset]
        is_close = match.chaos <= best.chaos + MOST_WORSE
        if "cp1252" in names and is_close:
            if match.coherence >= best.coherence:
                return "cp1252"
    return best.encoding


def _lookup(name: str | None) -> str | None:
    """A name of an encoding of text, spelt one way; `None` if it is none."""
    try:
        found = codecs.lookup(name or "")
    except (LookupError, ValueError):  # ValueError: NUL in the name
        return None
    is_text = found._is_text_encoding
    return found.name.replace("-", "_") if is_text else None


def _replace(error: UnicodeError) -> tuple[str, int]:
    global _replaced
    _replaced += 1
    return codecs.replace_errors(error)


_COUNTED = "keras_llm.replace_and_count"
codecs.register_error(_COUNTED, _replace)
