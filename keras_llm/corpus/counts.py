"""What is counted of documents while a corpus is made, and told in its report.

Knows nothing of what is done to them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import reduce
from os.path import commonprefix
from typing import Any

from keras_llm.artifacts import from_record

EXAMPLES = 3  # of what is changed, dropped or leaks
EXCERPT = 240  # characters of an example
MOST_TOLD = 6  # kinds of files, in a line


@dataclass(frozen=True)
class Count:
    """A number of documents, and of characters in them."""

    documents: int = 0
    characters: int = 0


@dataclass
class SplitCount:
    """What a split holds; `bytes` are those of its text in UTF-8."""

    documents: int = 0
    characters: int = 0
    bytes: int = 0


@dataclass
class Found:
    """How much of something there is, and the first document with it."""

    count: int
    id: str


@dataclass(frozen=True)
class Change:
    """A text before and after a rule, both cut to where it changed."""

    id: str
    before: str
    after: str


@dataclass(frozen=True)
class Drop:
    """The beginning of a text that a rule left out, and why."""

    id: str
    reason: str
    before: str


@dataclass
class Files:
    """What became of the files, those in archives included.

    Args:
        found: How many there were: read and skipped.
        read: Files of which there are documents, if only such that could not
            be read, by kind, the commonest first.
        skipped: The others, by kind, or by why.
        repaired: What was wrong in those that were read, and how often.

    Raises:
        ValueError: A file is missing, or there is one too many.
    """

    found: int = 0
    read: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counted = sum(self.read.values()) + sum(self.skipped.values())
        if counted != self.found:
            raise ValueError(f"{self.found} files, of which {counted} counted")

    def __str__(self) -> str:
        read = sum(self.read.values())
        told = f"{self.found:,} files found, {read:,} read"
        if not self.skipped:
            return told
        kinds = [f"{k} {n:,}" for k, n in self.skipped.items()]
        more = ["…"] if len(kinds) > MOST_TOLD else []
        kinds = ", ".join(kinds[:MOST_TOLD] + more)
        return f"{told}, {self.found - read:,} skipped: {kinds}"


@dataclass
class RuleCount:
    """What a rule did to the documents that reached it.

    Args:
        seen: Documents that reached it.
        changed: Documents whose text it changed.
        dropped: Documents that it left out.
        characters_before: Characters that reached it.
        characters_after: Characters that it let through.
        characters_dropped: Characters of what it left out.
        reasons: Dropped documents by reason.
        changes: A few examples.
        drops: A few examples; of what has no text, what went wrong.
    """

    seen: int = 0
    changed: int = 0
    dropped: int = 0
    characters_before: int = 0
    characters_after: int = 0
    characters_dropped: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)

    def keep(self, id: str, before: str, after: str) -> None:
        """Counts a document that goes on, changed or not."""
        self.seen += 1
        self.characters_before += len(before)
        self.characters_after += len(after)
        if after != before:
            self.changed += 1
            if len(self.changes) < EXAMPLES:
                self.changes.append(Change(id, *excerpts(before, after)))

    def drop(self, id: str, reason: str, before: str, detail: str = "") -> None:
        """Counts a document that is left out; `detail` is shown for a text."""
        self.seen += 1
        self.dropped += 1
        self.characters_before += len(before)
        self.characters_dropped += len(before)
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if len(self.drops) < EXAMPLES:
            self.drops.append(Drop(id, reason, (before or detail)[:EXCERPT]))


@dataclass(frozen=True)
class Leak:
    """A phrase that is held out, found in a document of the train split."""

    train: str
    phrase: str


@dataclass
class Leaks:
    """What the train split shares with text that a model is tested on.

    Args:
        texts: Texts that are held out.
        too_short: Those of fewer than eight words, which are not looked for.
        ngrams: Distinct n-grams of the others.
        found: How many of them the train split holds.
        documents: Documents of the train split that hold any.
        dropped: How many of those were left out.
        examples: A few.
    """

    texts: int = 0
    too_short: int = 0
    ngrams: int = 0
    found: int = 0
    documents: int = 0
    dropped: int = 0
    examples: list[Leak] = field(default_factory=list)


def merged(kind: type, records: Iterable[Mapping[str, Any]]) -> Any:
    """The sum of counts of several tasks, in order.

    Args:
        kind: `RuleCount`, say: a dataclass whose fields have defaults.
        records: Their fields, as JSON has them.
    """
    counts = (from_record(kind, record) for record in records)
    return reduce(_added, counts, kind())


def _added(mine: Any, theirs: Any) -> Any:
    """Numbers are summed, of texts the first and of lists a few are kept."""
    if is_dataclass(mine):
        pairs = [
            (getattr(mine, each.name), getattr(theirs, each.name))
            for each in fields(mine)
        ]
        return type(mine)(*(_added(*pair) for pair in pairs))
    if isinstance(mine, dict):
        both = mine.keys() & theirs.keys()
        return mine | theirs | {k: _added(mine[k], theirs[k]) for k in both}
    if isinstance(mine, list):
        return (mine + theirs)[:EXAMPLES]
    return mine if isinstance(mine, str) else mine + theirs


def commonest(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts, the largest first, of equal ones by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def excerpts(before: str, after: str) -> tuple[str, str]:
    """Both texts from a little before their first difference on."""
    lines, others = before.split("\n"), after.split("\n")
    pairs = enumerate(zip(lines, others, strict=False))
    fewest = min(len(lines), len(others))
    first = next((n for n, (one, other) in pairs if one != other), fewest)
    before, after = "\n".join(lines[first:]), "\n".join(others[first:])
    common = commonprefix([before, after])
    start = max(0, len(common) - EXCERPT // 3)
    return before[start : start + EXCERPT], after[start : start + EXCERPT]
