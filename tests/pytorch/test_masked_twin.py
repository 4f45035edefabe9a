"""The twin of an encoder computes what the encoder does."""

import json

import numpy as np
import pytest
import torch
from testing import slow_but, tiny_backbone, tiny_encoder

from keras_llm.cli import main
from keras_llm.models import ScratchMaskedLM, save_preset
from keras_llm.pytorch.agreement import (
    NOT_ASKED,
    compare_gradients,
    compare_outputs,
    compare_training,
    model_batch,
)
from keras_llm.pytorch.masked_twin import MaskedLM
from keras_llm.pytorch.weights import from_pytorch, make_twin, to_pytorch
from keras_llm.recipes.settings import TrainingSettings

BERT = {
    "normalize_first": False,
    "position_embedding": "learned",
    "normalization": "layer",
    "use_bias": True,
    "activation": "gelu_exact",
    "layer_norm_epsilon": 1e-12,
}
CASES = {
    "bert": BERT,
    "rotary": {"activation": "swiglu"},
    "untied": {"tie_word_embeddings": False, "sliding_window": 4},
}


def encoder(case, seed=0):
    from testing import randomize

    model = ScratchMaskedLM(tiny_backbone(causal=False, **CASES[case]))
    randomize(model, seed)
    return model


def batches(count, rows=4, length=16, size=40):
    """Tokens that follow each other, some of them masked by the last one."""
    draw = np.random.default_rng(0)
    found = []
    for _ in range(count):
        first = draw.integers(0, size - 1, (rows, 1))
        token_ids = (first + np.arange(length)) % (size - 1)
        asked = draw.random(token_ids.shape) < 0.2
        asked[0] = False  # and one row without a mask
        labels = np.where(asked, token_ids, NOT_ASKED)
        token_ids = np.where(asked, size - 1, token_ids)
        found.append((token_ids.astype("int32"), labels.astype("int32")))
    return found


@pytest.mark.parametrize("case", slow_but(CASES, "bert"))
def test_outputs_and_gradients(case):
    model = encoder(case)
    twin = make_twin(model)
    (batch,) = batches(1)
    outputs = compare_outputs(model, twin, batch[0])
    assert [*outputs][-2:] == ["final_norm", "logits"]
    for name, found in outputs.items():
        assert found.relative < 2e-5, name
    losses, gradients = compare_gradients(model, twin, batch, 1e-3)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert len(gradients) == len(model.trainable_variables)
    for name, found in gradients.items():
        assert found.relative < 1e-4, name


@pytest.mark.slow
def test_training():
    model = encoder("bert")
    settings = TrainingSettings(
        steps=40, learning_rate=3e-3, warmup_steps=4, jit_compile=False
    )
    found = compare_training(model, make_twin(model), settings, batches(40))
    assert found.ours[-1] < found.ours[0] - 0.5
    np.testing.assert_allclose(found.ours, found.theirs, atol=1e-3)
    assert found.all_parameters.relative < 1e-3


def test_only_masks_are_asked():
    model = encoder("bert")
    token_ids, labels = batches(1)[0]
    inputs, told, weights = model_batch(model, (token_ids, labels))
    assert weights[0].sum() == 0
    for row in range(1, 4):
        count = int(weights[row].sum())
        positions = inputs["mask_positions"][row, :count]
        np.testing.assert_array_equal(
            positions, np.flatnonzero(labels[row] != NOT_ASKED)
        )
        np.testing.assert_array_equal(told[row, :count], labels[row, positions])


@pytest.mark.parametrize("case", CASES)
def test_weights_there_and_back(case):
    first, second = encoder(case, 1), encoder(case, 2)
    state = to_pytorch(first)
    from_pytorch(state, second)
    for one, other in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)
    assert state.keys() == make_twin(first).state_dict().keys()


def test_padding():
    model = encoder("bert")
    token_ids = batches(1)[0][0]
    mask = np.arange(16) < np.array([[16], [9], [4], [12]])
    positions = np.array([[3, 8], [0, 8], [2, 3], [11, 5]], "int32")
    inputs = {"token_ids": token_ids, "padding_mask": mask}
    ours = model(inputs | {"mask_positions": positions})
    with torch.no_grad():
        ids = torch.tensor(token_ids).long()
        theirs = make_twin(model)(ids, torch.tensor(mask)).numpy()
    theirs = np.take_along_axis(theirs, positions[..., None], axis=1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_new_heads_are_spread_alike():
    torch.manual_seed(0)
    shape = {
        "vocabulary_size": 500,
        "num_layers": 1,
        "num_heads": 4,
        "hidden_dim": 64,
        "causal": False,
    }
    found = MaskedLM(**shape)
    assert float(found.head_dense.weight.std()) == pytest.approx(0.02, rel=0.1)
    assert not found.head_dense.bias.any() and not found.head_bias.bias.any()


@pytest.mark.slow
@pytest.mark.parametrize("of", ["preset", "recipe"])
def test_it_is_certified(of, tmp_path, capsys):
    subject = tmp_path / "preset"
    save_preset(tiny_encoder(num_layers=1), subject)
    if of == "recipe":
        subject = tmp_path / "small.yaml"
        subject.write_text(
            "tokenizer: {vocabulary_size: 40, mask_token: true}\n"
            "model: {num_layers: 1, num_heads: 2, hidden_dim: 16,\n"
            "  max_sequence_length: 16, causal: false}\n"
            "training: {batch_size: 4}\n"
        )
    out = tmp_path / "out"
    line = ["compare-pytorch", str(subject), "--out", str(out), "--json"]
    line += ["--steps", "6", "--sequence_length", "16"]
    assert main(line) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["holds"]
    rows = json.loads((out / "report.json").read_text())["rows"]
    names = [row["name"] for row in rows if row["section"] == "gradients"]
    assert "head_norm.weight" in names and "head_bias.bias" in names
    assert {row["section"] for row in rows} == {
        "outputs",
        "loss",
        "gradients",
        "training",
        "parameters",
    }
