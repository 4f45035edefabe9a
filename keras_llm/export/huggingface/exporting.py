"""Models of ours to folders that `transformers` loads."""

import json
from pathlib import Path
from typing import Any

from keras_llm.errors import InputError
from keras_llm.export.huggingface import classes
from keras_llm.export.huggingface.architecture import Architecture
from keras_llm.export.huggingface.files import DTYPES, WEIGHTS, write_tensors
from keras_llm.export.huggingface.importing import ARCHITECTURES
from keras_llm.files import check_free, write_text, written_beside
from keras_llm.models import (
    ScratchBackbone,
    ScratchCausalLM,
    ScratchMaskedLM,
    ScratchTextClassifier,
)
from keras_llm.models.lora import with_lora_merged
from keras_llm.tokenizers.hugging_face import token_ids, write_tokenizer
from keras_llm.tokenizers.hugging_face_settings import GENERATION
from keras_llm.tokenizers.word_pieces import (
    ScratchWordPieceTokenizer,
    write_word_pieces,
)


@with_lora_merged
def to_hugging_face(
    model: ScratchCausalLM | ScratchMaskedLM | ScratchTextClassifier,
    path: Path,
) -> Path:
    """Writes a model for `AutoModelForCausalLM` and `AutoTokenizer`.

    A classifier is for `AutoModelForSequenceClassification`, an encoder for
    `AutoModelForMaskedLM`.

    Args:
        model: The model, with its preprocessor, whose options one of
            `ARCHITECTURES` has; it becomes the first that does.
        path: The folder to make.

    Returns:
        The folder: `config.json`, of a language model
        `generation_config.json`, `model.safetensors` and the tokenizer's files.

    Raises:
        InputError: A model of another class, an option that stands in the
            way, or a path that cannot be written.
    """
    path = Path(path)
    architecture = _architecture_of(model)
    tensors = architecture.all_tensors_of(model)
    dtypes = {tensor.dtype for tensor in tensors}
    if not dtypes <= set(DTYPES):
        raise InputError(
            f"Weights must be {' or '.join(DTYPES)}. Received: "
            f"{', '.join(sorted(dtypes - set(DTYPES)))}. Export the preset "
            "from before it was quantized."
        )
    check_free(path)
    with written_beside(path) as folder:
        _write_config(folder, model, architecture, tensors[0].dtype)
        _write_tokenizer(model, folder)
        write_tensors(folder / WEIGHTS, tensors)
    return path


def _write_tokenizer(model, folder: Path) -> None:
    tokenizer = model.preprocessor.tokenizer
    if isinstance(tokenizer, ScratchWordPieceTokenizer):
        write_word_pieces(tokenizer, folder)
    else:
        write_tokenizer(tokenizer, folder, not model.backbone.causal)


def _write_config(folder: Path, model, architecture, dtype: str) -> None:
    tokenizer = model.preprocessor.tokenizer
    tokens = {"pad_token_id": tokenizer.pad_token_id}
    if model.backbone.causal:
        tokens = token_ids(tokenizer)
    config = architecture.config_of(model.backbone) | tokens
    config |= {
        "architectures": [architecture.class_of(model)],
        "model_type": architecture.model_type,
        "dtype": dtype,
    }
    if isinstance(model, ScratchTextClassifier):
        config |= classes.config_of(model, tokens)
    elif model.backbone.causal:
        generation = dict(tokenizer.published.get(GENERATION, {}))
        generation |= {
            name: index
            for name, index in tokens.items()
            if index is not None or name in generation
        }
        _write_json(folder / GENERATION, generation)
    _write_json(folder / "config.json", config)


def _architecture_of(model) -> Architecture:
    is_classifier = isinstance(model, ScratchTextClassifier)
    kinds = ScratchCausalLM | ScratchMaskedLM
    is_ours = is_classifier or isinstance(model, kinds)
    is_ours = is_ours and isinstance(model.backbone, ScratchBackbone)
    if not is_ours or model.preprocessor is None:
        raise InputError(
            "Expected a ScratchCausalLM or a ScratchMaskedLM with a "
            "preprocessor, or a classifier made of one. Received: "
            f"{type(model).__name__}. KerasHub's own models are exported with "
            "--format saved_model."
        )
    more = classes.obstacles_of(model) if is_classifier else []
    found = {
        name: each.obstacles_of(model.backbone) + more
        for name, each in ARCHITECTURES.items()
        # Decoders are compared with decoders.
        if model.backbone.causal is each.fixed.get("causal", True)
    }
    fewest = min(map(len, found.values()))
    nearest = [name for name, each in found.items() if len(each) == fewest]
    if not fewest:
        return ARCHITECTURES[nearest[0]]
    reasons = [
        f"{name}, because of {', '.join(found[name])}" for name in nearest
    ]
    raise InputError(
        f"The model cannot be a {'; nor a '.join(reasons)}. Export it with "
        "--format pytorch or saved_model."
    )


def _write_json(path: Path, values: dict[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2))
