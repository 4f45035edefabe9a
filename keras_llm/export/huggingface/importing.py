"""Hugging Face's folders to models of ours."""

import re
import sys
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np

from keras_llm.artifacts import read_object
from keras_llm.errors import InputError, first_of
from keras_llm.export.huggingface.architecture import HEAD, Architecture
from keras_llm.export.huggingface.bert import BERT
from keras_llm.export.huggingface.classes import is_classifier, new_classifier
from keras_llm.export.huggingface.converting import convert, converted
from keras_llm.export.huggingface.files import TensorFiles, open_tensors
from keras_llm.export.huggingface.gpt2 import GPT2
from keras_llm.export.huggingface.llama import (
    LLAMA,
    MISTRAL,
    QWEN2,
    QWEN3,
    SMOLLM3,
)
from keras_llm.export.huggingface.tensors import Tensor
from keras_llm.models import (
    ScratchBackbone,
    ScratchCausalLM,
    ScratchMaskedLM,
    ScratchTextClassifier,
)
from keras_llm.models.build import language_model
from keras_llm.tokenizers.hugging_face import read_tokenizer
from keras_llm.tokenizers.word_pieces import has_word_pieces, read_word_pieces

# Of those that a model can be, the first is written.
ARCHITECTURES = {
    each.model_type: each
    for each in (GPT2, LLAMA, MISTRAL, QWEN2, QWEN3, SMOLLM3, BERT)
}
# What the preprocessor packs for training; models may take far more.
LONGEST_PACKED = 2048


def from_hugging_face(
    folder: Path,
) -> keras_hub.models.CausalLM | ScratchMaskedLM | ScratchTextClassifier:
    """Reads a model with its tokenizer, as a `ScratchCausalLM` if it can be.

    One `ForSequenceClassification` becomes a `ScratchTextClassifier`, another
    BERT a `ScratchMaskedLM`.
    Weights become float32. Those of `ARCHITECTURES` are read one tensor at a
    time; any other that KerasHub converts becomes a model of its own.

    Args:
        folder: With `config.json`, `model.safetensors` (or shards and their
            index) and a tokenizer.

    Raises:
        InputError: Something is missing or damaged, an option that
            `ScratchBackbone` does not have, or an unknown architecture.

    Example:
        >>> model = from_hugging_face(Path("SmolLM2-135M"))
        >>> save_preset(model, Path("smollm2"))
    """
    folder = Path(folder)
    config = _read_config(folder)
    architecture = ARCHITECTURES.get(str(config.get("model_type")))
    if architecture is None:
        return _convert(folder, config)
    options = architecture.options_in(config)
    has_pieces = not _is_causal(options) and has_word_pieces(folder)
    tokenizer = (read_word_pieces if has_pieces else read_tokenizer)(folder)
    check_vocabulary(tokenizer, options)
    with open_tensors(folder) as files:
        names = _names_in(files, architecture)
        _untie_if_apart(options, files, names, architecture)
        scores = files.shapes.get(architecture.scores, (0,))
        model = _new(options, tokenizer, config, scores[0])
        tensors = architecture.all_tensors_of(model)
        _check_tensors(tensors, names, files, architecture)
        for tensor in tensors:
            for first, rows in files.read(names[tensor.name]):
                tensor.assign(first, rows)
    return model


def _new(
    options: dict[str, Any],
    tokenizer,
    config: dict[str, Any],
    num_classes: int,
) -> ScratchCausalLM | ScratchMaskedLM | ScratchTextClassifier:
    """What `config.json` describes, without its weights."""
    if not is_classifier(config):
        return new_model(options, tokenizer)
    # It has no projection to the vocabulary.
    backbone = _new_backbone(options | {"tie_word_embeddings": True})
    return new_classifier(backbone, tokenizer, config, num_classes)


