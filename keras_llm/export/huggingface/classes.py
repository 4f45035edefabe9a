"""What makes a classifier of a model of Hugging Face, both ways.

Its decoders score the last token that is no padding, without a bias; its BERT
the first, through a projection more.
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
            add_end_token=not backbone.causal,
        ),
        pooling="last" if backbone.causal else "first",
        activation=ACTIVATIONS[problem],
        pooler=not backbone.causal,
        name="scratch_text_classifier",
    )


def obstacles_of(model: ScratchTextClassifier) -> list[str]:
    """What of a classifier those of Hugging Face cannot be."""
    is_causal = model.backbone.causal
    has = {
        "pooling": (model.pooling, "last" if is_causal else "first"),
        "pooler": (model.pooler, not is_causal),
        "add_end_token": (model.preprocessor.add_end_token, not is_causal),
    }
    if _activation(model) not in ACTIVATIONS.values():
        has["activation"] = (_activation(model), "softmax")
    return [
        f"{name}={ours!r} (it has {theirs!r})"
        for name, (ours, theirs) in has.items()
        if ours != theirs
    ]


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
    pad, ends = tokens["pad_token_id"], tokens.get("eos_token_id")
    return {
        "id2label": {str(n): label for n, label in enumerate(model.labels)},
        "label2id": {label: n for n, label in enumerate(model.labels)},
        "problem_type": problem,
        # Without one its models take no batches. No text ends with either.
        "pad_token_id": int(np.ravel(ends)[0]) if pad is None else pad,
    }


def _activation(model: ScratchTextClassifier) -> str:
    return keras.activations.serialize(model.activation)
