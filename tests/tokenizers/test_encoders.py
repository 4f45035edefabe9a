"""Corpora are encoded by whatever tokenizer a preset has."""

import numpy as np
import pytest
from byte_pair_reference import strange_texts, trained
from tiny_corpus import sample_text, sample_tokenizer, write_corpus

from keras_llm.datasets import encoding, open_tokens
from keras_llm.errors import InputError
from keras_llm.tokenizers import (
    ScratchBytePairTokenizer,
    ScratchTokenizer,
    encoders,
)
from keras_llm.tokenizers.byte_pair_files import from_tokenizer_json

DOCUMENTS = [sample_text(40), "a", *strange_texts(20, seed=2), sample_text(3)]


@pytest.fixture
def corpus(tmp_path):
    texts = [text for text in DOCUMENTS if text]
    return write_corpus(tmp_path / "corpus", train=texts, validation=texts[:2])


@pytest.fixture
def byte_pairs(tmp_path):
    reference = trained("smollm")
    reference.add_special_tokens(["<|end|>", "<|turn|>"])
    path = tmp_path / "tokenizer.json"
    reference.save(str(path))
    parts = from_tokenizer_json(path)
    settings = {"end_token_ids": [*parts.control_tokens.values()]}
    return ScratchBytePairTokenizer.from_vocabulary(parts, **settings)


@pytest.mark.slow
def test_a_preset_of_byte_pairs(corpus, byte_pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(encoders, "AT_A_TIME", 30)
    byte_pairs.save_to_preset(str(tmp_path / "preset"))
    manifest = encoding.encode(corpus, tmp_path / "preset", tmp_path / "out")
    end = byte_pairs.end_token_id
    for split, count in (("train", None), ("validation", 2)):
        texts = [text for text in DOCUMENTS if text][:count]
        rows = [[*byte_pairs.tokenize(text), end] for text in texts]
        tokens = open_tokens(tmp_path / "out", split)
        expected = np.concatenate(rows)
        assert len(tokens) == len(expected)
        assert np.array_equal(tokens.read(0, len(expected)), expected)
        assert manifest.splits[split].documents == len(texts)
    assert manifest.end_token_id == end
    assert manifest.vocabulary_size == byte_pairs.vocabulary_size()
    assert manifest.tokenizer_sha256 == byte_pairs.sha256


def test_a_preset_of_sentence_pieces(corpus, tmp_path):
    folder = sample_tokenizer(tmp_path / "run")
    tokenizer = ScratchTokenizer.from_file(folder)
    tokenizer.save_to_preset(str(tmp_path / "preset"))
    given = encoding.encode(corpus, folder, tmp_path / "given")
    manifest = encoding.encode(corpus, tmp_path / "preset", tmp_path / "out")
    assert manifest == given
    assert manifest.tokenizer_sha256 == tokenizer.sha256


def test_what_decides_ids_decides_the_hash(byte_pairs):
    config = byte_pairs.get_config()
    parts = byte_pairs.byte_pairs
    first, second = byte_pairs.end_token_ids
    hashes = [byte_pairs.sha256]
    for change in (
        {"split": "gpt2"},
        {"end_token_ids": [second, first]},
        {"added_tokens": {"  ": parts.size}},
    ):
        other = ScratchBytePairTokenizer(
            parts.tokens, parts.merges, **config | change
        )
        hashes.append(other.sha256)
    assert len(set(hashes)) == 4
    again = ScratchBytePairTokenizer(parts.tokens, parts.merges, **config)
    assert again.sha256 == hashes[0]


def test_presets_of_other_tokenizers_are_refused(corpus, tmp_path):
    preset = tmp_path / "preset"
    (preset / "assets" / "tokenizer").mkdir(parents=True)
    text = '{"class_name": "BertTokenizer", "config": {}}'
    (preset / "tokenizer.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="has a BertTokenizer, which does not"):
        encoding.encode(corpus, preset, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="must be a SentencePiece .model"):
        encoding.encode(corpus, tmp_path / "nothing", tmp_path / "out")
