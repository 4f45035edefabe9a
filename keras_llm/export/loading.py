"""Finds and loads SavedModels. Knows nothing of how they are made."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from keras_llm.errors import InputError
from keras_llm.quiet import quiet_native_code

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
    tf = import_tensorflow()
    try:
        with quiet_native_code():
            model = tf.saved_model.load(str(folder))
    except (OSError, ValueError, tf.errors.OpError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise InputError(f"{folder} cannot be read: {first_line}") from error
    _check_answers_text(model, folder)

    def answer(prompts: list[str]) -> list[str]:
        if not prompts:
            return []
        # Through the model, for a signature does not keep it alive.
        serve = model.signatures["serving_default"]
        outputs = serve(prompt=tf.constant(prompts))
        return [text.decode("utf-8") for text in outputs["text"].numpy()]

    return answer


def _check_answers_text(model, folder: Path) -> None:
    serve = model.signatures.get("serving_default")
    if serve is not None:
        _, inputs = serve.structured_input_signature
        if "prompt" in inputs and "text" in serve.structured_outputs:
            return
    raise InputError(
        f"{folder} must have the signature serving_default, from prompt to "
        f"text. Its signatures are: {', '.join(model.signatures) or 'none'}. "
        "Make one with `keras-llm export`."
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
