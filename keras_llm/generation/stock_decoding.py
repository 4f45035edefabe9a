"""Decoding with any causal model of KerasHub.

The model's own `generate_step` builds its cache and reads it, so that nothing
here knows how a model caches; only the sampler is ours.
"""

from collections.abc import Callable

import keras_hub
from keras import ops

from keras_llm.errors import InputError
from keras_llm.generation.decoding import Sampling
from keras_llm.generation.sampling import (
    choose_tokens,
    penalize_repetition,
    philox_uniform,
)
from keras_llm.layers.cache import write_to_cache


def decode_by_rows(
    model: keras_hub.models.CausalLM,
    token_ids,
    lengths,
    sampling: Sampling,
    limits,
    stopped: Callable,
) -> tuple:
    """Continues each row by its own settings and random numbers.

    Args:
        model: any with a `generate_step` of its own.
        token_ids: int32 `(batch, max_length)`, prompts at the left.
        lengths: int32 `(batch,)`, of the prompts, at least 1.
        sampling: settings of each row.
        limits: int32 `(batch,)`, tokens that prompt and answer may have.
        stopped: as in `decode`.

    Returns:
        int32 `(batch, max_length)`, the prompts and what follows them, and
        int32 `(batch,)`, tokens of each row.

    Raises:
        InputError: The model does not call its sampler.
    """
    mask = ops.arange(ops.shape(token_ids)[1])[None] < lengths[:, None]
    inputs = {"token_ids": token_ids, "padding_mask": mask}
    sampler = RowSampler(sampling, lengths, limits, stopped)
    before = getattr(model, "sampler", None)
    try:
        model.sampler = sampler
        outputs = model.generate_step(inputs, stop_token_ids=None)
    finally:
        model.sampler = before
    if sampler.lengths is None:
        raise InputError(
            f"{type(model).__name__} cannot be decoded: its generate_step "
            "does not call its sampler."
        )
    return outputs["token_ids"], sampler.lengths


class RowSampler(keras_hub.samplers.Sampler):
    """Chooses each row's tokens by its own settings and random numbers.

    It goes from the end of the shortest prompt on, as KerasHub does: longer
    prompts are fed their own tokens until they end.

    Args:
        sampling, prompt_lengths, limits, stopped: see `decode_by_rows`.

    Attributes:
        lengths: int32 `(batch,)`, tokens of each row; once called.
    """

    def __init__(
        self, sampling: Sampling, prompt_lengths, limits, stopped: Callable
    ):
        super().__init__()
        self.sampling, self.limits = sampling, limits
        self.prompt_lengths, self.stopped = prompt_lengths, stopped
        self.lengths = self._uniforms = None

    def __call__(self, next, prompt, cache=None, index=0, **_):
        """int32 `(batch, length)`: the prompts, and what follows them."""

        def unfinished(prompt, cache, index, lengths, finished):
            return ops.logical_not(ops.all(finished))

        def body(prompt, cache, index, lengths, finished):
            logits, _, cache = next(prompt, cache, index)
            place = ops.broadcast_to(index, ops.shape(lengths))
            given = ops.take_along_axis(prompt, place[:, None], axis=1)[:, 0]
            running = (lengths == index) & ops.logical_not(finished)
            token = ops.where(
                running, self._choose(logits, prompt, place), given
            )
            prompt = write_to_cache(prompt, token[:, None], place[:, None])
            lengths = lengths + ops.cast(running, "int32")
            finished = finished | (running & self.stopped(prompt, lengths))
            finished = finished | (lengths >= self.limits)
            return prompt, cache, index + 1, lengths, finished

        lengths = self.prompt_lengths
        # Of all steps at once, as in `decode`.
        steps = ops.arange(ops.shape(prompt)[1], dtype="int32")
        self._uniforms = philox_uniform(self.sampling.key, steps[None])
        index = ops.cast(index, "int32")
        state = prompt, cache, index, lengths, lengths >= self.limits
        state = ops.while_loop(unfinished, body, state)
        self.lengths = state[3]
        return state[0]

    def _choose(self, logits, prompt, place):
        logits = penalize_repetition(
            ops.cast(logits, "float32"),
            prompt,
            place,
            self.sampling.repetition_penalty,
        )
        # Within what there is, for rows that are fed their prompt or have
        # ended.
        last = ops.shape(self._uniforms)[1] - 1
        step = ops.clip(place - self.prompt_lengths, 0, last)
        return choose_tokens(
            logits,
            self.sampling.temperature,
            self.sampling.top_k,
            self.sampling.top_p,
            self.sampling.min_p,
            ops.take_along_axis(self._uniforms, step[:, None], axis=1)[:, 0],
        )
