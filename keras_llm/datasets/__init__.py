"""Documents to token shards to batches. Knows nothing of models."""

from keras_llm.datasets.batches import Batches
from keras_llm.datasets.pipeline import dataset
from keras_llm.datasets.tokens import TokenManifest, Tokens, open_tokens
from keras_llm.datasets.windows import EvaluationWindows, TrainingWindows

__all__ = [
    "Batches",
    "EvaluationWindows",
    "TokenManifest",
    "Tokens",
    "TrainingWindows",
    "dataset",
    "encode",
    "open_tokens",
]


def __getattr__(name: str):
    # datatrove, which encodes in many processes, takes over loguru.
    if name != "encode":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from keras_llm.datasets.encoding import encode

    return encode
