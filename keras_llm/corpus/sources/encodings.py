"""Bytes to characters, as they come: detection streams, and repairs.

Hand-written, for no library detects an encoding from a stream, or says what
it replaced. Knows nothing of formats or documents.

UTF-8 is tried before what a page declares: text in another encoding that
happens to be valid UTF-8 is not seen in practice, wrong declarations are.
What is not UTF-8 is decided at the first block that is not ASCII, so that
nothing is read twice.

Bytes that the encoding does not have become U+FFFD; a line that is full of
them is lost, and the next one is read. NUL bytes go. All are counted.
"""

import codecs
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from keras_llm.corpus.sources.texts import Unreadable
from keras_llm.errors import InputError

BLOCK = 2**20
SAMPLE = 2**16
GOOD_PER_BAD = 20  # characters that speak for an encoding, or for a line
FEW_BAD = 2  # of a line, that do not speak against it
MOST_ODD = 0.02  # of bytes outside ASCII, if no encoding has them
MOST_CONTROLS = 0.01  # of text, beyond those that terminals know
NUL_RUNS = 8  # and one in `BYTES_PER_RUN`, are damage and not another format
BYTES_PER_RUN = 1000
FEW_REPAIRS = 3  # of a file that does not say by its name that it is text
SMALL = 256  # bytes that are too few to tell encodings of Asia by
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
_CONTROLS = re.compile("[\0-\6\x0e-\x1a\x1c-\x1f\x7f]")
_NULS = re.compile("\0+")
_DECLARATION = re.compile(rb"<meta[^>]{0,500}?charset\s*=\s*[\"']?([-\w]+)")
_BAD = "\udfff"  # stands for bytes that are no character: no decoder yields it
_MARKED = "keras_llm.mark_what_is_bad"
codecs.register_error(_MARKED, lambda error: (_BAD, error.end))


class Decoder:
    """Decodes the texts of a task, and counts what it `repaired`.

    Args:
        encoding: Of all texts; detected if omitted.

    Raises:
        InputError: It is no encoding of text.
    """

    def __init__(self, encoding: str | None = None) -> None:
        if encoding is not None and not _lookup(encoding):
            raise InputError(
                "corpus.encoding must be the name of an encoding, such as "
                f"utf-8, cp1252 or shift_jis. Received: {encoding!r}."
            )
        self.encoding = encoding
        self.repaired: Counter[str] = Counter()

    def characters(
        self, stream: BinaryIO, hint: str | None = None
    ) -> Iterator[str]:
        """Yields what a stream of bytes says, without its byte order mark.

        Args:
            stream: Binary stream, from its begin.
            hint: The encoding that the text is said to have, which is tried
                where it is not UTF-8.

        Raises:
            Unreadable: It is not text.
        """
        block = stream.read(BLOCK)
        encoding = self.encoding or _at_once(block, hint)
        is_first = True
        for piece in _lines(_decoded(block, stream, encoding, hint)):
            if is_first:
                is_first = False
                if _is_binary(piece[:SAMPLE]):
                    raise Unreadable("not_text", "There are NUL bytes in it.")
                piece = piece.removeprefix("\ufeff")
            yield self._mended(piece)

    def _mended(self, text: str) -> str:
        if "\0" in text:
            self.repaired["NUL bytes removed"] += text.count("\0")
            text = text.replace("\0", "")
        if _BAD not in text:
            return text
        lines = []
        for line in text.splitlines(keepends=True):
            bad = line.count(_BAD)
            if bad > FEW_BAD and bad * GOOD_PER_BAD > len(line):
                self.repaired["lines lost"] += 1
                continue
            if bad:
                self.repaired["bad bytes replaced"] += bad
                line = line.replace(_BAD, "\ufffd")
            lines.append(line)
        return "".join(lines)


