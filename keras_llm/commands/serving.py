"""`keras-llm serve`."""

import importlib.util
import os
import re
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from rich.console import Console

from keras_llm.commands.command import KEY, PRESET, Command
from keras_llm.errors import InputError
from keras_llm.recipes.checks import check

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def serve(values: Namespace, console: Console) -> dict[str, Any]:
    """Says where the server is; returns when it was stopped."""
    for package in ("fastapi", "uvicorn", "prometheus_client"):
        if importlib.util.find_spec(package) is None:
            raise InputError(
                "A server needs FastAPI, uvicorn and prometheus-client. "
                "Install them with `pip install 'keras-llm[serve]'`."
            )
    from keras_llm.serving.app import ServerSettings
    from keras_llm.serving.completions import Limits
    from keras_llm.serving.server import is_open_to_others, serve

    sources = _sources(values)
    key = os.environ.get(KEY) or None
    if is_open_to_others(values.host) and key is None:
        console.print(
            f"! {values.host} is open to other machines, and no key is asked "
            f"for. Set {KEY} to one."
        )
    for option in ("max_tokens", "seconds"):
        value = getattr(values, option)
        check(value > 0, f"--{option}", "above 0", value)
    limits = Limits(values.max_tokens, values.seconds)

    def announce(url: str) -> None:
        console.print(
            f"{', '.join(sources)}: {url} (API: {url}/v1). Ctrl-C stops it.",
            markup=False,
            highlight=False,
        )

    serve(
        sources,
        values.recipe.generation,
        ServerSettings(key=key, feedback=values.feedback, limits=limits),
        values.host,
        values.port,
        announce,
    )
    return {"stopped": True}


def _sources(values: Namespace) -> dict[str, str]:
    """Where each model is, by name."""
    sources = {}
    given = [values.model] if values.model else []
    for source in [*given, *(values.models or [])]:
        name, equals, path = source.partition("=")
        if not equals or Path(source).exists():
            name, path = _name_of(source), source
        if not NAME.fullmatch(name):
            raise InputError(
                "A model's name must be of letters, digits, dots, dashes and "
                f"underscores. Received: {name!r}. Pass --models NAME={path}."
            )
        if name in sources:
            raise InputError(
                f"{name} is the name of two models. Pass --models NAME=PATH."
            )
        sources[name] = path
    if not sources:
        raise InputError("MODEL must be given, or --models NAME=PATH.")
    return sources


def _name_of(source: str) -> str:
    """The last part of a path or address that says something."""
    path = Path(source)
    if path.name == "preset":
        path = path.absolute().parent
    return path.name or "model"


COMMANDS = {
    "serve": Command(
        serve,
        "Serves models: an API that OpenAI's clients speak to, and a page.",
        [("model", str | None, PRESET)],
        {
            "--models": {
                "nargs": "+",
                "metavar": "NAME=PATH",
                "help": "More models, by the names that clients call them.",
            },
            "--host": {
                "default": "127.0.0.1",
                "help": "The address to listen on; 0.0.0.0 for all, with a "
                f"key in {KEY}.",
            },
            "--port": {
                "type": int,
                "default": 8000,
                "help": "The port; 0 for any that is free.",
            },
            "--feedback": {
                "type": Path | None,
                "metavar": "FILE",
                "default": Path("feedback.jsonl"),
                "help": "Where corrections and thumbs are written.",
            },
            "--max_tokens": {
                "type": int,
                "default": 4096,
                "help": "Most tokens of an answer.",
            },
            "--seconds": {
                "type": float,
                "default": 600.0,
                "help": "How long a request may take, waiting included.",
            },
        },
        ["generation"],
    ),
}
