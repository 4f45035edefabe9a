"""Loss over a split, against NumPy."""

import math

import numpy as np
import pytest
from testing import tiny_model

from keras_llm.corpus.prepare import prepare
from keras_llm.datasets import (
    EvaluationStreams,
    EvaluationWindows,
    encode,
    open_tokens,
)
from keras_llm.evaluation import Evaluator
from keras_llm.evaluation.loss import StatefulEvaluator
from keras_llm.recipes.corpus_settings import CorpusSettings, SplitSettings


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def tokens(model, tmp_path_factory):
    """Three short documents as the test split, in the model's tokens."""
    folder = tmp_path_factory.mktemp("evaluation")
    for name in ("train", "test"):
        (folder / "source" / name).mkdir(parents=True)
    (folder / "source/train/a.txt").write_text("something to train on")
    for index in range(3):
        text = f"Document {index}: how do I love thee?\nNaïve.\n" * (index + 1)
        (folder / f"source/test/{index}.txt").write_text(text)
    settings = CorpusSettings(split=SplitSettings(validation=0.0))
    prepare(str(folder / "source"), folder / "corpus", settings)
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer/tokenizer.model").write_bytes(
        model.preprocessor.tokenizer.proto
    )
    encode(folder / "corpus", folder / "tokenizer", folder / "tokens")
    return open_tokens(folder / "tokens", "test")


def evaluate(model, tokens, batch_size, *limit):
    windows = EvaluationWindows(tokens, 16, batch_size)
    return Evaluator(model).evaluate(windows, *limit)


def reference(model, tokens, length):
    """Total nats, right guesses and tokens, window by window in NumPy."""
    ids = tokens.read(0, len(tokens))
    ids = np.concatenate([[tokens.end_token_id], ids])
    nats, right = 0.0, 0
    for start in range(0, len(ids) - 1, length):
        labels = ids[start + 1 : start + 1 + length]
        inputs = ids[start : start + len(labels)][None]
        logits = np.array(
            model({"token_ids": inputs, "padding_mask": np.ones_like(inputs)})
        )[0].astype("float64")
        log_sums = np.log(np.exp(logits).sum(-1))
        chosen = logits[np.arange(len(labels)), labels]
        nats += np.sum(log_sums - chosen)
        right += np.sum(logits.argmax(-1) == labels)
    return nats, right, len(ids) - 1


def test_equals_a_plain_sum_over_all_tokens(model, tokens):
    nats, right, count = reference(model, tokens, 16)
    evaluation = evaluate(model, tokens, 4)
    assert evaluation.num_tokens == count == len(tokens)
    assert evaluation.loss == pytest.approx(nats / count, rel=1e-6)
    assert evaluation.perplexity == pytest.approx(
        math.exp(nats / count), rel=1e-5
    )
    assert evaluation.accuracy == pytest.approx(right / count)
    assert evaluation.bits_per_byte == pytest.approx(
        nats / math.log(2) / tokens.text_bytes, rel=1e-6
    )


def test_batch_size_does_not_change_the_result(model, tokens):
    results = [evaluate(model, tokens, batch_size) for batch_size in (1, 3, 64)]
    for result in results[1:]:
        assert result.num_tokens == results[0].num_tokens
        assert result.loss == pytest.approx(results[0].loss, rel=1e-6)
        assert result.accuracy == results[0].accuracy


def test_part_of_a_split_has_no_bits_per_byte(model, tokens):
    evaluation = evaluate(model, tokens, 1, 2)
    assert evaluation.num_tokens == 32
    assert evaluation.bits_per_byte is None


def test_a_stride_gives_each_token_its_context(model, tokens):
    ids = tokens.read(0, len(tokens))
    ids = np.concatenate([[tokens.end_token_id], ids])
    # One window a token, which is its last label; but for the first ones.
    rows = np.lib.stride_tricks.sliding_window_view(ids, 17)
    inputs, labels = rows[:, :-1], rows[:, 1:]
    logits = model({"token_ids": inputs, "padding_mask": np.ones_like(inputs)})
    logits = np.asarray(logits).astype("float64")
    chosen = np.take_along_axis(logits, labels[..., None], -1)[..., 0]
    all_nats = np.log(np.exp(logits).sum(-1)) - chosen
    nats = all_nats[0, :-1].sum() + all_nats[:, -1].sum()
    windows = EvaluationWindows(tokens, 16, 4, stride=1)
    found = Evaluator(model).evaluate(windows)
    assert found.num_tokens == len(tokens)
    assert found.loss == pytest.approx(nats / len(tokens), rel=1e-5)


def test_a_carried_state_is_that_of_the_whole_text(tokens):
    recurrent = tiny_model("gru")
    nats, right, count = reference(recurrent, tokens, len(tokens))
    evaluator = StatefulEvaluator(recurrent)
    for length in (7, 16):
        found = evaluator.evaluate(EvaluationStreams(tokens, length, 1))
        assert found.num_tokens == count
        assert found.loss == pytest.approx(nats / count, rel=1e-5)
        assert found.accuracy == pytest.approx(right / count)
    apart = evaluate(recurrent, tokens, 1)
    assert abs(apart.loss - nats / count) > 1e-3
