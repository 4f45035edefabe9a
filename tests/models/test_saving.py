import keras
import keras_hub
import numpy as np
import pytest
from testing import ragged_batch, run_python, tiny_model

from keras_llm.errors import InputError
from keras_llm.models import build_model, load_preset, save_preset
from keras_llm.recipes.settings import ModelSettings

TEXTS = ["the people of the union", "war and peace"]
ROWS = ragged_batch([[2, 5, 9, 300, 17], [2, 44, 7]], 8)


def logits(model):
    return keras.ops.convert_to_numpy(model(ROWS))


@pytest.mark.parametrize("block_types", ["attention", ["gru", "lstm"]])
def test_keras_file_keeps_model_optimizer_and_sampler(block_types, tmp_path):
    model = tiny_model(block_types, max_sequence_length=16)
    model.compile(
        optimizer=keras.optimizers.AdamW(1e-2, weight_decay=0.02),
        sampler=keras_hub.samplers.TopPSampler(p=0.3, k=7, seed=5),
        run_eagerly=True,
    )
    model.fit(TEXTS, batch_size=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(logits(loaded), logits(model))

    assert type(loaded.optimizer) is keras.optimizers.AdamW
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    assert len(loaded.optimizer.variables) == len(model.optimizer.variables)
    for mine, theirs in zip(
        loaded.optimizer.variables, model.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
    assert int(loaded.optimizer.iterations) == 1

    assert type(loaded.sampler) is keras_hub.samplers.TopPSampler
    assert loaded.sampler.get_config() == model.sampler.get_config()

    # And it trains on as if nothing had happened.
    losses = [
        one.fit(TEXTS, batch_size=2, verbose=0).history["loss"]
        for one in (model, loaded)
    ]
    assert losses[0] == losses[1]
    np.testing.assert_array_equal(logits(loaded), logits(model))


def test_keras_file_of_a_model_without_optimizer(tmp_path):
    model = tiny_model()
    model.compile(optimizer=None, loss=None, sampler="greedy")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer is None
    np.testing.assert_array_equal(logits(loaded), logits(model))


@pytest.mark.slow  # test_design.py opens one, too
def test_preset_restores_in_a_fresh_process(tmp_path):
    model = tiny_model(["gru", "attention"])
    model.compile(sampler="greedy", run_eagerly=True)
    model.save_to_preset(str(tmp_path / "preset"))
    code = """
import sys

import numpy as np
import keras_hub

import keras_llm

folder = sys.argv[1]
model = keras_hub.models.CausalLM.from_preset(folder + "/preset")
model.compile(sampler="greedy", run_eagerly=True)
rows = dict(np.load(folder + "/rows.npz"))
np.save(folder + "/logits.npy", model(rows))
print(type(model).__name__, model.generate("the people", max_length=16))
"""
    np.savez(tmp_path / "rows.npz", **ROWS)
    printed = run_python(code, tmp_path)
    expected = model.generate("the people", max_length=16)
    assert printed == f"ScratchCausalLM {expected}\n"
    received = np.load(tmp_path / "logits.npy")
    np.testing.assert_allclose(received, logits(model), rtol=1e-5, atol=1e-5)


def test_backbone_and_preprocessor_restore_from_a_preset(tmp_path):
    model = tiny_model(max_sequence_length=24)
    save_preset(model, tmp_path / "preset")
    path = str(tmp_path / "preset")
    backbone = keras_hub.models.Backbone.from_preset(path)
    assert backbone.get_config() == model.backbone.get_config()
    preprocessor = keras_hub.models.CausalLMPreprocessor.from_preset(path)
    assert preprocessor.sequence_length == 24
    tokenizer = keras_hub.models.Tokenizer.from_preset(path)
    expected = model.preprocessor.tokenizer("the people")
    for one in (tokenizer, preprocessor.tokenizer):
        np.testing.assert_array_equal(one("the people"), expected)


def test_load_preset_takes_a_preset_or_its_run(tmp_path):
    model = tiny_model()
    save_preset(model, tmp_path / "run" / "preset")
    for path in (tmp_path / "run", tmp_path / "run" / "preset"):
        np.testing.assert_array_equal(logits(load_preset(path)), logits(model))


def test_a_folder_without_preset_is_named(tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path} must be a preset"):
        load_preset(tmp_path)


def test_a_damaged_preset_is_named(tmp_path):
    save_preset(tiny_model(), tmp_path / "preset")
    weights = tmp_path / "preset" / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="preset cannot be read"):
        load_preset(tmp_path)


def test_build_model_is_decided_by_its_seed():
    settings = ModelSettings(
        block_types="gru,attention",
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        max_sequence_length=32,
    )
    tokenizer = tiny_model().preprocessor.tokenizer
    first, same, other = (
        build_model(settings, tokenizer, seed=seed) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(logits(first), logits(same))
    assert np.any(logits(first) != logits(other))
    assert first.preprocessor.sequence_length == 32
    names = [block.block_type for block in first.backbone.blocks]
    assert names == ["gru", "attention"]


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_preset_of_a_mixed_precision_model_can_be_loaded(tmp_path, dtype):
    from keras_llm.models import load_preset, save_preset

    model = tiny_model(dtype=dtype)
    save_preset(model, tmp_path / "preset")
    loaded = load_preset(tmp_path / "preset")
    assert loaded.dtype_policy.name == "float32"
    for old, new in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(np.array(old), np.array(new))
