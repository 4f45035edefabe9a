"""What the guide of serving shows is what the exporter says and answers."""

import json
import re
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from served import mixed_model, serve
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from testing import code_blocks
from tiny_run import finished_run

import keras_llm
from keras_llm.export.server_files import ask_command, serve_command
from keras_llm.models import (
    ScratchTextClassifier,
    ScratchTextClassifierPreprocessor,
)

GUIDE = Path(__file__).parents[2] / "docs/serving.md"


def lines_of(page):
    return "".join(code_blocks(page, "console")).splitlines()


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


class Answering(prediction_service_pb2_grpc.PredictionServiceServicer):
    """A SavedModel's default signature, as a server of TensorFlow has it."""

    def Predict(self, request, context):  # noqa: N802
        assert request.model_spec.name == "served"
        texts = tf.make_ndarray(request.inputs["prompt"])
        found = serve(mixed_model()).answer([each.decode() for each in texts])
        response = predict_pb2.PredictResponse()
        response.outputs["text"].CopyFrom(tf.make_tensor_proto(found))
        return response


def test_the_client_of_the_guide_is_answered(capsys):
    server = grpc.server(ThreadPoolExecutor(1))
    add = prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server
    add(Answering(), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    [code] = [each for each in code_blocks(GUIDE, "python") if "grpc" in each]
    exec(code.replace("8500", str(port)), {})
    server.stop(None)
    assert capsys.readouterr().out.count("b'") == 2


@pytest.mark.slow  # two exports
def test_smaller_exports_of_the_guide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished_run(), tmp_path / "runs/served")
    [code] = [each for each in code_blocks(GUIDE, "python") if "int8" in each]
    model = keras_llm.load_preset("runs/served")
    exec(code, {"keras_llm": keras_llm, "model": model})
    sizes = [
        (folder / "1/variables/variables.data-00000-of-00001").stat().st_size
        for folder in (tmp_path / "saved_models").iterdir()
    ]
    assert len(sizes) == 2
    assert max(sizes) < 4 * model.count_params()


def test_the_example_of_conversations(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished_run(), tmp_path / "runs/my_assistant")
    [code] = code_blocks(GUIDE.with_name("chat.md"), "python")
    exec(code, {})
    assert capsys.readouterr().out.endswith("\n")
