"""Adapters in PEFT's two files, both ways, beside no weights of the base."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_hub
import numpy as np

from keras_llm.artifacts import picked, read_object
from keras_llm.errors import InputError
from keras_llm.export.huggingface.adapter_tensors import (
    FACTOR,
    Layout,
    layout_of,
    leaves,
)
from keras_llm.export.huggingface.files import open_files, write_tensors
from keras_llm.export.huggingface.tensors import Values
from keras_llm.files import write_text, written_beside
from keras_llm.models.adapters import (
    Adapter,
    Factors,
    keep_adapter,
    set_adapter,
    trained_adapter,
)

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
PEFT = "LORA"
# PEFT refuses a type that it does not know, where names are Keras's own.
OWN = "LORA_OF_KERAS_LAYERS"
# What PEFT would compute otherwise than by factors beside a frozen kernel.
REFUSED = (
    "use_dora",
    "lora_bias",
    "use_qalora",
    "use_bdlora",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
)
# Initial values after which the base is what it was.
BEGINNINGS = (None, True, False, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class PeftConfig:
    """What is read of `adapter_config.json`."""

    peft_type: str
    r: int | None = None
    lora_alpha: float | None = None
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, float] | None = None
    use_rslora: bool | None = None
    keras_llm: dict[str, str | None] | None = None


def read_config(path: Path) -> dict[str, Any]:
    """What `adapter_config.json` in a folder says, its types checked.

    Raises:
        InputError: There is none, or a damaged one.
    """
    config = read_object(path / CONFIG)
    try:
        picked(PeftConfig, config)
    except ValueError as error:
        raise InputError(f"{path / CONFIG} cannot be read: {error}") from error
    return config


def save_adapter(model: keras_hub.models.CausalLM, path: Path) -> Path:
    """Writes what was trained since `add_adapter`, for PEFT and for us.

    PEFT loads it onto the model that `to_hugging_face` exports, and gives the
    same logits. Where Hugging Face has no such architecture, it is the same
    two files with names of Keras's layers, which PEFT refuses.

    Args:
        model: The model with its adapter, not yet merged.
        path: The folder to make.

    Returns:
        The folder: `adapter_config.json`, which names the base by the sha256
        of its weights, and `adapter_model.safetensors`.

    Raises:
        InputError: The model has no adapter, or `path` cannot be written.
    """
    layout = layout_of(model)
    adapter = trained_adapter(model)
    values, factors = layout.to_tensors(adapter)
    with written_beside(Path(path)) as folder:
        config = _config_of(adapter, layout, values, factors)
        write_text(folder / CONFIG, json.dumps(config, indent=2))
        write_tensors(
            folder / WEIGHTS,
            [Values(PREFIX + name, value) for name, value in values.items()],
        )
    return Path(path)


def load_adapter(
    model: keras_hub.models.CausalLM, path: Path, name: str = "default"
) -> None:
    """Reads an adapter, of ours or of PEFT, keeps it, and puts it on.

    Several can be kept beside one model; `set_adapter` switches. While one is
    on, the weights that it changes are in memory once more.

    Args:
        model: The base.
        path: Folder with `adapter_config.json` and
            `adapter_model.safetensors`.
        name: What `set_adapter` calls it.

    Raises:
        InputError: No adapter there, a damaged one, one of another kind than
            LoRA, or of another model.

    Example:
        >>> model = keras_llm.load_preset("runs/mini")
        >>> keras_llm.load_adapter(model, "runs/law/adapter", "law")
    """
    layout, path = layout_of(model), Path(path)
    config = _read_config(path, layout)
    with open_files([path / WEIGHTS]) as files:
        values = {
            key.removeprefix(PREFIX): files.array(key) for key in files.shapes
        }
    scales = _scales(values, config)
    factors, weights = layout.from_tensors(values, scales)
    base = (config.get("keras_llm") or {}).get("base_sha256")
    keep_adapter(model, Adapter(factors, weights, base), name)
    set_adapter(model, name)


def _config_of(
    adapter: Adapter,
    layout: Layout,
    values: Mapping[str, np.ndarray],
    factors: Mapping[str, Factors],
) -> dict[str, Any]:
    ranks = {name: each.rank for name, each in factors.items()}
    alphas = {name: each.rank * each.scale for name, each in factors.items()}
    usual = Counter(zip(ranks.values(), alphas.values(), strict=True))
    [[(rank, alpha), _]] = usual.most_common(1)
    modules, whole = layout.modules(), _modules_to_save(values)
    targets = leaves(factors)
    if {name for name in modules if leaves([name]) <= targets} != set(factors):
        targets = set(factors)
    return {
        "peft_type": OWN if layout.architecture is None else PEFT,
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {n: r for n, r in ranks.items() if r != rank},
        "alpha_pattern": {n: a for n, a in alphas.items() if a != alpha},
        "target_modules": sorted(targets),
        "modules_to_save": sorted(whole) or None,
        "fan_in_fan_out": layout.inputs_first,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "init_lora_weights": True,
        "inference_mode": True,
        "keras_llm": {"base_sha256": adapter.base},
    }


def _modules_to_save(values: Mapping[str, np.ndarray]) -> set[str]:
    return leaves(
        name.rpartition(".")[0] for name in values if not FACTOR.fullmatch(name)
    )


def _read_config(path: Path, layout: Layout) -> dict[str, Any]:
    """What an adapter says of itself.

    Raises:
        InputError: None there, or one that cannot be loaded onto the model.
    """
    if not (path / CONFIG).is_file() or not (path / WEIGHTS).is_file():
        raise InputError(
            f"{path} must be the folder of an adapter, with {CONFIG} and "
            f"{WEIGHTS}. Make one with `keras-llm tune … --adapter.rank 8`, "
            "or save PEFT's with safe_serialization=True."
        )
    config = read_config(path)
    kind = config["peft_type"]
    start, bias = config.get("init_lora_weights"), config.get("bias", "none")
    refused = [name for name in REFUSED if config.get(name)]
    expected = OWN if layout.architecture is None else PEFT
    if kind != expected:
        names = {
            OWN: "names of Keras's layers, for Hugging Face has no such model",
            PEFT: "names of Hugging Face's modules",
        }
        raise InputError(
            f"{path} must be an adapter of peft_type {expected} "
            f"({names[expected]}). Received: {kind}"
        )
    if bias != "none":
        refused.append(f"bias={bias!r}")
    if start not in BEGINNINGS:
        refused.append(f"init_lora_weights={start!r}, which changes the base")
    if refused:
        raise InputError(
            f"{path} must have factors beside a frozen model, and whole "
            f"modules. Received: {', '.join(refused)}"
        )
    return config


def _scales(
    values: Mapping[str, np.ndarray], config: Mapping[str, Any]
) -> dict[str, float]:
    """`alpha / rank` of every module that has factors.

    Raises:
        InputError: Half a pair, or ranks that the configuration does not say.
    """
    found = [match for match in map(FACTOR.fullmatch, values) if match]
    scales = {}
    for name in dict.fromkeys(match[1] for match in found):
        for factor in "AB":
            if f"{name}.lora_{factor}.weight" not in values:
                raise InputError(
                    f"The adapter must have both factors of {name}. "
                    f"Received: none called lora_{factor}"
                )
        said = _of_module(config, "rank_pattern", "r", name)
        alpha = _of_module(config, "alpha_pattern", "lora_alpha", name)
        rank = len(values[f"{name}.lora_A.weight"])
        if rank != said or not rank or not isinstance(alpha, int | float):
            raise InputError(
                f"The adapter must have factors of rank {said!r} for {name}, "
                f"as {CONFIG} says, and an alpha. Received: rank {rank}, alpha "
                f"{alpha!r}"
            )
        scales[name] = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    if not scales:
        raise InputError(
            "The adapter must have factors. Received: none among "
            f"{len(values)} tensors"
        )
    return scales


def _of_module(
    config: Mapping[str, Any], patterns: str, usual: str, module: str
) -> Any:
    """A setting of a module; patterns match the ends of names, as in PEFT."""
    try:
        for pattern, value in (config.get(patterns) or {}).items():
            if re.fullmatch(rf"(.*\.)?({pattern})", module):
                return value
        return config[usual]
    except (AttributeError, KeyError, re.error) as error:
        raise InputError(
            f"{CONFIG} must say {usual} and {patterns}. Received: {error!r}"
        ) from error
