"""Cached decoding, sampling and streaming."""

from keras_llm.generation.text import Generation, TextGenerator

__all__ = ["Generation", "TextGenerator"]
