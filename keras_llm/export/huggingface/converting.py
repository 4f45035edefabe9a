"""Architectures that KerasHub converts to models of its own."""

from pathlib import Path

import keras_hub
from keras_hub.src.utils.preset_utils import get_preset_loader
from keras_hub.src.utils.transformers import preset_loader

from keras_llm.errors import InputError
from keras_llm.export.huggingface.files import open_tensors

CausalLM = keras_hub.models.CausalLM


def convert(folder: Path) -> CausalLM:
    """The stock model that KerasHub makes of a folder, in float32.

    Raises:
        InputError: No such conversion, or a folder that it cannot read.
    """
    # Absolute, or KerasHub would take a folder for the name it has.
    preset = str(folder.absolute())
    try:
        loader = get_preset_loader(preset)
        name = loader.converter.__name__.rsplit("convert_")[-1]
    except Exception as error:  # it has no kind of its own
        raise _refused(folder, error) from error
    if name not in converted():
        raise InputError(
            f"{folder} must have a model that continues texts. Received: one "
            f"that KerasHub makes a {loader.check_backbone_class().__name__} of"
        )
    with open_tensors(folder):
        pass  # all there, and never pickle
    try:
        return CausalLM.from_preset(preset, dtype="float32")
    except Exception as error:
        raise _refused(folder, error) from error


def converted() -> list[str]:
    """What KerasHub converts to a `CausalLM`, by the names of its modules."""
    found = []
    for name, module in vars(preset_loader).items():
        if name.startswith("convert_"):
            tasks = _tasks_of(module.backbone_cls)
            if tasks:
                found.append(name.removeprefix("convert_"))
    return sorted(found)


def _tasks_of(backbone_cls: type) -> list[type]:
    every = [getattr(keras_hub.models, name) for name in dir(keras_hub.models)]
    return [
        each
        for each in every
        if isinstance(each, type)
        and issubclass(each, CausalLM)
        and each.backbone_cls is backbone_cls
    ]


def _refused(folder: Path, error: Exception) -> InputError:
    first_line = (str(error).strip() or repr(error)).splitlines()[0]
    return InputError(f"{folder} cannot be read by KerasHub: {first_line}")
