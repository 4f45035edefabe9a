"""Models in formats that others serve."""

from keras_llm.lazy import from_homes

_HOMES = {
    "is_saved_model": "keras_llm.export.loading",
    "load_saved_model": "keras_llm.export.loading",
    "to_saved_model": "keras_llm.export.saved_model",
}

__all__ = sorted(_HOMES)

# Adapters are written without TensorFlow, which the rest imports.
__getattr__ = from_homes(__name__, _HOMES)
