"""The tokenizer of KerasHub models made by this package."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras_hub
import numpy as np
from keras_hub.src.utils import tensor_utils

from keras_llm.errors import InputError
from keras_llm.quiet import quiet_native_code
from keras_llm.registration import register
from keras_llm.tokenizers.control import END, MASK, PAD, UNK
from keras_llm.tokenizers.processor import (
    AFTER_SPACE,
    FIRST_CHARACTER,
    after_space,
    digest_of_pieces,
    end_token,
    model_path,
    processor_of,
)
from keras_llm.tokenizers.published import Published


@register
class ScratchTokenizer(Published, keras_hub.tokenizers.SentencePieceTokenizer):
    """SentencePiece tokenizer whose start token is mostly its end token.

    Ids are the same in Python and in a TensorFlow graph, and typed control
    tokens are plain text on both. Detokenizing gives the text back byte for
    byte, with these exceptions, which SentencePiece does not represent:

    - U+2581 (`▁`), SentencePiece's own mark of a space, comes back as a space.
    - A `"char"` or `"word"` model has no bytes to fall back on: what it did
      not see in training is one unknown token and comes back as `" ⁇ "`. It
      can never learn NUL and U+2585.
    - In a graph, a `"word"` model loses the spaces that a text begins with,
      and puts one after the line ends that it begins with (TensorFlow Text
      has an older SentencePiece inside).

    A model trained elsewhere keeps its own names: its eos piece is the start
    and end token, its pad piece (or else the unknown one) the pad token.

    Args:
        proto: bytes of a SentencePiece model, or a path to one.
        start_token: str. The piece before a text, where it is not the end
            token (`"<s>"` of Llama 2).
        end_tokens: list of str. Pieces that end an answer besides the end
            token.
        add_prefix_space: bool. Whether a text that does not begin with a
            space gets one, which detokenizing takes away.
        published: dict. What a Hugging Face folder says besides; see
            `published`.
        **kwargs: forwarded to `keras_hub.tokenizers.SentencePieceTokenizer`.

    Call arguments:
        inputs: str, or a list or string tensor `(batch,)` of them.

    Returns:
        int32 ids `(length,)`; for a batch, ragged `(batch, length)`.
    """

    def __init__(
        self,
        proto=None,
        start_token: str | None = None,
        end_tokens: Sequence[str] = (),
        add_prefix_space: bool = False,
        published: Mapping[str, Any] | None = None,
        **kwargs,
    ):
        self._given_start = start_token
        self._more_ends = tuple(end_tokens)
        self.add_prefix_space = add_prefix_space
        self._published = dict(published or {})
        self._add_special_token(END, "start_token")
        self._add_special_token(END, "end_token")
        self._add_special_token(PAD, "pad_token")
        self._add_special_token(UNK, "unk_token")
        super().__init__(proto=proto, **kwargs)

    @classmethod
    def from_file(cls, path: Path | str, **kwargs) -> "ScratchTokenizer":
        """Loads a tokenizer folder or a SentencePiece `.model` file.

        Args:
            path: The folder or file.
            **kwargs: forwarded to the constructor.

        Raises:
            InputError: Neither is there, or it is no SentencePiece model.
        """
        file = model_path(Path(path))
        proto = file.read_bytes()
        processor_of(proto, file)  # says what is wrong with it
        return cls(proto=proto, **kwargs)

    def _set_proto_tf(self, proto):
        with quiet_native_code():
            super()._set_proto_tf(proto)
        from keras_llm.tokenizers.sentence_piece_lifetime import (
            outlive_kernels,
        )

        outlive_kernels(self, proto)

    def _update_special_token_ids(self):
        processor = self._sentence_piece_spm
        end = end_token(processor) or END
        pad = processor.pad_id()
        self.start_token = self._given_start or end
        self.end_token = end
        self.unk_token = processor.id_to_piece(processor.unk_id())
        # Not the end token: KerasHub stops where it sees one.
        self.pad_token = processor.id_to_piece(pad) if pad >= 0 else ""
        if self.pad_token in ("", end, *self._more_ends):
            self.pad_token = self.unk_token
        super()._update_special_token_ids()
        vocabulary = self.get_vocabulary()
        for token in self._more_ends:
            if token not in vocabulary:
                raise InputError(
                    f"end_tokens has {token!r}, which is no piece of the "
                    "SentencePiece model."
                )

    def tokenize(self, inputs):
        """Ids of one text or of several; see the class."""
        if self.add_prefix_space:
            inputs = self._after_space(inputs)
        return super().tokenize(inputs)

    def detokenize(self, inputs):
        """The text of ids, of which control tokens are no part.

        Args:
            inputs: list or int tensor `(length,)`, or a list or ragged tensor
                `(batch, length)` of them.

        Returns:
            str, or a list of them; in a graph a string tensor.
        """
        is_row = isinstance(inputs, list) and (
            not inputs or isinstance(inputs[0], int)
        )
        if is_row and not self._use_tf_workflow():
            self._check_vocabulary()
            # KerasHub makes a batch of it, which starts threads: 2 ms.
            texts = self._sentence_piece_spm.decode(inputs)
        else:
            texts = super().detokenize(inputs)
        if not self.add_prefix_space:
            return texts
        if self._use_tf_workflow():
            return tensor_utils.tf.strings.regex_replace(texts, "\\A ", "")
        if isinstance(texts, str):
            return texts.removeprefix(" ")
        return [text.removeprefix(" ") for text in texts]

    def _after_space(self, inputs):
        if self._use_tf_workflow():
            texts = tensor_utils.tf.convert_to_tensor(inputs)
            return tensor_utils.tf.strings.regex_replace(
                texts, FIRST_CHARACTER, AFTER_SPACE
            )
        texts = np.asarray(inputs, object)
        begun = [
            after_space(x.decode() if isinstance(x, bytes) else x)
            for x in texts.ravel()
        ]
        return begun if texts.ndim else begun[0]

    @property
    def end_token_ids(self) -> tuple[int, ...]:
        """Of all tokens that end an answer; the end token is the first."""
        tokens = (self.end_token, *self._more_ends)
        return tuple(dict.fromkeys(self.token_to_id(name) for name in tokens))

    def get_config(self):
        config = super().get_config()
        # Left out of presets of models trained here, which have none.
        if self._given_start:
            config["start_token"] = self._given_start
        if self._more_ends:
            config["end_tokens"] = list(self._more_ends)
        if self.add_prefix_space:
            config["add_prefix_space"] = True
        if self._published:
            config["published"] = self.published
        return config

    def _own_names(self):
        names = {
            "bos_token": self.start_token,
            "eos_token": self.end_token,
            "unk_token": self.unk_token,
        }
        if self._sentence_piece_spm.pad_id() < 0:
            return names
        return names | {"pad_token": self.pad_token}

    @property
    def sha256(self) -> str:
        """Of all that decides the ids of a corpus."""
        return digest_of_pieces(self.proto, self.add_prefix_space)

    @property
    def mask_token_id(self) -> int | None:
        """Of the token in place of one that is to be told, if there is one."""
        return self.control_tokens.get(MASK)

    @property
    def control_tokens(self) -> dict[str, int]:
        """Ids that typed text can never produce, by the names they have."""
        processor = self._sentence_piece_spm
        return {
            processor.id_to_piece(index): index
            for index in range(processor.vocab_size())
            if processor.is_control(index)
        }
