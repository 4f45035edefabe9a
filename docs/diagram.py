"""Boxes in rows, each below what it uses, as SVG. Knows nothing of code."""

import textwrap
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 200, 84
GAP_X, GAP_Y = 24, 44
LINE, CHARACTERS = 15, 30


@dataclass(frozen=True)
class Box:
    """One box.

    Args:
        name: Its heading.
        text: What stands below it.
        uses: Names of the boxes that arrows come from.
    """

    name: str
    text: str
    uses: set[str]


def draw(boxes: list[Box]) -> str:
    """The SVG: what uses nothing is at the top, text flows down."""
    rows = _rows({box.name: box for box in boxes})
    widest = max(map(len, rows))
    width = widest * (WIDTH + GAP_X) + GAP_X
    places = {
        box.name: (
            (width - len(row) * (WIDTH + GAP_X) + GAP_X) / 2
            + index * (WIDTH + GAP_X),
            GAP_Y + y * (HEIGHT + GAP_Y),
        )
        for y, row in enumerate(rows)
        for index, box in enumerate(row)
    }
    height = GAP_Y + len(rows) * (HEIGHT + GAP_Y)
    parts = [
        _arrow(places[used], places[box.name])
        for box in boxes
        for used in sorted(box.uses)
    ]
    parts += [_drawn(box, *places[box.name]) for box in boxes]
    return (
        _HEAD.format(width=width, height=height) + "".join(parts) + "</svg>\n"
    )


def _rows(boxes: dict[str, Box]) -> list[list[Box]]:
    """Boxes by the longest way to them; in a row below what they use."""
    rows: list[list[Box]] = []
    column: dict[str, float] = {}
    depth = {name: _depth(name, boxes) for name in boxes}
    for level in range(max(depth.values()) + 1):
        row = [box for box in boxes.values() if depth[box.name] == level]

        def middle(box):
            used = [column[name] for name in box.uses]
            return (sum(used) / len(used) if used else 0, box.name)

        row.sort(key=middle)
        for index, box in enumerate(row):
            column[box.name] = index - (len(row) - 1) / 2
        rows.append(row)
    return rows


def _depth(name: str, boxes: dict[str, Box]) -> int:
    return max(
        (1 + _depth(each, boxes) for each in boxes[name].uses), default=0
    )


_HEAD = """<svg xmlns="http://www.w3.org/2000/svg"
 viewBox="0 0 {width} {height}"
 width="{width}" height="{height}" font-family="sans-serif">
<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"
 markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#7a8aa0"/>
</marker></defs>
<rect width="100%" height="100%" fill="#ffffff"/>
"""


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1 = start[0] + WIDTH / 2, start[1] + HEIGHT
    x2, y2 = end[0] + WIDTH / 2, end[1]
    bend = (y2 - y1) / 2
    return (
        f'<path d="M{x1:g},{y1:g} C{x1:g},{y1 + bend:g} {x2:g},{y2 - bend:g} '
        f'{x2:g},{y2:g}" fill="none" stroke="#7a8aa0" '
        'marker-end="url(#end)"/>\n'
    )


def _drawn(box: Box, x: float, y: float) -> str:
    lines = textwrap.wrap(box.text.replace("`", ""), CHARACTERS)
    text = "".join(
        f'<tspan x="{x + 10:g}" dy="{LINE}">{escape(line)}</tspan>'
        for line in lines
    )
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" '
        'fill="#eef3fb" stroke="#7a8aa0"/>\n'
        f'<text x="{x + 10:g}" y="{y + 18:g}" font-size="11" fill="#333">'
        '<tspan font-size="14" font-weight="bold" fill="#111">'
        f"{box.name}</tspan>"
        f"{text}</text>\n"
    )
