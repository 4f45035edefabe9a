"""Encoding: what is on disk is the text, whole, in bounded memory."""

import json
import random
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
from keras_llm.datasets import TokenManifest, encode, open_tokens
from keras_llm.datasets import encoding as encoding_module
from keras_llm.errors import InputError
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


def test_parts_of_a_document_have_one_end(tmp_path):
    tokenizer = sample_tokenizer(tmp_path)
    corpus = write_documents(
        tmp_path / "parts",
        "train",
        [
            Document("a-0", "the people\n", "test", continues=True),
            Document("a-1", "of the union", "test"),
            Document("b", "hope", "test"),
        ],
    )
    manifest = encode(corpus, tokenizer, tmp_path / "tokens")
    encode_text = load_processor(tokenizer).encode
    expected = encode_text("the people\nof the union") + [2]
    expected += encode_text("hope") + [2]
    assert all_tokens(tmp_path / "tokens", "train").tolist() == expected
    assert manifest.splits["train"].documents == 2


def test_batches_and_shards_do_not_show(tmp_path, monkeypatch):
    processor, _ = encoded(tmp_path)
    whole = all_tokens(tmp_path / "tokens", "train")
    monkeypatch.setattr(encoding_module, "BATCH_CHARACTERS", 500)
    monkeypatch.setattr(encoding_module, "SHARD_TOKENS", 1000)
    sizes = []
    manifest = encode(
        tmp_path / "corpus",
        tmp_path / "tokenizer",
        tmp_path / "small",
        progress=sizes.append,
    )
    train = manifest.splits["train"]
    counts = [shard.tokens for shard in train.shards]
    assert set(counts[:-1]) == {1000} and 0 < counts[-1] <= 1000
    assert [shard.name for shard in train.shards[:2]] == [
        "00000.bin",
        "00001.bin",
    ]
    tokens = open_tokens(tmp_path / "small", "train")
    assert np.array_equal(tokens.read(0, len(tokens)), whole)
    for start, length in [(990, 20), (0, 1), (999, 2002), (1000, 1000)]:
        read = tokens.read(start, length)
        assert read.dtype == np.int32
        assert np.array_equal(read, whole[start : start + length])
    assert len(sizes) > 10
    text_bytes = [split.text_bytes for split in manifest.splits.values()]
    assert sum(sizes) == sum(text_bytes)


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
    monkeypatch.setattr(encoding_module, "BATCH_CHARACTERS", 20_000)
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
