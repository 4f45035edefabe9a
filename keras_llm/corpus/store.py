"""What tasks leave for each other: cleaned documents, arrays and records.

A task writes one file of each, which is complete or not there. Documents are
numbered through all tasks, in order. Knows nothing of cleaning.
"""

import hashlib
import json
import pickle
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.data import Document

from keras_llm.artifacts import read_object
from keras_llm.corpus.documents import SPLITS
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
    """A folder of what the tasks of a stage, or of several, have left."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._starts: np.ndarray | None = None

    def save(self, name: str, rank: int, array: np.ndarray) -> None:
        """Keeps an array of a task."""
        save_array(self.folder / f"{name}-{rank:05d}.npy", array)

    def arrays(self, name: str) -> list[np.ndarray]:
        """The arrays of all tasks, memory-mapped, in order."""
        paths = self._files(name, ".npy")
        return [np.load(path, mmap_mode="r") for path in paths]

    def save_record(self, name: str, rank: int, record: dict) -> None:
        """Keeps a JSON record of a task."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}-{rank:05d}.json"
        write_text(path, json.dumps(record))

    def records(self, name: str) -> list[dict[str, Any]]:
        """The JSON records of all tasks, in order."""
        return [read_object(path) for path in self._files(name, ".json")]

    def write(self, rank: int, documents: Iterable[Document]) -> None:
        """Writes the documents of a task, and their index."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".{rank:05d}.jsonl.partial"
        index = []
        with partial.open("wb") as shard:
            for document in documents:
                index.append((shard.tell(), *_entry(document)))
                shard.write(_line(document))
        partial.replace(self._shard(rank))
        self.save("index", rank, np.array(index, INDEX))

    def read(self, rank: int) -> Iterator[dict[str, Any]]:
        """The documents of a task, each with the `bytes` of its line."""
        with self._shard(rank).open("rb") as lines:
            for line in lines:
                yield json.loads(line) | {"bytes": len(line)}

    def index(self) -> np.ndarray:
        """The `INDEX` records of all documents."""
        return np.concatenate([np.empty(0, INDEX), *self.arrays("index")])

    def starts(self) -> np.ndarray:
        """Number of the first document of each task, and of all at the end."""
        if self._starts is None:
            sizes = [len(index) for index in self.arrays("index")]
            self._starts = np.cumsum([0, *sizes])
        return self._starts

    def document(self, number: int) -> dict[str, Any]:
        """The record of a document, by its number."""
        rank = int(np.searchsorted(self.starts(), number, side="right")) - 1
        path = self.folder / f"index-{rank:05d}.npy"
        index = np.load(path, mmap_mode="r")
        with self._shard(rank).open("rb") as lines:
            lines.seek(int(index["offset"][number - self.starts()[rank]]))
            return json.loads(lines.readline())

    def text(self, number: int) -> str:
        """The text of a document, by its number."""
        return self.document(number)["text"]

    def size(self) -> int:
        """Bytes of all documents."""
        return sum(path.stat().st_size for path in self.folder.glob("*.jsonl"))

    def _shard(self, rank: int) -> Path:
        return self.folder / f"{rank:05d}.jsonl"

    def _files(self, name: str, suffix: str) -> list[Path]:
        paths = self.folder.glob(f"{name}-*{suffix}")
        return sorted(paths, key=lambda path: int(path.stem.split("-")[-1]))


class SavedTasks(Sequence[Any]):
    """What differs from task to task, on disk: a task reads its own alone."""

    def __init__(self, folder: Path):
        self.folder = folder

    @classmethod
    def save(cls, folder: Path, tasks: Iterable[Any]) -> "SavedTasks":
        """Writes a value for each task, in order."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for rank, task in enumerate(tasks):
            (folder / str(rank)).write_bytes(pickle.dumps(task))
        return cls(folder)

    def __len__(self) -> int:
        return len(list(self.folder.iterdir()))

    def __getitem__(self, rank: int) -> Any:
        return pickle.loads((self.folder / str(rank)).read_bytes())


def save_array(path: Path, array: np.ndarray) -> None:
    """Writes an `.npy` file beside its place, and renames it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as out:
            np.save(out, array)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _entry(document: Document) -> tuple:
    data = document.text.encode()
    digest = np.frombuffer(hashlib.sha256(data).digest()[:16], ">u8")
    split = document.metadata.get("split")
    given = SPLITS.index(split) if split else NO_SPLIT
    return digest, len(document.text), len(data), given


def _line(document: Document) -> bytes:
    record = {
        "id": document.id,
        "text": document.text,
        "source": document.metadata["source"],
        "language": document.metadata.get("language"),  # if a rule has asked
    }
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"
