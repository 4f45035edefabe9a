"""A shard of documents to a shard of tokens: one task of `encode`."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from keras_llm.corpus.documents import Document, read_shard
from keras_llm.executors import advance
from keras_llm.files import MADE, write_text
from keras_llm.tokenizers.encoders import TextEncoder, load_encoder
from keras_llm.tokenizers.processor import cut_at_lines

BATCH_CHARACTERS = 4_000_000


@dataclass(frozen=True)
class Source:
    """A shard of the corpus, and the shard of tokens that is made of it."""

    split: str
    name: str
    out: str


@dataclass(frozen=True)
class Count:
    """What a task has written."""

    tokens: int
    bytes: int
    sha256: str
    documents: int
    text_bytes: int


def count_path(work: Path, rank: int) -> Path:
    """The file of a task's `Count`."""
    return work / "counts" / f"{rank:05d}.json"


class EncodeShard(PipelineStep):
    """Encodes the shard that a task's rank names, in batches.

    Args:
        corpus: The corpus folder.
        sources: Of all tasks.
        tokenizer: Its path.
        work: Folder of all tasks.
        dtype: Of the ids.
        threads: How many encode.
    """

    type, name = "tokenizer", "shard"

    def __init__(
        self,
        corpus: Path,
        sources: list[Source],
        tokenizer: Path,
        work: Path,
        dtype: np.dtype,
        threads: int,
    ):
        super().__init__()
        self.corpus = corpus
        self.sources = sources
        self.tokenizer = tokenizer
        self.work = work
        self.dtype = dtype
        self.threads = threads

    def run(
        self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1
    ) -> DocumentsPipeline:
        source = self.sources[rank]
        documents = read_shard(self.corpus / source.split / source.name)
        partial = self.work / "partial" / f"{rank:05d}-{uuid4().hex}"
        for folder in (partial.parent, self.work / "counts"):
            folder.mkdir(exist_ok=True)
        count = self._encode(documents, partial)
        out = self.work / MADE / source.split / source.out
        out.parent.mkdir(parents=True, exist_ok=True)
        if count.tokens:
            partial.replace(out)
        write_text(count_path(self.work, rank), json.dumps(asdict(count)))
        return ()

    def _encode(self, documents: Iterable[Document], path: Path) -> Count:
        encoder = _Encoder(load_encoder(self.tokenizer), self.threads)
        digest = hashlib.sha256()
        size = ends = text_bytes = 0
        with path.open("wb") as file:
            for batch in encoder.batches(documents):
                ids = encoder.ids(batch).astype(self.dtype).tobytes()
                file.write(ids)
                digest.update(ids)
                size += len(ids)
                ends += batch.count(None)
                read = sum(len(piece.encode()) for piece in batch if piece)
                text_bytes += read
                advance(read)
        tokens = size // self.dtype.itemsize
        return Count(tokens, size, digest.hexdigest(), ends, text_bytes)


class _Encoder:
    """Documents to ids. A piece of text that is `None` is a document's end."""

    def __init__(self, encoder: TextEncoder, threads: int):
        self._encoder = encoder
        self._threads = threads
        self._cuts = encoder.cuts_at_lines
        self._end = np.array([encoder.end_token_id], np.int32)

    def batches(
        self, documents: Iterable[Document]
    ) -> Iterator[list[str | None]]:
        """Pieces, a bounded number of characters at a time."""
        batch, characters = [], 0
        for piece in self._pieces(documents):
            batch.append(piece)
            characters += 1 if piece is None else len(piece)
            if characters >= BATCH_CHARACTERS:
                yield batch
                batch, characters = [], 0
        if batch:
            yield batch

    def _pieces(self, documents: Iterable[Document]) -> Iterator[str | None]:
        for document in documents:
            if self._cuts:
                yield from cut_at_lines(document.text)
            else:
                yield document.text
            yield None

    def ids(self, batch: list[str | None]) -> np.ndarray:
        """The ids of a batch, int32."""
        texts = [piece for piece in batch if piece is not None]
        encoded = iter(self._encoder.encode(texts, self._threads))
        return np.concatenate(
            [self._end if piece is None else next(encoded) for piece in batch]
        )
