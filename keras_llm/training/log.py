"""The run's log, and its picture."""

import csv
from pathlib import Path

from keras_llm.errors import InputError

COLUMNS = (
    "step",
    "tokens",
    "loss",
    "val_loss",
    "val_accuracy",
    "learning_rate",
    "tokens_per_second",
    "seconds",
)
# The columns in which two runs of one recipe may differ.
TIMINGS = ("tokens_per_second", "seconds")


def append_row(path: Path, row: dict) -> None:
    """Adds a row; columns that it lacks stay empty."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def read_log(path: Path) -> list[dict[str, float | None]]:
    """All rows, oldest first; a row cut off by a crash is left out."""
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                {k: float(v) if v else None for k, v in row.items()}
                for row in csv.DictReader(file)
                if row[COLUMNS[-1]]
            ]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged: {error!r}") from error


def cut_log(path: Path, step: int) -> None:
    """Removes what came after `step`."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [
        line
        for line in lines[1:]
        if line.endswith("\n") and _step_of(line) <= step
    ]
    beside = path.with_name(path.name + ".partial")
    beside.write_text("".join(lines[:1] + kept), encoding="utf-8")
    beside.replace(path)


def _step_of(line: str) -> float:
    """The step of a row; infinite where a crash has damaged it."""
    try:
        return int(line.split(",")[0])
    except ValueError:
        return float("inf")


def draw_curves(log: Path, out: Path) -> None:
    """Draws training and validation loss and the learning rate as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = read_log(log)
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    loss, rate = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]}
    )
    for axes, column, label, style in (
        (loss, "loss", "training", {"color": "#9bb7d4", "linewidth": 1}),
        (loss, "val_loss", "validation", {"color": "#c1440e", "marker": "."}),
        (rate, "learning_rate", "learning rate", {"color": "#555555"}),
    ):
        points = [(r["step"], r[column]) for r in rows if r[column] is not None]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, **style)
        axes.grid(alpha=0.3)
    validated = [r for r in rows if r["val_loss"] is not None]
    if validated:
        best = min(validated, key=lambda row: row["val_loss"])
        loss.set_title(
            f"best validation loss {best['val_loss']:.3f} "
            f"at step {best['step']:.0f}",
            fontsize=10,
        )
    loss.set_ylabel("loss (nats per token)")
    loss.legend(frameon=False)
    rate.set_ylabel("learning rate")
    rate.set_xlabel("step")
    beside = out.with_name(f".{out.name}.partial")
    figure.savefig(beside, format="png")
    beside.replace(out)
