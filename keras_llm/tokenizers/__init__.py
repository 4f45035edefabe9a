"""Text to token ids and back, exactly. Knows nothing of models."""

from keras_llm.tokenizers.scratch_tokenizer import ScratchTokenizer
from keras_llm.tokenizers.training import TokenizerReport, train_tokenizer

__all__ = ["ScratchTokenizer", "TokenizerReport", "train_tokenizer"]
