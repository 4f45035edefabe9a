"""Models with a byte-pair tokenizer: several end tokens, no start token."""

import dataclasses
import functools
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import tensorflow as tf
from testing import run_python, tiny_backbone
from tiny_corpus import other_model, sample_text
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from keras_llm.errors import InputError
from keras_llm.export import to_saved_model
from keras_llm.export.parts import parts_of
from keras_llm.generation import TextGenerator
from keras_llm.inspection import inspect_artifact
from keras_llm.models import (
    ScratchCausalLM,
    ScratchCausalLMPreprocessor,
    load_preset,
    save_preset,
)
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.tokenizers import ScratchBytePairTokenizer, ScratchTokenizer
from keras_llm.tokenizers.byte_pair_files import from_tokenizer_json

END, START, TURN = CONTROL = ["<|end|>", "<|start|>", "<|turn|>"]
PROMPTS = ["the people", "", "war<|end|>", "é 中\n", " \n\n"]
GREEDY = GenerationSettings(sampler="greedy", max_new_tokens=16)
SAMPLE = GenerationSettings(
    max_new_tokens=16, temperature=1.5, top_k=50, stop=["x"]
)


@functools.cache
def vocabulary():
    """Of 400 tokens, trained on the spot."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=CONTROL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([sample_text(200)], trainer)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        tokenizer.save(str(path))
        return from_tokenizer_json(path)


def byte_pairs(start=None, ends=(0,)):
    return ScratchBytePairTokenizer.from_vocabulary(
        dataclasses.replace(
            vocabulary(), start_token_id=start, end_token_ids=ends
        )
    )


def model_with(tokenizer):
    backbone = tiny_backbone(
        num_layers=1,
        vocabulary_size=tokenizer.vocabulary_size(),
        max_sequence_length=32,
    )
    preprocessor = ScratchCausalLMPreprocessor(tokenizer, sequence_length=32)
    model = ScratchCausalLM(backbone, preprocessor)
    model.compile(sampler="greedy", jit_compile=False)
    return model


def greedy_tokens(model, prompt, count):
    """What follows a prompt, without a cache or an end."""
    ids = model.preprocessor.tokenizer.tokenize(prompt).tolist()
    for _ in range(count):
        inputs = {"token_ids": [ids], "padding_mask": [[1] * len(ids)]}
        inputs = {name: np.array(rows) for name, rows in inputs.items()}
        ids.append(int(np.argmax(model(inputs)[0, -1])))
    return ids[-count:]


@pytest.fixture(scope="module")
def model():
    """With three end tokens, of which "war" soon gives the second one."""
    tokens = greedy_tokens(model_with(byte_pairs()), "war", 9)
    other = next(token for token in tokens if token != tokens[0])
    return model_with(byte_pairs(ends=(0, other, 2)))


@pytest.fixture(scope="module")
def generator(model):
    return TextGenerator(model)


@pytest.mark.slow
def test_prompts_begin_as_the_tokenizer_says(generator):
    tokenizer = generator.tokenizer
    war = tokenizer.tokenize("war").tolist()
    assert generator.encode_prompt("war") == war
    assert generator.encode_prompt("") == [0]
    started = TextGenerator(model_with(byte_pairs(start=1)))
    assert started.encode_prompt("war") == [1, *war]
    assert started.encode_prompt("") == [1]


def test_generate_ends_with_any_end_token(model, monkeypatch):
    asked = []

    def make():
        return lambda inputs, stop_token_ids: (
            asked.append(stop_token_ids) or inputs
        )

    monkeypatch.setattr(model, "make_generate_function", make)
    model.generate("war", max_length=24)
    assert asked == [list(model.preprocessor.tokenizer.end_token_ids)]
    assert len(asked[0]) == 3


def test_an_empty_prompt_is_the_end_token_to_the_model(model):
    inputs = model.preprocessor.generate_preprocess(["", "war"], 5)
    war = model.preprocessor.tokenizer.tokenize("war").tolist()
    pad = [model.preprocessor.tokenizer.pad_token_id] * 5
    expected = [[0, *pad[1:]], [*war, *pad[len(war) :]]]
    assert np.array(inputs["token_ids"]).tolist() == expected
    assert np.sum(inputs["padding_mask"], axis=-1).tolist() == [1, len(war)]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["greedy", "beam"])
def test_an_empty_prompt_is_answered_as_by_the_model(sampler, model, generator):
    model.compile(sampler=sampler, jit_compile=False)
    options = GenerationSettings(sampler=sampler, max_new_tokens=6)
    answer = generator.generate([""], options)[0]
    stops = list(generator.end_token_ids)
    expected = model.generate("", max_length=7, stop_token_ids=stops)
    model.compile(sampler="greedy", jit_compile=False)
    assert answer.text == expected
    assert answer.num_tokens > 1


def test_pieces_joined_are_the_text(generator):
    for prompt in PROMPTS:
        pieces = list(generator.stream(prompt, SAMPLE, seed=3))
        answer = generator.generate([prompt], SAMPLE, seed=3)[0]
        assert "".join(pieces) == answer.text
        assert all(pieces)


def test_any_end_token_ends_a_text(model, generator):
    end = generator.tokenizer.end_token_ids[1]
    expected = greedy_tokens(model, "war", 9).index(end) + 1
    answer = generator.generate(["war"], GREEDY)[0]
    assert expected > 1
    assert (answer.num_tokens, answer.finish_reason) == (expected, "stop")
    assert "".join(generator.stream("war", GREEDY)) == answer.text
    assert parts_of(model)[0].end_token_ids == (0, end, 2)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [SAMPLE, GREEDY])
def test_the_saved_model_answers_as_in_python(
    model, generator, settings, tmp_path
):
    folder = to_saved_model(model, tmp_path / "model", settings, seed=5)
    loaded = tf.saved_model.load(str(folder))
    texts = tf.constant(PROMPTS)
    answers = loaded.signatures["serving_default"](prompt=texts)["text"]
    expected = [
        generator.generate([prompt], settings, seed=5)[0].text
        for prompt in PROMPTS
    ]
    assert [text.decode() for text in answers.numpy()] == expected
    tokens = loaded.signatures["tokenize"](text=texts)
    rows = tf.RaggedTensor.from_tensor(tokens["token_ids"], tokens["lengths"])
    assert rows.to_list() == model.preprocessor.tokenizer.tokenize(PROMPTS)
    names = {file.name for file in (folder / "assets").iterdir()}
    assert {"vocabulary.json", "merges.txt"} <= names


FRESH = """
import json, sys
from pathlib import Path
import keras_llm
from keras_llm.recipes.settings import GenerationSettings
model = keras_llm.load_preset(Path(sys.argv[1]))
model.compile(jit_compile=False)
generator = keras_llm.TextGenerator(model)
settings = GenerationSettings(**json.loads(sys.argv[2]))
answer, = generator.generate(["the people\\n"], settings)
print(json.dumps(answer.text))
"""


@pytest.mark.slow
def test_a_preset_answers_alike_in_a_fresh_process(generator, tmp_path):
    preset = tmp_path / "preset"
    save_preset(generator.model, preset)
    settings = {"sampler": "greedy", "max_new_tokens": 16}
    printed = run_python(FRESH, preset, json.dumps(settings))
    answer = generator.generate(["the people\n"], GREEDY)[0]
    assert answer.num_tokens > 4
    assert json.loads(printed.splitlines()[-1]) == answer.text
    explained = inspect_artifact(preset)
    assert explained["tokenizer"] == "ScratchBytePairTokenizer"
    assert explained["vocabulary_size"] == 400


def test_prompts_that_leave_no_room_are_refused(model):
    with pytest.raises(InputError, match="32 tokens.*sequence length, 32"):
        model.generate("%" * 32, max_length=32)
    assert model.generate("%" * 31, max_length=32).startswith("%" * 31)


def test_a_published_sentence_piece_model_keeps_its_start_token(tmp_path):
    tokenizer = ScratchTokenizer(
        other_model(), start_token="<s>", end_tokens=["e"]
    )
    assert tokenizer.start_token_id == 1
    assert tokenizer.end_token_ids == (2, tokenizer.token_to_id("e"))
    model = model_with(tokenizer)
    assert TextGenerator(model).encode_prompt("")[0] == 1
    save_preset(model, tmp_path / "preset")
    loaded = load_preset(tmp_path / "preset").preprocessor.tokenizer
    assert loaded.get_config() == tokenizer.get_config()
    assert (loaded.start_token_id, loaded.end_token_id) == (1, 2)
    assert loaded.end_token_ids == tokenizer.end_token_ids
    graph, _ = parts_of(model)
    assert graph.start_token_id == 1
    assert graph.end_token_ids == tokenizer.end_token_ids


def test_pieces_that_are_none_do_not_start_or_end_texts():
    with pytest.raises(ValueError, match="<begin>"):
        ScratchTokenizer(other_model(), start_token="<begin>")
    with pytest.raises(InputError, match="end_tokens has '<turn>'"):
        ScratchTokenizer(other_model(), end_tokens=["<turn>"])
