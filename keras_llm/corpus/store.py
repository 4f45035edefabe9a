"""What the stages leave for each other: cleaned documents and their index.

A task writes one JSONL shard and one array of `INDEX` records. Documents are
numbered through all shards, in order. Knows nothing of cleaning.
"""

import hashlib
import json
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from keras_llm.artifacts import read_object
from keras_llm.corpus.arrays import save_array
from keras_llm.corpus.documents import SPLITS
from keras_llm.corpus.duplicates.minhash import Signer
from keras_llm.corpus.duplicates.paragraphs import (
    PARAGRAPHS,
    paragraphs_of,
)
from keras_llm.corpus.splitting import NO_SPLIT
from keras_llm.files import write_text

INDEX = np.dtype(
    [
        ("offset", "<u8"),  # of the document in its shard
        ("digest", "<u8", 2),  # of its cleaned text
        ("characters", "<u8"),
        ("bytes", "<u8"),  # of its cleaned text
        ("given", "u1"),  # index into SPLITS, or NO_SPLIT
    ]
)


class Store:
    """The folder of cleaned documents.

    Args:
        folder: Where it is.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._starts: np.ndarray | None = None

    def shard(self, rank: int) -> Path:
        return self.folder / f"{rank:05d}.jsonl"

    def array(self, name: str, rank: int) -> Path:
        return self.folder / f"{name}-{rank:05d}.npy"

    def arrays(self, name: str) -> list[np.ndarray]:
        """The arrays of all tasks, memory-mapped, in order."""
        paths = self._files(name, ".npy")
        return [np.load(path, mmap_mode="r") for path in paths]

    def records(self, name: str) -> list[dict[str, Any]]:
        """The JSON records of all tasks, in order."""
        paths = self._files(name, ".json")
        return [read_object(path) for path in paths]

    def _files(self, name: str, suffix: str) -> list[Path]:
        paths = self.folder.glob(f"{name}-*{suffix}")
        return sorted(paths, key=lambda path: int(path.stem.split("-")[-1]))

    def index(self) -> np.ndarray:
        """The `INDEX` records of all documents."""
        return np.concatenate([np.empty(0, INDEX), *self.arrays("index")])

    def save_record(self, name: str, rank: int, record: dict) -> None:
        path = self.folder / f"{name}-{rank:05d}.json"
        write_text(path, json.dumps(record))

    def starts(self) -> np.ndarray:
        """Number of the first document of each task, and of all at the end."""
        if self._starts is None:
            sizes = [len(index) for index in self.arrays("index")]
            self._starts = np.cumsum([0, *sizes])
        return self._starts

    def document(self, number: int) -> dict[str, Any]:
        """The record of a document, by its number."""
        rank = int(np.searchsorted(self.starts(), number, side="right")) - 1
        index = np.load(self.array("index", rank), mmap_mode="r")
        with self.shard(rank).open("rb") as lines:
            lines.seek(int(index["offset"][number - self.starts()[rank]]))
            return json.loads(lines.readline())

    def text(self, number: int) -> str:
        """The text of a document, by its number."""
        return self.document(number)["text"]

    def read(self, rank: int) -> Iterator[dict[str, Any]]:
        """The documents of a shard, each with the `bytes` of its line."""
        with self.shard(rank).open("rb") as lines:
            for line in lines:
                yield json.loads(line) | {"bytes": len(line)}


class SavedTasks(Sequence[Any]):
    """What differs from task to task, on disk: a task reads its own alone.

    Args:
        path: The file, of which only the name goes to other processes.
    """

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def save(cls, path: Path, tasks: Sequence[Any]) -> "SavedTasks":
        """Writes a value for each task, in order."""
        values = [pickle.dumps(task) for task in tasks]
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(b"".join(values))
        partial.replace(path)
        ends = np.cumsum([0, *map(len, values)])
        save_array(path.with_suffix(".npy"), ends)
        return cls(path)

    def __len__(self) -> int:
        return len(self._ends()) - 1

    def __getitem__(self, rank: int) -> Any:
        start, stop = self._ends()[rank : rank + 2].tolist()
        with self.path.open("rb") as file:
            file.seek(start)
            return pickle.loads(file.read(stop - start))

    def _ends(self) -> np.ndarray:
        return np.load(self.path.with_suffix(".npy"), mmap_mode="r")


class KeepCounts(PipelineStep):
    """Saves what the rules before it counted, and how long they took.

    Args:
        store: Where to.
        name: Of the records.
        rules: Steps with a `name`, a `count`, `bytes` and `seconds`.
    """

    type = "writer"
    name = "counts"

    def __init__(self, store: Store, name: str, rules: Sequence[PipelineStep]):
        super().__init__()
        self.store = store
        self.record = name
        self.rules = rules

    def run(
        self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1
    ) -> DocumentsPipeline:
        yield from data
        record = {
            rule.name: {
                "count": asdict(rule.count),
                "bytes": rule.bytes,
                "seconds": rule.seconds,
            }
            for rule in self.rules
        }
        self.store.save_record(self.record, rank, record)


class CleanedWriter(PipelineStep):
    """Writes cleaned documents, their index and what duplicates are found by.

    Args:
        store: Where to.
        signer: How near-duplicates are found, if they are.
        paragraphs: Whether paragraphs are compared.
    """

    type = "writer"
    name = "cleaned"

    def __init__(
        self,
        store: Store,
        signer: Signer | None,
        paragraphs: bool,
    ):
        super().__init__()
        self.store = store
        self.signer = signer
        self.paragraphs = paragraphs

    def run(
        self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1
    ) -> DocumentsPipeline:
        self._index, self._keys, self._paragraphs = [], [], []
        partial = self.store.folder / f".{rank:05d}.jsonl.partial"
        with partial.open("wb") as shard:
            for document in data:
                self._add(document, shard.tell())
                shard.write(_line(document))
        partial.replace(self.store.shard(rank))
        self._save(rank)
        return
        yield  # a step is a generator

    def _add(self, document: Document, offset: int) -> None:
        text = document.text
        data = text.encode()
        digest = np.frombuffer(hashlib.sha256(data).digest()[:16], ">u8")
        split = document.metadata.get("split")
        given = SPLITS.index(split) if split else NO_SPLIT
        self._index.append((offset, digest, len(text), len(data), given))
        if self.signer is not None:
            self._keys.append(self.signer.band_keys(text))
        if self.paragraphs:
            number = len(self._index) - 1
            self._paragraphs.append(paragraphs_of(text, number))

    def _save(self, rank: int) -> None:
        index = np.array(self._index, INDEX)
        self._save_array("index", rank, index)
        if self.signer is not None:
            shape = (len(index), self.signer.bands)
            keys = np.array(self._keys, np.uint64).reshape(shape)
            # So that a band, which is read at once, is in one place.
            self._save_array("keys", rank, np.asfortranarray(keys))
        if self.paragraphs:
            rows = [np.empty(0, PARAGRAPHS), *self._paragraphs]
            self._save_array("paragraphs", rank, np.concatenate(rows))

    def _save_array(self, name: str, rank: int, values: np.ndarray) -> None:
        save_array(self.store.array(name, rank), values)


def _line(document: Document) -> bytes:
    record = {
        "id": document.id,
        "text": document.text,
        "source": document.metadata["source"],
        "language": document.metadata.get("language"),  # if a rule has asked
    }
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"
