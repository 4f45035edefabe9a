"""The HTTP server's routes. Starts no model and no server."""

import hmac
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from keras_llm import __version__
from keras_llm.serving.completions import Limits, completion_routes
from keras_llm.serving.feedback import feedback_routes
from keras_llm.serving.http_errors import add_error_handlers, error_body
from keras_llm.serving.model_routes import (
    embedding_routes,
    look_routes,
    model_routes,
)
from keras_llm.serving.models import Models
from keras_llm.serving.predict import predict_routes

MOST_BODY = 2**23  # bytes
OPEN_PATHS = ("/healthz", "/readyz")
STATIC = Path(str(files("keras_llm.serving"))) / "static"
# Nothing from elsewhere, and no script or style that is not a file of ours.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' "
    "data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


@dataclass(frozen=True)
class ServerSettings:
    """What a server allows.

    Args:
        key: A bearer token that requests must have; none if omitted.
        feedback: The file that feedback is appended to; none is taken if
            omitted.
        limits: What a request may take.
        most_body: Bytes of a request at most.
    """

    key: str | None = None
    feedback: Path | None = None
    limits: Limits = field(default_factory=Limits)
    most_body: int = MOST_BODY


def create_app(models: Models, settings: ServerSettings) -> FastAPI:
    """The app of a server.

    Args:
        models: What answers.
        settings: What is allowed.
    """
    app = FastAPI(
        title="keras_llm",
        version=__version__,
        docs_url=None,
        redoc_url=None,
    )
    add_error_handlers(app)
    app.include_router(completion_routes(models, settings.limits))
    app.include_router(model_routes(models))
    app.include_router(embedding_routes(models))
    app.include_router(look_routes(models))
    app.include_router(predict_routes(models))
    app.include_router(health_routes(models))
    app.include_router(feedback_routes(settings.feedback))
    _add_metrics(app, models)
    if STATIC.is_dir():
        app.mount("/", StaticFiles(directory=STATIC, html=True), name="page")
    _add_guard(app, settings)
    return app


def health_routes(models: Models) -> APIRouter:
    """Whether the server lives, and whether it answers."""
    router = APIRouter(tags=["Health"])

    @router.get("/healthz")
    def healthz():
        return {"status": "ok"}

    @router.get("/readyz")
    def readyz():
        is_open = all(served.worker.is_open for served in models.all)
        status = 200 if is_open else 503
        return JSONResponse({"ready": is_open}, status)

    return router


def _add_metrics(app: FastAPI, models: Models) -> None:
    registry = CollectorRegistry()
    requests = Counter(
        "keras_llm_requests",
        "Requests by path and status.",
        ["path", "status"],
        registry=registry,
    )
    seconds = Histogram(
        "keras_llm_request_seconds",
        "Until the first byte of the answer.",
        ["path"],
        registry=registry,
    )
    waiting = Gauge(
        "keras_llm_waiting",
        "Requests that wait.",
        ["model"],
        registry=registry,
    )
    running = Gauge(
        "keras_llm_running",
        "Requests that are answered.",
        ["model"],
        registry=registry,
    )

    @app.get("/metrics", tags=["Health"])
    def metrics():
        """Figures for Prometheus."""
        for served in models.all:
            worker = served.worker
            waiting.labels(served.name).set(worker.num_waiting)
            running.labels(served.name).set(len(worker.admitted()))
        return PlainTextResponse(generate_latest(registry))

    @app.middleware("http")
    async def count(request: HttpRequest, call_next: Callable):
        begin = time.perf_counter()
        response = await call_next(request)
        route = request.scope.get("route")
        path = getattr(route, "path", "other")
        requests.labels(path, response.status_code).inc()
        seconds.labels(path).observe(time.perf_counter() - begin)
        return response


def _add_guard(app: FastAPI, settings: ServerSettings) -> None:
    """Refuses what is too large, has no key or is from another origin."""

    def refusal(request: HttpRequest) -> Response | None:
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > settings.most_body:
            message = f"The body must have at most {settings.most_body} bytes."
            return JSONResponse(error_body(message, 413), 413)
        if _is_chunked(request):
            message = "The body must come with its Content-Length."
            return JSONResponse(error_body(message, 411), 411)
        if not _is_same_origin(request):
            message = "A page of another origin may not ask here."
            return JSONResponse(error_body(message, 403), 403)
        if settings.key and not _has_key(request, settings.key):
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
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return response


def _take_for_json(request: HttpRequest) -> None:
    """Bodies are JSON, whatever they say: `curl -d` says that of a form."""
    others = [x for x in request.scope["headers"] if x[0] != b"content-type"]
    kind = (b"content-type", b"application/json")
    request.scope["headers"] = [*others, kind]


def _is_chunked(request: HttpRequest) -> bool:
    return "transfer-encoding" in request.headers


def _is_same_origin(request: HttpRequest) -> bool:
    """Whether no browser says that another page asks."""
    origin = request.headers.get("origin")
    if origin is None:
        site = request.headers.get("sec-fetch-site", "none")
        return request.method == "GET" or site in ("none", "same-origin")
    return origin.partition("://")[2] == request.headers.get("host")


def _has_key(request: HttpRequest, key: str) -> bool:
    path = request.url.path
    is_page = request.method == "GET" and not path.startswith("/v1")
    if path in OPEN_PATHS or (is_page and path != "/metrics"):
        return True
    given = request.headers.get("authorization", "")
    scheme, _, token = given.partition(" ")
    matches = hmac.compare_digest(token.strip().encode(), key.encode())
    return scheme.lower() == "bearer" and matches
