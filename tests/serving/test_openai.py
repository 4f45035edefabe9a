"""The official client of OpenAI is answered, and told what is wrong."""

import json
import math
import socket
import time

import httpx
import numpy as np
import openai
import pytest
from served_here import client_of, models_of, on_a_port

from keras_llm.recipes.settings import GenerationSettings

MESSAGES = [{"role": "user", "content": "Who rules?"}]


@pytest.fixture(scope="module")
def models():
    with models_of("tiny", "other") as models:
        yield models


@pytest.fixture(scope="module")
def url(models):
    with on_a_port(models) as url:
        yield url


@pytest.fixture(scope="module")
def client(url):
    return openai.OpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0)


@pytest.fixture(scope="module")
def generator(models):
    return models.get("tiny").generator


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["tiny", "other"]
    model = client.models.retrieve("other")
    assert model.context_length == 128 and model.chats


def test_a_completion_is_what_the_model_generates(client, generator):
    found = client.completions.create(
        model="tiny",
        prompt=["the people", "war"],
        max_tokens=9,
        seed=5,
        temperature=0.7,
        n=2,
        stop=["x"],
    )
    texts = [choice.text for choice in found.choices]
    settings = GenerationSettings(max_new_tokens=9, temperature=0.7, stop=["x"])
    expected = [
        generator.generate([prompt], settings, seed)[0]
        for prompt in ("the people", "war")
        for seed in (5, 6)
    ]
    assert texts == [answer.text for answer in expected]
    usage = found.usage
    assert usage.completion_tokens == sum(a.num_tokens for a in expected)
    prompts = map(generator.encode_prompt, ("the people", "war"))
    assert usage.prompt_tokens == sum(map(len, prompts))


def test_a_chat_is_what_the_model_answers(client, generator):
    whole = client.chat.completions.create(
        model="tiny", messages=MESSAGES, seed=3, max_completion_tokens=12
    )
    expected = generator.chat(
        MESSAGES, GenerationSettings(max_new_tokens=12), 3
    )
    [choice] = whole.choices
    assert choice.message.content == expected.text
    assert choice.finish_reason == expected.finish_reason
    stream = client.chat.completions.create(
        model="tiny",
        messages=MESSAGES,
        seed=3,
        max_tokens=12,
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = stream
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(pieces) == expected.text
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == expected.finish_reason
    assert last.usage == whole.usage
    parts = [
        {"type": "text", "text": "Who "},
        {"type": "text", "text": "rules?"},
    ]
    again = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": parts}],
        seed=3,
        max_tokens=12,
    )
    assert again.choices[0].message.content == expected.text


def log_probabilities(generator, token_ids):
    ids = np.array([token_ids], "int32")
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    logits = np.array(generator.model(inputs))[0]
    logits = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return logits[np.arange(len(token_ids) - 1), token_ids[1:]]


@pytest.mark.parametrize("stream", [False, True])
def test_echoed_prompts_have_their_log_probabilities(client, generator, stream):
    text = "the war of the people"
    asked = {"max_tokens": 3, "echo": True, "logprobs": 2, "seed": 1}
    found = client.completions.create(
        model="tiny", prompt=text, stream=stream, **asked
    )
    choices = [each.choices[0] for each in (found if stream else [found])]
    assert "".join(choice.text for choice in choices).startswith(text)
    parts = [choice.logprobs for choice in choices if choice.logprobs]
    ids = [token for part in parts for token in part.token_ids]
    told = [value for part in parts for value in part.token_logprobs]
    start = generator.encode_prompt(text)[:1]
    expected = log_probabilities(generator, start + ids)
    np.testing.assert_allclose(told, expected, atol=2e-5)
    for part in parts:
        for value, top in zip(
            part.token_logprobs, part.top_logprobs, strict=True
        ):
            assert len(top) <= 2 and max(top.values()) >= value - 1e-5


def test_token_ids_are_taken_as_they_are(client, generator):
    ids = generator.encode_prompt("the people")
    found = client.completions.create(
        model="tiny", prompt=[ids], max_tokens=0, echo=True, logprobs=0
    )
    [choice] = found.choices
    assert choice.logprobs.token_ids == ids
    assert choice.logprobs.token_logprobs[0] is None
    np.testing.assert_allclose(
        choice.logprobs.token_logprobs[1:],
        log_probabilities(generator, ids),
        atol=2e-5,
    )
    assert found.usage.completion_tokens == 0


def test_log_probabilities_of_a_chat(client):
    found = client.chat.completions.create(
        model="tiny",
        messages=MESSAGES,
        max_tokens=4,
        logprobs=True,
        top_logprobs=3,
        temperature=0,
    )
    tokens = found.choices[0].logprobs.content
    assert len(tokens) == found.usage.completion_tokens
    for token in tokens:
        assert token.logprob == token.top_logprobs[0].logprob
        assert bytes(token.bytes).decode("utf-8", "replace") == token.token


