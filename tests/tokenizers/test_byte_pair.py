"""Byte-pair ids are Hugging Face's, eagerly, in a graph and when loaded."""

import dataclasses
import json

import keras_hub
import pytest
import tensorflow as tf
from byte_pair_reference import (
    gpt2_vocabulary,
    ids_of,
    lines_and_blocks,
    published_gpt2,
    strange_texts,
    trained,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from testing import needs_data, run_python, slow_but
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from keras_llm.errors import InputError
from keras_llm.tokenizers.byte_pair import ExactBytePairTokenizer
from keras_llm.tokenizers.byte_pair_files import (
    BytePairVocabulary,
    from_keras_hub,
    from_tokenizer_json,
)
from keras_llm.tokenizers.byte_pair_rules import RULE_NAMES, Rule

# Words are cut as by every rule in test_byte_pair_splitting.py.
RULES = [
    *(
        pytest.param(
            name,
            None,
            False,
            marks=[] if name in ("gpt2", "llama3") else [pytest.mark.slow],
        )
        for name in RULE_NAMES
    ),
    ("llama3", None, True),
    *(
        pytest.param(name, "NFC", False, marks=pytest.mark.slow)
        for name in ("gpt2", "qwen2")
    ),
]


@pytest.fixture(scope="module")
def gpt2():
    return ExactBytePairTokenizer(gpt2_vocabulary())


@pytest.fixture
def saved(tmp_path):
    """Saves a Hugging Face tokenizer as its `tokenizer.json`."""

    def save(tokenizer):
        path = tmp_path / "tokenizer.json"
        tokenizer.save(str(path))
        return path

    return save


@needs_data
@pytest.mark.parametrize(
    "name",
    [
        "tinyshakespeare.txt",
        pytest.param("wikitext2.test.txt", marks=pytest.mark.slow),
    ],
)
def test_published_texts_line_by_line_and_in_blocks(gpt2, name):
    texts = lines_and_blocks(name)
    ids = gpt2.tokenize(texts)
    assert ids.to_list() == ids_of(published_gpt2(), texts)
    back = gpt2.detokenize(ids).numpy()
    assert [text.decode() for text in back] == texts


@pytest.mark.slow
@needs_data
def test_strange_texts_in_gpt2(gpt2):
    texts = strange_texts(20_000, seed=4)
    expected = ids_of(published_gpt2(), texts)
    assert gpt2.tokenize(texts).to_list() == expected
    rows = tf.data.Dataset.from_tensor_slices(texts).batch(4096)
    batches = [ids.to_list() for ids in rows.map(gpt2.tokenize)]
    assert [ids for batch in batches for ids in batch] == expected


@pytest.mark.parametrize(("rule", "form", "whole"), RULES)
def test_strange_texts_by_every_rule(saved, rule, form, whole):
    reference = trained(rule, form, whole)
    vocabulary = from_tokenizer_json(saved(reference))
    assert vocabulary.rule == Rule(rule, form, whole)
    ours = ExactBytePairTokenizer(vocabulary)
    texts = strange_texts(2_000, seed=5)
    ids = ours.tokenize(texts)
    assert ids.to_list() == ids_of(reference, texts)
    back = [text.decode() for text in ours.detokenize(ids).numpy()]
    if not form:
        assert back == texts


@needs_data
@given(texts=st.lists(st.text(), max_size=5))
@settings(max_examples=100, deadline=None)
def test_any_texts(gpt2, texts):
    ids = gpt2.tokenize(texts).to_list()
    assert ids == ids_of(published_gpt2(), texts)


@needs_data
@given(texts=st.lists(st.binary(max_size=12), min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_bytes_that_are_no_utf8_are_replaced_as_python_does(gpt2, texts):
    valid = [text.decode(errors="replace") for text in texts]
    ids = gpt2.tokenize(tf.constant(texts))
    assert ids.to_list() == ids_of(published_gpt2(), valid)


@needs_data
def test_rows_of_parts_of_characters_are_replaced_as_hugging_face_does(gpt2):
    reference = published_gpt2()
    pieces = gpt2.tokenize(["👍🏽中é"]).to_list()[0]
    rows = [pieces[i:j] for i in range(len(pieces)) for j in range(i, 9)]
    text = gpt2.detokenize(tf.ragged.constant(rows, tf.int32))
    assert [row.decode() for row in text.numpy()] == [
        reference.decode(row) for row in rows
    ]


@needs_data
def test_no_text_at_all(gpt2):
    assert gpt2.tokenize([]).to_list() == []
    assert gpt2.tokenize([""]).to_list() == [[]]
    assert gpt2.tokenize(["", "a", "", ""]).to_list() == [[], [64], [], []]
    ids = tf.ragged.constant([[], [64]], tf.int32)
    assert gpt2.detokenize(ids).numpy().tolist() == [b"", b"a"]
    assert gpt2.detokenize(ids[:0]).numpy().tolist() == []


@needs_data
def test_ids_that_are_none_stand_for_nothing(gpt2):
    ids = tf.ragged.constant([[64, -1, 50_257, 2**31 - 1, 65]], tf.int32)
    assert gpt2.detokenize(ids).numpy().tolist() == [b"ab"]


@needs_data
def test_a_megabyte_in_one_row(gpt2):
    texts = ["words of a text, " * 60_000, "\0" * 10**6, "-" * 10**6, "a b"]
    ids = gpt2.tokenize(texts)
    back = gpt2.detokenize(ids).numpy()
    assert [text.decode() for text in back] == texts
    assert ids[0].numpy().tolist() == ids_of(published_gpt2(), texts[:1])[0]
    assert ids[3].numpy().tolist() == [64, 275]


@needs_data
def test_words_are_exact_up_to_the_longest():
    longest = 64
    ours = ExactBytePairTokenizer(gpt2_vocabulary(), longest_word=longest)
    word = "antidisestablishmentarianism中é" * 9
    texts = [word[:longest], "a " + word[: longest - 1] + "1"]
    assert ours.tokenize(texts).to_list() == ids_of(published_gpt2(), texts)
    cut = ours.tokenize([word[: 2 * longest]]).to_list()[0]
    halves = [word[:longest], word[longest : 2 * longest]]
    assert cut == sum(ids_of(published_gpt2(), halves), [])


@pytest.mark.parametrize("allow", (False, True))
@pytest.mark.parametrize(
    "rule",
    (
        "gpt2",
        pytest.param("qwen2", marks=pytest.mark.slow),
        pytest.param("falcon", marks=pytest.mark.slow),
    ),
)
def test_control_and_added_tokens(saved, rule, allow):
    reference = trained(rule)
    spaces = ["  ", "   ", "     ", "\t\t"]
    control = ["<|endoftext|>", "<|a|>", "<|a|>b", "<|<", "<s>", "|>é"]
    reference.add_tokens([AddedToken(text) for text in spaces])
    reference.add_special_tokens(control)
    reference.encode_special_tokens = not allow
    vocabulary = from_tokenizer_json(saved(reference))
    ours = ExactBytePairTokenizer(vocabulary, allow_control_tokens=allow)
    assert set(ours.control_tokens) == set(control)
    parts = [*control, *spaces, "<", "|", ">", "a", " ", "1234", "'s"]
    texts = [
        "".join(parts[(a * i + b) % len(parts)] for i in range(8))
        for a in range(1, 17)
        for b in range(17)
    ]
    ids = ours.tokenize(texts)
    assert ids.to_list() == ids_of(reference, texts)
    written = {*ours.hidden_token_ids} & {*ids.flat_values.numpy().tolist()}
    assert bool(written) == allow
    back = ours.detokenize(ids).numpy()
    assert [text.decode() for text in back] == texts


def test_control_tokens_that_merges_would_make_are_not_made():
    words = {"a": 0, "b": 1, "ab": 2, "Ġ": 3, "Ġab": 4}
    vocabulary = BytePairVocabulary(
        words, [("a", "b"), ("Ġ", "ab")], Rule("gpt2"), {"ab": 2}
    )
    ids = ExactBytePairTokenizer(vocabulary).tokenize(["ab", "a ab"])
    assert ids.to_list() == [[0, 1], [0, 3, 0, 1]]
    allowed = ExactBytePairTokenizer(vocabulary, allow_control_tokens=True)
    assert allowed.tokenize(["ab", "a ab"]).to_list() == [[2], [0, 3, 2]]


def test_a_space_before_the_text(saved):
    reference = trained("gpt2")
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    vocabulary = from_tokenizer_json(saved(reference))
    assert vocabulary.rule.add_prefix_space
    texts = ["", "a", " a", "\na", *strange_texts(500, seed=6)]
    ids = ExactBytePairTokenizer(vocabulary).tokenize(texts)
    assert ids.to_list() == ids_of(reference, texts)


def test_bytes_without_a_token_are_left_out():
    words = {"a": 0, "b": 1, "ab": 2, "Ġ": 3, "Ġab": 4}
    merges = [("a", "b"), ("Ġ", "ab")]
    reference = Tokenizer(models.BPE(words, merges))
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ours = ExactBytePairTokenizer(
        BytePairVocabulary(words, merges, Rule("gpt2"))
    )
    texts = ["acb ab", "xyz", " x", "abcab dab ", "aab bba"]
    assert ours.tokenize(texts).to_list() == ids_of(reference, texts)


def test_merges_in_any_order():
    # What the first rule makes of the second one's is better than it.
    merges = [("ab", "a"), ("a", "b"), ("aba", "b"), ("b", "a")]
    tokens = ["a", "b", "ab", "aba", "abab", "ba"]
    words = {token: index for index, token in enumerate(tokens)}
    reference = Tokenizer(models.BPE(words, merges))
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ours = ExactBytePairTokenizer(
        BytePairVocabulary(words, merges, Rule("gpt2"))
    )
    texts = [f"{i:b}".translate({48: "a", 49: "b"}) for i in range(4096)]
    assert ours.tokenize(texts).to_list() == ids_of(reference, texts)


KERAS_HUB = {
    "BloomTokenizer": ("bloom", None, False),
    "FalconTokenizer": ("falcon", None, False),
    "GPT2Tokenizer": ("gpt2", None, False),
    "GPTNeoXTokenizer": ("gpt2", "NFC", False),
    "Llama3Tokenizer": ("llama3", None, True),
    "OPTTokenizer": ("gpt2", None, False),
    "Qwen3Tokenizer": ("qwen2", "NFC", False),
    "QwenTokenizer": ("qwen2", "NFC", False),
    "SmolLM3Tokenizer": ("llama3", None, True),
}
# Graphs are made of what was compared: one of each rule is enough of them,
# and by default one that has every part of a rule.
ONE_OF_EACH = {rule: name for name, rule in KERAS_HUB.items()}.values()
ONE = "QwenTokenizer"
SPECIAL = "<|begin_of_text|> <|end_of_text|> <|eot_id|> <|start_header_id|> "
SPECIAL += "<|end_header_id|> <|endoftext|> <s> </s> <pad> <|im_end|> "
SPECIAL += "<think> </think>"


def stock_tokenizer(name):
    """One of KerasHub's, and what it is made of."""
    reference = trained(*KERAS_HUB[name])
    vocabulary = reference.get_vocab()
    for token in SPECIAL.split():
        vocabulary.setdefault(token, len(vocabulary))
    merges = from_json_merges(reference)
    stock = getattr(keras_hub.tokenizers, name)(vocabulary, merges)
    return stock, reference, vocabulary, merges


@pytest.mark.parametrize("name", KERAS_HUB)
def test_tokenizers_of_keras_hub(name):
    stock, _, vocabulary, merges = stock_tokenizer(name)
    taken = from_keras_hub(stock)
    assert taken.rule == Rule(*KERAS_HUB[name])
    assert taken.start_token_id == stock.start_token_id
    assert taken.end_token_ids[0] == stock.end_token_id
    assert set(stock.special_tokens) == set(taken.control_tokens)
    assert (taken.tokens, merges) == (
        vocabulary,
        list(map(" ".join, taken.merges)),
    )


@pytest.mark.parametrize(
    "name",
    slow_but(ONE_OF_EACH, ONE),
)
def test_ids_of_tokenizers_of_keras_hub(name):
    stock, reference, _, _ = stock_tokenizer(name)
    ours = ExactBytePairTokenizer(from_keras_hub(stock))
    texts = [*SPECIAL.split(), SPECIAL, *strange_texts(300, seed=7)]
    ids = ours.tokenize(texts)
    assert ids.to_list() == ids_of(reference, texts)
    assert not {*ours.hidden_token_ids} & {*ids.flat_values.numpy().tolist()}


def from_json_merges(reference):
    merges = json.loads(reference.to_str())["model"]["merges"]
    return [" ".join(pair) for pair in merges]


def test_a_class_of_an_unknown_rule_is_refused():
    class Mine(keras_hub.tokenizers.BytePairTokenizer):
        pass

    mine = Mine({"a": 0, "b": 1, "ab": 2}, ["a b"])
    with pytest.raises(InputError, match="rule of Mine is not known"):
        from_keras_hub(mine)
    assert from_keras_hub(mine, Rule("bloom")).rule == Rule("bloom")


def test_a_file_of_an_unknown_rule_is_refused(saved):
    reference = trained("gpt2")
    reference.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(InputError, match="rule that is not known"):
        from_tokenizer_json(saved(reference))


def test_a_merge_without_its_tokens_is_refused():
    with pytest.raises(InputError, match="no token 'ab'"):
        BytePairVocabulary({"a": 0, "b": 1}, [("a", "b")], Rule("gpt2"))


def test_names_that_are_none_are_refused():
    with pytest.raises(InputError, match="split must be one of bloom"):
        Rule("gpt3")
    with pytest.raises(InputError, match="None or 'NFC'"):
        Rule("gpt2", "NFKC")


ALONE = """
import sys
for name in ("keras", "keras_hub", "keras_llm", "tensorflow_text"):
    sys.modules[name] = None
import json
import tensorflow as tf

loaded = tf.saved_model.load(sys.argv[1])
texts = json.load(open(sys.argv[2]))
ids = loaded.tokenize_batch(tf.constant(texts, tf.string))
back = [text.decode() for text in loaded.detokenize_batch(ids).numpy()]
assert back == texts
print(json.dumps(ids.to_list()))
"""


@needs_data
@pytest.mark.slow
def test_saved_and_loaded_where_there_is_tensorflow_only(gpt2, tmp_path):
    texts = strange_texts(2000, seed=8)
    tf.saved_model.save(gpt2, tmp_path / "model")
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    printed = run_python(ALONE, tmp_path / "model", tmp_path / "texts.json")
    assert (
        json.loads(printed.splitlines()[-1]) == gpt2.tokenize(texts).to_list()
    )


def operations(graph):
    names = {node.op for node in graph.node}
    for function in graph.library.function:
        assert "_XlaMustCompile" not in function.attr
        names |= {node.op for node in function.node_def}
    return names


def test_the_graph_has_core_operations_only(saved):
    vocabulary = from_tokenizer_json(saved(trained("falcon")))
    vocabulary = dataclasses.replace(
        vocabulary,
        rule=Rule("falcon", "NFC"),
        added_tokens={"  ": 5000},
    )
    ours = ExactBytePairTokenizer(vocabulary)
    for function in (ours.tokenize_batch, ours.detokenize_batch):
        graph = function.get_concrete_function().graph.as_graph_def()
        for name in operations(graph):
            assert not name.startswith(("Xla", "PyFunc", "EagerPyFunc"))
            assert "Sentence" not in name and "Text" not in name
