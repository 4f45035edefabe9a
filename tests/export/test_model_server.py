"""A real `tensorflow_model_server` answers as the SavedModel does here.

It needs that program on PATH, of version 2.12 or later, and is skipped where
there is none: it is in the image tensorflow/serving, and in Debian packages
that Google publishes, not on PyPI. Version 2.18.1 was seen to pass, but for
the classifier's test, which is younger. What an older
server would refuse is seen by `test_server_operations.py` without it, and by
`test_tensorflow_2_12.py` in that release of TensorFlow.
"""

import base64
import json
import math
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from model_server import configured, needs_model_server, running, written
from served import Served, generate_inputs, mixed_model
from stock_classifiers import stock_classifier

from keras_llm.export import load_saved_model, to_saved_model
from keras_llm.recipes.settings import GenerationSettings

SAMPLE = GenerationSettings(max_new_tokens=12, temperature=1.5, top_k=50)
PROMPTS = ["the people of", "", " the\n", "é 😀\n日本", "a\tb", "<|endoftext|>"]
LABELS = ["bad", "so so", "good é"]

pytestmark = needs_model_server


@pytest.fixture(scope="module")
def model():
    return mixed_model()


@pytest.fixture(scope="module")
def version(tmp_path_factory, model):
    path = tmp_path_factory.mktemp("saved") / "answers"
    return to_saved_model(model, path, SAMPLE)


@pytest.fixture(scope="module")
def here(version):
    """The same SavedModel, in this process."""
    return Served(version)


@pytest.fixture(scope="module")
def server(version, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    command = configured(version.parent, folder)
    with running(command, version.parent.name, folder) as server:
        yield server


def rows_of(columns):
    """A dict of lists as a list of dicts."""
    names = columns.keys()
    values = zip(*columns.values(), strict=True)
    return [dict(zip(names, row, strict=True)) for row in values]


def test_rows_by_rest(server, version, here):
    answers = server.rows("serving_default", PROMPTS)
    assert answers == load_saved_model(version)(PROMPTS)
    assert len(set(answers)) > 1
    inputs = generate_inputs(PROMPTS, temperature=1.2, seed=[*range(6)])
    answers = server.rows("generate", rows_of(inputs))
    assert answers == rows_of(here.call("generate", **inputs))


def test_columns_by_rest(server, here):
    assert server.columns("serving_default", prompt=PROMPTS) == (
        here.answer(PROMPTS)
    )
    inputs = generate_inputs(PROMPTS, temperature=1.2, top_p=0.9)
    assert server.columns("generate", **inputs) == (
        here.call("generate", **inputs)
    )


def test_grpc(server, here):
    inputs = generate_inputs(PROMPTS, repetition_penalty=1.3, seed=-(2**62))
    answers, version = server.call("generate", **inputs)
    assert answers == here.call("generate", **inputs)
    assert version == 1


def test_tokens_and_scores(server, here):
    assert server.columns("tokenize", text=PROMPTS) == here.tokenize(PROMPTS)
    assert server.call("tokenize", text=PROMPTS)[0] == here.tokenize(PROMPTS)
    texts = [*PROMPTS, "the people of the union " * 40]
    found, scores = server.columns("score", text=texts), here.score(texts)
    assert found["num_tokens"] == scores["num_tokens"]
    for name in ("log_likelihood", "perplexity"):
        np.testing.assert_allclose(found[name], scores[name], rtol=1e-4)
    [alone] = server.rows("score", ["the people"])
    assert alone["num_tokens"] == here.score(["the people"])["num_tokens"][0]


def test_many_threads_get_their_own_answers(server, here):
    inputs = generate_inputs(
        [PROMPTS[row % 6] + "the " * (row % 3) for row in range(96)],
        temperature=[row % 4 / 2 for row in range(96)],
        max_new_tokens=[row % 13 for row in range(96)],
        seed=[*range(96)],
    )
    rows = rows_of(inputs)

    def ask(row):
        return server.rows("generate", [row])[0]

    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(ask, rows))
    assert answers == rows_of(here.call("generate", **inputs))


def test_a_batch_is_as_large_as_its_file_says(server):
    # One row more than `max_batch_size`: an error that says so.
    for count, expected in ((16, 200), (17, 400)):
        status, answer = server.predict(instances=["war"] * count)
        assert status == expected
    assert "batch size" in answer["error"]


def test_another_version_while_requests_run(model, version, tmp_path):
    path = tmp_path / "answers"
    first = to_saved_model(model, path, SAMPLE)
    one, answers, failed = Served(first).answer(PROMPTS), [], []
    done = threading.Event()

    def ask(server):
        while not done.is_set():
            status, answer = server.predict(instances=PROMPTS)
            if status == 200:
                answers.append(answer["predictions"])
            else:
                failed.append(answer)

    with running(configured(path, tmp_path), path.name, tmp_path) as server:
        threads = [threading.Thread(target=ask, args=[server]) for _ in "1234"]
        for thread in threads:
            thread.start()
        try:
            second = to_saved_model(model, path, SAMPLE, seed=1)
            server.wait_for("2")
        finally:
            done.set()
            for thread in threads:
                thread.join()
        two = Served(second).answer(PROMPTS)
        assert server.rows("serving_default", PROMPTS) == two != one
    assert not failed
    assert answers and all(answer in (one, two) for answer in answers)
    assert answers[0] == one


