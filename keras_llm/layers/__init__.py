"""Layers in `keras.ops`, each usable on its own in any functional model."""

from keras_llm.layers.attention import CausalSelfAttention
from keras_llm.layers.embeddings import (
    RotaryEmbedding,
    TokenAndPositionEmbedding,
)
from keras_llm.layers.feed_forward import FeedForward
from keras_llm.layers.gated_delta import GatedDeltaNet
from keras_llm.layers.min_gru import MinGRU
from keras_llm.layers.mlstm import MLSTM
from keras_llm.layers.recurrent import RecurrentLayer
from keras_llm.layers.recurrent_cells import GRUCell, LSTMCell, RNNCell
from keras_llm.layers.residual_block import BLOCK_TYPES, ResidualBlock

__all__ = [
    "BLOCK_TYPES",
    "CausalSelfAttention",
    "FeedForward",
    "GRUCell",
    "GatedDeltaNet",
    "LSTMCell",
    "MLSTM",
    "MinGRU",
    "RNNCell",
    "RecurrentLayer",
    "ResidualBlock",
    "RotaryEmbedding",
    "TokenAndPositionEmbedding",
]
