"""A tuned classifier is judged by labelled texts that it has not seen."""

import csv
import json

import numpy as np
import pytest
from labelled_texts import TEXTS, recipe_of
from sklearn.metrics import accuracy_score, f1_score
from testing import randomize
from tuned import QUIET, tiny_preset, write_data

from keras_llm import workflow
from keras_llm.cli import main
from keras_llm.models import load_task, save_preset
from keras_llm.models.loading import load_backbone
from keras_llm.tuning.classifier import classifier_of


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    return tiny_preset(tmp_path_factory.mktemp("presets"), ["gru"])


@pytest.fixture(scope="module")
def tuned(preset, tmp_path_factory):
    """A run that has learned little, and so is wrong about some texts."""
    folder = tmp_path_factory.mktemp("tuned")
    source = write_data("classifier", folder, TEXTS)
    recipe = recipe_of({"compare": False}, {"test": 0.4}, steps=4)
    report = workflow.tune_classifier(
        preset, source, folder / "run", recipe, console=QUIET
    )
    return folder / "run", report["evaluate"]


def held_out(run):
    lines = (run / "data/test/texts.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def write_table(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("said", "mood"), *rows])
    return path


def test_the_report_is_that_of_the_run(tuned, tmp_path, capsys):
    run, expected = tuned
    rows = [(each["text"], *each["labels"]) for each in held_out(run)]
    table = write_table(tmp_path / "new.csv", [*rows, (" ", "good")])
    line = ["evaluate", str(run), "--labelled", str(table), "--data.columns"]
    line += ["said", "mood", "--out", str(tmp_path / "out")]
    assert main([*line, "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    saved = json.loads((tmp_path / "out" / "results.json").read_text())
    assert saved == found
    assert found["read"] == len(rows) + 1 == found["texts"] + 1
    assert "1 records are left out: each has no text." in said.err
    assert found["learned"] == 0 < found["accuracy"] < 1
    for name in ("accuracy", "macro_f1", "confusion", "classes"):
        assert found[name] == expected[name]
        assert found["linear"][name] == expected["linear"][name]
    for name in ("loss", "calibration_error"):
        assert found[name] == pytest.approx(expected[name], abs=1e-5)
    wrong = (
        [json.loads(each) for each in path.read_text().splitlines()]
        for path in (
            tmp_path / "out" / "answers.jsonl",
            run / "evaluation" / "answers.jsonl",
        )
    )
    for ours, theirs in zip(*wrong, strict=True):
        # Shares of 1 in float32: a few of its roundings, of 6e-8 each.
        scores = pytest.approx(theirs.pop("scores"), abs=5e-7)
        assert ours.pop("scores") == scores
        assert ours == theirs
    for name in ("calibration.png", "confusion.png"):
        assert (tmp_path / "out" / name).stat().st_size > 5000


def test_texts_that_it_has_learned_from_are_counted(tuned, tmp_path, capsys):
    run, _ = tuned
    held = {each["text"] for each in held_out(run)}
    source = write_data("classifier", tmp_path, TEXTS)
    assert main(["evaluate", str(run), "--labelled", source]) == 0
    said = capsys.readouterr()
    validation = (run / "data/validation/texts.jsonl").read_text()
    learned = len(TEXTS) - len(held) - len(validation.splitlines())
    assert f"! It has learned from {learned} of these texts" in said.err
    assert "confusion" in said.out and "most wrong about" in said.out


@pytest.mark.slow
def test_several_labels_a_text(preset, tmp_path, capsys):
    recipe = recipe_of({"multi_label": True})
    model = classifier_of(*load_backbone(preset), ["a", "b", "c"], recipe)
    randomize(model)
    save_preset(model, tmp_path / "preset")
    texts = ["war", "the people of the union", "peace", "law and hope"]
    labels = ["a|b", "c", "", "b"]
    true = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0], [0, 1, 0]], bool)
    rows = zip(texts, labels, strict=True)
    table = write_table(tmp_path / "new.csv", rows)
    line = ["evaluate", str(tmp_path / "preset"), "--labelled", str(table)]
    assert main([*line, "--data.columns", "said", "mood", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    said = load_task(tmp_path / "preset").predict(texts, verbose=0) >= 0.5
    assert found["accuracy"] == accuracy_score(true, said)
    f1 = f1_score(true, said, average="macro", zero_division=0)
    assert found["macro_f1"] == pytest.approx(f1)
    # Of a preset nobody knows what it has learned from.
    assert found["confusion"] is None and "linear" not in found


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            [("war", "good"), ("peace", "odd")],
            "labels that the classifier knows: bad; good; new. Received: 'odd'",
        ),
        ([("war", "good")] * 2, "two classes to judge by. Received: good al"),
        (
            [("", "good")],
            "left to judge by, of 1 records: 1 are left out: each ",
        ),
        ([], "No text is left to judge by, of 0 records: there are none"),
    ],
)
def test_what_it_cannot_be_judged_by_is_one_line(
    rows, expected, tuned, tmp_path, capsys
):
    table = write_table(tmp_path / "new.csv", rows)
    line = ["evaluate", str(tuned[0]), "--labelled", str(table)]
    line += ["--data.columns", "said", "mood", "--out", str(tmp_path / "out")]
    assert main(line) == 2
    [printed] = capsys.readouterr().err.splitlines()
    assert expected in printed
    assert not (tmp_path / "out").exists()
