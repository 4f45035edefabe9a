"""The subcommands that find good settings: compare, sweep, probe."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_llm.commands.command import Command
from keras_llm.files import check_free


def compare(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows runs as columns, and what of them cannot be compared."""
    from keras_llm.experiments.comparison import compare, save_comparison

    if values.out is not None:
        check_free(values.out)
    comparison = compare([Path(run) for run in values.run])
    if values.out is not None:
        save_comparison(comparison, values.out)
    if not values.json:
        _show_comparison(comparison)
        if values.out is not None:
            print(f"\nThe page: {values.out / 'report.html'}")
    return comparison.to_dict()


def _show_comparison(comparison) -> None:
    from keras_llm.experiments.comparison import shown

    table = Table("", *(escape(run.name) for run in comparison.runs))
    table.add_row("kind", *(run.kind for run in comparison.runs))
    for name, values in comparison.settings.items():
        table.add_row(name, *(escape(shown(value)) for value in values))
    table.add_section()
    for name, values in comparison.figures.items():
        cells = [shown(value) for value in values]
        if name in comparison.best:
            best = comparison.best[name]
            cells[best] = f"[bold]{cells[best]} ✓[/bold]"
        mark = " ≠" if name in comparison.not_comparable else ""
        table.add_row(name + mark, *cells)
    Console().print(table)
    for warning in comparison.warnings:
        print(f"! {warning}")
    if comparison.not_comparable:
        print("≠ not comparable")


COMMANDS = {
    "compare": Command(
        compare,
        "Curves and figures of runs side by side.",
        [("run", list[str], "Runs, of training or tuning: two or more.")],
        {
            "--out": {
                "type": Path | None,
                "metavar": "DIR",
                "help": "Folder for a page, a picture and the figures.",
            },
        },
        needs_keras=False,
    ),
}
