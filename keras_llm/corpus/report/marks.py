"""Two texts side by side: what changed is marked, what is unseen is shown.

Gives plain pieces of text; whoever shows them must escape them.
"""

import re
import unicodedata
from dataclasses import dataclass
from difflib import SequenceMatcher

from keras_llm.corpus.counts import EXCERPT

_TOKENS = re.compile(r"\w+|\s|[^\w\s]")
_JOINERS = "\u200c\u200d"  # Persian and emoji are full of them
_SOLID = 4  # words and signs in common that are no accident
_SIGNS = {" ": "·", "\n": "↵", "\t": "→"}


@dataclass(frozen=True)
class Piece:
    """Text as it is or, with a name, a sign for a character one cannot see.

    Args:
        text: What to show.
        name: Of the character that a sign stands for, e.g.
            `"U+200B ZERO WIDTH SPACE"`.
    """

    text: str
    name: str = ""


@dataclass(frozen=True)
class Run:
    """Pieces that were all changed, or all left as they were."""

    pieces: list[Piece]
    is_changed: bool = False


_CUT = Run([Piece("…", "it goes on")])


def compare(before: str, after: str) -> tuple[list[Run], list[Run]]:
    """Both texts, with what differs marked, word by word.

    Args:
        before: Excerpt of a text, of at most `EXCERPT` characters.
        after: Excerpt of what became of it. What one excerpt lacks at its end
            may only have been cut.
    """
    words = _TOKENS.findall(before), _TOKENS.findall(after)
    edits = SequenceMatcher(None, *words, autojunk=False).get_opcodes()
    if max(len(before), len(after)) >= EXCERPT:
        common = [
            number
            for number, (kind, start, stop, *_) in enumerate(edits, start=1)
            if kind == "equal" and stop - start >= _SOLID
        ]
        edits = edits[: common[-1]] if max(common, default=0) > 1 else edits
    sides = []
    for text, side, at in zip((before, after), words, (1, 3), strict=True):
        runs = []
        for edit in edits:
            words_of_it = side[edit[at] : edit[at + 1]]
            is_changed = edit[0] != "equal"
            if words_of_it:
                pieces = visible("".join(words_of_it), is_changed)
                runs.append(Run(pieces, is_changed))
        sides.append(runs + [_CUT] * (len(text) >= EXCERPT))
    return sides[0], sides[1]


def visible(text: str, is_changed: bool = False) -> list[Piece]:
    """A text, with signs for characters that cannot be seen.

    Args:
        text: The text.
        is_changed: Whether line ends, tabs and what is nothing but spaces are
            to be seen as well.
    """
    shown = "" if is_changed else "\n\t"
    if not (is_changed and text.isspace()):
        shown += " "
    pieces: list[Piece] = []
    for character in text:
        is_hidden = unicodedata.category(character)[0] in "CZ"
        if is_hidden and character not in shown + _JOINERS:
            pieces.append(sign_of(character))
            if character in "\n\t":
                pieces.append(Piece(character))
        elif pieces and not pieces[-1].name:
            pieces[-1] = Piece(pieces[-1].text + character)
        else:
            pieces.append(Piece(character))
    return pieces


def sign_of(character: str) -> Piece:
    """What stands for one character where it is named."""
    if unicodedata.category(character)[0] not in "CZM":
        return Piece(character)
    code = f"U+{ord(character):04X}"
    name = f"{code} {unicodedata.name(character, '')}".rstrip()
    return Piece(_SIGNS.get(character, code), name)
