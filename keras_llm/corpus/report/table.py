"""The report of a corpus in the terminal."""

from rich import box
from rich.table import Table
from rich.text import Text

from keras_llm.corpus.counts import RuleCount
from keras_llm.corpus.report.corpus_report import CorpusReport
from keras_llm.corpus.report.figures import percent, rate, short_count
from keras_llm.corpus.report.timings import Speed, Timings
from keras_llm.corpus.report.warnings import MUCH_DROPPED


def funnel_table(report: CorpusReport, timings: Timings | None) -> Table:
    """What each rule did, a row each, from what was read to what was kept.

    Args:
        report: Of a corpus.
        timings: Of the same; adds a column of megabytes a second.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_footer=True)
    read, kept = report.read, report.kept
    table.add_column("rule", "kept", overflow="fold", min_width=12)
    _add_number(table, "documents", short_count(kept.documents))
    _add_number(table, "changed", "")
    _add_number(
        table, "dropped", _dropped(report.dropped.documents, read.documents)
    )
    _add_number(table, "characters\nafter", short_count(kept.characters))
    if timings:
        total = timings.total.megabytes_per_second
        _add_number(table, "MB/s", rate(total))
    for name, rule in report.rules.items():
        table.add_row(*_cells(name, rule, timings), style=_style(rule))
    return table


def _add_number(table: Table, header: str, footer: str) -> None:
    table.add_column(header, footer, justify="right", no_wrap=True)


def _cells(
    name: str, rule: RuleCount, timings: Timings | None
) -> list[str | Text]:
    much = rule.dropped >= MUCH_DROPPED * rule.seen
    dropped = _dropped(rule.dropped, rule.seen)
    cells: list[str | Text] = [
        Text(name),  # not parsed for markup
        short_count(rule.seen),
        short_count(rule.changed) if rule.changed else "",
        Text(dropped, "bold red" if much else ""),
        short_count(rule.characters_after),
    ]
    if timings:
        speed = timings.rules.get(name, Speed())
        cells.append(rate(speed.megabytes_per_second))
    return cells


def _dropped(part: int, whole: int) -> str:
    return f"{short_count(part)} ({percent(part, whole)})" if part else ""


def _style(rule: RuleCount) -> str:
    return "" if rule.changed or rule.dropped else "dim"
