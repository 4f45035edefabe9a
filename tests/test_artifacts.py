"""Whatever a file claims: what is not so is named, and nothing is believed."""

import hashlib
import json
import os
import shutil
import struct
import zipfile

import keras
import numpy as np
import pytest
from tiny_run import finished_run

from keras_llm.corpus.report.corpus_report import load_report
from keras_llm.datasets import open_tokens
from keras_llm.datasets.examples import Examples, Row, write_examples
from keras_llm.errors import InputError
from keras_llm.export.huggingface.files import open_tensors
from keras_llm.run_folder import read_records
from keras_llm.tokenizers.encoders import load_encoder
from keras_llm.tokenizers.training import TokenizerReport
from keras_llm.training.checkpoints import (
    checksum,
    latest_checkpoint,
    save_checkpoint,
)
from keras_llm.training.state import (
    ClockState,
    RunState,
    SamplesState,
    ValidationState,
)

MISSING = object()
BYTE_PAIRS = {
    "class_name": "ScratchBytePairTokenizer",
    "config": {
        "split": "gpt2",
        "normalization": None,
        "whole_words": False,
        "add_prefix_space": False,
        "control_tokens": {"<|end|>": 3},
        "added_tokens": {},
        "start_token_id": None,
        "end_token_ids": [3],
    },
}
INDEX = {"metadata": {}, "weight_map": {"a": "model-1.safetensors"}}


def open_adapter(folder):
    from adapted import KINDS

    from keras_llm.export.huggingface import load_adapter

    load_adapter(KINDS["GPT2"](), folder)


def open_index(folder):
    with open_tensors(folder):
        pass


