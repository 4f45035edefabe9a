"""A classifier is made of any model of text that KerasHub has."""

import json
from dataclasses import replace

import numpy as np
import pytest
from served import serve
from stock_classifiers import stock_classifier
from stock_models import stock_model
from testing import run_python, tiny_encoder
from tuned import QUIET, tiny_recipe, write_data

from keras_llm import workflow
from keras_llm.models import save_preset
from keras_llm.models.loading import load_backbone, load_classifier
from keras_llm.recipes.tuning_settings import AdapterSettings
from keras_llm.tuning.classifier import classifier_of, freeze

ENCODERS = {"Bert": "mean", "Roberta": "mean", "DebertaV3": "mean"}
DECODERS = {"GPT2": "last", "Llama3": "last", "Gemma": "last", "Qwen3": "last"}
POOLINGS = ENCODERS | DECODERS
TEXTS = ["What of war?", "!!", "peace! of the people", "the war " * 30]
FRESH = """
import json
import sys

import keras_llm

model = keras_llm.ScratchTextClassifier.from_preset(sys.argv[1])
scores = model.predict(json.loads(sys.argv[2]), verbose=0)
print(json.dumps([model.labels, scores.tolist()]))
"""


def tuned(name, folder, **settings):
    """The run of a few steps on a model of KerasHub with random weights."""
    make = stock_classifier if name in ENCODERS else stock_model
    make(name).save_to_preset(str(folder / "preset"))
    recipe = tiny_recipe("classifier", steps=2, validation_interval=2)
    classifier = replace(recipe.classifier, compare=False)
    recipe = replace(recipe, classifier=classifier, **settings)
    report = workflow.tune_classifier(
        folder / "preset",
        write_data("classifier", folder),
        folder / "run",
        recipe,
        console=QUIET,
    )
    assert report["data"]["cut"]["count"] == 0
    return folder / "run", report


def classifier_on(stock):
    return classifier_of(
        stock.backbone,
        stock.preprocessor.tokenizer,
        ["a", "b"],
        tiny_recipe("classifier"),
    )


def test_a_preset_keeps_it(tmp_path):
    model = classifier_on(stock_model("GPT2"))
    save_preset(model, tmp_path / "preset")
    loaded = load_classifier(tmp_path / "preset")
    expected = model.predict(TEXTS, verbose=0)
    # Also of "!!", whose ids are that of KerasHub's padding.
    assert len(np.unique(expected.round(5), axis=0)) == len(TEXTS)
    np.testing.assert_allclose(loaded.predict(TEXTS, verbose=0), expected)
    assert (loaded.pooling, loaded.labels) == ("last", ["a", "b"])


@pytest.mark.slow
@pytest.mark.parametrize("name", POOLINGS)
def test_any_model_becomes_a_classifier(name, tmp_path):
    model = load_classifier(tuned(name, tmp_path)[0])
    assert model.pooling == POOLINGS[name]
    expected = model.predict(TEXTS, verbose=0)
    assert len(np.unique(expected.round(5), axis=0)) == len(TEXTS)
    found = serve(model).call("classify", text=TEXTS)
    np.testing.assert_allclose(found["scores"], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Bert", "Gemma"])
def test_a_fresh_process_restores_it(name, tmp_path):
    run, _ = tuned(name, tmp_path)
    expected = load_classifier(run).predict(TEXTS, verbose=0)
    fresh = run_python(FRESH, run / "preset", json.dumps(TEXTS))
    labels, scores = json.loads(fresh.splitlines()[-1])
    assert labels == ["angry", "calm"]
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Bert", "Llama3"])
def test_an_adapter_is_merged(name, tmp_path):
    run, report = tuned(name, tmp_path, adapter=AdapterSettings(rank=2))
    assert report["tune"]["trained"] < report["tune"]["parameters"]
    before, _ = load_backbone(tmp_path / "preset")
    pairs = zip(before.weights, load_backbone(run)[0].weights, strict=True)
    changed = [a.path for a, b in pairs if np.any(np.array(a) != np.array(b))]
    assert changed and not [path for path in changed if "embedding" in path]


def test_an_encoder_of_ours_gives_the_mean_of_all(tmp_path):
    encoder = tiny_encoder()
    save_preset(encoder, tmp_path / "encoder")
    backbone, tokenizer = load_backbone(tmp_path / "encoder")
    recipe = tiny_recipe("classifier")
    model = classifier_of(backbone, tokenizer, ["a", "b"], recipe)
    assert model.pooling == "mean" and model.preprocessor.add_end_token
    inputs = model.preprocessor(["the war"])
    states = np.array(encoder.backbone(inputs))[0]
    mean = states[np.array(inputs["padding_mask"])[0]].mean(axis=0)
    logits = mean @ np.array(model.head.kernel)
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(model(inputs)[0], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["Bert", "GPT2"])
def test_only_the_last_block_is_trained(name, tmp_path):
    make = stock_classifier if name in ENCODERS else stock_model
    stock = make(name)
    model = classifier_on(stock)
    freeze(model, 1)
    paths = {weight.path for weight in model.trainable_weights}
    frozen = {weight.path for weight in model.non_trainable_weights}
    last = len(stock.backbone.transformer_layers) - 1
    assert any(f"layer_{last}" in path for path in paths)
    assert any("embedding" in path for path in frozen)
    assert not any("embedding" in path for path in paths)
    freeze(model, 0)
    names = {weight.path for weight in model.trainable_weights}
    assert [name for name in names if "scores" in name] == [*names]
    model.trainable = True  # the stock model is shared
