"""What the guide of the server shows works."""

import io
import re
import shlex
from contextlib import redirect_stdout
from pathlib import Path

import httpx
import pytest
from served_here import models_of, on_a_port
from testing import code_blocks

from keras_llm.cli import _parse

GUIDE = Path(__file__).parents[2] / "docs/server.md"
TEXT = GUIDE.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_example_is_answered():
    [source] = code_blocks(GUIDE, "python")
    with models_of("assistant") as models, on_a_port(models) as url:
        source = source.replace("http://localhost:8000", url)
        names, said = {}, io.StringIO()
        with redirect_stdout(said):
            exec(compile(source, GUIDE.name, "exec"), names)
    assert said.getvalue().strip()
    assert len(names["scored"].choices[0].logprobs.token_logprobs) > 5


def test_lines_are_those_of_the_command_line():
    lines = "".join(code_blocks(GUIDE, "console"))
    ours = re.findall(r"^(?:\w+=\w+ )?keras-llm (.*)$", lines, re.M)
    names = [_parse(shlex.split(line))[0] for line in ours]
    assert names == ["serve", "serve", "improve", "serve"]


def test_every_path_is_served():
    with models_of("assistant") as models, on_a_port(models) as url:
        paths = {*httpx.get(f"{url}/openapi.json").json()["paths"]}
    told = re.findall(r"`(/[\w/.]+(?:NAME:predict)?)`", TEXT)
    told = {path.replace("NAME", "{name}") for path in told}
    missing = told - paths - {"/openapi.json"}
    assert not missing
