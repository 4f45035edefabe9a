"""Logits to tokens, each row by its own settings and random numbers."""

import keras
from keras import ops

# Salmon et al. 2011, https://doi.org/10.1145/2063384.2063405
PHILOX_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
PHILOX_WEYL = (0x9E3779B9, 0xBB67AE85)


def choose_tokens(
    logits, temperature, top_k, top_p, min_p, uniform
) -> keras.KerasTensor:
    """Draws one token a row.

    Args:
        logits: float `(batch, vocabulary_size)`.
        temperature: float32 `(batch,)`; 0 is greedy.
        top_k: int32 `(batch,)`; 0 is off.
        top_p: float32 `(batch,)` in (0, 1]; 1 is off.
        min_p: float32 `(batch,)` in [0, 1); 0 is off.
        uniform: float32 `(batch,)` in [0, 1), the random numbers.

    Returns:
        int32 `(batch,)`.
    """
    logits = ops.cast(logits, "float32")
    greedy = ops.cast(ops.argmax(logits, axis=-1), "int32")

    def draw():
        scaled = logits / ops.maximum(temperature, 1e-6)[:, None]
        # Sorts the vocabulary: only where a row wants it.
        wanted = (top_k > 0) | (top_p < 1) | (min_p > 0)
        kept = ops.cond(
            ops.any(wanted),
            lambda: filter_logits(scaled, top_k, top_p, min_p),
            lambda: scaled,
        )
        return ops.where(temperature > 0, draw_tokens(kept, uniform), greedy)

    return ops.cond(ops.any(temperature > 0), draw, lambda: greedy)


def draw_tokens(logits, uniform):
    """int32 `(batch,)`, each as often as the softmax of its logits says."""
    cumulative = ops.cumsum(ops.softmax(logits, axis=-1), axis=-1)
    # Scaled by the total, which rounding may leave below one.
    target = uniform[:, None] * cumulative[:, -1:]
    below = ops.sum(ops.cast(cumulative <= target, "int32"), axis=-1)
    return ops.minimum(below, logits.shape[-1] - 1)


def filter_logits(logits, top_k, top_p, min_p):
    """Sets the logits of tokens that may not be drawn to -1e9.

    First the `top_k` likeliest stay; of these the smallest set whose
    probability reaches `top_p` (Holtzman et al. 2019,
    https://arxiv.org/abs/1904.09751); of these the ones at least `min_p`
    times as likely as the likeliest (https://arxiv.org/abs/2407.01082).
    Tokens equal to the last that stays, stay.

    Args:
        logits: float32 `(batch, vocabulary_size)`.
        top_k, top_p, min_p: `(batch,)`, as in `choose_tokens`.

    Returns:
        float32 `(batch, vocabulary_size)`.
    """
    descending = -ops.sort(-logits, axis=-1)
    rank = ops.arange(logits.shape[-1], dtype="int32")[None, :]
    keep = ops.logical_or(rank < top_k[:, None], top_k[:, None] <= 0)
    probability = ops.softmax(ops.where(keep, descending, -1e9), axis=-1)
    before = ops.cumsum(probability, axis=-1) - probability
    off = top_p[:, None] >= 1
    keep &= ops.logical_or(off, before < top_p[:, None])
    keep &= probability >= min_p[:, None] * probability[:, :1]
    keep = ops.logical_or(keep, rank == 0)
    last = ops.min(ops.where(keep, descending, 1e9), axis=-1, keepdims=True)
    return ops.where(logits >= last, logits, -1e9)


def penalize_repetition(logits, token_ids, lengths, penalty):
    """Makes tokens that a row already has less likely.

    Keskar et al. 2019, https://arxiv.org/abs/1909.05858.

    Args:
        logits: float32 `(batch, vocabulary_size)`.
        token_ids: int32 `(batch, max_length)`.
        lengths: int32 `(batch,)`, at least 1: how many of them count.
        penalty: float32 `(batch,)`; 1 is off.

    Returns:
        float32 `(batch, vocabulary_size)`.
    """
    return ops.cond(
        ops.any(penalty != 1),
        lambda: _penalized(logits, token_ids, lengths, penalty),
        lambda: logits,
    )


