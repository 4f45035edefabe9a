"""Scores of texts by any text classifier of KerasHub."""

from collections.abc import Iterator, Sequence

import keras
import keras_hub
import numpy as np
from keras import ops

BATCH_SIZE = 32


def class_scores(
    model: keras_hub.models.TextClassifier, texts: Sequence[str]
) -> np.ndarray:
    """What the model says of each text, as `model.predict` does.

    Short texts are not computed as long as the preprocessor makes them.

    Args:
        model: With a preprocessor.
        texts: At least one.

    Returns:
        float32 `(texts, num_classes)`.
    """
    found = [
        ops.convert_to_numpy(model(without_padding(inputs), training=False))
        for inputs in _batches(model, texts)
    ]
    return np.concatenate(found).astype(np.float32)


def has_several(model: keras_hub.models.TextClassifier) -> bool:
    """Whether a text may have several classes, or none."""
    return getattr(model, "activation", None) is keras.activations.sigmoid


def without_padding(inputs: dict) -> dict:
    """A batch as long as its longest row; as it is if nothing masks padding.

    Args:
        inputs: Of a model: tensors `(batch, length)`, among them
            `padding_mask`, padded at the right.
    """
    if "padding_mask" not in inputs:
        return inputs
    lengths = ops.sum(ops.cast(inputs["padding_mask"], "int32"), axis=1)
    longest = ops.maximum(ops.max(lengths), 1)  # there may be no rows
    return {name: x[:, :longest] for name, x in inputs.items()}


def count_cut(
    model: keras_hub.models.TextClassifier, texts: Sequence[str]
) -> int:
    """How many texts are longer than the preprocessor's `sequence_length`."""
    preprocessor = model.preprocessor
    empty = preprocessor([""])
    around = int(ops.sum(ops.cast(empty["padding_mask"], "int32")))
    most = preprocessor.sequence_length - around
    return sum(len(row) > most for row in preprocessor.tokenizer(list(texts)))


def _batches(model, texts: Sequence[str]) -> Iterator[dict]:
    for start in range(0, len(texts), BATCH_SIZE):
        inputs = model.preprocessor(list(texts[start : start + BATCH_SIZE]))
        yield keras.tree.map_structure(ops.convert_to_tensor, inputs)
