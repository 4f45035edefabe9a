"""What became of the text: the report of a corpus, and its JSON.

Knows nothing of how the text was cleaned, nor of how a report is shown. It
holds no times, so that equal input gives an equal report; those are in
`timings.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_llm.artifacts import read_artifact
from keras_llm.corpus.counts import (
    Count,
    Files,
    Found,
    Leaks,
    RuleCount,
    SplitCount,
)
from keras_llm.corpus.duplicates.hashing import counted
from keras_llm.errors import InputError
from keras_llm.files import write_text

REPORT = "report.json"
SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Lengths:
    """How long the kept documents are, in characters.

    Args:
        shortest: The shortest.
        median: Half are no longer.
        longest: The longest.
        commonest: The length that most documents have.
        commonest_documents: How many those are.
        histogram: `[lower bound, documents]` by powers of two, without gaps.
    """

    shortest: int = 0
    median: int = 0
    longest: int = 0
    commonest: int = 0
    commonest_documents: int = 0
    histogram: list[list[int]] = field(default_factory=list)


@dataclass(frozen=True)
class Cluster:
    """Near-duplicates of one another.

    Args:
        size: Documents.
        ids: Of some of them, the longest document first.
        begins: The beginning of the longest.
    """

    size: int
    ids: list[str]
    begins: str


@dataclass(frozen=True)
class Duplicates:
    """What was found more than once.

    Args:
        exact: Documents dropped because an equal one was kept.
        near: Documents that a longer one of their cluster stands for,
            dropped or kept in its split; `None` if not looked for.
        clusters: Clusters of near-duplicates.
        sizes: `[documents, clusters]`, the smallest first.
        largest: The largest clusters.
        paragraphs: Paragraphs removed; `None` if not looked for.
    """

    exact: int = 0
    near: int | None = None
    clusters: int = 0
    sizes: list[list[int]] = field(default_factory=list)
    largest: list[Cluster] = field(default_factory=list)
    paragraphs: int | None = None


@dataclass(frozen=True)
class CorpusReport:
    """What became of the text: `read` is `kept` plus `dropped` documents.

    A text that is cut at the end of a split is one document in each of the
    two, so that the splits may hold more documents than were kept.

    Args:
        sources: As the user named them.
        licences: Of the texts, as far as known.
        cleaning: `"light"` or `"web"`.
        split_method: `"hash"`, `"position"` or `"given"`.
        files: Which were read and which were not.
        read: What the sources hold.
        kept: What the corpus holds.
        dropped: What the rules left out, as long as it was when left out.
        rules: What each rule did, in the order in which they ran: all that
            drop a document or change a text, duplicates and leaks too.
        splits: What each split holds, by name.
        lengths: Of the kept documents.
        signs: Kept characters that are `"ascii"`, `"blank"`, `"digits"`, `"<"`.
        unusual: Kept characters that clean text rarely holds, by kind.
        languages: Kept documents by language, the commonest first; `None` if
            not identified.
        suspects: Kept documents that are hardly text, by what they are.
        duplicates: What was found more than once.
        leaks: Into the train split from the test split; `None` if not
            checked.
        contamination: The same from the files a model will be evaluated on.
        warnings: What looks wrong, and what to do about it.

    Raises:
        ValueError: The counts contradict one another.
    """

    sources: list[str]
    licences: list[str]
    cleaning: str
    split_method: str
    files: Files
    read: Count
    kept: Count
    dropped: Count
    rules: dict[str, RuleCount]
    splits: dict[str, SplitCount]
    lengths: Lengths = Lengths()
    signs: dict[str, int] = field(default_factory=dict)
    unusual: dict[str, Found] = field(default_factory=dict)
    languages: dict[str, int] | None = None
    suspects: dict[str, Found] = field(default_factory=dict)
    duplicates: Duplicates = Duplicates()
    leaks: Leaks | None = None
    contamination: Leaks | None = None
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        reached, dropped = self.read, Count()
        for name, rule in self.rules.items():
            seen = Count(rule.seen, rule.characters_before)
            if seen != reached:
                raise ValueError(f"{reached} reached {name}, which saw {seen}")
            reached = Count(rule.seen - rule.dropped, rule.characters_after)
            dropped = Count(
                dropped.documents + rule.dropped,
                dropped.characters + rule.characters_dropped,
            )
        if (reached, dropped) != (self.kept, self.dropped):
            raise ValueError(
                f"the rules kept {reached} and dropped {dropped}, not "
                f"{self.kept} and {self.dropped}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain, JSON-ready values."""
        return asdict(self)


def lengths_of(characters: Sequence[int]) -> Lengths:
    """Summary of the lengths of documents, in characters."""
    ordered = np.sort(np.asarray(characters, dtype=np.int64))
    if not len(ordered):
        return Lengths()
    values, counts = counted(ordered)
    powers = np.frexp(np.maximum(ordered, 1))[1] - 1
    documents = np.bincount(powers)
    return Lengths(
        shortest=int(ordered[0]),
        median=int(ordered[(len(ordered) - 1) // 2]),
        longest=int(ordered[-1]),
        commonest=int(values[counts.argmax()]),
        commonest_documents=int(counts.max()),
        histogram=[
            [2**power, int(documents[power])]
            for power in range(powers[0], len(documents))
        ],
    )


def save_report(report: CorpusReport, folder: Path) -> None:
    """Writes `report.json` into a folder; equal reports give equal files."""
    text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False)
    # A lone surrogate, as of a file name, cannot be written in UTF-8.
    text = SURROGATES.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    write_text(Path(folder) / REPORT, text)


def load_report(corpus: Path) -> CorpusReport:
    """Reads the report of a corpus folder.

    Raises:
        InputError: The folder has no report, or a damaged one.
    """
    path = Path(corpus) / REPORT
    if not path.is_file():
        raise InputError(
            f"{corpus} must be a corpus with a {REPORT}. Make one with "
            "`keras-llm prepare SOURCE --out DIR`."
        )
    return read_artifact(
        path,
        CorpusReport,
        "the report of a corpus",
        "Make the corpus again with `keras-llm prepare`.",
    )
