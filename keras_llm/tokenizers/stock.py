"""KerasHub's own tokenizers as ours: exact, and typed control tokens are text.

They are not by themselves: `BytePairTokenizer` takes a typed `<|endoftext|>`
for the token, and SentencePiece finds symbols that separate turns in text.
"""

import re
from collections.abc import Collection

import keras_hub

from keras_llm.errors import InputError
from keras_llm.tokenizers.byte_pair_files import from_keras_hub
from keras_llm.tokenizers.processor import digest_of_pieces
from keras_llm.tokenizers.scratch_byte_pair_tokenizer import (
    ScratchBytePairTokenizer,
)
from keras_llm.tokenizers.scratch_tokenizer import ScratchTokenizer

# How Gemma, Phi-3 and Mistral write the borders of turns, which their
# SentencePiece models would otherwise find in typed text.
TURN = re.compile(r"<\|.+\|>|<(start|end)_of_\w+>|\[/?[A-Z_]+\]")


def exact_tokenizer(
    tokenizer: keras_hub.tokenizers.Tokenizer,
) -> ScratchTokenizer | ScratchBytePairTokenizer:
    """A tokenizer of ours with the same ids; one of ours as it is.

    Raises:
        InputError: Neither SentencePiece nor byte pairs.
    """
    if isinstance(tokenizer, ScratchTokenizer | ScratchBytePairTokenizer):
        return tokenizer
    if isinstance(tokenizer, keras_hub.tokenizers.BytePairTokenizer):
        vocabulary = from_keras_hub(tokenizer)
        return ScratchBytePairTokenizer.from_vocabulary(vocabulary)
    if isinstance(tokenizer, keras_hub.tokenizers.SentencePieceTokenizer):
        special = tokenizer.special_token_ids
        return ScratchTokenizer(
            with_control_symbols(tokenizer.proto, special),
            start_token=tokenizer.start_token,
            end_tokens=[tokenizer.end_token],
        )
    raise InputError(
        "The tokenizer must be of SentencePiece or of byte pairs. Received: "
        f"{type(tokenizer).__name__}"
    )


def tokenizer_digest(tokenizer: keras_hub.tokenizers.Tokenizer) -> str:
    """A sha256 of all that decides the ids of a corpus.

    Raises:
        InputError: As `exact_tokenizer`.
    """
    exact = exact_tokenizer(tokenizer)
    if isinstance(exact, ScratchTokenizer) and exact is not tokenizer:
        return digest_of_pieces(tokenizer.proto, False)
    return exact.sha256


def after_control(
    tokenizer: ScratchTokenizer | ScratchBytePairTokenizer,
) -> ScratchTokenizer | ScratchBytePairTokenizer:
    """The tokenizer of text that follows a control token.

    It is another one where a SentencePiece model puts a space before texts
    and none after control tokens, as most of Hugging Face do.
    """
    is_pieces = isinstance(tokenizer, ScratchTokenizer)
    if tokenizer.space_after_control or not is_pieces:
        return tokenizer
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    model = ModelProto.FromString(tokenizer.proto)
    model.normalizer_spec.add_dummy_prefix = False
    return ScratchTokenizer(
        model.SerializeToString(), start_token=tokenizer.start_token
    )


def with_control_symbols(proto: bytes, special: Collection[int]) -> bytes:
    """A SentencePiece model with control symbols for control tokens.

    The tokens that start, end or separate turns become control symbols, so
    that typed text cannot produce them, even where the published model has
    them as user-defined symbols.

    Args:
        proto: bytes of the model.
        special: ids of its control tokens; those that separate turns are
            known by their names.
    """
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    model = ModelProto.FromString(proto)
    piece = ModelProto.SentencePiece
    for index, entry in enumerate(model.pieces):
        is_turn = entry.type == piece.USER_DEFINED and TURN.fullmatch(
            entry.piece
        )
        # The unknown token cannot be another kind as well.
        if (index in special or is_turn) and entry.type != piece.UNKNOWN:
            entry.type = piece.CONTROL
    return model.SerializeToString()
