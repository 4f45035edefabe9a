"""Masks in texts are filled by an encoder, ours or KerasHub's."""

import json
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
from testing import code_blocks, tiny_encoder, tiny_model

from keras_llm.cli import main
from keras_llm.errors import InputError
from keras_llm.generation.filling import MaskFiller
from keras_llm.models import ScratchTextClassifier, save_preset
from keras_llm.tokenizers.control import MASK

TEXT = "The people of [MASK] union and [MASK]."


@pytest.fixture(scope="module")
def filler():
    return MaskFiller(tiny_encoder())


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets")
    save_preset(tiny_encoder(), folder / "encoder")
    save_preset(tiny_model(), folder / "decoder")
    backbone = tiny_model().backbone
    save_preset(ScratchTextClassifier(backbone, 2), folder / "classifier")
    return folder


def test_probabilities_are_those_of_the_model(filler):
    ids, positions = filler.encode(TEXT)
    tokenizer = filler.tokenizer
    mask = tokenizer.mask_token_id
    assert [i for i, token in enumerate(ids) if token == mask] == positions
    inputs = {
        "token_ids": np.array([ids]),
        "padding_mask": np.ones((1, len(ids)), bool),
        "mask_positions": np.array([positions]),
    }
    logits = np.array(filler.model(inputs))[0]
    logits[:, [*tokenizer.control_tokens.values(), 1]] = -1e9
    expected = np.array(keras.ops.softmax(logits))
    found = filler.probabilities(ids, positions)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
    (filled,) = filler.fill([TEXT], top_k=3)
    for row, candidates in zip(expected, filled.masks, strict=True):
        best = np.argsort(-row)[:3]
        assert [each.token_id for each in candidates] == best.tolist()
        np.testing.assert_allclose(
            [each.probability for each in candidates], row[best], rtol=1e-4
        )
        assert candidates[0].token in filled.text


def test_a_space_before_a_mask_is_of_the_token(filler):
    ids, _ = filler.encode("the [MASK] people")
    tokenizer = filler.tokenizer
    expected = [*tokenizer("the"), tokenizer.mask_token_id]
    assert ids[1:-1] == [*expected, *tokenizer(" people")]


def test_typed_control_tokens_are_text(filler):
    ids, positions = filler.encode(f"{MASK} is [MASK]")
    assert len(positions) == 1
    assert ids.count(filler.tokenizer.mask_token_id) == 1
    (filled,) = filler.fill([f"{MASK} is [MASK]"])
    assert filled.text.startswith(f"{MASK} is")


def test_what_cannot_be_filled_is_refused(filler):
    with pytest.raises(InputError, match=r"must have a \[MASK\].*'the people'"):
        filler.fill(["the people"])
    with pytest.raises(InputError, match="tokens, .*; the model takes 64"):
        filler.fill(["the people " * 60 + "[MASK]"])
    with pytest.raises(InputError, match="top_k must be at least 1"):
        filler.fill([TEXT], top_k=0)
    with pytest.raises(InputError, match="Received: ScratchCausalLM"):
        MaskFiller(tiny_model())


def test_the_command(presets, capsys):
    line = ["fill", str(presets / "encoder"), TEXT, "[MASK]", "--top_k", "2"]
    assert main([*line, "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["masked"] == TEXT and "[MASK]" not in first["text"]
    assert [len(each) for each in first["masks"]] == [2, 2]
    assert len(second["masks"]) == 1
    assert main(line) == 0
    printed = capsys.readouterr().out
    assert first["text"] in printed
    assert f"{first['masks'][0][0]['probability']:.1%}" in printed


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("fill decoder [MASK]", "a MaskedLM. Received: that of a ScratchCaus"),
        ("fill decoder [MASK]", "A decoder continues text: `keras-llm gener"),
        ("fill encoder people", "The text must have a [MASK]"),
        ("fill encoder [MASK] --top_k 0", "--top_k must be at least 1"),
        ("fill nothing [MASK]", "must be a preset"),
        ("fill classifier [MASK]", "tells classes: `keras-llm classify`."),
        ("generate encoder", "a CausalLM. Received: that of a ScratchMasked"),
        ("generate encoder", "An encoder fills masks: `keras-llm fill`."),
        ("chat encoder", "An encoder fills masks: `keras-llm fill`."),
        ("ask encoder Who?", "Received: that of a ScratchMaskedLM"),
        ("tune domain encoder x --out o", "Received: that of a ScratchMask"),
    ],
)
def test_wrong_models_and_texts_are_one_line(
    presets, monkeypatch, capsys, line, expected
):
    monkeypatch.chdir(presets)
    (presets / "x").write_text("text")
    assert main(line.split()) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("keras-llm: ") and expected in line


def test_the_example_of_the_guide(presets, monkeypatch, capsys):
    monkeypatch.chdir(presets)
    page = Path(__file__).parents[2] / "docs/encoders.md"
    (code,) = code_blocks(page, "python")
    code = code.replace("runs/encoder/preset", "encoder")
    exec(compile(code, page.name, "exec"), {})
    assert capsys.readouterr().out.count("Candidate") == 3


def test_an_encoder_of_keras_hub_fills_masks():
    part = keras_hub.models
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "people"]
    preprocessor = part.BertMaskedLMPreprocessor(
        part.BertTokenizer(words), sequence_length=8
    )
    model = part.BertMaskedLM(
        part.BertBackbone(
            vocabulary_size=len(words),
            num_layers=1,
            num_heads=2,
            hidden_dim=8,
            intermediate_dim=8,
            max_sequence_length=8,
        ),
        preprocessor=preprocessor,
    )
    filler = MaskFiller(model)
    ids, positions = filler.encode("the [MASK] people")
    assert ids == [2, 5, 4, 6, 3] and positions == [2]
    (filled,) = filler.fill(["the [MASK] people"])
    assert filled.text in ("the the people", "the people people")
    total = sum(each.probability for each in filled.masks[0][:2])
    assert total == pytest.approx(1, abs=1e-5)
