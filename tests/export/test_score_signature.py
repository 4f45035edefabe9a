"""What `score` and `tokenize` answer, and control tokens in texts."""

import functools
import math

import keras
import numpy as np
import pytest
from served import CONTEXT, Served, serve
from testing import tiny_backbone, tiny_ids, tiny_model, tiny_tokenizer
from tiny_corpus import other_model, sample_text

from keras_llm.errors import InputError
from keras_llm.evaluation import Evaluator
from keras_llm.export import to_saved_model
from keras_llm.models import ScratchCausalLM, ScratchCausalLMPreprocessor
from keras_llm.tokenizers import ScratchTokenizer


def log_softmax(model, ids):
    ids = np.array([ids], "int32")
    logits = model({"token_ids": ids, "padding_mask": np.ones_like(ids)})
    logits = keras.ops.convert_to_numpy(logits)[0].astype("float64")
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def reference(model, text):
    """Each token with the context that the docstring promises."""
    ids = [tiny_tokenizer().start_token_id, *tiny_ids(text)]
    half, total = CONTEXT // 2, 0.0
    window = functools.cache(
        lambda begin: log_softmax(model, ids[begin : begin + CONTEXT])
    )
    for position in range(1, len(ids)):
        begin = max(0, math.ceil((position + 1 - CONTEXT) / half) * half)
        assert position - begin >= min(position, half)
        total += window(begin)[position - 1 - begin, ids[position]]
    return total


@pytest.fixture(scope="module")
def bounded(model):
    """With control tokens, and a bound of tokens of a text."""
    return serve(model, allow_control_tokens=True, max_text_tokens=BOUND)


BOUND = 99
# Around one context, around two windows, and long.
LENGTHS = [0, 1, 2, 30, 31, 32, 46, 47, 48, 49, 200]


def test_scores_are_those_of_the_logits(model, served):
    letters = "%" + sample_text(60).replace("\n", " ")
    texts = []
    for length in LENGTHS:
        end = next(
            end
            for end in range(len(letters))
            if len(tiny_ids(letters[:end])) >= length
        )
        texts.append(letters[:end])
    answers = served.score(texts)
    counts = [len(tiny_ids(text)) for text in texts]
    assert answers["num_tokens"] == counts
    nats = [reference(model, text) for text in texts]
    np.testing.assert_allclose(answers["log_likelihood"], nats, rtol=1e-5)
    mean = -np.array(nats) / np.maximum(counts, 1)
    np.testing.assert_allclose(answers["perplexity"], np.exp(mean), rtol=1e-4)
    assert answers["perplexity"][0] == 1 and answers["log_likelihood"][0] == 0
    alone = [served.score([text])["log_likelihood"][0] for text in texts]
    np.testing.assert_allclose(answers["log_likelihood"], alone, rtol=1e-6)


def test_a_score_is_the_loss_of_evaluation(model, served):
    text = "the people of the union"
    ids = np.array([tiny_ids(text)], "int32")
    start = tiny_tokenizer().start_token_id
    inputs = np.concatenate([[[start]], ids[:, :-1]], axis=1)
    ones = np.ones(ids.shape)
    nats, _ = Evaluator(model)._sums(
        {"token_ids": inputs, "padding_mask": ones > 0},
        ids,
        ones.astype("float32"),
    )
    score = served.score([text])["log_likelihood"][0]
    np.testing.assert_allclose(score, -float(nats), rtol=1e-6)


@pytest.mark.slow
def test_a_text_counts_up_to_the_bound_of_the_export(bounded, served):
    letters = sample_text(60).replace("\n", " ")
    ids = tiny_ids(letters)[: BOUND + 3]
    text, first = map(tiny_tokenizer().detokenize, (ids, ids[:BOUND]))
    assert (tiny_ids(text), tiny_ids(first)) == (ids, ids[:BOUND])
    answers = bounded.score([text, first, "war"])
    assert answers["truncated"] == [True, False, False]
    assert answers["num_tokens"][:2] == [BOUND, BOUND]
    nats = served.score([first, first, "war"])["log_likelihood"]
    np.testing.assert_allclose(answers["log_likelihood"], nats, rtol=1e-6)
    answers = bounded.tokenize([text, "war"])
    assert answers["truncated"] == [True, False]
    assert answers["token_ids"][0] == ids[:BOUND]
    assert served.tokenize([text])["truncated"] == [False]


