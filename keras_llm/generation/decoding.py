"""The cached decoding loop: one pass over ragged prompts, then token by token.

One function serves streaming, batches and the exported graph. It knows
nothing of text.
"""

from collections.abc import Callable
from typing import NamedTuple

from keras import ops

from keras_llm.generation.sampling import (
    choose_tokens,
    penalize_repetition,
    philox_uniform,
)
from keras_llm.layers.cache import write_to_cache


class Sampling(NamedTuple):
    """Settings of each row; see `choose_tokens` for dtypes and meaning.

    Args:
        temperature, top_k, top_p, min_p: `(batch,)`.
        repetition_penalty: float32 `(batch,)`; 1 is off.
        key: uint32 `(batch, 2)`, the low and high word of each row's seed.
    """

    temperature: object
    top_k: object
    top_p: object
    min_p: object
    repetition_penalty: object
    key: object


class DecodingState(NamedTuple):
    """Everything the next step needs.

    Args:
        token_ids: int32 `(batch, max_length)`, prompts and what followed.
        lengths: int32 `(batch,)`, tokens of each row so far.
        finished: bool `(batch,)`.
        steps: int32 `(batch,)`, random numbers that each row has used.
        cache: list, as the model makes it.
    """

    token_ids: object
    lengths: object
    finished: object
    steps: object
    cache: object


def prefill(model, token_ids, lengths, max_length) -> DecodingState:
    """Reads the prompts into a fresh cache.

    Args:
        model: a `ScratchCausalLM`.
        token_ids: int32 `(batch, prompt_length)`, prompts at the left.
        lengths: int32 `(batch,)`, from 1 to `prompt_length`.
        max_length: int or int32 scalar, tokens that prompt and answer may
            have together; at least `prompt_length`.

    Returns:
        The state before the first new token.
    """
    batch_size, prompt_length = ops.shape(token_ids)
    # The last token of each prompt is left to the first decoding step.
    seen = ops.arange(prompt_length, dtype="int32")[None] < lengths[:, None] - 1
    zeros = ops.zeros_like(lengths)
    _, _, cache = model.call_with_cache(
        token_ids,
        model.initial_cache(batch_size, max_length),
        zeros,
        padding_mask=seen,
    )
    room = ops.zeros((batch_size, max_length - prompt_length), "int32")
    return DecodingState(
        token_ids=ops.concatenate([token_ids, room], axis=1),
        lengths=lengths,
        finished=ops.zeros_like(lengths, dtype="bool"),
        steps=zeros,
        cache=cache,
    )


def decode(
    model,
    state: DecodingState,
    sampling: Sampling,
    max_steps,
    stopped: Callable,
    limits=None,
    bias=None,
) -> DecodingState:
    """Generates up to `max_steps` tokens a row, fewer where all rows end.

    Args:
        model: a `ScratchCausalLM`.
        state: from `prefill` or an earlier `decode`.
        sampling: settings of each row.
        max_steps: int or int32 scalar.
        stopped: from int32 `token_ids` and `lengths` to bool `(batch,)`:
            whether each row's newest token ends it; the token is kept.
        limits: int32 `(batch,)`, the most tokens of each row, its prompt
            included; as many as `token_ids` holds if omitted.
        bias: float32 `(batch, vocabulary_size)`, added to the logits.

    Returns:
        The state afterwards.
    """
    max_length = ops.shape(state.token_ids)[1]
    if limits is None:
        limits = max_length
    # Of all steps at once: a few hundred small operations, but only once.
    steps = state.steps[:, None] + ops.arange(max_steps, dtype="int32")[None]
    uniforms = philox_uniform(sampling.key, steps)

    def unfinished(step, *state):
        state = DecodingState(*state)
        return ops.logical_and(
            step < max_steps, ops.logical_not(ops.all(state.finished))
        )

    def body(step, *state):
        state = DecodingState(*state)
        logits, cache = _next_logits(model, state, sampling)
        if bias is not None:
            logits += bias
        token = choose_tokens(
            logits,
            sampling.temperature,
            sampling.top_k,
            sampling.top_p,
            sampling.min_p,
            uniforms[:, step],
        )
        running = ops.logical_not(state.finished)
        end = ops.minimum(state.lengths, max_length - 1)
        new = ops.where(running, token, _tokens_at(state.token_ids, end))
        token_ids = write_to_cache(state.token_ids, new[:, None], end[:, None])
        lengths = state.lengths + ops.cast(running, "int32")
        ended = ops.logical_and(running, stopped(token_ids, lengths))
        finished = state.finished | ended | (lengths >= limits)
        return (
            step + 1,
            *DecodingState(
                token_ids, lengths, finished, state.steps + 1, cache
            ),
        )

    finished = state.finished | (state.lengths >= limits)
    first = (ops.zeros((), "int32"), *state._replace(finished=finished))
    return DecodingState(*ops.while_loop(unfinished, body, first)[1:])


def ends_with(stop_token_ids) -> Callable:
    """What `decode` stops at: rows whose newest token is one of these.

    Args:
        stop_token_ids: int32 `(count,)`, or `(batch, count)` of each row.
    """

    def stopped(token_ids, lengths):
        token = _tokens_at(token_ids, ops.maximum(lengths - 1, 0))
        stops = ops.convert_to_tensor(stop_token_ids, dtype="int32")
        return ops.any(ops.equal(token[:, None], stops), axis=1)

    return stopped


def _tokens_at(token_ids, positions):
    """int32 `(batch,)`: of each row the token at its own position.

    `ops.take_along_axis` is sixty operations in a graph of TensorFlow.
    """
    batch_size, max_length = ops.shape(token_ids)
    places = ops.arange(batch_size, dtype="int32") * max_length + positions
    return ops.take(ops.reshape(token_ids, (-1,)), places, axis=0)


def _next_logits(model, state, sampling):
    """float32 `(batch, vocabulary_size)`, and the cache with the last token."""
    position = state.lengths - 1
    last = _tokens_at(state.token_ids, position)[:, None]
    logits, _, cache = model.call_with_cache(last, state.cache, position)
    logits = penalize_repetition(
        ops.cast(logits[:, 0], "float32"),
        state.token_ids,
        state.lengths,
        sampling.repetition_penalty,
    )
    return logits, cache
