"""What strangers send is answered, and told what is wrong with it."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
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
        range(40),
        pytest.param(range(40, 10_080), marks=pytest.mark.slow),
    ],
    ids=len,
)
def test_bodies_that_are_nearly_right(client, seeds):
    found = [check(client, *malformed(seed)) for seed in seeds]
    assert 0.05 < found.count(200) / len(found) < 0.6
    assert client.get("/readyz").status_code == 200


@pytest.mark.slow
def test_what_the_document_allows_is_answered(client):
    """Whatever it generates of our own OpenAPI document."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
    checks = [schemathesis.checks.not_a_server_error]
    seen = set()
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=60,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy())
        def answered(case):
            case.call_and_validate(checks=checks)

        answered()
        seen.add(operation.path)
    assert {"/v1/completions", "/v1/feedback", "/metrics"} <= seen