def looks_like_text(head: bytes, encoding: str | None = None) -> bool:
    """Whether a file of an unknown kind is text, by its first bytes."""
    decoder = Decoder(encoding)
    try:
        text = next(decoder.characters(io.BytesIO(head)), "")
    except Unreadable:
        return False
    controls = len(_CONTROLS.findall(text))
    nuls = decoder.repaired.pop("NUL bytes removed", 0)
    is_whole = not nuls and decoder.repaired.total() <= FEW_REPAIRS
    return is_whole and controls <= MOST_CONTROLS * len(text)


def declared_encoding(head: bytes) -> str | None:
    """The encoding that an HTML page declares in its first bytes."""
    found = _DECLARATION.search(head[:4096].lower())
    return found[1].decode("ascii", "ignore") if found else None


def _at_once(block: bytes, hint: str | None) -> str | None:
    for mark, encoding in MARKS.items():
        if block.startswith(mark):
            return encoding
    sample = block[:SAMPLE]
    if b"\0" in sample and (encoding := _without_mark(sample)):
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


def _is_binary(sample: str) -> bool:
    """Whether NULs are part of the format; some are where a disk failed."""
    runs = len(_NULS.findall(sample)) if "\0" in sample else 0
    return runs > NUL_RUNS + len(sample) // BYTES_PER_RUN


def _decoded(
    block: bytes, stream: BinaryIO, encoding: str | None, hint: str | None
) -> Iterator[str]:
    while block and not encoding:
        if block.isascii():
            yield block.decode("ascii")
            block = stream.read(BLOCK)
        else:
            encoding = _guess(block.replace(b"\0", b""), hint)
    decoder = codecs.getincrementaldecoder(encoding or "utf-8")(_MARKED)
    is_last = False
    while not is_last:
        is_last = not block
        try:
            yield decoder.decode(block, is_last)
        except UnicodeError as error:  # e.g. no mark, where there must be one
            raise Unreadable("not_text", f"{error}.") from error
        block = b"" if is_last else stream.read(BLOCK)


def _lines(pieces: Iterable[str]) -> Iterator[str]:
    """The text in pieces of whole lines, if those are not too long."""
    held = ""
    for piece in pieces:
        held += piece
        cut = held.rfind("\n") + 1
        if not cut and len(held) > BLOCK:
            cut = len(held)
        if cut:
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held


def _guess(block: bytes, hint: str | None) -> str:
    """The encoding of a block that is not ASCII; `Unreadable` if none."""
    sample = _sample(block)
    if _fits(sample, "utf-8") or _fits(block, "utf-8"):
        return "utf-8"
    declared = _lookup(hint)
    declared = DECLARED.get(declared, declared)
    if declared in GUESSES and _fits(block, declared):
        return declared
    guess = _likeliest(sample) or _likeliest_of_damaged(sample, block)
    if not guess:
        raise Unreadable("not_text", "It is text in no known encoding.")
    return guess


def _fits(block: bytes, encoding: str) -> bool:
    text = codecs.getincrementaldecoder(encoding)(_MARKED).decode(block)
    bad = text.count(_BAD)
    good = len(text) - len(text.encode("ascii", "ignore")) - bad
    return good >= GOOD_PER_BAD * bad


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


def _likeliest_of_damaged(sample: bytes, block: bytes) -> str | None:
    """The encoding of what has bytes that no encoding has."""
    controls = len(_CONTROLS.findall(block.decode("latin-1")))
    if controls > MOST_CONTROLS * len(block):
        return None
    if len(re.findall(rb"[\x80-\xff]", block)) <= MOST_ODD * len(block):
        return "utf-8"
    if len(sample) < SMALL:
        return None
    return next((name for name in ASIAN if _fits(sample, name)), None)


def _lookup(name: str | None) -> str | None:
    """A name of an encoding of text, spelt one way; `None` if it is none."""
    try:
        found = codecs.lookup(name or "")
    except (LookupError, ValueError):  # ValueError: NUL in the name
        return None
    is_text = found._is_text_encoding
    return found.name.replace("-", "_") if is_text else None
