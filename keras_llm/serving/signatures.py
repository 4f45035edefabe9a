"""Signatures of a SavedModel, here or on a server: arrays in, arrays out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from keras_llm.errors import InputError
from keras_llm.export.loading import import_tensorflow, loaded, version_folder
from keras_llm.serving.requests import Unavailable

SERVING = "tensorflow-serving://"
SECONDS = 60.0  # that a server has to answer


class Field(NamedTuple):
    """An input or output of a signature.

    Args:
        dtype: NumPy's name of it; `"string"` for text.
        rank: How many dimensions it has, the batch among them.
    """

    dtype: str
    rank: int


class Signature(NamedTuple):
    """What a signature takes and gives, by name."""

    inputs: dict[str, Field]
    outputs: dict[str, Field]


class Signatures(Protocol):
    """The signatures of one version of a model.

    Attributes:
        all: What there is, by name.
        version: Which version it is.
    """

    all: dict[str, Signature]
    version: str

    def run(
        self, name: str, arrays: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """What a signature gives.

        Raises:
            ValueError: The inputs are not those of the signature.
            Unavailable: The server cannot be asked.
        """


class LocalSignatures:
    """Concrete functions of TensorFlow.

    Args:
        functions: By the names of the signatures.
        version: Which version of the model they are of.
        owner: What they need to live.
    """

    def __init__(
        self, functions: Mapping[str, Callable], version: str, owner: Any
    ):
        self._functions, self._owner, self.version = functions, owner, version
        self.all = {
            name: Signature(
                _fields(_inputs(function)), _fields(function.structured_outputs)
            )
            for name, function in functions.items()
        }

    def run(
        self, name: str, arrays: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        tf = import_tensorflow()
        specs = _inputs(self._functions[name])
        try:
            tensors = {
                key: tf.constant(array.tolist(), specs[key].dtype, array.shape)
                for key, array in arrays.items()
            }
            found = self._functions[name](**tensors)
        except (tf.errors.OpError, TypeError) as error:
            message = getattr(error, "message", None) or str(error)
            raise ValueError(message.splitlines()[0]) from error
        return {key: value.numpy() for key, value in found.items()}


def saved_signatures(path: Path) -> LocalSignatures:
    """Those of a SavedModel, or of the newest version in a folder.

    Raises:
        InputError: No SavedModel, or one that cannot be read.
    """
    folder = version_folder(Path(path))
    model = loaded(folder)
    return LocalSignatures(model.signatures, folder.name, model)


def _inputs(function) -> dict:
    _, inputs = function.structured_input_signature
    if inputs:
        return inputs
    return {spec.name: spec for spec in function.structured_input_signature[0]}


def _fields(specs: Mapping[str, Any]) -> dict[str, Field]:
    return {
        name: Field(spec.dtype.name, len(spec.shape))
        for name, spec in specs.items()
    }


class RemoteSignatures:
    """Those of a model on a stock TensorFlow Serving, asked by gRPC.

    Args:
        address: `tensorflow-serving://HOST:PORT/NAME`.

    Raises:
        InputError: No such address.
        Unavailable: The server does not answer, or has no such model.
    """

    def __init__(self, address: str):
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        host, _, name = address.removeprefix(SERVING).partition("/")
        if not (host and name and ":" in host):
            raise InputError(
                f"{address} must be tensorflow-serving://HOST:PORT/NAME, such "
                "as tensorflow-serving://localhost:8500/served."
            )
        import grpc

        self._grpc, self._name, self._host = grpc, name, host
        channel = grpc.insecure_channel(
            host, [("grpc.max_receive_message_length", 2**26)]
        )
        service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._service = service
        self.version, self.all = self._metadata()

    def run(
        self, name: str, arrays: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        from tensorflow_serving.apis.predict_pb2 import PredictRequest

        tf = import_tensorflow()
        request = PredictRequest()
        request.model_spec.name = self._name
        request.model_spec.signature_name = name
        fields = self.all[name].inputs
        for key, array in arrays.items():
            proto = tf.make_tensor_proto(
                array.tolist(), tf.as_dtype(fields[key].dtype), array.shape
            )
            request.inputs[key].CopyFrom(proto)
        answer = self._ask(self._service.Predict, request)
        try:
            return {k: tf.make_ndarray(v) for k, v in answer.outputs.items()}
        except (TypeError, ValueError) as error:
            raise Unavailable(f"{self._host} answers garbage.") from error

    def newest(self) -> str:
        """The version that the server answers with now."""
        return self._metadata()[0]

    def _metadata(self) -> tuple[str, dict[str, Signature]]:
        from google.protobuf.message import DecodeError
        from tensorflow_serving.apis import get_model_metadata_pb2

        tf = import_tensorflow()
        request = get_model_metadata_pb2.GetModelMetadataRequest()
        request.model_spec.name = self._name
        request.metadata_field.append("signature_def")
        try:
            answer = self._ask(self._service.GetModelMetadata, request)
        except ValueError as error:
            raise Unavailable(f"{self._host} does not answer: {error}") from (
                error
            )
        found = get_model_metadata_pb2.SignatureDefMap()

        def fields(infos):
            return {
                name: Field(
                    tf.as_dtype(info.dtype).name, len(info.tensor_shape.dim)
                )
                for name, info in infos.items()
            }

        try:
            answer.metadata["signature_def"].Unpack(found)
            signatures = {
                name: Signature(fields(each.inputs), fields(each.outputs))
                for name, each in found.signature_def.items()
                if not name.startswith("__")
            }
        except (DecodeError, TypeError) as error:
            raise Unavailable(f"{self._host} answers garbage.") from error
        return str(answer.model_spec.version.value), signatures

    def _ask(self, method: Callable, request):
        try:
            return method(request, timeout=SECONDS)
        except self._grpc.RpcError as error:
            code, details = error.code(), (error.details() or "").strip()
            first_line = details.splitlines()[0] if details else code.name
            if code == self._grpc.StatusCode.INVALID_ARGUMENT:
                raise ValueError(first_line) from error
            raise Unavailable(
                f"TensorFlow Serving at {self._host} does not answer: "
                f"{first_line}"
            ) from error
