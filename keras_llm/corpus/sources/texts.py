"""Documents of a file; a long text is several. Knows nothing of formats."""

import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from datatrove.data import Document

from keras_llm.errors import InputError

PART_CHARACTERS = 4_000_000
REST = "#rest"  # ends the id of what is missing from a text that began well


class Unreadable(Exception):
    """Part of a source cannot be read; the rest of it may be.

    Args:
        reason: A short snake_case word, the same for all such cases.
        detail: One sentence.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple:
        return Unreadable, (self.reason, self.detail)

    @classmethod
    def of(cls, error: Exception, reason: str = "damaged") -> "Unreadable":
        """That of a library's error, in its words."""
        if isinstance(error, Unreadable):
            return error
        if isinstance(error, OSError) and error.errno is not None:
            reason = "unavailable"  # the disk, and not what is on it
        detail = str(error).strip() or type(error).__name__
        return cls(reason, f"{detail[:200]}.")


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
        """
        held, parts, error = "", 0, None
        pieces = iter(pieces)
        while True:
            try:
                piece = next(pieces, None)
            except Unreadable as failure:
                piece, error = None, failure
            held += piece or ""
            while len(held) > PART_CHARACTERS:
                cut = _cut(held)
                parts += 1
                origin = self.inner(f"#{parts}")
                yield origin._document(held[:cut], format, metadata)
                held = held[cut:]
            if piece is None:
                break
        if error and not parts:
            yield self.unreadable(error)
            return
        last = self.inner(f"#{parts + 1}") if parts else self
        yield last._document(held, format, metadata)
        if error:
            yield self.inner(REST).unreadable(error)

    def _document(
        self, text: str, format: str, metadata: dict[str, Any]
    ) -> Document:
        common = {"source": self.source, "split": self.split, "format": format}
        text = without_surrogates(text)
        return Document(text=text, id=self.id, metadata=common | metadata)


def optional(module: str, extra: str) -> ModuleType:
    """Imports a library of an optional extra; says how to install it.

    Raises:
        InputError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"A source needs {module}, which is not installed. Run "
            f"`pip install 'keras-llm[{extra}]'`."
        ) from error


def without_surrogates(text: str) -> str:
    """Halves of characters, as in JSON `"\\ud800"`, become U+FFFD."""
    try:
        text.isascii() or text.encode()
        return text
    except UnicodeEncodeError:
        data = text.encode("utf-16-le", "surrogatepass")
        return data.decode("utf-16-le", "replace")


def _cut(text: str) -> int:
    """Where the first part of a text ends: after a line or a word, at best."""
    for end in ("\n", " "):
        found = text.rfind(end, PART_CHARACTERS // 2, PART_CHARACTERS)
        if found >= 0:
            return found + 1
    return PART_CHARACTERS
