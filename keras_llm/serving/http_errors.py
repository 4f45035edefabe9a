"""Errors as OpenAI's clients read them."""

import logging
import re
import reprlib
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from keras_llm.errors import InputError
from keras_llm.serving.requests import Busy, Closed, Unavailable

log = logging.getLogger(__name__)
FIELD = r"(?!(body|str|int)$)[a-z_]{1,40}|\d{1,10}"
UNREADABLE = "The body must be JSON: numbers and nesting within reason."
# Of a value that was received: however deep or long it is, a little is shown.
SHOWN = reprlib.Repr()
SHOWN.maxstring = SHOWN.maxother = SHOWN.maxlong = 200


class ApiError(Exception):
    """A request that is answered with an error.

    Args:
        message: What was expected, what came, what to do.
        param: Name of the field.
        status: HTTP's.
        code: A word for programs.
        headers: More of them.
    """

    def __init__(
        self,
        message: str,
        param: str | None = None,
        status: int = 400,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.headers = status, headers
        self.body = error_body(message, status, param, code)


def error_body(
    message: str,
    status: int,
    param: str | None = None,
    code: str | None = None,
) -> dict[str, Any]:
    """The body of an error, in OpenAI's shape."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    kind = "rate_limit_error" if status == 429 else kind
    error = {"message": message, "type": kind, "param": param, "code": code}
    return {"error": error}


def as_api_error(error: Exception) -> ApiError:
    """What a client is told of an error of the engine."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Busy):
        after = {"Retry-After": str(error.retry_after)}
        return ApiError(str(error), None, 429, "server_busy", after)
    if isinstance(error, Closed):
        return ApiError(str(error), None, 503, "shutting_down")
    if isinstance(error, Unavailable):
        return ApiError(str(error), None, 503, "unavailable")
    if isinstance(error, TimeoutError):
        return ApiError(str(error), None, 504, "timeout")
    if isinstance(error, InputError):
        return ApiError(str(error))
    log.error("unexpected", exc_info=error)
    return ApiError("The server failed.", None, 500, "server_error")


def add_error_handlers(app: FastAPI) -> None:
    """Every error of an app in one shape."""

    async def known(request: Request, error: Exception):
        found = as_api_error(error)
        return JSONResponse(found.body, found.status, found.headers)

    kinds = (ApiError, InputError, Busy, Closed, TimeoutError, Unavailable)
    for kind in (*kinds, Exception):
        app.add_exception_handler(kind, known)

    @app.exception_handler(RequestValidationError)
    async def of_a_field(request: Request, error: RequestValidationError):
        message, param = _first_fault(error)
        return JSONResponse(error_body(message, 400, param), 400)

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException):
        message = str(error.detail)
        if error.status_code in (404, 405):
            message = (
                f"{request.method} {request.url.path} is not here. What is, "
                "stands in /openapi.json."
            )
        if error.status_code == 400:
            message = UNREADABLE
        body = error_body(message, error.status_code)
        return JSONResponse(body, error.status_code, error.headers)


def _first_fault(error: RequestValidationError) -> tuple[str, str | None]:
    fault = error.errors()[0]
    # Beside names of fields and numbers there are those of types.
    places = [str(x) for x in fault["loc"] if re.fullmatch(FIELD, str(x))]
    param = ".".join(places) or None
    if fault["type"] == "json_invalid":
        reason = fault.get("ctx", {}).get("error", "it cannot be read")
        return f"The body must be JSON: {reason}.", None
    if fault["type"] == "extra_forbidden":
        name = param or SHOWN.repr(fault["loc"][-1])
        return f"{name} is not known here. Leave it out.", param
    shown = SHOWN.repr(fault.get("input"))
    name = param or "The body"
    return f"{name}: {fault['msg']}. Received: {shown}", param
