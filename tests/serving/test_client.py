"""`keras-llm chat URL` talks with a server."""

import json
import os
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from jsonargparse import Namespace
from served_here import models_of, on_a_port

from keras_llm.cli import main
from keras_llm.commands.serving import _sources as named_sources
from keras_llm.errors import InputError
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.serving.client import ServedGenerator


@pytest.fixture(scope="module")
def models():
    with models_of("tiny") as models:
        yield models


def talk(line, typed, **environment):
    """Exit code, answers and errors of a command that is typed to."""
    command = ["keras-llm", *line.split()]
    found = subprocess.run(
        command,
        input=typed,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    return found.returncode, found.stdout, found.stderr


def test_a_conversation_is_that_of_the_model(models):
    generator = models.get("tiny").generator
    settings = GenerationSettings(max_new_tokens=12, temperature=0.7)
    messages = [{"role": "system", "content": "Brief."}]
    for question in ("Who rules?", "Why?"):
        messages.append({"role": "user", "content": question})
        answer = generator.chat(messages, settings, 3).text
        messages.append({"role": "assistant", "content": answer})
    line = "--json --seed 3 --generation.max_new_tokens 12"
    with on_a_port(models) as url:
        code, out, err = talk(
            f"chat {url} {line} --generation.temperature 0.7 --system Brief.",
            "Who rules?\nWhy?\n",
        )
    assert (code, err) == (0, "")
    assert json.loads(out) == messages


@pytest.mark.slow  # four commands, each of seconds
def test_what_is_wrong_is_said(models):
    code, _, err = talk("chat http://127.0.0.1:9", "hi\n")
    assert code == 2 and "keras-llm serve" in err
    with on_a_port(models, key="s3cret") as url:
        code, _, err = talk(f"chat {url}", "hi\n")
        assert code == 2 and "A key must be given" in err
        code, out, err = talk(
            f"chat {url}/v1 --generation.max_new_tokens 4",
            "hi\n",
            KERAS_LLM_KEY="s3cret",
        )
        assert (code, err) == (0, "") and out.strip()
        line = f"chat {url} --template plain"
        code, _, err = talk(line, "")
        assert code == 2 and "--template is of a preset" in err


STREAM = b'data: {"choices": [{"delta": {"content": "hel"}}]}\n\n'
MODELS = b'{"data": [{"id": "tiny"}]}'


def answers(*bodies):
    """A server that answers with these, one after the other, and its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(left.pop(0))

        do_POST = do_GET

        def log_message(self, *args):
            pass

    left = list(bodies)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (STREAM, "broke its answer off"),
        (b"", "broke its answer off"),
        (b"data: {\n", "answers no JSON"),
        (b"data: {}\n", "must be a server of OpenAI's API"),
        (b'data: {"error": {"message": "full"}}\n', "full"),
    ],
)
def test_an_answer_that_is_not_whole_is_none(body, message):
    generator = ServedGenerator(f"http://127.0.0.1:{answers(MODELS, body)}")
    with pytest.raises(InputError, match=message):
        list(generator.stream_chat([], GenerationSettings(), 0))
    generator = ServedGenerator(
        f"http://127.0.0.1:{answers(MODELS, STREAM + b'data: [DONE]')}"
    )
    pieces = generator.stream_chat([], GenerationSettings(), 0)
    assert list(pieces) == ["hel"]


@pytest.mark.parametrize(
    "url", ["http://localhost:abc", "http://local host:80"]
)
def test_what_is_no_address_is_said(url):
    with pytest.raises(InputError, match="does not answer"):
        ServedGenerator(url)


def test_a_server_that_speaks_something_else():
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hello():
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"hello\r\n")

        threading.Thread(target=hello, daemon=True).start()
        with pytest.raises(InputError, match="does not answer"):
            ServedGenerator(f"http://127.0.0.1:{listening.getsockname()[1]}")


@pytest.mark.parametrize("option", ["max_tokens", "seconds"])
def test_limits_that_allow_nothing_are_refused(option, capsys):
    assert main(["serve", "nowhere", f"--{option}", "0"]) == 2
    assert f"--{option} must be above 0" in capsys.readouterr().err


def test_a_folder_may_have_an_equals_sign(tmp_path):
    folder = tmp_path / "rate=0.1"
    folder.mkdir()
    with pytest.raises(InputError, match="NAME=.*rate=0.1"):
        named_sources(Namespace(model=str(folder), models=None))
    given = Namespace(model=None, models=[f"one={folder}"])
    assert named_sources(given) == {"one": str(folder)}
