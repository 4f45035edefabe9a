"""`keras-llm chat URL` talks with a server."""

import json
import os
import subprocess

import pytest
from served_here import models_of, on_a_port

from keras_llm.recipes.settings import GenerationSettings


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
