"""KerasHub's tokenizers inside the exported graph."""

from dataclasses import replace

import keras_hub
import tensorflow as tf

from keras_llm.errors import InputError
from keras_llm.export.graph_tokenizers import (
    GraphTokenizer,
    SentencePieceGraph,
    WordPieceGraph,
)
from keras_llm.generation.stock_rules import GenerationRules
from keras_llm.tokenizers.byte_pair import ExactBytePairTokenizer
from keras_llm.tokenizers.byte_pair_files import from_keras_hub
from keras_llm.tokenizers.stock import with_control_symbols
from keras_llm.tokenizers.word_pieces import ScratchWordPieceTokenizer

SAMPLE = "The people of the union, in 1861!"


def graph_tokenizer(
    tokenizer: keras_hub.tokenizers.Tokenizer, rules: GenerationRules
) -> GraphTokenizer:
    """The tokenizer of a stock model, in a graph.

    Args:
        tokenizer: of KerasHub.
        rules: which tokens start and end.

    Raises:
        InputError: A class that is not exact in a graph.
    """
    if isinstance(tokenizer, keras_hub.tokenizers.BytePairTokenizer):
        vocabulary = replace(
            from_keras_hub(tokenizer),
            start_token_id=rules.start_token_id,
            end_token_ids=rules.end_token_ids,
        )
        return ExactBytePairTokenizer(vocabulary)
    if isinstance(tokenizer, keras_hub.tokenizers.SentencePieceTokenizer):
        return SentencePieceGraph(
            with_control_symbols(
                tokenizer.proto,
                {*tokenizer.special_token_ids, *rules.end_token_ids},
            ),
            rules.start_token_id,
            rules.end_token_ids,
        )
    raise _refusal(tokenizer, "a SentencePiece or byte-pair tokenizer")


def encoder_tokenizer(
    tokenizer: keras_hub.tokenizers.Tokenizer,
) -> GraphTokenizer:
    """The tokenizer of a stock encoder, in a graph.

    Args:
        tokenizer: of KerasHub, with a start, an end and a mask token.

    Raises:
        InputError: A class that has other ids in a graph.
    """
    if isinstance(tokenizer, keras_hub.tokenizers.WordPieceTokenizer):
        found: GraphTokenizer = WordPieceGraph(_word_pieces(tokenizer))
    else:
        start, end = tokenizer.start_token_id, tokenizer.end_token_id
        found = graph_tokenizer(tokenizer, GenerationRules(start, (end,)))
    # Some have other ids than what they inherit from.
    tokenize = tf.function(found.tokenize, autograph=False)
    ids = tokenize(tf.constant([SAMPLE]))[0]
    if ids.numpy().tolist() != [int(token) for token in tokenizer(SAMPLE)]:
        raise _refusal(tokenizer, "one whose ids are those of its vocabulary")
    return found


def _word_pieces(tokenizer) -> ScratchWordPieceTokenizer:
    return ScratchWordPieceTokenizer(
        tokenizer.vocabulary,
        tokenizer.lowercase,
        strip_accents=tokenizer.strip_accents,
        split_on_cjk=tokenizer.split_on_cjk,
    )


def _refusal(tokenizer, expected: str) -> InputError:
    return InputError(
        f"{type(tokenizer).__name__} cannot be exported: expected {expected}, "
        "which is exact in a graph."
    )
