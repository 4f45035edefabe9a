"""The corpus on disk: JSONL documents in shards, one folder a split."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from keras_llm.errors import InputError

SPLITS = ("train", "validation", "test")
FIELDS = {"id": str, "text": str, "source": str}


@dataclass(frozen=True)
class Document:
    """One text, or four million characters of one that is longer.

    Args:
        id: Unique within the corpus.
        text: The text, never empty.
        source: Where it was read, for people.
    """

    id: str
    text: str
    source: str

    def to_json(self) -> str:
        return json.dumps(vars(self), ensure_ascii=False)


class ShardWriter:
    """Writes the documents that a task has for one split, in one shard.

    The shard appears when the block ends well, if it holds anything.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self._path = folder / f"{number:05d}.jsonl"
        self._partial = folder / f".{number:05d}.partial"
        self._shard: BinaryIO | None = None

    def __enter__(self) -> "ShardWriter":
        return self

    def write(self, document: Document) -> None:
        """Appends a document."""
        if self._shard is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._shard = self._partial.open("wb")
        self._shard.write(document.to_json().encode() + b"\n")

    def __exit__(self, kind: type | None, *_: object) -> None:
        if self._shard is not None:
            self._shard.close()
            if kind is None:
                self._partial.replace(self._path)


def splits_of(corpus: Path) -> list[str]:
    """Names of the splits that the corpus folder has, in fixed order."""
    found = [name for name in SPLITS if any(corpus.glob(f"{name}/*.jsonl"))]
    if not found:
        raise InputError(
            f"{corpus} must be a corpus (a folder with train/*.jsonl). "
            "Make one with `keras-llm prepare SOURCE --out DIR`."
        )
    return found


def read_documents(corpus: Path, split: str) -> Iterator[Document]:
    """Yields the documents of a split in order, one at a time.

    Raises:
        InputError: A line is not a document; the message names file and
            line.
    """
    for shard in shards_of(corpus, split):
        yield from read_shard(shard)


def shards_of(corpus: Path, split: str) -> list[Path]:
    """The shards of a split, in order.

    Raises:
        InputError: There is none.
    """
    found = (corpus / split).glob("*.jsonl")
    shards = sorted(found, key=lambda shard: (len(shard.name), shard.name))
    if not shards:
        raise InputError(f"{corpus} has no {split} split.")
    return shards


def read_shard(shard: Path) -> Iterator[Document]:
    """Yields the documents of a shard, as `read_documents` does."""
    with shard.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            yield _parse(line, f"{shard}, line {number}")


def _parse(line: bytes, where: str) -> Document:
    try:
        document = Document(**json.loads(line.decode()))
        for name, kind in FIELDS.items():
            value = getattr(document, name)
            if not isinstance(value, kind):
                found = type(value).__name__
                raise TypeError(f"{name} is {found}, not {kind.__name__}")
        return document
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{where}: expected a JSON document with id, text and source. "
            f"Received: {line[:60].decode(errors='replace')!r} ({error}). "
            "Make the corpus again with `keras-llm prepare`."
        ) from error
