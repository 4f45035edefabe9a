"""The report of a corpus in the terminal."""

from rich import box
from rich.table import Table
from rich.text import Text

from keras_llm.corpus.report.corpus_report import CorpusReport
from keras_llm.corpus.report.figures import percent, short_count
from keras_llm.corpus.report.warnings import MUCH_DROPPED


def funnel_table(report: CorpusReport) -> Table:
    """What each rule did, a row each, from what was read to what was kept."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_footer=True)
    table.add_column("rule", "kept", overflow="fold", min_width=12)
    dropped = _dropped(report.dropped.documents, report.read.documents)
    for header, footer in (
        ("documents", short_count(report.kept.documents)),
        ("changed", ""),
        ("dropped", dropped),
        ("characters\nafter", short_count(report.kept.characters)),
    ):
        table.add_column(header, footer, justify="right", no_wrap=True)
    for name, rule in report.rules.items():
        much = rule.dropped >= MUCH_DROPPED * rule.seen
        dropped = _dropped(rule.dropped, rule.seen)
        table.add_row(
            Text(name),  # not parsed for markup
            short_count(rule.seen),
            short_count(rule.changed) if rule.changed else "",
            Text(dropped, "bold red" if much else ""),
            short_count(rule.characters_after),
            style="" if rule.changed or rule.dropped else "dim",
        )
    return table


def _dropped(part: int, whole: int) -> str:
    return f"{short_count(part)} ({percent(part, whole)})" if part else ""
