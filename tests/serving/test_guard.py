"""What stands in a request's head cannot get around the rules."""

import time

import pytest
import raw
from prometheus_client.parser import text_string_to_metric_families
from served_here import client_of, models_of, on_a_port

from keras_llm.serving import patience

COMPLETE = {"prompt": "a", "max_tokens": 1}
HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@pytest.fixture(scope="module")
def models():
    with models_of("tiny") as models:
        yield models


@pytest.fixture(scope="module")
def url(models):
    with on_a_port(models, key="sésame", hosts=HOSTS) as url:
        yield url


def refused(client, path="/v1/models", **headers):
    answer = client.get(path, headers=headers)
    assert "content-security-policy" in answer.headers
    return answer.status_code


@pytest.mark.parametrize(
    "key", ["sesame", "sésame", "ключ", "k" * 3000], ids=ascii
)
def test_keys_are_compared_as_bytes(models, key):
    client = client_of(models, key=key)
    written = key.encode()
    for scheme in (b"Bearer ", b"bearer  "):
        assert refused(client, Authorization=scheme + written) == 200
    for wrong in (b"", b"Bearer", b"Basic " + written, b"Bearer \xff", written):
        assert refused(client, Authorization=wrong) == 401
    assert refused(client, Authorization=b"Bearer " + written[:-1]) == 401


def test_only_the_page_and_health_need_no_key(models):
    client = client_of(models, key="k")
    for path in ("/", "/healthz", "/readyz", "/openapi.json"):
        assert client.get(path).status_code == 200
    for path in ("/metrics", "/v1/models", "/v1/nothing"):
        assert client.get(path).status_code == 401
    for path in ("/v1/completions", "/healthzz", "/metrics"):
        assert client.post(path, json=COMPLETE).status_code == 401
    assert client.request("HEAD", "/metrics").status_code == 401
    assert client_of(models).get("/metrics").status_code == 200


def test_a_host_is_no_path(url):
    """`Host: x/healthz?` made an open path of every other once."""
    for host in ("x/healthz?", "127.0.0.1/healthz#", "[", "a b", "@"):
        head = ["POST /v1/feedback HTTP/1.1", "Content-Length: 2"]
        answer = raw.ask(url, head, b"{}", host=host)
        assert raw.status_of(answer) in (400, 401, 403), (host, answer)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("localhost", 200), ("127.0.0.1:8000", 200), ("[::1]:8000", 200)),
        *(("[::1]", 200), ("LOCALHOST:1", 200), ("evil.example", 403)),
        *(("evil.example:8000", 403), ("localhost.evil.example", 403)),
        *(("127.0.0.1.evil.example:80", 403), ("evil.example:127.0.0.1", 403)),
        ("[::1].evil.example", 403),
    ],
)
def test_other_sites_names_for_our_address_are_refused(models, host, status):
    client = client_of(models, hosts=HOSTS)
    assert refused(client, Host=host) == status
    origin = {"Host": host, "Origin": f"http://{host}"}
    answer = client.post("/v1/completions", json=COMPLETE, headers=origin)
    assert answer.status_code == status
    assert status == 200 or "localhost" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 2", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 2"],
        ["Content-Length: 2", "Content-Length: 40"],
        ["Content-Length: 2, 40"],
        ["Content-Length: +2"],
        ["Content-Length: 0x2"],
        ["Content-Length: " + "9" * 5000],
        ["Content-Length : 2"],
        ["Transfer-Encoding: xchunked"],
        ["Transfer-Encoding:\x0bchunked"],
        [" Transfer-Encoding: chunked", "Content-Length: 2"],
    ],
    ids=ascii,
)
def test_no_second_request_is_smuggled_in_a_body(url, lines):
    hidden = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    head = ["POST /v1/completions HTTP/1.1", *lines]
    answer = raw.ask(url, head, b"0\r\n\r\n" + hidden)
    assert raw.status_of(answer) in (400, 401, 411, 413), answer
    assert answer.count(b"HTTP/1.1 ") == 1, answer


def test_heads_have_an_end(url):
    for head in (
        [f"GET /{'a' * 10**6} HTTP/1.1"],
        ["GET / HTTP/1.1", "X: " + "a" * 10**6],
        ["GET / HTTP/1.1", *(f"X-{i}: a" for i in range(100_000))],
    ):
        with raw.connected(url) as connection:
            written = "\r\n".join(head).encode()
            try:
                connection.sendall(written)
            except (ConnectionResetError, BrokenPipeError):
                continue
            assert raw.status_of(raw.everything(connection)) in (400, None)


SLOW = [
    b"",
    b"GET / HT",
    b"POST /v1/feedback HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
    b"Authorization: Bearer s\xc3\xa9same\r\n\r\n{",
]


@pytest.mark.parametrize("begun", SLOW, ids=["nothing", "head", "body"])
def test_what_does_not_come_is_not_waited_for(models, monkeypatch, begun):
    monkeypatch.setattr(patience, "ARRIVAL_SECONDS", 0.5)
    with on_a_port(models, key="sésame") as url:
        with raw.connected(url) as connection:
            connection.sendall(begun)
            begin = time.monotonic()
            for _ in range(20 if begun else 0):
                try:  # a byte now and then does not help
                    time.sleep(0.1)
                    connection.sendall(b"a")
                except OSError:
                    break
            raw.everything(connection)
            assert time.monotonic() - begin < 20
        with raw.connected(url) as connection:  # nor after a whole one
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET")
            assert raw.status_of(raw.everything(connection)) == 200


def test_answers_may_take_longer_than_questions(models, monkeypatch):
    monkeypatch.setattr(patience, "ARRIVAL_SECONDS", 0.05)
    with on_a_port(models) as url:
        body = b'{"prompt": "the", "max_tokens": 100, "temperature": 1}'
        head = ["POST /v1/completions HTTP/1.1", f"Content-Length: {len(body)}"]
        assert raw.status_of(raw.ask(url, head, body)) == 200


def test_unknown_paths_are_one_label(models):
    client = client_of(models)
    for number in range(50):
        client.get(f"/nothing/{number}")
        client.get(f"/v1/models/{number}")
        client.post(f"/v1/{number}")
        client.request(f"M{number}", "/")
    families = text_string_to_metric_families(client.get("/metrics").text)
    [paths] = [
        {sample.labels["path"] for sample in family.samples}
        for family in families
        if family.name == "keras_llm_requests"
    ]
    assert paths == {"other", "/v1/models/{name}"}
