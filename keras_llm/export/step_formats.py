"""Writes the step function of a model to LiteRT, ONNX or OpenVINO."""

import importlib
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_llm.errors import InputError
from keras_llm.export.step_function import (
    NEXT,
    check_float32,
    make_step_function,
)
from keras_llm.export.step_readme import README_NAME, readme
from keras_llm.files import check_free, write_text, written_beside
from keras_llm.models import ScratchCausalLM
from keras_llm.models.lora import with_lora_merged
from keras_llm.quiet import quiet_native_code
from keras_llm.tokenizers import ScratchTokenizer
from keras_llm.tokenizers.processor import MODEL_NAME

STEP_NAME = "step.json"


@dataclass(frozen=True)
class StepFormat:
    """What a format can hold, and what Keras needs to write it.

    Args:
        file: Name of the model file.
        packages: Modules that Keras imports, those of the extra of the
            format's name.
        is_fixed: Whether it holds one row, and a cache of the whole context.
        is_one_file: Whether weights are in that file, which then ends at
            2 GiB.
    """

    file: str
    packages: tuple[str, ...] = ()
    is_fixed: bool = False
    is_one_file: bool = True


FORMATS = {
    "litert": StepFormat("step.tflite", is_fixed=True),
    "onnx": StepFormat("step.onnx", ("onnx", "tf2onnx")),
    "openvino": StepFormat("step.xml", ("openvino",), is_one_file=False),
}


@with_lora_merged
def to_step_function(model: ScratchCausalLM, path: Path, format: str) -> Path:
    """Writes one step of decoding in a format of other runtimes.

    The program that runs it has to tokenize, to repeat the step, and to
    choose each token; `step.json` and `README.txt` tell how.

    Args:
        model: The model, in float32, with its preprocessor.
        path: The folder to make.
        format: `"litert"` (one row, cache of the whole context), `"onnx"` or
            `"openvino"` (any number of rows, any shorter cache). Writing
            ONNX takes fifty times the memory of the weights.

    Returns:
        The folder: the model, `tokenizer.model`, `step.json` (inputs and
        outputs by name, context, special tokens) and `README.txt` (a loop
        that decodes).

    Raises:
        InputError: A model, format or backend that cannot be exported, a
            missing package, or a path that cannot be written.

    Example:
        >>> to_step_function(model, Path("exported/mini"), "onnx")
        PosixPath('exported/mini')
    """
    path = Path(path)
    _check_format(format)
    kind = FORMATS[format]
    _check_model(model, kind)
    check_free(path)
    context = model.backbone.max_sequence_length
    step = make_step_function(model, *(1, context) if kind.is_fixed else ())
    with written_beside(path) as folder:
        _convert(step, folder / kind.file, format)
        tokenizer = model.preprocessor.tokenizer
        (folder / MODEL_NAME).write_bytes(tokenizer.proto)
        text = json.dumps(_description(model, step, format), indent=1)
        write_text(folder / STEP_NAME, text)
        write_text(folder / README_NAME, readme(format))
    return path


def _convert(step: keras.Model, file: Path, format: str) -> None:
    options = {}
    if format == "litert":
        import tensorflow as tf

        # The runtime has no others; Keras would let some of TensorFlow's in.
        builtins = [tf.lite.OpsSet.TFLITE_BUILTINS]
        options["target_spec"] = {"supported_ops": builtins}
    signature = [
        keras.InputSpec(shape=each.shape, dtype=each.dtype, name=each.name)
        for each in step.inputs
    ]
    with warnings.catch_warnings(), quiet_native_code(), _without_backups():
        warnings.simplefilter("ignore")  # of the converters' own code
        step.export(
            str(file),
            format=format,
            verbose=False,
            input_signature=[signature],
            **options,
        )


@contextmanager
def _without_backups() -> Iterator[None]:
    """Within, tf2onnx does not copy the whole model before each of its passes.

    Those copies took two thirds of the time.
    """
    name = "TF2ONNX_CATCH_ERRORS"
    before = os.environ.get(name)
    os.environ[name] = "FALSE"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def _description(
    model: ScratchCausalLM, step: keras.Model, format: str
) -> dict[str, Any]:
    """What `step.json` says: all that decoding needs but the weights."""
    tokenizer = model.preprocessor.tokenizer
    size = model.backbone.vocabulary_size
    inputs = [_described(each) for each in step.inputs]
    (batch, _), caches = inputs[0]["shape"], inputs[2:]
    logits = {"name": "logits", "shape": [batch, size], "dtype": "float32"}
    return {
        "format": format,
        "model": FORMATS[format].file,
        "tokenizer": MODEL_NAME,
        "inputs": inputs,
        "outputs": [
            logits,
            *(each | {"name": NEXT + each["name"]} for each in caches),
        ],
        "first_cache": "zeros",
        "next_cache": {each["name"]: NEXT + each["name"] for each in caches},
        "context_length": model.backbone.max_sequence_length,
        "vocabulary_size": size,
        "start_token_id": tokenizer.start_token_id,
        "end_token_ids": list(tokenizer.end_token_ids),
    }


def _described(tensor: keras.KerasTensor) -> dict[str, Any]:
    shape = [
        size or ("slots" if axis else "batch")
        for axis, size in enumerate(tensor.shape)
    ]
    return {"name": tensor.name, "shape": shape, "dtype": tensor.dtype}


def _check_format(format: str) -> None:
    if format not in FORMATS:
        raise InputError(
            f"format must be one of {', '.join(FORMATS)}. Received: {format!r}"
        )
    backend = keras.config.backend()
    if backend != "tensorflow":
        raise InputError(
            "Export needs the TensorFlow backend. Received: "
            f"KERAS_BACKEND={backend}."
        )
    for package in FORMATS[format].packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise InputError(
                f"Export to {format} needs {package}: {error}. Install it "
                f"with `pip install 'keras-llm[{format}]'`."
            ) from error


def _check_model(model: ScratchCausalLM, kind: StepFormat) -> None:
    check_float32(model)
    if model.preprocessor is None:
        raise InputError(
            "The model needs a preprocessor, whose tokenizer is part of the "
            "export. Received: preprocessor=None."
        )
    tokenizer = model.preprocessor.tokenizer
    if not isinstance(tokenizer, ScratchTokenizer):
        raise InputError(
            "The step function comes with a SentencePiece tokenizer. Received: "
            f"a model with a {type(tokenizer).__name__}. Export it as a "
            "SavedModel."
        )
    if tokenizer.add_prefix_space:
        raise InputError(
            "The step function comes with a tokenizer.model, which cannot say "
            "that texts begin with a space. Received: a tokenizer with "
            "add_prefix_space. Export it as a SavedModel."
        )
    # Operations and names take a little besides the weights.
    needed = 4 * model.count_params() + 2**20
    if kind.is_one_file and needed > 2**31:
        raise InputError(
            f"{kind.file} can have 2 GiB at most. Received: a model of "
            f"{needed / 2**30:.1f} GiB. Export it to openvino, or as a "
            "SavedModel."
        )
