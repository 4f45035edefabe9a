"""The HTTP server's routes. Starts no model and no server."""

import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, PlainTextResponse
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
from keras_llm.serving.guard import add_guard
from keras_llm.serving.http_errors import add_error_handlers
from keras_llm.serving.model_routes import (
    embedding_routes,
    look_routes,
    model_routes,
)
from keras_llm.serving.models import Models
from keras_llm.serving.predict import predict_routes

MOST_BODY = 2**23  # bytes
STATIC = Path(str(files("keras_llm.serving"))) / "static"


@dataclass(frozen=True)
class ServerSettings:
    """What a server allows.

    Args:
        key: A bearer token that requests must have; none if omitted.
        hosts: Names that the server may be called by; any if omitted.
        feedback: The file that feedback is appended to; none is taken if
            omitted.
        limits: What a request may take.
        most_body: Bytes of a request at most.
    """

    _: KW_ONLY
    key: str | None = None
    hosts: frozenset[str] | None = None
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
    add_guard(app, settings.key, settings.hosts, settings.most_body)
    return app


def health_routes(models: Models) -> APIRouter:
    """Whether the server lives, and whether it answers."""
    router = APIRouter(tags=["Health"])

    # Not in a thread: all of them may be waiting for models.
    @router.get("/healthz")
    async def healthz():
        return {"status": "ok"}

    @router.get("/readyz")
    async def readyz():
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
    async def metrics():
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
