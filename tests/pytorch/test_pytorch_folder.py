"""`keras-llm export --format pytorch`: what it writes runs without Keras."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import safetensors.torch
import torch
from testing import tiny_backbone, tiny_model
from tiny_corpus import sample_text
from tiny_run import finished_run
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from twin_cases import batches, model_of

from keras_llm.cli import main
from keras_llm.errors import InputError
from keras_llm.generation import TextGenerator
from keras_llm.models import (
    ScratchCausalLM,
    ScratchCausalLMPreprocessor,
    load_preset,
)
from keras_llm.pytorch.folder import to_pytorch_folder
from keras_llm.pytorch.generate import (
    choose,
    generate,
    load,
    read_safetensors,
)
from keras_llm.pytorch.weights import make_twin, to_pytorch
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.tokenizers import ScratchBytePairTokenizer
from keras_llm.tokenizers.byte_pair_files import from_tokenizer_json

MIXED = ["attention", "gru", "lstm", "rnn"]
# Runs files of the folder where nothing of ours, nor Keras, can be imported.
ALONE = """
import json, runpy, sys
for name in ("keras", "keras_hub", "keras_llm", "tensorflow", "safetensors"):
    sys.modules[name] = None
sys.path.insert(0, ".")
for sys.argv in json.loads(sys.argv[1]):
    runpy.run_path(sys.argv[0], run_name="__main__")
    print("\\f--- done ---\\f", end="")  # no model writes that
"""


def run_alone(folder, *commands):
    """What each command prints, a list of words, one after the other."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE, json.dumps(commands)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split("\f--- done ---\f")[:-1]


