"""Formatters of plain text: line ends, characters, spaces and lines."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial

import regex
from datatrove.pipeline.formatters.base import BaseFormatter

from keras_llm.recipes.checks import check

# Printable ASCII separates the runs; control characters stay in them.
_SEPARATORS = bytes(
    0x20 if 0x20 <= byte < 0x7F else byte for byte in range(256)
)
_FEW = 20  # runs to look for one by one


def unusual_runs(text: str) -> list[str]:
    """The distinct runs of what is not plain, in no order.

    Plain are printable ASCII, tab and the line breaks of ASCII. Most rules
    concern characters that most texts do not have, and one pass at the speed
    of memory tells them so.
    """
    data = text.encode("utf-8", "surrogatepass").translate(_SEPARATORS)
    found = b"\n".join(set(data.split()))
    return found.decode("utf-8", "surrogatepass").split("\n") if found else []


def unusual_characters(text: str) -> set[str]:
    """The distinct characters of these runs."""
    return set("".join(unusual_runs(text)))


def change_lines(
    text: str, needles: Collection[str], change: Callable[[str], str]
) -> str:
    """Changes the lines that hold one of a few needles, or all if many."""
    if not needles:
        return text
    if len(needles) > _FEW:
        needles = [""]
    return "\n".join(
        change(line) if any(needle in line for needle in needles) else line
        for line in text.split("\n")
    )


class Newlines(BaseFormatter):
    """Makes every line end `\\n`: Windows (`\\r\\n`) and old Mac (`\\r`)."""

    def format(self, text: str) -> str:
        """The text with `\\n` as its only line end."""
        return text.replace("\r\n", "\n").replace("\r", "\n")


# Normalisation sorts the marks on a letter in time with the square of their
# number: 40,000 take a second, a file of them would take days.
_MANY_MARKS = regex.compile(r"((?<!\p{M})\p{M}{257,})")
# Marks, and the vowels and finals of Hangul, which join what is before them.
_COMPOSING = regex.compile(r"[\p{M}\u1160-\u11ff]")


class Nfc(BaseFormatter):
    """Composes characters (Unicode normalisation form C).

    A run of more than 256 combining marks, which no writing has, stays.
    """

    def format(self, text: str) -> str:
        """The text in NFC."""
        loose = [
            run
            for run in unusual_runs(text)
            if _COMPOSING.search(run)
            or not unicodedata.is_normalized("NFC", run)
        ]
        return change_lines(text, loose, _composed)


def _composed(line: str) -> str:
    pieces = _MANY_MARKS.split(line)
    for number in range(0, len(pieces), 2):
        pieces[number] = unicodedata.normalize("NFC", pieces[number])
    return "".join(pieces)


_BREAKS = "\v\f\x85\u2028\u2029"
_REMOVED = (
    "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"
    "\u200b\u200e\u200f\u061c\u202a-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffc\ufdd0-\ufdef\ufffe\uffff"
    + "".join(chr(n << 16 | 0xFFFE) + chr(n << 16 | 0xFFFF) for n in range(17))
)
_TAGS = "\U000e0000-\U000e007f"
_SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
# Arabic to Myanmar, Ethiopic's neighbours that stack letters, Mongolian,
# Indic scripts of the later planes; letters, marks and digits alike.
_JOINING = (
    "\u0600-\u08ff\u0900-\u109f\u1700-\u18af\u1900-\u1cff\ua800-\ua8ff"
    "\ua900-\uabff\ufb50-\ufdcf\ufdf0-\ufdff\ufe70-\ufefc"
    "\U00010a00-\U00010aff\U00010d00-\U00010fff\U00011000-\U00011fff"
    "\U0001e900-\U0001e95f"
)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_SIMPLE = re.compile(f"[{_REMOVED}]")
_SOFT_HYPHEN = re.compile("\u00ad(?!\n|\\Z)")
_TAGGED = re.compile(
    f"(\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f)|[{_TAGS}]+"
)
# Marks between a letter and a joiner are looked through.
_JOINER = regex.compile(
    r"(?<=\p{Emoji}\p{M}*)(\u200d)[\u200c\u200d]*+(?=\p{Emoji})"
    rf"|(?<=[{_JOINING}]\p{{M}}*)(\u200c)[\u200c\u200d]*+"
    rf"(?=\p{{M}}*[{_JOINING}])"
    rf"|(?<=[{_JOINING}]\p{{M}}*)(\u200d)[\u200c\u200d]*+"
    r"|[\u200c\u200d]++"
)
_SELECTED = re.compile(f"([{_SELECTORS}])[{_SELECTORS}]+")
_IN_CONTEXT = re.compile(f"[\u200c\u200d{_TAGS}{_SELECTORS}]")


class ControlCharacters(BaseFormatter):
    """Removes characters that nobody sees.

    - C0 and C1 control characters but `\\n`, `\\t` and `\\r` (which is the
      rule `newlines`'s), with the terminal sequences that begin with ESC;
    - zero-width spaces, word joiners, byte order marks inside, invisible
      operators, annotation and object marks, noncharacters;
    - bidirectional controls: they change where text is shown and not what it
      says, stay open when a document is cut, and can hide what a reader sees;
    - soft hyphens but at line ends, where they show (rule `hyphens`);
    - zero-width joiners and non-joiners where they join nothing: they stay in
      the scripts that spell with them and in emoji;
    - language tags but in the flags of regions, and variation selectors in a
      row: either can smuggle text that no reader sees.

    Form feeds, vertical tabs and the Unicode line and paragraph separators
    become `\\n`; surrogates their pair's character, or U+FFFD if alone.
    """

    def format(self, text: str) -> str:
        """The text without them."""
        found = unusual_characters(text)
        if _LONE_SURROGATE.search("".join(found)):
            data = text.encode("utf-16-le", "surrogatepass")
            text = data.decode("utf-16-le", "surrogatepass")
            text = _LONE_SURROGATE.sub("\ufffd", text)
            found = unusual_characters(text)
        if "\x1b" in found:
            text = _TERMINAL.sub("", text)
        for character in _BREAKS:
            text = text.replace(character, "\n")
        if any(map(_SIMPLE.match, found)):
            text = _SIMPLE.sub("", text)
        if "\u00ad" in found:
            text = _SOFT_HYPHEN.sub("", text)
        if _IN_CONTEXT.search("".join(found)):
            text = _TAGGED.sub(r"\1", text)
            text = _JOINER.sub(r"\1\2\3", text)
            text = _SELECTED.sub(r"\1", text)
        return text


# No-break, en, em, thin and other spaces of Latin typesetting. U+3000 stays:
# it indents Chinese and Japanese paragraphs; so does U+1680, a visible mark.
_SPACES = re.compile("[\u00a0\u2000-\u200a\u202f\u205f]")
_TRAILING = " \t\u3000\u1680"


class Whitespace(BaseFormatter):
    """Makes spaces plain, and removes those that are not seen.

    Unicode spaces become a space, spaces at line ends go, and of blank lines
    in a row two stay. Indentation and spaces inside a line stay.
    """

    def format(self, text: str) -> str:
        """The text with such spaces."""
        for space in _SPACES.findall("".join(unusual_characters(text))):
            text = text.replace(space, " ")
        is_last = text.endswith(tuple(_TRAILING))
        if is_last or any(f"{space}\n" in text for space in _TRAILING):
            lines = text.split("\n")
            text = "\n".join([line.rstrip(_TRAILING) for line in lines])
        if "\n\n\n\n" in text:
            text = re.sub("\n\n\n\n+", "\n\n\n", text)
        return text[1:] if text.startswith("\n\n\n") else text


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

    def __init__(self, min_times: int = 5, max_length: int = 120):
        super().__init__()
        check(
            min_times >= 2, "repeated_lines.min_times", "at least 2", min_times
        )
        self.min_times = min_times
        self.max_length = max_length

    def format(self, text: str) -> str:
        """The text without such copies."""
        lines = text.split("\n")
        if len(lines) < self.min_times:
            return text
        keys = [self._key(line) for line in lines]
        counts = Counter(keys)
        often = {key for key, n in counts.items() if n >= self.min_times}
        kept, seen = [], set()
        for line, key in zip(lines, keys, strict=True):
            if key not in seen:
                kept.append(line)
            if key and key in often:
                seen.add(key)
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

    def format(self, text: str) -> str:
        """The text with such words whole."""
        if not any(f"{hyphen}\n" in text for hyphen in "-\u2010\u00ad"):
            return text
        words = Counter(
            word.lower().replace("\u2010", "-")
            for word in _WHOLE_WORD.findall(text)
        )
        return _BROKEN.sub(partial(_joined, words), text)


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
