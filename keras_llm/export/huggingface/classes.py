"""What makes a classifier of a model of Hugging Face, both ways.

Its models score the last token that is no padding, without a bias.
"""

from typing import Any

import keras
import numpy as np

from keras_llm.errors import InputError
from keras_llm.export.huggingface.architecture import CLASSIFIER, Config
from keras_llm.models import (
    ScratchBackbone,
    ScratchTextClassifier,
    ScratchTextClassifierPreprocessor,
)

# Of `problem_type`, and what our models have for it.
ACTIVATIONS = {
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
}


def is_classifier(config: Config) -> bool:
    """Whether `config.json` is that of a classifier."""
    names = config.get("architectures") or [""]
    return str(names[0]).endswith(CLASSIFIER)


def new_classifier(
    backbone: ScratchBackbone, tokenizer, config: Config, num_classes: int
) -> ScratchTextClassifier:
    """A classifier whose weights are still to be read.

    Args:
        backbone: What it is made of.
        tokenizer: That of the folder.
        config: What `config.json` says.
        num_classes: Rows of the tensor of scores.

    Raises:
        InputError: It tells no classes apart.
    """
    problem = config.get("problem_type") or next(iter(ACTIVATIONS))
    if problem not in ACTIVATIONS or num_classes < 2:
        raise InputError(
            "config.json must have the problem_type "
            f"{' or '.join(ACTIVATIONS)}, and two classes or more. Received: "
            f"{problem!r}, {num_classes}"
        )
    names = config.get("id2label") or {}
    labels = [
        str(names.get(str(number), f"LABEL_{number}"))
        for number in range(num_classes)
    ]
    return ScratchTextClassifier(
        backbone,
        num_classes,
        labels,
        ScratchTextClassifierPreprocessor(
            tokenizer,
            sequence_length=backbone.max_sequence_length,
            add_end_token=False,
        ),
        pooling="last",
        activation=ACTIVATIONS[problem],
        name="scratch_text_classifier",
    )


def obstacles_of(model: ScratchTextClassifier) -> list[str]:
    """What of a classifier those of Hugging Face cannot be."""
    found = []
    if model.pooling != "last":
        found.append(f"pooling={model.pooling!r} (it has 'last')")
    if model.preprocessor.add_end_token:
        found.append("add_end_token=True (it has none after a text)")
    if _activation(model) not in ACTIVATIONS.values():
        found.append(f"activation={_activation(model)!r} (it has 'softmax')")
    return found


def config_of(
    model: ScratchTextClassifier, tokens: dict[str, Any]
) -> dict[str, Any]:
    """What `config.json` says of the classes.

    Args:
        model: The classifier.
        tokens: Ids of special tokens by their names there.
    """
    [problem] = (
        name for name, own in ACTIVATIONS.items() if own == _activation(model)
    )
    pad, ends = tokens["pad_token_id"], tokens["eos_token_id"]
    return {
        "id2label": {str(n): label for n, label in enumerate(model.labels)},
        "label2id": {label: n for n, label in enumerate(model.labels)},
        "problem_type": problem,
        # Without one its models take no batches. No text ends with either.
        "pad_token_id": int(np.ravel(ends)[0]) if pad is None else pad,
    }


def _activation(model: ScratchTextClassifier) -> str:
    return keras.activations.serialize(model.activation)
