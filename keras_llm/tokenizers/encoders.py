"""Tokenizers as corpora are encoded: many texts to ids, without KerasHub."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from keras_llm.artifacts import from_record, picked, read_object
from keras_llm.errors import InputError
from keras_llm.tokenizers.byte_pair_files import (
    BytePairVocabulary,
    digest_of,
    from_keras_hub,
    read_files,
)
from keras_llm.tokenizers.byte_pair_rules import Rule
from keras_llm.tokenizers.processor import (
    after_space,
    cuts_at_lines,
    digest_of_pieces,
    encode_texts,
    end_token,
    load_processor,
    model_path,
)

T = TypeVar("T")
BYTE_PAIRS = "ScratchBytePairTokenizer"
ASSETS = Path("assets") / "tokenizer"
# Characters; TensorFlow holds some forty bytes for each while it splits text.
AT_A_TIME = 1_000_000


@dataclass(frozen=True)
class SavedPieces:
    """What a preset's `tokenizer.json` says of a SentencePiece tokenizer."""

    add_prefix_space: bool | None = None


@dataclass(frozen=True)
class SavedPairs:
    """What it says of a byte-pair tokenizer of ours; see there."""

    split: str
    normalization: str | None
    whole_words: bool
    add_prefix_space: bool
    control_tokens: dict[str, int]
    added_tokens: dict[str, int]
    start_token_id: int | None
    end_token_ids: tuple[int, ...]


class TextEncoder(Protocol):
    """What encodes a corpus.

    Attributes:
        vocabulary_size: int.
        end_token_id: int. Of the token after every document.
        cuts_at_lines: bool. Whether encoding line by line gives the ids of
            encoding all at once.
        sha256: str. Of all that decides the ids.
    """

    vocabulary_size: int
    end_token_id: int
    cuts_at_lines: bool
    sha256: str

    def encode(
        self, texts: Iterable[str], threads: int | None = None
    ) -> list[np.ndarray]:
        """Int32 ids of each text, encoded on so many cores, or all."""


class SentencePieceEncoder:
    """A SentencePiece model; see `TextEncoder`.

    Args:
        path: A tokenizer folder, or the model's file.
        add_prefix_space: bool. Whether texts that do not begin with a space
            get one.

    Raises:
        InputError: No such model, or one without an end token.
    """

    def __init__(self, path: Path, add_prefix_space: bool = False):
        self._add_prefix_space = add_prefix_space
        self._processor = load_processor(path)
        self.vocabulary_size = self._processor.vocab_size()
        end = end_token(self._processor)
        self.end_token_id = self._processor.piece_to_id(end)
        self.cuts_at_lines = not add_prefix_space and cuts_at_lines(
            self._processor
        )
        data = model_path(path).read_bytes()
        self.sha256 = digest_of_pieces(data, add_prefix_space)

    def encode(self, texts, threads=None):
        if self._add_prefix_space:
            texts = map(after_space, texts)
        return encode_texts(self._processor, texts, threads)


class BytePairEncoder:
    """A byte-pair tokenizer, of which TensorFlow uses all cores.

    Args:
        parts: All of it, with an end token.
    """

    cuts_at_lines = False

    def __init__(self, parts: BytePairVocabulary):
        from keras_llm.tokenizers.byte_pair import ExactBytePairTokenizer

        self._exact = ExactBytePairTokenizer(parts)
        self.vocabulary_size = parts.size
        self.end_token_id = parts.end_token_ids[0]
        self.sha256 = digest_of(parts)

    def encode(self, texts, threads=None):
        rows = []
        for some in _groups(texts):
            ids = self._exact.tokenize(some)
            borders = ids.row_splits.numpy()[1:-1]
            rows += np.split(ids.flat_values.numpy(), borders)
        return rows


def load_encoder(path: Path) -> TextEncoder:
    """The encoder of a tokenizer.

    Args:
        path: A tokenizer folder, a SentencePiece `.model` file, or a preset
            of a model of this package or of KerasHub.

    Raises:
        InputError: None of these.
    """
    path = Path(path)
    config = path / "tokenizer.json"
    if (path / ASSETS / "vocabulary.spm").is_file():
        prefix = _settings(SavedPieces, config).add_prefix_space or False
        return SentencePieceEncoder(path / ASSETS / "vocabulary.spm", prefix)
    if (path / ASSETS).is_dir() and config.is_file():
        return BytePairEncoder(_byte_pairs(path, config))
    return SentencePieceEncoder(path)


def _byte_pairs(preset: Path, config: Path) -> BytePairVocabulary:
    """What the preset's tokenizer is made of, as KerasHub has saved it."""
    kind = read_object(config).get("class_name")
    if kind != BYTE_PAIRS:
        return _byte_pairs_of_keras_hub(preset, kind)
    saved = _settings(SavedPairs, config)
    folder = preset / ASSETS
    tokens, merges = read_files(
        folder / "vocabulary.json", folder / "merges.txt"
    )
    return BytePairVocabulary(
        tokens,
        merges,
        Rule(
            saved.split,
            saved.normalization,
            saved.whole_words,
            saved.add_prefix_space,
        ),
        saved.control_tokens,
        saved.added_tokens,
        saved.start_token_id,
        saved.end_token_ids,
    )


def _settings(kind: type[T], config: Path) -> T:
    """The settings in a preset's `tokenizer.json`, as KerasHub saves them."""
    try:
        settings = from_record(dict, read_object(config).get("config"))
        return picked(kind, settings, "config")
    except ValueError as error:
        raise InputError(f"{config} cannot be read: {error}") from error


def _byte_pairs_of_keras_hub(preset: Path, name: str) -> BytePairVocabulary:
    import keras_hub

    kind = getattr(keras_hub.tokenizers, str(name).split(">")[-1], type)
    if not issubclass(kind, keras_hub.tokenizers.BytePairTokenizer):
        raise InputError(
            f"{preset} has a {name}, which does not encode corpora. Pass a "
            "preset with byte pairs or SentencePiece, or a SentencePiece "
            ".model file."
        )
    return from_keras_hub(kind.from_preset(str(preset)))


def _groups(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts, a bounded number of characters (or one text) at a time."""
    group, characters = [], 0
    for text in texts:
        if group and characters + len(text) > AT_A_TIME:
            yield group
            group, characters = [], 0
        group.append(text)
        characters += len(text)
    if group:
        yield group
