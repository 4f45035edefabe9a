"""Pictures of reports, as PNG files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def picture(path: Path, width: float, height: float) -> Iterator[Any]:
    """Within, a figure to draw on; it is written whole or not at all.

    Args:
        path: Of the PNG file.
        width: In inches, of 120 pixels.
        height: In inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    beside = path.with_name(f".{path.name}.partial")
    figure.savefig(beside, format="png")
    beside.replace(path)
