"""From a source of raw text to a corpus folder: cleaned, divided, reported.

Reads every text twice: once to learn what it is, once to write it. What stays
in memory is one part of one text, and a summary of each.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from keras_llm.corpus.documents import SPLITS, Document, ShardWriter
from keras_llm.corpus.sources import (
    Part,
    Source,
    TextFile,
    TextSummary,
    read_source,
    summarise,
)
from keras_llm.corpus.splitting import (
    Division,
    check_splits,
    cut,
    divide,
)
from keras_llm.errors import InputError
from keras_llm.files import check_free, written_beside
from keras_llm.recipes.settings import CorpusSettings, SplitSettings

REPORT = "report.json"
EXAMPLES = 3

ProgressHook = Callable[[int, int], None]


@dataclass(frozen=True)
class Count:
    """A number of texts, and of characters in them."""

    documents: int
    characters: int


@dataclass(frozen=True)
class RuleCount:
    """What a rule did.

    Args:
        changed: Texts whose characters it changed.
        dropped: Texts it left out.
        examples: Up to three of them: `id` and `excerpt`.
    """

    changed: int = 0
    dropped: int = 0
    examples: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class SplitCount:
    """What a split holds; `bytes` are those of its text in UTF-8."""

    documents: int
    characters: int
    bytes: int


@dataclass(frozen=True)
class CorpusReport:
    """What became of the text: `read` is `kept` plus `dropped`.

    Characters are counted after line ends are made equal. A text that is cut
    at the end of a split is one document in each of the two, so that the
    splits may hold more documents than were kept, never more characters.

    Args:
        source: As the user named it.
        licence: Of the texts, if known.
        split_method: The method used: `"hash"`, `"position"` or `"given"`.
        read: What the source holds.
        kept: What the corpus holds.
        dropped: What the rules left out.
        distinct_characters: Size of the alphabet of what was kept.
        rules: What each rule did, by name.
        splits: What each split holds, by name.
    """

    source: str
    licence: str | None
    split_method: str
    read: Count
    kept: Count
    dropped: Count
    distinct_characters: int
    rules: dict[str, RuleCount]
    splits: dict[str, SplitCount]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def prepare(
    source: str,
    out: Path,
    settings: CorpusSettings,
    progress: ProgressHook | None = None,
) -> CorpusReport:
    """Makes a corpus of a source.

    Args:
        source: A `.txt` or `.md` file, a folder of them, or a name of the
            catalogue.
        out: Folder to write: `train/00000.jsonl` and so on for each split,
            and `report.json`. It appears whole or not at all.
        settings: How the texts are divided.
        progress: Called with the bytes done and the bytes in all, as they
            are read.

    Returns:
        The report, as written.

    Raises:
        InputError: The source cannot be used, a split that was asked for is
            empty, or `out` exists or cannot be written.
    """
    out = Path(out).resolve()
    check_free(out)
    texts = read_source(source)
    meter = _Meter(texts.files, progress)
    found = [summarise(file, meter.parts(file)) for file in texts.files]
    kept, dropped = _apply_rules(found)
    if not kept:
        raise InputError(
            f"{source} must hold text. Received: {len(found)} file(s) of "
            "nothing but whitespace."
        )
    division = divide(kept, settings.split)
    with written_beside(out) as folder:
        documents = _documents(kept, division, texts.name, meter)
        splits, alphabet = _write(documents, folder)
        _check_written(splits, texts, division.method, settings.split)
        report = CorpusReport(
            source=texts.name,
            licence=texts.licence,
            split_method=division.method,
            read=_count(found),
            kept=_count(kept),
            dropped=_count(chain(*dropped.values())),
            distinct_characters=len(alphabet),
            rules=_rule_counts(found, dropped),
            splits=splits,
        )
        text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False)
        (folder / REPORT).write_text(text + "\n", encoding="utf-8")
    meter.finish()
    return report


def load_report(corpus: Path) -> CorpusReport:
    """Reads the report of a corpus folder.

    Raises:
        InputError: The folder has no report, or a damaged one.
    """
    path = Path(corpus) / REPORT
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        for name in ("read", "kept", "dropped"):
            record[name] = Count(**record[name])
        for name, kind in (("rules", RuleCount), ("splits", SplitCount)):
            counts = record[name].items()
            record[name] = {key: kind(**value) for key, value in counts}
        return CorpusReport(**record)
    except OSError as error:
        raise InputError(
            f"{corpus} must be a corpus with a {REPORT} ({error}). Make one "
            "with `keras-llm prepare SOURCE --out DIR`."
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path} must be the report of a corpus. It is damaged: {error!r}"
        ) from error


class _Meter:
    """Tells how far two readings of the files have come."""

    def __init__(
        self, files: Sequence[TextFile], hook: ProgressHook | None
    ) -> None:
        self._hook = hook or (lambda done, total: None)
        self._total = 2 * sum(file.path.stat().st_size for file in files)
        self._before = 0

    def parts(self, file: TextFile) -> Iterator[Part]:
        """The parts of a text, counted as they are taken."""
        bytes_read = 0
        for part in file.parts():
            yield part
            bytes_read = part.bytes_read
            self._hook(self._before + bytes_read, self._total)
        self._before += bytes_read

    def finish(self) -> None:
        """Counts what need not be read twice."""
        self._hook(self._total, self._total)


def _apply_rules(
    found: Sequence[TextSummary],
) -> tuple[list[TextSummary], dict[str, list[TextSummary]]]:
    """Texts to keep, and texts to drop by name of the rule."""
    # Of equal texts the one in a test or validation split stays: those are
    # measured on by others too, and must be whole.
    first: dict[bytes, TextSummary] = {}
    for text in sorted(found, key=lambda text: text.file.split or "train"):
        first.setdefault(text.digest, text)
    kept = []
    dropped: dict[str, list[TextSummary]] = {"empty": [], "exact_duplicate": []}
    for text in found:
        if text.is_blank:
            dropped["empty"].append(text)
        elif first[text.digest] is not text:
            dropped["exact_duplicate"].append(text)
        else:
            kept.append(text)
    return kept, dropped


def _rule_counts(
    found: Sequence[TextSummary], dropped: dict[str, list[TextSummary]]
) -> dict[str, RuleCount]:
    changed = [text for text in found if text.carriage_returns]
    counts = {
        "newlines": RuleCount(changed=len(changed), examples=_examples(changed))
    }
    for rule, texts in dropped.items():
        counts[rule] = RuleCount(dropped=len(texts), examples=_examples(texts))
    return counts


def _examples(texts: Sequence[TextSummary]) -> list[dict[str, str]]:
    return [
        {"id": text.file.id, "excerpt": text.excerpt}
        for text in texts[:EXAMPLES]
    ]


def _count(texts: Iterable[TextSummary]) -> Count:
    lengths = [text.characters for text in texts]
    return Count(len(lengths), sum(lengths))


def _documents(
    kept: Sequence[TextSummary],
    division: Division,
    source: str,
    meter: _Meter,
) -> Iterator[tuple[str, Document]]:
    for text, spans in zip(kept, division.spans, strict=True):
        parts = (part.text for part in meter.parts(text.file))
        yield from _numbered(text.file.id, source, cut(parts, spans))


def _numbered(
    id: str, source: str, pieces: Iterator[tuple[str, str]]
) -> Iterator[tuple[str, Document]]:
    """Documents of one text with their splits; `id#1` if it is in pieces."""
    piece = next(pieces, None)
    number = 1
    while piece:
        split, text = piece
        piece = next(pieces, None)
        is_whole = number == 1 and piece is None
        yield (
            split,
            Document(
                id=id if is_whole else f"{id}#{number}",
                text=text,
                source=source,
                continues=piece is not None and piece[0] == split,
            ),
        )
        number += 1


def _write(
    documents: Iterator[tuple[str, Document]], folder: Path
) -> tuple[dict[str, SplitCount], set[str]]:
    """Writes every document to its split; returns counts and alphabet."""
    writers = {split: ShardWriter(folder / split) for split in SPLITS}
    alphabet: set[str] = set()
    with ExitStack() as stack:
        for writer in writers.values():
            stack.callback(writer.close)
        for split, document in documents:
            writers[split].write(document)
            alphabet.update(document.text)
    counts = {
        split: SplitCount(writer.documents, writer.characters, writer.bytes)
        for split, writer in writers.items()
        if writer.documents
    }
    return counts, alphabet


def _check_written(
    splits: dict[str, SplitCount],
    texts: Source,
    method: str,
    settings: SplitSettings,
) -> None:
    documents = {split: count.documents for split, count in splits.items()}
    if method == "given":
        for file in texts.files:
            if file.split:
                documents.setdefault(file.split, 0)
    check_splits(documents, method, settings)
