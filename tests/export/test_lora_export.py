"""Models with LoRA are exported as what they compute."""

import keras
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from testing import tiny_model

from keras_llm.export import load_saved_model, to_saved_model
from keras_llm.export.huggingface import from_hugging_face, to_hugging_face
from keras_llm.generation.text import TextGenerator
from keras_llm.pytorch.folder import to_pytorch_folder
from keras_llm.pytorch.weights import config_of
from keras_llm.recipes.settings import GenerationSettings

IDS = np.random.default_rng(0).integers(8, 300, (2, 12), "int32")
LLAMA = {"activation": "swiglu"}


def adapted(block_types="attention", **options):
    model = tiny_model(block_types, **options)
    plain = outputs(model)
    model.backbone.enable_lora(2)
    draw = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if getattr(layer, "lora_enabled", False):
            for factor in (layer.lora_kernel_a, layer.lora_kernel_b):
                factor.assign(draw.normal(0, 0.3, factor.shape))
    assert np.abs(outputs(model) - plain).max() > 0.1
    return model


def outputs(model, ids=IDS):
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    return keras.ops.convert_to_numpy(model(inputs))


@pytest.fixture
def unchanged():
    """Checks that a function leaves a model as it was, to the bit."""

    def check(model, write):
        before, expected = model.get_weights(), outputs(model)
        trained = [weight.path for weight in model.trainable_weights]
        write(model)
        for one, other in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
        assert trained == [weight.path for weight in model.trainable_weights]
        np.testing.assert_array_equal(outputs(model), expected)
        return expected

    return check


def test_to_hugging_face(tmp_path, unchanged):
    out = tmp_path / "out"
    expected = unchanged(adapted(**LLAMA), lambda m: to_hugging_face(m, out))
    found = outputs(from_hugging_face(out))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_to_pytorch(tmp_path, unchanged):
    from keras_llm.pytorch.twins import CausalLM

    model, out = adapted(["gru", "attention"]), tmp_path / "out"
    expected = unchanged(model, lambda m: to_pytorch_folder(m, out))
    twin = CausalLM(**config_of(model)).eval()
    twin.load_state_dict(load_file(out / "model.safetensors"))
    with torch.no_grad():
        found = twin(torch.tensor(IDS).long()).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def greedy_text(model, prompt, new):
    """By the model's own outputs alone, where no two tokens are near ties."""
    tokenizer = model.preprocessor.tokenizer
    ids = [tokenizer.start_token_id, *map(int, tokenizer(prompt))]
    for _ in range(new):
        *_, logits = outputs(model, np.array([ids], "int32"))[0]
        *_, second, best = np.sort(logits)
        assert best - second > 1e-3
        ids.append(int(np.argmax(logits)))
    hidden = tokenizer.control_tokens.values()
    text = tokenizer.detokenize([t for t in ids if t not in hidden])
    return text.removeprefix(prompt)


@pytest.mark.slow
def test_to_a_saved_model(tmp_path, unchanged):
    model = adapted()
    settings = GenerationSettings(sampler="greedy", max_new_tokens=12)
    out = tmp_path / "out"
    unchanged(model, lambda m: to_saved_model(m, out, settings))
    expected = greedy_text(model, "the people", 12)
    assert load_saved_model(out / "1")(["the people"]) == [expected]
    # What the export traced with merged factors is not used without.
    [answer] = TextGenerator(model).generate(["the people"], settings)
    assert answer.text == expected
