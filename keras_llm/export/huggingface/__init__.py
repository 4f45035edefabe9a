"""Models of Hugging Face, both ways: safetensors only, never pickle."""

from keras_llm.export.huggingface.adapters import (
    load_adapter,
    save_adapter,
)
from keras_llm.export.huggingface.exporting import to_hugging_face
from keras_llm.export.huggingface.importing import from_hugging_face
from keras_llm.export.huggingface.llama2c import from_llama2c

__all__ = [
    "from_hugging_face",
    "from_llama2c",
    "load_adapter",
    "save_adapter",
    "to_hugging_face",
]
