"""KerasHub's own models, in the shape that descriptions of files expect."""

from types import SimpleNamespace

import keras_hub

from keras_llm.export.huggingface.architecture import Architecture
from keras_llm.export.huggingface.gpt2 import GPT2
from keras_llm.export.huggingface.llama import LLAMA, MISTRAL, QWEN2, QWEN3

# By exact classes: a subclass may differ.
ARCHITECTURE_OF = {
    keras_hub.models.GPT2Backbone: GPT2,
    keras_hub.models.LlamaBackbone: LLAMA,
    keras_hub.models.Llama3Backbone: LLAMA,
    keras_hub.models.MistralBackbone: MISTRAL,
    keras_hub.models.QwenBackbone: QWEN2,
    keras_hub.models.Qwen3Backbone: QWEN3,
}


def seen_as_ours(
    model: keras_hub.models.CausalLM,
) -> tuple[Architecture, SimpleNamespace] | None:
    """The architecture of a stock model, and what its `tensors_of` takes.

    Of a projection of KerasHub only the name, the bias and the place tell
    something: its kernel may have more axes than the matrix in the file.
    """
    backbone = model.backbone
    architecture = ARCHITECTURE_OF.get(type(backbone))
    if architecture is None:
        return None
    positions = getattr(backbone, "position_embedding", None)
    return architecture, SimpleNamespace(
        backbone=SimpleNamespace(
            token_embedding=backbone.token_embedding,
            embedding=SimpleNamespace(
                token_embedding=backbone.token_embedding,
                position_embedding=getattr(
                    positions, "position_embeddings", None
                ),
            ),
            blocks=[_block(layer) for layer in backbone.transformer_layers],
            final_norm=backbone.layer_norm,
        )
    )


def _block(layer) -> SimpleNamespace:
    attention = layer._self_attention_layer
    query_norm = getattr(attention, "_query_dense_layer_norm", None)
    return SimpleNamespace(
        mixer=SimpleNamespace(
            query=attention._query_dense,
            key=attention._key_dense,
            value=attention._value_dense,
            attention_output=attention._output_dense,
            query_key_norm=query_norm is not None,
            query_norm=query_norm,
            key_norm=getattr(attention, "_key_dense_layer_norm", None),
        ),
        mixer_norm=_norm(layer, "_self_attention"),
        feed_forward=SimpleNamespace(
            intermediate=layer._feedforward_intermediate_dense,
            gate=getattr(layer, "_feedforward_gate_dense", None),
            feed_forward_output=layer._feedforward_output_dense,
        ),
        feed_forward_norm=_norm(layer, "_feedforward"),
    )


def _norm(layer, name: str):
    """KerasHub writes it in two ways."""
    norm = getattr(layer, f"{name}_layer_norm", None)
    return getattr(layer, f"{name}_layernorm") if norm is None else norm
