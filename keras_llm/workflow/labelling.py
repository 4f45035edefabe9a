"""Texts to labels, by a preset or by a SavedModel."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_llm.errors import InputError
from keras_llm.recipes.checks import check_unicode


class Labelling(NamedTuple):
    """What a classifier says of a text.

    Args:
        text: The text.
        labels: The likeliest; each of 0.5 or more, if a text may have several.
        scores: Of each class by its name, the likeliest first.
    """

    text: str
    labels: list[str]
    scores: dict[str, float]


def classify(
    model: str | Path, texts: Sequence[str]
) -> tuple[list[Labelling], int]:
    """Tells the classes of texts.

    Args:
        model: A run, a preset or its name, or a SavedModel of a classifier.
        texts: At least one.

    Returns:
        What it says of each; and how many were cut at the model's context,
        of a SavedModel 0, for it does not tell.

    Raises:
        InputError: No classifier there, no text, or an empty one.
    """
    from keras_llm.export import is_saved_model

    if not texts:
        raise InputError("At least one text must be given. Received: none")
    for number, text in enumerate(texts, 1):
        check_unicode(f"Text {number} of {len(texts)}", text)
        if not text.strip():
            raise InputError(
                f"Each text must have words. Received: text {number} of "
                f"{len(texts)} is empty"
            )
    of_what = _of_saved_model if is_saved_model(Path(model)) else _of_preset
    return of_what(model, list(texts))


def _of_saved_model(path, texts):
    from keras_llm.export.loading import load_saved_classifier

    labels, scores, several = load_saved_classifier(path)
    return _named(texts, labels, scores(texts), several), 0


def _of_preset(preset, texts):
    from keras_llm.export.classifier_graph import labels_of
    from keras_llm.models.class_scores import (
        class_scores,
        count_cut,
        has_several,
    )
    from keras_llm.models.loading import load_classifier

    model = load_classifier(preset)
    scores = class_scores(model, texts)
    found = _named(texts, labels_of(model), scores, has_several(model))
    return found, count_cut(model, texts)


def _named(
    texts: list[str], labels: list[str], scores: np.ndarray, several: bool
) -> list[Labelling]:
    from keras_llm.evaluation.classification import LIKELY

    found = []
    for text, row in zip(texts, scores, strict=True):
        by_name = {labels[i]: float(row[i]) for i in np.argsort(-row)}
        likely = [name for name, score in by_name.items() if score >= LIKELY]
        found.append(
            Labelling(text, likely if several else [*by_name][:1], by_name)
        )
    return found
