"""Rotary positions in `config.json`."""

from collections.abc import Mapping

from keras_llm.errors import InputError
from keras_llm.export.huggingface.architecture import (
    Config,
    Options,
    Part,
    number,
    required,
)
from keras_llm.layers.embeddings import ROPE_OPTIONS, ROPE_SCALINGS

LENGTH = "original_max_position_embeddings"


def rotations(default: float) -> Part:
    """The slowest rotation, and what was done to reach further.

    Args:
        default: `rope_theta` of the architecture.
    """
    return Part(
        ["rope_max_wavelength", "rope_scaling"],
        lambda config: _read(config, default),
        _write,
    )


def _read(config: Config, default: float) -> Options:
    """As transformers 4 and 5 write it."""
    rope = {}
    for name in ("rope_parameters", "rope_scaling"):
        part = config.get(name) or {}
        if not isinstance(part, Mapping):
            raise InputError(
                f"config.json must have an object as {name}. Received: {part!r}"
            )
        old = {"rope_type": part["type"]} if "type" in part else {}
        rope |= old | dict(part)
    kind = rope.pop("rope_type", None) or "default"
    wavelength = rope.pop("rope_theta", None) or config.get("rope_theta")
    wavelength = float(number("rope_theta", wavelength or default, float))
    whole = rope.pop("partial_rotary_factor", None)
    whole = whole or config.get("partial_rotary_factor")
    if whole not in (None, 1, 1.0):
        raise InputError(
            "config.json must have partial_rotary_factor 1, which is what "
            f"ScratchBackbone can be. Received: {whole!r}"
        )
    options = {"rope_max_wavelength": wavelength, "rope_scaling": None}
    if kind == "default":
        return options
    if kind not in ROPE_SCALINGS:
        raise InputError(
            "config.json must have rope_type default or "
            f"{' or '.join(ROPE_SCALINGS)}. Received: {kind!r}"
        )
    names = ROPE_SCALINGS[kind]
    if LENGTH in names:
        length = config.get(LENGTH) or rope.get(LENGTH)
        rope[LENGTH] = length or config.get("max_position_embeddings")
    scaling = {"rope_type": kind}
    for name in names:
        scaling[name] = number(name, required(rope, name), float)
    for name, usual in ROPE_OPTIONS.get(kind, {}).items():
        value = rope.get(name)
        if value is not None:
            is_flag = isinstance(usual, bool) and isinstance(value, bool)
            scaling[name] = value if is_flag else number(name, value, float)
    return options | {"rope_scaling": scaling}


def _write(options: Options) -> Config:
    wavelength = options["rope_max_wavelength"]
    scaling = options["rope_scaling"] and dict(options["rope_scaling"])
    rope = {"rope_theta": wavelength, **(scaling or {"rope_type": "default"})}
    # The two after it are as transformers 4 reads them.
    config = {"rope_parameters": rope, "rope_theta": wavelength}
    return config | ({"rope_scaling": scaling} if scaling else {})
