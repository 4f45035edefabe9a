"""`:predict` answers as TensorFlow Serving's REST does."""

import base64
import json
import re

import numpy as np
import pytest
from served import GREEDY, mixed_model, serve
from served_here import client_of, models_of
from stock_classifiers import stock_classifier
from testing import tiny_encoder

from keras_llm.export import to_saved_model
from keras_llm.models import save_preset
from keras_llm.serving.engine import Engine
from keras_llm.serving.models import open_model
from keras_llm.serving.served import TokenModel

ROW = {
    "prompt": "the people",
    "max_new_tokens": 8,
    "temperature": 0.0,
    "top_k": 0,
    "top_p": 1.0,
    "repetition_penalty": 1.0,
    "seed": 0,
}
TEXTS = ["the war", "people"]


def opened(name, source, settings):
    if name == "live":
        return TokenModel(name, "7", Engine(mixed_model()), GREEDY)
    return open_model(name, serve(mixed_model(), GREEDY).folder, settings)


@pytest.fixture(scope="module")
def client():
    with models_of("live", "saved", open=opened) as models:
        yield client_of(models)


@pytest.fixture(scope="module")
def saved():
    return serve(mixed_model(), GREEDY)


@pytest.fixture(params=["live", "saved"])
def ask(request, client):
    def post(**body):
        path = f"/v1/models/{request.param}:predict"
        answer = client.post(path, content=json.dumps(body))
        return answer.status_code, answer.json()

    return post


def test_rows(ask, saved):
    assert ask(instances=TEXTS) == (200, {"predictions": saved.answer(TEXTS)})
    named = [{"prompt": text} for text in TEXTS]
    assert ask(instances=named) == (200, {"predictions": saved.answer(TEXTS)})
    rows = [ROW, ROW | {"prompt": "war", "max_new_tokens": 3}]
    status, answer = ask(signature_name="generate", instances=rows)
    found = saved.generate(["the people", "war"], max_new_tokens=[8, 3])
    expected = [
        dict(zip(found, row, strict=True))
        for row in zip(*found.values(), strict=True)
    ]
    assert (status, answer) == (200, {"predictions": expected})


def test_columns(ask, saved):
    assert ask(inputs=TEXTS) == (200, {"outputs": saved.answer(TEXTS)})
    status, answer = ask(signature_name="score", inputs={"text": TEXTS})
    expected = saved.score(TEXTS)
    assert status == 200 and {*answer["outputs"]} == {*expected}
    for name, column in answer["outputs"].items():
        np.testing.assert_allclose(column, expected[name], rtol=1e-5)
    status, answer = ask(signature_name="tokenize", inputs=TEXTS)
    assert (status, answer) == (200, {"outputs": saved.tokenize(TEXTS)})


def test_base64(ask, saved):
    written = [{"b64": base64.b64encode(t.encode()).decode()} for t in TEXTS]
    expected = saved.answer(TEXTS)
    assert ask(instances=written) == (200, {"predictions": expected})
    named = [{"prompt": each} for each in written]
    assert ask(instances=named) == (200, {"predictions": expected})
    assert ask(inputs={"prompt": written}) == (200, {"outputs": expected})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "'instances' and 'inputs'"),
        ({"instances": ["a"], "inputs": ["a"]}, "'instances' and 'inputs'"),
        ({"instances": []}, "at least one row"),
        ({"instances": "a"}, "at least one row"),
        ({"instances": [3]}, "prompt must be of strings"),
        ({"instances": [["a"]]}, "prompt must have 1 dim.* Received: 2"),
        ({"instances": [{"text": "a"}]}, "keys prompt. Received: text"),
        ({"instances": [{"b64": "?"}]}, "base64 that is none"),
        ({"instances": ["a"], "signature_name": "x"}, '"x" not found'),
        ({"instances": ["a"], "signature_name": 3}, "must be a string"),
        (
            {"instances": ["a"], "signature_name": "generate"},
            "object with the keys",
        ),
        (
            {
                "instances": [ROW | {"top_k": 1.5}],
                "signature_name": "generate",
            },
            "top_k must be of int32",
        ),
        (
            {
                "inputs": ROW | {"prompt": ["a", "b"]},
                "signature_name": "generate",
            },
            "must have 1 dimensions",
        ),
        ({"inputs": {"prompt": ["a"], "x": 1}}, "Received: prompt, x"),
        (
            {
                "inputs": {k: [v] for k, v in ROW.items()} | {"seed": [1, 2]},
                "signature_name": "generate",
            },
            "as many rows of each",
        ),
        ({"instances": ["a", ["b"]]}, "prompt must have lists of the same"),
        ({"instances": ["a"] * 1025}, "at most 1024 rows. Received: 1025"),
        ({"instances": ["\ud800"], "signature_name": "\ud800"}, "not found"),
    ],
)
def test_errors_are_in_its_form(ask, body, message):
    status, answer = ask(**body)
    assert status == 400 and {*answer} == {"error"}
    assert re.search(message, answer["error"]), answer


