"""Encodes a corpus into token shards: one task a shard, some memory each."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_llm.artifacts import read_artifact
from keras_llm.corpus.documents import shards_of, splits_of
from keras_llm.datasets.shard_encoding import (
    Count,
    EncodeShard,
    Source,
    count_path,
)
from keras_llm.datasets.tokens import (
    FORMAT_VERSION,
    Shard,
    SplitTokens,
    TokenManifest,
)
from keras_llm.executors import (
    check_executor,
    run_tasks,
    usable_cores,
)
from keras_llm.files import MADE, check_free, resumable_work
from keras_llm.recipes.corpus_settings import ExecutionSettings
from keras_llm.tokenizers.encoders import load_encoder

# Of JSONL. Less is done on all cores by the time that processes have started.
WORTH_PROCESSES = 32 * 2**20

Progress = Callable[[int], None]


def encode(
    corpus: Path,
    tokenizer: Path,
    out: Path,
    progress: Progress | None = None,
    execution: ExecutionSettings | None = None,
) -> TokenManifest:
    """Writes the token ids of every split: a shard for each of the corpus.

    Every document is followed by the end token. Memory grows neither with
    the corpus nor with the number of its documents. An interrupted call
    leaves a hidden folder beside `out`, and the next goes on from there.

    Args:
        corpus: A corpus folder.
        tokenizer: A tokenizer folder, a SentencePiece `.model` file, or a
            preset, whose tokenizer is taken.
        out: Folder to write; the same bytes wherever tasks run.
        progress: Called now and then with the UTF-8 bytes of text encoded so
            far.
        execution: Where tasks run; on this machine's cores if omitted.

    Returns:
        The manifest.

    Raises:
        InputError: No corpus, or no tokenizer, or `out` is not free.
        Interrupted: A worker died, or `out` cannot be written; the same call
            goes on from there.
    """
    corpus, out = Path(corpus).absolute(), Path(out).absolute()
    check_free(out)
    execution = execution or ExecutionSettings()
    check_executor(execution, out)
    tokenizer = Path(tokenizer).absolute()
    encoder = load_encoder(tokenizer)
    sources = _sources(corpus)
    digest = encoder.sha256
    with resumable_work(out, _key(corpus, sources, digest)) as work:
        dtype = token_dtype(encoder.vocabulary_size)
        execution = _suited(execution, corpus, sources)
        threads = _threads(execution, len(sources))
        step = EncodeShard(corpus, sources, tokenizer, work, dtype, threads)
        run_tasks([step], len(sources), work / "stage", execution, progress)
        manifest = TokenManifest(
            dtype=dtype.name,
            vocabulary_size=encoder.vocabulary_size,
            end_token_id=encoder.end_token_id,
            tokenizer_sha256=digest,
            splits=_splits(work, sources),
        )
        manifest.save(work / MADE)
    return manifest


def token_dtype(vocabulary_size: int) -> np.dtype:
    """The smallest dtype for ids: uint16, uint32 from 65,536 tokens on."""
    return np.dtype("<u2" if vocabulary_size < 1 << 16 else "<u4")


def _sources(corpus: Path) -> list[Source]:
    """What each task encodes, in the order of splits and shards."""
    return [
        Source(split, shard.name, f"{number:05d}.bin")
        for split in splits_of(corpus)
        for number, shard in enumerate(shards_of(corpus, split))
    ]


def _key(corpus: Path, sources: list[Source], tokenizer: str) -> str:
    """Changes with whatever decides what tasks write."""
    digest = hashlib.sha256(f"{FORMAT_VERSION} {tokenizer}".encode())
    for source in sources:
        found = (corpus / source.split / source.name).stat()
        entry = (source, found.st_size, found.st_mtime_ns)
        digest.update(repr(entry).encode())
    return digest.hexdigest()


def _suited(
    execution: ExecutionSettings, corpus: Path, sources: list[Source]
) -> ExecutionSettings:
    """The settings, without processes where they are not worth it."""
    sizes = (
        (corpus / source.split / source.name).stat().st_size
        for source in sources
    )
    if execution.executor == "local" and sum(sizes) < WORTH_PROCESSES:
        return replace(execution, workers=1)
    return execution


def _threads(execution: ExecutionSettings, tasks: int) -> int:
    """Threads a task: a cluster gives it one core."""
    if execution.executor != "local":
        return 1
    cores = usable_cores()
    return max(1, cores // min(execution.workers or cores, tasks))


def _splits(work: Path, sources: list[Source]) -> dict[str, SplitTokens]:
    """The splits, put together from what each task has counted."""
    shards: dict[str, list[Shard]] = {}
    totals: dict[str, Counter] = {}
    for rank, source in enumerate(sources):
        what = "what a task has counted"
        count = read_artifact(count_path(work, rank), Count, what)
        total = totals.setdefault(source.split, Counter())
        total["documents"] += count.documents
        total["text_bytes"] += count.text_bytes
        if count.tokens:  # an empty file cannot be mapped into memory
            total["tokens"] += count.tokens
            shards.setdefault(source.split, []).append(
                Shard(source.out, count.tokens, count.bytes, count.sha256)
            )
    return {
        split: SplitTokens(shards=tuple(shards[split]), **totals[split])
        for split in shards
    }
