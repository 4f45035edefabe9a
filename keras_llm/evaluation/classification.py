"""How well classes are told apart: figures of scores. Knows no model."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

BINS = 10  # of a calibration curve
WORST = 20  # texts that are shown
# Least probability of a class that a text is said to have, if it may have
# several.
LIKELY = 0.5


@dataclass(frozen=True)
class ClassFigures:
    """How one class is told from the others.

    Args:
        label: Its name.
        texts: How many are of it.
        precision: Share of those said to be of it that are, in [0, 1].
        recall: Share of those of it that are said to be.
        f1: Their harmonic mean.
    """

    label: str
    texts: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Classification:
    """How well classes are told apart.

    Args:
        accuracy: Share of texts whose classes are all right, in [0, 1].
        macro_f1: Mean F1 of the classes.
        loss: Mean cross-entropy, in nats a text.
        calibration_error: Mean distance of confidence and accuracy, over
            equal parts of [0, 1], weighted by texts (Guo et al. 2017,
            https://arxiv.org/abs/1706.04599).
        calibration: Of each part that has texts: its mean confidence, the
            share that is right, and how many texts.
        classes: Of each class.
        confusion: Rows are the true class, columns what was said; `None`
            where a text may have several.
    """

    accuracy: float
    macro_f1: float
    loss: float
    calibration_error: float
    calibration: list[list[float]]
    classes: list[ClassFigures]
    confusion: list[list[int]] | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def judge_scores(
    scores: np.ndarray,
    classes: np.ndarray,
    labels: list[str],
    multi_label: bool = False,
) -> Classification:
    """Compares scores with the classes that texts have.

    Args:
        scores: float `(texts, num_classes)`, probabilities.
        classes: bool `(texts, num_classes)`.
        labels: Name of each class.
        multi_label: Whether a text has each class whose probability is 0.5 or
            more; else it has the likeliest.
    """
    said = said_classes(scores, multi_label)
    figures = [
        _figures(label, said[:, index], classes[:, index])
        for index, label in enumerate(labels)
    ]
    kept = np.clip(np.asarray(scores, np.float64), 1e-12, 1)
    loss = -(classes * np.log(kept)).sum(axis=1)
    if multi_label:
        others = np.clip(1 - np.asarray(scores, np.float64), 1e-12, 1)
        loss = loss - (~classes * np.log(others)).sum(axis=1)
        confidence, is_right = scores.ravel(), classes.ravel()
    else:
        confidence = scores.max(axis=1)
        is_right = (said & classes).any(axis=1)
    error, curve = _calibration(confidence, is_right)
    confusion = None
    if not multi_label:
        confusion = (classes.astype(int).T @ said.astype(int)).tolist()
    return Classification(
        accuracy=float((said == classes).all(axis=1).mean()),
        macro_f1=float(np.mean([each.f1 for each in figures])),
        loss=float(loss.mean()),
        calibration_error=error,
        calibration=curve,
        classes=figures,
        confusion=confusion,
    )


def said_classes(scores: np.ndarray, multi_label: bool) -> np.ndarray:
    """bool `(texts, num_classes)`: what scores say."""
    if multi_label:
        return scores >= LIKELY
    return np.arange(scores.shape[1]) == scores.argmax(axis=1)[:, None]


def most_wrong(scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Indices of texts whose classes are likely by less than 0.5, the least
    likely first; at most `WORST`."""
    likely = np.where(classes, scores, 1 - scores).min(axis=1)
    order = np.argsort(likely, kind="stable")[:WORST]
    return order[likely[order] < 0.5]


def wrong_texts(
    scores: np.ndarray,
    classes: np.ndarray,
    texts: Sequence[str],
    labels: list[str],
    multi_label: bool = False,
) -> list[dict[str, Any]]:
    """The texts that scores are most wrong about, the worst first.

    Args:
        texts: Of each row of scores.

    The other arguments are those of `judge_scores`.

    Returns:
        The text, its labels, those that are said of it, and the score of each
        label.
    """
    said = said_classes(scores, multi_label)
    return [
        {
            "text": texts[index],
            "labels": _names(labels, classes[index]),
            "said": _names(labels, said[index]),
            "scores": dict(zip(labels, scores[index].tolist(), strict=True)),
        }
        for index in most_wrong(scores, classes)
    ]


def _names(labels: list[str], which: np.ndarray) -> list[str]:
    return [labels[index] for index in np.flatnonzero(which)]


def _figures(label: str, said: np.ndarray, true: np.ndarray) -> ClassFigures:
    both = int((said & true).sum())
    precision = both / said.sum() if said.any() else 0.0
    recall = both / true.sum() if true.any() else 0.0
    total = precision + recall
    f1 = 2 * precision * recall / total if total else 0.0
    return ClassFigures(
        label, int(true.sum()), float(precision), float(recall), float(f1)
    )


def _calibration(
    confidence: np.ndarray, is_right: np.ndarray
) -> tuple[float, list[list[float]]]:
    part = np.minimum((confidence * BINS).astype(int), BINS - 1)
    curve = [
        [
            float(confidence[part == number].mean()),
            float(is_right[part == number].mean()),
            int((part == number).sum()),
        ]
        for number in range(BINS)
        if (part == number).any()
    ]
    error = sum(abs(mean - share) * count for mean, share, count in curve)
    return float(error / len(confidence)), curve
