"""Who may ask what, feedback, health, and a new version under load."""

import errno
import json
import threading
from urllib.parse import unquote

import httpx
import keras
import numpy as np
import pytest
from served_here import (
    SETTINGS,
    client_of,
    models_of,
    on_a_port,
    tiny_served,
)

from keras_llm.errors import InputError
from keras_llm.serving import feedback as feedback_module
from keras_llm.serving.completions import Limits
from keras_llm.serving.models import Models
from keras_llm.tuning import feedback as feedback_file
from keras_llm.tuning.feedback import read_feedback

PROMPT = {"prompt": "the", "max_tokens": 2, "seed": 1}
SAID = {
    "messages": [{"role": "user", "content": "Where is the cat?"}],
    "completion": "On the moon.",
}


@pytest.fixture(scope="module")
def models():
    with models_of("tiny") as models:
        yield models


@pytest.fixture
def client(models, tmp_path):
    return client_of(models, feedback=tmp_path / "feedback.jsonl")


def complete(client, **headers):
    return client.post("/v1/completions", json=PROMPT, headers=headers)


def test_a_key_is_asked_for(models):
    client = client_of(models, key="s3cret")
    for given in ({}, {"Authorization": "Bearer wrong"}):
        answer = complete(client, **given)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
    assert complete(client, Authorization="Bearer s3cret").status_code == 200
    assert client.get("/healthz").status_code == 200
    assert client.get("/metrics").status_code == 401
    assert client.get("/v1/models").status_code == 401


def test_a_page_of_another_origin_is_refused(client):
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert complete(client, **headers).status_code == 403
        answer = client.post("/v1/feedback", json=SAID, headers=headers)
        assert answer.status_code == 403
    own = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    answer = complete(client, **own)
    assert answer.status_code == 200
    # Nor can it read: no header of ours allows it to.
    assert not [h for h in answer.headers if h.startswith("access-control")]


def test_pages_may_hold_nothing_from_elsewhere(client):
    headers = client.get("/healthz").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_a_body_of_curl_is_taken_for_json(client):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for headers in (form, {"Content-Type": ""}):
        answer = client.post(
            "/v1/completions", content=json.dumps(PROMPT), headers=headers
        )
        assert answer.status_code == 200, answer.text


def test_large_bodies_are_refused_before_they_are_read(models):
    client = client_of(models, most_body=1000)
    answer = client.post("/v1/completions", json={"prompt": "a" * 2000})
    assert answer.status_code == 413
    assert "at most 1000 bytes" in answer.json()["error"]["message"]

    def chunks():
        yield b"{}"

    assert client.post("/v1/completions", content=chunks()).status_code == 411


def test_limits_of_answers(models):
    client = client_of(models, limits=Limits(max_new_tokens=3, seconds=60))
    answer = client.post("/v1/completions", json=PROMPT | {"max_tokens": 4})
    assert "at most 3 here" in answer.json()["error"]["message"]
    whole = PROMPT | {"max_tokens": None}
    answer = client.post("/v1/completions", json=whole).json()
    assert answer["usage"]["completion_tokens"] <= 3
    client = client_of(models, limits=Limits(seconds=0.0))
    answer = complete(client)
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "timeout"


def test_health_and_figures(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"ready": True}
    complete(client)
    figures = client.get("/metrics").text
    line = 'keras_llm_requests_total{path="/v1/completions",status="200"} 1.0'
    assert line in figures
    assert 'keras_llm_waiting{model="tiny"} 0.0' in figures


def test_paths_lead_to_no_files(client):
    for path in ("/../app.py", "/%2e%2e/app.py", "/v1/models/..%2f..%2fx"):
        answer = client.get(path)
        assert answer.status_code == 404 and "error" in answer.json()


