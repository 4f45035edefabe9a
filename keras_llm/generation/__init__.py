"""Cached decoding, sampling and streaming."""

from keras_llm.generation.answers import Generation
from keras_llm.generation.text import TextGenerator

__all__ = ["Generation", "TextGenerator"]
