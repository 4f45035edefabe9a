"""The encoder that tells masked words is a `MaskedLM` of KerasHub's."""

from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
from testing import ragged_batch, run_python, tiny_backbone, tiny_encoder

from keras_llm.errors import InputError
from keras_llm.models import ScratchCausalLM, ScratchMaskedLM, save_preset
from keras_llm.tokenizers.control import MASK

TEXTS = ["the people of the union", "war and peace"]
ROWS = ragged_batch([[2, 5, 9, 300, 17], [2, 44, 7]], 8)
ROWS["mask_positions"] = np.array([[1, 3], [2, 0]], "int32")


def logits(model):
    return keras.ops.convert_to_numpy(model(ROWS))


def test_each_mask_is_told_from_both_sides():
    model = tiny_encoder()
    before = logits(model)
    for position in (0, 4):  # of the first row, whose masks are 1 and 3
        rows = {name: array.copy() for name, array in ROWS.items()}
        rows["token_ids"][0, position] += 1
        after = keras.ops.convert_to_numpy(model(rows))
        assert np.abs(after[0] - before[0]).max(axis=-1).min() > 1e-3
        np.testing.assert_array_equal(after[1], before[1])


def test_padding_changes_nothing():
    model = tiny_encoder()
    padded = {
        name: np.pad(ROWS[name], [[0, 0], [0, 6]])
        for name in ("token_ids", "padding_mask")
    }
    np.testing.assert_allclose(
        model(padded | {"mask_positions": ROWS["mask_positions"]}),
        logits(model),
        rtol=1e-4,
        atol=1e-4,
    )


def test_the_head_is_that_of_bert():
    """What is computed, by hand, from the backbone's states."""
    model = tiny_encoder(activation="gelu_exact")
    head = {
        weight.path.split("masked_lm_head/")[-1]: np.array(weight)
        for weight in model.masked_lm_head.weights
    }
    table = np.array(model.backbone.token_embedding.embeddings)
    hidden = np.array(model.backbone({k: ROWS[k] for k in list(ROWS)[:2]}))
    x = np.take_along_axis(hidden, ROWS["mask_positions"][..., None], axis=1)
    x = x @ head["intermediate_dense/kernel"] + head["intermediate_dense/bias"]
    x = np.array(keras.ops.gelu(x, approximate=False))
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    x = x * head["intermediate_layer_norm/gamma"]
    x = x + head["intermediate_layer_norm/beta"]
    expected = x @ table.T + head["output_bias"]
    np.testing.assert_allclose(logits(model), expected, rtol=1e-4, atol=1e-4)


def test_a_decoder_cannot_tell_masks_nor_an_encoder_continue():
    with pytest.raises(InputError, match="causal=False. Received: causal=Tru"):
        ScratchMaskedLM(tiny_backbone())
    with pytest.raises(InputError, match="output_bias must be False for an e"):
        ScratchMaskedLM(tiny_backbone(causal=False, output_bias=True))
    with pytest.raises(InputError, match="causal=True. Received: causal=Fals"):
        ScratchCausalLM(tiny_backbone(causal=False))


def figure_of(causal):
    """Lines of the guide's figure: shapes, and who takes from whom."""
    backbone = tiny_backbone(causal=causal, vocabulary_size=100, num_layers=2)
    ids = np.ones((2, 8), "int32")
    x = backbone.embedding(ids)
    shapes = [ids.shape, x.shape]
    for block in backbone.blocks:
        x = block(x)
        shapes.append(x.shape)
    inputs = {"token_ids": ids, "padding_mask": ids}
    shapes.append(backbone(inputs).shape)
    model = ScratchCausalLM(backbone) if causal else ScratchMaskedLM(backbone)
    if not causal:
        inputs["mask_positions"] = np.array([[1, 3]] * 2, "int32")
    shapes.append(model(inputs).shape)
    mixer = backbone.blocks[0].mixer
    weights = np.array(mixer.attention_weights(backbone.embedding(ids)))[0, 0]
    sees = ["".join("#" if x > 0 else "." for x in row) for row in weights]
    return [", ".join(map(str, shape)) for shape in shapes], sees


def test_the_figure_of_the_guide_is_drawn_from_the_code():
    names = "token_ids embedding block block states logits".split()
    (decoder, back), (encoder, around) = figure_of(True), figure_of(False)
    rows = [
        ("", "decoder", "encoder"),
        *zip(names, decoder, encoder, strict=True),
    ]
    rows += [("",) * 3, *zip([""] * 8, back, around, strict=True)]
    lines = [f"{a:13}{b:12}{c}".rstrip() for a, b, c in rows]
    page = Path(__file__).parents[2] / "docs/encoders.md"
    assert "```text\n" + "\n".join(lines) + "\n```" in page.read_text()


def test_typed_text_is_no_mask():
    tokenizer = tiny_encoder().preprocessor.tokenizer
    mask = tokenizer.mask_token_id
    assert tokenizer.id_to_token(mask) == MASK
    for text in (MASK, "[MASK]", f"the {MASK} people", f"{MASK}{MASK}"):
        assert mask not in tokenizer(text)
        assert tokenizer.detokenize(tokenizer(text)) == text


@pytest.mark.slow
def test_it_is_fitted_as_encoders_of_keras_hub_are():
    keras.utils.set_random_seed(0)
    model = tiny_encoder()
    x, ids, weights = model.preprocessor(TEXTS)
    assert {*x} == {"token_ids", "padding_mask", "mask_positions"}
    assert ids.shape == weights.shape == (2, 8)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), jit_compile=False)
    found = model.fit(TEXTS * 8, batch_size=8, epochs=12, verbose=0)
    losses = found.history["loss"]  # each epoch has other masks
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


@pytest.mark.slow
def test_preset_restores_in_a_fresh_process(tmp_path):
    model = tiny_encoder()
    model.fit(TEXTS, verbose=0)  # with an optimizer, which is not saved
    save_preset(model, tmp_path / "preset")
    assert (tmp_path / "preset/task.weights.h5").stat().st_size < 50_000
    np.savez(tmp_path / "rows.npz", **ROWS)
    code = """
import sys

import numpy as np
import keras_hub

import keras_llm

folder = sys.argv[1]
model = keras_hub.models.MaskedLM.from_preset(folder + "/preset")
np.save(folder + "/logits.npy", model(dict(np.load(folder + "/rows.npz"))))
print(type(model).__name__, model.preprocessor.tokenizer.mask_token_id)
"""
    printed = run_python(code, tmp_path)
    mask = model.preprocessor.tokenizer.mask_token_id
    assert printed == f"ScratchMaskedLM {mask}\n"
    received = np.load(tmp_path / "logits.npy")
    np.testing.assert_allclose(received, logits(model), rtol=1e-5, atol=1e-5)
    kinds = keras_hub.models
    kept = kinds.MaskedLMPreprocessor.from_preset(str(tmp_path / "preset"))
    assert kept.mask_selection_length == 8


def test_keras_file_keeps_model_and_optimizer(tmp_path):
    model = tiny_encoder()
    model.compile(optimizer=keras.optimizers.AdamW(1e-2), run_eagerly=True)
    model.fit(TEXTS, batch_size=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(logits(loaded), logits(model))
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    for mine, theirs in zip(
        loaded.optimizer.variables, model.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
