import keras
import numpy as np
import pytest
from testing import (
    EVERY_TYPE,
    input_influence,
    randomize,
    slow_but,
    tiny_backbone,
)

from keras_llm.errors import InputError
from keras_llm.models import ScratchBackbone, ScratchCausalLM

LENGTH = 12
FUTURE = np.triu(np.ones((LENGTH, LENGTH)), k=1).astype(bool)


def random_ids(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 40, shape).astype("int32")


@pytest.mark.parametrize("block_types", EVERY_TYPE)
def test_output_does_not_depend_on_the_future(block_types):
    influence = input_influence(tiny_backbone(block_types), LENGTH)
    assert np.all(influence[FUTURE] == 0)
    assert np.all(influence[~FUTURE] > 0)  # and it does look at the past


@pytest.mark.parametrize("position_embedding", ["learned", "none"])
def test_causality_is_not_due_to_positions(position_embedding):
    backbone = tiny_backbone(position_embedding=position_embedding)
    influence = input_influence(backbone, LENGTH)
    assert np.all(influence[FUTURE] == 0)
    assert np.all(influence[~FUTURE] > 0)


def test_an_encoder_sees_the_future():
    backbone = tiny_backbone("attention", causal=False)
    assert np.all(input_influence(backbone, LENGTH) > 0)


def test_a_window_is_as_long_as_it_says():
    backbone = tiny_backbone("attention", num_layers=1, sliding_window=3)
    influence = input_influence(backbone, LENGTH)
    distance = np.subtract.outer(np.arange(LENGTH), np.arange(LENGTH))
    np.testing.assert_array_equal(
        influence > 0, (distance >= 0) & (distance < 3)
    )


@pytest.mark.parametrize("block_types", ["gru", ["attention", "rnn"]])
def test_blocks_that_read_forward_cannot_look_ahead(block_types):
    expected = "block_types must be attention where causal is false"
    with pytest.raises(InputError, match=expected):
        tiny_backbone(block_types, causal=False)


@pytest.mark.parametrize(
    ("block_types", "causal"),
    [*((types, True) for types in EVERY_TYPE), ("attention", False)],
)
def test_padding_never_changes_real_positions(block_types, causal):
    backbone = tiny_backbone(block_types, causal=causal)
    lengths = np.array([5, 9])
    token_ids = random_ids((2, LENGTH))
    mask = np.arange(LENGTH) < lengths[:, None]
    padded = backbone({"token_ids": token_ids, "padding_mask": mask})
    for row, length in enumerate(lengths):
        alone = backbone(
            {
                "token_ids": token_ids[row : row + 1, :length],
                "padding_mask": np.ones((1, length), "int32"),
            }
        )
        np.testing.assert_allclose(
            padded[row, :length], alone[0], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("position_embedding", ["learned", "rotary"])
def test_attention_knows_the_order_of_what_it_sees(position_embedding):
    backbone = tiny_backbone(
        num_layers=1, position_embedding=position_embedding
    )
    token_ids = random_ids((1, LENGTH))
    swapped = token_ids.copy()
    swapped[0, [1, 2]] = swapped[0, [2, 1]]
    mask = np.ones_like(token_ids)
    first, second = (
        backbone({"token_ids": ids, "padding_mask": mask})[0, -1]
        for ids in (token_ids, swapped)
    )
    assert np.max(np.abs(first - second)) > 1e-3


def test_backbone_is_made_again_from_its_config():
    backbone = tiny_backbone(
        ["gru", "attention", "lstm"],
        num_layers=4,
        num_heads=4,
        num_key_value_heads=2,
        position_embedding="learned",
        normalization="layer",
        layer_norm_epsilon=1e-4,
        activation="swiglu",
        query_key_norm=True,
        sliding_window=5,
        tie_word_embeddings=False,
        use_bias=True,
        zero_init_outputs=True,
        dropout=0.1,
        dtype="mixed_bfloat16",
        name="backbone",
    )
    config = backbone.get_config()
    again = ScratchBackbone.from_config(config)
    assert again.get_config() == config
    assert [block.block_type for block in again.blocks] == [
        "gru",
        "attention",
        "lstm",
        "gru",
    ]
    again.set_weights(backbone.get_weights())
    token_ids = random_ids((2, 5))
    inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(again(inputs)),
        keras.ops.convert_to_numpy(backbone(inputs)),
    )


