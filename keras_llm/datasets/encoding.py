"""Encodes a corpus into token shards, a bounded amount at a time."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from sentencepiece import SentencePieceProcessor

from keras_llm.corpus.documents import Document, read_documents, splits_of
from keras_llm.datasets.tokens import (
    Shard,
    SplitTokens,
    TokenManifest,
)
from keras_llm.files import written_beside
from keras_llm.tokenizers.processor import (
    cut_at_lines,
    cuts_at_lines,
    encode_texts,
    end_token,
    load_processor,
    model_path,
)

BATCH_CHARACTERS = 4_000_000
SHARD_TOKENS = 100_000_000

Progress = Callable[[int], None]


def encode(
    corpus: Path, tokenizer: Path, out: Path, progress: Progress | None = None
) -> TokenManifest:
    """Writes the token ids of every split, on all cores.

    Every document is followed by the end token. Memory grows neither with
    the corpus nor with the number of its documents.

    Args:
        corpus: A corpus folder.
        tokenizer: A tokenizer folder, or a SentencePiece `.model` file.
        out: Folder to write.
        progress: Called after each batch with the UTF-8 bytes of text in it.

    Returns:
        The manifest.

    Raises:
        InputError: No corpus, or no tokenizer.
    """
    processor = load_processor(tokenizer)
    model = model_path(tokenizer).read_bytes()
    dtype = token_dtype(processor.vocab_size())
    encoder = _Encoder(processor)
    splits = {}
    with written_beside(out) as folder:
        for split in splits_of(corpus):
            writer = _ShardWriter(folder / split, dtype)
            documents = read_documents(corpus, split)
            splits[split] = encoder.encode(documents, writer, progress)
        manifest = TokenManifest(
            dtype=dtype.name,
            vocabulary_size=processor.vocab_size(),
            end_token_id=encoder.end_token_id,
            tokenizer_sha256=hashlib.sha256(model).hexdigest(),
            splits=splits,
        )
        manifest.save(folder)
    return manifest


def token_dtype(vocabulary_size: int) -> np.dtype:
    """The smallest dtype for ids: uint16, uint32 from 65,536 tokens on."""
    return np.dtype("<u2" if vocabulary_size < 1 << 16 else "<u4")


class _Encoder:
    """Documents to ids. A piece of text that is `None` is a document's end."""

    def __init__(self, processor: SentencePieceProcessor):
        self._processor = processor
        self._cuts = cuts_at_lines(processor)
        self.end_token_id = processor.piece_to_id(end_token(processor))

    def encode(
        self,
        documents: Iterable[Document],
        writer: "_ShardWriter",
        progress: Progress | None,
    ) -> SplitTokens:
        text_bytes = count = 0
        for batch in _batches(self._pieces(documents)):
            writer.write(self._ids(batch))
            size = sum(len(piece.encode()) for piece in batch if piece)
            text_bytes += size
            count += batch.count(None)
            if progress is not None:
                progress(size)
        shards = writer.close()
        tokens = sum(shard.tokens for shard in shards)
        return SplitTokens(shards, tokens, count, text_bytes)

    def _pieces(self, documents: Iterable[Document]) -> Iterator[str | None]:
        for document in documents:
            if self._cuts:
                yield from cut_at_lines(document.text)
            else:
                yield document.text
            if not document.continues:
                yield None

    def _ids(self, batch: list[str | None]) -> np.ndarray:
        end = np.array([self.end_token_id], np.int32)
        texts = [piece for piece in batch if piece is not None]
        encoded = iter(encode_texts(self._processor, texts))
        return np.concatenate(
            [end if piece is None else next(encoded) for piece in batch]
        )


def _batches(pieces: Iterable[str | None]) -> Iterator[list[str | None]]:
    batch, characters = [], 0
    for piece in pieces:
        batch.append(piece)
        characters += 1 if piece is None else len(piece)
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


class _ShardWriter:
    """Writes ids to `00000.bin`, `00001.bin`, … of at most `SHARD_TOKENS`."""

    def __init__(self, folder: Path, dtype: np.dtype):
        self._folder = folder
        self._dtype = dtype
        self._shards: list[Shard] = []
        self._file = None
        folder.mkdir()

    def write(self, ids: np.ndarray) -> None:
        while len(ids):
            if self._file is None:
                self._open()
            room = SHARD_TOKENS - self._tokens
            part, ids = ids[:room].astype(self._dtype).tobytes(), ids[room:]
            self._file.write(part)
            self._hash.update(part)
            self._tokens += len(part) // self._dtype.itemsize
            if self._tokens == SHARD_TOKENS:
                self._finish()

    def close(self) -> tuple[Shard, ...]:
        if self._file is not None:
            self._finish()
        return tuple(self._shards)

    def _open(self) -> None:
        self._name = f"{len(self._shards):05d}.bin"
        self._file = (self._folder / self._name).open("wb")
        self._hash = hashlib.sha256()
        self._tokens = 0

    def _finish(self) -> None:
        self._file.close()
        self._file = None
        size = self._tokens * self._dtype.itemsize
        digest = self._hash.hexdigest()
        self._shards.append(Shard(self._name, self._tokens, size, digest))
