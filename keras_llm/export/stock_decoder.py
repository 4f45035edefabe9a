"""Decoding in a graph for any causal model of KerasHub.

The model's own `generate_step` builds its cache and reads it, so that nothing
here knows how a model caches; only the sampler is ours.
"""

import keras_hub
import tensorflow as tf

from keras_llm.errors import InputError
from keras_llm.export.decoders import (
    Stopped,
    log_likelihoods,
    new_tokens,
    room_of,
)
from keras_llm.export.without_xla import without_xla
from keras_llm.generation.decoding import Sampling
from keras_llm.generation.sampling import (
    choose_tokens,
    penalize_repetition,
    philox_uniform,
)
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
        sampler = RowSampler(sampling, lengths, limits, stopped)
        token_ids = _generate_step(self.model, token_ids, lengths, sampler)
        return new_tokens(token_ids, sampler.lengths, lengths)

    def log_likelihoods(
        self, token_ids: tf.Tensor, lengths: tf.Tensor
    ) -> tf.Tensor:
        with without_xla():
            return log_likelihoods(self.model, token_ids, lengths)


class RowSampler(keras_hub.samplers.Sampler):
    """Chooses each row's tokens by its own settings and random numbers.

    It goes from the end of the shortest prompt on, as KerasHub does: longer
    prompts are fed their own tokens until they end.

    Args:
        sampling: settings of each row.
        prompt_lengths: int32 `(batch,)`.
        limits: int32 `(batch,)`, tokens that prompt and answer may have.
        stopped: asked after each step, as in `GraphDecoder.generate`.

    Attributes:
        lengths: int32 `(batch,)`, tokens of each row; once called.
    """

    def __init__(
        self,
        sampling: Sampling,
        prompt_lengths: tf.Tensor,
        limits: tf.Tensor,
        stopped: Stopped,
    ):
        super().__init__()
        self.sampling, self.limits = sampling, limits
        self.prompt_lengths, self.stopped = prompt_lengths, stopped
        self.lengths = None

    def __call__(self, next, prompt, cache=None, index=0, **_):
        """int32 `(batch, length)`: the prompts, and what follows them."""

        def unfinished(prompt, cache, index, lengths, finished):
            return ~tf.reduce_all(finished)

        def body(prompt, cache, index, lengths, finished):
            logits, _, cache = next(prompt, cache, index)
            running = (lengths == index) & ~finished
            token = tf.where(
                running, self._choose(logits, prompt, index), prompt[:, index]
            )
            prompt = _write_column(prompt, index, token)
            lengths += tf.cast(running, tf.int32)
            finished |= running & self.stopped(prompt, lengths)
            finished |= lengths >= self.limits
            return prompt, cache, index + 1, lengths, finished

        lengths = self.prompt_lengths
        index = tf.cast(index, tf.int32)
        state = prompt, cache, index, lengths, lengths >= self.limits
        state = tf.while_loop(unfinished, body, state)
        self.lengths = state[3]
        return state[0]

    def _choose(self, logits, prompt, index):
        logits = penalize_repetition(
            tf.cast(logits, tf.float32),
            prompt,
            tf.fill(tf.shape(prompt)[:1], index),
            self.sampling.repetition_penalty,
        )
        # Not below zero, for rows that are still fed their prompt.
        step = tf.maximum(index - self.prompt_lengths, 0)
        return choose_tokens(
            logits,
            self.sampling.temperature,
            self.sampling.top_k,
            self.sampling.top_p,
            self.sampling.min_p,
            philox_uniform(self.sampling.key, step),
        )


def _write_column(prompt, index, token):
    rows = tf.range(tf.shape(prompt)[0])
    indices = tf.stack([rows, tf.fill(tf.shape(rows), index)], axis=1)
    return tf.tensor_scatter_nd_update(prompt, indices, token)


def _generate_step(model, token_ids, lengths, sampler):
    mask = tf.sequence_mask(lengths, tf.shape(token_ids)[1])
    inputs = {"token_ids": token_ids, "padding_mask": mask}
    before = getattr(model, "sampler", None)
    try:
        model.sampler = sampler
        with without_xla():
            outputs = model.generate_step(inputs, stop_token_ids=None)
    finally:
        model.sampler = before
    if sampler.lengths is None:
        raise InputError(
            f"{type(model).__name__} cannot be exported: its generate_step "
            "does not call its sampler."
        )
    return outputs["token_ids"]
