"""Documents of a file; a long text is several. Knows nothing of formats."""

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from datatrove.data import Document

from keras_llm.corpus.sources.unreadable import REST, Unreadable

PART_CHARACTERS = 4_000_000
MOST_MARKS = 32  # combining characters that a cut moves back over


@dataclass(frozen=True)
class Origin:
    """What all documents of a file have in common.

    Args:
        id: Of the file; its documents' ids begin with it.
        source: As the user named it.
        split: The split that the source gives the file, if any.
    """

    id: str
    source: str
    split: str | None = None

    def inner(self, suffix: str) -> "Origin":
        """That of something in the file, e.g. `"@12"` or `"/inner.txt"`."""
        return replace(self, id=self.id + suffix)

    def unreadable(self, error: Unreadable) -> Document:
        """The document that stands for what could not be read."""
        detail = error.detail.encode("utf-8", "backslashreplace").decode()
        found = {"unreadable": error.reason, "detail": detail}
        return self._document("", "text", found)

    def text(
        self, pieces: Iterable[str], format: str = "text", **metadata: Any
    ) -> Iterator[Document]:
        """Yields one text; of more than `PART_CHARACTERS` characters, several.

        These have the ids `ID#1`, `ID#2` and so on. A text that fails before
        the second is a document that could not be read. One that fails later
        ends there, and what is missing is such a document, `ID#rest`.

        Args:
            pieces: The text, in pieces of any size.
            format: `"text"` or `"html"`.
            **metadata: More that the documents carry.
        """
        stretches = _Stretches(pieces)
        for number, (stretch, goes_on) in enumerate(stretches, start=1):
            is_whole = number == 1 and not goes_on
            origin = self if is_whole else self.inner(f"#{number}")
            yield origin._document(stretch, format, metadata)
        if stretches.error:
            missing = self.inner(REST) if stretches.count else self
            yield missing.unreadable(stretches.error)

    def _document(
        self, text: str, format: str, metadata: dict[str, Any]
    ) -> Document:
        common = {
            "source": self.source,
            "split": self.split,
            "format": format,
        }
        text = _without_surrogates(text)
        return Document(text=text, id=self.id, metadata=common | metadata)


def _without_surrogates(text: str) -> str:
    """Halves of characters, as in JSON `"\\ud800"`, become U+FFFD."""
    try:
        text.isascii() or text.encode()
        return text
    except UnicodeEncodeError:
        data = text.encode("utf-16-le", "surrogatepass")
        return data.decode("utf-16-le", "replace")


class _Stretches:
    """Stretches of a text, each with whether another follows.

    `count` and `error` tell, after the last, how many there were and what
    ended the text too early.
    """

    def __init__(self, pieces: Iterable[str]) -> None:
        self.count = 0
        self.error: Unreadable | None = None
        self._pieces = iter(pieces)

    def __iter__(self) -> Iterator[tuple[str, bool]]:
        held = ""
        while True:
            held = self._filled(held)
            if len(held) <= PART_CHARACTERS:
                break
            cut = _cut(held)
            self.count += 1
            yield held[:cut], True
            held = held[cut:]
        if self.count or not self.error:
            self.count += 1
            yield held, False

    def _filled(self, held: str) -> str:
        """One character more than a part, unless the text ends before."""
        pieces = [held]
        length = len(held)
        while length <= PART_CHARACTERS and not self.error:
            try:
                piece = next(self._pieces, None)
            except Unreadable as error:
                self.error = error
                break
            if piece is None:
                break
            pieces.append(piece)
            length += len(piece)
        return "".join(pieces)


def _cut(text: str) -> int:
    """Where the first part of a text ends: after a line or a word, at best."""
    half = PART_CHARACTERS // 2
    for end in ("\n", "\r", " "):
        # A `\r` as the last character that fits may be half of a line end.
        last = PART_CHARACTERS - (end == "\r")
        found = text.rfind(end, half, last)
        if found >= 0:
            return found + 1
    cut = PART_CHARACTERS
    while cut > max(1, PART_CHARACTERS - MOST_MARKS) and (
        unicodedata.combining(text[cut]) or text[cut - 1] == "\r"
    ):
        cut -= 1
    return cut
