"""Twins compute what the models compute: outputs, gradients, training."""

from dataclasses import fields

import keras
import numpy as np
import pytest
import torch
from testing import EVERY_TYPE, slow_but, tiny_backbone
from twin_cases import CASES, all_options, batches, model_of, tested_options

from keras_llm.models import ScratchBackbone, ScratchCausalLM
from keras_llm.pytorch.agreement import (
    compare_gradients,
    compare_outputs,
    compare_training,
    difference,
)
from keras_llm.pytorch.twins import CausalLM, Config
from keras_llm.pytorch.weights import make_twin, to_pytorch
from keras_llm.recipes.settings import TrainingSettings

LOGITS, GRADIENTS, LOSS = 2e-5, 1e-4, 1e-3
ONLY_ROUNDING = 1e-3  # see `compare_gradients`
# Block types and options that `mixed` and others have too take their turn.
ALSO_ELSEWHERE = (
    *("attention", "gru", "lstm", "biased_swiglu", "no_positions"),
    *("untied", "biased_output"),
)
FEW = slow_but(CASES, *CASES.keys() - ALSO_ELSEWHERE)
RUNS = [
    (case, optimizer)
    for case in CASES
    for optimizer in ("adamw", "sgd")
    if case != "untied"
]


def settings(optimizer, **overrides):
    rate = {"adamw": 3e-3, "sgd": 0.05}[optimizer]
    values = {
        "steps": 100,
        "optimizer": optimizer,
        "learning_rate": rate,
        "warmup_steps": 10,
        "jit_compile": False,
    }
    return TrainingSettings(**values | overrides)


def untied():
    return model_of("untied")


def inputs_of(token_ids):
    mask = np.ones_like(token_ids)
    return {"token_ids": token_ids, "padding_mask": mask}


def test_every_option_has_a_case():
    assert {field.name for field in fields(Config)} == all_options()
    assert all_options() <= tested_options()


@pytest.mark.parametrize("case", FEW)
def test_outputs_and_gradients(case):
    model = model_of(case)
    twin = make_twin(model)
    batch = batches(1)[0]
    outputs = compare_outputs(model, twin, batch[0])
    layers = [f"blocks.{index}" for index in range(len(model.backbone.blocks))]
    assert [*outputs] == ["embedding", *layers, "final_norm", "logits"]
    for name, found in outputs.items():
        assert found.relative < LOGITS, name
    losses, gradients = compare_gradients(model, twin, batch, ONLY_ROUNDING)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert len(gradients) == len(model.trainable_variables)
    for name, found in gradients.items():
        assert found.relative < GRADIENTS, name
    seen = [found.norm > 1e-3 for found in gradients.values()]
    blind = [name for name in gradients if name.endswith("key.bias")]
    assert seen.count(False) <= len(blind)


@pytest.mark.slow  # test_certificate.py trains a few steps
@pytest.mark.parametrize(("case", "optimizer"), RUNS)
def test_training(case, optimizer):
    model = model_of(case)
    before = model.get_weights()
    twin = make_twin(model)
    # Rounding grows in these: after 100 steps, two runs of either
    # library from weights 2e-7 apart have losses that differ by 0.05.
    drawn = batches(1) * 10 if case == "linear" else batches(100)
    slow = (case, optimizer) == ("classic", "sgd")
    rate = {"learning_rate": 0.1} if slow else {}
    how = settings(optimizer, steps=len(drawn), **rate)
    found = compare_training(model, twin, how, drawn)
    assert found.ours[-1] < found.ours[0] - 0.5
    np.testing.assert_allclose(found.ours, found.theirs, atol=LOSS)
    assert found.all_parameters.relative < 1e-3
    assert all(map(np.array_equal, before, model.get_weights()))


@pytest.mark.parametrize(
    ("make", "optimizer", "clip"),
    [
        pytest.param(untied, "sgd", 0.0, marks=pytest.mark.slow),
        pytest.param(untied, "sgd", 1.0, marks=pytest.mark.slow),
        pytest.param(untied, "adamw", 0.0, marks=pytest.mark.slow),
    ],
)
def test_training_of_a_table_of_its_own(make, optimizer, clip):
    model = make()
    twin = make_twin(model)
    how = settings(optimizer, global_clipnorm=clip)
    found = compare_training(model, twin, how, batches(100))
    assert found.ours[-1] < found.ours[0] - 0.1
    np.testing.assert_allclose(found.ours, found.theirs, atol=LOSS)


@pytest.mark.parametrize(
    ("block_types", "causal"),
    [*((each, True) for each in EVERY_TYPE), ("attention", False)],
)
def test_padding_anywhere(block_types, causal):
    """At real positions; what stands at padded ones is not compared."""
    backbone = tiny_backbone(block_types, causal=causal)
    twin = make_twin(backbone)
    token_ids = batches(1)[0][0]
    mask = np.random.default_rng(1).random(token_ids.shape) < 0.7
    mask[0], mask[1, :4], mask[2, 5:] = True, False, False
    inputs = {"token_ids": token_ids, "padding_mask": mask.astype("int32")}
    ours = keras.ops.convert_to_numpy(backbone(inputs))
    with torch.no_grad():
        theirs = twin(torch.tensor(token_ids).long(), torch.tensor(mask))
    found = difference(ours[mask], theirs.numpy()[mask])
    assert found.relative < LOGITS


def test_dropout_is_of_training_only():
    model = model_of("gpt2", dropout=0.5)
    twin = make_twin(model)
    token_ids = batches(1)[0][0]
    ids = torch.tensor(token_ids).long()
    with torch.no_grad():
        quiet, dropping = twin(ids), twin.train()(ids)
    assert (
        difference(model_of("gpt2")(inputs_of(token_ids)), quiet).relative
        < LOGITS
    )
    assert difference(dropping, quiet).relative > 0.1


@pytest.mark.slow
def test_new_weights_are_spread_alike():
    shape = {
        "vocabulary_size": 500,
        "num_layers": 7,
        "num_heads": 4,
        "hidden_dim": 64,
        "block_types": [
            *("attention", "gru", "lstm", "rnn"),
            *("min_gru", "gated_delta", "mlstm"),
        ],
        "position_embedding": "learned",
        "normalization": "layer",
        "use_bias": True,
        "tie_word_embeddings": False,
        "activation": "swiglu",
    }
    for zero in (False, True):
        keras.utils.set_random_seed(0)
        torch.manual_seed(0)
        config = shape | {"zero_init_outputs": zero}
        expected = to_pytorch(ScratchCausalLM(ScratchBackbone(**config)))
        found = CausalLM(**config).state_dict()
        assert found.keys() == expected.keys()
        for name, weight in expected.items():
            assert found[name].shape == weight.shape, name
            spread, mean = float(weight.std()), float(weight.mean())
            assert float(found[name].std()) == pytest.approx(spread, rel=0.1), (
                name
            )
            assert float(found[name].mean()) == pytest.approx(mean, abs=1e-2), (
                name
            )
