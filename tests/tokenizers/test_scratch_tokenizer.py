"""The KerasHub tokenizer: exact, safe, and the same on every path."""

import functools

import keras
import keras_hub
import pytest
import tensorflow as tf
from tiny_corpus import VOCABULARY_SIZES, other_model, sample_tokenizer

from keras_llm.errors import InputError
from keras_llm.tokenizers import ScratchBytePairTokenizer, ScratchTokenizer

SUBWORDS = ["unigram", "bpe"]
MODEL_TYPES = list(VOCABULARY_SIZES)

HOSTILE = [
    "",
    " ",
    "   ",
    " the people ",
    "the  people   of",
    "\t",
    "\tthe\t\tof\t",
    "one\r\ntwo\r\n",
    "\n\n\nthe\n \n",
    "😀👩\u200d👩\u200d👧",
    "\0",
    "the\0people",
    "e\u0301 \u00e9",
    "\u00a0\u3000\u2028\u0085",
    "\ufeffthe\ufffd",
    "ﬁ① Ⅷ",
    "\u2585",
    "<0x41><s></s>",
    "\x0b\x0c\x1b\x7f",
    "日本語 العربية 𝔘",
]

CONTROL = [
    "<|endoftext|>",
    "the<|endoftext|>of",
    "<|pad|><|unk|><|system|><|user|><|assistant|><|end_of_turn|>",
]


@pytest.fixture(scope="module", params=MODEL_TYPES)
def tokenizer(request, tmp_path_factory):
    folder = sample_tokenizer(tmp_path_factory.mktemp("run"), request.param)
    tokenizer = ScratchTokenizer.from_file(folder)
    tokenizer.model_type = request.param
    return tokenizer


def in_graph(tokenizer, texts):
    return tf.function(tokenizer.tokenize)(tf.constant(texts)).to_list()


def in_python(tokenizer, texts):
    return [list(map(int, tokenizer(text))) for text in texts]


def test_special_tokens(tokenizer):
    assert tokenizer.pad_token_id == 0
    assert tokenizer.unk_token_id == 1
    assert tokenizer.start_token_id == tokenizer.end_token_id == 2


@pytest.mark.parametrize("tokenizer", SUBWORDS, indirect=True)
def test_text_comes_back_byte_for_byte(tokenizer):
    for text in HOSTILE + CONTROL:
        assert tokenizer.detokenize(tokenizer(text)) == text


@pytest.mark.parametrize("tokenizer", SUBWORDS, indirect=True)
def test_mark_of_a_space_comes_back_as_a_space(tokenizer):
    assert tokenizer.detokenize(tokenizer("the\u2581of")) == "the of"


@pytest.mark.parametrize("tokenizer", ["char"], indirect=True)
def test_unseen_characters_are_unknown_without_bytes(tokenizer):
    assert list(tokenizer("the😀")).count(tokenizer.unk_token_id) == 1
    assert tokenizer.detokenize(tokenizer("the😀")) == "the ⁇ "


def test_typed_control_tokens_are_plain_text(tokenizer):
    control = {0, *range(2, 7)}
    for ids in in_python(tokenizer, CONTROL) + in_graph(tokenizer, CONTROL):
        assert control.isdisjoint(ids)


def test_graph_and_python_agree(tokenizer):
    texts = HOSTILE + CONTROL
    assert in_graph(tokenizer, texts) == in_python(tokenizer, texts)


def test_graph_and_python_give_the_same_text_back(tokenizer):
    texts = HOSTILE + CONTROL
    if tokenizer.model_type == "word":  # the exception of the docstring
        texts = [text for text in texts if text[:1] not in (" ", "\n", "\t")]
    ids = in_python(tokenizer, texts)
    detokenize = tf.function(tokenizer.detokenize)
    back = detokenize(tf.ragged.constant(ids)).numpy()
    expected = [tokenizer.detokenize(row) for row in ids]
    assert [text.decode() for text in back] == expected


def test_control_tokens_leave_no_text(tokenizer):
    ids = [2, *tokenizer("the people"), 2, 0, 0]
    assert tokenizer.detokenize([int(id) for id in ids]) == "the people"


def test_preset_round_trip(tokenizer, tmp_path):
    tokenizer.save_to_preset(str(tmp_path))
    path = tmp_path / "assets" / "tokenizer" / "vocabulary.spm"
    assert path.read_bytes() == tokenizer.proto
    config = keras.saving.serialize_keras_object(tokenizer)
    restored = keras.saving.deserialize_keras_object(config)
    assert isinstance(restored, ScratchTokenizer)
    restored.load_assets(str(path.parent))
    assert restored.get_config() == tokenizer.get_config()
    assert in_python(restored, HOSTILE) == in_python(tokenizer, HOSTILE)
    assert restored.end_token_id == 2


def test_model_from_elsewhere_keeps_its_names(tmp_path):
    path = tmp_path / "given.model"
    path.write_bytes(other_model())
    tokenizer = ScratchTokenizer.from_file(path)
    assert tokenizer.end_token == tokenizer.start_token == "</s>"
    assert tokenizer.pad_token == "<unk>"
    assert tokenizer.end_token_id == 2
    assert isinstance(tokenizer, keras_hub.tokenizers.Tokenizer)


def of_bytes(proto):
    """A byte-pair tokenizer of two merges; it takes no model."""
    return ScratchBytePairTokenizer(
        {"t": 0, "h": 1, "e": 2, " ": 3, "th": 4, "the": 5},
        [("t", "h"), ("th", "e")],
        end_token_ids=[3],
    )


@pytest.mark.parametrize(
    "make",
    [
        ScratchTokenizer,
        functools.partial(ScratchTokenizer, add_bos=True),
        pytest.param(of_bytes, marks=pytest.mark.slow),
    ],
    ids=["pieces", "pieces with a start", "bytes"],
)
def test_what_was_made_of_a_tokenizer_outlives_a_seed(make):
    # What every notebook does: clears TensorFlow's cache of kernels.
    tokenizer = make(other_model())
    rows = tf.data.Dataset.from_tensor_slices(["the", "teeth"]).map(tokenizer)
    begun = iter(rows.repeat(2))
    tokenize, back = map(
        tf.function, (tokenizer.tokenize, tokenizer.detokenize)
    )
    ids = [row.numpy().tolist() for row in (next(begun), next(begun))]
    text = back(tf.ragged.constant(ids)).numpy()
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        assert [row.numpy().tolist() for row in rows] == ids
        assert tokenize(tf.constant(["the", "teeth"])).to_list() == ids
        assert (back(tf.ragged.constant(ids)).numpy() == text).all()
    assert [row.numpy().tolist() for row in begun] == ids
    assert in_graph(tokenizer, ["the", "teeth"]) == ids
    assert in_python(tokenizer, ["the", "teeth"]) == ids


def test_tokenizers_of_one_model_keep_their_options_apart():
    plain, started = (
        ScratchTokenizer(other_model(), add_bos=add_bos)
        for add_bos in (False, True)
    )
    (ids,) = in_graph(plain, ["the people"])
    assert in_graph(started, ["the people"]) == [[1, *ids]]
    assert in_graph(plain, ["the people"]) == [ids]


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="keras-llm tokenizer"):
        ScratchTokenizer.from_file(tmp_path)
