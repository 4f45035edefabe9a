"""Figures of a classifier are those of scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from keras_llm.evaluation.classification import judge_scores, most_wrong
from keras_llm.evaluation.linear_baseline import linear_scores

LABELS = ["a", "b", "c"]


@pytest.fixture
def scores():
    logits = np.random.default_rng(0).normal(size=(200, 3)) * 2
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def one_hot(true):
    return np.arange(3) == true[:, None]


def test_one_class_a_text(scores):
    true = np.random.default_rng(1).choice(3, 200, p=[0.6, 0.3, 0.1])
    found = judge_scores(scores, one_hot(true), LABELS)
    said = scores.argmax(axis=1)
    assert found.accuracy == metrics.accuracy_score(true, said)
    expected = metrics.f1_score(true, said, average="macro")
    assert found.macro_f1 == pytest.approx(expected)
    assert found.loss == pytest.approx(metrics.log_loss(true, scores))
    assert found.confusion == metrics.confusion_matrix(true, said).tolist()
    table = metrics.classification_report(
        true, said, target_names=LABELS, output_dict=True
    )
    for figures in found.classes:
        expected = table[figures.label]
        assert figures.texts == expected["support"]
        assert figures.precision == pytest.approx(expected["precision"])
        assert figures.recall == pytest.approx(expected["recall"])
        assert figures.f1 == pytest.approx(expected["f1-score"])


def test_several_classes_a_text(scores):
    true = np.random.default_rng(1).random((200, 3)) < 0.4
    found = judge_scores(scores, true, LABELS, multi_label=True)
    said = scores >= 0.5
    assert found.accuracy == metrics.accuracy_score(true, said)
    expected = metrics.f1_score(true, said, average="macro")
    assert found.macro_f1 == pytest.approx(expected)
    assert found.confusion is None


def test_calibration_of_what_is_known():
    # Nine of ten at 0.9 are right: no error; three of four at 0.55: 0.2.
    scores = np.array([[0.9, 0.1]] * 10 + [[0.55, 0.45]] * 4)
    true = np.array([0] * 9 + [1] + [0] * 3 + [1])
    found = judge_scores(scores, np.arange(2) == true[:, None], ["a", "b"])
    assert found.calibration_error == pytest.approx(4 / 14 * 0.2)
    assert [count for *_, count in found.calibration] == [4, 10]


def test_the_most_wrong_come_first():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    classes = np.array([[True, False]] * 3)
    assert most_wrong(scores, classes).tolist() == [1, 2]


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_linear_model_learns_words(multi_label):
    texts = ["a good day", "a bad day", "good", "bad night"] * 5
    classes = np.array([["good" in text, "bad" in text] for text in texts])
    new = ["a good night", "so bad"]
    found = linear_scores(texts, classes, new, multi_label)
    assert (found > 0.5).tolist() == [[True, False], [False, True]]
