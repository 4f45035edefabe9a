"""`/v1/models/NAME:predict`, JSON for JSON as TensorFlow Serving's REST.

https://www.tensorflow.org/tfx/serving/api_rest
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from fastapi import APIRouter
from fastapi import Request as HttpRequest
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from keras_llm.serving.http_errors import ApiError
from keras_llm.serving.models import Models
from keras_llm.serving.signatures import Field, Signature, Unavailable

DEFAULT = "serving_default"
MOST_ROWS = 1024
UNEVEN = "must have lists of the same depth and length"
MOST_SHOWN = 1000  # characters of an error
NUMBERS = {"int32": np.int32, "int64": np.int64, "float32": np.float32}


class Refused(Exception):
    """A request that the real server refuses, too."""


def predict_routes(models: Models) -> APIRouter:
    """The routes, whose errors are in TensorFlow Serving's form."""
    router = APIRouter(tags=["TensorFlow Serving"])

    @router.post("/v1/models/{name}:predict")
    @router.post("/v1/models/{name}/versions/{version}:predict")
    async def predict(http: HttpRequest, name: str, version: str | None = None):
        """What a signature answers to rows (`instances`) or `inputs`."""
        try:
            signatures = await run_in_threadpool(
                _signatures_of, models, name, version
            )
            body = await _json_of(http)
            answer = await run_in_threadpool(_answer, signatures, body)
        except Refused as error:
            return _error(str(error), 400)
        except ApiError as error:
            return _error(error.body["error"]["message"], error.status)
        except Unavailable as error:
            return _error(str(error), 503)
        return Answer(answer)

    return router


