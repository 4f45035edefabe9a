"""A certificate as files: numbers, pictures, and a page of both."""

import json
from pathlib import Path
from typing import Any

from keras_llm.files import write_text
from keras_llm.pages import picture_data, write_page
from keras_llm.pytorch.certificate import FAILS, Certificate, Row
from keras_llm.pytorch.figures import draw_figures

REPORT, PAGE = "report.json", "report.html"
SECTIONS = {
    "outputs": (
        "Outputs of every layer",
        "Of one batch, the next after those of the training.",
    ),
    "loss": ("Loss of a batch", "Of the same batch."),
    "gradients": (
        "Gradients of every parameter",
        "Of the same batch. A gradient that is less than a thousandth of all "
        "of them is measured against that.",
    ),
    "training": (
        "Training",
        "The same batches from the same weights; schedule, clipping and weight "
        "decay alike, AdamW's epsilon and SGD's momentum where Keras has them.",
    ),
    "parameters": ("Parameters after training", ""),
    "speed": (
        "Speed",
        "Median of the rounds; each row in a process of its own, on the CPU.",
    ),
    "memory": (
        "Memory",
        "The most that the process of each row had, and what its libraries "
        "took before there was a model.",
    ),
}


def save_certificate(certificate: Certificate, folder: Path) -> None:
    """Writes `report.json`, `report.html` and PNG files into a folder.

    The page holds its pictures, and refers to nothing outside itself.
    """
    folder = Path(folder)
    text = json.dumps(certificate.to_dict(), indent=1)
    write_text(folder / REPORT, text)
    figures = [
        (title, picture_data(folder / name))
        for name, title in draw_figures(certificate, folder).items()
    ]
    sections = [
        (title, about, certificate.section(name))
        for name, (title, about) in SECTIONS.items()
        if certificate.section(name)
    ]
    write_page(
        folder / PAGE,
        Path(__file__).with_name("certificate.html.jinja"),
        {"number": number, "number_of": number_of},
        certificate=certificate,
        sections=sections,
        figures=figures,
    )


def summary(certificate: Certificate) -> dict[str, Any]:
    """The verdict, the worst row of each section, and the speeds."""
    found: dict[str, Any] = {"holds": certificate.holds}
    for name in ("outputs", "loss", "gradients", "training", "parameters"):
        judged = [row for row in certificate.section(name) if row.tolerance]
        worst = max(judged, key=_badness)
        found[name] = {
            "rows": len(judged),
            "greatest": worst.value,
            "of": worst.name,
            "tolerance": worst.tolerance,
        }
    speed = {
        row.name: row.verdict if row.value is None else round(row.value)
        for row in certificate.section("speed")
    }
    if speed:
        found["tokens_per_second"] = speed
    failed = [row.name for row in certificate.rows if row.verdict == FAILS]
    if failed:
        found["fails"] = failed
    return found


def _badness(row: Row) -> tuple[bool, float]:
    """What is no number is worst."""
    return row.verdict == FAILS, row.value


def number_of(row: Row) -> str:
    """The value of a row, with its unit."""
    if row.value is None:
        return "–"
    if row.unit == "bytes":
        return f"{row.value / 2**20:,.0f} MB"
    if row.unit == "tokens per second":
        return f"{row.value:,.0f}"
    return number(row.value)


def number(value: Any) -> str:
    """A number of a table; others as they are."""
    if isinstance(value, list):
        return ", ".join(number(each) for each in value)
    if not isinstance(value, float):
        return str(value)
    if value and not 1e-3 <= abs(value) < 1e4:
        return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.1e}"
    return f"{value:.4g}"
