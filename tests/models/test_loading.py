"""Presets of any task and place: folders, and what KerasHub downloads."""

import functools
import re

import huggingface_hub
import kagglehub
import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from testing import tiny_encoder, tiny_model
from tiny_corpus import other_model

from keras_llm.cli import main
from keras_llm.errors import InputError
from keras_llm.models import load_preset, load_task

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "people"]
SHAPE = {
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 8,
    "intermediate_dim": 8,
    "max_sequence_length": 8,
}
part = keras_hub.models


def stock_causal():
    vocabulary = {"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3}
    tokenizer = part.GPT2Tokenizer(vocabulary, ["a b"])
    return part.GPT2CausalLM(
        part.GPT2Backbone(vocabulary_size=4, **SHAPE),
        preprocessor=part.GPT2CausalLMPreprocessor(tokenizer),
    )


def bert(task="TextClassifier", **options):
    preprocessor = getattr(part, f"Bert{task}Preprocessor")(
        part.BertTokenizer(WORDS), sequence_length=8
    )
    return getattr(part, f"Bert{task}")(
        part.BertBackbone(vocabulary_size=len(WORDS), **SHAPE),
        preprocessor=preprocessor,
        **options,
    )


@pytest.mark.parametrize(
    "make",
    [
        tiny_model,
        tiny_encoder,
        stock_causal,
        functools.partial(bert, num_classes=3),
        functools.partial(bert, "MaskedLM"),
    ],
    ids=["ours", "encoder", "stock", "classifier", "stock encoder"],
)
def test_a_preset_is_loaded_as_the_task_it_was_saved_as(tmp_path, make):
    model = make()
    model.save_to_preset(str(tmp_path / "run" / "preset"))
    for path in (tmp_path / "run", str(tmp_path / "run" / "preset")):
        loaded = load_task(path)
        assert type(loaded) is type(model)
        for old, new in zip(model.weights, loaded.weights, strict=True):
            np.testing.assert_array_equal(np.array(old), np.array(new))


def test_a_folder_may_be_called_as_a_preset_of_keras_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stock_causal().save_to_preset("gpt2_base_en")
    assert load_preset("gpt2_base_en").backbone.num_layers == 1


def test_a_backbone_alone_is_a_language_model(tmp_path):
    backbone = stock_causal().backbone
    backbone.save_to_preset(str(tmp_path))
    loaded = load_task(tmp_path, preprocessor=None)
    assert type(loaded) is part.GPT2CausalLM
    for old, new in zip(backbone.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(np.array(old), np.array(new))


def test_a_stock_model_that_was_loaded_takes_strings_after_a_seed(tmp_path):
    tokenizer = part.LlamaTokenizer(other_model())
    size = tokenizer.vocabulary_size()
    shape = {k: v for k, v in SHAPE.items() if k != "num_heads"}
    del shape["max_sequence_length"]
    backbone = part.LlamaBackbone(
        vocabulary_size=size, num_query_heads=2, num_key_value_heads=1, **shape
    )
    preprocessor = part.LlamaCausalLMPreprocessor(tokenizer, sequence_length=8)
    part.LlamaCausalLM(backbone, preprocessor).save_to_preset(str(tmp_path))
    loaded = load_task(tmp_path).preprocessor
    keras.utils.set_random_seed(1)
    rows = tf.data.Dataset.from_tensors(["the people"]).map(loaded)
    ((inputs, _, _),) = rows
    expected = tokenizer(["the people"])[0][:6]
    assert inputs["token_ids"].numpy()[0, 1:7].tolist() == expected


def test_other_tasks_are_refused_by_name(tmp_path):
    backbone = part.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
    )
    classifier = part.ResNetImageClassifier(backbone, num_classes=2)
    classifier.save_to_preset(str(tmp_path))
    message = "MaskedLM or a TextClassifier. Received: that of a ResNetIm"
    with pytest.raises(InputError, match=message):
        load_task(tmp_path)


def test_a_classifier_is_no_language_model(tmp_path, capsys):
    bert(num_classes=2).save_to_preset(str(tmp_path))
    message = "the preset of a CausalLM. Received: that of a BertTextClassifier"
    with pytest.raises(InputError, match=message):
        load_preset(tmp_path)
    assert main(["generate", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("keras-llm: ") and message in line


def test_a_folder_wins_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kagglehub, "model_download", None)
    model = stock_causal()
    model.save_to_preset("gpt2_base_en")
    loaded = load_task("gpt2_base_en")
    assert loaded.backbone.get_config() == model.backbone.get_config()


@pytest.mark.parametrize(
    "name",
    ["gpt2_base_en", "kaggle://me/gpt2/keras/mine", "hf://me/gpt2"],
)
def test_names_are_downloaded(tmp_path, monkeypatch, name):
    model = stock_causal()
    model.save_to_preset(str(tmp_path))

    def model_download(handle, path):
        if not (tmp_path / path).is_file():
            raise ValueError(f"{path} is not present in the model files")
        return str(tmp_path / path)

    def hf_hub_download(repo_id, filename):
        if not (tmp_path / filename).is_file():
            not_there()
        return str(tmp_path / filename)

    monkeypatch.setattr(kagglehub, "model_download", model_download)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    loaded = load_task(name)
    for old, new in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(np.array(old), np.array(new))


def no_connection(*args, **kwargs):
    raise ConnectionError("no route to host")


def not_there(*args, **kwargs):
    raise huggingface_hub.errors.LocalEntryNotFoundError("check the network")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpt2_base_en", "gpt2_base_en cannot be read: no route to host"),
        ("kaggle://me/mine", "cannot be read: Unexpected Kaggle preset"),
        ("hf://me/gpt2", "hf://me/gpt2 cannot be read: .* no config.json"),
        ("gpt2_base", "must be a preset.* Did you mean gpt2_base_en?"),
    ],
)
def test_what_cannot_be_downloaded_is_one_line(
    tmp_path, monkeypatch, capsys, name, message
):
    monkeypatch.setattr(kagglehub, "model_download", no_connection)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", not_there)
    assert main(["export", name, str(tmp_path / "out")]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.search(f"^keras-llm: .*{message}", line), line
    assert list(tmp_path.iterdir()) == []