# Of each folder: the file that is damaged, and who opens it.
OPENED = {
    "run": ("stages.json", lambda path: read_records(path / "stages.json")),
    "corpus": ("report.json", load_report),
    "tokenizer": ("report.json", TokenizerReport.load),
    "tokens": ("manifest.json", lambda path: open_tokens(path, "train")),
    "examples": ("manifest.json", Examples),
    "preset": ("tokenizer.json", load_encoder),
    "pairs": ("tokenizer.json", load_encoder),
    "index": ("model.safetensors.index.json", open_index),
    "adapter": ("adapter_config.json", open_adapter),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A whole folder of every kind."""
    folder = tmp_path_factory.mktemp("whole")
    run = finished_run()
    (folder / "run").mkdir()
    shutil.copy(run / "stages.json", folder / "run")
    for name in ("corpus", "tokenizer", "tokens", "preset"):
        shutil.copytree(run / name, folder / name)
    rows = [[Row([1, 2, 3], [False, True, True])]] * 4
    write_examples(folder / "examples", rows, [True, False] * 2)
    (folder / "pairs/assets/tokenizer").mkdir(parents=True)
    write(folder / "pairs/tokenizer.json", BYTE_PAIRS)
    write(folder / "index/model.safetensors.index.json", INDEX)
    write(folder / "adapter/adapter_config.json", {"peft_type": "LORA"})
    (folder / "adapter/adapter_model.safetensors").touch()
    return folder


def write(path, record):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def changed(record, field, value):
    """The record with another value of a field, by its dotted name."""
    name, _, rest = field.partition(".")
    key = int(name) if isinstance(record, list) else name
    if rest:
        changed(record[key], rest, value)
    elif value is MISSING:
        del record[key]
    else:
        record[key] = value
    return record


ONE_TOKEN = {
    "shards": [{"name": "0.bin", "tokens": 1, "bytes": 2, "sha256": "0"}],
    "tokens": 1,
    "documents": 1,
    "text_bytes": 1,
}
BEGUN = {"settings": {}, "input": {}, "finished": False}
SHARD = "splits.train.shards.0."
TOKENS = [
    ("dtype", "O", "dtype must be one of uint16, uint32. Received: 'O'"),
    ("dtype", "uint32", "bytes of 00000.bin must be"),
    ("vocabulary_size", 2**40, "vocabulary_size must be one that uint16"),
    ("vocabulary_size", 3, "end_token_id|beyond a vocabulary of 3"),
    ("end_token_id", -1, "end_token_id must be in"),
    ("tokenizer_sha256", None, "tokenizer_sha256 must be text"),
    ("format_version", 2, "format_version must be 1. Received: 2"),
    ("splits", [], "splits must be a mapping"),
    ("splits./secret", ONE_TOKEN, "a split must be one of train"),
    ("splits.train.tokens", 1e15, "splits.train.tokens must be a whole"),
    ("splits.train.tokens", 10**15, "splits.train.tokens must be .* shards"),
    ("splits.train.tokens", "7", "tokens must be a whole number.*'7'"),
    ("splits.train.tokens", True, "tokens must be a whole number.*True"),
    ("splits.train.documents", 10**15, "splits.train.documents must be in"),
    ("splits.train.text_bytes", 0, "splits.train.text_bytes must be at least"),
    ("splits.train.shards", [], "splits.train.shards must be one or more"),
    ("splits.train.shards", {}, "splits.train.shards must be a list"),
    (SHARD + "name", "../../secret", "name must be .*'../../secret'"),
    (SHARD + "name", "/etc/passwd", "name must be .*'/etc/passwd'"),
    (SHARD + "name", "..", "name must be .*Received: '..'"),
    (SHARD + "name", "a\0b", "name must be"),
    (SHARD + "name", "00009.bin", "00009.bin is missing"),
    (SHARD + "bytes", 2**40, "bytes of 00000.bin must be"),
    (SHARD + "tokens", 2**40, "tokens must be"),
    (SHARD + "sha256", "0" * 64, "00000.bin is damaged: its checksum"),
    (SHARD + "sha256", MISSING, r"shards\[0\] lacks sha256"),
    (SHARD + "more", 1, r"shards\[0\] has unknown more"),
]
EXAMPLES = [
    ("examples", 2**40, "is damaged: it has shape"),
    ("examples", "4", "examples must be a whole number"),
    ("rows", 0, "rows must be at least 1"),
    ("rows", 2, "offsets.npy is damaged"),
    ("tokens", 10**15, "token_ids.npy is damaged: it has shape"),
    ("answer_tokens", -1, "answer_tokens must be in"),
    ("sha256", {}, "sha256 must be of token_ids"),
    ("sha256./secret", "0", "sha256 must be of token_ids"),
    ("sha256.token_ids", "0", "token_ids.npy is damaged: its checksum"),
]
RUN = [
    ("prepare", [], "prepare must be a mapping"),
    ("prepare.settings", 3, "prepare.settings must be a mapping"),
    ("prepare.input", MISSING, "prepare lacks input"),
    ("prepare.finished", "yes", "prepare.finished must be true or false"),
    ("prepare.report", MISSING, "prepare.report must be there"),
    ("/secret", BEGUN, "a stage must be one of prepare.*'/secret'"),
]
OTHERS = [
    ("corpus", "read.documents", "7", "read.documents must be a whole number"),
    ("corpus", "kept.documents", 10**15, "the rules kept"),
    ("corpus", "splits", 3, "splits must be a mapping"),
    ("tokenizer", "vocabulary_size", [], "vocabulary_size must be a whole"),
    ("tokenizer", "seconds", 1e999, "seconds must be a finite number"),
    ("preset", "config", MISSING, "cannot be read: it must be a mapping"),
    ("preset", "config.add_prefix_space", 2, "config.add_prefix_space must"),
    ("pairs", "config.split", None, "config.split must be text"),
    ("pairs", "config.end_token_ids", 3, "config.end_token_ids must be a l"),
    ("pairs", "config.control_tokens", {"a": "b"}, "control_tokens.a must be"),
    ("index", "weight_map", [], "weight_map must be a mapping"),
    ("index", "weight_map.a", "../../secret", "weight_map must be .*secret"),
    ("index", "weight_map.a", "/etc/passwd", "weight_map must be .*passwd"),
    ("adapter", "peft_type", MISSING, "lacks peft_type"),
    ("adapter", "r", "8", "r must be a whole number"),
    ("adapter", "rank_pattern", {"a": None}, "rank_pattern.a must be"),
]
FIELDS = [
    *(("tokens", *damage) for damage in TOKENS),
    *(("examples", *damage) for damage in EXAMPLES),
    *(("run", *damage) for damage in RUN),
    *OTHERS,
]


@pytest.mark.parametrize(("kind", "field", "value", "expected"), FIELDS)
def test_a_wrong_field_is_named(kind, field, value, expected, whole, tmp_path):
    name, opened = OPENED[kind]
    folder = tmp_path / kind
    shutil.copytree(whole / kind, folder)
    record = json.loads((folder / name).read_text("utf-8"))
    write(folder / name, changed(record, field, value))
    with pytest.raises(InputError, match=expected) as error:
        opened(folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize("kind", OPENED)
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 9999, b"9" * 9999]
)
def test_what_is_no_such_json_is_named(kind, content, whole, tmp_path):
    name, opened = OPENED[kind]
    folder = tmp_path / kind
    shutil.copytree(whole / kind, folder)
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} (must be|cannot be read)"):
        opened(folder)


@pytest.mark.parametrize("kind", ["tokens", "examples"])
def test_links_out_of_the_folder_are_refused(kind, whole, tmp_path):
    name = {"tokens": "train/00000.bin", "examples": "token_ids.npy"}[kind]
    shutil.copytree(whole / kind, tmp_path / kind)
    outside = tmp_path / "outside"
    (tmp_path / kind / name).rename(outside)
    (tmp_path / kind / name).symlink_to(outside)
    with pytest.raises(InputError, match="must be a file inside .* a link to"):
        OPENED[kind][1](tmp_path / kind)
    moved = tmp_path / "moved"  # but the whole folder may be one
    moved.symlink_to(whole / kind)
    OPENED[kind][1](moved)


def test_ids_beyond_the_vocabulary_are_found(whole, tmp_path):
    folder = tmp_path / "tokens"
    shutil.copytree(whole / "tokens", folder)
    ids = np.fromfile(folder / "train/00000.bin", "<u2")
    ids[-1] = 60_000
    ids.tofile(folder / "train/00000.bin")
    digest = hashlib.sha256(ids.tobytes()).hexdigest()
    record = json.loads((folder / "manifest.json").read_text())
    write(folder / "manifest.json", changed(record, SHARD + "sha256", digest))
    with pytest.raises(InputError, match="00000.bin has the token id 60000"):
        open_tokens(folder, "train")


def test_rows_that_do_not_fit_are_found(whole, tmp_path):
    folder = tmp_path / "examples"
    shutil.copytree(whole / "examples", folder)
    offsets = np.array([0, 3, 2**40, 9, 12])
    np.save(folder / "offsets.npy", offsets)
    digest = hashlib.sha256((folder / "offsets.npy").read_bytes()).hexdigest()
    record = json.loads((folder / "manifest.json").read_text())
    write(folder / "manifest.json", changed(record, "sha256.offsets", digest))
    with pytest.raises(InputError, match="offsets.npy is damaged"):
        Examples(folder)


def test_a_pipe_is_not_waited_for(whole, tmp_path):
    shutil.copytree(whole / "corpus", tmp_path / "corpus")
    (tmp_path / "corpus/report.json").unlink()
    os.mkfifo(tmp_path / "corpus/report.json")
    with pytest.raises(InputError, match="report.json"):
        load_report(tmp_path / "corpus")


@pytest.fixture
def checkpoints(tmp_path):
    """Two checkpoints of a run of one batch a step."""
    for step in (5, 10):
        kernel = keras.Variable(
            np.full((2, 3), step), dtype="float32", name="kernel"
        )
        state = RunState(ClockState(step, 99, 0.5), ValidationState(4, 2.5, 1))
        save_checkpoint(tmp_path, step, {"model": [kernel]}, state)
    return tmp_path


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("format", 9, "format must be"),
        ("step", "10", "step must be a whole number"),
        ("step", 10**15, "it is of another step"),
        ("sha256", "0", "wrong checksum"),
        ("dtypes", {}, "its arrays are not those"),
        ("dtypes.model/0000/kernel", "O", "is not what it claims to be"),
        ("state", {}, "state lacks clock"),
        ("state.clock", None, "state.clock must be a mapping"),
        ("state.clock.batch", 10**15, "it is of step 1000000000000000"),
        ("state.clock.tokens", 1e15, "tokens must be a whole number"),
        ("state.clock.seconds", "7", "seconds must be a finite number"),
        ("state.validation.best_step", None, "best_loss must be there with"),
        ("state.validation.waited", -1, "waited must be at least 0"),
        ("state.samples", {"bytes": 2.5}, "bytes must be a whole number"),
        ("state.more", {}, "state has unknown more"),
        ("checksum", "0", "checksum must be that of the other fields"),
    ],
)
def test_a_checkpoint_of_wrong_fields_is_passed_over(
    checkpoints, field, value, expected, capsys
):
    path = checkpoints / "00000010" / "checkpoint.json"
    record = changed(json.loads(path.read_text()), field, value)
    if field != "checksum":
        record["checksum"] = checksum(record)
    write(path, record)
    assert latest_checkpoint(checkpoints).step == 5
    said = capsys.readouterr().err
    assert expected in said and str(path.parent) in said


def claim(path, shape):
    """Writes an array whose header claims a shape, and its checksum."""
    header = repr({"descr": "<f4", "fortran_order": False, "shape": shape})
    header = header.ljust(117) + "\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header))
    content += header.encode() + bytes(24)
    with zipfile.ZipFile(path / "variables.npz", "w") as archive:
        archive.writestr("model/0000/kernel.npy", content)
    state = path / "checkpoint.json"
    record = json.loads(state.read_text())
    data = (path / "variables.npz").read_bytes()
    record["sha256"] = hashlib.sha256(data).hexdigest()
    record["checksum"] = checksum(record)
    write(state, record)


def test_a_shape_is_compared_with_the_file_before_memory_is_taken(
    checkpoints, capsys
):
    newest = checkpoints / "00000010"
    claim(newest, (2, 3))
    assert latest_checkpoint(checkpoints).step == 10
    for shape in ((2**40,), (2**40, 2**40), (7,)):
        claim(newest, shape)
        assert latest_checkpoint(checkpoints).step == 5
        assert "is not what it claims to be" in capsys.readouterr().err


def test_a_checkpoint_keeps_all_that_callbacks_know(tmp_path):
    state = RunState(
        ClockState(3, 7, 1.25), ValidationState(None, None, 0), SamplesState(9)
    )
    kernel = keras.Variable(np.zeros(2), name="kernel")
    save_checkpoint(tmp_path, 3, {"model": [kernel]}, state)
    assert latest_checkpoint(tmp_path).state == state
