"""The tokenizer of imported models that were trained with byte pairs."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras_hub
import numpy as np
from keras_hub.src.utils import tensor_utils

from keras_llm.errors import InputError
from keras_llm.registration import register
from keras_llm.tokenizers.byte_pair_files import (
    BytePairVocabulary,
    digest_of,
    read_files,
    write_files,
)
from keras_llm.tokenizers.byte_pair_rules import Rule
from keras_llm.tokenizers.published import Published

VOCABULARY_NAME = "vocabulary.json"
MERGES_NAME = "merges.txt"


@register
class ScratchBytePairTokenizer(Published, keras_hub.tokenizers.Tokenizer):
    """A published byte-pair tokenizer, exact in Python and in a graph.

    Ids are those of Hugging Face `tokenizers`; see `ExactBytePairTokenizer`.
    Typed control tokens are plain text, and leave no text when detokenized.
    Tokenizing needs TensorFlow; detokenizing does not.

    Args:
        vocabulary: dict of tokens, written as in GPT-2's files, to their ids.
            Loaded from a preset's assets if omitted, as `merges`.
        merges: list of pairs of tokens, best first.
        split: str. How text is split into words; see `Rule`, as for the next
            three.
        normalization: `"NFC"` or `None`.
        whole_words: bool.
        add_prefix_space: bool.
        control_tokens: dict of names to the ids that typed text never
            produces.
        added_tokens: dict of tokens to ids that are found in text before it
            is split.
        start_token_id: int put before a text, or `None` for none.
        end_token_ids: list of int, each of which ends an answer. The first
            one ends documents.
        pad_token_id: int, of no end token, where KerasHub stops; the lowest
            such id if omitted.
        published: dict. What a Hugging Face folder says besides; see
            `published`.
        **kwargs: forwarded to `keras_hub.tokenizers.Tokenizer`.

    Call arguments:
        inputs: str, or a list or string tensor `(batch,)` of them.

    Returns:
        int32 ids `(length,)`; for a batch, ragged `(batch, length)`.

    Raises:
        InputError: An unknown rule, merges of another vocabulary, or special
            tokens that it does not have.

    Example:
        >>> tokenizer = ScratchBytePairTokenizer(
        ...     {"h": 0, "i": 1, "hi": 2},
        ...     [("h", "i")],
        ...     control_tokens={"<|end|>": 3},
        ...     end_token_ids=[3],
        ... )
        >>> tokenizer.tokenize("hih").tolist()
        [2, 0]
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int] | None = None,
        merges: Sequence[tuple[str, str]] | None = None,
        split: str = "gpt2",
        normalization: str | None = None,
        whole_words: bool = False,
        add_prefix_space: bool = False,
        control_tokens: Mapping[str, int] | None = None,
        added_tokens: Mapping[str, int] | None = None,
        start_token_id: int | None = None,
        end_token_ids: Sequence[int] = (),
        pad_token_id: int | None = None,
        published: Mapping[str, Any] | None = None,
        **kwargs,
    ):
        kwargs.setdefault("dtype", "int32")
        super().__init__(**kwargs)
        self.file_assets = [VOCABULARY_NAME, MERGES_NAME]
        self._pad_token_id = pad_token_id
        self._published = dict(published or {})
        self._byte_pairs = BytePairVocabulary(
            {},
            [],
            Rule(split, normalization, whole_words, add_prefix_space),
            dict(control_tokens or {}),
            dict(added_tokens or {}),
            start_token_id,
            tuple(end_token_ids),
        )
        if vocabulary is not None:
            self._set_files(vocabulary, merges or [])

    @classmethod
    def from_vocabulary(
        cls, vocabulary: BytePairVocabulary, **kwargs
    ) -> "ScratchBytePairTokenizer":
        """The tokenizer of what `byte_pair_files` reads.

        Args:
            vocabulary: All of it; `dataclasses.replace` sets what its file
                did not say.
            **kwargs: forwarded to the constructor.
        """
        kwargs = _settings_of(vocabulary) | kwargs
        return cls(vocabulary.tokens, vocabulary.merges, **kwargs)

    @property
    def byte_pairs(self) -> BytePairVocabulary:
        """All that the tokenizer is made of."""
        return self._byte_pairs

    @property
    def sha256(self) -> str:
        """Of all that decides the ids of a corpus."""
        return digest_of(self._byte_pairs)

    @property
    def control_tokens(self) -> dict[str, int]:
        """Ids that typed text can never produce, by the names they have."""
        return dict(self._byte_pairs.control_tokens)

    @property
    def start_token_id(self) -> int | None:
        """Of the token before a text, if there is one."""
        return self._byte_pairs.start_token_id

    @property
    def end_token_ids(self) -> tuple[int, ...]:
        """Of all tokens that end an answer."""
        return self._byte_pairs.end_token_ids

    @property
    def end_token_id(self) -> int | None:
        """Of the token that ends a document; `None` without a vocabulary."""
        return self.end_token_ids[0] if self.end_token_ids else None

    @property
    def pad_token_id(self) -> int | None:
        """Of the token that fills rows up."""
        if self._pad_token_id is not None or not self.end_token_ids:
            return self._pad_token_id
        return next(i for i in itertools.count() if i not in self.end_token_ids)

    @property
    def special_tokens(self) -> list[str]:
        """The names of the control tokens, as KerasHub calls them."""
        return list(self._byte_pairs.control_tokens)

    @property
    def special_token_ids(self) -> list[int]:
        """The ids of the control tokens."""
        return list(self._byte_pairs.control_tokens.values())

    def vocabulary_size(self) -> int:
        """One more than the highest id."""
        self._check_vocabulary()
        return self._byte_pairs.size

    def get_vocabulary(self) -> list[str]:
        """All tokens by their ids; `""` for ids that are unused."""
        self._check_vocabulary()
        return list(self._names)

    def id_to_token(self, id: int) -> str:
        """The token of an id, written as in GPT-2's files.

        Raises:
            InputError: There is no such id.
        """
        if not 0 <= id < self.vocabulary_size():
            raise InputError(
                f"id must be in [0, {self.vocabulary_size()}). Received: {id}"
            )
        return self._names[id]

    def token_to_id(self, token: str) -> int | None:
        """The id of a token, or `None`."""
        self._check_vocabulary()
        parts = self._byte_pairs
        for names in (parts.control_tokens, parts.added_tokens, parts.tokens):
            if token in names:
                return names[token]
        return None

    def tokenize(self, inputs):
        """Ids of one text or of several; see the class."""
        self._check_vocabulary()
        if self._use_tf_workflow():
            return self._exact.tokenize_any(inputs)
        if tensor_utils.tf is None:
            raise InputError(
                "A byte-pair tokenizer splits text with TensorFlow, which is "
                "not installed: pip install tensorflow"
            )
        rows = self._exact.tokenize_any(inputs)
        if rows.shape.rank == 1:
            return np.array(rows, "int32")
        return rows.to_list()

    def detokenize(self, inputs):
        """The text of ids, without control tokens.

        Args:
            inputs: list or int tensor `(length,)`, or a list or ragged tensor
                `(batch, length)` of them.

        Returns:
            str, or a list of them; in a graph a string tensor. U+FFFD stands
            for bytes that are no UTF-8.
        """
        self._check_vocabulary()
        if self._use_tf_workflow():
            ids, single, _ = tensor_utils.convert_to_ragged_batch(inputs)
            texts = self._exact.detokenize_shown(ids)
            return texts[0] if single else texts
        rows, batched = tensor_utils.canonicalize_python_inputs(inputs)
        table = self._shown_bytes
        texts = [
            b"".join(table.get(int(index), b"") for index in row)
            for row in rows
        ]
        texts = [text.decode("utf-8", errors="replace") for text in texts]
        return texts if batched else texts[0]

    def save_assets(self, dir_path: str) -> None:
        """Writes `vocabulary.json` and `merges.txt`."""
        self._check_vocabulary()
        folder = Path(dir_path)
        parts = self._byte_pairs
        write_files(parts, folder / VOCABULARY_NAME, folder / MERGES_NAME)

    def load_assets(self, dir_path: str) -> None:
        """Reads what `save_assets` has written."""
        folder = Path(dir_path)
        files = folder / VOCABULARY_NAME, folder / MERGES_NAME
        self._set_files(*read_files(*files))

    def get_config(self):
        config = super().get_config()
        settings = _settings_of(self._byte_pairs)
        settings["pad_token_id"] = self._pad_token_id
        if self._published:
            settings["published"] = self.published
        return config | settings

    def _own_names(self):
        ids = {
            "bos_token": self.start_token_id,
            "eos_token": self.end_token_id,
            "pad_token": self._pad_token_id,
        }
        # A token of text that has a role would be taken for special.
        names = {index: name for name, index in self.control_tokens.items()}
        return {
            kind: names[index] for kind, index in ids.items() if index in names
        }

    def _set_files(self, tokens, merges) -> None:
        parts = replace(
            self._byte_pairs, tokens=dict(tokens), merges=list(merges)
        )
        _check_special(parts, self._pad_token_id)
        self._byte_pairs = parts
        for name in ("_exact", "_names", "_shown_bytes"):
            self.__dict__.pop(name, None)

    def _check_vocabulary(self) -> None:
        if not self._byte_pairs.tokens:
            raise InputError(
                "The tokenizer has no vocabulary yet. Pass vocabulary and "
                "merges, or load a preset."
            )

    @functools.cached_property
    def _exact(self):
        # Not before it is needed: it takes TensorFlow, and a second.
        from keras_llm.tokenizers.byte_pair import outside_graphs

        return outside_graphs(self._byte_pairs)

    @functools.cached_property
    def _names(self) -> list[str]:
        parts = self._byte_pairs
        names = [""] * parts.size
        for part in (parts.tokens, parts.added_tokens, parts.control_tokens):
            for token, index in part.items():
                names[index] = token
        return names

    @functools.cached_property
    def _shown_bytes(self) -> dict[int, bytes]:
        hidden = set(self._byte_pairs.control_tokens.values())
        table = enumerate(self._byte_pairs.token_bytes())
        return {index: data for index, data in table if index not in hidden}


