"""Pictures of how well classes are told apart."""

from pathlib import Path
from typing import Any

from keras_llm.pictures import picture

OURS, LINEAR, EVEN = "#c1440e", "#2c6e91", "#999999"
MOST_CLASSES = 30  # of a matrix that can be read


def draw_classification(report: dict[str, Any], folder: Path) -> None:
    """Draws what a classifier's report has.

    Args:
        report: `Classification.to_dict()`; with the figures of a linear model
            as `linear`, and of less data as `learning_curve`, if there are
            any.
        folder: Where `confusion.png`, `calibration.png` and
            `learning_curve.png` are written.
    """
    with picture(folder / "calibration.png", 5, 5) as figure:
        _draw_calibration(figure.subplots(), report)
    labels = [each["label"] for each in report["classes"]]
    if report["confusion"] and len(labels) <= MOST_CLASSES:
        size = 3 + 0.45 * len(labels)
        with picture(folder / "confusion.png", size + 1, size) as figure:
            _draw_confusion(figure.subplots(), report["confusion"], labels)
    if curve := report.get("learning_curve"):
        with picture(folder / "learning_curve.png", 6, 4) as figure:
            _draw_curve(figure.subplots(), curve)


def _draw_calibration(axes, report: dict[str, Any]) -> None:
    """How often what is said with some confidence is right."""
    axes.plot([0, 1], [0, 1], color=EVEN, linewidth=1, label="as it should be")
    sides = {"this classifier": (report, OURS)}
    if "linear" in report:
        sides["a linear model"] = (report["linear"], LINEAR)
    for name, (found, color) in sides.items():
        confidence, share, texts = zip(*found["calibration"], strict=True)
        sizes = [10 + 200 * count / sum(texts) for count in texts]
        name = f"{name}, off by {found['calibration_error']:.3f}"
        axes.plot(confidence, share, color=color, linewidth=1, label=name)
        axes.scatter(confidence, share, sizes, color=color)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.set(xlabel="probability that it gives", ylabel="share that is right")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def _draw_confusion(axes, confusion: list[list[int]], labels) -> None:
    """Rows are true classes, in shades of their shares."""
    totals = [max(sum(row), 1) for row in confusion]
    shares = [
        [count / total for count in row]
        for row, total in zip(confusion, totals, strict=True)
    ]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, counts in enumerate(confusion):
        for column, count in enumerate(counts):
            color = "white" if shares[row][column] > 0.5 else "black"
            axes.text(
                column, row, f"{count:,}", color=color, ha="center", va="center"
            )
    names = [label if len(label) < 20 else label[:19] + "…" for label in labels]
    # A dollar sign begins a formula otherwise.
    names = [name.replace("$", r"\$") for name in names]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="what it said", ylabel="what is true")


def _draw_curve(axes, curve: list[dict[str, Any]]) -> None:
    """Accuracy by the number of texts that were learned from."""
    texts = [point["texts"] for point in curve]
    ours = [point["accuracy"] for point in curve]
    linear = [point["linear"]["accuracy"] for point in curve]
    axes.plot(texts, ours, ".-", color=OURS, label="this classifier")
    axes.plot(texts, linear, ".-", color=LINEAR, label="a linear model")
    axes.set_xscale("log", base=2)
    axes.set_xticks(texts, [f"{count:,}" for count in texts])
    axes.set(xlabel="texts that it learned from", ylabel="accuracy")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
