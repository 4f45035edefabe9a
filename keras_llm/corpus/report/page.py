"""The report of a corpus as one page, `report.html`, that needs nothing else.

What documents say is hostile: every text goes through the template's
escaping, and the page allows no script at all.
"""

from pathlib import Path

from keras_llm.corpus.report.corpus_report import CorpusReport
from keras_llm.corpus.report.figures import percent, short_count
from keras_llm.files import write_text
from keras_llm.pages import rendered

PAGE = "report.html"
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


def save_page(report: CorpusReport, folder: Path) -> None:
    """Writes `report.html` into a folder."""
    write_text(Path(folder) / PAGE, render_page(report))


def render_page(report: CorpusReport) -> str:
    """The page, as HTML that refers to nothing outside itself."""
    filters = {
        "commas": "{:,}".format,
        "short": short_count,
        "visible": _visible,
    }
    named, more = report.sources[:NAMED_SOURCES], report.sources[NAMED_SOURCES:]
    title = ", ".join(named) + (f" and {len(more):,} more" if more else "")
    rules = report.rules.values()
    longest = max(
        [report.read.characters, *(rule.characters_after for rule in rules)]
    )
    return rendered(
        Path(__file__).with_name("report.html.jinja"),
        filters,
        percent=percent,
        report=report,
        title=title,
        about=ABOUT,
        longest=longest,
        lengths={
            f"{lower:,} to {2 * lower - 1:,}": count
            for lower, count in report.lengths.histogram
        },
        sizes={
            f"{size:,} documents": clusters
            for size, clusters in report.duplicates.sizes
        },
    )


def _visible(text: str) -> str:
    """A text, with codes for characters that cannot be seen."""
    return "".join(
        each if each.isprintable() or each in "\n\t" else f"\\u{ord(each):04x}"
        for each in text
    )
