import keras
import numpy as np
import pytest
import torch
from testing import randomize

from keras_llm.errors import InputError
from keras_llm.layers import RotaryEmbedding, TokenAndPositionEmbedding

POSITIONS = np.arange(9, dtype="int32")[None]


def vectors(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def llama_rotary(x, positions, max_wavelength):
    """`x * cos + rotate_half(x) * sin`, on `(batch, length, heads, dim)`."""
    dim = x.shape[-1]
    frequencies = 1.0 / max_wavelength ** (np.arange(0, dim, 2) / dim)
    angles = positions[..., None] * frequencies
    angles = np.concatenate([angles, angles], axis=-1)[:, :, None]
    half = np.concatenate([-x[..., dim // 2 :], x[..., : dim // 2]], axis=-1)
    return x * np.cos(angles) + half * np.sin(angles)


@pytest.mark.parametrize("max_wavelength", [10_000.0, 500_000.0])
def test_rotary_embedding_has_the_layout_of_llama(max_wavelength):
    x = vectors(2, 9, 3, 8)
    positions = np.stack([POSITIONS[0], POSITIONS[0] + 100])
    np.testing.assert_allclose(
        RotaryEmbedding(max_wavelength)(x, positions),
        llama_rotary(x, positions, max_wavelength),
        atol=2e-5,
    )


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


@pytest.mark.parametrize(
    "scaling", [{"rope_type": "linear", "factor": 4.0}, LLAMA3]
)
def test_scaled_rotations_are_those_of_transformers(scaling):
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    x = vectors(1, 9, 1, 16)
    positions = POSITIONS * 50
    rope = scaling | {"rope_theta": 10_000.0}
    config = LlamaConfig(
        hidden_size=16, num_attention_heads=1, rope_parameters=rope
    )
    theirs = LlamaRotaryEmbedding(config)
    cos, sin = theirs(torch.tensor(x), torch.tensor(positions))
    first, second = np.split(x[:, :, 0], 2, axis=-1)
    half = np.concatenate([-second, first], axis=-1)
    np.testing.assert_allclose(
        RotaryEmbedding(scaling=scaling)(x, positions)[:, :, 0],
        x[:, :, 0] * cos.numpy() + half * sin.numpy(),
        atol=2e-5,
    )


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ({"rope_type": "longrope", "factor": 2.0}, "llama3.*'longrope'"),
        ({"factor": 2.0}, "rope_type must be one of"),
        ({"rope_type": "llama3", "factor": 2.0}, "low_freq_factor"),
        (LLAMA3 | {"rope_type": "linear"}, "must have factor. Received"),
    ],
)
def test_other_scalings_are_refused(scaling, expected):
    with pytest.raises(InputError, match=expected):
        RotaryEmbedding(scaling=scaling)


def test_rotary_embedding_keeps_the_norm():
    x = vectors(1, 9, 2, 8)
    np.testing.assert_allclose(
        np.linalg.norm(RotaryEmbedding()(x, POSITIONS), axis=-1),
        np.linalg.norm(x, axis=-1),
        rtol=1e-5,
    )


def test_rotary_scores_depend_on_the_distance_only():
    query, key = vectors(1, 1, 1, 8), vectors(1, 1, 1, 8, seed=1)
    rotary = RotaryEmbedding()

    def score(query_position, key_position):
        q = rotary(query, np.array([[query_position]], "int32"))
        k = rotary(key, np.array([[key_position]], "int32"))
        return float(np.sum(q * k))

    assert score(5, 2) == pytest.approx(score(45, 42), abs=1e-4)
    assert abs(score(5, 2) - score(5, 3)) > 1e-2


def test_an_odd_head_dimension_is_refused():
    with pytest.raises(InputError, match="Received: 3"):
        RotaryEmbedding()(vectors(1, 9, 1, 3), POSITIONS)


@pytest.mark.parametrize("tied", [True, False])
def test_embedding_adds_positions_and_projects_back(tied):
    layer = TokenAndPositionEmbedding(10, 8, 6, tie_word_embeddings=tied)
    layer.build((None, None))
    randomize(layer)
    token_ids = np.array([[3, 1, 4], [1, 5, 9]], "int32")
    table = layer.token_embedding.embeddings.numpy()
    positions = layer.position_embedding.numpy()
    np.testing.assert_allclose(
        layer(token_ids), table[token_ids] + positions[:3], rtol=1e-6
    )
    hidden = vectors(2, 3, 8)
    head = table.T if tied else layer.token_embedding.reverse_embeddings.numpy()
    np.testing.assert_allclose(
        layer(hidden, reverse=True), hidden @ head, rtol=1e-5, atol=1e-5
    )


def test_each_row_may_start_at_its_own_position():
    layer = TokenAndPositionEmbedding(10, 8, 6)
    layer.build((None, None))
    token_ids = np.array([[3, 1], [3, 1]], "int32")
    start = np.array([0, 4], "int32")
    table = layer.token_embedding.embeddings.numpy()
    positions = layer.position_embedding.numpy()
    expected = table[token_ids] + np.stack([positions[:2], positions[4:6]])
    np.testing.assert_allclose(
        layer(token_ids, start_index=start), expected, rtol=1e-6
    )


@pytest.mark.parametrize(
    "tied, positions, expected",
    [(True, None, 80), (False, None, 160), (True, 6, 128)],
)
def test_tied_embeddings_have_one_matrix(tied, positions, expected):
    layer = TokenAndPositionEmbedding(
        10, 8, positions, tie_word_embeddings=tied
    )
    layer.build((None, None))
    assert layer.count_params() == expected


def test_embedding_is_usable_in_a_functional_model():
    layer = TokenAndPositionEmbedding(10, 8, 6)
    token_ids = keras.Input((None,), dtype="int32")
    hidden = layer(token_ids)
    assert hidden.shape == (None, None, 8)
    logits = layer(hidden, reverse=True)
    assert logits.shape == (None, None, 10)
    model = keras.Model(token_ids, logits)
    assert model(np.ones((2, 5), "int32")).shape == (2, 5, 10)
