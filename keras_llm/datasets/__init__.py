"""Documents to token shards to batches. Knows nothing of models."""

from keras_llm.datasets.batches import Batches
from keras_llm.datasets.pipeline import dataset
from keras_llm.datasets.streams import EvaluationStreams, TrainingStreams
from keras_llm.datasets.tokens import TokenManifest, Tokens, open_tokens
from keras_llm.datasets.windows import EvaluationWindows, TrainingWindows
from keras_llm.lazy import from_homes

__all__ = [
    "Batches",
    "EvaluationStreams",
    "EvaluationWindows",
    "TokenManifest",
    "Tokens",
    "TrainingStreams",
    "TrainingWindows",
    "dataset",
    "encode",
    "open_tokens",
]

# datatrove, which encodes in many processes, takes over loguru.
__getattr__ = from_homes(__name__, {"encode": "keras_llm.datasets.encoding"})
