"""Lines that cannot be done: one message, no traceback, and nothing left.

What is known before anything is made is said before anything is made.
"""

import json
import os
import re

import pytest
import yaml
from tiny_corpus import sample_text
from tiny_run import RECIPE, finished_run, write_times

from keras_llm.cli import main
from keras_llm.recipes import memory
from keras_llm.recipes.settings import to_dict

LONG = "a" * 99
# {run} is a finished run, {digits} a number of 5,000 digits.
TRAIN = "train text.txt --out o --recipe small.yaml "
PRETRAIN = "pretrain {run}/tokens {run}/tokenizer --out o --recipe small.yaml "
ASK = "tune instructions {run} pairs.jsonl --out o --data.template plain "
TUNE = ASK + "--training.sample_prompt a "
DOMAIN = "tune domain {run} text.txt --out o "
MEMORY = "needs at least .* of memory: .* This machine has 8.0 GiB"

RECIPES = [
    ("train text.txt --out o --recipe deep.yaml", "nested too deeply"),
    ("train text.txt --out o --recipe self.yaml", "it has an alias"),
    ("train text.txt --out o --recipe twice.yaml", "it has seed twice"),
    ("train text.txt --out o --recipe digits.yaml", "not YAML.*digits"),
    ("train text.txt --out o --recipe binary", "binary is not YAML"),
    ("train text.txt --out o --recipe fifo", "or a YAML file.*'fifo'"),
    ("train text.txt --out o --recipe /dev/zero", "or a YAML file"),
    ("train text.txt --out o --recipe loop", "or a YAML file"),
    (TUNE + "--recipe deep.yaml", "nested too deeply"),
    ("compare-pytorch deep.yaml --out o", "nested too deeply"),
    ("generate {run} --recipe self.yaml", "it has an alias"),
    ("train text.txt --out o --recipe classifier", "makes a model.*tunes it"),
    ("train text.txt --out o --recipe tuning.yaml", "makes a model.*tunes it"),
    ("compare-pytorch tuning.yaml --out o", "tuning.yaml, which tunes a mod"),
    (TUNE + "--recipe mini", "one that tunes a model: .*instructions"),
]
SIZES = [
    (TRAIN + "--training.steps {digits}", "training.steps.*digits"),
    (TRAIN + "--training.steps 1000000000", "steps must be at most"),
    (TRAIN + "--training.batch_size 1000000000", "batch_size must be at most"),
    (TRAIN + "--training.batch_size 1000000", MEMORY),
    (TRAIN + "--training.epochs inf", "finite number or null"),
    (TRAIN + "--training.learning_rate inf", "finite.*inf"),
    (TRAIN + "--training.learning_rate nan", "finite.*nan"),
    (TRAIN + "--training.learning_rate 1e999", "finite.*inf"),
    (TRAIN + "--training.sample_tokens 1000000000", "tokens must be at most"),
    (TRAIN + "--model.hidden_dim 1000000000", "hidden_dim must be at most"),
    (TRAIN + "--model.hidden_dim 1000000", MEMORY),
    (TRAIN + "--model.num_layers 0", "num_layers must be at least 1"),
    (TRAIN + "--model.num_layers -1", "num_layers must be at least 1"),
    (TRAIN + "--model.num_layers 10000 --model.hidden_dim 4096", MEMORY),
    (TRAIN + "--model.max_sequence_length 10000000", MEMORY),
    (TRAIN + "--tokenizer.vocabulary_size 2147483648", "size must be at most"),
    (
        TRAIN + "--tokenizer.model_type bpe "
        "--tokenizer.vocabulary_size 9000000 --model.hidden_dim 4096",
        MEMORY,
    ),
    (TRAIN + "--generation.max_new_tokens 1000000000", "must be at most"),
    (PRETRAIN + "--training.batch_size 1000000", MEMORY),
    (PRETRAIN + "--model.hidden_dim 1000000", MEMORY),
    (PRETRAIN + "--model.max_sequence_length 100000", MEMORY),
    (TUNE + "--training.steps 1000000000", "steps must be at most"),
    (TUNE + "--adapter.rank 100000", "rank must be at most"),
    (TUNE + "--adapter.alpha inf", "finite"),
    (TUNE + "--data.sequence_length 1000000000", "length must be at most"),
    (DOMAIN + "--training.batch_size 1000000", MEMORY),
    ("ask {run} a --max_new_tokens 1000000000", "must be at most"),
    ("chat {run} --generation.max_new_tokens 1000000000", "must be at most"),
    ("export {run} o --generation.top_k 1000000000000", "must be at most"),
    ("generate {run} --generation.temperature inf", "finite"),
    ("generate {run} --generation.num_beams 99999", "must be at most"),
    (
        "evaluate {run} --references pairs.jsonl --max_new_tokens 1000000000",
        "must be at most",
    ),
    ("compare-pytorch small.yaml --out o --steps 1000000000", "at most"),
    ("compare-pytorch small.yaml --out o --batch_size 10000000", "at most"),
    ("compare-pytorch small.yaml --out o --rounds 1000000000", "rounds must"),
]
FIELDS = [
    (TRAIN + "--corpus.text body", "corpus.text names columns.*'body'"),
    (TRAIN + "--corpus.template {{body}}", "corpus.template names columns"),
    (TRAIN + "--corpus.split_column part", "corpus.split_column names col"),
    ("prepare rows.csv --out o --corpus.text c", "no c; its columns are a, b"),
    ("prepare rows.csv --out o --corpus.text 9", "no 9; its columns are"),
    ("prepare pairs.jsonl --out o --corpus.text c", "no c; its texts are"),
    ("prepare pairs.jsonl --out o --corpus.template {{c}}", "no c; its te"),
    ("prepare pairs.jsonl --out o --corpus.split_column c", "c is 'None'"),
    (TUNE + "--data.columns [a,b]", "20 are left out: each has no prompt"),
    (TUNE + "--data.columns [a]", "columns must be two names"),
    (TUNE + "--data.shape x", "data.shape must be one of messages"),
    (TUNE + "--adapter.rank 2 --adapter.targets [x]", "targets must.*'x'"),
    (
        "evaluate {run} --references rows.csv --prompt a --completion 9",
        "no 9; its columns are a, b",
    ),
]
FILES = [
    (TRAIN + "--tokenizer.model_path nothing", "nothing must be a Sentence"),
    (TRAIN + "--tokenizer.model_path text.txt", "it does not load as one"),
    (TRAIN + "--tokenizer.model_path binary", "it does not load as one"),
    (TRAIN + "--tokenizer.model_path fifo", "fifo must be a SentencePiece"),
    (TRAIN + "--tokenizer.model_path /dev/zero", "must be a SentencePiece"),
    (TRAIN + "--executor slurm", "sbatch"),
    (TRAIN + "--executor ray --ray_address 127.0.0.1:9", "ray_address must"),
    ("train fifo --out o --recipe small.yaml", "a device or a pipe"),
    ("train /dev/zero --out o --recipe small.yaml", "a device or a pipe"),
    ("train loop --out o --recipe small.yaml", "which does not exist"),
    ("train empty.txt --out o --recipe small.yaml", "must hold text"),
    ("pretrain {run}/tokens binary --out o", "it does not load as one"),
    ("pretrain {run}/tokens fifo --out o", "fifo must be a SentencePiece"),
    (PRETRAIN + f"--training.sample_prompt {LONG}", "training.sample_prompt:"),
    ("encode {run}/corpus binary --out o", "it does not load as one"),
    ("encode {run}/corpus fifo --out o", "fifo must be a SentencePiece"),
    ("encode {run}/corpus {run}/tokenizer --out o --executor slurm", "sbatch"),
    ("import fifo --out o", "fifo must be a model folder"),
    ("import /dev/zero --out o", "/dev/zero must be a model folder"),
    ("import fifo --out o --tokenizer binary", "a pipe or a device"),
    ("import /dev/zero --out o --tokenizer binary", "a pipe or a device"),
    ("import loop --out o", "loop must be a model folder"),
    (TUNE + "--data.template fifo", "fifo must be a file with a Jinja"),
    (TUNE + "--data.template binary", "binary must be a Jinja template in"),
    (ASK + f"--training.sample_prompt {LONG}", "training.sample_prompt:"),
    (DOMAIN + f"--training.sample_prompt {LONG}", "training.sample_prompt:"),
    (DOMAIN + "--replay.tokens {run}/corpus", "must be a token folder"),
    ("improve {run} --feedback fifo --out o", "a pipe or a device"),
    ("improve {run} --feedback /dev/zero --out o", "a pipe or a device"),
    ("ask {run} a --shots fifo", "a device or a pipe"),
    ("ask {run} \udcff --choices a b", "must be Unicode text"),
    ("generate {run} --prompt \udcff", "prompt must be Unicode text"),
    ("evaluate {run} --references /dev/zero", "a device or a pipe"),
]
LINE_OF_OUT = {
    "train text.txt --recipe small.yaml": "a new or empty folder",
    "prepare text.txt": "a link to nothing",
    "tokenizer {run}/corpus --tokenizer.model_type char": "a link to nothing",
    "encode {run}/corpus {run}/tokenizer": "a link to nothing",
    "pretrain {run}/tokens {run}/tokenizer": "a new or empty folder",
    "compare-pytorch small.yaml": "a link to nothing",
    "tune domain {run} text.txt": "a new or empty folder",
    "evaluate {run} --references pairs.jsonl": "a link to nothing",
}
OUTS = [
    *((f"{line} --out loop", said) for line, said in LINE_OF_OUT.items()),
    *((f"{line} --out loop/o", "loop/o") for line in LINE_OF_OUT),
    *((f"{line} --out text.txt/o", "text.txt/o") for line in LINE_OF_OUT),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of files that lines name, where they are called."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory, "physical_memory", lambda: 8 * 2**30)
    monkeypatch.setattr(memory, "MOST_OF_ACCELERATORS", 1)
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes with names")
    os.mkfifo("fifo")
    os.symlink("loop", "loop")
    rows = [{"prompt": f"the {n}", "completion": "people"} for n in range(20)]
    for name, text in {
        "text.txt": sample_text(60),
        "empty.txt": "",
        "rows.csv": "a,b\nthe,people\n",
        "pairs.jsonl": "\n".join(map(json.dumps, rows)),
        "small.yaml": yaml.safe_dump(to_dict(RECIPE)),
        "tuning.yaml": "data: {validation: 0.1}",
        "deep.yaml": "a: " + "[" * 900 + "]" * 900,
        "self.yaml": "training: &a {x: *a}",
        "twice.yaml": "seed: 1\nseed: 2",
        "digits.yaml": "seed: " + "9" * 5000,
    }.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 9)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "expected"), [*RECIPES, *SIZES, *FIELDS, *FILES, *OUTS]
)
def test_a_line_that_cannot_be_done_leaves_nothing(
    line, expected, folder, capsys
):
    run = finished_run()
    before, in_run = sorted(folder.rglob("*")), write_times(run)
    capsys.readouterr()
    code = main(line.format(run=run, digits="9" * 5000).split())
    captured = capsys.readouterr()
    assert code == 2, captured.err
    *progress, message = captured.err.splitlines()
    assert message.startswith("keras-llm: "), captured.err
    assert re.search(expected, message), message
    assert not any("keras-llm: " in other for other in progress)
    assert captured.out == ""
    assert sorted(folder.rglob("*")) == before
    assert write_times(run) == in_run
