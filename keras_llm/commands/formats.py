"""Models from and to other formats, and beside PyTorch."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from rich.console import Console

from keras_llm.commands.command import ASKED, OUT, PRESET, Command
from keras_llm.commands.showing import show
from keras_llm.errors import InputError

SAVED_MODEL_OPTIONS = (
    "labels",
    "allow_control_tokens",
    "template",
    "system",
    "max_text_tokens",
)
# As `keras_llm.pytorch.sides` knows them, without the import of NumPy.
SIDES = (
    "torch",
    "torch-compile",
    "keras-tensorflow",
    "keras-tensorflow-xla",
    "keras-jax",
    "keras-torch",
)


def export(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows where the exported model is, and how to use it."""
    if values.format == "saved_model":
        return _export_saved_model(values, console)
    for option in SAVED_MODEL_OPTIONS:
        if values[option] not in (None, False):
            raise InputError(
                f"--{option} is of a SavedModel, which has a tokenizer and "
                f"answers text. Received: --format {values.format}"
            )
    from keras_llm.models import load_task

    write = _writer(values.format)
    with console.status("exporting"):
        path = write(load_task(values.preset), values.out)
    result = show({values.format: str(path)}, values)
    _show_page(path / "README.txt", values)
    return result


def _writer(format: str) -> Callable[[Any, Path], Path]:
    """Writes a model to a folder in a format that has no settings."""
    if format == "huggingface":
        from keras_llm.export.huggingface import to_hugging_face

        return to_hugging_face
    if format == "pytorch":
        from keras_llm.pytorch.folder import to_pytorch_folder
        from keras_llm.pytorch.require import require_torch

        require_torch("safetensors")  # before seconds of loading
        return to_pytorch_folder
    from keras_llm.export.step_formats import to_step_function

    return partial(to_step_function, format=format)


def _export_saved_model(values: Namespace, console: Console) -> dict[str, Any]:
    from keras_llm.export import to_saved_model
    from keras_llm.export.server_files import README_NAME
    from keras_llm.models import load_task

    folder = Path(values.preset)  # unless it is a name
    with console.status("exporting"):
        path = to_saved_model(
            load_task(values.preset),
            values.out,
            values.recipe.generation,
            values.recipe.seed,
            values.labels,
            allow_control_tokens=values.allow_control_tokens,
            source=folder if folder.is_dir() else None,
            template=values.template,
            system=values.system,
            max_text_tokens=values.max_text_tokens,
        )
    result = show({"saved_model": str(path)}, values)
    _show_page(path.with_name(README_NAME), values)
    return result


def _show_page(page: Path, values: Namespace) -> None:
    if page.is_file() and not values.json:
        print("\n" + page.read_text(encoding="utf-8"), end="")


