"""Classifiers are tuned on labelled texts, and judged beside simpler ones."""

import io
import json
import shutil
from dataclasses import replace

import keras_hub
import numpy as np
import pytest
from labelled_texts import TEXTS, WORDS, recipe_of
from served import serve
from testing import randomize, tiny_encoder
from tuned import QUIET, tiny_preset, write_data

from keras_llm import workflow
from keras_llm.cli import main
from keras_llm.errors import InputError
from keras_llm.experiments.making import share_stages
from keras_llm.models import load_task, save_preset
from keras_llm.models.loading import load_backbone, load_classifier
from keras_llm.tuning.classifier import classifier_of, freeze


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets")
    return tiny_preset(folder, ["attention"], hidden_dim=32, dropout=0.0)


@pytest.fixture(scope="module")
def tuned(preset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    source = write_data("classifier", folder, TEXTS)
    recipe = recipe_of({"dropout": 0.0}, steps=80, validation_interval=40)
    report = workflow.tune_classifier(
        preset, source, folder / "run", recipe, console=QUIET
    )
    return folder / "run", report


def test_classes_are_learned_and_compared(tuned):
    run, report = tuned
    found = report["evaluate"]
    assert found["accuracy"] > 0.8 and found["split"] == "test"
    assert [each["label"] for each in found["classes"]] == [
        "bad",
        "good",
        "new",
    ]
    right = np.trace(found["confusion"]) / found["texts"]
    assert found["accuracy"] == pytest.approx(right)
    for simpler in ("linear", "untrained"):
        assert 0 <= found[simpler]["accuracy"] <= 1
    before, after = (report["tune"][name] for name in ("before", "after"))
    assert after["macro_f1"] > max(0.8, before["macro_f1"])
    saved = json.loads((run / "evaluation" / "report.json").read_text())
    assert saved == found


def test_a_comparison_changes_the_report_only(tuned, preset, tmp_path):
    run = shutil.copytree(tuned[0], tmp_path / "run")
    source = str(tuned[0].parent / "classifier.json")
    recipe = recipe_of(
        {"dropout": 0.0, "compare": False}, steps=80, validation_interval=40
    )
    weights = (run / "preset" / "task.weights.h5").stat().st_mtime_ns
    report = workflow.tune_classifier(
        preset, source, run, recipe, console=QUIET
    )
    assert "untrained" not in report["evaluate"]
    assert report["evaluate"].items() < tuned[1]["evaluate"].items()
    assert (run / "preset" / "task.weights.h5").stat().st_mtime_ns == weights


@pytest.mark.parametrize(
    ("classifier", "training", "shared"),
    [
        ({}, {}, ["data", "tune", "evaluate", "untrained"]),
        ({"class_weights": "balanced"}, {}, ["data"]),
        ({"pooling": "mean"}, {}, ["data"]),
        ({}, {"learning_rate": 1e-3}, ["data"]),
        ({"multi_label": True}, {}, []),
    ],
)
def test_another_run_begins_with_what_would_be_alike(
    classifier, training, shared, tuned, tmp_path
):
    recipe = recipe_of(
        {"dropout": 0.0, **classifier},
        steps=80,
        validation_interval=40,
        **training,
    )
    assert share_stages([tuned[0]], tmp_path / "run", recipe) == shared


def test_a_saved_model_says_the_same_by_the_same_names(tuned):
    run, _ = tuned
    model = load_task(run)
    texts = [record["text"] for record in TEXTS[:5]] + ["", "war " * 200]
    found = serve(model).call("classify", text=texts)
    expected = model.predict(texts, verbose=0)
    np.testing.assert_allclose(found["scores"], expected, atol=1e-5)
    names = [model.labels[index] for index in expected.argmax(axis=1)]
    assert found["label"] == names


def test_a_saved_model_says_all_labels_of_a_text(preset):
    labels = ["a", "b", "c", "d", "e"]
    recipe = recipe_of({"multi_label": True})
    model = classifier_of(*load_backbone(preset), labels, recipe)
    randomize(model)
    texts = ["war", "the people of the union", "", "peace " * 200]
    expected = model.predict(texts, verbose=0)
    counts = (expected >= 0.5).sum(axis=1)
    assert 1 < len({*counts})  # texts have more labels, and less
    served = serve(model)
    found = served.call("classify", text=texts)
    np.testing.assert_allclose(found["scores"], expected, atol=1e-5)
    assert found["classes"] == [labels] * len(texts)
    assert found["num_labels"] == counts.tolist()
    for row, said, count in zip(expected, found["labels"], counts, strict=True):
        best = [labels[index] for index in np.argsort(-row)]
        assert said == best[:count] + [""] * (5 - count)
    assert found["label"] == [labels[index] for index in expected.argmax(1)]
    assert served.call("classify", text=[])["labels"] == []
    several, _ = workflow.classify(served.folder, ["war"])
    assert several[0].labels == found["labels"][0][: counts[0]]


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_only_the_last_blocks_are_trained(blocks, tmp_path):
    preset = tiny_preset(tmp_path, ["attention"] * 2)
    model = classifier_of(*load_backbone(preset), ["a", "b"], recipe_of())
    freeze(model, blocks)
    layers = {weight.path.split("/")[-2] for weight in model.head.weights}
    trained = {weight.path.split("/")[1] for weight in model.trainable_weights}
    last = {f"block_{1 - number}" for number in range(blocks)}
    names = [w.path for w in model.trainable_weights]
    assert any("scores" in name for name in names) and layers == {"scores"}
    for name in ("block_0", "block_1", "embedding"):
        assert any(f"{name}/" in path for path in names) == (name in last)
    assert trained
    with pytest.raises(InputError, match="at most 2, the model's blocks"):
        freeze(model, 3)


@pytest.mark.slow
def test_an_adapter_is_merged(preset, tmp_path):
    recipe = recipe_of({"compare": False}, steps=2)
    recipe = replace(recipe, adapter=replace(recipe.adapter, rank=2))
    source = write_data("classifier", tmp_path, TEXTS)
    report = workflow.tune_classifier(
        preset, source, tmp_path / "run", recipe, console=QUIET
    )
    assert report["tune"]["trained"] < report["tune"]["parameters"]
    before = {w.path: np.array(w) for w in load_task(preset).backbone.weights}
    after = {
        w.path: np.array(w)
        for w in load_task(tmp_path / "run").backbone.weights
    }
    changed = [path for path in before if np.any(before[path] != after[path])]
    assert changed and not [path for path in changed if "embedding" in path]


@pytest.mark.slow
def test_several_labels_a_text(preset, tmp_path):
    records = [
        {"text": f"{word} {mark}", "label": label}
        for word in WORDS
        for mark, label in (("x", "a|b"), ("y", "b"), ("z", ""))
    ]
    settings = {"multi_label": True, "compare": False, "dropout": 0.0}
    recipe = recipe_of(settings, steps=60, validation_interval=30)
    report = workflow.tune_classifier(
        preset,
        write_data("classifier", tmp_path, records),
        tmp_path / "run",
        recipe,
        console=QUIET,
    )
    assert report["data"]["classes"] == ["a", "b"]
    assert report["evaluate"]["accuracy"] == 1
    assert report["evaluate"]["confusion"] is None
    scores = load_task(tmp_path / "run").predict(["war x", "war z"], verbose=0)
    assert (scores >= 0.5).tolist() == [[True, True], [False, False]]


@pytest.mark.slow
@pytest.mark.parametrize("pooling", [None, "first"])
def test_an_encoder_tells_classes(pooling, tmp_path):
    save_preset(tiny_encoder(num_layers=1), tmp_path / "encoder")
    source = write_data("classifier", tmp_path, TEXTS)
    classifier = {"pooling": pooling, "dropout": 0.0, "compare": False}
    recipe = recipe_of(classifier, steps=60, validation_interval=60)
    report = workflow.tune_classifier(
        tmp_path / "encoder", source, tmp_path / "run", recipe, console=QUIET
    )
    assert report["evaluate"]["accuracy"] > 0.8
    model = load_classifier(tmp_path / "run")
    assert not model.backbone.causal
    assert model.pooling == (pooling or "mean")
    (before,) = model.predict(["war is good."], verbose=0)
    (after,) = model.predict(["peace is good."], verbose=0)
    assert np.abs(before - after).max() > 0  # it sees more than one end


def test_models_that_read_no_text_are_refused(tmp_path):
    images = keras_hub.models.ViTBackbone(
        (8, 8, 3), 4, 1, 2, 8, 16, name="images"
    )
    images.save_to_preset(str(tmp_path / "images"))
    source = write_data("classifier", tmp_path, TEXTS)
    with pytest.raises(InputError, match="cannot be read: "):
        workflow.tune_classifier(
            tmp_path / "images",
            source,
            tmp_path / "run",
            recipe_of(),
            console=QUIET,
        )
    assert not (tmp_path / "run").exists()


def test_classify_says_what_the_model_predicts(tuned, tmp_path, capsys):
    run, _ = tuned
    model = load_task(run)
    texts = [TEXTS[0]["text"], TEXTS[1]["text"], "war " * 200]
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(texts) + "\n", encoding="utf-8")
    expected = model.predict(texts, verbose=0)
    for given in (texts, ["--file", str(file)]):
        assert main(["classify", str(run), *given, "--json"]) == 0
        said = capsys.readouterr()
        assert "1 texts are longer than the context" in said.err
        for row, each in zip(expected, json.loads(said.out), strict=True):
            assert each["labels"] == [model.labels[row.argmax()]]
            found = [each["scores"][label] for label in model.labels]
            np.testing.assert_allclose(found, row, atol=1e-5)
    main(["classify", str(run), texts[0]])
    first, likeliest, *_ = capsys.readouterr().out.splitlines()
    assert first == texts[0] and likeliest.startswith("  * ")
    assert likeliest.endswith(f"%  {model.labels[expected[0].argmax()]}")


