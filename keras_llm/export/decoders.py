"""Models inside the exported graph: token ids to token ids."""

from collections.abc import Callable
from typing import Protocol

import tensorflow as tf

from keras_llm.generation.decoding import Sampling, decode, prefill
from keras_llm.models import ScratchCausalLM

# From int32 ids `(batch, length)` and int32 lengths `(batch,)` to bool
# `(batch,)`: whether each row's newest token is its last.
Stopped = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class GraphDecoder(Protocol):
    """What `TextGraph` needs of a model.

    Attributes:
        max_length: int. The context: tokens of prompt and answer together.
        vocabulary_size: int.
        variables: list of `tf.Variable`, to be saved.
    """

    max_length: int
    vocabulary_size: int
    variables: list[tf.Variable]

    def generate(
        self,
        prompts: tf.RaggedTensor,
        sampling: Sampling,
        max_new_tokens: tf.Tensor,
        stopped: Stopped,
    ) -> tf.RaggedTensor:
        """Continues each row by itself.

        Args:
            prompts: int32 `(batch, None)`, each of 1 to `max_length` tokens.
                The batch may be empty.
            sampling: settings of each row, all in range. Step *n* of a row is
                its *n*-th new token, from 0 on.
            max_new_tokens: int32 `(batch,)`, from 0 to `max_length`. A row
                also ends where the context is full.
            stopped: asked after each step, of prompts and what followed them
                at the left of a `(batch, length)` tensor.

        Returns:
            int32 `(batch, None)`: the new tokens, the last one included.
        """

    def log_likelihoods(
        self, token_ids: tf.Tensor, lengths: tf.Tensor
    ) -> tf.Tensor:
        """Of each token after the first, given those before it.

        Args:
            token_ids: int32 `(batch, length)`, at most `max_length` long.
            lengths: int32 `(batch,)`, how many of them count.

        Returns:
            float32 `(batch, length - 1)` in nats; anything where they do not
            count.
        """


class ScratchDecoder:
    """Reads ragged prompts in one pass; see `GraphDecoder`.

    Args:
        model: a `ScratchCausalLM`.
    """

    def __init__(self, model: ScratchCausalLM):
        self.model = model
        self.max_length = model.backbone.max_sequence_length
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
        state = prefill(self.model, batch, lengths, longest)
        state = decode(
            self.model, state, sampling, self.max_length, stopped, limits
        )
        return new_tokens(state.token_ids, state.lengths, lengths)

    def log_likelihoods(
        self, token_ids: tf.Tensor, lengths: tf.Tensor
    ) -> tf.Tensor:
        return log_likelihoods(self._logits, token_ids, lengths)

    def _logits(self, inputs, training):
        backbone = self.model.backbone
        hidden = backbone.call_without_cache(**inputs)
        return backbone.embedding(hidden, reverse=True, training=training)


def room_of(
    prompts: tf.RaggedTensor, max_new_tokens: tf.Tensor, max_length: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """How long each prompt is, and may become; and the longest of these.

    Returns:
        int32 `(batch,)`, int32 `(batch,)` and an int32 scalar.
    """
    lengths = tf.cast(prompts.row_lengths(), tf.int32)
    limits = tf.minimum(lengths + max_new_tokens, max_length)
    # No longer than this batch needs; never empty, for an empty batch.
    return lengths, limits, tf.maximum(tf.reduce_max(limits), 1)


def new_tokens(
    token_ids: tf.Tensor, lengths: tf.Tensor, prompt_lengths: tf.Tensor
) -> tf.RaggedTensor:
    """What comes after the prompts, of rows that begin with them."""
    batch_size, width = tf.unstack(tf.shape(token_ids))
    starts = tf.range(batch_size) * width
    places = tf.ragged.range(starts + prompt_lengths, starts + lengths)
    flat = tf.reshape(token_ids, [-1])
    return places.with_flat_values(tf.gather(flat, places.flat_values))


def log_likelihoods(
    model, token_ids: tf.Tensor, lengths: tf.Tensor
) -> tf.Tensor:
    """`GraphDecoder.log_likelihoods` of any KerasHub `CausalLM`."""
    seen = tf.sequence_mask(lengths, tf.shape(token_ids)[1], tf.int32)
    inputs = {"token_ids": token_ids, "padding_mask": seen}
    logits = tf.cast(model(inputs, training=False)[:, :-1], tf.float32)
    return -tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=token_ids[:, 1:], logits=logits
    )
