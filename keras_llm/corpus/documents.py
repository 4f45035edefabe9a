"""The corpus on disk: JSONL documents in shards, one folder a split."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from keras_llm.errors import InputError

SPLITS = ("train", "validation", "test")
SHARD_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Document:
    """One text, or a part of one that is too long to hold in memory.

    Args:
        id: Unique within the corpus.
        text: The text, never empty.
        source: Where it was read, for people.
        continues: Whether the next document of the shard is the next part of
            the same text. Only a text's last part is followed by the end
            token.
    """

    id: str
    text: str
    source: str
    continues: bool = False

    def to_json(self) -> str:
        record = {"id": self.id, "text": self.text, "source": self.source}
        if self.continues:
            record["continues"] = True
        return json.dumps(record, ensure_ascii=False)


class ShardWriter:
    """Writes the documents of one split, in shards of about `SHARD_BYTES`.

    A shard is larger only where one text is: its parts stay together.

    Args:
        folder: The split's folder; made with the first document.
    """

    def __init__(self, folder: Path) -> None:
        self.documents = 0
        self.characters = 0
        self.bytes = 0
        self._folder = folder
        self._shards = 0
        self._shard: BinaryIO | None = None
        self._within_text = False

    def write(self, document: Document) -> None:
        """Appends a document; one that continues counts with its last part."""
        line = document.to_json().encode() + b"\n"
        self._shard_for(line).write(line)
        self._within_text = document.continues
        self.documents += not document.continues
        self.characters += len(document.text)
        self.bytes += len(document.text.encode())

    def close(self) -> None:
        if self._shard:
            self._shard.close()

    def _shard_for(self, line: bytes) -> BinaryIO:
        shard = self._shard
        if shard and (
            self._within_text or shard.tell() + len(line) <= SHARD_BYTES
        ):
            return shard
        self.close()
        self._folder.mkdir(exist_ok=True)
        self._shard = (self._folder / f"{self._shards:05d}.jsonl").open("wb")
        self._shards += 1
        return self._shard


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
        InputError: A line is not a document; the message names file and line.
    """
    shards = sorted((corpus / split).glob("*.jsonl"))
    if not shards:
        raise InputError(f"{corpus} has no {split} split.")
    for shard in shards:
        with shard.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield _parse(line, f"{shard}, line {number}")


def _parse(line: bytes, where: str) -> Document:
    try:
        return Document(**json.loads(line.decode()))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{where}: expected a JSON document with id, text and source. "
            f"Received: {line[:60].decode(errors='replace')!r} ({error})"
        ) from error