class Answer(JSONResponse):
    """JSON in which numbers may be NaN and Infinity, as the server has them."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False).encode()


def _error(message: str, status: int) -> JSONResponse:
    """An error that may show halves of characters, which a body can have."""
    shown = message[:MOST_SHOWN].encode("utf-8", "replace").decode()
    return JSONResponse({"error": shown}, status)


def _signatures_of(models: Models, name: str, version: str | None):
    served = models.get(name)
    if version is not None and version != served.version:
        raise ApiError(
            f"Servable not found for request: Specific({name}, {version})",
            status=404,
        )
    return served.signatures


async def _json_of(http: HttpRequest) -> Mapping[str, Any]:
    try:
        body = await http.json()
    except (ValueError, RecursionError) as error:
        raise Refused(f"JSON Parse error: {error}") from error
    if not isinstance(body, Mapping):
        raise Refused("JSON Value: must be an object")
    return body


def _answer(signatures, body: Mapping[str, Any]) -> dict[str, Any]:
    name = body.get("signature_name", DEFAULT)
    if not isinstance(name, str):
        raise Refused("'signature_name' key must be a string value.")
    if name not in signatures.all:
        raise Refused(f'Serving signature name: "{name}" not found')
    signature = signatures.all[name]
    unknown = {*body} - {"signature_name", "instances", "inputs"}
    if unknown or ("instances" in body) == ("inputs" in body):
        raise Refused(
            "JSON Value: must have one of the keys 'instances' and 'inputs', "
            f"and 'signature_name'. Received: {', '.join(map(str, body))}"
        )
    by_rows = "instances" in body
    if by_rows:
        columns = _columns_of_rows(body["instances"], signature)
    else:
        columns = _columns_of_inputs(body["inputs"], signature)
    arrays = {
        key: _array(key, value, signature.inputs[key])
        for key, value in columns.items()
    }
    rows = {len(array) for array in arrays.values() if array.ndim}
    if len(rows) > 1:
        raise Refused("'inputs' must have as many rows of each")
    try:
        outputs = signatures.run(name, arrays)
    except ValueError as error:
        raise Refused(str(error)) from error
    try:
        return _rows_of(outputs) if by_rows else _columns_of(outputs)
    except (AttributeError, TypeError, ValueError) as error:
        raise Unavailable(f"The signature {name} gives garbage.") from error


def _columns_of_rows(rows: Any, signature: Signature) -> dict[str, list]:
    names = list(signature.inputs)
    if not isinstance(rows, list) or not rows:
        raise Refused("Request: 'instances' must be a list of at least one row")
    if not all(_is_named(row) for row in rows):
        if len(names) != 1:
            raise Refused(
                "Request: each row must be an object with the keys "
                f"{', '.join(names)}"
            )
        return {names[0]: rows}
    for number, row in enumerate(rows):
        if {*row} != {*names}:
            raise Refused(
                f"Request: row {number} must have the keys "
                f"{', '.join(names)}. Received: {', '.join(row)}"
            )
    return {name: [row[name] for row in rows] for name in names}


def _columns_of_inputs(inputs: Any, signature: Signature) -> dict[str, Any]:
    names = list(signature.inputs)
    if not _is_named(inputs):
        if len(names) != 1:
            raise Refused(
                "Request: 'inputs' must be an object with the keys "
                f"{', '.join(names)}"
            )
        return {names[0]: inputs}
    if {*inputs} != {*names}:
        raise Refused(
            f"Request: 'inputs' must have the keys {', '.join(names)}. "
            f"Received: {', '.join(inputs)}"
        )
    return dict(inputs)


def _is_named(value: Any) -> bool:
    """Whether it is an object with names, and not one string as base64."""
    return isinstance(value, Mapping) and {*value} != {"b64"}


def _array(name: str, value: Any, field: Field) -> np.ndarray:
    if field.dtype == "string":
        array = _texts(name, value)
    else:
        array = _numbers(name, value, field.dtype)
    if array.ndim != field.rank:
        raise Refused(
            f"Input {name} must have {field.rank} dimensions. Received: "
            f"{array.ndim}"
        )
    if array.dtype == object and any(type(x) is list for x in array.flat):
        raise Refused(f"Input {name} {UNEVEN}")
    if array.ndim and len(array) > MOST_ROWS:
        raise Refused(
            f"Input {name} must have at most {MOST_ROWS} rows. Received: "
            f"{len(array)}"
        )
    return array


def _numbers(name: str, value: Any, dtype: str) -> np.ndarray:
    message = f"Input {name} must be of {dtype}: numbers, as many in each row"
    try:
        array = np.array(value)
        if array.dtype.kind not in "iuf" or (
            dtype.startswith("int") and array.dtype.kind == "f"
        ):
            raise Refused(message)
        with np.errstate(over="ignore"):  # as infinite as the server has it
            cast = array.astype(NUMBERS[dtype])
    except (ValueError, TypeError, OverflowError) as error:
        raise Refused(message) from error
    if dtype.startswith("int") and not np.array_equal(cast, array):
        raise Refused(message)
    return cast


def _texts(name: str, value: Any) -> np.ndarray:
    try:
        return np.array(_bytes_of(name, value), object)
    except (ValueError, RecursionError) as error:
        raise Refused(f"Input {name} {UNEVEN}") from error


def _bytes_of(name: str, value: Any) -> Any:
    """Nested lists of bytes."""
    if isinstance(value, list):
        return [_bytes_of(name, each) for each in value]
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, Mapping) and {*value} == {"b64"}:
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise Refused(f"Input {name} has base64 that is none") from error
    raise Refused(f"Input {name} must be of strings")


def _rows_of(outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    columns = {name: _plain(array) for name, array in outputs.items()}
    if len(columns) == 1:
        [rows] = columns.values()
        return {"predictions": rows}
    names = list(columns)
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(names, row, strict=True)) for row in rows]}


def _columns_of(outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    columns = {name: _plain(array) for name, array in outputs.items()}
    if len(columns) == 1:
        [columns] = columns.values()
    return {"outputs": columns}


def _plain(array: np.ndarray) -> Any:
    def text(value):
        if isinstance(value, list):
            return [text(each) for each in value]
        return value.decode("utf-8", "replace")

    if array.dtype == object or array.dtype.kind == "S":
        return text(array.tolist())
    return array.tolist()
