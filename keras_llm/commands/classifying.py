"""The subcommand that tells the classes of texts, and how well it does."""

import sys
from pathlib import Path
from textwrap import shorten
from typing import Any

from jsonargparse import Namespace
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_llm.commands.command import Command
from keras_llm.commands.showing import ANSWERS, RESULTS, show, write_json
from keras_llm.errors import InputError
from keras_llm.files import write_json_lines, written_beside

SHOWN = 5  # classes of a text, and texts that it is wrong about
WIDTH = 60  # characters of such a text


def classify(values: Namespace, console: Console) -> list[dict[str, Any]]:
    """Shows the likeliest classes of each text."""
    from keras_llm import workflow

    texts = values.texts or _lines(values.file)
    found, cut = workflow.classify(values.preset, texts)
    if cut:
        console.print(
            f"{cut:,} texts are longer than the context: their ends are not "
            "seen."
        )
    if not values.json:
        for each in found:
            print(each.text)
            for label, score in [*each.scores.items()][:SHOWN]:
                mark = "*" if label in each.labels else " "
                print(f"  {mark} {score:6.1%}  {label}")
    return [each._asdict() for each in found]


def evaluate_labelled(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows how well a classifier tells labelled texts; saves the report."""
    from keras_llm.evaluation.classification_pictures import (
        draw_classification,
    )
    from keras_llm.workflow import evaluate_classifier

    report, rows = evaluate_classifier(
        values.preset, values.labelled, values["data.columns"], console
    )
    if values.out is not None:
        with written_beside(values.out) as folder:
            write_json(folder / RESULTS, report)
            write_json_lines(folder / ANSWERS, rows)
            draw_classification(report, folder)
    if rows and not values.json:
        table = Table("most wrong about", "label", "said")
        for row in rows[:SHOWN]:
            text = shorten(row["text"], WIDTH, placeholder="…")
            said = ("|".join(row[name]) or "-" for name in ("labels", "said"))
            table.add_row(*map(escape, (text, *said)))
        Console().print(table)
    return show(report, values)


def _lines(file: Path | None) -> list[str]:
    """The lines of a file, or of what is piped in."""
    if file is None and sys.stdin.isatty():
        raise InputError(
            "Texts must be given: as arguments, by --file, or through a pipe, "
            "one a line."
        )
    try:
        content = sys.stdin.buffer.read() if file is None else file.read_bytes()
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"Texts must be UTF-8: {error}") from error
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


COMMANDS = {
    "classify": Command(
        classify,
        "Tells the classes of texts, with the probability of each.",
        [
            (
                "preset",
                str,
                "A classifier: a run, a preset, or a SavedModel.",
            ),
            (
                "texts",
                list[str] | None,
                "The texts; one a line of standard input if omitted.",
            ),
        ],
        {
            "--file": {
                "type": Path | None,
                "metavar": "FILE",
                "help": "A file of texts, one a line.",
            },
        },
    ),
}
