"""Pictures of a certificate, as PNG files."""

from collections.abc import Callable
from pathlib import Path

from keras_llm.pictures import picture
from keras_llm.pytorch.certificate import Certificate, Row
from keras_llm.pytorch.sides import ABOUT

KERAS, PYTORCH, LIMIT = "#2c6e91", "#d0623a", "#9a2617"
LEAST = 1e-10  # what a logarithmic axis shows of a difference of zero


def draw_figures(certificate: Certificate, folder: Path) -> dict[str, str]:
    """Draws what there is to draw.

    Returns:
        Titles by the names of the files.
    """
    steps = certificate.subject["steps"]
    drawings: dict[str, tuple[str, Callable, tuple]] = {
        "loss.png": (
            f"Loss over {steps} steps of both sides, and how far they are "
            "apart",
            _losses,
            (8, 5),
        ),
        "layers.png": (
            "Outputs of every layer: how far they are apart",
            _layers,
            (8, 0.3 * len(certificate.section("outputs")) + 1.2),
        ),
        "gradients.png": (
            "Gradients of every parameter: how far they are apart",
            _gradients,
            (8, 3.2),
        ),
        "speed.png": ("Tokens per second", _speed, (8, 8)),
        "memory.png": ("Peak memory in MB", _memory, (8, 8)),
    }
    made = {}
    for name, (title, draw, size) in drawings.items():
        section = name.removesuffix(".png")
        if section in ("speed", "memory") and not certificate.section(section):
            continue
        with picture(folder / name, *size) as figure:
            draw(figure, certificate)
        made[name] = title
    return made


def _losses(figure, certificate):
    axes = figure.subplots(
        2,
        len(certificate.curves),
        sharex=True,
        squeeze=False,
        gridspec_kw={"height_ratios": [3, 1]},
    )
    for column, (name, curves) in enumerate(certificate.curves.items()):
        above, below = axes[:, column]
        ours, theirs = curves["keras"], curves["pytorch"]
        above.plot(theirs, color=PYTORCH, linewidth=4, alpha=0.45)
        above.plot(ours, color=KERAS, linewidth=1.2)
        above.set_title(name, fontsize=10)
        apart = [
            max(LEAST, abs(one - other))
            for one, other in zip(ours, theirs, strict=True)
        ]
        below.semilogy(apart, color="#555555", linewidth=1)
        (row,) = (
            row
            for row in certificate.section("training")
            if row.name.endswith(f" of {name}")
        )
        below.axhline(row.tolerance, color=LIMIT, linestyle="--", linewidth=1)
        below.set_xlabel("step")
        for each in (above, below):
            each.grid(alpha=0.3)
    above, below = axes[:, 0]
    above.legend(["PyTorch", "Keras"], frameon=False)
    above.set_ylabel("loss (nats per token)")
    below.set_ylabel("difference")


def _layers(figure, certificate):
    rows = certificate.section("outputs")
    axes = figure.subplots()
    _against_tolerance(axes, rows)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.invert_yaxis()


def _gradients(figure, certificate):
    rows = sorted(certificate.section("gradients"), key=lambda row: row.value)
    axes = figure.subplots()
    _against_tolerance(axes, rows)
    axes.set_ylabel("parameters, sorted")


def _against_tolerance(axes, rows: list[Row]):
    values = [max(LEAST, row.value) for row in rows]
    axes.plot(values, range(len(rows)), "o", color=KERAS, markersize=4)
    axes.axvline(rows[0].tolerance, color=LIMIT, linestyle="--", linewidth=1)
    axes.text(
        rows[0].tolerance,
        1.01,
        f"tolerance {rows[0].tolerance:g}",
        color=LIMIT,
        fontsize=9,
        ha="right",
        va="bottom",
        transform=axes.get_xaxis_transform(),
    )
    axes.set_xscale("log")
    axes.set_xlabel("norm of the difference over the norm")
    axes.grid(alpha=0.3)


def _speed(figure, certificate):
    _bars(figure, certificate.section("speed"), 1.0)


def _memory(figure, certificate):
    _bars(figure, certificate.section("memory"), 2.0**20)


def _bars(figure, rows: list[Row], unit: float):
    """One picture a task, one bar a side."""
    tasks = list(dict.fromkeys(row.details["task"] for row in rows))
    for axes, task in zip(
        figure.subplots(len(tasks), 1, squeeze=False)[:, 0], tasks, strict=True
    ):
        of_task = [row for row in rows if row.details["task"] == task]
        values = [(row.value or 0) / unit for row in of_task]
        names = [row.name.removeprefix(f"{task}, ") for row in of_task]
        colors = [
            PYTORCH if row.details["side"].startswith("torch") else KERAS
            for row in of_task
        ]
        bars = axes.barh(names, values, color=colors)
        labels = [
            row.verdict if row.value is None else f"{value:,.0f}"
            for row, value in zip(of_task, values, strict=True)
        ]
        axes.bar_label(bars, labels, padding=4, fontsize=9)
        axes.set_title(f"{task}: {ABOUT[task]}", fontsize=10, loc="left")
        axes.set_xlim(0, 1.15 * max(values, default=1) or 1)
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
