"""Tuning a classifier: a model's states of a text, and one layer more."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
from keras import ops

from keras_llm.compilation import compile_function
from keras_llm.datasets.labelled import Labelled, LabelledBatches
from keras_llm.datasets.tokens import check_vocabulary
from keras_llm.errors import InputError
from keras_llm.evaluation.classification import (
    Classification,
    judge_scores,
    wrong_texts,
)
from keras_llm.evaluation.linear_baseline import linear_scores
from keras_llm.models.loading import context_of
from keras_llm.models.text_classifier import (
    ScratchTextClassifier,
    ScratchTextClassifierPreprocessor,
    is_causal,
)
from keras_llm.recipes.checks import check
from keras_llm.recipes.tuning_settings import (
    ClassifierSettings,
    TuningRecipe,
)
from keras_llm.training import TrainingRun
from keras_llm.tuning.data import held_out
from keras_llm.tuning.labelled_data import read_texts

USUAL_CONTEXT = 512  # of a model that knows no limit, as KerasHub has it


def classifier_of(
    backbone: keras_hub.models.Backbone,
    tokenizer: keras_hub.tokenizers.Tokenizer,
    labels: list[str],
    recipe: TuningRecipe,
) -> ScratchTextClassifier:
    """A classifier on the backbone of a pretrained model.

    Args:
        backbone: Whose states are used; the weights are shared.
        tokenizer: That it was trained with.
        labels: Name of each class.
        recipe: All settings.

    Raises:
        InputError: The backbone is none of a model of text.
    """
    context = context_of(backbone) or USUAL_CONTEXT
    length, settings = recipe.data.sequence_length, recipe.classifier
    return ScratchTextClassifier(
        backbone,
        len(labels),
        labels,
        ScratchTextClassifierPreprocessor(
            tokenizer,
            sequence_length=min(context, length or context),
            # What reads forward has read all at a text's own last token.
            add_end_token=not is_causal(backbone),
        ),
        settings.pooling,
        "sigmoid" if settings.multi_label else "softmax",
        settings.dropout,
        settings.pooler,
        name="scratch_text_classifier",
    )


def untrained(model: ScratchTextClassifier) -> ScratchTextClassifier:
    """The same network with random weights."""
    config = model.get_config() | {
        "backbone": type(model.backbone).from_config(
            model.backbone.get_config()
        ),
        "preprocessor": model.preprocessor,
    }
    return ScratchTextClassifier(**config)


def freeze(model: ScratchTextClassifier, trained_blocks: int | None) -> None:
    """Freezes all but the last blocks and the new layer.

    Raises:
        InputError: There are not as many blocks.
    """
    if trained_blocks is None:
        return
    backbone = model.backbone
    blocks = _blocks_of(backbone)
    expected = f"at most {len(blocks)}, the model's blocks"
    name = "classifier.trained_blocks"
    check(trained_blocks <= len(blocks), name, expected, trained_blocks)
    # In the order of computing: what follows the first that is trained is too.
    layers = [layer for layer in backbone.layers if layer.weights]
    first = len(layers)
    if trained_blocks:
        first = layers.index(blocks[-trained_blocks])
    for layer in layers[:first]:
        layer.trainable = False


def _blocks_of(backbone) -> list[keras.layers.Layer]:
    """The layers that follow one another; KerasHub has a name for them."""
    for name in ("blocks", "transformer_layers"):
        if blocks := getattr(backbone, name, None):
            return list(blocks)
    raise InputError(
        f"classifier.trained_blocks must be left out: {type(backbone).__name__}"
        " has no list of blocks."
    )


def classifier_run(
    model: ScratchTextClassifier,
    data: Path,
    recipe: TuningRecipe,
    indices: np.ndarray | None = None,
) -> TrainingRun:
    """What the training of a classifier has of its own.

    Args:
        model: What is trained.
        data: Folder of labelled texts.
        recipe: All settings.
        indices: int64 `(some,)`. Which texts it learns from; all if omitted.
    """
    texts = Labelled(data / "train", indices)
    size = model.backbone.vocabulary_size
    check_vocabulary(data, texts.vocabulary_size, size)
    settings, training = recipe.classifier, recipe.training
    weights = None
    if settings.class_weights == "balanced":
        weights = _balanced(texts.classes)
    batches = LabelledBatches(texts, training.batch_size, recipe.seed, weights)
    return TrainingRun(
        model,
        batches,
        _loss(settings),
        validate=_validation(model, data, recipe),
        columns=("val_accuracy", "val_macro_f1"),
    )


def evaluate_classifier(
    model: ScratchTextClassifier, data: Path, recipe: TuningRecipe
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How well a classifier tells what was held out.

    Returns:
        Figures of the classifier and of a linear model of word counts; and
        the texts that it is most wrong about.
    """
    folder = data / held_out(data)
    multi_label = recipe.classifier.multi_label
    held, texts = Labelled(folder), read_texts(folder)
    true = np.asarray(held.classes)
    scores = Scorer(model, recipe).scores(held)
    labels = model.labels
    figures = judge_scores(scores, true, labels, multi_label)
    rows = wrong_texts(scores, true, texts, labels, multi_label)
    report = {"split": folder.name, "texts": len(held), **figures.to_dict()}
    return report | {"linear": linear_figures(data, labels, recipe)}, rows


