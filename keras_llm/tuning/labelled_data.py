"""Records to labelled texts: what a classifier is tuned on."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_llm.corpus.documents import SPLITS
from keras_llm.corpus.sources.records import Record, read_records
from keras_llm.corpus.sources.texts import without_surrogates
from keras_llm.datasets.labelled import write_labelled
from keras_llm.datasets.shapes import Unusable
from keras_llm.errors import InputError, first_of
from keras_llm.files import write_json_lines, write_text, written_beside
from keras_llm.recipes.tuning_settings import DataSettings
from keras_llm.tuning.data import (
    REPORT,
    Finding,
    divided,
    nothing_left,
    read_column,
)

TEXTS = "texts.jsonl"
# What people call the two columns; the first pair that a record has counts.
COLUMNS = (
    ("text", "label"),
    ("text", "labels"),
    ("sentence", "label"),
    ("text", "class"),
    ("text", "category"),
    ("review", "sentiment"),
    ("text", "sentiment"),
    ("message", "label"),
)
MOST_CLASSES = 1000
FEW_CLASSES = 20  # which may be numbers, whatever they are
SEPARATORS = ("|", ";", ",")  # of several labels in one text


@dataclass
class LabelledReport:
    """What became of the records: read = kept + left out.

    Args:
        columns: Those of text and label.
        classes: In order of their scores.
        read: Records.
        kept: Texts of each split.
        per_class: How many of each class, by split.
        left_out: By reason.
        cut: Texts that were longer than the context; their ends are gone.
    """

    columns: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    read: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    per_class: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out: dict[str, Finding] = field(default_factory=dict)
    cut: Finding = field(default_factory=Finding)


def read_labelled(
    sources: Sequence[str], settings: DataSettings, multi_label: bool
) -> tuple[dict[str, list[tuple[str, str, list[str]]]], LabelledReport]:
    """The texts of each split, with an id and the labels of each.

    Args:
        sources: As `read_records` takes them.
        settings: How records are read and divided.
        multi_label: Whether a text may have several labels.

    Raises:
        InputError: A source cannot be used, it has no column of text or of
            labels, or its labels are no classes.
    """
    report = LabelledReport()
    samples = list(_samples(sources, settings, multi_label, report))
    found: dict[str, list[tuple[str, str, list[str]]]] = {}
    for record, (text, labels), split in divided(
        samples, settings, lambda sample: sample[0]
    ):
        found.setdefault(split, []).append((record.id, text, labels))
    report.classes = _classes(found, report)
    return found, report


def read_judged(
    sources: Sequence[str],
    columns: Sequence[str],
    classes: Sequence[str],
    multi_label: bool,
) -> tuple[list[str], np.ndarray, LabelledReport]:
    """Texts that a classifier is judged by, all of a source.

    Args:
        sources: As `read_records` takes them.
        columns: Names of the two of text and label; known ones if empty.
        classes: Those that the classifier tells.
        multi_label: Whether a text may have several labels, or none.

    Returns:
        The texts; bool `(texts, num_classes)`, which classes each has; and
        what became of the records.

    Raises:
        InputError: A source cannot be used, no text is left, there is a label
            that the classifier does not know, or one class alone.
    """
    report = LabelledReport(classes=list(classes))
    settings = DataSettings(columns=list(columns))
    samples = list(_samples(sources, settings, multi_label, report))
    if not samples:
        left_out = report.left_out
        raise nothing_left("text", report.read, left_out, "judge by")
    number = {label: index for index, label in enumerate(classes)}
    found = np.zeros((len(samples), len(number)), bool)
    for row, (record, (_, labels)) in enumerate(samples):
        if unknown := [label for label in labels if label not in number]:
            raise InputError(
                f"Column {report.columns[1]} must have labels that the "
                f"classifier knows: {first_of(list(classes), 5)}. Received: "
                f"{unknown[0]!r} in {record.id}"
            )
        found[row, [number[label] for label in labels]] = True
    if not multi_label and (found.any(axis=0)).sum() < 2:
        raise InputError(
            f"Column {report.columns[1]} must have at least two classes to "
            f"judge by. Received: {samples[0][1][1][0]} alone."
        )
    return [text for _, (text, _) in samples], found, report


def make_labelled(
    found: dict[str, list[tuple[str, str, list[str]]]],
    report: LabelledReport,
    preprocessor,
    out: Path,
) -> dict[str, Any]:
    """Writes a folder of token ids, classes and texts for each split.

    Args:
        found: As `read_labelled` gives it, as is the report.
        preprocessor: a `keras_hub.models.TextClassifierPreprocessor`, which
            cuts texts that are too long.
        out: Folder to write.

    Returns:
        The report, as written.
    """
    number = {label: index for index, label in enumerate(report.classes)}
    with written_beside(out) as folder:
        for split in SPLITS:
            if split not in found:
                continue
            samples = found[split]
            rows, lengths = _rows(
                preprocessor, [text for _, text, _ in samples]
            )
            classes = np.zeros((len(samples), len(number)), bool)
            for row, (id, _, labels) in enumerate(samples):
                classes[row, [number[label] for label in labels]] = True
                if lengths[row] > len(rows[row]):
                    report.cut.add(id)
            write_labelled(folder / split, rows, classes)
            write_json_lines(
                folder / split / TEXTS,
                ({"text": text, "labels": said} for _, text, said in samples),
            )
            report.kept[split] = len(samples)
            report.per_class[split] = {
                label: int(classes[:, index].sum())
                for label, index in number.items()
            }
        write_text(folder / REPORT, json.dumps(asdict(report), indent=1))
    return asdict(report)


def read_texts(folder: Path) -> list[str]:
    """The texts of a split.

    Raises:
        InputError: The file is missing or damaged.
    """
    return read_column(folder / TEXTS, "text", "texts")


def read_learned(
    folder: Path, classes: Sequence[str]
) -> tuple[list[str], np.ndarray]:
    """The texts of a split; and bool `(texts, num_classes)`, their classes.

    Raises:
        InputError: The file is missing or damaged.
    """
    labels = read_column(folder / TEXTS, "labels", "labels")
    found = [[label in said for label in classes] for said in labels]
    return read_texts(folder), np.asarray(found, bool)


def _rows(preprocessor, texts: list[str]) -> tuple[list[np.ndarray], list[int]]:
    """Token ids as the model will get them, and how many there would be."""
    tokenizer, rows, lengths = preprocessor.tokenizer, [], []
    end = tokenizer.end_token_id if preprocessor.add_end_token else None
    before, after = (
        [] if token is None else [token]
        for token in (tokenizer.start_token_id, end)
    )
    around = len(before + after)
    for row in tokenizer.tokenize(texts):
        ids = np.asarray(row, np.int32)
        lengths.append(len(ids) + around)
        kept = ids[: preprocessor.sequence_length - around]
        rows.append(np.concatenate([before, kept, after]).astype(np.int32))
    return rows, lengths


def _samples(
    sources: Sequence[str],
    settings: DataSettings,
    multi_label: bool,
    report: LabelledReport,
) -> Iterator[tuple[Record, tuple[str, list[str]]]]:
    report.columns = columns = list(settings.columns)
    numbered = columns if all(name.isdecimal() for name in columns) else ()
    for record in read_records(sources, numbered):
        report.read += 1
        try:
            if record.values is None:
                reason = record.trouble.partition(":")[0]
                raise Unusable(f"unreadable ({reason})")
            columns = columns or _columns_of(record)
            report.columns = columns
            text = _text(record.values, columns[0])
            yield (
                record,
                (text, _labels(record.values, columns[1], multi_label)),
            )
        except Unusable as reason:
            finding = report.left_out.setdefault(str(reason), Finding())
            finding.add(record.id)


def _columns_of(record: Record) -> list[str]:
    for names in COLUMNS:
        if set(names) <= set(record.values):
            return list(names)
    known = "; ".join(" + ".join(names) for names in COLUMNS)
    raise InputError(
        f"The data must have one of these sets of columns: {known}. Received: "
        f"{', '.join(map(str, list(record.values)[:12])) or 'none'}. Name the "
        "two columns of text and label with --data.columns TEXT LABEL (by "
        "number, 1 2, in a table without a header)."
    )


def _text(values: Mapping[str, Any], column: str) -> str:
    text = values.get(column)
    if not isinstance(text, str) or not text.strip():
        raise Unusable("has no text")
    return without_surrogates(text)


def _labels(
    values: Mapping[str, Any], column: str, multi_label: bool
) -> list[str]:
    found = values.get(column)
    if not multi_label:
        if found is None or isinstance(found, list | dict):
            raise Unusable("has no label")
        found = [found]
    elif isinstance(found, str):
        separator = next((mark for mark in SEPARATORS if mark in found), None)
        found = found.split(separator) if separator else [found]
    elif found is None:
        found = []
    elif not isinstance(found, list):
        found = [found]
    labels = [" ".join(str(label).split()) for label in found]
    labels = [label for label in labels if label]
    if not labels and not multi_label:
        raise Unusable("has no label")
    return sorted(set(labels))


def _classes(found, report: LabelledReport) -> list[str]:
    """All labels in order, which must be classes that can be learned."""
    by_split = {
        split: {label for *_, labels in samples for label in labels}
        for split, samples in found.items()
    }
    known = by_split.get("train", set())
    if not known:
        raise nothing_left("text", report.read, report.left_out)
    column = report.columns[1]
    number = sum(map(len, found.values()))
    if len(known) > MOST_CLASSES or _are_measures(known, number):
        raise InputError(
            f"Column {column} must have labels, at most {MOST_CLASSES:,} and "
            "each of several texts, not amounts. Received: "
            f"{len(known):,} in {number:,} texts, "
            f"{first_of(sorted(known, key=_order), 3)}. Name the columns of "
            "text and label with --data.columns."
        )
    if len(known) < 2:
        raise InputError(
            f"Column {column} must have at least two classes in the train "
            f"split. Received: {', '.join(known)} alone."
        )
    for split, labels in by_split.items():
        if unknown := sorted(labels - known):
            raise InputError(
                f"The {split} split has the label {unknown[0]!r}, and no text "
                "to train on has it. Give more texts of it, or leave them out."
            )
    return sorted(known, key=_order)


def _are_measures(labels: set[str], texts: int) -> bool:
    """Whether they are numbers that say how much, and not which class.

    Many of them have a fraction, or they are many and hardly come again.
    """
    try:
        values = [float(label) for label in labels]
    except ValueError:
        return False
    fractions = sum(value % 1 != 0 for value in values)
    hardly_again = len(values) > FEW_CLASSES and texts < 5 * len(values)
    return fractions > len(values) / 2 or hardly_again


def _order(label: str) -> tuple:
    """Numbers by size, before words."""
    return (0, float(label), label) if label.isdecimal() else (1, 0.0, label)