def test_corrections_and_thumbs_are_written(client, tmp_path):
    better = SAID | {"better": "On the mat.", "model_version": "7"}
    assert client.post("/v1/feedback", json=better).json() == {"written": True}
    thumb = SAID | {"label": False}
    assert client.post("/v1/feedback", json=thumb).status_code == 200
    found = read_feedback(tmp_path / "feedback.jsonl")
    first, second = found.events
    assert (first.chosen, first.rejected) == ("On the mat.", "On the moon.")
    assert first.model_version == "7" and first.time
    assert (second.completion, second.label) == ("On the moon.", False)
    for wrong in (
        SAID,
        SAID | {"better": "On the moon."},
        SAID | {"better": " "},
        SAID | {"messages": []},
        SAID | {"file": "/etc/passwd"},
    ):
        answer = client.post("/v1/feedback", json=wrong)
        assert answer.status_code == 400, wrong
    assert len(read_feedback(tmp_path / "feedback.jsonl").events) == 2


def test_feedback_is_bounded(client, models, monkeypatch, tmp_path):
    monkeypatch.setattr(feedback_module, "MOST_A_MINUTE", 2)
    thumb = SAID | {"label": True}
    codes = [client.post("/v1/feedback", json=thumb) for _ in range(3)]
    assert [answer.status_code for answer in codes] == [200, 200, 429]
    assert codes[2].headers["retry-after"] == "60"
    other = client_of(models, feedback=tmp_path / "feedback.jsonl")
    monkeypatch.setattr(feedback_module, "MOST_BYTES", 10)
    assert other.post("/v1/feedback", json=thumb).status_code == 507
    answer = client_of(models).post("/v1/feedback", json=thumb)
    assert answer.status_code == 404
    assert "--feedback FILE" in answer.json()["error"]["message"]