def _penalized(logits, token_ids, lengths, penalty):
    max_length = ops.shape(token_ids)[1]
    counts = ops.arange(max_length, dtype="int32")[None] < lengths[:, None]
    # What does not count becomes a repetition of the first, which does.
    token_ids = ops.where(counts, token_ids, token_ids[:, :1])
    seen = ops.take_along_axis(logits, token_ids, axis=-1)
    penalty = penalty[:, None]
    seen = ops.where(seen > 0, seen / penalty, seen * penalty)
    rows = ops.arange(ops.shape(token_ids)[0], dtype="int32")[:, None]
    rows = ops.broadcast_to(rows, ops.shape(token_ids))
    indices = ops.reshape(ops.stack([rows, token_ids], axis=-1), (-1, 2))
    return ops.scatter_update(logits, indices, ops.reshape(seen, (-1,)))


def philox_uniform(key, step):
    """Random numbers that are a function of `(key, step)` alone.

    Philox4x32-10, first word, in 32-bit arithmetic that every backend and
    TensorFlow Serving compute alike.

    Args:
        key: uint32 `(batch, 2)`, the low and high word of each row's seed.
        step: int32 scalar or `(batch,)`, or `(batch or 1, steps)` for
            several at once.

    Returns:
        float32 `(batch,)` or `(batch, steps)`, multiples of 2**-24 in [0, 1).
    """
    step = ops.cast(step, "uint32")
    key = ops.unstack(key, num=2, axis=1)
    if len(step.shape) == 2:
        key = [word[:, None] for word in key]
    first = ops.zeros_like(key[0]) + step
    zero = ops.zeros_like(first)
    word = philox([first, zero, zero, zero], key)[0]
    word = ops.right_shift(word, _uint32(8))
    return ops.cast(word, "float32") * 2.0**-24


def philox(counter: list, key: list) -> list:
    """Ten rounds on four uint32 tensors, keyed by two."""

    def one_round(_, state):
        counter, key = state
        high_0, low_0 = _multiply(PHILOX_MULTIPLIERS[0], counter[0])
        high_1, low_1 = _multiply(PHILOX_MULTIPLIERS[1], counter[2])
        counter = (
            ops.bitwise_xor(ops.bitwise_xor(high_1, counter[1]), key[0]),
            low_1,
            ops.bitwise_xor(ops.bitwise_xor(high_0, counter[3]), key[1]),
            low_0,
        )
        key = tuple(
            word + _uint32(weyl)
            for word, weyl in zip(key, PHILOX_WEYL, strict=True)
        )
        return counter, key

    # A loop, for ten rounds were most of an exported graph's operations.
    state = tuple(counter), tuple(key)
    counter, _ = ops.fori_loop(0, 10, one_round, state)
    return list(counter)


def _multiply(constant, x):
    """High and low 32 bits of a product, by halves of 16 bits."""
    half, mask = _uint32(16), _uint32(0xFFFF)
    a_high, a_low = _uint32(constant >> 16), _uint32(constant & 0xFFFF)
    x_high, x_low = ops.right_shift(x, half), ops.bitwise_and(x, mask)
    low_high, high_low = a_low * x_high, a_high * x_low
    middle = (
        ops.right_shift(a_low * x_low, half)
        + ops.bitwise_and(low_high, mask)
        + ops.bitwise_and(high_low, mask)
    )
    high = a_high * x_high + ops.right_shift(middle, half)
    high += ops.right_shift(low_high, half) + ops.right_shift(high_low, half)
    return high, _uint32(constant) * x


def _uint32(value):
    return ops.convert_to_tensor(value, dtype="uint32")
