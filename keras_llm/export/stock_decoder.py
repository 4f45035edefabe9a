"""Decoding in a graph for any causal model of KerasHub.

See `generation.stock_decoding`; here nothing becomes an operation of XLA.
"""

import keras_hub
import tensorflow as tf

from keras_llm.export.decoders import (
    Stopped,
    log_likelihoods,
    new_tokens,
    room_of,
)
from keras_llm.export.without_xla import without_xla
from keras_llm.generation.decoding import Sampling
from keras_llm.generation.stock_decoding import decode_by_rows
from keras_llm.models.loading import context_length


class StockDecoder:
    """Decodes as KerasHub does; see `GraphDecoder`.

    The context is what the preprocessor packs (its `sequence_length`), at
    most what the backbone has positions for.

    Args:
        model: a `keras_hub.models.CausalLM` with a preprocessor.
    """

    def __init__(self, model: keras_hub.models.CausalLM):
        self.model = model
        self.max_length = context_length(model)
        self.vocabulary_size = model.backbone.vocabulary_size
        self.variables = [weight.value for weight in model.weights]

    def generate(
        self,
        prompts: tf.RaggedTensor,
        sampling: Sampling,
        max_new_tokens: tf.Tensor,
        stopped: Stopped,
    ) -> tf.RaggedTensor:
        lengths, limits, longest = room_of(
            prompts, max_new_tokens, self.max_length
        )
        batch = prompts.to_tensor()
        room = longest - tf.shape(batch)[1]
        token_ids = tf.pad(batch, [[0, 0], [0, room]])
        with without_xla():
            token_ids, ends = decode_by_rows(
                self.model, token_ids, lengths, sampling, limits, stopped
            )
        return new_tokens(token_ids, ends, lengths)

    def log_likelihoods(
        self, token_ids: tf.Tensor, lengths: tf.Tensor
    ) -> tf.Tensor:
        with without_xla():
            return log_likelihoods(self.model, token_ids, lengths)
