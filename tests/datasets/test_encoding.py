"""Encoding: what is on disk is the text, whole, in bounded memory."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
from tiny_corpus import (
    VOCABULARY_SIZES,
    other_model,
    sample_corpus,
    sample_text,
    sample_tokenizer,
    write_corpus,
    write_documents,
)

from keras_llm.corpus.documents import Document, read_documents
from keras_llm.datasets import (
    TokenManifest,
    encode,
    open_tokens,
    shard_encoding,
)
from keras_llm.datasets import encoding as encoding_module
from keras_llm.errors import InputError
from keras_llm.recipes.corpus_settings import ExecutionSettings
from keras_llm.tokenizers.processor import load_processor


def all_tokens(folder, split):
    tokens = open_tokens(folder, split)
    return tokens.read(0, len(tokens))


def encoded(tmp_path, model_type="unigram"):
    """The sample corpus, its tokenizer and its tokens."""
    tokenizer = sample_tokenizer(tmp_path, model_type)
    corpus = tmp_path / "corpus"
    manifest = encode(corpus, tokenizer, tmp_path / "tokens")
    return load_processor(tokenizer), manifest


@pytest.mark.parametrize("model_type", list(VOCABULARY_SIZES))
def test_tokens_are_the_documents_each_with_an_end(tmp_path, model_type):
    processor, manifest = encoded(tmp_path, model_type)
    expected = []
    for seed in range(4):
        expected += [*processor.encode(sample_text(100, seed)), 2]
    assert all_tokens(tmp_path / "tokens", "train").tolist() == expected
    train = manifest.splits["train"]
    assert train.documents == 4
    assert train.tokens == len(expected)
    assert train.text_bytes == sum(
        len(sample_text(100, seed).encode()) for seed in range(4)
    )
    assert list(manifest.splits) == ["train", "validation"]


def test_manifest_comes_back_from_disk(tmp_path):
    _, manifest = encoded(tmp_path)
    assert TokenManifest.load(tmp_path / "tokens") == manifest
    tokens = open_tokens(tmp_path / "tokens", "validation")
    assert tokens.end_token_id == 2
    assert tokens.documents == 1
    assert tokens.vocabulary_size == VOCABULARY_SIZES["unigram"]
    assert tokens.text_bytes == len(sample_text(50, 9).encode())
    assert manifest.dtype == "uint16"


def test_every_document_ends_with_the_end_token(tmp_path):
    tokenizer = sample_tokenizer(tmp_path)
    corpus = write_documents(
        tmp_path / "parts",
        "train",
        [
            Document("a#1", "the people\n", "test"),
            Document("a#2", "of the union", "test"),
            Document("b", "hope", "test"),
        ],
    )
    manifest = encode(corpus, tokenizer, tmp_path / "tokens")
    encode_text = load_processor(tokenizer).encode
    expected = encode_text("the people\n") + [2]
    expected += encode_text("of the union") + [2]
    expected += encode_text("hope") + [2]
    assert all_tokens(tmp_path / "tokens", "train").tolist() == expected
    assert manifest.splits["train"].documents == 3


def split_shards(corpus, split, documents):
    """Divides the only shard of a split into shards of so many documents."""
    whole = corpus / split / "00000.jsonl"
    lines = whole.read_bytes().splitlines(keepends=True)
    for start in range(0, len(lines), documents):
        shard = whole.with_name(f"{start // documents:05d}.jsonl")
        shard.write_bytes(b"".join(lines[start : start + documents]))


def test_batches_and_shards_do_not_show(tmp_path, monkeypatch):
    processor, _ = encoded(tmp_path)
    whole = all_tokens(tmp_path / "tokens", "train")
    monkeypatch.setattr(shard_encoding, "BATCH_CHARACTERS", 500)
    split_shards(tmp_path / "corpus", "train", 1)
    sizes = []
    manifest = encode(
        tmp_path / "corpus",
        tmp_path / "tokenizer",
        tmp_path / "small",
        progress=sizes.append,
    )
    train = manifest.splits["train"]
    first = train.shards[0].tokens
    names = [shard.name for shard in train.shards]
    assert names == [f"{number:05d}.bin" for number in range(4)]
    tokens = open_tokens(tmp_path / "small", "train")
    assert np.array_equal(tokens.read(0, len(tokens)), whole)
    for start, length in [
        (first - 10, 20),
        (0, 1),
        (first - 1, len(whole) - first),
        (first, 1000),
    ]:
        read = tokens.read(start, length)
        assert read.dtype == np.int32
        assert np.array_equal(read, whole[start : start + length])
    text_bytes = [split.text_bytes for split in manifest.splits.values()]
    assert sizes[-1] == sum(text_bytes)


def many_shards(folder, shards=8):
    """A tokenizer, and a corpus of several shards of some size."""
    tokenizer = sample_tokenizer(folder)
    texts = [sample_text(200, seed) for seed in range(3 * shards)]
    write_corpus(folder / "corpus", train=texts)
    split_shards(folder / "corpus", "train", 3)
    return folder / "corpus", tokenizer


def all_files(folder):
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_workers_do_not_show(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding_module, "WORTH_PROCESSES", 0)
    corpus, tokenizer = many_shards(tmp_path)
    for workers in (1, 2):
        out = tmp_path / str(workers)
        execution = ExecutionSettings(workers=workers)
        encode(corpus, tokenizer, out, execution=execution)
    files = all_files(tmp_path / "1")
    assert all_files(tmp_path / "2") == files
    assert sorted(files)[:2] == ["manifest.json", "train/00000.bin"]
    assert len(files) == 10


def test_empty_shard_of_the_corpus(tmp_path):
    corpus, tokenizer = many_shards(tmp_path, 3)
    (corpus / "train" / "00001.jsonl").write_bytes(b"")
    manifest = encode(corpus, tokenizer, tmp_path / "tokens")
    train = manifest.splits["train"]
    names = [shard.name for shard in train.shards]
    assert names == ["00000.bin", "00002.bin"]
    assert train.documents == 6
    assert len(all_tokens(tmp_path / "tokens", "train")) == train.tokens


ENCODE = """
import sys
import time
from pathlib import Path
from keras_llm.datasets import encode, encoding
from keras_llm.recipes.corpus_settings import ExecutionSettings

