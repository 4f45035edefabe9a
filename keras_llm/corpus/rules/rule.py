"""A rule: a block of the pipeline that changes or drops documents, measured.

Any formatter, filter or extractor of datatrove is one, and ours have the same
interface. Knows nothing of what the rules do.
"""

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter

from keras_llm.corpus.report.marks import excerpts

EXAMPLES = 3
EXCERPT = 240  # characters of an example


@dataclass
class Tally:
    """What a rule did to the documents that reached it.

    Args:
        seen: Documents that reached it.
        changed: Documents whose text it changed.
        dropped: Documents that it left out.
        characters_before: Characters that reached it.
        characters_after: Characters that it let through.
        characters_dropped: Characters of what it left out.
        reasons: Dropped documents by reason.
        changes: Up to three `{"id", "before", "after"}`, cut to the first
            change.
        drops: Up to three `{"id", "reason", "before"}`; the last is what went
            wrong where there is no text.
        bytes: UTF-8 bytes that reached it.
        seconds: Time that it took.
    """

    seen: int = 0
    changed: int = 0
    dropped: int = 0
    characters_before: int = 0
    characters_after: int = 0
    characters_dropped: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    changes: list[dict[str, str]] = field(default_factory=list)
    drops: list[dict[str, str]] = field(default_factory=list)
    bytes: int = 0
    seconds: float = 0.0

    def merge(self, other: "Tally") -> None:
        """Adds what the same rule did in a later task."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(value, dict):
                for reason, count in value.items():
                    mine[reason] = mine.get(reason, 0) + count
            elif isinstance(value, list):
                mine.extend(value[: EXAMPLES - len(mine)])
            else:
                setattr(self, name, mine + value)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Rule(PipelineStep):
    """Runs a block on every document, and tallies what it did.

    Args:
        name: Name of the rule in recipes and reports.
        block: A formatter (`format(text)`) or a filter (`filter(document)`)
            of datatrove, or of ours. One that keeps a process has a `close`.
    """

    type = "rule"

    def __init__(self, name: str, block: PipelineStep):
        super().__init__()
        self.name = name
        self.block = block
        self.tally = Tally()

    def run(
        self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1
    ) -> DocumentsPipeline:
        try:
            yield from self._apply(data)
        finally:
            # Of blocks that keep a process of their own.
            getattr(self.block, "close", _nothing)()

    def _apply(self, data: DocumentsPipeline) -> DocumentsPipeline:
        for document in data:
            before = document.text
            start = time.perf_counter()
            reason = self._work(document)
            self.tally.seconds += time.perf_counter() - start
            self._count(document, before, reason)
            if reason is None:
                yield document

    def _work(self, document: Document) -> str | None:
        """Changes the text; returns the reason to drop it, if there is one."""
        if isinstance(self.block, BaseFilter):
            return _reason(self.block.filter(document))
        document.text = self.block.format(document.text)
        return None

    def _count(
        self, document: Document, before: str, reason: str | None
    ) -> None:
        tally = self.tally
        tally.seen += 1
        tally.characters_before += len(before)
        tally.bytes += _size(before)
        if reason is not None:
            tally.dropped += 1
            tally.reasons[reason] = tally.reasons.get(reason, 0) + 1
            tally.characters_dropped += len(before)
            if len(tally.drops) < EXAMPLES:
                shown = before or document.metadata.get("detail", "")
                drop = {"id": document.id, "reason": reason}
                tally.drops.append(drop | {"before": shown[:EXCERPT]})
            return
        tally.characters_after += len(document.text)
        if document.text != before:
            tally.changed += 1
            if len(tally.changes) < EXAMPLES:
                old, new = excerpts(before, document.text, EXCERPT)
                change = {"id": document.id, "before": old, "after": new}
                tally.changes.append(change)


def _reason(result: bool | tuple[bool, str]) -> str | None:
    """The reason to drop a document, or `None` to keep it."""
    kept, reason = result if isinstance(result, tuple) else (result, "")
    return None if kept else reason or "dropped"


_last_size: tuple[str, int] = ("", 0)


def _size(text: str) -> int:
    """UTF-8 bytes; most rules ask for the same text as the one before."""
    global _last_size
    if text is not _last_size[0]:
        is_ascii = text.isascii()
        data = text if is_ascii else text.encode("utf-8", "surrogatepass")
        _last_size = (text, len(data))
    return _last_size[1]


def _nothing() -> None:
    """Closes a block that has nothing to close."""