@pytest.mark.parametrize("bound", [0, -1, 2**31, "7", True])
def test_a_bound_that_is_none_is_named(bound, model, tmp_path):
    with pytest.raises(InputError, match="max_text_tokens must be 1 to "):
        to_saved_model(model, tmp_path / "out", max_text_tokens=bound)
    assert not (tmp_path / "out").exists()


def test_tokens_are_those_of_the_tokenizer(served):
    texts = ["the people", "", "é 😀\n", "a\0b", "<|user|><|endoftext|>"]
    answers = served.tokenize(texts)
    expected = [tiny_ids(text) for text in texts]
    assert answers["lengths"] == list(map(len, expected))
    width = max(map(len, expected))
    padded = [ids + [0] * (width - len(ids)) for ids in expected]
    assert answers["token_ids"] == padded


def test_control_tokens_count_where_they_are_allowed(bounded, served):
    control = tiny_tokenizer().control_tokens
    user, end = control["<|user|>"], control["<|endoftext|>"]
    texts = ["<|user|>the war<|endoftext|><|user|>", "<|user|", "a\x01b\x01"]
    expected = [
        [user, *tiny_ids("the war"), end, user],
        tiny_ids("<|user|"),
        tiny_ids("a\x01b\x01"),
    ]
    answers = bounded.tokenize(texts)
    rows = zip(answers["token_ids"], answers["lengths"], strict=True)
    assert [ids[:length] for ids, length in rows] == expected
    plain = served.tokenize(texts[:1])["token_ids"][0]
    assert not set(plain) & set(control.values())


def test_answers_go_on_from_control_tokens_where_they_are_allowed(
    model, bounded
):
    tokenizer = tiny_tokenizer()
    user = tokenizer.control_tokens["<|user|>"]
    ids = [tokenizer.start_token_id, user, *tiny_ids("the war")]
    for _ in range(4):
        ids.append(int(log_softmax(model, ids)[-1].argmax()))
    hidden = set(tokenizer.control_tokens.values())
    shown = [token for token in ids if token not in hidden]
    answers = bounded.generate(["<|user|>the war"], max_new_tokens=4)
    assert answers["num_tokens"] == [4]
    assert "the war" + answers["text"][0] == tokenizer.detokenize(shown)


@pytest.mark.slow
def test_a_word_that_is_a_control_piece_fails_no_batch(tmp_path):
    proto = other_model(model_type="word", add_dummy_prefix=False)
    tokenizer = ScratchTokenizer(proto=proto)
    backbone = tiny_backbone("gru", vocabulary_size=tokenizer.vocabulary_size())
    preprocessor = ScratchCausalLMPreprocessor(tokenizer, 64)
    model = ScratchCausalLM(backbone, preprocessor)
    served = Served(to_saved_model(model, tmp_path))
    texts = ["</s>", "<s> the", "the people", "</s> the"]
    unknown, the = tokenizer.unk_token_id, tokenizer.token_to_id("\u2581the")
    ids = served.tokenize(texts)["token_ids"]
    assert ids[0][0] == ids[1][0] == unknown and ids[1][1] == the
    assert served.generate(texts)["num_tokens"] == [16] * 4


@pytest.mark.slow
def test_a_model_may_have_more_tokens_than_its_tokenizer(tmp_path):
    model = tiny_model("gru")
    size = tiny_tokenizer().vocabulary_size() + 500
    backbone = tiny_model("gru", num_layers=1).backbone.get_config()
    backbone = type(model.backbone).from_config(
        backbone | {"vocabulary_size": size}
    )
    model = ScratchCausalLM(backbone, model.preprocessor)
    served = Served(to_saved_model(model, tmp_path))
    answers = served.generate(
        ["war"] * 50, temperature=math.inf, seed=list(range(50))
    )
    assert max(answers["num_tokens"]) == 16
