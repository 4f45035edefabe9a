"""What strangers send is answered, and told what is wrong with it."""

import pytest
from malformed import malformed
from served_here import client_of, models_of

from keras_llm.serving import feedback

# One of them stands in every error: a field, or that there are none.
NAMED = (
    *("JSON", "body", "fields", "'instances'", "'inputs'", "Input "),
    *("signature", "not found", "row ", "max_tokens", "context holds"),
    *("logit_bias", "token ids", "is not known here", "messages"),
)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, models_of("tiny") as models:
        patch.setattr(feedback, "MOST_A_MINUTE", 10**9)
        file = tmp_path_factory.mktemp("feedback") / "feedback.jsonl"
        with client_of(models, feedback=file) as client:
            yield client


def check(client, path, body):
    answer = client.post(path, content=body)
    shown = f"{path} {body[:300]!r}: {answer.status_code} {answer.text[:300]}"
    assert answer.status_code < 500, shown
    assert '"server_error"' not in answer.text, shown  # in a stream
    if answer.status_code != 200:
        assert len(answer.content) < 2500, shown
        error = answer.json()["error"]
        if isinstance(error, dict):
            named = error["param"] or any(x in error["message"] for x in NAMED)
        else:
            named = any(x in error for x in NAMED)
        assert named, shown
    return answer.status_code


@pytest.mark.parametrize(
    "seeds",
    [
        range(200),
        pytest.param(range(200, 10_200), marks=pytest.mark.slow),
    ],
    ids=len,
)
def test_bodies_that_are_nearly_right(client, seeds):
    found = [check(client, *malformed(seed)) for seed in seeds]
    assert 0.05 < found.count(200) / len(found) < 0.6
    assert client.get("/readyz").status_code == 200
