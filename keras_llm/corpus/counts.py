"""What is counted of documents while a corpus is made, and told in its report.

Knows nothing of what is done to them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from keras_llm.artifacts import from_record

EXAMPLES = 3  # of what is changed, dropped or leaks
EXCERPT = 240  # characters of an example
MOST_TOLD = 6  # kinds of files, in a line
_ANCHOR = 32  # characters that tell where two texts agree again
_LEFT_OUT = " […] "


@dataclass(frozen=True)
class Count:
    """A number of documents, and of characters in them."""

    documents: int = 0
    characters: int = 0


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
        kind: `RuleCount` or `Leaks`.
        records: Their fields, as JSON has them.
    """
    total = kind()
    for record in records:
        count = from_record(kind, record)
        for each in fields(count):
            mine, theirs = getattr(total, each.name), getattr(count, each.name)
            if isinstance(mine, dict):
                for key, value in theirs.items():
                    mine[key] = mine.get(key, 0) + value
            elif isinstance(mine, list):
                mine += theirs[: EXAMPLES - len(mine)]
            else:
                setattr(total, each.name, mine + theirs)
    return total


def excerpts(before: str, after: str, most: int = EXCERPT) -> tuple[str, str]:
    """Both texts around their first difference.

    Of a long removal the middle is left out, so that it is seen where the
    texts agree again.

    Args:
        before: A text.
        after: What became of it.
        most: Characters of each excerpt.
    """
    first = _common(before, after)
    third = most // 3
    start = max(0, first - third)
    again = before.find(after[first : first + _ANCHOR], first)
    if again - first <= third:  # seen whole, or the texts never agree again
        stop = start + most
        return before[start:stop], after[start:stop]
    removed = before[first : first + third - len(_LEFT_OUT)] + _LEFT_OUT
    return (
        before[start:first] + removed + before[again : again + third],
        after[start : first + third],
    )


def _common(before: str, after: str) -> int:
    """Length of what two texts begin with alike, in whole words."""
    low, high = 0, min(len(before), len(after))
    while low < high:
        middle = (low + high + 1) // 2
        if before[low:middle] == after[low:middle]:
            low = middle
        else:
            high = middle - 1
    while low and before[low - 1].isalnum():
        low -= 1
    return low
