"""Adapters on models of ours and on stock models of KerasHub."""

import keras
import numpy as np
import pytest
from adapted import IDS, KINDS, adapted, fit, outputs, values
from testing import tiny_model

from keras_llm.errors import InputError
from keras_llm.generation import TextGenerator
from keras_llm.models import add_adapter, merge_adapter, set_adapter
from keras_llm.models.adapters import (
    keep_adapter,
    trained_adapter,
    weights_digest,
)
from keras_llm.models.lora import adapted_layers, matrix_shape, projections
from keras_llm.recipes.settings import GenerationSettings

every_kind = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.slow)
        if kind != "mixed"  # which has both kinds of block
        else kind
        for kind in KINDS
    ],
)
ALL = {"embeddings": True, "norms": True}
GREEDY = GenerationSettings(sampler="greedy", max_new_tokens=8)


@pytest.mark.slow
@every_kind
def test_only_the_factors_of_every_projection_are_trained(kind):
    model = KINDS[kind]()
    before, plain = values(model), outputs(model)
    share = add_adapter(model, rank=2)
    np.testing.assert_allclose(outputs(model), plain, atol=1e-5)
    losses = fit(model)
    assert min(losses) < losses[0] - 0.01
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, before[path], err_msg=path)
    layers = projections(model)
    kernels = [path for path in before if path.endswith("/kernel")]
    assert sorted(layers) == sorted(kernels)
    count = 0
    for layer in layers.values():
        assert np.all(np.any(np.array(layer.lora_kernel_b) != 0, axis=1))
        count += 2 * sum(matrix_shape(layer))
    assert share == pytest.approx(count / model.count_params())


@every_kind
def test_the_factors_are_those_of_the_published_formula(kind):
    model = adapted(KINDS[kind]())
    expected = outputs(model)
    adapter = trained_adapter(model)
    plain = KINDS[kind]()
    for path, layer in projections(plain).items():
        factors = adapter.factors[path]
        assert factors.scale == 3.0 / 2
        update = 3.0 / 2 * factors.a @ factors.b
        # Every kernel here has its inputs first.
        layer._kernel.assign_add(update.reshape(layer._kernel.shape))
    np.testing.assert_allclose(outputs(plain), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@every_kind
def test_merged_a_model_says_the_same(kind):
    model = adapted(KINDS[kind](), **ALL)
    expected, generator = outputs(model), TextGenerator(model)
    prompt = "the people"
    [before] = generator.generate([prompt], GREEDY)
    merge_adapter(model)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(outputs(model), expected, atol=1e-5 * scale)
    plain = KINDS[kind]()
    assert [w.path for w in model.weights] == [w.path for w in plain.weights]
    assert len(model.trainable_weights) == len(plain.trainable_weights)
    for one in (generator, TextGenerator(model)):
        assert one.generate([prompt], GREEDY)[0].text == before.text


@every_kind
def test_embeddings_and_norms_are_trained_on_request(kind):
    model = KINDS[kind]()
    before = values(model)
    add_adapter(model, rank=1, **ALL)
    fit(model, epochs=1)
    changed = {
        path
        for path, value in values(model).items()
        if np.any(value != before[path])
    }
    asked = {
        path for path in before if "norm" in path or "token_embedding" in path
    }
    assert changed == asked


@pytest.mark.slow
@every_kind
def test_adapters_are_switched_and_leave_the_model_as_it_was(kind):
    adapters, expected = {}, {None: outputs(KINDS[kind]())}
    for name, seed, options in [("one", 1, {}), ("other", 2, ALL)]:
        model = adapted(KINDS[kind](), seed, **options)
        adapters[name], expected[name] = trained_adapter(model), outputs(model)
    model = KINDS[kind]()
    before, generator = values(model), TextGenerator(model)
    for name, adapter in adapters.items():
        keep_adapter(model, adapter, name)
    texts = set()
    for name in ("one", "other", None, "other", "one", None):
        set_adapter(model, name)
        np.testing.assert_allclose(
            outputs(model), expected[name], atol=1e-4, rtol=1e-4
        )
        texts.add((name, generator.generate(["the people"], GREEDY)[0].text))
        if name is None:
            for path, value in values(model).items():
                np.testing.assert_array_equal(value, before[path])
    assert len(texts) == 3


def test_targets_are_names_or_patterns_of_paths():
    model = tiny_model(["gru", "attention"], num_layers=3)
    add_adapter(model, 2, targets=["query", "block_0/.*recurrent"])
    assert set(adapted_layers(model)) == {
        "block_0/recurrent_layer/cell/recurrent/kernel",
        "block_1/self_attention/query/kernel",
    }


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nothing", "Received: 'nothing'. There are: .*key, query, "),
        ("block_(", r"regular expressions. Received: 'block_\(' \("),
    ],
)
def test_targets_that_are_none(target, message):
    model = tiny_model()
    with pytest.raises(InputError, match=message):
        add_adapter(model, 2, targets=["value", target])
    assert len(model.trainable_weights) == len(model.weights)


@pytest.mark.parametrize(
    ("name", "value"),
    [("rank", 0), ("rank", 10**9), ("alpha", 0.0), ("alpha", float("inf"))],
)
def test_a_size_that_cannot_be_is_named(name, value):
    model = tiny_model()
    with pytest.raises(InputError, match=f"{name} must be .* {value}"):
        add_adapter(model, **{"rank": 2, name: value})


def test_a_model_that_has_an_adapter_gets_no_other():
    model = adapted(tiny_model())
    adapter = trained_adapter(model)
    with pytest.raises(InputError, match="has an adapter already"):
        add_adapter(model, 2)
    with pytest.raises(InputError, match="is being tuned"):
        keep_adapter(model, adapter, "one")


def test_quantized_models_get_no_adapter():
    model = tiny_model()
    model.backbone.blocks[0].mixer.query.quantize("int8")
    with pytest.raises(InputError, match="query must have.*Received: int8"):
        add_adapter(model, 2)


def test_an_adapter_of_another_model_is_refused_with_both_digests():
    adapter = trained_adapter(adapted(tiny_model()))
    other = tiny_model()
    scale = other.backbone.blocks[0].mixer_norm.scale
    scale.assign(scale * 1.5)
    digests = f"{weights_digest(tiny_model())}.*{weights_digest(other)}"
    with pytest.raises(InputError, match=digests):
        keep_adapter(other, adapter, "one")


def test_a_model_is_the_same_in_another_precision():
    digests = set()
    for dtype in ("float32", "bfloat16", "mixed_bfloat16"):
        digests.add(weights_digest(tiny_model(dtype=dtype)))
    assert len(digests) == 1


def test_an_adapter_that_is_not_loaded():
    with pytest.raises(InputError, match="one of: none. Received: 'law'"):
        set_adapter(tiny_model(), "law")


def test_mixed_precision_merges_in_float32():
    model = adapted(tiny_model(dtype="mixed_bfloat16"), deviation=0.05)
    adapter = trained_adapter(model)
    path, layer = next(iter(projections(model).items()))
    kernel = keras.ops.convert_to_numpy(layer._kernel)
    factors = adapter.factors[path]
    expected = kernel + factors.scale * factors.a @ factors.b
    merge_adapter(model)
    np.testing.assert_allclose(layer._kernel, expected, rtol=1e-5, atol=1e-6)


def test_rows_are_the_same_alone_and_in_company():
    model = adapted(tiny_model(["gru", "attention"]))
    whole = outputs(model)
    alone = outputs(model, IDS[:1])
    np.testing.assert_allclose(alone, whole[:1], atol=1e-4)
