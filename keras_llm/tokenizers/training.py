"""Trains a SentencePiece model on the train split, or takes a given one."""

import hashlib
import io
import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from keras_llm.artifacts import read_artifact
from keras_llm.corpus.documents import read_documents, splits_of
from keras_llm.errors import InputError
from keras_llm.files import written_beside
from keras_llm.recipes.settings import TokenizerSettings
from keras_llm.tokenizers.options import trainer_options, without_paths
from keras_llm.tokenizers.processor import (
    MODEL_NAME,
    cut_at_lines,
    cuts_at_lines,
    encode_texts,
    load_processor,
    model_path,
)

REPORT_NAME = "report.json"
TRAINING_BYTES = 100_000_000
MEASURED_CHARACTERS = 1_000_000
LONGEST_PIECE = 16_384

# SentencePiece leaves out every text that holds one of these.
RESERVED = re.compile("[\0\u2585]")


@dataclass(frozen=True)
class TokenizerReport:
    """What a tokenizer is, and how it does on text it was not trained on.

    Measured on up to a million characters of the validation split, or of the
    train split where there is no other.

    Args:
        model_type: `"unigram"`, `"bpe"`, `"char"`, `"word"`, or `"given"`.
        vocabulary_size: Number of tokens, control tokens included.
        bytes_per_token: UTF-8 bytes of text a token.
        tokens_per_document: Tokens a document.
        unknown_share: Share of tokens that are the unknown token.
        sha256: Of the SentencePiece model.
        seconds: Time taken.
    """

    model_type: str
    vocabulary_size: int
    bytes_per_token: float
    tokens_per_document: float
    unknown_share: float
    sha256: str
    seconds: float

    def save(self, folder: Path) -> None:
        text = json.dumps(asdict(self), indent=2)
        (folder / REPORT_NAME).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "TokenizerReport":
        """Reads the report of a tokenizer folder.

        Raises:
            InputError: It is damaged.
        """
        what = "the report of a tokenizer"
        return read_artifact(folder / REPORT_NAME, cls, what)


def train_tokenizer(
    corpus: Path, out: Path, settings: TokenizerSettings
) -> TokenizerReport:
    """Writes `tokenizer.model` and `report.json`.

    The same corpus and settings give the same bytes of the model, on any
    number of cores.

    Args:
        corpus: A corpus folder, of which the train split is read.
        out: Folder to write.
        settings: Which model is trained, or taken.

    Returns:
        The report.

    Raises:
        InputError: A vocabulary that the text does not support, no text, or
            a given model that cannot be used.
    """
    started = time.monotonic()
    splits = splits_of(corpus)
    with written_beside(out) as folder:
        if settings.model_path:
            load_processor(Path(settings.model_path))
            model = model_path(Path(settings.model_path)).read_bytes()
        else:
            model = _train(corpus, settings)
        (folder / MODEL_NAME).write_bytes(model)
        split = "validation" if "validation" in splits else "train"
        report = TokenizerReport(
            model_type="given" if settings.model_path else settings.model_type,
            **_measure(load_processor(folder), corpus, split),
            sha256=hashlib.sha256(model).hexdigest(),
            seconds=round(time.monotonic() - started, 2),
        )
        report.save(folder)
    return report


def _train(corpus: Path, settings: TokenizerSettings) -> bytes:
    feed = _Feed(corpus)
    model = io.BytesIO()
    try:
        with trainer_options(settings) as options:
            SentencePieceTrainer.train(
                sentence_iterator=iter(feed), model_writer=model, **options
            )
    except RuntimeError as error:
        if feed.error is not None:
            raise feed.error from None
        raise _explained(error, settings, feed) from error
    return without_paths(model.getvalue())


class _Feed:
    """Streams the train split to SentencePiece and counts what it gave.

    Of text beyond `TRAINING_BYTES` every k-th piece is given.
    """

    def __init__(self, corpus: Path):
        self._corpus = corpus
        shards = (corpus / "train").glob("*.jsonl")
        size = sum(shard.stat().st_size for shard in shards)
        self._every = max(1, -(-size // TRAINING_BYTES))
        self.characters = 0
        self.alphabet: set[str] = set()
        # SentencePiece turns what is raised in here into a RuntimeError.
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            for piece in islice(self._pieces(), 0, None, self._every):
                self.characters += len(piece)
                self.alphabet.update(piece)
                yield from filter(None, RESERVED.split(piece))
        except BaseException as error:
            self.error = error
            raise

    def _pieces(self) -> Iterator[str]:
        for document in read_documents(self._corpus, "train"):
            for piece in cut_at_lines(document.text):
                for start in range(0, len(piece), LONGEST_PIECE):
                    yield piece[start : start + LONGEST_PIECE]


def _explained(
    error: RuntimeError, settings: TokenizerSettings, feed: _Feed
) -> Exception:
    """The user's error behind SentencePiece's, or SentencePiece's."""
    if "!sentences_.empty()" in str(error):
        return InputError("The train split has no text to train on. Add text.")
    size = f"vocabulary_size is {settings.vocabulary_size}, but "
    counted = f"{feed.characters:,} characters, {len(feed.alphabet):,} distinct"
    if most := re.search(r"set it to a value <= (\d+)", str(error)):
        return InputError(
            f"{size}this text supports at most {most[1]} pieces ({counted}). "
            f"Pass --tokenizer.vocabulary_size {most[1]} or less, or add text."
        )
    if least := re.search(r"required_chars\. \d+ vs (\d+)", str(error)):
        return InputError(
            f"{size}a {settings.model_type} model of this text needs at least "
            f"{least[1]} pieces: 256 bytes, the control tokens and the "
            f"alphabet ({counted}). Pass --tokenizer.vocabulary_size "
            f"{least[1]} or more, or --tokenizer.model_type char."
        )
    return error


def _measure(
    processor: SentencePieceProcessor, corpus: Path, split: str
) -> dict[str, int | float]:
    cuts = cuts_at_lines(processor)
    left, size, documents, tokens, unknown = MEASURED_CHARACTERS, 0, 0, 0, 0
    for document in read_documents(corpus, split):
        text = document.text[:left]
        pieces = cut_at_lines(text) if cuts else [text]
        for ids in encode_texts(processor, pieces):
            tokens += len(ids)
            unknown += int((ids == processor.unk_id()).sum())
        size += len(text.encode())
        documents += 1
        left -= len(text)
        if left == 0:
            break
    return {
        "vocabulary_size": processor.vocab_size(),
        "bytes_per_token": round(size / max(tokens, 1), 3),
        "tokens_per_document": round(tokens / max(documents, 1), 1),
        "unknown_share": round(unknown / max(tokens, 1), 6),
    }
