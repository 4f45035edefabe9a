"""Classifiers of Hugging Face: their folder, ours, and theirs again."""

import json

import hugging_face_models as theirs
import keras
import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file
from testing import randomize, slow_but, tiny_model

from keras_llm.cli import main
from keras_llm.errors import InputError
from keras_llm.export.huggingface import from_hugging_face, to_hugging_face
from keras_llm.models import ScratchTextClassifier, load_task
from keras_llm.models.text_classifier import ScratchTextClassifierPreprocessor

LABELS = ["calm", "angry", "so so"]
# Of one length and of several, what is rare, and no word.
TEXTS = ["a1b the peace", "the", "½ é日本 treaty, of war!", "!!"]


def saved(name, folder, **options):
    """A classifier of `transformers` with random weights, in a folder."""
    decoder = theirs.model(name)
    names = dict(enumerate(LABELS))
    config = decoder.config
    config.id2label, config.label2id = names, {v: k for k, v in names.items()}
    config.pad_token_id = 0
    for option, value in options.items():
        setattr(config, option, value)
    made = transformers.AutoModelForSequenceClassification.from_config(config)
    rest = made.load_state_dict(decoder.state_dict(), strict=False)
    assert rest.missing_keys == ["score.weight"]
    torch.nn.init.normal_(made.score.weight)
    return theirs.save(made.eval(), folder)


def logits_there(folder, texts):
    """What `transformers` says of texts in one padded batch."""
    auto = transformers.AutoModelForSequenceClassification
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        names = ("input_ids", "attention_mask")
        inputs = {name: inputs[name] for name in names}
        return auto.from_pretrained(str(folder))(**inputs).logits.numpy()


def probabilities(logits, activation):
    return np.array(getattr(keras.ops, activation)(logits))


@pytest.mark.parametrize(
    "name",
    slow_but(
        ("gpt2", "smollm 2", "mistral", "qwen2", "qwen3", "smollm3"), "gpt2"
    ),
)
def test_there_and_back_again(name, tmp_path):
    folder = saved(name, tmp_path / "theirs")
    model = from_hugging_face(folder)
    assert type(model) is ScratchTextClassifier and model.labels == LABELS
    expected = logits_there(folder, TEXTS)
    assert np.ptp(expected, axis=0).min() > 0.1  # it decides by the text
    scores = model.predict(TEXTS, verbose=0)
    expected = probabilities(expected, "softmax")
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    back = to_hugging_face(model, tmp_path / "back")
    before, after = (
        load_file(path / "model.safetensors") for path in (folder, back)
    )
    assert before.keys() == after.keys()
    assert all((before[key] == after[key]).all() for key in before)
    configs = [
        json.loads((path / "config.json").read_text())
        for path in (folder, back)
    ]
    for key in ("architectures", "id2label", "label2id", "pad_token_id"):
        assert configs[0][key] == configs[1][key]
    found = logits_there(back, TEXTS)
    np.testing.assert_array_equal(found, logits_there(folder, TEXTS))


@pytest.mark.slow
def test_several_labels_by_the_commands(tmp_path, capsys):
    problem = {"problem_type": "multi_label_classification"}
    folder = saved("gpt2", tmp_path / "theirs", **problem)
    preset, back = str(tmp_path / "preset"), str(tmp_path / "back")
    assert main(["import", str(folder), "--out", preset]) == 0
    assert "Next: keras-llm classify" in capsys.readouterr().out
    scores = load_task(preset).predict(TEXTS, verbose=0)
    expected = probabilities(logits_there(folder, TEXTS), "sigmoid")
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert main(["export", preset, back, "--format", "huggingface"]) == 0
    config = transformers.AutoConfig.from_pretrained(back)
    assert config.problem_type == problem["problem_type"]
    assert not (tmp_path / "back" / "generation_config.json").exists()


def trained_here(pooling="last", add_end_token=False, **options):
    """As `tune classifier` makes them."""
    options = {"activation": "swiglu", "max_sequence_length": 32} | options
    model = tiny_model("attention", **options)
    preprocessor = ScratchTextClassifierPreprocessor(
        model.preprocessor.tokenizer,
        sequence_length=32,
        add_end_token=add_end_token,
    )
    made = ScratchTextClassifier(
        model.backbone, 3, LABELS, preprocessor, pooling
    )
    randomize(made.head)
    return made


def test_what_is_trained_here_says_the_same_there(tmp_path):
    model = trained_here()
    folder = to_hugging_face(model, tmp_path / "exported")
    expected = model.predict(TEXTS, verbose=0)
    found = probabilities(logits_there(folder, TEXTS), "softmax")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    config = transformers.AutoConfig.from_pretrained(str(folder))
    assert [config.id2label[number] for number in range(3)] == LABELS


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"pooling": "mean"}, r"pooling='mean' \(it has 'last'\)"),
        ({"add_end_token": True}, "add_end_token=True"),
        ({"activation": "relu_squared"}, "activation='relu_squared'"),
    ],
)
def test_what_cannot_be_expressed_says_so(options, reason, tmp_path):
    with pytest.raises(InputError, match=reason):
        to_hugging_face(trained_here(**options), tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def changed(folder, **fields):
    path = saved("gpt2", folder) / "config.json"
    config = json.loads(path.read_text()) | fields
    path.write_text(json.dumps(config))
    return folder


def test_what_tells_no_classes_apart_is_refused(tmp_path):
    folder = changed(tmp_path, problem_type="regression")
    with pytest.raises(InputError, match="problem_type single_label"):
        from_hugging_face(folder)


def test_classes_without_a_name_are_called_as_there(tmp_path):
    folder = changed(tmp_path, id2label={"0": "calm"})
    labels = from_hugging_face(folder).labels
    assert labels == ["calm", "LABEL_1", "LABEL_2"]