def test_what_cannot_be_classified_is_named(tuned, preset, capsys, monkeypatch):
    run, _ = tuned
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"war\n\n")))
    for given, expected in {
        (str(run), "war", " "): "text 2 of 2 is empty",
        (str(run),): "text 2 of 2 is empty",
        (str(preset), "war"): "must be the preset of a TextClassifier",
        ("nothing", "war"): "must be a preset",
    }.items():
        assert main(["classify", *given]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert expected in line


@pytest.mark.slow
def test_classify_asks_a_saved_model(tuned, tmp_path, capsys):
    run, _ = tuned
    text = TEXTS[0]["text"]
    assert main(["export", str(run), str(tmp_path / "model")]) == 0
    capsys.readouterr()
    answers = []
    for model in (run, tmp_path / "model"):
        assert main(["classify", str(model), text, "--json"]) == 0
        answers += json.loads(capsys.readouterr().out)
    ours, saved = answers
    assert [*ours["scores"]] == [*saved["scores"]]
    assert ours["scores"] == pytest.approx(saved["scores"], abs=1e-5)


@pytest.mark.slow
def test_the_command(preset, tmp_path, capsys):
    odd = [{"text": text, "label": "bad"} for text in (" ", "war " * 200)]
    source = write_data("classifier", tmp_path, odd + TEXTS)
    line = (
        f"tune classifier {preset} {source} --out {tmp_path / 'run'} "
        "--training.steps 2 --training.epochs null --data.split position "
        "--data.test 0.2 --classifier.compare false"
    )
    main(line.split())
    said = capsys.readouterr()
    assert "3 classes: " in said.err and "a linear model of wo" in said.err
    assert "1 records are left out: each has no text." in said.err
    assert "1 texts are longer than the context: their ends" in said.err
    assert "confusion" in said.out and "Next: keras-llm classify" in said.out
    for name in ("calibration", "confusion"):
        image = (tmp_path / f"run/evaluation/{name}.png").read_bytes()
        assert image.startswith(b"\x89PNG") and len(image) > 5000


@pytest.mark.slow
def test_a_learning_curve_is_drawn(preset, tmp_path, capsys):
    source = write_data("classifier", tmp_path, TEXTS)
    line = (
        f"tune classifier {preset} {source} --out {tmp_path / 'run'} "
        "--training.steps 2 --training.epochs null --data.split position "
        "--data.test 0.2 --classifier.compare false "
    )
    main(line.split())
    assert "to learn from" not in capsys.readouterr().err
    main([*line.split(), "--classifier.learning_curve", "true"])
    said = capsys.readouterr().err
    assert "tune: done before" in said and "evaluate: done before" in said
    folder = tmp_path / "run" / "evaluation"
    report = json.loads((folder / "report.json").read_text())
    texts = [point["texts"] for point in report["learning_curve"]]
    assert texts == [4, 9, 18, 36]
    assert f"with {texts[0]} texts to learn from; the linear model" in said
    assert report["learning_curve"][-1]["accuracy"] == report["accuracy"]
    assert (folder / "learning_curve.png").stat().st_size > 5000
