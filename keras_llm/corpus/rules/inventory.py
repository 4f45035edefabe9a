"""What a text holds besides printable ASCII, found once for all rules.

Most rules concern characters that most texts do not have. One pass at the
speed of memory tells them so, instead of one regular expression each.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

# Printable ASCII separates the runs; control characters stay in them.
_SEPARATORS = bytes(
    0x20 if 0x20 <= byte < 0x7F else byte for byte in range(256)
)


@dataclass(frozen=True)
class Inventory:
    """The distinct characters of a text that are not plain.

    Plain are printable ASCII, tab and the line breaks of ASCII.

    Args:
        alphabet: These characters, each once, in no order.
        runs: The distinct runs of them, with a line end between two.
    """

    alphabet: str
    runs: str


_FEW = 20  # texts to look for one by one


def inventory(text: str) -> Inventory:
    """The characters of a text that are not plain."""
    data = text.encode("utf-8", "surrogatepass").translate(_SEPARATORS)
    found = set(data.split())
    if not found:
        return Inventory("", "")
    runs = b"\n".join(found).decode("utf-8", "surrogatepass")
    return Inventory("".join(set(runs) - {"\n"}), runs)


def change_lines(
    text: str, needles: Collection[str], change: Callable[[str], str]
) -> str:
    """Changes the lines that hold one of the needles.

    Args:
        text: Any text.
        needles: Characters or runs of its inventory. Many are not looked for:
            then every line counts as holding one.
        change: What to do to a line, without its line end.

    Returns:
        The text; the same object if no line changed.
    """
    if not needles:
        return text
    if len(needles) > _FEW:
        needles = [""]
    lines = text.split("\n")
    changed = [
        change(line) if any(needle in line for needle in needles) else line
        for line in lines
    ]
    return text if changed == lines else "\n".join(changed)
