"""BERT as Hugging Face has it, with a head for masked words or classes.

Our models have no segments: the embedding of the first one, which texts by
themselves have everywhere, is added to the positions; that of the second is
left out, and both are written as zeros.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np

from keras_llm.export.huggingface.architecture import (
    BIASES,
    Architecture,
    Field,
)
from keras_llm.export.huggingface.tensors import Tensor, linear
from keras_llm.models import ScratchMaskedLM, ScratchTextClassifier

PREFIX = "bert."
EMBEDDINGS = PREFIX + "embeddings."
HEAD = "cls.predictions."
CLASSIFIER_HEAD = "classifier"
SEGMENTS = 2
ACTIVATIONS = {
    "gelu": "gelu_exact",
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


@dataclass(frozen=True)
class SegmentTensor(Tensor):
    """Embeddings of segments, read into positions that were read before.

    Args:
        positions: Where the first one is added to.
    """

    positions: keras.Variable | None = None

    def assign(self, first: int, rows: np.ndarray) -> None:
        if first == 0:
            self.positions.assign_add(
                np.broadcast_to(rows[:1], self.positions.shape)
            )


def _tensors_of(
    model: ScratchMaskedLM | ScratchTextClassifier,
) -> Iterator[Tensor]:
    embedding = model.backbone.embedding
    tokens = embedding.token_embedding.embeddings
    positions = embedding.position_embedding
    yield Tensor(EMBEDDINGS + "word_embeddings.weight", [tokens])
    yield Tensor(EMBEDDINGS + "position_embeddings.weight", [positions])
    yield SegmentTensor(
        EMBEDDINGS + "token_type_embeddings.weight",
        zeros=(SEGMENTS, embedding.hidden_dim),
        positions=positions,
    )
    yield from _norm(EMBEDDINGS + "LayerNorm", embedding.norm)
    for index, block in enumerate(model.backbone.blocks):
        name = f"{PREFIX}encoder.layer.{index}."
        mixer, wide = block.mixer, block.feed_forward
        for each in ("query", "key", "value"):
            layer = getattr(mixer, each)
            yield from linear(f"{name}attention.self.{each}", layer)
        output = name + "attention.output."
        yield from linear(output + "dense", mixer.attention_output)
        yield from _norm(output + "LayerNorm", block.mixer_norm)
        yield from linear(name + "intermediate.dense", wide.intermediate)
        yield from linear(name + "output.dense", wide.feed_forward_output)
        yield from _norm(name + "output.LayerNorm", block.feed_forward_norm)
    if isinstance(model, ScratchTextClassifier):
        return
    head = model.masked_lm_head
    transform = HEAD + "transform."
    yield from linear(transform + "dense", head._intermediate_dense)
    yield from _norm(transform + "LayerNorm", head._intermediate_layer_norm)
    yield Tensor(HEAD + "bias", [head._bias])


def _head_of(model: ScratchTextClassifier) -> Iterator[Tensor]:
    yield from linear(PREFIX + "pooler.dense", model.pooled_dense)
    yield from linear(CLASSIFIER_HEAD, model.head)


def _norm(name: str, layer) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", [layer.gamma])
    yield Tensor(f"{name}.bias", [layer.beta])


BERT = Architecture(
    model_type="bert",
    class_name="BertForMaskedLM",
    prefix=PREFIX,
    embedding=EMBEDDINGS + "word_embeddings.weight",
    tensors_of=_tensors_of,
    fields={
        "vocabulary_size": Field("vocab_size"),
        "num_layers": Field("num_hidden_layers"),
        "num_heads": Field("num_attention_heads"),
        "hidden_dim": Field("hidden_size"),
        "intermediate_dim": Field("intermediate_size"),
        "max_sequence_length": Field("max_position_embeddings"),
        "activation": Field("hidden_act", "gelu", values=ACTIVATIONS),
        "layer_norm_epsilon": Field("layer_norm_eps", 1e-12),
        "dropout": Field(
            "hidden_dropout_prob", 0.1, also=("attention_probs_dropout_prob",)
        ),
    },
    fixed={
        "position_embedding": "learned",
        "normalization": "layer",
        "normalize_first": False,
        "causal": False,
        "tie_word_embeddings": True,
        **dict.fromkeys(BIASES, True),
        "num_key_value_heads": lambda options: options["num_heads"],
        "head_dim": lambda options: (
            options["hidden_dim"] // options["num_heads"]
        ),
    },
    expected={
        "position_embedding_type": ["absolute"],
        "type_vocab_size": [SEGMENTS],
        "tie_word_embeddings": [True],
        "is_decoder": [False],
        "add_cross_attention": [False],
    },
    # A table of numbers, what was trained beside the masks, and the tied
    # projection once more.
    buffers=(
        "position_ids",
        "pooler.dense.weight",
        "pooler.dense.bias",
        "cls.seq_relationship.weight",
        "cls.seq_relationship.bias",
        HEAD + "decoder.weight",
        HEAD + "decoder.bias",
    ),
    scores=CLASSIFIER_HEAD + ".weight",
    head_of=_head_of,
)
