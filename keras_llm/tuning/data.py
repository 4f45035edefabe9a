"""Records to examples: what a model is tuned on, and what was left out."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from keras_llm.corpus.documents import SPLITS
from keras_llm.corpus.sources.records import Record, read_records
from keras_llm.datasets.examples import Row, write_examples
from keras_llm.datasets.shapes import (
    Messages,
    Sample,
    Unusable,
    read_sample,
    recognized,
)
from keras_llm.errors import InputError
from keras_llm.files import write_json_lines, write_text, written_beside
from keras_llm.recipes.checks import check
from keras_llm.recipes.tuning_settings import DataSettings
from keras_llm.tokenizers.chat_templates import ChatTemplate

T = TypeVar("T")
REPORT = "report.json"
CONVERSATIONS = "conversations.jsonl"
SHOWN = 5  # ids of a reason


@dataclass
class Finding:
    """How often something was found, and where.

    Args:
        count: Of records.
        ids: Of the first few.
        detail: More about the first.
    """

    count: int = 0
    ids: list[str] = field(default_factory=list)
    detail: str = ""

    def add(self, id: str, detail: str = "") -> None:
        self.count += 1
        self.detail = self.detail or detail
        if len(self.ids) < SHOWN:
            self.ids.append(id)


@dataclass
class DataReport:
    """What became of the records: read = kept + left out.

    Args:
        shape: How they were read.
        read: Their number.
        kept: Examples of each split.
        left_out: By reason.
        cut: Examples that were longer than the context; their ends are gone.
        tokens: Of each split.
        answer_tokens: Of each split: those that count.
    """

    shape: str = ""
    read: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, Finding] = field(default_factory=dict)
    cut: Finding = field(default_factory=Finding)
    tokens: dict[str, int] = field(default_factory=dict)
    answer_tokens: dict[str, int] = field(default_factory=dict)

    def leave_out(self, id: str, reason: str, detail: str = "") -> None:
        self.left_out.setdefault(reason, Finding()).add(id, detail)


def conversations_of(
    sources: Sequence[str], settings: DataSettings, shapes: Sequence[str]
) -> dict[str, list[Messages]]:
    """The conversations of records, by split.

    The arguments and errors are those of `make_examples`.
    """
    found: dict[str, list[Messages]] = {}
    samples = list(_samples(sources, settings, shapes, DataReport()))
    for _, sample, split in divided(samples, settings, _asked):
        found.setdefault(split, []).append(sample.conversations[0])
    return found


def make_examples(
    sources: Sequence[str],
    out: Path,
    settings: DataSettings,
    shapes: Sequence[str],
    template: ChatTemplate,
    longest: int,
) -> dict[str, Any]:
    """Reads records and writes a folder of examples for each split.

    Args:
        sources: As `read_records` takes them.
        out: Folder to write: `train`, `validation`, `test` and a report.
        settings: How records are read and divided.
        shapes: Names of shapes that would do, the best first.
        template: Turns messages into tokens.
        longest: Tokens that the model can take.

    Returns:
        The report.

    Raises:
        InputError: A source or the shape cannot be used, or no example is
            left to train on.
    """
    report = DataReport()
    longest = min(longest, settings.sequence_length or longest)
    samples = _samples(sources, settings, shapes, report)
    by_split: dict[str, list[tuple[list[Row], Sample]]] = {}
    for record, sample, split in divided(_compared(samples), settings, _asked):
        try:
            rows, is_cut = _rows(sample, template, longest)
        except Unusable as reason:
            report.leave_out(record.id, str(reason))
            continue
        except InputError as error:
            reason = "does not fit the chat template"
            report.leave_out(record.id, reason, str(error))
            continue
        if is_cut:
            report.cut.add(record.id)
        by_split.setdefault(split, []).append((rows, sample))
    if "train" not in by_split:
        raise nothing_left("example", report.read, report.left_out)
    with written_beside(out) as folder:
        for split in SPLITS:
            if split in by_split:
                _write(folder / split, by_split[split], split, report)
        found = asdict(report)
        write_text(folder / REPORT, json.dumps(found, indent=1))
    return found


def held_out(data: Path) -> str | None:
    """The split that a tuned model is judged by: test, else validation."""
    splits = [s for s in ("test", "validation") if (data / s).is_dir()]
    return splits[0] if splits else None


def write_conversations(path: Path, conversations: Iterable[Messages]) -> None:
    """Writes a line of JSON for each, as `tune` reads it."""
    write_json_lines(path, ({"messages": each} for each in conversations))


def read_conversations(path: Path) -> list[Messages]:
    """The conversations of a split, whose last answers are good.

    Raises:
        InputError: The file is missing or damaged.
    """
    return read_column(path, "messages", "conversations")


def read_column(path: Path, name: str, what: str) -> list[Any]:
    """What each line of a file that `make_examples` or `make_labelled` wrote
    has under a name.

    Args:
        path: The file.
        name: The key.
        what: What the file must hold.

    Raises:
        InputError: The file is missing or damaged.
    """
    try:
        # Texts may have other line ends than a file's.
        with path.open(encoding="utf-8", newline="\n") as lines:
            return [json.loads(line)[name] for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} must hold {what}. It is damaged: {error!r}. Make it "
            "again with `--redo data`."
        ) from error


def nothing_left(
    kind: str,
    read: int,
    left_out: dict[str, Finding],
    purpose: str = "train on",
) -> InputError:
    """What to raise if no record can be used.

    Args:
        kind: What a record would be.
        read: Records.
        left_out: By reason.
        purpose: What it would be used to do.
    """
    reasons = ", ".join(
        f"{found.count:,} are left out: each {reason} (the first: "
        f"{found.ids[0]})"
        for reason, found in left_out.items()
    )
    return InputError(
        f"No {kind} is left to {purpose}, of {read} records: "
        f"{reasons or 'there are none'}."
    )


def _write(folder, examples, split, report):
    labels = [sample.label for _, sample in examples]
    manifest = write_examples(
        folder,
        [rows for rows, _ in examples],
        None if None in labels else labels,
    )
    write_conversations(
        folder / CONVERSATIONS,
        [sample.conversations[0] for _, sample in examples],
    )
    report.kept[split] = manifest.examples
    report.tokens[split] = manifest.tokens
    report.answer_tokens[split] = manifest.answer_tokens


def _samples(
    sources: Iterable[str],
    settings: DataSettings,
    shapes: Sequence[str],
    report: DataReport,
) -> Iterator[tuple[Record, Sample]]:
    """What the records say; what says nothing is counted."""
    columns = settings.columns
    if settings.shape is not None:
        expected = "one of " + ", ".join(shapes)
        check(settings.shape in shapes, "data.shape", expected, settings.shape)
        report.shape = settings.shape
    numbered = columns if all(name.isdecimal() for name in columns) else ()
    for record in read_records(sources, numbered):
        report.read += 1
        if record.values is None:
            reason = record.trouble.partition(":")[0]
            report.leave_out(record.id, f"unreadable ({reason})")
            continue
        if not report.shape:
            report.shape = recognized(record.values, shapes, columns)
        try:
            yield record, read_sample(record.values, report.shape, columns)
        except Unusable as reason:
            report.leave_out(record.id, str(reason))


def _compared(
    samples: Iterable[tuple[Record, Sample]],
) -> list[tuple[Record, Sample]]:
    """The samples; a judged one with another's answer beside its own."""
    samples = list(samples)
    found = []
    for index, (record, sample) in enumerate(samples):
        if sample.label is not None:
            [own] = sample.conversations
            [foreign] = samples[index - 1][1].conversations
            conversations = (own, own[:-1] + foreign[-1:])
            sample = Sample(conversations, sample.label)
        found.append((record, sample))
    return found


