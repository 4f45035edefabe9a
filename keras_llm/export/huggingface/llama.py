"""Llama as Hugging Face has it, and what differs from it in a few fields."""

from collections.abc import Iterator
from dataclasses import replace

from keras_llm.export.huggingface.architecture import (
    Architecture,
    Field,
)
from keras_llm.export.huggingface.layer_types import (
    ROTATING,
    after_the_first,
    where_not_rotating,
    window_everywhere,
    windows,
)
from keras_llm.export.huggingface.rotations import rotations
from keras_llm.export.huggingface.tensors import Tensor, linear
from keras_llm.models import ScratchCausalLM

PREFIX = "model."
EMBEDDING = PREFIX + "embed_tokens.weight"


def _tensors_of(model: ScratchCausalLM) -> Iterator[Tensor]:
    embedding = model.backbone.embedding.token_embedding
    yield Tensor(EMBEDDING, [embedding.embeddings])
    for index, block in enumerate(model.backbone.blocks):
        name = f"{PREFIX}layers.{index}."
        mixer, wide = block.mixer, block.feed_forward
        yield Tensor(name + "input_layernorm.weight", [block.mixer_norm.scale])
        yield from linear(name + "self_attn.q_proj", mixer.query)
        yield from linear(name + "self_attn.k_proj", mixer.key)
        yield from linear(name + "self_attn.v_proj", mixer.value)
        yield from linear(name + "self_attn.o_proj", mixer.attention_output)
        if mixer.query_key_norm:
            norms = mixer.query_norm.scale, mixer.key_norm.scale
            yield Tensor(name + "self_attn.q_norm.weight", norms[:1])
            yield Tensor(name + "self_attn.k_norm.weight", norms[1:])
        norm = block.feed_forward_norm.scale
        yield Tensor(name + "post_attention_layernorm.weight", [norm])
        yield from linear(name + "mlp.gate_proj", wide.gate)
        yield from linear(name + "mlp.up_proj", wide.intermediate)
        yield from linear(name + "mlp.down_proj", wide.feed_forward_output)
    yield Tensor(PREFIX + "norm.weight", [model.backbone.final_norm.scale])


FIELDS = {
    "vocabulary_size": Field("vocab_size"),
    "num_layers": Field("num_hidden_layers"),
    "num_heads": Field("num_attention_heads"),
    "num_key_value_heads": Field("num_key_value_heads", None),
    "head_dim": Field("head_dim", None),
    "hidden_dim": Field("hidden_size"),
    "intermediate_dim": Field("intermediate_size"),
    "max_sequence_length": Field("max_position_embeddings"),
    "activation": Field(
        "hidden_act", "silu", values={"silu": "swiglu", "swish": "swiglu"}
    ),
    "layer_norm_epsilon": Field("rms_norm_eps", 1e-6),
    "tie_word_embeddings": Field("tie_word_embeddings", False),
    "dropout": Field("attention_dropout", 0.0),
}
FIXED = {"position_embedding": "rotary", "normalization": "rms"}
ATTENTION_BIASES = {
    "attention_bias": Field("attention_bias", False),
    "attention_output_bias": Field("attention_bias", False),
}
NO_BIASES = {
    "attention_bias": False,
    "attention_output_bias": False,
    "feed_forward_bias": False,
}

LLAMA = Architecture(
    model_type="llama",
    class_name="LlamaForCausalLM",
    prefix=PREFIX,
    embedding=EMBEDDING,
    tensors_of=_tensors_of,
    fields=FIELDS
    | ATTENTION_BIASES
    | {"feed_forward_bias": Field("mlp_bias", False)},
    parts=[rotations(10_000.0)],
    fixed=FIXED,
    # Rotations, which are no weights.
    buffers=(".rotary_emb.inv_freq",),
)
MISTRAL = replace(
    LLAMA,
    model_type="mistral",
    class_name="MistralForCausalLM",
    fields=FIELDS | {"num_key_value_heads": Field("num_key_value_heads", 8)},
    parts=[rotations(10_000.0), window_everywhere(4096)],
    fixed=FIXED | NO_BIASES,
)
QWEN2 = replace(
    LLAMA,
    model_type="qwen2",
    class_name="Qwen2ForCausalLM",
    fields=FIELDS | {"num_key_value_heads": Field("num_key_value_heads", 32)},
    parts=[rotations(10_000.0), windows(after_the_first)],
    fixed=FIXED | NO_BIASES | {"attention_bias": True},
)
QWEN3 = replace(
    LLAMA,
    model_type="qwen3",
    class_name="Qwen3ForCausalLM",
    fields=QWEN2.fields
    | ATTENTION_BIASES
    | {
        "head_dim": Field("head_dim", 128),
        "query_key_norm_epsilon": FIELDS["layer_norm_epsilon"],
    },
    parts=QWEN2.parts,
    fixed=FIXED | {"feed_forward_bias": False, "query_key_norm": True},
)
SMOLLM3 = replace(
    LLAMA,
    model_type="smollm3",
    class_name="SmolLM3ForCausalLM",
    fields=LLAMA.fields
    | {
        "num_key_value_heads": Field("num_key_value_heads", 4),
        "tie_word_embeddings": Field("tie_word_embeddings", True),
    },
    parts=[
        rotations(2_000_000.0),
        windows(where_not_rotating),
        ROTATING,
    ],
)
