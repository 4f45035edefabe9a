"""Texts with labels become rows and classes, or it is said why not."""

import re

import keras
import numpy as np
import pytest
from labelled_texts import TEXTS, data_of, recipe_of
from tuned import tiny_preset, write_data

from keras_llm.cli import main
from keras_llm.datasets.labelled import Labelled, LabelledBatches
from keras_llm.models.loading import load_backbone
from keras_llm.tuning.classifier import classifier_of
from keras_llm.tuning.labelled_data import (
    make_labelled,
    read_labelled,
    read_texts,
)
from keras_llm.tuning.learning_curve import some_texts


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets")
    return tiny_preset(folder, ["attention"], hidden_dim=32, dropout=0.0)


def test_what_is_learned_is_what_is_asked_later(preset, tmp_path):
    """Rows of the data are those that the preprocessor makes of a text."""
    records = [*TEXTS, {"text": "war " * 200, "label": "bad"}]
    records.append({"text": "war\u2028and\x85peace", "label": "bad"})
    found, report = data_of(records, tmp_path)
    model = classifier_of(*load_backbone(preset), report.classes, recipe_of())
    made = make_labelled(found, report, model.preprocessor, tmp_path / "out")
    for split, samples in found.items():
        data = Labelled(tmp_path / "out" / split)
        texts = [text for _, text, _ in samples]
        assert read_texts(tmp_path / "out" / split) == texts
        inputs = model.preprocessor(texts)
        rows = keras.ops.convert_to_numpy(inputs["token_ids"])
        masks = keras.ops.convert_to_numpy(inputs["padding_mask"]).astype(bool)
        for index, (row, mask) in enumerate(zip(rows, masks, strict=True)):
            assert data.token_ids(index).tolist() == row[mask].tolist()
    assert made["cut"]["count"] == 1
    assert made["read"] == sum(made["kept"].values()) == len(records)


def test_rare_classes_count_as_much(preset, tmp_path):
    records = TEXTS[:3] + [TEXTS[0]] * 6
    found, report = data_of(records, tmp_path, test=0.0, validation=0.0)
    model = classifier_of(*load_backbone(preset), report.classes, recipe_of())
    make_labelled(found, report, model.preprocessor, tmp_path / "out")
    texts = Labelled(tmp_path / "out" / "train")
    weights = np.array([3.0, 1.0, 2.0], "float32")
    batches = LabelledBatches(texts, 4, weights=weights)
    total = {}
    for k in range(len(batches)):
        _, classes, counts = batches.batch(k)
        for row, count in zip(classes.argmax(axis=1), counts, strict=True):
            total.setdefault(int(row), set()).add(float(count))
    assert {label: values - {0.0} for label, values in total.items()} == {
        0: {3.0},
        1: {1.0},
        2: {2.0},
    }


def test_fewer_texts_are_some_of_them(preset, tmp_path):
    found, report = data_of(TEXTS * 3, tmp_path, test=0.0, validation=0.0)
    model = classifier_of(*load_backbone(preset), report.classes, recipe_of())
    make_labelled(found, report, model.preprocessor, tmp_path / "out")
    texts = Labelled(tmp_path / "out" / "train")
    half, quarter = (some_texts(texts.classes, n, 7) for n in (0.5, 0.25))
    assert {*quarter} < {*half} and len(half) == round(len(texts) / 2)
    few = some_texts(texts.classes, 1e-9, 7)
    assert texts.classes[few].any(axis=0).all() and len(few) <= 3
    some = Labelled(tmp_path / "out" / "train", half)
    assert len(some) == len(half)
    for place, index in enumerate(half):
        assert (some.token_ids(place) == texts.token_ids(index)).all()
    assert (some.classes == texts.classes[half]).all()
    assert (some.lengths() == texts.lengths()[half]).all()


GOOD = {"text": "one", "label": "a"}
SPLIT = "--data.split position --data.validation 0 --data.test 0.1"


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([GOOD] * 9, "at least two classes .* Received: a alone"),
        (TEXTS[:2] * 5 + [GOOD], "The test split has the label 'a', and no"),
        (
            [{"text": "one", "label": n + 0.5} for n in range(9)],
            r"column label must have labels.* 9 in 9 texts, 0\.5; 1\.5;",
        ),
        (
            [{"text": "one", "label": 1900 + n % 45} for n in range(90)],
            "45 in 90 texts, 1900; 1901; 1902 and 42",
        ),
        (
            [{"text": " ", "label": "a"}] * 9,
            "No text .* 9 are left out: each has no text",
        ),
        (
            [{"text": "a", "label": None}] * 9,
            "No text .* 9 are left out: each has no label",
        ),
        ([{"title": "a", "kind": "b"}] * 9, "Received: title, kind"),
    ],
)
def test_what_has_no_classes_is_named(
    records, expected, preset, tmp_path, capsys
):
    source = write_data("classifier", tmp_path, records)
    line = f"tune classifier {preset} {source} --out {tmp_path / 'run'} {SPLIT}"
    assert main(line.split()) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[:-1] == ["data"] and re.search(expected, said[-1], re.I), said
    assert not (tmp_path / "run" / "recipe.yaml").exists()


def test_numbers_may_be_classes(tmp_path):
    records = [{"text": "one", "label": n % 30} for n in range(300)]
    _, report = data_of(records, tmp_path)
    assert report.classes == [str(number) for number in range(30)]


def test_half_characters_and_numbers_that_are_none(tmp_path):
    path = tmp_path / "texts.jsonl"
    rows = [
        r'{"text": "one \ud83d", "label": "²"}',
        '{"text": "b", "label": 1}',
    ]
    path.write_text("\n".join(rows * 9))
    settings = recipe_of(data={"test": 0.0}).data
    found, report = read_labelled([str(path)], settings, False)
    assert found["train"][0][1] == "one \ufffd"
    assert report.classes == ["1", "²"]


def test_tables_without_a_header(tmp_path):
    path = tmp_path / "texts.tsv"
    path.write_text("ham\tGo on\nspam\tFree\nham\tOk\nspam\tWin\n")
    settings = recipe_of(data={"columns": ["2", "1"], "test": 0.0}).data
    found, report = read_labelled([str(path)], settings, False)
    assert report.classes == ["ham", "spam"]
    assert found["train"][0][1:] == ("Go on", ["ham"])
