"""Tiny text classifiers of KerasHub, one for each kind of tokenizer."""

import functools
import string

import keras_hub
import pytest
from stock_models import byte_pairs, pieces
from testing import randomize
from tiny_corpus import WORDS

from keras_llm.tokenizers.sentence_piece_lifetime import outlive_kernels

LENGTH = 16
FAMILIES = [
    "Bert",
    pytest.param("Roberta", marks=pytest.mark.slow),
    pytest.param("DebertaV3", marks=pytest.mark.slow),
]
WORD_PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *string.ascii_lowercase,
    *"!,.[]<>",
    *(f"##{letter}" for letter in string.ascii_lowercase),
    *WORDS,
]
ROBERTA = ["<s>", "<pad>", "</s>", "<mask>"]
DEBERTA = {
    "pad_id": 0,
    "bos_id": 1,
    "eos_id": 2,
    "unk_id": 3,
    "pad_piece": "[PAD]",
    "bos_piece": "[CLS]",
    "eos_piece": "[SEP]",
    "unk_piece": "[UNK]",
    "user_defined_symbols": ["[MASK]"],
}


def stock_classifier_tokenizer(name):
    """The family's tokenizer class, on a tiny vocabulary."""
    tokenizer_cls = getattr(keras_hub.tokenizers, f"{name}Tokenizer")
    if name == "Bert":
        return tokenizer_cls(WORD_PIECES, lowercase=True)
    if name == "Roberta":
        return tokenizer_cls(*byte_pairs(ROBERTA))
    tokenizer = tokenizer_cls(pieces(**DEBERTA))
    outlive_kernels(tokenizer, tokenizer.proto)  # tests in between set seeds
    return tokenizer


def stock_backbone(name, tokenizer):
    """A `keras_hub` encoder of one layer."""
    return getattr(keras_hub.models, f"{name}Backbone")(
        vocabulary_size=tokenizer.vocabulary_size(),
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=24,
        max_sequence_length=LENGTH,
    )


@functools.cache
def stock_classifier(name, **overrides):
    """A `keras_hub` classifier of three classes with random weights."""
    models = keras_hub.models
    tokenizer = stock_classifier_tokenizer(name)
    backbone = stock_backbone(name, tokenizer)
    preprocessor = getattr(models, f"{name}TextClassifierPreprocessor")(
        tokenizer, sequence_length=LENGTH
    )
    options = {"num_classes": 3, "preprocessor": preprocessor} | overrides
    model = getattr(models, f"{name}TextClassifier")(backbone, **options)
    randomize(model)
    model.compile(jit_compile=False)
    return model