def test_embeddings_are_means_of_states(client, generator):
    found = client.embeddings.create(model="tiny", input=["the war", "people"])
    ids = np.array([generator.encode_prompt("people")])
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    expected = np.array(generator.model.backbone(inputs))[0].mean(0)
    np.testing.assert_allclose(found.data[1].embedding, expected, atol=1e-5)
    last = client.embeddings.create(
        model="tiny",
        input="people",
        extra_body={"pooling": "last"},
        encoding_format="float",
    )
    expected = np.array(generator.model.backbone(inputs))[0, -1]
    np.testing.assert_allclose(last.data[0].embedding, expected, atol=1e-5)


def test_a_long_conversation_is_an_error_unless_it_may_be_cut(client):
    turns = [
        {"role": role, "content": "the people of the union " * 5}
        for _ in range(4)
        for role in ("user", "assistant")
    ] + MESSAGES
    with pytest.raises(openai.BadRequestError, match="context holds 128") as e:
        client.chat.completions.create(model="tiny", messages=turns)
    assert e.value.code == "context_length_exceeded"
    found = client.chat.completions.create(
        model="tiny", messages=turns, extra_body={"truncation": "auto"}
    )
    assert found.usage.prompt_tokens < 128
    cut = client.completions.create(
        model="tiny",
        prompt="the people " * 500,
        max_tokens=4,
        extra_body={"truncation": "auto"},
    )
    assert cut.usage.total_tokens <= 128


@pytest.mark.parametrize(
    ("changes", "status", "param", "message"),
    [
        ({"model": "othr"}, 404, "model", "Did you mean other?"),
        ({"temperature": -1}, 400, "temperature", "greater than or equal to 0"),
        ({"top_p": 0}, 400, "top_p", "greater than 0"),
        ({"n": 99}, 400, "n", "less than or equal to 16. Received: 99"),
        ({"max_tokens": 10**6}, 400, "max_tokens", "at most 4096 here"),
        ({"max_tokens": 0}, 400, "max_tokens", "at least 1 without echo"),
        ({"frequency_penalty": 0.5}, 400, "frequency_penalty", "0"),
        ({"logit_bias": {"x": 1}}, 400, "logit_bias", "token ids"),
        ({"logit_bias": {"999999": 1}}, 400, None, "token ids in"),
        ({"prompt": [1, 10**9]}, 400, "prompt", "token ids of a prompt"),
        ({"prompt": []}, 400, None, "at least 1"),
        ({"tools": []}, 400, "tools", "not known here"),
        ({"logprobs": 21}, 400, "logprobs", "less than or equal to 20"),
        ({"stop": ["a"] * 17}, 400, None, "at most 16"),
        ({"temperature": math.inf}, 400, None, ""),
    ],
)
def test_what_is_wrong_is_named(url, changes, status, param, message):
    body = {"model": "tiny", "prompt": "the"} | changes
    answer = httpx.post(f"{url}/v1/completions", content=json.dumps(body))
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert message in error["message"]
    assert param is None or error["param"].startswith(param)
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "assistant", "content": "I"}],
        [*MESSAGES, {"role": "assistant", "content": "Me."}],
        [{"role": "tool", "content": "I"}],
        [{"role": "user"}],
    ],
)
def test_no_conversation_is_an_error(client, messages):
    with pytest.raises(openai.BadRequestError, match="messages|user"):
        client.chat.completions.create(model="tiny", messages=messages)


def test_a_client_that_leaves_frees_its_slot(client, models):
    worker = models.get("tiny").worker
    never = {str(token): -100 for token in (2,)}
    stream = client.completions.create(
        model="tiny",
        prompt="the",
        max_tokens=120,
        stream=True,
        logit_bias=never,
    )
    next(iter(stream))
    stream.close()
    end = time.monotonic() + 60
    while worker.admitted():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    "asked",
    [
        {"prompt": "the"},
        {"prompt": ["the"] * 20, "echo": True, "stream": True},
    ],
)
def test_who_leaves_at_once_is_not_answered_to_the_end(
    url, models, monkeypatch, asked
):
    worker, steps, tickets = models.get("tiny").worker, [], []
    advance, submit = worker._computer.advance, worker.submit

    def slowly(rows, count):
        steps.append(count)
        time.sleep(0.1)
        return advance(rows, count)

    def submitted(*arguments):
        tickets.append(submit(*arguments))
        return tickets[-1]

    monkeypatch.setattr(worker._computer, "advance", slowly)
    monkeypatch.setattr(worker, "submit", submitted)
    never = {str(token): -100 for token in (2,)}
    body = asked | {"max_tokens": 120, "logit_bias": never}
    content = json.dumps(body).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}"
    )
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(head.encode() + b"\r\n\r\n" + content)
        while not tickets:
            time.sleep(0.001)
    end = time.monotonic() + 60
    while not all(ticket.is_cancelled for ticket in tickets):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert sum(steps) < 100


def test_the_app_says_what_it_takes(models):
    paths = client_of(models).get("/openapi.json").json()["paths"]
    assert {"/v1/completions", "/v1/chat/completions", "/v1/models"} <= {*paths}
