import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from testing import randomize

from keras_llm.errors import InputError
from keras_llm.layers import CausalSelfAttention

BATCH, LENGTH, WIDTH, HEADS = 2, 7, 16, 4
PADDING = np.arange(LENGTH) < np.array([[LENGTH], [4]])

YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 40,
}
OPTIONS = {
    "multi-head": {},
    "grouped-query": {"num_key_value_heads": 2},
    "multi-query": {"num_key_value_heads": 1},
    "sliding window": {"sliding_window": 3},
    "query-key norm": {"query_key_norm": True},
    "query-key norm of another epsilon": {
        "query_key_norm": True,
        "query_key_norm_epsilon": 0.1,
    },
    "wide heads": {"head_dim": 6, "num_key_value_heads": 2, "rotary": True},
    "narrow heads": {"num_heads": 3, "head_dim": 2},
    "output without a bias": {"output_bias": False},
    "output with a bias": {"use_bias": False, "output_bias": True},
    "yarn": {"rotary": True, "rope_scaling": YARN, "head_dim": 16},
    "rotary": {"rotary": True},
    "rotary of another wavelength": {
        "rotary": True,
        "rope_max_wavelength": 50.0,
    },
    "without biases": {"use_bias": False},
    "encoder": {"causal": False},
    "encoder with a window": {"causal": False, "sliding_window": 2},
    "all together": {
        "num_key_value_heads": 2,
        "sliding_window": 3,
        "query_key_norm": True,
        "rotary": True,
    },
}


def attention(**options):
    layer = CausalSelfAttention(WIDTH, **{"num_heads": HEADS} | options)
    layer.build((BATCH, LENGTH, WIDTH))
    randomize(layer)
    return layer


def inputs(seed=1):
    shape = (BATCH, LENGTH, WIDTH)
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def dense(layer, x):
    y = x @ layer.kernel.numpy().astype("float64")
    return y + layer.bias.numpy() if layer.use_bias else y


def rms_norm(layer, x):
    scale = layer.scale.numpy().astype("float64")
    mean = (x**2).mean(-1, keepdims=True)
    return x / np.sqrt(mean + layer.epsilon) * scale


def yarn(frequencies, scaling):
    """Frequencies and magnitude, as Peng et al. give them."""
    turns = frequencies * scaling["original_max_position_embeddings"]
    turns /= 2 * np.pi
    # The ramp is linear in the number of a dimension, between the whole ones
    # that go round 32 times and once.
    places = np.arange(len(frequencies))
    low, high = np.interp(np.log([32, 1]), np.log(turns[::-1]), places[::-1])
    low = max(math.floor(low), 0)
    high = min(math.ceil(high), 2 * len(places) - 1)
    slowed = np.clip((places - low) / (high - low), 0, 1)
    frequencies = frequencies * (1 - slowed + slowed / scaling["factor"])
    return frequencies, 0.1 * np.log(scaling["factor"]) + 1


