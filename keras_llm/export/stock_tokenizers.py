"""KerasHub's tokenizers inside the exported graph."""

from dataclasses import replace

import keras_hub

from keras_llm.errors import InputError
from keras_llm.export.graph_tokenizers import (
    GraphTokenizer,
    SentencePieceGraph,
)
from keras_llm.generation.stock_rules import GenerationRules
from keras_llm.tokenizers.byte_pair import ExactBytePairTokenizer
from keras_llm.tokenizers.byte_pair_files import from_keras_hub
from keras_llm.tokenizers.stock import with_control_symbols


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
    raise InputError(
        f"{type(tokenizer).__name__} cannot be exported: expected a "
        "SentencePiece or byte-pair tokenizer, which are exact in a graph."
    )
