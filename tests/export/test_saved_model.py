"""The exported graph: answers as `TextGenerator` does, where nothing else is.

A real `tensorflow_model_server` is not asked here; what it refuses is.
"""

import dataclasses
import shutil
import sys
import types

import keras
import pytest
import tensorflow as tf
from graph_checks import SENTENCE_PIECE_OPS, check_saved_model
from served import (
    GREEDY,
    Served,
    every_block_type,
    mixed_model,
    model_of,
    serve,
    text_generator,
)
from testing import tiny_model
from tiny_corpus import sample_tokenizer

from keras_llm.errors import InputError
from keras_llm.export import load_saved_model, parts, to_saved_model
from keras_llm.models import ScratchCausalLM, build_model
from keras_llm.recipes.settings import GenerationSettings, ModelSettings
from keras_llm.tokenizers import ScratchTokenizer

SAMPLE = GenerationSettings(
    max_new_tokens=16, temperature=1.5, top_k=100, repetition_penalty=1.2
)

PROMPTS = [
    "the people of",
    "",
    "\n",
    " the ",
    "\t \n\n",
    "é 😀\n日本",
    "a\0b",
    "\ufeffthe\ufffd\uffff",
    "<|endoftext|>",
    "<|pad|>the",
]


@pytest.fixture(scope="module")
def model():
    return mixed_model()


@pytest.fixture(scope="module")
def sampler(model):
    """Folder of the model, exported with `SAMPLE`."""
    return serve(model, SAMPLE).folder


def exported(model, path, settings, seed=0):
    return load_saved_model(to_saved_model(model, path, settings, seed))


def alone(model, prompts, settings, seed=0):
    """What `TextGenerator` answers to each prompt by itself."""
    generator = text_generator(model)
    return [
        generator.generate([prompt], settings, seed)[0].text
        for prompt in prompts
    ]


@every_block_type
def test_each_row_answers_as_alone_in_python(block_types):
    mixed = isinstance(block_types, list)
    model = mixed_model() if mixed else model_of(block_types)
    for settings in (GREEDY, SAMPLE):
        answers = serve(model, settings).answer(PROMPTS)
        assert answers == alone(model, PROMPTS, settings)
        assert len(set(answers)) > 1


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["char", "word"])
def test_tokenizers_without_bytes_to_fall_back_on(tmp_path, model_type):
    folder = sample_tokenizer(tmp_path, model_type)
    settings = ModelSettings(
        num_layers=1, num_heads=1, hidden_dim=8, max_sequence_length=32
    )
    model = build_model(settings, ScratchTokenizer.from_file(folder))
    answers = exported(model, tmp_path / "out", SAMPLE)(PROMPTS)
    assert answers == alone(model, PROMPTS, SAMPLE)


@pytest.mark.slow
def test_cuts_at_the_first_stop_string_and_has_its_own_seed(tmp_path, model):
    whole = alone(model, PROMPTS, SAMPLE, seed=2**40)
    assert whole != alone(model, PROMPTS, SAMPLE)
    stop = [whole[0][4:6], ".*", "\\", whole[1][-1:]]
    settings = dataclasses.replace(SAMPLE, stop=stop)
    answers = exported(model, tmp_path, settings, seed=2**40)(PROMPTS)
    assert answers == alone(model, PROMPTS, settings, seed=2**40)
    assert len(answers[0]) <= 4 < len(whole[0])


def test_long_prompts_keep_their_end(model):
    answer = serve(model, GREEDY).answer
    fits = ["\n" * 30, "\n" * 25]  # and a start token, in a context of 32
    assert answer(fits) == alone(model, fits, GREEDY)
    end = "\t\n" * 8  # as much as leaves room for 16 new tokens
    longer = answer(["\n" * 40 + end, "the" * 9999 + end])
    assert longer[0] == longer[1] != ""


def test_invalid_bytes_are_replacement_characters(model, sampler):
    prompts = [b"the\xff", b"\xc3", b"people", "the\ufffd", "\ufffd"]
    bad, cut, fine, *replaced = Served(sampler).answer(prompts)
    assert [bad, cut] == replaced
    assert fine == alone(model, ["people"], SAMPLE)[0]