def import_model(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows where the preset is, and what to do next."""
    from keras_llm.export.huggingface import from_hugging_face, from_llama2c
    from keras_llm.files import check_free
    from keras_llm.models import (
        ScratchMaskedLM,
        ScratchTextClassifier,
        save_preset,
    )

    check_free(values.out)
    with console.status("importing"):
        if values.tokenizer is None:
            model = from_hugging_face(values.source)
        else:
            model = from_llama2c(values.source, values.tokenizer)
        save_preset(model, values.out)
    result = show(
        {"preset": str(values.out), "parameters": model.count_params()}, values
    )
    if not values.json:
        ask = ASKED["generate"]
        if isinstance(model, ScratchTextClassifier):
            ask = ASKED["classify"]
        elif isinstance(model, ScratchMaskedLM):
            ask = ASKED["fill"]
        print(
            f"\nNext: keras-llm {ask.format(values.out)}\n"
            f"      keras-llm export {values.out} saved_models/NAME"
        )
    return result


def compare_pytorch(values: Namespace, console: Console) -> dict[str, Any]:
    """Shows the verdict and where the report is; exits with 1 if it is no."""
    from keras_llm.files import check_free, written_beside
    from keras_llm.pytorch.require import require_torch

    require_torch()
    from keras_llm.pytorch.certificate import certify
    from keras_llm.pytorch.report import PAGE, save_certificate, summary
    from keras_llm.pytorch.sides import SIDES, check_rounds
    from keras_llm.pytorch.subject import Sizes, open_subject

    check_free(values.out)
    check_rounds(values.rounds, values.seconds)
    sizes = Sizes(values.steps, values.batch_size, values.sequence_length)
    with console.status("comparing") as status:
        certificate = certify(
            open_subject(
                values.preset_or_recipe, sizes, values.tokens, values.seed
            ),
            values.rounds,
            values.seconds,
            values.sides or list(SIDES),
            status.update,
        )
        with written_beside(values.out) as folder:
            save_certificate(certificate, folder)
    result = show(summary(certificate), values)
    if not values.json:
        print(f"\nThe whole report: {values.out / PAGE}")
    if certificate.holds:
        return result
    if values.json:
        print(json.dumps(result))
    raise SystemExit(1)


COMMANDS = {
    "export": Command(
        export,
        "A preset to a SavedModel that answers text with text, or to another "
        "format.",
        [
            ("preset", str, PRESET),
            ("out", Path, "Folder of the model, e.g. saved_models/NAME."),
        ],
        {
            "--format": {
                "choices": [
                    "saved_model",
                    "huggingface",
                    "litert",
                    "onnx",
                    "openvino",
                    "pytorch",
                ],
                "default": "saved_model",
                "help": "saved_model: for TensorFlow Serving, with tokenizer "
                "and decoding inside. huggingface: a folder that transformers "
                "loads. pytorch: code and weights for torch. The others: one "
                "step of decoding of a model of ours, tokens and cache in, "
                "logits and cache out.",
            },
            "--labels": {
                "nargs": "+",
                "metavar": "NAME",
                "help": "Names of a classifier's classes, in their order; "
                "their numbers if omitted.",
            },
            "--allow_control_tokens": {
                "action": "store_true",
                "help": "Take <|user|> and the like in prompts as what they "
                "say, not as plain text.",
            },
            "--template": {
                "metavar": "FILE",
                "help": "A Jinja chat template for the signature chat, for a "
                "preset without one; or plain, as for `keras-llm chat`.",
            },
            "--system": {
                "metavar": "TEXT",
                "help": "What the assistant is told before every conversation "
                "with the signature chat.",
            },
            "--max_text_tokens": {
                "type": int | None,
                "metavar": "N",
                "help": "Most tokens of a text that the signatures score and "
                "tokenize look at; 1,024 if omitted.",
            },
        },
        ["generation"],
    ),
    "import": Command(
        import_model,
        "A GPT-2, Llama or BERT of Hugging Face, or a model of llama2.c, to a "
        "preset.",
        [
            (
                "source",
                Path,
                "A folder with config.json, safetensors and a tokenizer; or, "
                "with --tokenizer, a .bin of llama2.c.",
            )
        ],
        {
            "--out": OUT["--out"] | {"help": "Preset to write."},
            "--tokenizer": {
                "type": Path | None,
                "metavar": "FILE",
                "help": "The tokenizer.bin of a model of llama2.c.",
            },
        },
    ),
    "compare-pytorch": Command(
        compare_pytorch,
        "A certificate that a model computes what its twin in PyTorch does.",
        [
            (
                "preset_or_recipe",
                str,
                "A preset, the run that has one, a recipe's name or a YAML "
                "file. A recipe gives a new model.",
            )
        ],
        {
            **OUT,
            "--tokens": {
                "type": Path,
                "metavar": "DIR",
                "help": "Folder that `encode` wrote; the run's if omitted, or "
                "a chain of tokens drawn by chance.",
            },
            "--steps": {
                "type": int,
                "default": 100,
                "help": "Optimizer steps of each training.",
            },
            "--batch_size": {
                "type": int | None,
                "help": "Rows a batch; the recipe's if omitted.",
            },
            "--sequence_length": {
                "type": int | None,
                "help": "Tokens a row; the model's context if omitted.",
            },
            "--rounds": {
                "type": int,
                "default": 5,
                "help": "Rounds of each measurement of speed; 0 leaves speed "
                "and memory out.",
            },
            "--seconds": {
                "type": float,
                "default": 2.0,
                "help": "Of a round, at least.",
            },
            "--sides": {
                "nargs": "+",
                "choices": SIDES,
                "help": "Whose speed is measured; all if omitted.",
            },
            "--seed": {
                "type": int,
                "default": 0,
                "help": "Decides new weights and the order of the batches.",
            },
        },
    ),
}
