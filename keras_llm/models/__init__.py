"""KerasHub models: backbone, causal language model and preprocessor."""

from keras_llm.models.backbone import ScratchBackbone
from keras_llm.models.build import build_model, load_preset, save_preset
from keras_llm.models.causal_lm import ScratchCausalLM
from keras_llm.models.causal_lm_preprocessor import ScratchCausalLMPreprocessor
from keras_llm.models.recurrent_language_model import recurrent_language_model

__all__ = [
    "ScratchBackbone",
    "ScratchCausalLM",
    "ScratchCausalLMPreprocessor",
    "build_model",
    "load_preset",
    "recurrent_language_model",
    "save_preset",
]
