"""The run's log, and its picture."""

import csv
from pathlib import Path

from keras_llm.errors import InputError
from keras_llm.pictures import picture

# The columns in which two runs of one recipe may differ.
TIMINGS = ("tokens_per_second", "seconds")
COUNTS = ("step", "tokens", *TIMINGS)
# Columns that are never empty; val_loss may be.
FILLED = ("step", "tokens", "loss", "learning_rate", *TIMINGS)


def append_row(path: Path, row: dict) -> None:
    """Adds a row; what is `None` stays empty.

    The last column is never empty, so that a row cut off by a crash is known.
    """
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if not file.tell():  # new, or of a run killed as it made it
            writer.writeheader()
        writer.writerow(row)


def read_log(path: Path) -> list[dict[str, float | None]]:
    """All rows, oldest first; a row cut off by a crash is left out.

    Raises:
        InputError: It is damaged.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [
                {k: float(v) if v else None for k, v in row.items()}
                for row in csv.DictReader(file)
                if [*row.values()][-1]
            ]
        for row in rows:
            empty = [name for name in FILLED if row.get(name) is None]
            if empty or "val_loss" not in row:
                raise ValueError(f"a row has no {empty or ['val_loss']}")
    except (ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    return rows


def cut_log(path: Path, step: int) -> None:
    """Removes what came after `step`."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    kept = [line for line in whole[1:] if _step_of(line) <= step]
    beside = path.with_name(path.name + ".partial")
    beside.write_text("".join(whole[:1] + kept), encoding="utf-8")
    beside.replace(path)


def _step_of(line: str) -> float:
    """The step of a row; infinite where a crash has damaged it."""
    try:
        return int(line.split(",")[0])
    except ValueError:
        return float("inf")


def draw_curves(log: Path, out: Path) -> None:
    """Draws training and validation loss and the learning rate as a PNG.

    Whatever else the log has, accuracy say, gets a picture of its own. Of an
    empty log nothing is drawn.
    """
    rows = read_log(log)
    if not rows:
        return
    panels = _panels(rows)
    with picture(out, 8, 3 + 1.5 * len(panels)) as figure:
        _draw_panels(figure, rows, panels)


def _draw_panels(figure, rows: list[dict], panels: dict) -> None:
    heights = [3] + [1] * (len(panels) - 1)
    all_axes = figure.subplots(
        len(panels), 1, sharex=True, gridspec_kw={"height_ratios": heights}
    )
    for axes, (label, columns) in zip(all_axes, panels.items(), strict=True):
        for column, style in columns.items():
            points = [
                (row["step"], row[column])
                for row in rows
                if row[column] is not None
            ]
            if points:
                axes.plot(*zip(*points, strict=True), **style)
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    loss = all_axes[0]
    validated = [row for row in rows if row["val_loss"] is not None]
    if validated:
        best = min(validated, key=lambda row: row["val_loss"])
        loss.set_title(
            f"best validation loss {best['val_loss']:.3f} "
            f"at step {best['step']:.0f}",
            fontsize=10,
        )
    loss.legend(frameon=False)
    all_axes[-1].set_xlabel("step")


TRAINING = {"color": "#9bb7d4", "linewidth": 1, "label": "training"}
VALIDATION = {"color": "#c1440e", "marker": ".", "label": "validation"}


def _panels(rows: list[dict]) -> dict[str, dict[str, dict]]:
    """Columns and their style, by what their axis says."""
    panels = {"loss": {}, "learning rate": {"learning_rate": TRAINING}}
    for column in rows[0]:
        name = column.removeprefix("val_")
        if name not in (*COUNTS, "learning_rate"):
            style = TRAINING if name == column else VALIDATION
            panels.setdefault(name.replace("_", " "), {})[column] = style
    panels["learning rate"] = panels.pop("learning rate")
    return panels
