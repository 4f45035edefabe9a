"""Cached decoding, sampling and streaming."""

import importlib

_HOMES = {
    "Generation": "keras_llm.generation.answers",
    "TextGenerator": "keras_llm.generation.text",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    # A conversation with a server does without KerasHub, and its seconds.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
