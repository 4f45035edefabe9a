"""The report of a corpus as one page, `report.html`, that needs nothing else.

What documents say is hostile: every text goes through the template's
escaping, and the page allows no script at all.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from keras_llm.corpus.report import marks
from keras_llm.corpus.report.corpus_report import CorpusReport
from keras_llm.corpus.report.figures import percent, rate, short_count
from keras_llm.corpus.report.timings import Speed, Timings
from keras_llm.files import write_text

PAGE = "report.html"
SURROGATES = re.compile("[\ud800-\udfff]")
NAMED_SOURCES = 4

ABOUT = {
    "unreadable": "Files and records that could not be read as text.",
    "newlines": "Line ends made equal.",
    "html": "Pages reduced to their main content.",
    "mojibake": "Text decoded with the wrong encoding, repaired.",
    "nfc": "Accents composed: Unicode normal form C.",
    "control_characters": "Control and invisible characters removed.",
    "whitespace": "Spaces and blank lines made regular.",
    "hyphens": "Words joined that were divided at the end of a line.",
    "boilerplate": "Licences and headers of publishers removed.",
    "repeated_lines": "Lines that a document repeats removed.",
    "personal_data": "E-mail and IP addresses masked.",
    "language": "Documents in other languages dropped.",
    "gopher_repetition": "Documents that repeat themselves dropped.",
    "gopher_quality": "Documents unlike prose dropped, by Gopher's rules.",
    "c4_quality": "Documents unlike prose dropped, by C4's rules.",
    "fineweb_quality": "Documents of lists and scraps dropped, as FineWeb's.",
    "empty": "Documents of which no text is left.",
    "exact_duplicates": "Documents equal to one that was kept.",
    "near_duplicates": "Documents much like a longer one that was kept.",
    "paragraph_duplicates": "Paragraphs that came before removed.",
    "leaks": "Documents dropped for what they share with held-out text.",
}


def save_page(
    report: CorpusReport, timings: Timings | None, folder: Path
) -> None:
    """Writes `report.html` into a folder."""
    write_text(Path(folder) / PAGE, render_page(report, timings))


def render_page(report: CorpusReport, timings: Timings | None = None) -> str:
    """The page, as HTML that refers to nothing outside itself.

    Args:
        report: What to show.
        timings: Shown beside it, if given.
    """
    page = _template().render(
        report=report,
        timings=timings,
        title=_title(report.sources),
        steps=_steps(report, timings),
        columns=_columns(report.lengths.histogram),
        sizes={
            f"{size:,} documents": clusters
            for size, clusters in report.duplicates.sizes
        },
    )
    return SURROGATES.sub("\ufffd", page)


def _steps(
    report: CorpusReport, timings: Timings | None
) -> list[dict[str, Any]]:
    """The rows of the funnel: what each rule did, and bars of what it left."""
    speeds = timings.rules if timings else {}
    rules = report.rules.items()
    most_characters = max(
        [report.read.characters, *(rule.characters_after for _, rule in rules)]
    )
    return [
        {
            "name": name,
            "anchor": f"rule-{number}",
            "about": ABOUT.get(name, ""),
            "count": rule,
            "left": rule.seen - rule.dropped,
            "did_anything": bool(rule.changed or rule.dropped),
            "speed": rate(speeds.get(name, Speed()).megabytes_per_second),
            "documents": _bar(
                rule.seen, rule.seen - rule.dropped, report.read.documents
            ),
            "characters": _bar(
                rule.characters_before, rule.characters_after, most_characters
            ),
        }
        for number, (name, rule) in enumerate(rules, start=1)
    ]


def _bar(before: int, after: int, most: int) -> dict[str, float]:
    """Parts of a bar's length, in percent: what stays, what goes here."""
    scale = 100 / most if most else 0
    return {"stays": after * scale, "goes": max(0, before - after) * scale}


def _columns(histogram: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Columns of a histogram: left edge, width and height in percent."""
    most = max((count for _, count in histogram), default=1) or 1
    width = 100 / max(1, len(histogram))
    return [
        {
            "lower": lower,
            "upper": 2 * lower - 1,
            "label": _power(lower),
            "count": count,
            "left": number * width,
            "width": width,
            "height": 100 * count / most,
        }
        for number, (lower, count) in enumerate(histogram)
    ]


def _power(number: int) -> str:
    """A power of two, in units of 1024."""
    for size, unit in ((2**30, "G"), (2**20, "M"), (2**10, "k")):
        if number >= size:
            return f"{number // size}{unit}"
    return str(number)


def _title(sources: Sequence[str]) -> str:
    named = ", ".join(sources[:NAMED_SOURCES])
    more = len(sources) - NAMED_SOURCES
    return f"{named} and {more:,} more" if more > 0 else named


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "commas": lambda number: f"{number:,}",
        "short": short_count,
        "rate": rate,
        "visible": marks.visible,
        "sign": marks.sign_of,
    }
    environment.globals |= {
        "percent": percent,
        "compare": lambda change: marks.compare(change.before, change.after),
    }
    return environment.get_template("report.html.jinja")
