"""From a folder of text to a language model that answers, in Keras.

Importing the package registers its classes with Keras, so that
`keras_hub.models.CausalLM.from_preset` knows them.
"""

import os
import sys

from keras_llm.lazy import from_homes
from keras_llm.quiet import import_triton

__version__ = "0.1.0"

_HOMES = {
    "ScratchBackbone": "keras_llm.models",
    "ScratchCausalLM": "keras_llm.models",
    "ScratchCausalLMPreprocessor": "keras_llm.models",
    "ScratchMaskedLM": "keras_llm.models",
    "ScratchMaskedLMPreprocessor": "keras_llm.models",
    "ScratchTextClassifier": "keras_llm.models",
    "ScratchTextClassifierPreprocessor": "keras_llm.models",
    "ScratchTokenizer": "keras_llm.tokenizers",
    "TextGenerator": "keras_llm.generation",
    "add_adapter": "keras_llm.models",
    "improve": "keras_llm.workflow",
    "load_adapter": "keras_llm.export.huggingface",
    "load_preset": "keras_llm.models",
    "load_recipe": "keras_llm.recipes",
    "merge_adapter": "keras_llm.models",
    "pretrain": "keras_llm.training",
    "save_adapter": "keras_llm.export.huggingface",
    "set_adapter": "keras_llm.models",
    "to_saved_model": "keras_llm.export",
    "train": "keras_llm.workflow",
    "tune_classifier": "keras_llm.workflow",
    "tune_domain": "keras_llm.workflow",
    "tune_instructions": "keras_llm.workflow",
    "tune_preferences": "keras_llm.workflow",
}

__all__ = sorted(_HOMES)
__getattr__ = from_homes(__name__, _HOMES)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


# KerasHub takes five seconds to import. The command line, which answers
# `--help` and wrong arguments without it, imports what it needs itself; so do
# the processes that clean text.
_is_command = os.path.basename(sys.argv[0]).removesuffix(".exe") == "keras-llm"
if not (_is_command or os.environ.get("KERAS_LLM_WORKER")):
    import_triton()
    import keras_llm.training  # noqa: F401  (with models and tokenizers)