def test_graph_holds_only_what_the_stock_server_runs(sampler):
    assert check_saved_model(sampler) == SENTENCE_PIECE_OPS


@pytest.mark.slow
@pytest.mark.parametrize("block_types", ["attention", ["gru", "lstm", "rnn"]])
def test_graph_of_every_block_type(tmp_path, block_types):
    model = tiny_model(block_types, num_layers=3)
    settings = dataclasses.replace(SAMPLE, stop=["the", "."])
    folder = to_saved_model(
        model, tmp_path, settings, allow_control_tokens=True
    )
    assert check_saved_model(folder) == SENTENCE_PIECE_OPS


def test_the_newest_version_is_loaded(tmp_path, model, sampler):
    (tmp_path / "notes").mkdir()
    (tmp_path / ".DS_Store").touch()
    shutil.copytree(sampler, tmp_path / "9")
    shutil.copytree(serve(model, GREEDY).folder, tmp_path / "10")
    newest = load_saved_model(tmp_path)
    assert newest(["the"]) == alone(model, ["the"], GREEDY)
    older = load_saved_model(tmp_path / "9")
    assert older(["the"]) == alone(model, ["the"], SAMPLE)
    assert older([]) == []


@pytest.mark.slow
def test_versions_count_up_and_a_killed_export_blocks_none(tmp_path, model):
    (tmp_path / "9").mkdir()
    (tmp_path / ".10.partial" / "assets").mkdir(parents=True)
    (tmp_path / ".DS_Store").touch()
    assert to_saved_model(model, tmp_path, GREEDY) == tmp_path / "10"
    assert (tmp_path / ".DS_Store").exists()


@pytest.fixture
def without_a_graph(monkeypatch):
    """Exports of nothing, in no time."""
    nothing = types.SimpleNamespace(signatures={})
    monkeypatch.setattr(parts, "graph_of", lambda *_: (nothing, None))


@pytest.mark.usefixtures("without_a_graph")
def test_failed_export_leaves_nothing(tmp_path, model, monkeypatch):
    def full_disk(module, folder, signatures):
        raise tf.errors.ResourceExhaustedError(None, None, "disk is full")

    monkeypatch.setattr(tf.saved_model, "save", full_disk)
    with pytest.raises(InputError, match="1 was not written: disk is full"):
        to_saved_model(model, tmp_path, GREEDY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("without_a_graph")
def test_path_under_a_file(tmp_path, model):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        to_saved_model(model, tmp_path / "file" / "name", GREEDY)


def test_beam_search_is_refused(tmp_path, model):
    with pytest.raises(InputError, match="by sampling or greedily"):
        to_saved_model(model, tmp_path, GenerationSettings(sampler="beam"))


def test_other_models_are_refused(tmp_path, model):
    with pytest.raises(InputError, match="preprocessor=None"):
        to_saved_model(ScratchCausalLM(model.backbone), tmp_path)
    with pytest.raises(InputError, match="Received: ScratchBackbone"):
        to_saved_model(model.backbone, tmp_path)


def test_other_backends_are_refused(tmp_path, model, monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(InputError, match="Received: KERAS_BACKEND=jax"):
        to_saved_model(model, tmp_path)


def test_missing_tensorflow_text(tmp_path, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_text", None)
    with pytest.raises(InputError, match='pip install .*"tensorflow-text'):
        to_saved_model(model, tmp_path)


def test_folder_without_a_saved_model(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match="keras-llm export"):
            load_saved_model(path)


def test_damaged_saved_model(tmp_path, sampler):
    folder = shutil.copytree(sampler, tmp_path / "1")
    (folder / "variables" / "variables.index").unlink()
    with pytest.raises(InputError, match="1 cannot be read"):
        load_saved_model(tmp_path)
    (folder / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(InputError, match="1 cannot be read"):
        load_saved_model(tmp_path)


def test_saved_model_of_something_else(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(InputError, match="Its signatures are: none"):
        load_saved_model(tmp_path)