def greedy_texts(model, prompts, tokens):
    settings = GenerationSettings(sampler="greedy", max_new_tokens=tokens)
    return [
        each.text for each in TextGenerator(model).generate(prompts, settings)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a model of every block type, and the model."""
    model = tiny_model(MIXED, num_layers=4, num_key_value_heads=1)
    path = tmp_path_factory.mktemp("pytorch") / "model"
    assert to_pytorch_folder(model, path) == path
    return path, model


@pytest.mark.slow
def test_every_command_of_the_readme_runs_without_keras(folder):
    path, model = folder
    readme = (path / "README.txt").read_text(encoding="utf-8")
    assert "pip install torch sentencepiece\n" in readme
    commands = re.findall(r"^    python (.*)", readme, re.M)
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.S)
    (path / "example.py").write_text(code)
    words = [*map(shlex.split, commands), ["example.py"]]
    printed = run_alone(path, *words)
    (path / "example.py").unlink()
    assert len(printed) == 4
    prompt = "Once upon a time"
    (expected,) = greedy_texts(model, [prompt], 60)
    assert printed[0] == prompt + expected + "\n"
    assert printed[1].startswith(prompt)
    ids = [int(word) for word in printed[2].split()]
    assert ids[:4] == [5, 3, 8, 4]
    assert re.fullmatch(r"loss \d+\.\d+\n", printed[3])


def test_what_is_in_the_folder(folder):
    path, model = folder
    assert {each.name for each in path.iterdir() if each.is_file()} == {
        "README.txt",
        "config.json",
        "generate.py",
        "model.py",
        "model.safetensors",
        "recurrences.py",
        "tokenizer.model",
    }
    expected = to_pytorch(model)
    for read in (read_safetensors, safetensors.torch.load_file):
        found = read(path / "model.safetensors")
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.equal(found[name], value)
    token_ids = torch.tensor(batches(1)[0][0]).long()
    assert torch.equal(load(path)(token_ids), make_twin(model)(token_ids))


@pytest.mark.parametrize(
    "dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)]
)
def test_half_precision_is_kept(tmp_path, dtype):
    model = tiny_model(MIXED, num_layers=4, dtype=dtype)
    to_pytorch_folder(model, tmp_path / "model")
    twin = load(tmp_path / "model")
    assert twin.final_norm.weight.dtype == getattr(torch, dtype)
    answer = generate(twin, torch.tensor([[3, 4]]), 4)
    assert answer.shape == (1, 6)


@pytest.mark.parametrize(
    "case", ["mixed", "gpt2", "llama", "window", "no_positions", "rnn"]
)
def test_cached_decoding_is_uncached_decoding(case):
    twin = make_twin(model_of(case))
    token_ids = torch.tensor(batches(1)[0][0][:3, :5]).long()
    found = generate(twin, token_ids, 12)
    for _ in range(12):
        with torch.no_grad():
            new = twin(token_ids)[:, -1].argmax(-1, keepdim=True)
        token_ids = torch.cat([token_ids, new], dim=1)
    assert torch.equal(found, token_ids)


def test_rows_stop_at_end_tokens():
    twin = make_twin(model_of("attention"))
    prompt = torch.tensor([[3, 4], [8, 9]])
    free = generate(twin, prompt, 10)
    ends = (int(free[0, 4]), int(free[1, 6]))
    found = generate(twin, prompt, 10, end_token_ids=ends)
    for row, alone in zip(found.tolist(), free.tolist(), strict=True):
        first = next(i for i in range(2, 12) if alone[i] in ends)
        assert row[: first + 1] == alone[: first + 1]
        assert set(row[first:]) == {alone[first]}
    assert found.shape[1] < 12


def test_choosing():
    logits = torch.tensor([[0.1, 3.0, 2.0, -1.0]]).repeat(4000, 1)
    assert set(choose(logits, 0.0).ravel().tolist()) == {1}
    assert set(choose(logits, 1.0, top_k=2).ravel().tolist()) == {1, 2}
    assert set(choose(logits, 1.0, top_p=0.5).ravel().tolist()) == {1}
    generator = torch.Generator().manual_seed(0)
    drawn = choose(logits, 2.0, generator=generator).ravel()
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    expected = torch.softmax(logits[0] / 2, -1)
    np.testing.assert_allclose(shares, expected, atol=0.03)


@pytest.mark.parametrize(("length", "new"), [(0, 3), (60, 5)])
def test_more_than_the_context_is_refused(length, new):
    twin = make_twin(model_of("attention"))
    with pytest.raises(ValueError, match=r"max_sequence_length \(64\)"):
        generate(twin, torch.zeros((1, length), dtype=torch.long), new)


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    out = tmp_path / "out"
    line = ["export", str(finished_run()), str(out), "--format=pytorch"]
    assert main([*line, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"pytorch": str(out)}
    prompt = "the"
    model = load_preset(finished_run())
    (expected,) = greedy_texts(model, [prompt], 8)
    words = ["generate.py", prompt, "--max_new_tokens", "8"]
    [printed] = run_alone(out, words)
    assert printed == prompt + expected + "\n"
    assert main(line) == 2
    assert "must be a new or empty folder" in capsys.readouterr().err


def test_what_cannot_be_written(tmp_path, capsys, monkeypatch):
    run, out = str(finished_run()), tmp_path / "out"
    line = ["export", run, str(out), "--format=pytorch"]
    assert main([*line, "--labels", "a"]) == 2
    assert "--labels is of a SavedModel" in capsys.readouterr().err
    with pytest.raises(InputError, match="preprocessor=None"):
        to_pytorch_folder(model_of("attention"), out)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(line) == 2
    captured = capsys.readouterr()
    assert 'pip install "keras-llm[pytorch]"' in captured.err
    assert captured.err.count("\n") == 1
    assert not out.exists()


def byte_pair_model():
    """With a tokenizer of 400 tokens that is trained on the spot."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|end|>", "<|turn|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([sample_text(200)], trainer)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        tokenizer.save(str(path))
        parts = from_tokenizer_json(path)
    tokenizer = ScratchBytePairTokenizer.from_vocabulary(
        replace(parts, start_token_id=None, end_token_ids=(0, 1))
    )
    backbone = tiny_backbone(vocabulary_size=tokenizer.vocabulary_size())
    preprocessor = ScratchCausalLMPreprocessor(tokenizer, sequence_length=64)
    return ScratchCausalLM(backbone, preprocessor)


@pytest.mark.slow
def test_byte_pairs_need_tokenizers(tmp_path):
    model, path = byte_pair_model(), tmp_path / "model"
    to_pytorch_folder(model, path)
    readme = (path / "README.txt").read_text(encoding="utf-8")
    assert "pip install torch tokenizers\n" in readme
    prompt = "the people é\n"
    (answer,) = greedy_texts(model, [prompt], 12)
    words = ("generate.py", prompt, "--max_new_tokens", "12")
    assert run_alone(path, words) == [prompt + answer + "\n"]