def _convert(folder: Path, config: dict[str, Any]) -> keras_hub.models.CausalLM:
    try:
        return convert(folder)
    except InputError as error:
        raise InputError(
            f"model_type must be one of {', '.join(ARCHITECTURES)}, or one "
            f"that KerasHub converts ({', '.join(converted())}). Received: "
            f"{config.get('model_type')!r}. {error}"
        ) from error


def _untie_if_apart(options, files, names, architecture) -> None:
    """Believes the weights where `config.json` says otherwise.

    As transformers 5 does; transformers 4 tied such a model.
    """
    both = [names.get(HEAD), names.get(architecture.embedding)]
    if not options["tie_word_embeddings"] or None in both:
        return
    parts = zip(*map(files.read, both), strict=False)
    is_same = files.shapes[both[0]] == files.shapes[both[1]] and all(
        np.array_equal(rows, others) for (_, rows), (_, others) in parts
    )
    if not is_same:
        options["tie_word_embeddings"] = False
        print(
            f"keras-llm: config.json says tie_word_embeddings, but {HEAD} in "
            "the file is another matrix: it was taken, untied.",
            file=sys.stderr,
        )


def new_model(
    settings: dict[str, Any], tokenizer
) -> ScratchCausalLM | ScratchMaskedLM:
    """A model with that tokenizer, whose weights are still to be read.

    Raises:
        InputError: Another backend, on which weights are not read in place.
    """
    backbone = _new_backbone(settings)
    longest = min(backbone.max_sequence_length, LONGEST_PACKED)
    return language_model(backbone, tokenizer, longest)


def _is_causal(options: dict[str, Any]) -> bool:
    return options.get("causal", True)


def _new_backbone(settings: dict[str, Any]) -> ScratchBackbone:
    backend = keras.config.backend()
    if backend != "tensorflow":
        raise InputError(
            "Import needs the TensorFlow backend. Received: "
            f"KERAS_BACKEND={backend}. Every backend loads the preset."
        )
    return ScratchBackbone(**settings, dtype="float32")


def check_vocabulary(tokenizer, settings: dict[str, Any]) -> None:
    """Raises unless every token has an embedding."""
    tokens, rows = tokenizer.vocabulary_size(), settings["vocabulary_size"]
    if tokens > rows:
        raise InputError(
            f"The tokenizer has {tokens} tokens, but the model embeds {rows}. "
            "Pass the tokenizer that the model was trained with."
        )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(
            f"{folder} must be a model folder of Hugging Face, with "
            "config.json, safetensors and a tokenizer."
        )
    return read_object(path)


def _names_in(files: TensorFiles, architecture: Architecture) -> dict[str, str]:
    """Names of tensors as a model has them, to those in the files."""
    prefix = architecture.prefix
    renamed = {name: _renamed(name) for name in files.shapes}
    if any(own != name for own, name in renamed.items()):
        return {name: own for own, name in renamed.items()}
    names = list(files.shapes)
    if any(name.startswith(prefix) for name in names):
        return {name: name for name in names}
    return {name if name == HEAD else prefix + name: name for name in names}


def _renamed(name: str) -> str:
    """As it is called today: norms had other names, in TensorFlow's terms."""
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
    return re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)


def _check_tensors(
    tensors: list[Tensor],
    names: dict[str, str],
    files: TensorFiles,
    architecture: Architecture,
) -> None:
    """Raises one error about all tensors that are not as expected."""
    expected = {tensor.name: tensor.shape for tensor in tensors}
    wrong = [f"{name} is missing" for name in expected if name not in names]
    for name, own in names.items():
        shape = files.shapes[own]
        if name in expected and shape != expected[name]:
            wrong.append(f"{name} is {shape}, not {expected[name]}")
        # A tied projection may be in the file once more.
        elif name not in expected and not name.endswith(
            (*architecture.buffers, HEAD)
        ):
            wrong.append(f"{name} is unknown")
    if wrong:
        raise InputError(
            "The weights must be those that config.json describes. Received: "
            + first_of(wrong, 5)
        )
