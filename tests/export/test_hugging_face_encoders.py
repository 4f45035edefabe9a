"""Encoders and classifiers of BERT's kind: ours to Hugging Face, and back."""

import json

import keras
import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file
from test_hugging_face_bert import TEXTS, bert, save
from testing import randomize, tiny_encoder

from keras_llm.errors import InputError
from keras_llm.export.huggingface import from_hugging_face, to_hugging_face
from keras_llm.generation.filling import MaskFiller
from keras_llm.models import ScratchTextClassifier
from keras_llm.models.text_classifier import ScratchTextClassifierPreprocessor
from keras_llm.recipes.loading import load_recipe
from keras_llm.recipes.settings import to_dict

LABELS = ["calm", "angry", "so so"]


def as_bert(**options):
    """An encoder of ours that BERT can be, by `normalize_first` alone."""
    recipe = to_dict(load_recipe("bert-mini").model)
    names = ("position_embedding", "normalization", "activation", "use_bias")
    options = {name: recipe[name] for name in names} | options
    return tiny_encoder(normalize_first=False, num_layers=1, **options)


def classifier_of(encoder, **options):
    """As `tune classifier` makes them."""
    tokenizer = encoder.preprocessor.tokenizer
    preprocessor = ScratchTextClassifierPreprocessor(
        tokenizer, sequence_length=32
    )
    options = {"pooling": "first", "pooler": True} | options
    made = ScratchTextClassifier(
        encoder.backbone, 3, LABELS, preprocessor, **options
    )
    for layer in (made.pooled_dense, made.head):
        if layer is not None:
            randomize(layer)
    return made


def probabilities_there(folder, texts):
    """What `transformers` says of texts in one padded batch."""
    auto = transformers.AutoModelForSequenceClassification
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = auto.from_pretrained(folder)(**inputs).logits.numpy()
    return np.array(keras.ops.softmax(logits))


def test_an_encoder_made_here_fills_masks_there(tmp_path):
    model = as_bert()
    folder = to_hugging_face(model, tmp_path / "there")
    filler = MaskFiller(model)
    made = transformers.AutoModelForMaskedLM.from_pretrained(folder)
    assert type(made) is transformers.BertForMaskedLM
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for text in ("the [MASK] of the union", "[MASK][MASK] é日本 [MASK]!"):
        typed = text.replace("[MASK]", tokenizer.mask_token)
        batch = tokenizer(typed, return_tensors="pt")
        ids, positions = filler.encode(text)
        assert batch["input_ids"][0].tolist() == ids
        with torch.no_grad():
            logits = made(**batch).logits[0, positions]
        logits[:, filler.is_control] = -torch.inf
        np.testing.assert_allclose(
            filler.probabilities(ids, positions),
            logits.softmax(-1),
            rtol=1e-3,
            atol=1e-6,
        )
    again = from_hugging_face(folder)
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other, one.path)
    text = "the [MASK] of the union"
    assert MaskFiller(again).encode(text) == filler.encode(text)


def test_a_classifier_made_here_says_the_same_there(tmp_path):
    model = classifier_of(as_bert())
    folder = to_hugging_face(model, tmp_path / "there")
    texts = ["the people of the union", "war", "é日本!"]
    expected = model.predict(texts, verbose=0)
    assert np.ptp(expected, axis=0).min() > 0.01  # it decides by the text
    found = probabilities_there(folder, texts)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    again = from_hugging_face(folder)
    assert again.labels == LABELS
    found = again.predict(texts, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_classifier_of_bert_there_and_back(tmp_path):
    encoder = bert()
    config = encoder.config
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {label: i for i, label in enumerate(LABELS)}
    torch.manual_seed(1)
    made = transformers.BertForSequenceClassification(config).eval()
    made.load_state_dict(encoder.state_dict(), strict=False)
    for layer in (made.bert.pooler.dense, made.classifier):
        torch.nn.init.normal_(layer.weight, std=0.3)
        torch.nn.init.normal_(layer.bias, std=0.1)
    theirs = save(made, tmp_path / "theirs")
    model = from_hugging_face(theirs)
    assert type(model) is ScratchTextClassifier and model.labels == LABELS
    texts = [text for text in TEXTS if "[MASK]" not in text]
    expected = probabilities_there(theirs, texts)
    assert np.ptp(expected, axis=0).min() > 0.01
    np.testing.assert_allclose(
        model.predict(texts, verbose=0), expected, atol=1e-5
    )
    back = to_hugging_face(model, tmp_path / "back")
    np.testing.assert_allclose(
        probabilities_there(back, texts), expected, atol=1e-6
    )
    before, after = (
        load_file(folder / "model.safetensors") for folder in (theirs, back)
    )
    assert before.keys() == after.keys()
    configs = [
        json.loads((folder / "config.json").read_text())
        for folder in (theirs, back)
    ]
    for field in ("architectures", "id2label", "label2id"):
        assert configs[0][field] == configs[1][field]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"pooling": "mean"}, r"pooling='mean' \(it has 'first'\)"),
        ({"pooler": False}, r"pooler=False \(it has True\)"),
    ],
)
def test_what_no_bert_is_says_so(options, reason, tmp_path):
    model = classifier_of(as_bert(), **options)
    with pytest.raises(InputError, match=reason):
        to_hugging_face(model, tmp_path / "there")
    assert not (tmp_path / "there").exists()
