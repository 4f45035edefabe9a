"""Finds and loads SavedModels. Knows nothing of how they are made."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from keras_llm.errors import InputError
from keras_llm.quiet import quiet_native_code

LABELS = "labels.txt"  # of a classifier, in its assets
VERSIONS = "tensorflow>=2.21,<2.22", "tensorflow-text>=2.21,<2.22"


def load_saved_model(path: Path) -> Callable[[list[str]], list[str]]:
    """Loads a SavedModel that answers text with text.

    Args:
        path: `saved_models/NAME`, of which the newest version is taken, or
            `saved_models/NAME/VERSION`.

    Returns:
        A function from prompts to the new text of each.

    Raises:
        InputError: No such SavedModel there, or TensorFlow is missing.
    """
    folder = version_folder(Path(path))
    model, tf = loaded(folder), import_tensorflow()
    _check_has(model, folder, "prompt", "text")

    def answer(prompts: list[str]) -> list[str]:
        if not prompts:
            return []
        # Through the model, for a signature does not keep it alive.
        serve = model.signatures["serving_default"]
        outputs = serve(prompt=tf.constant(prompts))
        return [text.decode("utf-8") for text in outputs["text"].numpy()]

    return answer


def load_saved_classifier(
    path: Path,
) -> tuple[list[str], Callable[[list[str]], np.ndarray], bool]:
    """Loads a SavedModel that tells the classes of texts.

    The argument and the errors are those of `load_saved_model`.

    Returns:
        The names of the classes; a function from texts to their scores,
        float32 `(texts, num_classes)`; and whether a text may have several.
    """
    folder = version_folder(Path(path))
    model, tf = loaded(folder), import_tensorflow()
    _check_has(model, folder, "text", "scores")
    labels = (folder / "assets" / LABELS).read_text("utf-8").splitlines()

    def scores(texts: list[str]) -> np.ndarray:
        serve = model.signatures["serving_default"]
        return serve(text=tf.constant(texts))["scores"].numpy()

    outputs = model.signatures["serving_default"].structured_outputs
    return labels, scores, "labels" in outputs


def loaded(folder: Path) -> Any:
    """What TensorFlow loads of a version's folder.

    Raises:
        InputError: No SavedModel, or one that cannot be read.
    """
    tf = import_tensorflow()
    try:
        with quiet_native_code():
            return tf.saved_model.load(str(folder))
    except (OSError, ValueError, tf.errors.OpError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise InputError(f"{folder} cannot be read: {first_line}") from error


def _check_has(model, folder: Path, taken: str, given: str) -> None:
    serve = model.signatures.get("serving_default")
    if serve is not None:
        _, inputs = serve.structured_input_signature
        if taken in inputs and given in serve.structured_outputs:
            return
    raise InputError(
        f"{folder} must have the signature serving_default, from {taken} to "
        f"{given}. Its signatures are: {', '.join(model.signatures) or 'none'}."
        " Make one with `keras-llm export`."
    )


def is_saved_model(path: Path) -> bool:
    """Whether `path` is a SavedModel, or a folder of its versions."""
    found = path.glob("saved_model.pb"), path.glob("*/saved_model.pb")
    return any(any(each) for each in found)


def version_folder(path: Path) -> Path:
    """The SavedModel at `path`, or the newest version under it.

    Raises:
        InputError: There is none.
    """
    newest = path / str(max(versions(path), default=0))
    for folder in (path, newest):
        if (folder / "saved_model.pb").is_file():
            return folder
    raise InputError(
        f"{path} must be a SavedModel, or a folder of its versions (such as "
        "1/saved_model.pb). Make one with `keras-llm export PRESET "
        f"{path}`."
    )


def versions(path: Path) -> list[int]:
    """Numbers of the version folders under `path`, in no order."""
    if not path.is_dir():
        return []
    names = [entry.name for entry in path.iterdir() if entry.is_dir()]
    return [int(name) for name in names if name.isdecimal()]


def import_tensorflow() -> ModuleType:
    """TensorFlow with TensorFlow Text's operations.

    Raises:
        InputError: One of them is not installed.
    """
    try:
        importlib.import_module("tensorflow_text")
        return importlib.import_module("tensorflow")
    except ImportError as error:
        needed = " ".join(f'"{version}"' for version in VERSIONS)
        raise InputError(
            f"A SavedModel needs TensorFlow and TensorFlow Text: {error}. "
            f"Install them with `pip install {needed}` (TensorFlow Text has "
            "no Windows package: use WSL there)."
        ) from error
