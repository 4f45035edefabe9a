"""Models in formats that others serve."""

import importlib

_HOMES = {
    "is_saved_model": "keras_llm.export.loading",
    "load_saved_model": "keras_llm.export.loading",
    "to_saved_model": "keras_llm.export.saved_model",
}

__all__ = sorted(_HOMES)


# Adapters are written without TensorFlow, which the rest imports.
def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
