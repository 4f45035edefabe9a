"""Text to token ids and back, exactly. Knows nothing of models."""

from keras_llm.lazy import from_homes

_HOMES = {
    "ScratchBytePairTokenizer": (
        "keras_llm.tokenizers.scratch_byte_pair_tokenizer"
    ),
    "ScratchTokenizer": "keras_llm.tokenizers.scratch_tokenizer",
    "TokenizerReport": "keras_llm.tokenizers.training",
    "train_tokenizer": "keras_llm.tokenizers.training",
}

__all__ = sorted(_HOMES)

# The processes that encode text do without KerasHub, and its seconds.
__getattr__ = from_homes(__name__, _HOMES)