def run_and_wait(*args, **kwargs):
    run_tasks(*args, **kwargs)
    time.sleep(60)  # to be killed before it has ended

run_tasks, encoding.run_tasks = encoding.run_tasks, run_and_wait
encoding.WORTH_PROCESSES = 0
corpus, tokenizer, out = map(Path, sys.argv[1:])
encode(corpus, tokenizer, out, execution=ExecutionSettings(workers=2))
"""


def kill_in_the_middle(corpus, tokenizer, out):
    """Encodes in another process group, until two shards are there."""
    arguments = map(str, (corpus, tokenizer, out))
    killed = subprocess.Popen(
        [sys.executable, "-c", ENCODE, *arguments],
        env=os.environ | {"KERAS_LLM_WORKER": "1"},
        start_new_session=True,
    )
    finished = out.with_name(f".{out.name}.work") / "stage" / "completions"
    end = time.monotonic() + 120
    while not finished.is_dir() or len(list(finished.iterdir())) < 2:
        assert killed.poll() is None and time.monotonic() < end
        time.sleep(0.005)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not out.exists()
    return {path.name for path in finished.iterdir()}


def test_killed_encoding_goes_on(tmp_path):
    corpus, tokenizer = many_shards(tmp_path, 40)
    encode(corpus, tokenizer, tmp_path / "whole")
    out = tmp_path / "tokens"
    finished = kill_in_the_middle(corpus, tokenizer, out)
    assert len(finished) >= 2
    name = f"train/{min(finished)}.bin"
    made = (tmp_path / ".tokens.work/made" / name).stat().st_mtime_ns
    encode(corpus, tokenizer, out)
    assert all_files(out) == all_files(tmp_path / "whole")
    assert (out / name).stat().st_mtime_ns == made
    assert not (tmp_path / ".tokens.work").exists()


def test_work_on_another_corpus_is_not_gone_on_with(tmp_path):
    corpus, tokenizer = many_shards(tmp_path, 40)
    kill_in_the_middle(corpus, tokenizer, tmp_path / "tokens")
    write_corpus(corpus, train=[sample_text(150, 77)])
    encode(corpus, tokenizer, tmp_path / "tokens")
    encode(corpus, tokenizer, tmp_path / "again")
    assert all_files(tmp_path / "tokens") == all_files(tmp_path / "again")


def test_reading_beyond_the_end(tmp_path):
    encoded(tmp_path)
    tokens = open_tokens(tmp_path / "tokens", "train")
    assert len(tokens.read(len(tokens), 0)) == 0
    for start, length in [(len(tokens), 1), (-1, 2), (0, len(tokens) + 1)]:
        with pytest.raises(IndexError):
            tokens.read(start, length)


def test_dtype_switches_at_65536():
    assert encoding_module.token_dtype(65_535) == np.dtype("<u2")
    assert encoding_module.token_dtype(65_536) == np.dtype("<u4")


def test_large_vocabulary_is_written_as_uint32(tmp_path, monkeypatch):
    monkeypatch.setattr(
        encoding_module, "token_dtype", lambda size: np.dtype("<u4")
    )
    processor, manifest = encoded(tmp_path)
    assert manifest.dtype == "uint32"
    shard = manifest.splits["train"].shards[0]
    assert shard.bytes == 4 * shard.tokens
    expected = processor.encode(sample_text(100, 0))
    tokens = open_tokens(tmp_path / "tokens", "train")
    assert tokens.read(0, len(expected)).tolist() == expected


def test_given_model_ends_documents_with_its_own_eos(tmp_path):
    model = tmp_path / "given.model"
    model.write_bytes(other_model())
    corpus = write_corpus(tmp_path / "corpus", train=["the people\nof"])
    manifest = encode(corpus, model, tmp_path / "tokens")
    processor = load_processor(model)
    expected = [*processor.encode("the people\nof"), processor.eos_id()]
    assert manifest.end_token_id == processor.eos_id()
    assert all_tokens(tmp_path / "tokens", "train").tolist() == expected


def peak_while_encoding(corpus, tokenizer, out):
    tracemalloc.start()
    encode(corpus, tokenizer, out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_encoding, "BATCH_CHARACTERS", 20_000)
    tokenizer = sample_tokenizer(tmp_path)
    peaks = []
    for count in (20, 200):
        texts = [sample_text(100, seed) for seed in range(count)]
        corpus = write_corpus(tmp_path / f"corpus-{count}", train=texts)
        out = tmp_path / f"tokens-{count}"
        peaks.append(peak_while_encoding(corpus, tokenizer, out))
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-2]), "bytes inst"),
        (lambda path: flip_a_bit(path), "is damaged"),
    ],
)
def test_damaged_shard_is_named(tmp_path, damage, message):
    encoded(tmp_path)
    damage(tmp_path / "tokens" / "train" / "00000.bin")
    with pytest.raises(InputError, match=message) as error:
        open_tokens(tmp_path / "tokens", "train")
    assert "00000.bin" in str(error.value)
    assert "--redo encode" in str(error.value)
    open_tokens(tmp_path / "tokens", "validation")


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[random.Random(0).randrange(len(content))] ^= 1
    path.write_bytes(content)


def test_checksum_is_skipped_on_request(tmp_path):
    encoded(tmp_path)
    flip_a_bit(tmp_path / "tokens" / "train" / "00000.bin")
    open_tokens(tmp_path / "tokens", "train", verify=False)


def test_folder_without_tokens(tmp_path):
    with pytest.raises(InputError, match="Make one with `keras-llm encode"):
        open_tokens(tmp_path, "train")


def test_missing_split_names_those_there_are(tmp_path):
    encoded(tmp_path)
    with pytest.raises(InputError, match="It has: train, validation"):
        open_tokens(tmp_path / "tokens", "test")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format_version": 9}'])
def test_unreadable_manifest(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InputError, match="--redo encode"):
        open_tokens(tmp_path, "train")


def test_bytes_that_are_no_text_are_named(tmp_path):
    corpus = sample_corpus(tmp_path / "corpus")
    with (corpus / "train" / "00000.jsonl").open("ab") as shard:
        shard.write(b'{"id": "\xff"}\n')
    with pytest.raises(InputError, match=r"00000\.jsonl, line 5: expected"):
        list(read_documents(corpus, "train"))


def test_nothing_half_written_is_left(tmp_path):
    tokenizer = sample_tokenizer(tmp_path)
    corpus = sample_corpus(tmp_path / "corpus")
    with (corpus / "validation" / "00000.jsonl").open("a") as shard:
        shard.write(json.dumps({"id": "x"}) + "\n")
    with pytest.raises(InputError, match="line 2"):
        encode(corpus, tokenizer, tmp_path / "tokens")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"corpus", "tokenizer"}
