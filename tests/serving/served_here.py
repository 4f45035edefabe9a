"""The real app over tiny models, in this process: by calls, or on a port."""

import threading
import time
from contextlib import contextmanager

import uvicorn
from fastapi.testclient import TestClient
from testing import tiny_model

from keras_llm.recipes.settings import GenerationSettings
from keras_llm.serving.app import ServerSettings, create_app
from keras_llm.serving.engine import Engine
from keras_llm.serving.models import Models
from keras_llm.serving.served import TokenModel
from keras_llm.serving.server import CONNECTIONS

SETTINGS = GenerationSettings(max_new_tokens=16)


def tiny_served(name, version="1", block_types=("gru", "attention")):
    """A version of a model that has not learned anything."""
    model = tiny_model(list(block_types), max_sequence_length=128)
    return TokenModel(name, version, Engine(model), SETTINGS)


@contextmanager
def models_of(*names, open=None):
    """Served models of these names, until the block ends."""

    def opened(name, source, settings):
        return tiny_served(name)

    models = Models({name: name for name in names}, SETTINGS, open or opened)
    try:
        yield models
    finally:
        models.close(0)


def client_of(models, **settings):
    """Calls of the app, without a port; its errors are answers."""
    app = create_app(models, ServerSettings(**settings))
    return TestClient(app, raise_server_exceptions=False)


@contextmanager
def on_a_port(models, **settings):
    """The address of the server, until the block ends."""
    app = create_app(models, ServerSettings(**settings))
    # Logging as it is: a handler of uvicorn's would hold a test's stream.
    config = uvicorn.Config(app, port=0, log_config=None, **CONNECTIONS)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    [listening] = server.servers[0].sockets[:1]
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
