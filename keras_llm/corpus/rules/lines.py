"""Formatters of lines: repeated ones, and words broken at their ends."""

import re
from collections import Counter
from functools import partial

from datatrove.pipeline.formatters.base import BaseFormatter

from keras_llm.recipes.checks import check

# What differs between two copies of a page header: its number.
_NUMBERS = re.compile(r"^[\W\d_]+|[\W\d_]+$")
_LETTERS = re.compile(r"[^\W\d_]{2}")


class RepeatedLines(BaseFormatter):
    """Removes lines that occur many times in a document, but the first.

    Headers and footers of pages, "Share this article": lines that are equal
    but for numbers and signs at their ends, and spaces. Lines without two
    letters in a row (`}`, `* * *`) and those that end in a colon (who speaks
    in a play) stay.

    Args:
        min_times: How often a line must occur for its copies to go.
        max_length: Longest line that may go, in characters.
    """

    name = "repeated_lines"
    introduces = frozenset()

    def __init__(self, min_times: int = 5, max_length: int = 120):
        super().__init__()
        check(
            min_times >= 2, "repeated_lines.min_times", "at least 2", min_times
        )
        self.min_times = min_times
        self.max_length = max_length

    def format(self, text: str) -> str:
        """The text without such copies; the same object if it has none."""
        lines = text.split("\n")
        if len(lines) < self.min_times:
            return text
        keys = [self._key(line) for line in lines]
        counts = Counter(keys)
        del counts[""]
        repeated = {
            key for key, count in counts.items() if count >= self.min_times
        }
        if not repeated:
            return text
        kept = []
        for line, key in zip(lines, keys, strict=True):
            if key not in repeated or counts[key] > 0:
                kept.append(line)
                counts[key] = 0
        return "\n".join(kept)

    def _key(self, line: str) -> str:
        """What two copies of a line share; empty if it stays in any case."""
        if len(line) > self.max_length:
            return ""
        line = " ".join(line.split())
        if not _LETTERS.search(line) or line.endswith(":"):
            return ""
        return _NUMBERS.sub("", line)


_BROKEN = re.compile(
    r"(?<![\w-])([^\W\d_]{2,}+)([-\u2010\u00ad])\n([^\W\d_]{2,}+)(?![\w-])"
    r"([^\s\w]*+)([ \t]|(?=\n)|\Z)"
)
_WHOLE_WORD = re.compile(r"[^\W\d_]+(?:[-\u2010][^\W\d_]+)*")


class Hyphens(BaseFormatter):
    """Joins words that are broken by a hyphen at the end of a line.

    The second half moves up with the signs that follow it. Whether the hyphen
    stays is read from the text itself: `exam-` and `ple` are joined if
    `example` occurs in it, `well-` and `known` keep the hyphen if
    `well-known` does, whichever is the commoner; a pair with no such evidence
    stays as it is. A soft hyphen is evidence enough.
    """

    name = "hyphens"
    introduces = frozenset()

    def format(self, text: str) -> str:
        """The text with such words whole; the same object if it has none."""
        while any(f"{hyphen}\n" in text for hyphen in "-\u2010\u00ad"):
            words = Counter(
                word.lower().replace("\u2010", "-")
                for word in _WHOLE_WORD.findall(text)
            )
            joined = _BROKEN.sub(partial(_joined, words), text)
            if joined == text:
                break
            text = joined
        return text


def _joined(words: Counter, found: re.Match) -> str:
    """A broken word with what follows it, whole if that is safe."""
    left, hyphen, right, signs, space = found.groups()
    is_soft = hyphen == "\u00ad"
    whole = words[(left + right).lower()]
    hyphenated = words[f"{left}-{right}".lower()]
    if not right[0].islower() or not (is_soft or whole or hyphenated):
        return found[0]
    kept = "" if is_soft or whole >= hyphenated else hyphen
    return f"{left}{kept}{right}{signs}" + ("\n" if space else "")
