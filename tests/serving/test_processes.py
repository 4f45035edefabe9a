"""The server as a process: killed, told to stop, and not able to start."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
from served_apart import MAIN, Process
from testing import tiny_model

from keras_llm.tuning.feedback import read_feedback

pytestmark = pytest.mark.slow
LONG = {
    "prompt": "the",
    "max_tokens": 900,
    "stream": True,
    "logit_bias": {"2": -100},  # it never ends by itself
}
QUICK = "from keras_llm.serving import server; server.GRACE_SECONDS = 1"
THREADS = 6


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    model = tiny_model(["gru", "attention"], max_sequence_length=1024)
    model.save_to_preset(folder)
    return folder


def in_threads(function):
    threads = [
        threading.Thread(target=function, args=(number,))
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    return threads


def streamed(url, into):
    """Puts the last lines of a long answer into a list; what broke it, too."""

    def ask(number):
        lines = []
        try:
            body = LONG | {"seed": number}
            path = f"{url}/v1/completions"
            with httpx.stream("POST", path, json=body, timeout=90) as answer:
                for line in answer.iter_lines():
                    lines.append(line)
                    begun.set()
        except httpx.HTTPError as error:
            lines.append(repr(error))
        into.append("\n".join(lines[-5:]))

    begun = threading.Event()
    threads = in_threads(ask)
    assert begun.wait(60)
    return threads


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_what_is_being_answered_is_finished(preset, tmp_path, name):
    ends = []
    with Process(preset, "--feedback", tmp_path / "f.jsonl") as server:
        threads = streamed(server.url, ends)
        server.popen.send_signal(getattr(signal, name))
        time.sleep(0.5)
        try:
            assert httpx.get(f"{server.url}/v1/models").status_code == 503
        except httpx.ConnectError:
            pass
        assert server.end() == 0
        for thread in threads:
            thread.join()
    assert len(ends) == THREADS
    for end in ends:
        assert '"finish_reason": "length"' in end and "[DONE]" in end
    assert "Traceback" not in server.said and "ERROR" not in server.said


@pytest.mark.parametrize("times", [1, 2])
def test_what_takes_too_long_is_told_so(preset, tmp_path, times):
    """After a second here; at once if it is told twice."""
    ends = []
    before = QUICK if times == 1 else ""
    file = tmp_path / "f.jsonl"
    with Process(preset, "--feedback", file, before=before) as server:
        threads = streamed(server.url, ends)
        for _ in range(times):
            server.popen.send_signal(signal.SIGINT)
            time.sleep(0.2)
        assert server.end() == 0
        for thread in threads:
            thread.join()
    for end in ends:
        assert "shutting_down" in end and "[DONE]" in end, end
    assert "Traceback" not in server.said


def test_what_was_written_survives_a_kill(preset, tmp_path):
    file = tmp_path / "feedback.jsonl"
    written, lock = [], threading.Lock()

    def post_until_killed(number):
        with httpx.Client() as client:
            for count in range(1000):
                text = f"{seconds} {number} {count} " + "é" * 3000
                body = {
                    "messages": [{"role": "user", "content": "q"}],
                    "completion": text,
                    "label": True,
                }
                try:
                    answer = client.post(f"{url}/v1/feedback", json=body)
                except httpx.HTTPError:
                    return
                if answer.status_code == 200:
                    assert answer.json() == {"written": True}
                    with lock:
                        written.append(text)

    many = "from keras_llm.serving import feedback as f\nf.MOST_A_MINUTE=10**9"
    for seconds in (0.3, 0.7, 0.1):
        known = len(written)
        with Process(preset, "--feedback", file, before=many) as server:
            url = server.url
            threads = in_threads(post_until_killed)
            end = time.monotonic() + 60
            while len(written) == known:
                assert time.monotonic() < end, server.said
                time.sleep(0.01)
            time.sleep(seconds)
            assert server.end(signal.SIGKILL) == -signal.SIGKILL
            for thread in threads:
                thread.join()
        found = read_feedback(file)
        texts = [event.completion for event in found.events]
        assert {*written} <= {*texts} and len({*texts}) == len(texts)
        lines = file.read_bytes().split(b"\n")
        for number in found.damaged:  # never answered, and alone in its line
            with pytest.raises(ValueError):
                json.loads(lines[number - 1])
    assert len(found.damaged) <= 3 and len(written) > 10


def refusal(*arguments):
    """The one line that the command gives up with."""
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "serve", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2 and not done.stdout
    lines = [x for x in done.stderr.splitlines() if x.startswith("keras-llm: ")]
    assert "Traceback" not in done.stderr and len(lines) == 1, done.stderr
    return lines[0]


def test_what_cannot_start_says_why(preset, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} cannot be listened on: Address already" in (
            refusal(preset, "--port", port)
        )
    assert "port 99999 cannot be" in refusal(preset, "--port", 99999)
    assert "no/model" in refusal("no/model", "--port", 0)
    twice = [f"a={preset}", f"a={preset}"]
    assert "name of two models" in refusal("--models", *twice)
    script = [f"<script>={preset}"]
    assert "must be of letters" in refusal("--models", *script)
    nobody = f"tensorflow-serving://127.0.0.1:{port}/x"
    assert f"127.0.0.1:{port} does not answer" in refusal(nobody, "--port", 0)
    assert "HOST:PORT/NAME" in refusal("tensorflow-serving://x", "--port", 0)
