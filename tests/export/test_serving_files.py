"""What lies beside and inside the versions for a server, and for people."""

import json
import shlex

import pytest
import tensorflow as tf
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from served import Served
from testing import tiny_model

from keras_llm.export import to_saved_model
from keras_llm.export.server_files import ask_command, serve_command

config_pb2 = pytest.importorskip(
    "tensorflow_serving.config.model_server_config_pb2"
)
prediction_log_pb2 = pytest.importorskip(
    "tensorflow_serving.apis.prediction_log_pb2"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    (run / "recipe.yaml").write_text("description: of a test\n")
    (run / "evaluation").mkdir()
    report = {"test": {"loss": 3.25, "shards": [1, 2]}}
    (run / "evaluation" / "report.json").write_text(json.dumps(report))
    return run


@pytest.fixture(scope="module")
def version(tmp_path_factory, run):
    path = tmp_path_factory.mktemp("saved") / "our model"
    return to_saved_model(tiny_model("gru"), path, source=run / "preset")


def test_warm_up_requests_are_answered(version):
    file = version / "assets.extra" / "tf_serving_warmup_requests"
    served = Served(version)
    asked = []
    for record in tf.data.TFRecordDataset(str(file)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        assert request.model_spec.name == "our model"
        asked.append(request.model_spec.signature_name)
        inputs = {
            name: tf.make_ndarray(value)
            for name, value in request.inputs.items()
        }
        assert served.call(request.model_spec.signature_name, **inputs)
    names = ["serving_default", "generate", "score", "tokenize", "chat"]
    assert asked == names


def test_the_model_is_the_folder(version):
    text = (version.parent / "models.config").read_text()
    config = text_format.Parse(text, config_pb2.ModelServerConfig())
    [model] = config.model_config_list.config
    assert (model.name, model.base_path) == ("our model", "/models/our model")


# Of these the package has no protos: the fields that are used, as
# tensorflow_serving/servables/tensorflow/session_bundle_config.proto and
# tensorflow_serving/config/monitoring_config.proto have them.
SERVER_PROTOS = """
name: "server.proto" package: "test" syntax: "proto3"
dependency: "google/protobuf/wrappers.proto"
message_type {
  name: "BatchingParameters"
  field { name: "max_batch_size" number: 1 label: LABEL_OPTIONAL
          type_name: ".google.protobuf.Int64Value" }
  field { name: "batch_timeout_micros" number: 2 label: LABEL_OPTIONAL
          type_name: ".google.protobuf.Int64Value" }
  field { name: "max_enqueued_batches" number: 3 label: LABEL_OPTIONAL
          type_name: ".google.protobuf.Int64Value" }
  field { name: "num_batch_threads" number: 4 label: LABEL_OPTIONAL
          type_name: ".google.protobuf.Int64Value" }
}
message_type {
  name: "PrometheusConfig"
  field { name: "enable" number: 1 label: LABEL_OPTIONAL type: TYPE_BOOL }
  field { name: "path" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING }
}
message_type {
  name: "MonitoringConfig"
  field { name: "prometheus_config" number: 1 label: LABEL_OPTIONAL
          type_name: ".test.PrometheusConfig" }
}
"""


def parsed(file, message):
    """A configuration file, as the server reads it."""
    pool = descriptor_pool.DescriptorPool()
    for proto in (
        wrappers_pb2.DESCRIPTOR.serialized_pb,
        text_format.Parse(
            SERVER_PROTOS, descriptor_pb2.FileDescriptorProto()
        ).SerializeToString(),
    ):
        pool.AddSerializedFile(proto)
    descriptor = pool.FindMessageTypeByName(f"test.{message}")
    made = message_factory.GetMessageClass(descriptor)()
    return text_format.Parse(file.read_text(), made)


def test_batching_and_monitoring_are_what_the_server_reads(version):
    path = version.parent
    batching = parsed(path / "batching_parameters.txt", "BatchingParameters")
    rows = batching.max_batch_size.value
    assert rows == 16
    assert batching.batch_timeout_micros.value > 0
    assert batching.max_enqueued_batches.value > 0
    assert batching.num_batch_threads.value > 0
    readme = (path / "README.txt").read_text()
    assert f"at most {rows} rows" in readme
    monitoring = parsed(path / "monitoring.config", "MonitoringConfig")
    assert monitoring.prometheus_config.enable
    assert monitoring.prometheus_config.path in readme


def test_a_server_polls_numbers_only(version):
    names = {entry.name for entry in version.parent.iterdir()}
    assert names == {
        "1",
        "README.txt",
        "batching_parameters.txt",
        "models.config",
        "monitoring.config",
    }


def test_commands_have_absolute_paths_and_survive_a_shell(version):
    path = version.parent
    words = shlex.split(serve_command(path))
    assert words[:2] == ["docker", "run"]
    mount = f"type=bind,source={path},target=/models/our model,readonly"
    assert mount in words
    for word in words:
        if word.startswith("--") and "=/models/our model/" in word:
            assert (path / word.rsplit("/", 1)[1]).is_file()
    readme = (path / "README.txt").read_text()
    assert serve_command(path) in readme


def test_requests_in_row_form_have_every_input(version):
    served = Served(version).model
    readme = (version.parent / "README.txt").read_text()
    for name, function in served.signatures.items():
        words = shlex.split(ask_command(version.parent, name))
        assert "http://localhost:8501/v1/models/our%20model:predict" in words
        body = json.loads(words[-1])
        assert body.get("signature_name", "serving_default") == name
        [row] = body["instances"]
        inputs = set(function.structured_input_signature[1])
        if len(inputs) == 1:
            assert isinstance(row, str)
        else:
            assert set(row) == inputs
        assert ask_command(version.parent, name) in readme


def test_the_model_card_tells_of_the_run(version):
    card = (version / "assets.extra" / "model_card.md").read_text()
    for part in ("ScratchCausalLM", "of a test", '"loss": 3.25', "tempera"):
        assert part in card
    assert "shards" not in card