def _rows(
    sample: Sample, template: ChatTemplate, longest: int
) -> tuple[list[Row], bool]:
    """Tokens of each conversation, and whether one had to be cut.

    Of two that are compared, only the last answers count.
    """
    rows, is_cut = [], False
    compared = len(sample.conversations) > 1
    for messages in sample.conversations:
        token_ids, is_answer = template.encode(messages)
        if compared:
            is_answer = _last_only(is_answer)
        if len(token_ids) > longest + 1:  # the last is a label only
            is_cut = True
            token_ids = token_ids[: longest + 1]
            is_answer = is_answer[: longest + 1]
        if not any(is_answer[1:]):
            raise Unusable("has its answer beyond the context")
        rows.append(Row(token_ids, is_answer))
    return rows, is_cut


def _last_only(is_answer: list[bool]) -> list[bool]:
    """Only the last stretch stays."""
    stop = len(is_answer) - is_answer[::-1].index(True)
    start = stop
    while start and is_answer[start - 1]:
        start -= 1
    return [start <= index < stop for index in range(len(is_answer))]


def divided(
    samples: list[tuple[Record, T]],
    settings: DataSettings,
    asked: Callable[[T], Any],
) -> Iterator[tuple[Record, T, str]]:
    """Each sample with its split.

    Args:
        samples: Records, and what they say.
        settings: How they are divided.
        asked: What of a sample decides its split, where a hash does; JSON can
            hold it.

    Raises:
        InputError: The source should name splits, and does not.
    """
    method = settings.split
    given = {record.split for record, _ in samples}
    if method == "auto":
        method = "given" if "train" in given else "hash"
    if samples and method == "given" and "train" not in given:
        raise InputError(
            "data.split is given, but the source names no train split. Name "
            "the files train, validation and test, or pass --data.split hash."
        )
    for index, (record, sample) in enumerate(samples):
        if method == "given":
            yield record, sample, record.split or "train"
            continue
        is_hash = method == "hash"
        place = _place(asked(sample)) if is_hash else index / len(samples)
        yield record, sample, _split_at(place, settings)


def _split_at(place: float, settings: DataSettings) -> str:
    if place < 1 - settings.validation - settings.test - 1e-9:
        return "train"
    return "validation" if place < 1 - settings.test - 1e-9 else "test"


def _asked(sample: Sample) -> list[str]:
    """What is asked, so that a question is in one split."""
    return [m["content"] for m in sample.conversations[0][:-1]]


def _place(asked: Any) -> float:
    """In [0, 1)."""
    digest = hashlib.sha256(json.dumps(asked).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
