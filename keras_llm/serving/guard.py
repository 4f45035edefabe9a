"""Refuses requests by what stands in their head, before any route.

Knows nothing of models.
"""

import hmac
from collections.abc import Awaitable, Callable

from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, Response

from keras_llm.serving.http_errors import error_body

OPEN_PATHS = ("/healthz", "/readyz")
# Nothing from elsewhere, and no script or style that is not a file of ours.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' "
    "data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Or a browser keeps files of the page beside newer ones.
    "Cache-Control": "no-cache",
}


def add_guard(
    app: FastAPI,
    key: str | None,
    hosts: frozenset[str] | None,
    most_body: int,
) -> None:
    """Refuses what is too large, has no key or comes by another site.

    Args:
        app: What is guarded.
        key: A bearer token that requests must have; none if omitted.
        hosts: Names that the server may be called by; any if omitted.
        most_body: Bytes of a request at most.
    """

    def refusal(request: HttpRequest) -> Response | None:
        length = request.headers.get("content-length", "0")
        if not _is_at_most(length, most_body):
            message = f"The body must have at most {most_body} bytes."
            return JSONResponse(error_body(message, 413), 413)
        if "transfer-encoding" in request.headers:
            message = "The body must come with its Content-Length."
            return JSONResponse(error_body(message, 411), 411)
        if hosts is not None and not _is_called(request, hosts):
            message = (
                "Without a key this server answers by its own name only: "
                f"{', '.join(sorted(hosts))}. Start it with a key, or with "
                "the --host that it is called by."
            )
            return JSONResponse(error_body(message, 403, "Host"), 403)
        if not _is_same_origin(request):
            message = "A page of another origin may not ask here."
            return JSONResponse(error_body(message, 403), 403)
        if key and not _has_key(request, key):
            message = (
                "A key must be given: Authorization: Bearer KEY, the one that "
                "the server was started with."
            )
            body = error_body(message, 401, None, "invalid_api_key")
            return JSONResponse(body, 401, {"WWW-Authenticate": "Bearer"})
        return None

    @app.middleware("http")
    async def guard(
        request: HttpRequest, call_next: Callable[..., Awaitable[Response]]
    ):
        _take_for_json(request)
        response = refusal(request) or await call_next(request)
        response.headers.update(HEADERS)
        return response


def _take_for_json(request: HttpRequest) -> None:
    """Bodies are JSON, whatever they say: `curl -d` says that of a form."""
    others = [x for x in request.scope["headers"] if x[0] != b"content-type"]
    kind = (b"content-type", b"application/json")
    request.scope["headers"] = [*others, kind]


def _is_at_most(length: str, most: int) -> bool:
    """Whether it is a number of a few digits, and not above another."""
    return length.isdecimal() and len(length) < 20 and int(length) <= most


def _is_called(request: HttpRequest, hosts: frozenset[str]) -> bool:
    """Whether a browser was led here by one of our names.

    Any site can give its own name our address, and its pages are of the same
    origin as we then.
    """
    host = request.headers.get("host", "").lower()
    name, colon, port = host.rpartition(":")
    name = name if colon and "]" not in port else host
    return not host or name.strip("[]") in hosts


def _is_same_origin(request: HttpRequest) -> bool:
    """Whether no browser says that another page asks."""
    origin = request.headers.get("origin")
    if origin is None:
        site = request.headers.get("sec-fetch-site", "none")
        return request.method == "GET" or site in ("none", "same-origin")
    return origin.partition("://")[2] == request.headers.get("host")


def _has_key(request: HttpRequest, key: str) -> bool:
    path = request.scope["path"]
    is_page = request.method == "GET" and not path.startswith("/v1")
    if path in OPEN_PATHS or (is_page and path != "/metrics"):
        return True
    given = request.headers.get("authorization", "")
    scheme, _, token = given.partition(" ")
    # Headers are read as Latin-1, the environment as UTF-8 or whatever it is.
    token = token.strip().encode("latin-1")
    matches = hmac.compare_digest(token, key.encode("utf-8", "surrogateescape"))
    return scheme.lower() == "bearer" and matches
