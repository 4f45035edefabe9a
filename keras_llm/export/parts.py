"""Which graph a model becomes: its tokenizer and decoder, or its classifier."""

from collections.abc import Sequence
from pathlib import Path

import keras_hub

from keras_llm.errors import InputError
from keras_llm.export.chat_prompts import ChatPrompts
from keras_llm.export.classifier_graph import ClassifierGraph
from keras_llm.export.decoders import GraphDecoder, ScratchDecoder
from keras_llm.export.fill_graph import FillGraph
from keras_llm.export.graph_tokenizers import (
    GraphTokenizer,
    SentencePieceGraph,
    WithControlTokens,
    WordPieceGraph,
)
from keras_llm.export.server_files import MAX_TEXT_TOKENS
from keras_llm.export.stock_decoder import StockDecoder
from keras_llm.export.stock_tokenizers import (
    encoder_tokenizer,
    graph_tokenizer,
)
from keras_llm.export.text_graph import TextGraph
from keras_llm.generation.stock_rules import rules_of
from keras_llm.models import ScratchCausalLM, ScratchMaskedLM
from keras_llm.recipes.checks import check, matches
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.tokenizers import ScratchBytePairTokenizer, ScratchTokenizer
from keras_llm.tokenizers.byte_pair import ExactBytePairTokenizer
from keras_llm.tokenizers.chat_templates import chat_template
from keras_llm.tokenizers.word_pieces import ScratchWordPieceTokenizer

MOST_TOKENS = 2**31 - 1  # int32


def graph_of(
    model: keras_hub.models.Task,
    settings: GenerationSettings,
    seed: int,
    labels: Sequence[str] | None,
    allow_control_tokens: bool,
    template: str | Path | None = None,
    system: str | None = None,
    max_text_tokens: int | None = None,
) -> tuple[TextGraph | ClassifierGraph | FillGraph, str | None]:
    """The graph that is saved, of any model that can be exported.

    Returns:
        The graph, and why a model that generates has no signature `chat`.

    Raises:
        InputError: A model that cannot be, labels without classes, control
            tokens or conversations for a classifier, or a template or system
            message with which there is no `chat`.
    """
    kinds = keras_hub.models.TextClassifier, keras_hub.models.MaskedLM
    if isinstance(model, kinds):
        if (template, system, max_text_tokens) != (None, None, None):
            raise InputError(
                "template, system and max_text_tokens are for models that "
                f"generate. Received: {type(model).__name__}"
            )
        if allow_control_tokens:
            raise InputError(
                "allow_control_tokens is for models that generate: others "
                "take texts as they are typed. Received: "
                f"{type(model).__name__}"
            )
    if isinstance(model, keras_hub.models.TextClassifier):
        return ClassifierGraph(model, labels), None
    if labels is not None:
        raise InputError(
            "labels name the classes of a TextClassifier. Received: "
            f"{type(model).__name__}, which has none."
        )
    if isinstance(model, keras_hub.models.MaskedLM):
        is_ours = isinstance(model, ScratchMaskedLM)
        graph_of_ours = scratch_tokenizer if is_ours else encoder_tokenizer
        tokenizer = graph_of_ours(model.preprocessor.tokenizer)
        return FillGraph(model, tokenizer), None
    tokenizer, decoder = parts_of(model)
    chat, reason = None, None
    try:
        chat = ChatPrompts(
            tokenizer,
            chat_template(model.preprocessor.tokenizer, template),
            system,
            decoder.max_length,
        )
    except InputError as error:
        if (template, system) != (None, None):
            raise
        reason = str(error)
    if allow_control_tokens:
        tokenizer = WithControlTokens(tokenizer)
    most = MAX_TEXT_TOKENS if max_text_tokens is None else max_text_tokens
    is_count = matches(most, int) and 1 <= most <= MOST_TOKENS
    check(is_count, "max_text_tokens", f"1 to {MOST_TOKENS:,}", most)
    return TextGraph(tokenizer, decoder, settings, seed, chat, most), reason


def parts_of(
    model: keras_hub.models.CausalLM,
) -> tuple[GraphTokenizer, GraphDecoder]:
    """The tokenizer and the decoder of a causal model.

    Raises:
        InputError: A model that cannot be exported.
    """
    if isinstance(model, ScratchCausalLM):
        tokenizer = scratch_tokenizer(model.preprocessor.tokenizer)
        return tokenizer, ScratchDecoder(model)
    tokenizer = graph_tokenizer(model.preprocessor.tokenizer, rules_of(model))
    return tokenizer, StockDecoder(model)


def scratch_tokenizer(
    tokenizer: ScratchTokenizer
    | ScratchBytePairTokenizer
    | ScratchWordPieceTokenizer,
) -> GraphTokenizer:
    """The tokenizer of a model of ours, with the same ids in a graph."""
    if isinstance(tokenizer, ScratchWordPieceTokenizer):
        return WordPieceGraph(tokenizer)
    if isinstance(tokenizer, ScratchBytePairTokenizer):
        return ExactBytePairTokenizer(tokenizer.byte_pairs)
    return SentencePieceGraph(
        tokenizer.proto,
        tokenizer.start_token_id,
        tokenizer.end_token_ids,
        tokenizer.add_prefix_space,
        tokenizer.space_after_control,
    )
