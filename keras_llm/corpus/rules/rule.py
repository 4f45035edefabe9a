"""A rule: what changes or drops documents, measured.

Any formatter or filter of datatrove is one, and ours have the same interface.
Knows nothing of what the rules do.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.formatters.base import BaseFormatter

from keras_llm.corpus.counts import RuleCount

# Whether a document goes on, and if not why.
Verdict = bool | tuple[bool, str]


class Rule:
    """Runs a block on every document, and counts what it did.

    Args:
        name: Name of the rule in recipes and reports.
        block: A formatter (`format(text)`) or a filter (`filter(document)`)
            of datatrove, or of ours, or a function that judges as a filter
            does. One that keeps a process has a `close`.

    Attributes:
        count: What it has done in the task at hand.
        bytes: UTF-8 bytes that reached it.
        seconds: Time that it took.
    """

    def __init__(
        self, name: str, block: PipelineStep | Callable[[Document], Verdict]
    ):
        self.name = name
        self.block = block
        self.count, self.bytes, self.seconds = RuleCount(), 0, 0.0

    def run(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Yields those that go on."""
        self.count, self.bytes, self.seconds = RuleCount(), 0, 0.0
        keeps_process = hasattr(self.block, "close")
        with closing(self.block) if keeps_process else nullcontext():
            for document in documents:
                if self._passes(document):
                    yield document

    def _passes(self, document: Document) -> bool:
        before = document.text
        start = time.perf_counter()
        reason = self._work(document)
        self.seconds += time.perf_counter() - start
        self.bytes += len(before.encode("utf-8", "surrogatepass"))
        if reason is None:
            self.count.keep(document.id, before, document.text)
            return True
        detail = document.metadata.get("detail", "")
        self.count.drop(document.id, reason, before, detail)
        return False

    def _work(self, document: Document) -> str | None:
        """Changes the text; returns the reason to drop it, if there is one."""
        block = self.block
        if isinstance(block, BaseFormatter):
            document.text = block.format(document.text)
            return None
        judge = block.filter if isinstance(block, BaseFilter) else block
        try:
            result = judge(document)
        except ZeroDivisionError:  # they divide by numbers of words and lines
            return "no_words"
        kept, reason = result if isinstance(result, tuple) else (result, "")
        return None if kept else reason or "dropped"