def _settings_of(vocabulary: BytePairVocabulary) -> dict:
    """The arguments of the constructor, but for the two files."""
    rule = vocabulary.rule
    return {
        "split": rule.split,
        "normalization": rule.normalization,
        "whole_words": rule.whole_words,
        "add_prefix_space": rule.add_prefix_space,
        "control_tokens": dict(vocabulary.control_tokens),
        "added_tokens": dict(vocabulary.added_tokens),
        "start_token_id": vocabulary.start_token_id,
        "end_token_ids": list(vocabulary.end_token_ids),
    }


def _check_special(parts: BytePairVocabulary, pad: int | None) -> None:
    if not parts.end_token_ids:
        raise InputError(
            "end_token_ids must name at least one token, which ends texts. "
            "Received: none"
        )
    named = {
        "start_token_id": parts.start_token_id,
        "end_token_ids": max(parts.end_token_ids),
        "pad_token_id": pad,
    }
    for name, index in named.items():
        if index is not None and not 0 <= index < parts.size:
            raise InputError(
                f"{name} must be an id of the vocabulary, below {parts.size}. "
                f"Received: {index}"
            )
    if pad in parts.end_token_ids:
        raise InputError(
            "pad_token_id must not be one of end_token_ids, for generating "
            f"stops at them. Received: {pad}"
        )
