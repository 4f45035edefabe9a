"""What a sweep came to, as files: a table, pictures, and a page of both."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_llm.experiments.comparison import shown
from keras_llm.experiments.pictures import draw_curves
from keras_llm.experiments.space import Axis
from keras_llm.experiments.study import Study
from keras_llm.experiments.sweep import Sweep, best_row
from keras_llm.files import write_text
from keras_llm.pages import picture_data, write_page
from keras_llm.pictures import picture
from keras_llm.training.log import read_log

REPORT, PAGE = "report.json", "report.html"
TITLES = {
    "parallel.png": "What was tried, one line a trial: the darker, the better",
    "importance.png": "Share of the differences that each setting explains",
    "curves.png": "Curves: validation with points, training behind it",
}
BAD = "#bbbbbb"  # trials without a result


def result_of(sweep: Sweep, study: Study) -> dict[str, Any]:
    """The trials from the best to the worst, and what the best gained.

    Returns:
        `trials` (those that were cut short at the end), `best`, `own` (the
        first one, which had the recipe's own settings), `gain` in validation
        loss, and `importance` of each field.
    """
    rows = study.rows()
    for row in rows:
        folder = sweep.trial(row["trial"])
        log = read_log(folder / "training" / "log.csv")
        row["run"] = str(folder)
        row["steps"] = int(log[-1]["step"]) if log else 0
        row["seconds"] = log[-1]["seconds"] if log else 0.0
    best, own = best_row(rows), rows[0]
    gain = None if own["loss"] is None else own["loss"] - best["loss"]
    key = lambda row: (row["loss"] is None, row["loss"], row["trial"])  # noqa: E731
    return {
        "trials": sorted(rows, key=key),
        "best": best,
        "own": own,
        "gain": gain,
        "importance": study.importance(),
    }


def save_result(
    result: dict[str, Any], axes: Sequence[Axis], out: Path
) -> None:
    """Writes `report.json`, `report.html` and pictures into a folder."""
    write_text(out / REPORT, json.dumps(result, indent=1))
    _draw_parallel(result["trials"], axes, out / "parallel.png")
    if result["importance"]:
        _draw_importance(result["importance"], out / "importance.png")
    logs = {
        f"trial {row['trial']}": log
        for row in result["trials"]
        if (log := read_log(Path(row["run"]) / "training" / "log.csv"))
    }
    if logs:  # their folders may be gone
        draw_curves(logs, out / "curves.png")
    figures = [
        (title, picture_data(out / name))
        for name, title in TITLES.items()
        if (out / name).is_file()
    ]
    write_page(
        out / PAGE,
        Path(__file__).with_name("sweep.html.jinja"),
        {"shown": shown},
        names=[axis.name for axis in axes],
        figures=figures,
        **result,
    )


def _draw_importance(importance: dict[str, float], out: Path) -> None:
    names = sorted(importance, key=importance.get)
    with picture(out, 8, 1 + 0.4 * len(names)) as figure:
        axes = figure.subplots()
        bars = axes.barh(names, [importance[name] for name in names])
        axes.bar_label(bars, fmt="{:.0%}", padding=4)
        axes.set_xlim(0, 1.1)
        axes.set_xlabel("share of the variance of the loss (fANOVA)")


def _draw_parallel(
    trials: Sequence[dict[str, Any]], axes: Sequence[Axis], out: Path
) -> None:
    from matplotlib import colormaps

    losses = [row["loss"] for row in trials if row["loss"] is not None]
    low, high = min(losses), max(losses)
    scales = [_scale(axis, trials) for axis in axes]
    with picture(out, 2.2 + 1.8 * len(axes), 4.5) as figure:
        drawn = figure.subplots()
        for row in reversed(trials):  # the best at the end, above the others
            heights = [
                scale(row["values"][axis.name])
                for axis, (scale, _) in zip(axes, scales, strict=True)
            ]
            loss, color, width = row["loss"], BAD, 0.7
            if loss is not None:
                share = (loss - low) / (high - low) if high > low else 0.0
                heights.append(share)
                color = colormaps["viridis"](0.9 * share)
                width = 2.2 - 1.4 * share
            drawn.plot(heights, color=color, linewidth=width)
        ends = [*(ends for _, ends in scales), [(0, low), (1, high)]]
        for x, marks in enumerate(ends):
            drawn.axvline(x, color="#555555", linewidth=1)
            for height, value in marks:
                drawn.annotate(
                    f" {shown(value)}", (x, height), fontsize=8, va="center"
                )
        names = [axis.name.replace(".", ".\n") for axis in axes]
        drawn.set_xticks(range(len(ends)), [*names, "validation\nloss"])
        drawn.set_yticks([])
        drawn.set_xlim(-0.1, len(ends) - 0.6)
        drawn.spines[:].set_visible(False)


def _scale(axis: Axis, trials: Sequence[dict[str, Any]]):
    """From a value to its height in [0, 1], and the values that are marked."""
    values = [row["values"][axis.name] for row in trials]
    if axis.choices:
        known = list(axis.choices)
        for value in values:
            if value not in known:  # the recipe's own; a list is no key
                known.append(value)
        marks = [(i / (len(known) - 1), v) for i, v in enumerate(known)]
        return lambda value: known.index(value) / (len(known) - 1), marks
    of = math.log if axis.log else float

    def is_drawn(value: float | None) -> bool:
        return value is not None and (value > 0 or not axis.log)

    ends = [axis.low, axis.high, *filter(is_drawn, values)]
    low, high = min(ends), max(ends)  # the recipe's own may be beyond

    def scale(value: float | None) -> float:
        if not is_drawn(value):
            return 0.0
        return (of(value) - of(low)) / (of(high) - of(low))

    return scale, [(0, low), (1, high)]
