"""Training: exact options, the same bytes every time, errors that help."""

import re

import pytest
from tiny_corpus import (
    VOCABULARY_SIZES,
    other_model,
    sample_corpus,
    sample_tokenizer,
    write_corpus,
)

from keras_llm.errors import InputError
from keras_llm.recipes.settings import TokenizerSettings
from keras_llm.tokenizers import TokenizerReport, train_tokenizer
from keras_llm.tokenizers import training as training_module
from keras_llm.tokenizers.control import CHAT_TOKENS, END, PAD, UNK
from keras_llm.tokenizers.processor import (
    cut_at_lines,
    cuts_at_lines,
    load_processor,
)

MODEL_TYPES = list(VOCABULARY_SIZES)
SUBWORDS = ["unigram", "bpe"]


def settings(model_type="unigram", vocabulary_size=None):
    size = vocabulary_size or VOCABULARY_SIZES[model_type]
    return TokenizerSettings(model_type=model_type, vocabulary_size=size)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_control_tokens_have_fixed_ids(tmp_path, model_type):
    processor = load_processor(sample_tokenizer(tmp_path, model_type))
    pieces = processor.id_to_piece(list(range(7)))
    assert pieces == [PAD, UNK, END, *CHAT_TOKENS]
    assert processor.bos_id() == -1


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_same_text_gives_same_bytes(tmp_path, model_type):
    first = sample_tokenizer(tmp_path / "first", model_type)
    second = sample_tokenizer(tmp_path / "second", model_type)
    model = (first / "tokenizer.model").read_bytes()
    assert model == (second / "tokenizer.model").read_bytes()
    assert str(tmp_path).encode() not in model


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_report_says_what_was_made(tmp_path, model_type):
    corpus = sample_corpus(tmp_path / "corpus")
    report = train_tokenizer(corpus, tmp_path / "out", settings(model_type))
    assert report == TokenizerReport.load(tmp_path / "out")
    assert report.model_type == model_type
    assert report.vocabulary_size <= VOCABULARY_SIZES[model_type]
    assert report.bytes_per_token >= 1
    assert report.tokens_per_document > 100
    if model_type != "word":
        assert report.unknown_share == 0


def test_characters_are_one_token_each(tmp_path):
    processor = load_processor(sample_tokenizer(tmp_path, "char"))
    text = "The  people\n\tof the union\n"
    ids = processor.encode(text)
    assert len(ids) == len(text)
    assert processor.decode(ids) == text


