"""Tokenizers inside the exported graph: text to ids and back."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from keras_llm.export.ragged import kept, places_in_rows
from keras_llm.quiet import quiet_native_code
from keras_llm.tokenizers.processor import (
    AFTER_SPACE,
    FIRST_CHARACTER,
    SPACE,
)
from keras_llm.tokenizers.word_pieces import (
    SUFFIX,
    ScratchWordPieceTokenizer,
)

ANY_CHARACTER = "\\A((?s:.))"
# Which texts cannot hold once their own are escaped.
BORDER = "\x01b"


class GraphTokenizer(Protocol):
    """What `TextGraph` needs of a tokenizer; also a `tf.Module`.

    Attributes:
        start_token_id: int put before every text, or `None` for a model that
            has none.
        end_token_ids: tuple of int. Each ends an answer.
        hidden_token_ids: tuple of int, in no answer's text: start, end,
            padding and whatever else typed text can never produce.
        control_tokens: dict of the written form of control tokens to their
            ids; taken as such in prompts only where the export allows it.
    """

    start_token_id: int | None
    end_token_ids: tuple[int, ...]
    hidden_token_ids: tuple[int, ...]
    control_tokens: dict[str, int]

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Ids of each text, without special tokens.

        Args:
            texts: string `(batch,)`, valid UTF-8.

        Returns:
            int32 `(batch, None)`.
        """

    def detokenize(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        """The text of each row; hidden tokens were taken out before.

        Args:
            token_ids: int32 `(batch, None)`.

        Returns:
            string `(batch,)`, valid UTF-8, whatever the tokens are.
        """


class SentencePieceGraph(tf.Module):
    """SentencePiece through TensorFlow Text; see `GraphTokenizer`.

    Args:
        proto: bytes of a SentencePiece model.
        start_token_id: int or `None`.
        end_token_ids: tuple of int.
        add_prefix_space: bool. Whether texts that do not begin with a space
            get one; see `ScratchTokenizer`.
        space_after_control: bool. Whether texts after control tokens get the
            same space as others.
    """

    def __init__(
        self,
        proto: bytes,
        start_token_id: int | None,
        end_token_ids: tuple[int, ...],
        add_prefix_space: bool = False,
        space_after_control: bool = True,
    ):
        super().__init__(name="sentencepiece")
        pieces, proto, self._spaced = _read(proto)
        self._before = FIRST_CHARACTER if add_prefix_space else None
        if self._spaced is not None:
            self._before = ANY_CHARACTER
        self._space_after_control = space_after_control
        self.start_token_id = start_token_id
        self.end_token_ids = end_token_ids
        self.control_tokens = pieces
        self.hidden_token_ids = tuple(pieces.values())
        with quiet_native_code():
            self._operations = tf_text.SentencepieceTokenizer(proto)
        self._size = self._operations.vocab_size()
        # The saver makes the resource in two graphs: as a function that both
        # of them call, the vocabulary is saved once.
        resource = self._operations._model_resource
        create = tf.function(resource._create_resource)
        resource._create_resource = create.get_concrete_function()

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._operations.tokenize(self._begun(texts))

    def tokenize_parts(
        self, texts: tf.Tensor, row_starts: tf.Tensor
    ) -> tf.RaggedTensor:
        """Ids of what is between control tokens.

        Args:
            texts: string `(parts,)`.
            row_starts: int64 `(batch,)`. Which of them begin a text.
        """
        if self._space_after_control:
            return self.tokenize(texts)
        # Empty where a text begins with a control token, and stays so.
        begun = self._begun(tf.gather(texts, row_starts))
        return self._operations.tokenize(
            tf.tensor_scatter_nd_update(texts, row_starts[:, None], begun)
        )

    def detokenize(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        # A model may have more tokens than its tokenizer, which would fail.
        known = token_ids.flat_values < tf.cast(self._size, tf.int32)
        ids = kept(token_ids, known)
        texts = self._operations.detokenize(ids)
        if self._before is None:
            return texts
        bare = tf.strings.regex_replace(texts, "\\A ", "")
        if self._spaced is None:
            return bare
        # The space of an unknown token or of a byte is none that was put.
        first = ids[:, :1].to_tensor(0, shape=[None, 1])[:, 0]
        return tf.where(tf.gather(self._spaced, first), bare, texts)

    def _begun(self, texts):
        if self._before is None:
            return texts
        return tf.strings.regex_replace(texts, self._before, AFTER_SPACE)


def _read(proto: bytes) -> tuple[dict[str, int], bytes, np.ndarray | None]:
    """Ids of control pieces, and the model that TensorFlow Text is given.

    Its SentencePiece fails on a text whose first word is a control piece, with
    a word model without a dummy prefix. Under names that no word has, control
    pieces cannot be found in texts. With a dummy prefix it takes all spaces
    that an answer begins with for it. Such a model is given texts with that
    one space, and the last result is which pieces begin with it.
    """
    from sentencepiece.sentencepiece_model_pb2 import ModelProto, TrainerSpec

    model, control = ModelProto.FromString(proto), {}
    spec = model.normalizer_spec
    has_prefix = spec.add_dummy_prefix and not (
        spec.remove_extra_whitespaces
        or model.trainer_spec.treat_whitespace_as_suffix
    )
    spec.add_dummy_prefix &= not has_prefix
    spaced = np.array([x.piece.startswith(SPACE) for x in model.pieces])
    words = model.trainer_spec.model_type == TrainerSpec.WORD
    for index, piece in enumerate(model.pieces):
        if piece.type == ModelProto.SentencePiece.CONTROL:
            control[piece.piece] = index
            piece.piece = (2 * SPACE if words else "") + piece.piece
    proto = model.SerializeToString(deterministic=True)
    return control, proto, spaced if has_prefix else None


class WordPieceGraph(tf.Module):
    """KerasHub's WordPiece of an encoder; see `GraphTokenizer`.

    Args:
        tokenizer: of the model.
    """

    def __init__(self, tokenizer: ScratchWordPieceTokenizer):
        super().__init__(name="word_pieces")
        self.start_token_id = tokenizer.start_token_id
        self.end_token_ids = tokenizer.end_token_ids
        self.control_tokens = tokenizer.control_tokens
        self.hidden_token_ids = tuple(self.control_tokens.values())
        self.tokenize = tokenizer.tokenize
        self._pieces = tf.constant(tokenizer.vocabulary)

    def detokenize(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        pieces = token_ids.with_flat_values(
            tf.gather(self._pieces, token_ids.flat_values)
        )
        texts = tf.strings.reduce_join(pieces, axis=-1, separator=" ")
        return tf.strings.regex_replace(texts, f" {SUFFIX}", "")


class WithControlTokens(tf.Module):
    """Takes control tokens written out in texts as what they are.

    Args:
        tokenizer: a `GraphTokenizer`, which tokenizes what is between them.
    """

    def __init__(self, tokenizer: GraphTokenizer):
        super().__init__(name="with_control_tokens")
        self.tokenizer = tokenizer
        self.start_token_id = tokenizer.start_token_id
        self.end_token_ids = tokenizer.end_token_ids
        self.hidden_token_ids = tokenizer.hidden_token_ids
        self.control_tokens = tokenizer.control_tokens
        self.detokenize = tokenizer.detokenize

    def tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        names = sorted(self.control_tokens, key=len, reverse=True)
        if not names:
            return self.tokenizer.tokenize(texts)
        any_name = "|".join(quoted(name) for name in names)
        texts = tf.strings.regex_replace(
            escaped(texts), f"({any_name})", f"{BORDER}\\1{BORDER}"
        )
        ids = tf.constant([self.control_tokens[name] for name in names])

        def ids_of(written):
            is_name = written[:, None] == tf.constant(names)
            return tf.gather(ids, tf.argmax(tf.cast(is_name, tf.int32), 1))

        return tokenize_around(self.tokenizer, texts, ids_of)


def escaped(texts: tf.Tensor) -> tf.Tensor:
    """Texts without `BORDER`, as `tokenize_around` takes them."""
    return tf.strings.regex_replace(texts, "\x01", "\x01a")


def tokenize_around(
    tokenizer: GraphTokenizer,
    texts: tf.Tensor,
    ids_of: Callable[[tf.Tensor], tf.Tensor],
) -> tf.RaggedTensor:
    """Ids of texts with control tokens in them.

    Args:
        tokenizer: of what is between control tokens.
        texts: string `(batch,)`: `escaped` text and control tokens in turn,
            with `BORDER` between them.
        ids_of: from control tokens as written there, string `(count,)`, to
            int32 ids `(count,)`.

    Returns:
        int32 `(batch, None)`.
    """
    parts = tf.strings.split(texts, BORDER)
    is_control = places_in_rows(parts) % 2 == 1
    flat = parts.flat_values
    controls = ids_of(tf.gather(flat, tf.where(is_control)[:, 0]))
    flat = tf.strings.regex_replace(flat, "\x01a", "\x01")
    flat = tf.where(is_control, "", flat)
    if isinstance(tokenizer, SentencePieceGraph):
        typed = tokenizer.tokenize_parts(flat, parts.row_starts())
    else:
        typed = tokenizer.tokenize(flat)
    return _joined(parts, typed, controls, is_control)


def _joined(parts, typed, controls, is_control) -> tf.RaggedTensor:
    """Rows of the ids of their parts; a control token's part has no others."""
    counts = typed.row_lengths() + tf.cast(is_control, tf.int64)
    ends = tf.cumsum(counts)
    places = tf.gather(ends, tf.where(is_control)[:, 0]) - 1
    is_typed = tf.scatter_nd(
        places[:, None], tf.ones_like(places), [tf.reduce_sum(counts)]
    )
    others = tf.where(is_typed == 0)
    flat = tf.scatter_nd(
        tf.concat([others, places[:, None]], axis=0),
        tf.concat([typed.flat_values, controls], axis=0),
        [tf.reduce_sum(counts)],
    )
    splits = tf.gather(tf.pad(ends, [[1, 0]]), parts.row_splits)
    return tf.RaggedTensor.from_row_splits(flat, splits, validate=False)


def quoted(string: str) -> str:
    """A pattern of RE2 for exactly that."""
    return "".join(f"\\x{{{ord(character):x}}}" for character in string)
