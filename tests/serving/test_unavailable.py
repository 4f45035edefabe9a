"""Models behind a TensorFlow Serving that is down, slow or talks nonsense."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
import tensorflow as tf
from served_here import SETTINGS, client_of, models_of, tiny_served
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.predict_pb2 import PredictResponse

from keras_llm.errors import InputError
from keras_llm.serving import models as of_models
from keras_llm.serving import signatures
from keras_llm.serving.models import Models, open_model
from keras_llm.serving.signature_model import SETTINGS as INPUTS

OUTPUTS = {
    "text": "string",
    "num_tokens": "int32",
    "finish_reason": "string",
}
COMPLETE = {"model": "far", "prompt": "a"}
LONG = 60.0


def metadata(inputs=INPUTS | {"prompt": "string"}, outputs=OUTPUTS, version=3):
    """What a server says of a model with the signature `generate`."""
    found = SignatureDefMap()
    signature = found.signature_def["generate"]
    for infos, fields in (
        (signature.inputs, inputs),
        (signature.outputs, outputs),
    ):
        for name, dtype in fields.items():
            infos[name].dtype = tf.as_dtype(dtype).as_datatype_enum
            infos[name].tensor_shape.dim.add().size = -1
    answer = GetModelMetadataResponse()
    answer.model_spec.version.value = version
    answer.metadata["signature_def"].Pack(found)
    return answer.SerializeToString(deterministic=True)


def prediction(**columns):
    answer = PredictResponse()
    for name, values in columns.items():
        answer.outputs[name].CopyFrom(tf.make_tensor_proto(values))
    return answer.SerializeToString(deterministic=True)


RIGHT = prediction(text=["b"], num_tokens=[1], finish_reason=["stop"])


class Fake(grpc.GenericRpcHandler):
    """Answers with the bytes that it is given, or waits."""

    def __init__(self):
        self.answers = {"GetModelMetadata": metadata(), "Predict": RIGHT}
        self.ended = threading.Event()

    def service(self, details):
        answer = self.answers[details.method.rpartition("/")[2]]

        def answered(request, context):
            if isinstance(answer, grpc.StatusCode):
                context.abort(answer, "no <b>")
            if answer is None:
                self.ended.wait(LONG)
            return answer

        return grpc.unary_unary_rpc_method_handler(answered)


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(signatures, "SECONDS", 1.0)
    fake = Fake()
    server = grpc.server(ThreadPoolExecutor(60), [fake])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    fake.server, fake.address = server, f"tensorflow-serving://127.0.0.1:{port}"
    yield fake
    fake.ended.set()
    server.stop(0).wait()


@contextmanager
def served(fake):
    """Calls of a server with this model, and one of its own."""

    def open(name, source, settings):
        if name == "near":
            return tiny_served(name)
        return open_model(name, f"{fake.address}/x", settings)

    with models_of("far", "near", open=open) as models:
        with client_of(models) as client:
            yield client


def start(address):
    Models({"far": f"{address}/x"}, SETTINGS).close(0)


def kind_of(value):
    """Names of cases, the same in every process, as those of bytes are not."""
    return type(value).__name__


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"\xff\xff\xff", "does not answer"),
        (b"", "must have the signature generate"),
        (None, "Deadline"),
        (grpc.StatusCode.NOT_FOUND, "does not answer: no <b>"),
        (grpc.StatusCode.INVALID_ARGUMENT, "no <b>"),
        (metadata({"x": "string"}), "must have the signature generate"),
        (metadata(outputs={"y": "string"}), "must have the signature"),
        (metadata(INPUTS | {"prompt": "int32"}), "must have the signature"),
    ],
    ids=kind_of,
)
def test_a_start_fails_with_a_line(fake, answer, message):
    fake.answers["GetModelMetadata"] = answer
    with pytest.raises(InputError, match=message):
        start(fake.address)


@pytest.mark.parametrize(
    "answer",
    [b"\xff", b"", None, grpc.StatusCode.INTERNAL, prediction(text=["b"])],
    ids=kind_of,
)
def test_a_start_fails_if_it_does_not_answer(fake, answer):
    fake.answers["Predict"] = answer
    with pytest.raises(InputError, match="far does not answer: "):
        start(fake.address)


def test_nobody_listens():
    with pytest.raises(InputError, match="127.0.0.1:9 does not answer"):
        start("tensorflow-serving://127.0.0.1:9")


def test_it_is_unavailable_and_the_server_lives_on(fake):
    near = {"model": "near", "prompt": "a", "max_tokens": 2}
    with served(fake) as client:
        for answer in (
            b"\xff",
            b"",
            None,
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.INVALID_ARGUMENT,
            prediction(text=["b"]),
            prediction(text=["b", "c"], num_tokens=[1], finish_reason=["stop"]),
            prediction(text=[], num_tokens=[], finish_reason=[]),
            prediction(text=[1], num_tokens=["a"], finish_reason=[2]),
            prediction(text=b"b", num_tokens=1, finish_reason=b"stop"),
        ):
            found = client.post("/v1/completions", json=COMPLETE)
            assert found.json()["choices"][0]["text"] == "b"
            fake.answers["Predict"] = answer
            for _ in range(2):
                found = client.post("/v1/completions", json=COMPLETE)
                assert found.status_code == 503, (answer, found.text)
                assert found.json()["error"]["code"] == "unavailable"
            assert client.post("/v1/completions", json=near).status_code == 200
            fake.answers["Predict"] = RIGHT


@pytest.mark.slow
def test_predictions_of_nonsense_are_unavailable(fake):
    row = {name: 1 for name in INPUTS} | {"prompt": "a"}
    asked = {"signature_name": "generate", "instances": [row]}
    with served(fake) as client:
        for answer, status in (
            (RIGHT, 200),
            (b"\xff", 503),
            (prediction(text=["b"], num_tokens=[1, 2]), 503),
            (prediction(text=b"b", num_tokens=1), 503),
            (grpc.StatusCode.INVALID_ARGUMENT, 400),
        ):
            fake.answers["Predict"] = answer
            found = client.post("/v1/models/far:predict", json=asked)
            assert found.status_code == status, found.text
            assert status == 200 or {*found.json()} == {"error"}


def test_health_does_not_wait_for_it(fake, monkeypatch):
    """Not even when as many wait as there are threads."""
    monkeypatch.setattr(signatures, "SECONDS", LONG)
    row = {name: 1 for name in INPUTS} | {"prompt": "a"}
    asked = {"signature_name": "generate", "instances": [row]}
    with served(fake) as client, ThreadPoolExecutor(50) as clients:
        fake.answers["Predict"] = None
        for _ in range(50):
            clients.submit(client.post, "/v1/models/far:predict", json=asked)
        time.sleep(0.3)
        begin = time.monotonic()
        for path in ("/healthz", "/readyz", "/metrics"):
            assert client.get(path).status_code == 200
        assert time.monotonic() - begin < LONG / 2
        fake.ended.set()


def test_looks_for_versions_go_on(fake, monkeypatch):
    monkeypatch.setattr(of_models, "LOOK_SECONDS", 0.05)
    found = Models({"far": f"{fake.address}/x"}, SETTINGS)
    try:
        for answer in (b"\xff", grpc.StatusCode.INVALID_ARGUMENT, b""):
            fake.answers["GetModelMetadata"] = answer
            time.sleep(0.3)
            assert found.get("far").version == "3"
        fake.answers["GetModelMetadata"] = metadata(version=4)
        end = time.monotonic() + 10
        while found.get("far").version != "4":
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        found.close(0)


def test_another_projects_saved_model_is_refused(tmp_path):
    module = tf.Module()
    module.double = tf.function(
        lambda x: {"y": 2 * x}, [tf.TensorSpec([None], tf.float32)]
    )
    for name, known in (
        ("none", {}),
        ("generate", {"generate": module.double}),
    ):
        tf.saved_model.save(module, str(tmp_path / name / "1"), known)
        with pytest.raises(InputError, match="must have the signature"):
            open_model("a", tmp_path / name, SETTINGS)
