"""What holds of all layers: alone in a model, from their config, dropout."""

import inspect

import keras
import numpy as np
import pytest

from keras_llm.errors import InputError
from keras_llm.layers import (
    BLOCK_TYPES,
    CausalSelfAttention,
    FeedForward,
    GRUCell,
    LSTMCell,
    RecurrentLayer,
    ResidualBlock,
    RNNCell,
    RotaryEmbedding,
    TokenAndPositionEmbedding,
)

LAYERS = {
    "attention": lambda: CausalSelfAttention(
        8,
        num_heads=4,
        num_key_value_heads=2,
        head_dim=6,
        rotary=True,
        rope_max_wavelength=100.0,
        rope_scaling={"rope_type": "linear", "factor": 2.0},
        query_key_norm=True,
        query_key_norm_epsilon=1e-4,
        sliding_window=3,
        causal=False,
        use_bias=False,
        output_bias=True,
        dropout=0.25,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.5),
        output_initializer="zeros",
    ),
    "feed-forward": lambda: FeedForward(
        8,
        12,
        activation="swiglu",
        use_bias=False,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.5),
    ),
    "gru": lambda: RecurrentLayer(8, "gru"),
    "lstm": lambda: RecurrentLayer(8, "lstm"),
    "rnn": lambda: RecurrentLayer(8, "rnn", dtype="mixed_bfloat16"),
    **{
        f"{block_type} block": lambda block_type=block_type: ResidualBlock(
            8,
            block_type,
            intermediate_dim=12,
            num_heads=2,
            normalization="rms",
            layer_norm_epsilon=1e-3,
            head_dim=6,
            use_bias=False,
            attention_bias=True,
            attention_output_bias=False,
            feed_forward_bias=True,
            activation="relu_squared",
            dropout=0.5,
            kernel_initializer="he_normal",
        )
        for block_type in BLOCK_TYPES
    },
    "block without feed-forward": lambda: ResidualBlock(
        8, "gru", intermediate_dim=0
    ),
}
OTHERS = {
    "embedding": lambda: TokenAndPositionEmbedding(
        10, 8, 6, tie_word_embeddings=False, dropout=0.1
    ),
    "rotary embedding": lambda: RotaryEmbedding(
        50.0, {"rope_type": "linear", "factor": 2.0}
    ),
    "gru cell": lambda: GRUCell(8),
    "lstm cell": lambda: LSTMCell(8),
    "rnn cell": lambda: RNNCell(8),
}
EVERY = LAYERS | OTHERS


def inputs():
    return np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
def test_a_layer_is_usable_alone_in_a_functional_model(make, tmp_path):
    entry = keras.Input((None, 8))
    output = make()(entry)
    assert output.shape == (None, None, 8)
    model = keras.Model(entry, output)
    expected = model(inputs())
    assert expected.shape == (2, 5, 8)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(inputs()), expected)


@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY.keys())
def test_a_layer_is_made_again_from_its_config(make):
    layer = make()
    config = layer.get_config()
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(layer)
    )
    assert type(again) is type(layer)
    assert again.get_config() == config
    assert type(layer).from_config(config).get_config() == config


@pytest.mark.parametrize("make", EVERY.values(), ids=EVERY.keys())
def test_every_argument_of_a_layer_is_in_its_config(make):
    layer = make()
    arguments = set(inspect.signature(type(layer)).parameters) - {"kwargs"}
    assert arguments <= set(layer.get_config())


@pytest.mark.parametrize("block_type", BLOCK_TYPES)
def test_dropout_acts_only_while_training(block_type):
    block = ResidualBlock(8, block_type, dropout=0.5)
    x = inputs()
    calm = block(x, training=False)
    np.testing.assert_array_equal(block(x), calm)
    first, second = block(x, training=True), block(x, training=True)
    assert np.any(np.abs(first - calm) > 1e-3)
    assert np.any(np.abs(first - second) > 1e-3)


def test_attention_weights_are_dropped_only_while_training():
    layer = CausalSelfAttention(8, num_heads=2, dropout=0.5)
    x = inputs()
    calm = layer(x, training=False)
    np.testing.assert_array_equal(layer(x), calm)
    assert np.any(np.abs(layer(x, training=True) - calm) > 1e-3)


def test_embeddings_are_dropped_only_while_training():
    layer = TokenAndPositionEmbedding(10, 8, dropout=0.5)
    token_ids = np.array([[1, 2, 3]], "int32")
    assert np.all(layer(token_ids, training=False) != 0)
    assert np.any(layer(token_ids, training=True) == 0)


def test_unknown_options_of_a_block_are_named_with_the_known_ones():
    known = ", ".join(BLOCK_TYPES)
    with pytest.raises(InputError, match=f"{known}. Received: 'mamba'"):
        ResidualBlock(8, "mamba")
    with pytest.raises(
        InputError, match="layer, rms or none. Received: 'batch'"
    ):
        ResidualBlock(8, normalization="batch")
