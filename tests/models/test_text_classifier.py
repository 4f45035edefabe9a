"""A classifier on any backbone says the same however a text is padded."""

import keras
import keras_hub
import numpy as np
import pytest
from testing import BLOCK_TYPES, randomize, tiny_backbone, tiny_model

from keras_llm.errors import InputError
from keras_llm.layers.pooling import SequencePooling
from keras_llm.models import ScratchTextClassifier, save_preset
from keras_llm.models.text_classifier import ScratchTextClassifierPreprocessor

TEXTS = ["the people", "of the war and the union", "a"]


def classifier(block_types="attention", **options):
    model = tiny_model(block_types)
    found = ScratchTextClassifier(
        model.backbone,
        3,
        ["calm", "angry", "glad"],
        ScratchTextClassifierPreprocessor(
            model.preprocessor.tokenizer, sequence_length=24
        ),
        **options,
    )
    randomize(found.head)
    return found


def test_pooling_is_that_of_numpy():
    x = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
    lengths = [5, 2, 1]
    mask = np.arange(5)[None] < np.array(lengths)[:, None]
    rows = list(zip(x, lengths, strict=True))
    expected = {
        "last": [row[length - 1] for row, length in rows],
        "first": [row[0] for row, _ in rows],
        "mean": [row[:length].mean(axis=0) for row, length in rows],
    }
    for mode, vectors in expected.items():
        found = SequencePooling(mode)(x, mask)
        np.testing.assert_allclose(found, vectors, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="one of last, first, mean"):
        SequencePooling("max")


@pytest.mark.parametrize("pooling", ["last", "mean", "first"])
@pytest.mark.parametrize("block_types", BLOCK_TYPES, ids=str)
def test_padding_changes_nothing(block_types, pooling):
    model = classifier(block_types, pooling=pooling)
    ids = np.random.default_rng(0).integers(5, 300, (2, 9)).astype("int32")
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    padded = {n: np.pad(x, [[0, 0], [0, 6]]) for n, x in inputs.items()}
    expected = keras.ops.convert_to_numpy(model(inputs))
    np.testing.assert_allclose(expected.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(model(padded), expected, rtol=1e-4, atol=1e-6)


def test_a_preset_keeps_all(tmp_path):
    model = classifier(["gru", "attention"], pooling="mean", dropout=0.2)
    save_preset(model, tmp_path / "preset")
    loaded = keras_hub.models.TextClassifier.from_preset(
        str(tmp_path / "preset")
    )
    assert type(loaded) is ScratchTextClassifier
    assert (loaded.labels, loaded.pooling) == (model.labels, "mean")
    assert loaded.dropout == 0.2
    np.testing.assert_allclose(
        loaded.predict(TEXTS, verbose=0), model.predict(TEXTS, verbose=0)
    )


@pytest.mark.slow
def test_it_is_fitted_as_classifiers_of_keras_hub_are():
    model = classifier(dropout=0.0)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), jit_compile=False)
    labels = np.array([0, 1, 2])
    model.fit(TEXTS, labels, batch_size=3, epochs=30, verbose=0)
    assert model.predict(TEXTS, verbose=0).argmax(axis=1).tolist() == [0, 1, 2]


def test_an_encoder_takes_the_mean():
    encoder = tiny_backbone(causal=False)
    assert ScratchTextClassifier(encoder, 2).pooling == "mean"
    assert ScratchTextClassifier(tiny_backbone(), 2).pooling == "last"


@pytest.mark.parametrize(
    ("classes", "labels", "expected"),
    [
        (1, None, "num_classes must be at least 2"),
        (2, ["a", "a"], "labels must be names of 2 classes"),
        (3, ["a", "b"], "labels must be names of 3 classes"),
        (2, ["a", "a", "b"], "labels must be names of 2 classes"),
    ],
)
def test_what_is_no_classifier_is_refused(classes, labels, expected):
    with pytest.raises(InputError, match=expected):
        ScratchTextClassifier(tiny_backbone(), classes, labels)
