"""Models in formats that others serve."""

from keras_llm.export.loading import load_saved_model
from keras_llm.export.saved_model import to_saved_model

__all__ = ["load_saved_model", "to_saved_model"]