def test_a_full_disk_is_told_and_the_server_lives_on(client, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(feedback_file.os, "fsync", full)
        answer = client.post("/v1/feedback", json=SAID | {"label": True})
    assert answer.status_code == 507
    message = answer.json()["error"]["message"]
    assert "No space left" in message and "jsonl" not in message
    assert complete(client).status_code == 200


def test_a_new_version_takes_over_without_a_lost_request(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    made = []

    def open(name, source, settings):
        made.append(tiny_served(name, str(len(made) + 1)))
        return made[-1]

    models = Models({"tiny": tmp_path}, SETTINGS, open)
    with on_a_port(models) as url:
        codes, versions, stop = [], [], threading.Event()

        def load():
            with httpx.Client(timeout=60) as client:
                while not stop.is_set():
                    answer = client.post(f"{url}/v1/completions", json=PROMPT)
                    codes.append(answer.status_code)
                    versions.append(answer.headers["x-model-version"])

        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        while "1" not in versions:
            stop.wait(0.05)
        (tmp_path / "config.json").write_text('{"new": 1}')
        while "2" not in versions:
            stop.wait(0.05)
        stop.set()
        for thread in threads:
            thread.join()
    assert {*codes} == {200} and {*versions} == {"1", "2"}
    models.close(0)


def test_a_version_that_does_not_load_changes_nothing(tmp_path):
    (tmp_path / "config.json").write_text("{}")

    def open(name, source, settings):
        if (tmp_path / "broken").exists():
            raise InputError("half copied")
        return tiny_served(name)

    models = Models({"tiny": tmp_path}, SETTINGS, open)
    (tmp_path / "broken").write_text("")
    models.look()
    assert complete(client_of(models)).status_code == 200
    models.close(0)


def test_a_version_that_is_still_copied_is_served_when_it_is_there(tmp_path):
    def copy(version, *names):
        for name in names:
            path = tmp_path / version / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")

    def open(name, source, settings):
        version = max(each.name for each in tmp_path.iterdir())
        if not (tmp_path / version / "variables").exists():
            raise InputError("half copied")
        return tiny_served(name, version)

    copy("1", "saved_model.pb", "variables/1")
    models = Models({"tiny": tmp_path}, SETTINGS, open)
    copy("2", "saved_model.pb")
    models.look()
    assert models.get("tiny").version == "1"
    copy("2", "variables/1")
    models.look()
    assert models.get("tiny").version == "2"
    models.close(0)


def test_a_version_that_fails_to_warm_up_is_let_go(tmp_path):
    def open(name, source, settings):
        made.append(tiny_served(name))
        if len(made) > 1:
            made[1].warm_up = lambda: 1 / 0
        return made[-1]

    made, config = [], tmp_path / "config.json"
    config.write_text("{}")
    models = Models({"tiny": tmp_path}, SETTINGS, open)
    config.write_text('{"new": 1}')
    models.look()
    assert [each.worker.is_open for each in made] == [True, False]
    models.close(0)


def test_the_name_of_a_version_may_be_of_any_letters():
    def open(name, source, settings):
        return tiny_served(name, "модель")

    with models_of("tiny", open=open) as models:
        answer = complete(client_of(models))
    assert unquote(answer.headers["x-model-version"]) == "модель"
    assert answer.json()["system_fingerprint"] == "модель"


def test_a_look_is_what_the_layers_compute(client, models):
    text = "the people of the union"
    found = client.post("/v1/look", json={"text": text, "token": 3}).json()
    model = models.get("tiny").generator.model
    ids = [2, *(token["id"] for token in found["tokens"])]
    inputs = np.array([ids], "int32")
    logits = np.array(
        model({"token_ids": inputs, "padding_mask": np.ones_like(inputs)})
    )[0]
    logits = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    told = [token["log_probability"] for token in found["tokens"]]
    expected = logits[np.arange(len(ids) - 1), ids[1:]]
    np.testing.assert_allclose(told, expected, atol=2e-5)
    bits = -sum(expected) / np.log(2) / len(text.encode())
    assert found["bits_per_byte"] == pytest.approx(bits, rel=1e-5)
    backbone = model.backbone
    x = backbone.embedding(keras.ops.convert_to_tensor(inputs))
    gru, attention = backbone.blocks
    [movement] = found["movement"]
    states = np.array(gru.mixer(gru.mixer_norm(x)))[0]
    steps = np.linalg.norm(np.diff(states, axis=0, prepend=0), axis=1)
    np.testing.assert_allclose(
        movement["distances"], (steps / steps.max())[1:], atol=1e-5
    )
    [weights] = found["attention"]
    assert weights["block"] == attention.name
    assert len(weights["weights"]) == 4  # itself and those before it
    assert 0 < sum(weights["weights"]) <= 1  # the start token has the rest
    answer = client.post("/v1/look", json={"text": text, "token": 99})
    assert answer.status_code == 400
    assert "token must be below" in answer.json()["error"]["message"]


BROKEN = [
    b"",
    b"null",
    b"[]",
    b'"a"',
    b"{",
    b'{"prompt": {}}',
    b'{"prompt": [[]]}',
    b'{"prompt": [[1.5]]}',
    b'{"prompt": [true]}',
    b'{"prompt": "a", "max_tokens": 1e99}',
    b'{"prompt": "a", "seed": 1e30}',
    b'{"prompt": "\\ud800"}',
    b'{"prompt": "a", "temperature": NaN}',
    b'{"prompt": "a", "stop": [""]}',
    b"[" * 10_000,
    b"\xff\xfe",
]


@pytest.mark.parametrize("body", BROKEN, ids=lambda body: ascii(body[:30]))
def test_broken_bodies_are_errors_of_the_client(client, body):
    for path in ("completions", "chat/completions", "embeddings", "feedback"):
        headers = {"Content-Type": "application/json"}
        answer = client.post(f"/v1/{path}", content=body, headers=headers)
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.json()["error"]["message"]
    answer = client.post("/v1/models/tiny:predict", content=body)
    assert 400 <= answer.status_code < 500, answer.text
    assert json.loads(answer.text)["error"]
