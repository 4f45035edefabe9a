"""What the guide of serving shows is what the exporter says and answers."""

import json
import re
import shlex
from pathlib import Path

import pytest
from served import mixed_model, serve

from keras_llm.export.server_files import ask_command, serve_command
from keras_llm.models import (
    ScratchTextClassifier,
    ScratchTextClassifierPreprocessor,
)

GUIDE = Path(__file__).parents[2] / "docs/serving.md"


def lines_of(page):
    blocks = re.findall(
        r"^```console\n(.*?)^```", page.read_text(), re.M | re.S
    )
    return "".join(blocks).splitlines()


LINES = lines_of(GUIDE)
REQUESTS = [line for line in LINES if line.startswith("curl")]


@pytest.mark.parametrize(
    ("page", "model"),
    [
        ("serving.md", "saved_models/served"),
        ("guide/11_deployment.md", "saved_models/guide"),
    ],
)
def test_the_server_is_started_and_asked_as_the_exporter_says(
    page, model, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    lines = lines_of(GUIDE.parent / page)
    assert serve_command(Path(model)).replace(str(tmp_path), "$PWD") in lines
    asked = shlex.split(ask_command(Path(model)))[:-1]
    assert asked in [shlex.split(line)[:-1] for line in lines]


def test_the_request_of_the_classifiers_guide_is_answered():
    guide = GUIDE.with_name("classifiers.md").read_text()
    [line] = re.findall("^curl .*$", guide, re.M)
    words = shlex.split(line)
    as_said = shlex.split(ask_command(Path("saved_models/spam")))
    assert words[:-1] == as_said[:-1]
    texts = json.loads(words[-1])["instances"]
    decoder = mixed_model()
    preprocessor = ScratchTextClassifierPreprocessor(
        decoder.preprocessor.tokenizer, sequence_length=16
    )
    labels = ["ham", "spam"]
    model = ScratchTextClassifier(decoder.backbone, 2, labels, preprocessor)
    found = serve(model).call("serving_default", text=texts)
    assert found["label"][0] in labels and len(found["scores"][0]) == 2


@pytest.mark.parametrize("line", REQUESTS)
def test_requests_are_answered(line):
    words = shlex.split(line)
    as_said = shlex.split(ask_command(Path("saved_models/served")))
    assert words[:-1] == as_said[:-1]
    request = json.loads(words[-1])
    signature = request.get("signature_name", "serving_default")
    rows = request["instances"]
    if not isinstance(rows[0], dict):  # of a signature with one input
        name = "text" if signature == "score" else "prompt"
        rows = [{name: row} for row in rows]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    answers = serve(mixed_model()).call(signature, **columns)
    assert {len(column) for column in answers.values()} == {len(rows)}
    assert len(REQUESTS) == 4
