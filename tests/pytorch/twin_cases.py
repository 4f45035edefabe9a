"""The models that twins are compared on, and batches for them."""

import inspect

import numpy as np
from testing import tiny_backbone

from keras_llm.models import ScratchBackbone, ScratchCausalLM

CASES = {
    "attention": {},
    "gru": {"block_types": "gru"},
    "lstm": {"block_types": "lstm"},
    "rnn": {"block_types": "rnn"},
    "mixed": {"block_types": ["gru", "attention", "lstm"], "num_layers": 3},
    "linear": {
        "block_types": ["min_gru", "gated_delta", "mlstm"],
        "num_layers": 3,
        "head_dim": 6,
    },
    "gpt2": {
        "position_embedding": "learned",
        "normalization": "layer",
        "layer_norm_epsilon": 1e-3,
        "use_bias": True,
    },
    "llama": {
        "num_key_value_heads": 1,
        "activation": "swiglu",
        "rope_max_wavelength": 500.0,
        "intermediate_dim": None,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 40,
        },
    },
    "window": {
        "sliding_window": 3,
        "query_key_norm": True,
        "rope_scaling": {"rope_type": "linear", "factor": 4.0},
    },
    "no_positions": {
        "position_embedding": "none",
        "activation": "relu_squared",
        "intermediate_dim": 0,
        "normalization": "layer",
    },
    "biased_swiglu": {"activation": "swiglu", "use_bias": True},
    "heads and layers of their own": {
        "head_dim": 6,
        "num_key_value_heads": 1,
        "rotary_layers": [False, True],
        "rope_scaling": {"rope_type": "dynamic", "factor": 2.0},
        "query_key_norm": True,
        "query_key_norm_epsilon": 0.1,
        "sliding_window": 3,
        "sliding_window_layers": [True, False],
        "attention_bias": True,
        "attention_output_bias": False,
        "feed_forward_bias": True,
        "activation": "gelu_exact",
    },
    "biased_output": {
        "attention_bias": False,
        "attention_output_bias": True,
        "activation": "silu",
    },
    "post_norm": {
        "normalize_first": False,
        "position_embedding": "learned",
        "normalization": "layer",
        "use_bias": True,
        "layer_norm_epsilon": 1e-3,
    },
    "classic": {
        "block_types": "gru",
        "num_layers": 1,
        "intermediate_dim": 0,
        "position_embedding": "none",
        "normalization": "none",
        "residual": False,
        "tie_word_embeddings": False,
        "output_bias": True,
    },
    "untied": {"tie_word_embeddings": False, "zero_init_outputs": True},
}
# What twins need no model for: sizes, dropout, and looking ahead.
ELSEWHERE = {
    "vocabulary_size",
    "num_heads",
    "hidden_dim",
    "max_sequence_length",
    "dropout",
    "causal",
}


def tested_options():
    """Arguments of the backbone that some case, or a test of its own, sets."""
    return ELSEWHERE.union(*CASES.values())


def all_options():
    signature = inspect.signature(ScratchBackbone.__init__)
    return set(signature.parameters) - {"self", "dtype", "kwargs"}


def model_of(case, **overrides):
    return ScratchCausalLM(
        tiny_backbone(**{"num_layers": 2} | CASES[case] | overrides)
    )


def batches(count, rows=8, length=20, size=40, seed=0):
    """Pairs of `token_ids` and `labels`, of sequences one can learn."""
    draw = np.random.default_rng(seed)
    ids = draw.integers(0, size, (count, rows, length + 1), dtype="int32")
    for index in range(1, length + 1):
        noise = ids[..., index] % 3
        ids[..., index] = (ids[..., index - 1] * 3 + noise) % size
    return [(each[:, :-1], each[:, 1:]) for each in ids]
