"""Questions and their answers, read from a file.

JSON Lines, a JSON array, CSV or TSV; see `read_pairs`. Knows nothing of
models.
"""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from keras_llm.errors import InputError

# What people call the two columns; the first pair that a file has counts.
COLUMNS = (
    ("prompt", "completion"),
    ("question", "answer"),
    ("instruction", "output"),
    ("input", "output"),
)
JSON_KINDS = (".jsonl", ".ndjson", ".json")
DELIMITERS = {".csv": ",", ".tsv": "\t"}


class Pair(NamedTuple):
    """A question, or any text to answer, and the answer wanted."""

    prompt: str
    completion: str


def read_pairs(
    path: Path, prompt: str | None = None, completion: str | None = None
) -> list[Pair]:
    """Reads questions and answers.

    The columns are `prompt` and `completion`, `question` and `answer`,
    `instruction` and `output` (with an `input` that follows the instruction
    on a line of its own, where it is not empty), or `input` and `output`,
    unless they are named.

    Args:
        path: A file `.jsonl`, `.json`, `.csv` or `.tsv`.
        prompt: Name of the column of questions. A number, from 1, means a
            table without a header; the same for `completion`.
        completion: Name of the column of answers.

    Raises:
        InputError: No such file, one that cannot be read, or a record
            without text in one of the columns; the message says which.

    Example:
        >>> read_pairs(Path("held_out.jsonl"))[0].completion
        'Paris'
    """
    path = Path(path)
    if (prompt is None) != (completion is None):
        raise InputError(
            "The columns of questions and of answers must be named both, or "
            f"neither. Received: {prompt!r} and {completion!r}"
        )
    names = None if prompt is None else (prompt, completion)
    records = _records(path, names)
    if not records:
        raise InputError(
            f"{path} must have at least one question and answer. It is empty."
        )
    names = names or _columns_of(records[0], path)
    return [
        _pair(record, names, f"{path}, record {number}")
        for number, record in enumerate(records, 1)
    ]


def _records(
    path: Path, names: tuple[str, str] | None
) -> list[Mapping[str, Any]]:
    kind = path.suffix.lower()
    if kind not in (*JSON_KINDS, *DELIMITERS):
        raise InputError(
            f"{path} must be a file of questions and answers, of a kind of "
            f"{', '.join((*JSON_KINDS, *DELIMITERS))}."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        if kind in JSON_KINDS:
            return _json_records(text, path)
        quoting = csv.QUOTE_MINIMAL if kind == ".csv" else csv.QUOTE_NONE
        rows = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=DELIMITERS[kind],
            quoting=quoting,
        )
        rows = [row for row in rows if any(row)]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if names and all(name.isdecimal() for name in names):
        header = [str(number) for number in range(1, 1 + max(map(len, rows)))]
    else:
        header = [name.strip() for name in rows.pop(0)] if rows else []
    return [dict(zip(header, row, strict=False)) for row in rows]


def _json_records(text: str, path: Path) -> list[Mapping[str, Any]]:
    """A JSON array of objects, or an object a line."""
    if text.lstrip().startswith("["):
        records = json.loads(text)
    else:
        lines = text.split("\n")
        records = [json.loads(line) for line in lines if line.strip()]
    for number, record in enumerate(records, 1):
        if not isinstance(record, Mapping):
            raise InputError(
                f"{path}, record {number} must be an object with the columns "
                f"of a question and an answer. Received: {record!r:.60}"
            )
    return records


def _columns_of(record: Mapping[str, Any], path: Path) -> tuple[str, str]:
    for names in COLUMNS:
        if all(name in record for name in names):
            return names
    known = "; ".join(" and ".join(names) for names in COLUMNS)
    raise InputError(
        f"{path} must have columns of questions and answers: {known}. "
        f"Received: {', '.join(map(str, record))}. Name the two columns."
    )


def _pair(
    record: Mapping[str, Any], names: tuple[str, str], place: str
) -> Pair:
    texts = []
    for name in names:
        text = record.get(name)
        if not isinstance(text, str) or not text.strip():
            raise InputError(
                f"{place} must have a text that is not empty in the column "
                f"{name}. Received: {text!r:.60}"
            )
        texts.append(text)
    more = record.get("input")
    if names == ("instruction", "output") and more:
        texts[0] += f"\n{more}"
    return Pair(*texts)