def rotated(x, max_wavelength, scaling=None):
    """Llama's `apply_rotary_pos_emb`, one head, `(length, head_dim)`."""
    length, dim = x.shape
    frequencies = 1.0 / max_wavelength ** (np.arange(0, dim, 2) / dim)
    if scaling is not None:
        frequencies, magnitude = yarn(frequencies, scaling)
        x = x * magnitude
    angles = np.outer(np.arange(length), frequencies)
    angles = np.concatenate([angles, angles], axis=-1)
    half = np.concatenate([-x[:, dim // 2 :], x[:, : dim // 2]], axis=-1)
    return x * np.cos(angles) + half * np.sin(angles)


def may_look(layer, query, key):
    near = not layer.sliding_window or abs(query - key) < layer.sliding_window
    return near and (key <= query or not layer.causal)


def reference(layer, x, padding_mask):
    """The same layer, one row, head and pair of positions at a time."""
    x = x.astype("float64")
    dim, outputs = layer.head_dim, []
    group = layer.num_heads // layer.num_key_value_heads
    for row, real in zip(x, padding_mask, strict=True):
        query = dense(layer.query, row).reshape(LENGTH, -1, dim)
        key = dense(layer.key, row).reshape(LENGTH, -1, dim)
        value = dense(layer.value, row).reshape(LENGTH, -1, dim)
        if layer.query_key_norm:
            query = rms_norm(layer.query_norm, query)
            key = rms_norm(layer.key_norm, key)
        mixed = np.zeros((LENGTH, layer.num_heads, dim))
        for head in range(layer.num_heads):
            q, k = query[:, head], key[:, head // group]
            if layer.rotary:
                how = layer.rope_max_wavelength, layer.rope_scaling
                q, k = rotated(q, *how), rotated(k, *how)
            for t in range(LENGTH):
                seen = [
                    s
                    for s in range(LENGTH)
                    if real[s] and may_look(layer, t, s)
                ]
                if not seen:
                    continue
                scores = np.exp(k[seen] @ q[t] / np.sqrt(dim))
                weights = scores / scores.sum()
                mixed[t, head] = weights @ value[seen, head // group]
        outputs.append(dense(layer.attention_output, mixed.reshape(LENGTH, -1)))
    return np.array(outputs)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_attention_equals_the_definition(options):
    layer, x = attention(**options), inputs()
    everything = np.ones_like(PADDING)
    np.testing.assert_allclose(
        layer(x), reference(layer, x, everything), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_padded_attention_equals_the_definition(options):
    layer, x = attention(**options), inputs()
    expected = reference(layer, x, PADDING)
    received = np.asarray(layer(x, padding_mask=PADDING))
    np.testing.assert_allclose(
        received[PADDING], expected[PADDING], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("key_value_heads", [4, 2, 1])
@pytest.mark.parametrize("causal", [True, False])
def test_attention_equals_torch(key_value_heads, causal):
    layer = attention(num_key_value_heads=key_value_heads, causal=causal)
    x = inputs()

    def heads(projection):
        y = torch.tensor(np.array(projection(x)))
        return y.reshape(BATCH, LENGTH, -1, layer.head_dim).transpose(1, 2)

    mixed = torch.nn.functional.scaled_dot_product_attention(
        heads(layer.query),
        heads(layer.key),
        heads(layer.value),
        is_causal=causal,
        enable_gqa=True,
    )
    mixed = mixed.transpose(1, 2).reshape(BATCH, LENGTH, WIDTH).numpy()
    np.testing.assert_allclose(
        layer(x), layer.attention_output(mixed), rtol=1e-5, atol=1e-5
    )


@pytest.mark.slow
def test_the_fused_attention_on_jax_equals_both_too():
    pytest.importorskip("jax")
    chosen = "equals_torch or padded and (grouped or together or encoder)"
    pytest_alone = (sys.executable, "-m", "pytest", "-q", "-p", "no:xdist")
    done = subprocess.run(
        [*pytest_alone, __file__, "-k", chosen],
        env=os.environ | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "10 passed" in done.stdout


@pytest.mark.parametrize(
    "options",
    [options for options in OPTIONS.values() if options.get("causal", True)],
)
def test_one_position_at_a_time_equals_all_at_once(options):
    layer, x = attention(**options), inputs()
    cache = layer.initial_cache(BATCH, LENGTH + 2)
    outputs = []
    for t in range(LENGTH):
        y, cache = layer(
            x[:, t : t + 1],
            cache=cache,
            cache_update_index=np.full(BATCH, t, "int32"),
        )
        outputs.append(y)
    outputs = np.concatenate(outputs, axis=1)
    np.testing.assert_allclose(outputs, layer(x), rtol=1e-5, atol=1e-5)


def test_rows_of_a_cache_advance_at_their_own_positions():
    layer, x = attention(rotary=True), inputs()
    starts = np.array([3, 1], "int32")
    cache = layer.initial_cache(BATCH, LENGTH)
    _, cache = layer(x, cache=cache, cache_update_index=np.zeros(2, "int32"))
    new = np.stack([x[row, start] for row, start in enumerate(starts)])
    y, _ = layer(new[:, None], cache=cache, cache_update_index=starts)
    whole = np.asarray(layer(x))
    expected = [whole[row, start] for row, start in enumerate(starts)]
    np.testing.assert_allclose(y[:, 0], expected, rtol=1e-5, atol=1e-5)


def test_heads_that_do_not_divide_the_width_are_named():
    with pytest.raises(InputError, match="num_heads must divide hidden_dim"):
        CausalSelfAttention(16, num_heads=3)
    with pytest.raises(InputError, match=r"\(16\).*num_heads=3"):
        CausalSelfAttention(16, num_heads=3)
    with pytest.raises(InputError, match="num_key_value_heads must divide"):
        CausalSelfAttention(16, num_heads=4, num_key_value_heads=3)


def test_rotary_positions_of_an_odd_head_dimension_are_refused_at_once():
    with pytest.raises(InputError, match="even head dimension.*Received: 3"):
        CausalSelfAttention(6, num_heads=2, rotary=True)


def test_a_window_without_positions_is_refused():
    with pytest.raises(InputError, match="sliding_window.*Received: -1"):
        CausalSelfAttention(16, num_heads=2, sliding_window=-1)


def test_a_head_without_width_is_refused():
    with pytest.raises(InputError, match="head_dim.*Received: 0"):
        CausalSelfAttention(16, num_heads=2, head_dim=0)


def test_an_encoder_has_no_cache():
    layer = attention(causal=False)
    cache = layer.initial_cache(BATCH, LENGTH)
    with pytest.raises(InputError, match="causal=True"):
        layer(
            inputs(), cache=cache, cache_update_index=np.zeros(BATCH, "int32")
        )
