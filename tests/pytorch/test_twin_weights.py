"""Weights both ways, and what is said of those that do not match."""

import keras
import keras_hub
import numpy as np
import pytest
import torch
from testing import randomize, run_python, tiny_backbone
from twin_cases import CASES, batches, model_of

from keras_llm.errors import InputError
from keras_llm.pytorch.weights import from_pytorch, make_twin, to_pytorch


def scratch(case, seed):
    model = model_of(case)
    randomize(model.backbone, seed)
    return model


@pytest.mark.parametrize("case", CASES)
def test_there_and_back(case):
    first, second = (scratch(case, seed) for seed in (1, 2))
    state = to_pytorch(first)
    from_pytorch(state, second)
    for one, other in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)
    assert to_pytorch(second).keys() == make_twin(first).state_dict().keys()


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_both_biases_of_another_model_count(cell):
    model = scratch(cell, 1)
    twin = make_twin(model)
    with torch.no_grad():
        for block in twin.blocks:
            block.mixer.loop.bias_hh_l0.normal_()
    token_ids = batches(1)[0][0]
    from_pytorch(twin.state_dict(), model)
    with torch.no_grad():
        expected = twin(torch.tensor(token_ids).long())
    mask = np.ones_like(token_ids)
    found = model({"token_ids": token_ids, "padding_mask": mask})
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_all_that_differs_is_told_and_nothing_is_changed():
    model = scratch("attention", 1)
    state = to_pytorch(model)
    before = model.get_weights()
    del state["blocks.1.mixer.key.weight"], state["final_norm.weight"]
    state["head.weight"] = torch.zeros(40, 16)
    state["blocks.0.mixer.query.weight"] = torch.zeros(16, 8)
    with pytest.raises(InputError) as caught:
        from_pytorch(state, model)
    assert str(caught.value).split("Received: ")[1] == (
        "blocks.0.mixer.query.weight must be (16, 16), and is (16, 8); "
        "blocks.1.mixer.key.weight is missing; final_norm.weight is missing; "
        "head.weight is unknown. Make the model with the options that the "
        "weights were trained with."
    )
    assert all(map(np.array_equal, before, model.get_weights()))


def test_weights_keep_their_dtype():
    model = model_of("attention", dtype="bfloat16")
    state = to_pytorch(model)
    assert {value.dtype for value in state.values()} == {torch.bfloat16}
    before = model.get_weights()
    randomize(model.backbone, 3)
    from_pytorch(state, model)
    assert all(map(np.array_equal, before, model.get_weights()))
    assert make_twin(model).logits(torch.ones(1, 16).bfloat16()).shape == (
        1,
        40,
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras_hub.models.GPT2Backbone(40, 1, 2, 8, 16),
        lambda: keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]),
    ],
)
def test_other_models_have_no_twin(make):
    with pytest.raises(InputError, match="must be a ScratchCausalLM.*Received"):
        make_twin(make())


def test_quantised_weights_have_no_twin():
    model = model_of("attention")
    model.backbone.blocks[0].mixer.query.quantize("int8")
    with pytest.raises(InputError, match="blocks.0.mixer.query.*in int8"):
        to_pytorch(model)


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from keras_llm.errors import InputError
from keras_llm.pytorch.require import require_torch
try:
    require_torch()
except InputError as error:
    print(error)
"""


def test_without_torch_one_line_says_what_to_install():
    printed = run_python(WITHOUT_TORCH, KERAS_LLM_WORKER="1")
    assert 'pip install "keras-llm[pytorch]"' in printed


def test_an_option_that_the_twin_lacks_is_named():
    yarn = {
        "rope_type": "yarn",
        "factor": 2.0,
        "original_max_position_embeddings": 8,
    }
    with pytest.raises(InputError, match="rope_scaling.*yarn"):
        make_twin(tiny_backbone(rope_scaling=yarn))