def test_carriage_returns_are_learned(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", train=["one\r\ntwo\r\nthree"])
    train_tokenizer(corpus, tmp_path / "out", settings("char"))
    processor = load_processor(tmp_path / "out")
    assert processor.decode(processor.encode("\r\n\r\n")) == "\r\n\r\n"


def test_words_keep_line_ends_spaces_and_tabs(tmp_path):
    processor = load_processor(sample_tokenizer(tmp_path, "word"))
    for text in ["the people\nof\n\nthe", "\n", " \n ", "\tthe", "the  of "]:
        assert processor.decode(processor.encode(text)) == text


def test_reserved_characters_do_not_hide_their_line(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", train=["ab\0cd\u2585ef"])
    train_tokenizer(corpus, tmp_path / "out", settings("char"))
    processor = load_processor(tmp_path / "out")
    assert processor.decode(processor.encode("abcdef")) == "abcdef"


def test_long_lines_are_not_left_out(tmp_path):
    line = "a" * 20_000 + " " + "xyz" * 20_000
    corpus = write_corpus(tmp_path / "corpus", train=[line])
    train_tokenizer(corpus, tmp_path / "out", settings("char"))
    processor = load_processor(tmp_path / "out")
    assert processor.unk_id() not in processor.encode("xyz a")


def test_every_kth_piece_is_taken_of_much_text(tmp_path, monkeypatch):
    corpus = sample_corpus(tmp_path / "corpus")
    whole = "".join(training_module._Feed(corpus))
    monkeypatch.setattr(training_module, "TRAINING_BYTES", len(whole) // 3)
    part = list(training_module._Feed(corpus))
    assert 0 < len("".join(part)) < len(whole) / 2
    assert part == list(training_module._Feed(corpus))


@pytest.mark.parametrize("model_type", SUBWORDS)
def test_too_large_a_vocabulary_says_the_largest(tmp_path, model_type):
    corpus = sample_corpus(tmp_path / "corpus")
    with pytest.raises(InputError, match="supports at most") as error:
        train_tokenizer(corpus, tmp_path / "out", settings(model_type, 8000))
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]
    most = int(re.search(r"at most (\d+) pieces", str(error.value))[1])
    assert f"--tokenizer.vocabulary_size {most} or less" in str(error.value)
    report = train_tokenizer(
        corpus, tmp_path / "out", settings(model_type, most)
    )
    assert report.vocabulary_size == most


@pytest.mark.parametrize("model_type", SUBWORDS)
def test_too_small_a_vocabulary_says_the_smallest(tmp_path, model_type):
    corpus = sample_corpus(tmp_path / "corpus")
    with pytest.raises(InputError, match="needs at least") as error:
        train_tokenizer(corpus, tmp_path / "out", settings(model_type, 100))
    least = int(re.search(r"at least (\d+) pieces", str(error.value))[1])
    report = train_tokenizer(
        corpus, tmp_path / "out", settings(model_type, least)
    )
    assert report.vocabulary_size == least


def test_text_of_nothing_but_reserved_characters(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", train=["\0\0"])
    with pytest.raises(InputError, match="no text to train on"):
        train_tokenizer(corpus, tmp_path / "out", settings())


def test_a_train_split_of_no_bytes(tmp_path):
    corpus = write_corpus(tmp_path / "corpus", train=["a"])
    (corpus / "train/00000.jsonl").write_bytes(b"")
    with pytest.raises(InputError, match="no text"):
        train_tokenizer(corpus, tmp_path / "out", settings())


def test_damaged_document_is_named_through_sentencepiece(tmp_path):
    corpus = sample_corpus(tmp_path / "corpus")
    with (corpus / "train" / "00000.jsonl").open("a") as shard:
        shard.write("not json\n")
    with pytest.raises(InputError, match="00000.jsonl, line 5"):
        train_tokenizer(corpus, tmp_path / "out", settings())


def test_other_peoples_folder_is_left_alone(tmp_path):
    corpus = sample_corpus(tmp_path / "corpus")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="Pass another path"):
        train_tokenizer(corpus, tmp_path / "out", settings())
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


def test_former_output_is_not_lost(tmp_path):
    corpus = sample_corpus(tmp_path / "corpus")
    report = train_tokenizer(corpus, tmp_path / "out", settings("unigram"))
    with pytest.raises(InputError, match="new or empty folder"):
        train_tokenizer(corpus, tmp_path / "out", settings("char"))
    assert TokenizerReport.load(tmp_path / "out") == report


def test_given_model_is_taken_as_it_is(tmp_path):
    corpus = sample_corpus(tmp_path / "corpus")
    given = tmp_path / "given.model"
    given.write_bytes(other_model())
    report = train_tokenizer(
        corpus, tmp_path / "out", TokenizerSettings(model_path=str(given))
    )
    assert report.model_type == "given"
    copied = (tmp_path / "out" / "tokenizer.model").read_bytes()
    assert copied == given.read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "must be a SentencePiece .model file"),
        (b"not a model", "must be a SentencePiece model"),
        (other_model(eos_id=-1), "has no end token"),
    ],
)
def test_unusable_given_model(tmp_path, content, message):
    corpus = sample_corpus(tmp_path / "corpus")
    given = tmp_path / "given.model"
    if content is not None:
        given.write_bytes(content)
    with pytest.raises(InputError, match=message):
        train_tokenizer(
            corpus, tmp_path / "out", TokenizerSettings(model_path=str(given))
        )


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_cutting_at_lines_gives_the_same_ids(tmp_path, model_type):
    folder = sample_tokenizer(tmp_path, model_type)
    processor = load_processor(folder)
    assert cuts_at_lines(processor) == (model_type != "word")
    text = "the\n\n people\n \n\tof \n the" * 9
    pieces = list(cut_at_lines(text, size=5))
    assert "".join(pieces) == text and len(pieces) > 9
    if cuts_at_lines(processor):
        assert sum(processor.encode(pieces), []) == processor.encode(text)


def test_models_with_a_dummy_prefix_are_not_cut(tmp_path):
    given = tmp_path / "given.model"
    given.write_bytes(other_model(remove_extra_whitespaces=False))
    assert not cuts_at_lines(load_processor(given))