def linear_figures(
    data: Path,
    labels: list[str],
    recipe: TuningRecipe,
    indices: np.ndarray | None = None,
) -> dict[str, Any]:
    """How well a linear model of word counts tells what was held out.

    Args:
        data: Folder of labelled texts.
        labels: Name of each class.
        recipe: All settings.
        indices: int64 `(some,)`. Which texts it learns from; all if omitted.
    """
    multi_label = recipe.classifier.multi_label
    train, held = data / "train", data / held_out(data)
    texts, known = read_texts(train), Labelled(train, indices)
    if indices is not None:
        texts = [texts[index] for index in indices]
    scores = linear_scores(
        texts, np.asarray(known.classes), read_texts(held), multi_label
    )
    true = np.asarray(Labelled(held).classes)
    return judge_scores(scores, true, labels, multi_label).to_dict()


class Scorer:
    """The probabilities of texts by a model, as it is.

    Args:
        model: a `ScratchTextClassifier`.
        recipe: All settings.
    """

    def __init__(self, model: ScratchTextClassifier, recipe: TuningRecipe):
        def call(token_ids, padding_mask):
            inputs = {"token_ids": token_ids, "padding_mask": padding_mask}
            return model(inputs, training=False)

        ids = keras.KerasTensor((None, None), "int32")
        mask = keras.KerasTensor((None, None), "bool")
        self._call = compile_function(call, model, (ids, mask))
        self._labels = model.labels
        self._multi_label = recipe.classifier.multi_label
        self._batch_size = recipe.training.batch_size

    def judge(self, texts: Labelled) -> Classification:
        """How well the classes of texts are told."""
        true = np.asarray(texts.classes)
        return judge_scores(
            self.scores(texts), true, self._labels, self._multi_label
        )

    def scores(self, texts: Labelled) -> np.ndarray:
        """float32 `(texts, num_classes)`."""
        batches = LabelledBatches(texts, self._batch_size)
        scores = np.zeros(texts.classes.shape, np.float32)
        for k in range(len(batches)):
            features, *_ = batches.batch(k)
            indices = batches.order.indices(k)
            inputs = map(
                ops.convert_to_tensor,
                (features["token_ids"], features["padding_mask"]),
            )
            found = ops.convert_to_numpy(self._call(*inputs))
            scores[indices] = found[: len(indices)]
        return scores


def _loss(settings: ClassifierSettings) -> keras.losses.Loss:
    kind = (
        keras.losses.BinaryCrossentropy
        if settings.multi_label
        else keras.losses.CategoricalCrossentropy
    )
    return kind(reduction="mean_with_sample_weight")


def _balanced(classes: np.ndarray) -> np.ndarray:
    """Weights by which each class counts as much as any other."""
    counts = np.maximum(classes.sum(axis=0), 1)
    return (counts.sum() / (len(counts) * counts)).astype(np.float32)


def _validation(
    model: ScratchTextClassifier, data: Path, recipe: TuningRecipe
) -> Callable[[], dict[str, float]] | None:
    if not (data / "validation").is_dir():
        return None
    texts = Labelled(data / "validation")
    scorer = Scorer(model, recipe)

    def validate():
        found = scorer.judge(texts)
        return {
            "loss": found.loss,
            "accuracy": found.accuracy,
            "macro_f1": found.macro_f1,
        }

    return validate
