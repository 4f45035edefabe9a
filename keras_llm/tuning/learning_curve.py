"""How a classifier does with less data: would more of it help?"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from keras_llm.datasets.labelled import Labelled
from keras_llm.models import ScratchTextClassifier
from keras_llm.recipes.tuning_settings import TuningRecipe
from keras_llm.tuning.classifier import (
    Scorer,
    classifier_run,
    linear_figures,
)
from keras_llm.tuning.data import held_out

SHARES = (1 / 8, 1 / 4, 1 / 2)


def learning_curve(
    make_model: Callable[[], ScratchTextClassifier],
    data: Path,
    out: Path,
    recipe: TuningRecipe,
    console: Console,
) -> list[dict[str, Any]]:
    """Trains on an eighth, a quarter and half of the texts.

    Args:
        make_model: A new classifier for each, which has learned nothing yet.
        data: Folder of labelled texts.
        out: Folder that gets one for each training.
        recipe: All settings.
        console: Where progress is shown.

    Returns:
        Of each: `share`, `texts`, `accuracy` and `macro_f1` on what was held
        out, and the same two figures of a linear model as `linear`.
    """
    held = Labelled(data / held_out(data))
    classes = np.asarray(Labelled(data / "train").classes)
    points = []
    for share in SHARES:
        indices = some_texts(classes, share, recipe.seed)
        console.print(f"{len(indices):,} texts")
        model = make_model()
        training = classifier_run(model, data, recipe, indices)
        training.train(out / f"{len(indices)}_texts", recipe.training, console)
        found = Scorer(model, recipe).judge(held).to_dict()
        linear = linear_figures(data, model.labels, recipe, indices)
        points.append(
            {"share": share, "texts": len(indices)}
            | _shown(found)
            | {"linear": _shown(linear)}
        )
    return points


def whole_point(report: dict[str, Any], texts: int) -> dict[str, Any]:
    """The curve's end: all texts, as a report has them."""
    linear = _shown(report["linear"])
    return {"share": 1.0, "texts": texts, **_shown(report), "linear": linear}


def some_texts(classes: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Indices of texts drawn by chance, of each class at least one.

    Args:
        classes: bool `(texts, num_classes)`.
        share: How many of them. A smaller share is part of a greater one.
        seed: Decides which.

    Returns:
        int64 `(some,)`, ascending.
    """
    order = np.random.default_rng(seed).permutation(len(classes))
    firsts = np.unique(classes[order].argmax(axis=0))
    order = np.concatenate([order[firsts], np.delete(order, firsts)])
    count = max(round(share * len(order)), len(firsts))
    return np.sort(order[:count])


def _shown(figures: dict[str, Any]) -> dict[str, float]:
    return {name: figures[name] for name in ("accuracy", "macro_f1")}
