"""Which characters a text is made of, counted as it streams by."""

import functools
import unicodedata
from typing import Any

import numpy as np

from keras_llm.corpus.arrays import counted
from keras_llm.corpus.report.corpus_report import (
    CharacterCount,
    Characters,
    UnusualCount,
)

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
