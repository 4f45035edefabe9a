"""Many requests at once are answered as each by itself."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from asked import SAMPLE, ask, request_of
from stock_models import stock_model
from testing import tiny_model
from tiny_corpus import sample_text

from keras_llm.errors import InputError, PromptTooLong
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.serving import engine as engine_module
from keras_llm.serving.engine import Engine
from keras_llm.serving.requests import Busy, Closed
from keras_llm.serving.rows import CHUNK
from keras_llm.serving.stock_engine import StockEngine

CONTEXT = 256
KINDS = ["attention", "gru", ["lstm", "attention"]]
LONG = " ".join(sample_text(40).split())


def engine_of(block_types, **options):
    layers = len(block_types) if isinstance(block_types, list) else 1
    model = tiny_model(
        block_types,
        num_layers=layers,
        max_sequence_length=CONTEXT,
        position_embedding="learned",
    )
    return Engine(model, **options)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("attention", marks=pytest.mark.slow),
        pytest.param("gru", marks=pytest.mark.slow),
        ["lstm", "attention"],
    ],
    ids=str,
)
def engine(request):
    engine = engine_of(request.param, slots=6)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def mixed():
    engine = engine_of(["gru", "attention"], slots=2, most_waiting=4)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def stock():
    engine = StockEngine(stock_model("GPT2"))
    yield engine
    engine.close()


def prompts(count, longest):
    """Of many lengths; some have the beginnings of others."""
    words = LONG.split()
    rng = np.random.default_rng(0)
    return [
        " ".join(words[: rng.integers(1, longest)])
        if index % 2
        else " ".join(words[index % 97 : index % 97 + rng.integers(1, 9)])
        for index in range(count)
    ]


def some_ids(count, first=0):
    """So many different tokens of text."""
    return [2, *((first + 7 * n) % 300 + 30 for n in range(count - 1))]


def check_company(engine, count, settings, may_differ=0):
    """Each answer is that of the request alone, and the same by `generate`.

    Args:
        may_differ: How many may not be: the last bit of a matrix product
            depends on the batch, and on some machines decides once in ten
            thousand tokens which of them make up `top_p`.
    """
    texts = prompts(count, engine.context // 5)
    asked = [
        ask(engine, text, settings[seed % len(settings)], seed)
        for seed, text in enumerate(texts)
    ]
    answers = [each.whole() for each in asked]
    generate = engine.generator.generate
    different = []
    for seed, (text, found) in enumerate(zip(texts, answers, strict=True)):
        [alone] = generate([text], settings[seed % len(settings)], seed)
        expected = alone.text, alone.finish_reason, alone.num_tokens
        if (found.text, found.finish_reason, len(found.tokens)) != expected:
            different.append((seed, found.text, alone.text))
    assert len(different) <= may_differ, different


SETTINGS = [
    SAMPLE,
    replace(SAMPLE, sampler="greedy", max_new_tokens=5),
    replace(SAMPLE, top_k=5, max_new_tokens=20, repetition_penalty=1.3),
    replace(SAMPLE, stop=["e", "the"], temperature=2.0),
]


def test_an_answer_does_not_depend_on_its_company(engine):
    check_company(engine, 20, SETTINGS)


@pytest.mark.slow
@pytest.mark.parametrize("block_types", KINDS, ids=str)
def test_a_thousand_answers_do_not(block_types):
    engine = engine_of(block_types, slots=16, most_waiting=1000)
    check_company(engine, 1000, SETTINGS, may_differ=2)
    engine.close()


@pytest.mark.slow
def test_stock_models_answer_as_by_themselves(stock):
    check_company(stock, 10, SETTINGS[:2])


def log_probabilities(model, token_ids):
    """Of every token but the first, and all of its place."""
    ids = np.array([token_ids], "int32")
    logits = model({"token_ids": ids, "padding_mask": np.ones_like(ids)})
    logits = keras.ops.convert_to_numpy(logits)[0].astype("float64")
    table = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return table[:-1][np.arange(len(token_ids) - 1), token_ids[1:]], table


def check_log_probabilities(engine, text):
    found = ask(engine, text, seed=3, alternatives=4, echo=True).whole()
    ids = [token.token_id for token in found.tokens]
    prompt = engine.generator.encode_prompt(text)
    assert ids[: len(prompt)] == prompt and len(ids) > len(prompt)
    expected, table = log_probabilities(engine.generator.model, ids)
    assert found.tokens[0].log_probability is None
    told = [token.log_probability for token in found.tokens[1:]]
    np.testing.assert_allclose(told, expected, atol=2e-5)
    for place, token in enumerate(found.tokens[1:]):
        likeliest = np.sort(table[place])[::-1][:4]
        of_these = [value for _, value in token.alternatives]
        np.testing.assert_allclose(of_these, likeliest, atol=2e-5)


def test_log_probabilities_are_those_of_the_whole_text(engine):
    check_log_probabilities(engine, LONG[:500])
    check_log_probabilities(engine, "the")


def test_log_probabilities_of_stock_models(stock):
    check_log_probabilities(stock, "the people")


@pytest.mark.slow
def test_only_a_prompt_can_be_asked_of(engine, stock):
    for each in (engine, stock):
        found = ask(
            each, "the war", echo=True, alternatives=0, only_prompt=True
        )
        found.whole()
        ids = [token.token_id for token in found.tokens]
        assert ids == each.generator.encode_prompt("the war")
        assert found.finish_reason == "length" and found.text == ""


def test_what_was_read_is_not_read_again(engine, monkeypatch):
    prompt = some_ids(2 * CHUNK + 9)
    first = ask(engine, prompt, seed=1).whole().text
    counts = []
    read = engine._computer.read

    def counted(token_ids, leaves, start, each):
        counts.extend(each)
        return read(token_ids, leaves, start, each)

    monkeypatch.setattr(engine._computer, "read", counted)
    assert ask(engine, prompt, seed=1).whole().text == first
    assert counts == [8]
    # Another end after the same beginning.
    other = [*prompt[: CHUNK + 5], 7, 8, 9]
    [expected] = engine.generator.generate([other], SAMPLE, 2)
    assert ask(engine, other, seed=2).whole().text == expected.text
    assert counts == [8, 7]


def test_what_is_kept_of_prompts_is_bounded():
    engine = engine_of("attention", prefix_bytes=40_000)
    for index in range(6):
        ids = some_ids(CHUNK + 2, index)
        ask(engine, ids, replace(SAMPLE, max_new_tokens=1)).whole()
        assert engine._prefixes.num_bytes <= 40_000
    assert engine._prefixes.num_bytes > 0
    engine.close()


def test_a_token_can_be_banned_and_favoured(mixed):
    greedy = replace(SAMPLE, sampler="greedy")
    plain = ask(mixed, "the", greedy).whole().tokens
    first = plain[0].token_id
    banned = ask(mixed, "the", greedy, logit_bias={first: -100.0}).whole()
    assert first not in [token.token_id for token in banned.tokens]
    wanted = ask(mixed, "the", greedy, logit_bias={9: 100.0}).whole()
    assert {token.token_id for token in wanted.tokens} == {9}
    with pytest.raises(InputError, match=r"token ids in \[0, .*: 999999"):
        ask(mixed, "the", greedy, logit_bias={999_999: 1.0})


ENDLESS = GenerationSettings(
    max_new_tokens=CONTEXT, sampler="greedy", temperature=0.0
)


def never_ending(engine):
    """A request of as many tokens as there is room for."""
    ends = dict.fromkeys(engine.generator.end_token_ids, -100.0)
    return ask(engine, "the", ENDLESS, logit_bias=ends)


def test_a_client_that_leaves_frees_its_slot(mixed):
    lost = [never_ending(mixed) for _ in range(2)]
    for each in lost:
        each.pieces.get(timeout=60)
        each.ticket.cancel()
    assert ask(mixed, "the war").whole().finish_reason
    assert all(each.pieces.qsize() < 60 for each in lost)


def test_rows_that_nobody_waits_for_go_no_further(monkeypatch):
    engine = engine_of("gru", slots=8)
    monkeypatch.setattr(engine_module, "READ_TOKENS", 1)
    advance, over = engine._computer.advance, []

    def watched(rows, steps):
        pairs = zip(engine._running, rows.finished, strict=True)
        over.extend(finished for job, finished in pairs if job.is_over)
        return advance(rows, steps)

    engine._computer.advance = watched
    running = [never_ending(engine) for _ in range(5)]
    for each in running:
        each.pieces.get(timeout=60)
    with engine._state:  # a place stays empty while others are read
        running[0].ticket.cancel()
        last = ask(engine, some_ids(CONTEXT - 4))
    assert last.whole().finish_reason
    assert over and all(over)
    engine.close(0)


def test_those_that_do_not_fit_are_told_to_come_later(mixed):
    running = [never_ending(mixed) for _ in range(2)]
    for each in running:
        each.pieces.get(timeout=60)
    waiting = [never_ending(mixed) for _ in range(4)]
    with pytest.raises(Busy) as busy:
        never_ending(mixed)
    assert busy.value.retry_after >= 1
    for each in [*running, *waiting]:
        each.ticket.cancel()
    assert ask(mixed, "the war").whole().finish_reason


def test_a_request_that_takes_too_long_is_ended(mixed):
    ends = dict.fromkeys(mixed.generator.end_token_ids, -100.0)
    late = ask(mixed, "the", ENDLESS, logit_bias=ends, seconds=0.0)
    with pytest.raises(TimeoutError, match="too long"):
        late.whole()


def test_short_requests_do_not_wait_for_long_prompts():
    engine = engine_of("attention", slots=8)
    ids = some_ids(CONTEXT - 4)
    one = replace(SAMPLE, max_new_tokens=1)
    done = []
    with engine._state:  # so that all are there at once
        long = [ask(engine, [*ids[:-1], n], one) for n in range(6)]
        short = ask(engine, "the", one)
        for name, each in [
            *((f"long {n}", x) for n, x in enumerate(long)),
            ("short", short),
        ]:
            each.ticket.tell = lambda piece, name=name, each=each: (
                done.append(name),
                each.pieces.put(piece),
            )
    for each in [short, *long]:
        each.whole()
    assert done.index("short") <= 6  # with the first of them at the latest
    engine.close()


def test_a_model_that_fails_ends_its_requests_and_no_others(mixed, monkeypatch):
    def fail(*args):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(mixed._computer, "advance", fail)
        with pytest.raises(ZeroDivisionError):
            ask(mixed, "the").whole()
    assert ask(mixed, "the").whole().finish_reason


def test_a_failure_while_prompts_are_read_ends_all_of_them(mixed, monkeypatch):
    def fail(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(mixed._computer, "read", fail)
    with mixed._state:  # so that they are read together
        asked = [ask(mixed, some_ids(100)), ask(mixed, [5])]
    for each in asked:
        with pytest.raises(ZeroDivisionError):
            each.whole()


def test_prompts_that_cannot_be_are_refused(mixed):
    with pytest.raises(PromptTooLong, match="context holds 256"):
        ask(mixed, [5] * CONTEXT)
    with pytest.raises(InputError, match="token ids of a prompt"):
        ask(mixed, [10**6])


def test_what_runs_is_finished_when_it_is_closed():
    engine = engine_of("gru")
    asked = [ask(engine, "the", seed=n) for n in range(3)]
    closing = threading.Thread(target=engine.close, args=(60,))
    closing.start()
    while engine.is_open:
        time.sleep(0.01)
    with pytest.raises(Closed):
        ask(engine, "the")
    assert all(each.whole().finish_reason for each in asked)
    closing.join()
    assert not engine._thread.is_alive()


def test_a_function_is_called_between_answers(mixed):
    running = never_ending(mixed)
    running.pieces.get(timeout=60)
    assert mixed.call(lambda: 3).result(timeout=60) == 3
    with pytest.raises(ZeroDivisionError):
        mixed.call(lambda: 1 / 0).result(timeout=60)
    running.ticket.cancel()


def test_functions_without_an_end_do_not_keep_answers_waiting(mixed):
    stop = threading.Event()

    def again():
        if not stop.is_set():
            mixed.call(again)

    mixed.call(again)
    try:
        assert ask(mixed, "the").whole().finish_reason
    finally:
        stop.set()


def test_a_request_is_not_changed(mixed):
    request = request_of(mixed, "the")
    ids = list(request.prompt)
    ask(mixed, "the").whole()
    assert request.prompt == ids


@pytest.mark.slow
def test_a_long_life_takes_no_more_memory():
    """20,000 requests; without what oneDNN keeps for each shape."""
    script = Path(__file__).with_name("long_life.py")
    done = subprocess.run(
        [sys.executable, str(script), "20000"],
        env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": "0"},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    sizes = [float(line) for line in done.stdout.split()]
    assert len(sizes) == 10 and max(sizes[1:]) - sizes[0] < 16, sizes
