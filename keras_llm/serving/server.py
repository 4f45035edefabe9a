"""Starts models and the HTTP server, and stops both in order."""

import logging
import socket
from pathlib import Path

import uvicorn

from keras_llm.errors import InputError
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.serving.app import ServerSettings, create_app
from keras_llm.serving.models import Models

LOCAL = ("127.0.0.1", "::1", "localhost")
MOST_CONNECTIONS = 1000
GRACE_SECONDS = 30


def serve(
    sources: dict[str, str | Path],
    generation: GenerationSettings,
    settings: ServerSettings,
    host: str = "127.0.0.1",
    port: int = 8000,
    announce=print,
) -> None:
    """Serves until it is told to stop.

    What is being answered then is finished, for half a minute at most.

    Args:
        sources: Where each model is, by the name that clients call it.
        generation: How tokens are chosen where a request does not say.
        settings: What is allowed.
        host: The address to listen on.
        port: The port; any free one if 0.
        announce: Told the server's address when it answers.

    Raises:
        InputError: The port is in use, or a model that cannot be loaded.
    """
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(format=form)
    logging.getLogger("keras_llm").setLevel(logging.INFO)
    listening = _listen(host, port)
    models = Models(sources, generation)
    try:
        config = uvicorn.Config(
            create_app(models, settings),
            log_level="warning",
            access_log=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            server_header=False,
        )
        host, port = listening.getsockname()[:2]
        announce(f"http://{host}:{port}")
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        models.close(0)
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    """A socket, taken before models are loaded."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise InputError(
            f"{host} port {port} cannot be listened on: {error.strerror}. "
            "Pass another --port, or 0 for any that is free."
        ) from error
    return listening


def is_open_to_others(host: str) -> bool:
    """Whether other machines can ask."""
    return host not in LOCAL
