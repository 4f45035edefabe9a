"""The leak check: which documents share 13-grams with held-out texts.

`NgramIndexer` indexes the held-out documents in tasks, and
`HeldOutNgrams.merge` makes one index; then `FindLeaks` counts and marks the
documents of the train split that share an n-gram, and `DropLeaks` drops them.

datatrove's `NGramsDecontIndexer` needs lighteval, hashes in a Python loop and
holds a dictionary in every process, and its filter says nothing of the
held-out side. Ours have the same interface, and can go where those go.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter

from keras_llm.artifacts import read_artifact
from keras_llm.corpus.arrays import save_array, task_files
from keras_llm.corpus.held_out import (
    HeldOutNgrams,
    Overlap,
    documents_of,
    ngrams_of,
)
from keras_llm.corpus.splitting import cut
from keras_llm.files import write_text

EXAMPLES = 3


class NgramIndexer(PipelineStep):
    """Writes the n-grams of every document that passes, for `merge`.

    Args:
        out: Folder for `{rank:05d}.npy`, the task's hashes, and
            `{rank:05d}.documents.npy`, for each document how many they are and
            of how many words each.
    """

    type = "overlap"
    name = "index"

    def __init__(self, out: Path):
        super().__init__()
        self.out = Path(out)

    def run(
        self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1
    ) -> DocumentsPipeline:
        hashes: list[np.ndarray] = [np.empty(0, np.uint64)]
        rows: list[list[int]] = []
        for document in data:
            mine, length = ngrams_of(document.text)
            hashes.append(mine)
            rows.append([len(mine), length])
            yield document
        path = self.out / f"{rank:05d}.npy"
        table = np.array(rows, np.int64).reshape(-1, 2)
        save_array(documents_of(path), table)
        save_array(path, np.concatenate(hashes))


@dataclass
class TaskLeaks:
    """What the documents of a task, or of all, share with held-out texts.

    Args:
        seen: Documents that were looked up.
        documents: Those of them that share an n-gram.
        ngrams: N-grams that they share, repeated ones too.
        examples: Up to three `{"id", "found", "total", "excerpt"}`.
    """

    seen: int = 0
    documents: int = 0
    ngrams: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, id: str, overlap: Overlap) -> None:
        """Counts a document, and what it shares."""
        self.seen += 1
        if not overlap.found:
            return
        self.ngrams += overlap.found
        self.documents += 1
        if len(self.examples) < EXAMPLES:
            example = {"id": id, "found": overlap.found}
            example |= {"total": overlap.total, "excerpt": overlap.excerpt}
            self.examples.append(example)

    def merge(self, other: "TaskLeaks") -> None:
        """Adds those of a later task."""
        self.seen += other.seen
        self.documents += other.documents
        self.ngrams += other.ngrams
        self.examples += other.examples[: EXAMPLES - len(self.examples)]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class FindLeaks(PipelineStep):
    """Counts and marks documents that share an n-gram with held-out texts.

    A document of the train split has `leaks` set in its metadata if it does;
    the others are not looked at.

    Args:
        index: Folder of a saved `HeldOutNgrams`.
        out: Folder for `{rank:05d}.npy`, which held-out n-grams the task found
            (for `found_in`), and `{rank:05d}.json`, its `TaskLeaks`.
    """

    type = "overlap"
    name = "find"

    def __init__(self, index: Path, out: Path):
        super().__init__()
        self.index = Path(index)
        self.out = Path(out)
        self.leaks = TaskLeaks()
        self._held_out: HeldOutNgrams | None = None  # opened in the worker
        self._found: list[np.ndarray] = []

    def run(
        self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1
    ) -> DocumentsPipeline:
        self.leaks, self._found = TaskLeaks(), []  # of this task
        for document in data:
            for text in _trained_on(document):
                is_leak = self._look_up(document.id, text).found > 0
                document.metadata["leaks"] |= is_leak
            yield document
        save_array(self.out / f"{rank:05d}.npy", self._positions())
        leaks = json.dumps(self.leaks.to_dict(), ensure_ascii=False)
        write_text(self.out / f"{rank:05d}.json", leaks)

    def _look_up(self, id: str, text: str) -> Overlap:
        """Looks up what a document has in the train split, and counts it."""
        if self._held_out is None:
            self._held_out = HeldOutNgrams.load(self.index)
        overlap = self._held_out.shared(text)
        self.leaks.add(id, overlap)
        self._found.append(overlap.positions)
        if len(self._found) == 1024:
            self._found = [self._positions()]
        return overlap

    def _positions(self) -> np.ndarray:
        empty = np.empty(0, np.int64)
        return np.unique(np.concatenate([empty, *self._found]))


class DropLeaks(BaseFilter):
    """Leaves out the documents that `FindLeaks` marked.

    A document that is cut between splits stays: its own end is what is held
    out.
    """

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        if doc.metadata["leaks"] and doc.metadata["cuts"] is None:
            return False, "held_out"
        return True


def _trained_on(document: Document) -> list[str]:
    """What a document has in the train split: at most one stretch."""
    if spans := document.metadata["cuts"]:
        pieces = cut(document.text, spans)
        return [text for split, text in pieces if split == "train"]
    return [document.text] if document.metadata["split"] == "train" else []


def read_leaks(reports: Path) -> TaskLeaks:
    """The `TaskLeaks` of all tasks that wrote to a folder, in their order."""
    total = TaskLeaks()
    for path in task_files(reports, ".json"):
        total.merge(read_artifact(path, TaskLeaks, "what a task has found"))
    return total


def found_in(index: HeldOutNgrams, reports: Path) -> int:
    """How many of the held-out n-grams were found elsewhere.

    Args:
        index: The held-out n-grams.
        reports: Folder that `FindLeaks` wrote.
    """
    is_found = np.zeros(len(index.hashes), bool)
    for path in task_files(reports):
        is_found[np.load(path)] = True
    return int(is_found.sum())