def test_versions(client, saved):
    for name, version in (("live", "7"), ("saved", saved.folder.name)):
        path = f"/v1/models/{name}/versions/{version}:predict"
        answer = client.post(path, json={"instances": TEXTS})
        assert answer.json() == {"predictions": saved.answer(TEXTS)}
        path = f"/v1/models/{name}/versions/9:predict"
        answer = client.post(path, json={"instances": TEXTS})
        assert answer.status_code == 404 and "9" in answer.json()["error"]
        [status] = client.get(f"/v1/models/{name}").json()[
            "model_version_status"
        ]
        assert (status["version"], status["state"]) == (version, "AVAILABLE")
    answer = client.post("/v1/models/livee:predict", json={"instances": []})
    assert answer.status_code == 404
    assert "Did you mean live?" in answer.json()["error"]


def test_a_saved_model_answers_openais_clients(client, saved):
    body = {"model": "saved", "prompt": TEXTS, "max_tokens": 8}
    body |= {"temperature": 0, "stop": ["zzz"]}
    answer = client.post("/v1/completions", json=body).json()
    found = saved.generate(TEXTS, max_new_tokens=8)
    assert [choice["text"] for choice in answer["choices"]] == found["text"]
    assert answer["usage"]["completion_tokens"] == sum(found["num_tokens"])
    messages = [{"role": "user", "content": "Who rules?"}]
    body = {"model": "saved", "messages": messages, "temperature": 0}
    answer = client.post("/v1/chat/completions", json=body | {"max_tokens": 8})
    [expected] = saved.chat([["Who rules?"]], max_new_tokens=8)["text"]
    [choice] = answer.json()["choices"]
    assert choice["message"]["content"] == expected
    body = {"model": "saved", "prompt": "a", "logprobs": 1}
    answer = client.post("/v1/completions", json=body)
    assert answer.status_code == 400
    assert "logprobs is not to be had" in answer.json()["error"]["message"]
    system = [{"role": "system", "content": "Be brief."}, *messages]
    body = {"model": "saved", "messages": system}
    answer = client.post("/v1/chat/completions", json=body)
    assert "fixed when it is exported" in answer.json()["error"]["message"]


@pytest.mark.slow
def test_classifiers_say_their_labels(tmp_path):
    labels = ["bad", "so so", "good é"]
    model = stock_classifier("Bert")
    version = to_saved_model(model, tmp_path / "mood", labels=labels)

    def open(name, source, settings):
        return open_model(name, version.parent, settings)

    with models_of("mood", open=open) as models:
        client = client_of(models)
        [found] = client.get("/v1/models").json()["data"]
        assert found["labels"] == labels
        rows = {"instances": TEXTS}
        answer = client.post("/v1/models/mood:predict", json=rows)
        best = model.predict(TEXTS, verbose=0).argmax(1)
        rows = answer.json()["predictions"]
        assert [row["label"] for row in rows] == [labels[i] for i in best]
        answer = client.post("/v1/completions", json={"prompt": "a"})
        assert "is a classifier" in answer.json()["error"]["message"]


def test_encoders_fill_masks_and_do_not_generate(tmp_path):
    save_preset(tiny_encoder(num_layers=1), tmp_path / "encoder")

    def open(name, source, settings):
        return open_model(name, tmp_path / "encoder", settings)

    with models_of("encoder", open=open) as models:
        client = client_of(models)
        rows = {"instances": ["the [MASK] and [MASK]", "[MASK]"]}
        answer = client.post("/v1/models/encoder:predict", json=rows)
        first, second = answer.json()["predictions"]
        assert (first["num_masks"], second["num_masks"]) == (2, 1)
        assert first["tokens"][1][0] in first["text"]
        asked = {
            "completions": {"prompt": "a"},
            "chat/completions": {
                "messages": [{"role": "user", "content": "a"}]
            },
            "embeddings": {"input": "a"},
        }
        for path, body in asked.items():
            answer = client.post(f"/v1/{path}", json=body)
            assert answer.status_code == 400
            message = answer.json()["error"]["message"]
            assert "is an encoder: ask /v1/models/encoder:predict" in message
