"""Two texts side by side: what changed is marked, what is unseen is shown.

Gives plain pieces of text; whoever shows them must escape them.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

TOKENS = re.compile(r"\w+|\s|[^\w\s]")
SOLID = 8  # characters in common that are no accident
ALIKE = 0.5  # ratio from which words are compared by character
SPELT_OUT = 8  # characters that look alike, named by their code points
JOINERS = "\u200c\u200d"  # Persian and emoji are full of them
SIGNS = {" ": "·", "\n": "↵", "\t": "→", "\x7f": "DEL"}
C0 = (
    "NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI DLE DC1 DC2 DC3 "
    "DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US"
).split()

# What became of a stretch of text: an operation of difflib, before, after.
Edit = tuple[str, str, str]


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


CUT = Run([Piece("…", "it goes on")])


def compare(before: str, after: str, limit: int) -> tuple[list[Run], list[Run]]:
    """Both texts, with what differs marked.

    Args:
        before: Excerpt of a text.
        after: Excerpt of what became of it.
        limit: Length at which excerpts were cut: what one lacks at its end
            may only have been cut.
    """
    edits = list(_edits(before, after))
    is_cut = max(len(before), len(after)) >= limit and _forget_end(edits)
    left, right = [], []
    for operation, old, new in _refined(edits):
        if operation == "equal":
            left.append(Run(visible(old)))
            right.append(Run(visible(new)))
            continue
        show = _spelt_out if _look_alike(old, new) else _visible_change
        left += [Run(show(old), is_changed=True)] if old else []
        right += [Run(show(new), is_changed=True)] if new else []
    left += [CUT] if is_cut or len(before) >= limit else []
    right += [CUT] if is_cut or len(after) >= limit else []
    return left, right


def visible(text: str) -> list[Piece]:
    """A text, with signs for characters that cannot be seen."""
    return _pieces(text, _is_hidden)


def sign_of(character: str) -> Piece:
    """What stands for one character where it is named."""
    return next(_signs(character, _is_hidden_in_change))


def _visible_change(text: str) -> list[Piece]:
    # Spaces between words need no sign: that they changed is seen.
    if all(map(_is_hidden_in_change, text)):
        return _pieces(text, _is_hidden_in_change)
    return _pieces(text, lambda c: c != " " and _is_hidden_in_change(c))


def _spelt_out(text: str) -> list[Piece]:
    named = [Piece(_code_point(c), _name(c)) for c in text]
    return [Piece(text), *named]


def _look_alike(old: str, new: str) -> bool:
    if max(len(old), len(new)) > SPELT_OUT:
        return False
    normal = unicodedata.normalize
    return normal("NFC", old) == normal("NFC", new)


def _pieces(text: str, is_hidden) -> list[Piece]:
    pieces: list[Piece] = []
    for piece in _signs(text, is_hidden):
        if pieces and not piece.name and not pieces[-1].name:
            piece = Piece(pieces.pop().text + piece.text)
        pieces.append(piece)
    return pieces


def _signs(text: str, is_hidden) -> Iterator[Piece]:
    for character in text:
        if not is_hidden(character):
            yield Piece(character)
            continue
        yield Piece(_sign(character), _name(character))
        if character in "\n\t":
            yield Piece(character)


def _sign(character: str) -> str:
    if character in SIGNS:
        return SIGNS[character]
    if ord(character) < 0x20:
        return C0[ord(character)]
    return _code_point(character)


def _is_hidden(character: str) -> bool:
    if character in " \n\t" or character in JOINERS:
        return False
    return unicodedata.category(character)[0] in "CZ"


def _is_hidden_in_change(character: str) -> bool:
    return unicodedata.category(character)[0] in "CZM"


def _code_point(character: str) -> str:
    return f"U+{ord(character):04X}"


def _name(character: str) -> str:
    name = unicodedata.name(character, "")
    return f"{_code_point(character)} {name}".rstrip()


def _edits(before: list[str] | str, after: list[str] | str) -> Iterator[Edit]:
    if isinstance(before, str):
        before, after = TOKENS.findall(before), TOKENS.findall(after)
    for operation, i, j, k, m in _matcher(before, after).get_opcodes():
        yield operation, "".join(before[i:j]), "".join(after[k:m])


def _refined(edits: Iterable[Edit]) -> Iterator[Edit]:
    """The same, with words that are much alike compared by character."""
    for operation, old, new in edits:
        if operation == "replace" and _matcher(old, new).ratio() >= ALIKE:
            yield from _edits(list(old), list(new))
        else:
            yield operation, old, new


def _matcher(before, after) -> SequenceMatcher:
    return SequenceMatcher(None, before, after, autojunk=False)


def _forget_end(edits: list[Edit]) -> bool:
    """Leaves out, in place, what may differ only because it was cut there.

    That is what follows the last words in common, unless nothing before them
    differs. Returns whether there was any.
    """
    common = [
        number
        for number, (operation, old, _) in enumerate(edits)
        if operation == "equal" and len(old) >= SOLID
    ]
    end = common[-1] + 1 if common and common[-1] else len(edits)
    is_any = end < len(edits)
    del edits[end:]
    return is_any