def test_zero_initial_outputs_leave_the_embeddings_as_they_are():
    backbone = ScratchBackbone(40, 2, 2, 16, zero_init_outputs=True)
    token_ids = random_ids((1, 5))
    outputs = backbone(
        {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    )
    expected = backbone.final_norm(backbone.embedding(token_ids))
    np.testing.assert_allclose(outputs, expected, atol=1e-6)


@pytest.mark.parametrize("block_types", EVERY_TYPE)
@pytest.mark.parametrize("tied", slow_but([True, False], True))
def test_initial_loss_is_that_of_guessing(block_types, tied):
    keras.utils.set_random_seed(0)
    model = ScratchCausalLM(
        ScratchBackbone(
            vocabulary_size=500,
            num_layers=2,
            num_heads=2,
            hidden_dim=32,
            block_types=block_types,
            tie_word_embeddings=tied,
        )
    )
    token_ids = np.random.default_rng(0).integers(0, 500, (8, 33))
    logits = model(
        {
            "token_ids": token_ids[:, :-1],
            "padding_mask": np.ones((8, 32), "int32"),
        }
    )
    loss = keras.losses.sparse_categorical_crossentropy(
        token_ids[:, 1:], logits, from_logits=True
    )
    assert float(np.mean(loss)) == pytest.approx(np.log(500), rel=0.02)


@pytest.mark.parametrize("block_types", EVERY_TYPE)
def test_lora_trains_kernels_of_each_block_and_nothing_else(block_types):
    backbone = tiny_backbone(block_types, use_bias=True)
    backbone.enable_lora(2)
    adapted = set()
    for block in backbone.blocks:
        mixer = block.mixer
        if hasattr(mixer, "query"):
            layers = [mixer.query, mixer.value]
        elif hasattr(mixer, "cell"):
            layers = [mixer.input_projection, mixer.cell.recurrent]
        else:
            layers = [mixer.input_projection]
        for layer in layers:
            adapted |= {id(layer.lora_kernel_a), id(layer.lora_kernel_b)}
    assert {id(weight) for weight in backbone.trainable_weights} == adapted


@pytest.mark.slow
def test_an_adapted_model_learns_and_its_factors_are_saved(tmp_path):
    def adapted():
        model = ScratchCausalLM(tiny_backbone(["gru", "attention"]))
        model.backbone.enable_lora(4)
        model.compile(
            optimizer=keras.optimizers.Adam(3e-2),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )
        return model

    model, again = adapted(), adapted()
    ids = random_ids((4, 9))
    inputs = {"token_ids": ids[:, :-1], "padding_mask": ids[:, 1:] >= 0}
    frozen = [np.array(x) for x in model.non_trainable_weights]
    found = model.fit(inputs, ids[:, 1:], epochs=30, verbose=0)
    losses = found.history["loss"]
    assert losses[-1] < losses[0] - 0.5
    for before, after in zip(frozen, model.non_trainable_weights, strict=True):
        np.testing.assert_array_equal(before, after)
    path = str(tmp_path / "factors.lora.h5")
    model.backbone.save_lora_weights(path)
    again.backbone.load_lora_weights(path)
    np.testing.assert_array_equal(model(inputs), again(inputs))


def test_lora_of_no_layer_is_refused():
    with pytest.raises(InputError, match="target_layer_names.*'nothing'"):
        tiny_backbone("gru").enable_lora(2, ["nothing"])


def test_a_fit_of_nothing_is_refused():
    model = ScratchCausalLM(tiny_backbone("gru"))
    model.backbone.trainable = False
    model.compile(optimizer="sgd", loss="mse", jit_compile=False)
    with pytest.raises(InputError, match="weights to train. Received: none"):
        model.fit(x={"token_ids": random_ids((2, 4))})


@pytest.mark.parametrize("block_types", EVERY_TYPE)
def test_mixed_precision_computes_in_bfloat16(block_types):
    backbone = tiny_backbone(block_types, dtype="mixed_bfloat16")
    exact = tiny_backbone(block_types)
    assert all(weight.dtype == "float32" for weight in backbone.weights)
    randomize(backbone, deviation=0.1)
    randomize(exact, deviation=0.1)
    token_ids = random_ids((2, 6))
    inputs = {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}
    outputs = backbone(inputs)
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    np.testing.assert_allclose(
        keras.ops.cast(outputs, "float32"), exact(inputs), atol=0.15
    )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"block_types": "mamba"}, "block_type must be one of attention"),
        ({"block_types": []}, "block_types must .* at least one"),
        ({"num_layers": 0}, "num_layers must be .* at least 1. Received: 0"),
        ({"num_layers": -1}, "num_layers must be .* at least 1"),
        ({"hidden_dim": float("inf")}, "hidden_dim must be a whole number"),
        ({"num_heads": 3}, r"num_heads must divide hidden_dim \(16\)"),
        ({"num_heads": 16}, "even head dimension.*Received: 1"),
        ({"activation": "tanh"}, "activation must be one of gelu"),
        ({"normalization": "batch"}, "must be layer, rms or none"),
        ({"position_embedding": "alibi"}, "learned, rotary, none.*'alibi'"),
    ],
)
def test_options_that_cannot_be_used_are_named(options, message):
    with pytest.raises(InputError, match=message):
        tiny_backbone(**options)
