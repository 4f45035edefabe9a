"""Cached decoding, sampling and streaming."""

from keras_llm.lazy import from_homes

_HOMES = {
    "Generation": "keras_llm.generation.answers",
    "TextGenerator": "keras_llm.generation.text",
}

__all__ = sorted(_HOMES)

# A conversation with a server does without KerasHub, and its seconds.
__getattr__ = from_homes(__name__, _HOMES)