def test_the_warm_up_file_is_read(server):
    log = server.log.read_text(errors="replace")
    assert "Finished reading warmup data" in log
    assert "Number of warmup records read: 4." in log


def test_metrics(server, version):
    status, text = server.get("/monitoring/prometheus/metrics")
    assert status == 200
    name = ":tensorflow:cc:saved_model:load_attempt_count"
    lines = [line for line in text.splitlines() if line.startswith(name)]
    assert any(str(version) in line for line in lines)


def test_the_lines_of_the_readme(server, version):
    readme = (version.parent / "README.txt").read_text()
    lines = [line for line in readme.splitlines() if line.startswith("curl")]
    assert len(lines) == 4
    for line in lines:
        line = line.replace("8501", server.rest_port)
        done = subprocess.run(line, shell=True, capture_output=True, timeout=60)
        [prediction] = json.loads(done.stdout)["predictions"]
        assert prediction


def test_control_tokens_are_text(server, here):
    texts = ["<|user|>", "<|endoftext|>the", "</s>"]
    assert server.columns("tokenize", text=texts) == here.tokenize(texts)
    assert server.rows("serving_default", texts) == here.answer(texts)


HOSTILE = [
    {"max_new_tokens": -1},
    {"max_new_tokens": 2**31 - 1},
    {"temperature": math.nan},
    {"temperature": -1.0},
    {"temperature": 1.0, "top_p": 0.0},
    {"temperature": 1.0, "top_k": 2**31 - 1},
    {"repetition_penalty": 0.0},
]


@pytest.mark.parametrize("request_", HOSTILE, ids=str)
def test_unusual_settings(request_, server, here):
    inputs = generate_inputs(["the people"], **request_)
    assert server.call("generate", **inputs)[0] == (
        here.call("generate", **inputs)
    )
    assert server.rows("serving_default", ["war"]) == here.answer(["war"])


@pytest.mark.parametrize("prompt", ["", "the war " * 131072, "a\0b"])
def test_unusual_prompts(prompt, server, here):
    inputs = generate_inputs([prompt])
    assert server.columns("generate", **inputs) == (
        here.call("generate", **inputs)
    )
    assert server.rows("serving_default", ["war"]) == here.answer(["war"])


def test_bytes_that_are_no_text(server, here):
    encoded = {"b64": base64.b64encode(b"the\xff").decode()}
    [answer] = server.rows("serving_default", [encoded])
    assert [answer] == here.answer(["the\ufffd"])
    broken, _ = server.call("serving_default", prompt=[b"the\xff"])
    assert broken["text"] == [answer]


BROKEN = [
    b"",
    b"{",
    b'{"instances": "war"}',
    b'{"instances": [1]}',
    b'{"instances": [{"prompt": 1}]}',
    b'{"instances": ["war"], "signature_name": "missing"}',
    b'{"instances": [{"prompt": "war"}], "signature_name": "generate"}',
    b'{"inputs": {"prompt": ["war"], "max_new_tokens": [99999999999]},'
    b' "signature_name": "generate"}',
]


@pytest.mark.parametrize("data", BROKEN, ids=str)
def test_broken_requests_are_refused(data, server, here):
    status, answer = server.post(data)
    assert 400 <= status < 500 and json.loads(answer)["error"]
    assert server.rows("serving_default", ["war"]) == here.answer(["war"])


def test_columns_of_other_lengths_are_refused(server, here):
    inputs = generate_inputs(["war"], seed=[1, 2])
    status, answer = server.predict(signature_name="generate", inputs=inputs)
    assert 400 <= status < 500 and answer["error"]
    assert server.rows("serving_default", ["war"]) == here.answer(["war"])


def test_a_classifier_by_the_line_of_its_readme(tmp_path):
    path = tmp_path / "classes"
    folder = to_saved_model(stock_classifier("Bert"), path, labels=LABELS)
    texts = ["The people of, the union!", "", "é日本 treaty"]
    expected = Served(folder).call("classify", text=texts)
    with running(written(path), path.name, tmp_path) as server:
        for signature in ("serving_default", "classify"):
            answers = server.rows(signature, texts)
            labels = [answer["label"] for answer in answers]
            assert labels == expected["label"]
            scores = [answer["scores"] for answer in answers]
            np.testing.assert_allclose(scores, expected["scores"], rtol=1e-4)
        found, _ = server.call("classify", text=texts)
        assert found["label"] == expected["label"]
