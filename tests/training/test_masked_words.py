"""An encoder is trained by the one training run, on masked words."""

import signal

import keras
import numpy as np
import pytest
from test_resume import assert_same_run
from tiny_run import QUIET
from training_run import ENCODER, make_tokens, train

from keras_llm.datasets.masks import masking_of
from keras_llm.datasets.tokens import open_tokens
from keras_llm.errors import InputError
from keras_llm.evaluation.masked_words import (
    MaskedEvaluator,
    masked_windows,
    token_counts,
)
from keras_llm.models import save_preset
from keras_llm.training import TrainingInterrupted
from keras_llm.training.log import read_log
from keras_llm.workflow.evaluating import evaluate_preset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked")
    make_tokens(folder)
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    """An uninterrupted run, and its model."""
    _, model = train(folder, folder / "whole", ENCODER)
    return folder / "whole", model


@pytest.mark.slow  # as that of a decoder does
def test_interrupted_run_equals_an_uninterrupted_one(
    folder, whole, tmp_path, monkeypatch
):
    from keras_llm.training.callbacks import Clock

    count = Clock.on_train_batch_end

    def interrupt(self, *args, **kwargs):
        if self.batch + 1 == 27:
            signal.raise_signal(signal.SIGINT)
        count(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Clock, "on_train_batch_end", interrupt)
        with pytest.raises(TrainingInterrupted):
            train(folder, tmp_path / "run", ENCODER)
    train(folder, tmp_path / "run", ENCODER)
    assert_same_run(tmp_path / "run", whole[0])


def test_log_and_samples_are_those_of_masks(whole):
    run, _ = whole
    rows = read_log(run / "log.csv")
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["val_loss"] and 0 < rows[-1]["val_accuracy"] < 1
    samples = (run / "samples.txt").read_text()
    assert samples.count("=== step") == 4
    assert "%" in samples and "[MASK]" not in samples


@pytest.mark.parametrize("option", [{"stateful": True}, {"stride": 4}])
def test_what_reads_both_ways_carries_nothing(option, folder, whole, tmp_path):
    save_preset(whole[1], tmp_path / "preset")
    [name] = option
    with pytest.raises(InputError, match=f"{name} must be left out for an enc"):
        evaluate_preset(
            tmp_path / "preset",
            folder / "tokens",
            ["validation"],
            QUIET,
            **option,
        )


@pytest.fixture(scope="module")
def evaluator(folder, whole):
    return MaskedEvaluator(whole[1], folder / "tokens")


@pytest.fixture(scope="module")
def found(evaluator):
    return evaluator.evaluate("validation")


def test_it_is_evaluated_on_the_same_masks(evaluator, found):
    again = evaluator.evaluate("validation", 3)
    assert again.loss == pytest.approx(found.loss, rel=1e-6)
    assert again.num_tokens == found.num_tokens > 20
    assert again.pseudo_perplexity == pytest.approx(
        found.pseudo_perplexity, rel=1e-5
    )


def test_the_unigram_model_counts_the_train_split(folder, whole, found):
    tokens = open_tokens(folder / "tokens", "train")
    read = tokens.read(0, len(tokens))
    counts = token_counts(tokens)
    ids, expected = np.unique(read, return_counts=True)
    assert counts.sum() == len(tokens)
    np.testing.assert_array_equal(counts[ids], expected)
    is_text = ids != tokens.end_token_id
    commonest = ids[is_text][expected[is_text].argmax()]
    counted = dict(zip(ids.tolist(), expected.tolist(), strict=True))
    total = expected[is_text].sum() + tokens.vocabulary_size
    held = open_tokens(folder / "tokens", "validation")
    masking = masking_of(whole[1].preprocessor.tokenizer)
    nats, right = [], []
    masked = masked_windows(held, masking, 16)
    for k in range(len(masked)):
        _, told, weights = masked.batch(k)
        for token in told[weights > 0].tolist():
            nats.append(-np.log((counted.get(token, 0) + 1) / total))
            right.append(token == commonest)
    assert found.unigram_loss == pytest.approx(np.mean(nats), rel=1e-6)
    assert found.unigram_accuracy == pytest.approx(np.mean(right))


def test_pseudo_perplexity_masks_one_token_at_a_time(folder, whole, found):
    """Salazar et al. 2020, by a loop over the text."""
    model = whole[1]
    held = open_tokens(folder / "tokens", "validation")
    text = held.read(0, len(held))
    tokenizer = model.preprocessor.tokenizer
    is_text = text != held.end_token_id
    places = np.flatnonzero(is_text)
    assert found.pseudo_tokens == len(places)  # all, of so short a text
    starts = np.clip(places - 8, 0, len(text) - 16)
    rows = np.stack([text[start : start + 16] for start in starts])
    positions = (places - starts)[:, None]
    np.put_along_axis(rows, positions, tokenizer.mask_token_id, axis=1)
    logits = model(
        {
            "token_ids": rows,
            "padding_mask": np.ones_like(rows),
            "mask_positions": positions.astype("int32"),
        }
    )
    odds = np.array(keras.ops.log_softmax(logits))[:, 0]
    nats = -np.take_along_axis(odds, text[places][:, None], axis=1)
    assert found.pseudo_perplexity == pytest.approx(
        np.exp(nats.mean()), rel=1e-4
    )
    bits = nats.sum() / np.log(2) / held.text_bytes
    assert found.pseudo_bits_per_byte == pytest.approx(bits, rel=1e-4)


def test_a_sample_that_does_not_fit_is_refused_before_training(
    folder, tmp_path
):
    with pytest.raises(InputError, match="sample_prompt: The text has 33 tok"):
        train(folder, tmp_path / "run", ENCODER, sample_prompt="a" * 29)
    assert not (tmp_path / "run").exists()
