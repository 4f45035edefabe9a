"""Models in formats that others serve."""

from keras_llm.export.loading import is_saved_model, load_saved_model
from keras_llm.export.saved_model import to_saved_model

__all__ = ["is_saved_model", "load_saved_model", "to_saved_model"]
