"""Log-likelihoods of any KerasHub model, against NumPy one row at a time."""

import hugging_face_models as theirs
import numpy as np
import pytest
import row_by_row
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from row_by_row import log_probabilities
from stock_models import stock_model
from testing import tiny_model
from transformers import AutoTokenizer

from keras_llm.errors import InputError
from keras_llm.evaluation.encoding import TextEncoder
from keras_llm.evaluation.likelihood import LikelihoodScorer, rolling_windows
from keras_llm.tokenizers.hugging_face import write_tokenizer

TEXT = "The owl counted the stars.\n\nNaïve: 12 🦉  of them! "
PAIRS = [
    ("The owl", " counted"),
    ("The owl ", "counted"),
    ("", "stars"),
    (TEXT * 8, " and the sea"),
    ("a", "\n"),
]


def model_of(name):
    return stock_model(name) if name == "GPT2" else tiny_model(name)


@pytest.mark.parametrize(
    "name",
    [["gru", "attention"], pytest.param("GPT2", marks=pytest.mark.slow)],
    ids=str,
)
def test_each_row_is_scored_as_if_alone(name):
    model = model_of(name)
    scorer = LikelihoodScorer(model)
    rows = scorer.encoder.encode_pairs(PAIRS)
    before = rows[0][0]
    likeliest = int(log_probabilities(model, before)[-1].argmax())
    rows.append((before, [likeliest]))
    found = scorer.score(PAIRS) + scorer.score_tokens(rows[-1:])
    for likelihood, (context, scored) in zip(found, rows, strict=True):
        nats, is_greedy = row_by_row.scored(
            model, scorer.max_length, context, scored
        )
        assert likelihood.log_likelihood == pytest.approx(nats, abs=1e-4)
        assert likelihood.is_greedy == is_greedy
        assert likelihood.num_tokens == len(scored)
    assert found[-1].is_greedy
    alone = LikelihoodScorer(model, batch_size=1).score_tokens(rows)
    np.testing.assert_allclose(
        [each.log_likelihood for each in alone],
        [each.log_likelihood for each in found],
        atol=1e-4,
    )


@pytest.mark.parametrize("length", [0, 1, 4, 5, 6, 9, 10, 11, 23])
def test_windows_are_those_of_lm_eval(length):
    ids = list(range(1, length + 1))
    for context in (2, 5):
        theirs = get_rolling_token_windows(ids, 0, context, context_len=1)
        expected = [make_disjoint_window(window) for window in theirs]
        found = rolling_windows(ids, 0, context)
        assert found == expected
        assert [token for _, scored in found for token in scored] == ids


def test_a_whole_text_counts_every_token_once():
    model = tiny_model()
    scorer = LikelihoodScorer(model)
    texts = ["", "a", TEXT, TEXT * 7]
    counts = [len(ids) for ids in scorer.encoder.encode(texts)]
    assert counts[-1] > 2 * scorer.max_length
    found = scorer.score_rolling(texts)
    assert [each.num_tokens for each in found] == counts
    # A text of one window is what follows the prefix token.
    ids = scorer.encoder.encode([TEXT])[0]
    prefix = [scorer.encoder.prefix_token_id]
    nats, _ = row_by_row.scored(model, scorer.max_length, prefix, ids)
    assert found[2].log_likelihood == pytest.approx(nats, abs=1e-4)


def test_ids_are_those_of_the_exported_tokenizer(tmp_path):
    texts = [TEXT, "", "  two  spaces\t\n \n\nand lines\n", "It's 2026's!"]
    encoder = TextEncoder(tiny_model())
    write_tokenizer(tiny_model().preprocessor.tokenizer, tmp_path)
    exported = AutoTokenizer.from_pretrained(tmp_path)
    assert encoder.encode(texts) == exported(texts)["input_ids"]
    assert encoder.prefix_token_id == exported.bos_token_id
    assert encoder.end_token_id == exported.eos_token_id
    # KerasHub's own byte pairs, which are not exact by themselves.
    encoder = TextEncoder(stock_model("GPT2"))
    bare = encoder.encode(texts, with_start=False)
    assert bare == theirs.tokenizer()(texts)["input_ids"]
    assert encoder.encode(["a"])[0][0] == encoder.start_token_id


def test_what_cannot_be_scored_is_refused():
    scorer = LikelihoodScorer(tiny_model())
    with pytest.raises(InputError, match="at least one token.*of 0 tokens"):
        scorer.score([("a", "b"), ("a", "")])
    with pytest.raises(InputError, match="context, 64. Received: one of 6"):
        scorer.score_tokens([([1], [2] * 65)])
    with pytest.raises(InputError, match="after at least one token"):
        scorer.score_tokens([([], [2])])
    model = tiny_model()
    model.preprocessor = None
    with pytest.raises(InputError, match="with a preprocessor"):
        LikelihoodScorer(model)
