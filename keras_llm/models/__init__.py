"""KerasHub models: backbone, causal language model and preprocessor."""

from keras_llm.models.adapters import (
    add_adapter,
    merge_adapter,
    set_adapter,
)
from keras_llm.models.backbone import ScratchBackbone
from keras_llm.models.build import build_model, save_preset
from keras_llm.models.causal_lm import ScratchCausalLM
from keras_llm.models.causal_lm_preprocessor import ScratchCausalLMPreprocessor
from keras_llm.models.loading import load_preset, load_task
from keras_llm.models.masked_lm import (
    ScratchMaskedLM,
    ScratchMaskedLMPreprocessor,
)
from keras_llm.models.text_classifier import (
    ScratchTextClassifier,
    ScratchTextClassifierPreprocessor,
)

__all__ = [
    "ScratchBackbone",
    "ScratchCausalLM",
    "ScratchCausalLMPreprocessor",
    "ScratchMaskedLM",
    "ScratchMaskedLMPreprocessor",
    "ScratchTextClassifier",
    "ScratchTextClassifierPreprocessor",
    "add_adapter",
    "build_model",
    "load_preset",
    "load_task",
    "merge_adapter",
    "save_preset",
    "set_adapter",
]
