"""Tiny causal models of KerasHub with random weights, one an architecture."""

import functools
import io
import json

import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from sentencepiece import SentencePieceTrainer
from testing import ragged_batch, randomize, slow_but
from tiny_corpus import sample_text
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

CONTEXT = 48
SHAPE = {"num_layers": 2, "hidden_dim": 16, "intermediate_dim": 24}
HEADS = SHAPE | {"num_heads": 2}
GROUPS = SHAPE | {"num_query_heads": 4, "num_key_value_heads": 2}
EXPERTS = GROUPS | {"num_experts": 3, "top_k": 2}
LEARNED = {"max_sequence_length": CONTEXT}
# Shorter than the prompts, so that it matters.
WINDOW = {"sliding_window": 6}

# Arguments of the backbone, and the tokens its tokenizer asks for.
BYTE_PAIR = {
    "GPT2": (HEADS | LEARNED, ["<|endoftext|>"]),
    "Llama3": (
        GROUPS,
        [
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|eot_id|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
        ],
    ),
    "Qwen": (GROUPS, ["<|endoftext|>"]),
    "Qwen3": (GROUPS | {"head_dim": 8}, ["<|im_end|>", "<|endoftext|>"]),
    "GPTNeoX": (HEADS | LEARNED, ["<|endoftext|>"]),
    "Falcon": (SHAPE | {"num_attention_heads": 2}, ["<|endoftext|>"]),
    "Bloom": (HEADS, ["<s>", "</s>", "<pad>"]),
    "OPT": (HEADS | LEARNED, ["</s>", "<pad>"]),
    "GptOss": (EXPERTS | WINDOW, ["<|endoftext|>"]),
    "SmolLM3": (
        SHAPE
        | {
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "attention_bias": False,
            "attention_dropout": 0,
            "rope_layer_enabled_list": [True, False],
            "layer_types": ["full_attention"] * 2,
            "mlp_bias": False,
            "layer_norm_epsilon": 1e-6,
            "max_position_embeddings": CONTEXT,
            "rope_theta": 10000,
            "partial_rotary_factor": 1.0,
        },
        ["<|begin_of_text|>", "<|end_of_text|>", "<think>", "</think>"],
    ),
}
GEMMA = {
    "pad_id": 0,
    "eos_id": 1,
    "bos_id": 2,
    "unk_id": 3,
    "pad_piece": "<pad>",
    "eos_piece": "<eos>",
    "bos_piece": "<bos>",
    "user_defined_symbols": ["<start_of_turn>", "<end_of_turn>", "\n"],
}
SENTENCE_PIECE = {
    "Llama": (GROUPS, {}),
    "Mistral": (GROUPS | WINDOW, {}),
    "Mixtral": (EXPERTS | WINDOW, {}),
    "Gemma": (GROUPS | {"head_dim": 8}, GEMMA),
    "Gemma3": (
        GROUPS
        | {
            "head_dim": 8,
            "image_size": 16,
            "use_sliding_window_attention": True,
            "sliding_window_size": 6,
        },
        GEMMA,
    ),
    "Phi3": (
        GROUPS | LEARNED | {"pretraining_sequence_length": CONTEXT},
        {"user_defined_symbols": ["<|endoftext|>", "<|end|>", "<|user|>"]},
    ),
}
# How GPT-OSS splits text before its byte pairs is not known here, and KerasHub
# 0.32 rotates the query of each cached step of GPT-NeoX as that of position 0.
REFUSED = {"GptOss", "GPTNeoX"}
ARCHITECTURES = sorted((SENTENCE_PIECE | BYTE_PAIR).keys() - REFUSED)
# The others take minutes together.
every_architecture = pytest.mark.parametrize(
    "name", slow_but(ARCHITECTURES, "GPT2")
)


@functools.cache
def stock_model(name, dtype=None):
    """A `keras_hub` causal model that decides by its prompts."""
    part = functools.partial(getattr, keras_hub.models)
    tokenizer = stock_tokenizer(name)
    settings, _ = (SENTENCE_PIECE | BYTE_PAIR)[name]
    backbone = part(f"{name}Backbone")(
        vocabulary_size=tokenizer.vocabulary_size(), dtype=dtype, **settings
    )
    randomize(backbone, deviation=0.5)
    for weight in backbone.weights:
        # Small, or the model would repeat its input, or one token.
        if weight.path.endswith(("embeddings", "beta", "bias")):
            weight.assign(weight * 0.1)
    preprocessor = part(f"{name}CausalLMPreprocessor")(
        tokenizer, sequence_length=CONTEXT
    )
    model = part(f"{name}CausalLM")(
        backbone=backbone, preprocessor=preprocessor
    )
    model.compile(sampler="greedy", jit_compile=False)
    return model


def generated_ids(model, prompts, new):
    """What KerasHub's `generate` puts after each prompt, token by token."""
    longest = max(len(prompt) for prompt in prompts)
    inputs = {
        name: tf.constant(value)
        for name, value in ragged_batch(prompts, longest + new).items()
    }
    outputs = model.make_generate_function()(inputs, stop_token_ids=None)
    rows = zip(prompts, np.array(outputs["token_ids"]), strict=True)
    return [row[len(prompt) :][:new].tolist() for prompt, row in rows]


def stock_tokenizer(name):
    """The architecture's tokenizer class, trained on a little text."""
    tokenizer_cls = getattr(keras_hub.tokenizers, f"{name}Tokenizer")
    if name in BYTE_PAIR:
        return tokenizer_cls(*byte_pairs(BYTE_PAIR[name][1]))
    options = {"has_vision_tokens": False} if name == "Gemma3" else {}
    return tokenizer_cls(pieces(**SENTENCE_PIECE[name][1]), **options)


def pieces(**options):
    """Bytes of a SentencePiece model with bytes to fall back on."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(sample_text(300).splitlines()),
        model_writer=model,
        vocab_size=360,
        hard_vocab_limit=False,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
        **options,
    )
    return model.getvalue()


def byte_pairs(special_tokens):
    """Vocabulary and merges of a byte-level tokenizer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=special_tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([sample_text(300)], trainer)
    vocabulary = tokenizer.get_vocab()
    state = json.loads(tokenizer.to_str())
    merges = [" ".join(pair) for pair in state["model"]["merges"]]
    return vocabulary, merges
