"""Starts models and the HTTP server, and stops both in order."""

import logging
import socket
import threading
from dataclasses import replace
from pathlib import Path

import uvicorn

from keras_llm.errors import InputError
from keras_llm.recipes.settings import GenerationSettings
from keras_llm.serving.app import ServerSettings, create_app
from keras_llm.serving.models import Models
from keras_llm.serving.patience import MOST_HEAD, PatientProtocol

LOCAL = ("127.0.0.1", "::1", "localhost")
# How uvicorn treats connections.
CONNECTIONS = {
    "http": PatientProtocol,
    "h11_max_incomplete_event_size": MOST_HEAD,
    "limit_concurrency": 1000,
    "server_header": False,
}
GRACE_SECONDS = 30
LAST_SECONDS = 5  # that clients have to read how it ended


class Server(uvicorn.Server):
    """Ends in order when it is told to, and then returns.

    uvicorn's own dies of the signal when it is done, and breaks off what takes
    too long; here models end it, so that clients are told.

    Args:
        config: uvicorn's.
        models: What answers.
    """

    def __init__(self, config: uvicorn.Config, models: Models):
        super().__init__(config)
        self._models = models

    def handle_exit(self, sig: int, frame) -> None:
        """Finishes what is being answered; the second time, at once."""
        seconds = 0 if self.should_exit else GRACE_SECONDS
        self.should_exit = True
        threading.Thread(
            target=self._models.close, args=(seconds,), daemon=True
        ).start()


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
    if settings.key is None and not is_open_to_others(host):
        settings = replace(settings, hosts=frozenset({*LOCAL, host}))
    listening = _listen(host, port)
    models = Models(sources, generation)
    try:
        config = uvicorn.Config(
            create_app(models, settings),
            log_level="warning",
            access_log=False,
            **CONNECTIONS,
            timeout_graceful_shutdown=GRACE_SECONDS + LAST_SECONDS,
        )
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        announce(f"http://{shown}:{port}")
        Server(config, models).run(sockets=[listening])
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
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{host} port {port} cannot be listened on: {reason}. "
            "Pass another --port, or 0 for any that is free."
        ) from error
    return listening


def is_open_to_others(host: str) -> bool:
    """Whether other machines can ask."""
    return host not in LOCAL
