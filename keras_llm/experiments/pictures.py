"""Pictures of several runs at once, as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from keras_llm.pictures import picture
from keras_llm.training.log import COUNTS

MOST_NAMED = 12  # runs that a legend names


def colors(count: int) -> list:
    """Colours that are told apart, as far as there are so many."""
    from matplotlib import colormaps

    if count <= 10:
        return list(colormaps["tab10"].colors[:count])
    return [colormaps["viridis"](i / (count - 1)) for i in range(count)]


def draw_curves(
    logs: Mapping[str, Sequence[dict[str, float | None]]], out: Path
) -> None:
    """Draws what runs have logged, one picture a quantity, over the steps.

    Validation has points, and training a thin line behind them; the last
    picture has the validation loss over the seconds.

    Args:
        logs: Rows by the names of the runs.
        out: The PNG file.
    """
    columns = dict.fromkeys(k for rows in logs.values() for k in rows[0])
    names = [k.removeprefix("val_") for k in columns if k not in COUNTS]
    panels = [(name, "step") for name in dict.fromkeys(names)]
    panels.append(("loss", "seconds"))
    with picture(out, 8, 1 + 2.4 * len(panels)) as figure:
        all_axes = figure.subplots(len(panels), 1)
        for axes, (name, over) in zip(all_axes, panels, strict=True):
            for color, (run, rows) in zip(
                colors(len(logs)), logs.items(), strict=True
            ):
                _draw(axes, rows, name, over, color, run)
            axes.set_ylabel(name.replace("_", " "))
            axes.set_xlabel(over)
            axes.grid(alpha=0.3)
        if len(logs) <= MOST_NAMED:
            all_axes[0].legend(frameon=False, fontsize=9)


def _draw(axes, rows, name: str, over: str, color, run: str) -> None:
    validated = _points(rows, over, f"val_{name}")
    trained = _points(rows, over, name)
    if validated:
        axes.plot(*zip(*validated, strict=True), ".-", color=color, label=run)
        if trained and over == "step":
            axes.plot(
                *zip(*trained, strict=True),
                color=color,
                linewidth=0.7,
                alpha=0.35,
            )
    elif trained:
        axes.plot(*zip(*trained, strict=True), color=color, label=run)


def _points(rows, over: str, column: str) -> list[tuple[float, float]]:
    return [
        (row[over], row[column]) for row in rows if row.get(column) is not None
    ]
