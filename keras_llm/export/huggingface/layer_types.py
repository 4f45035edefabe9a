"""What differs from layer to layer in `config.json`: windows and rotations."""

from collections.abc import Callable
from typing import Any

from keras_llm.errors import InputError
from keras_llm.export.huggingface.architecture import (
    Config,
    Options,
    Part,
    number,
)

FULL, SLIDING = "full_attention", "sliding_attention"
Layers = list[bool]


def window_everywhere(default: int) -> Part:
    """A window that all layers have, as in Mistral."""

    def read(config: Config) -> Options:
        window = config.get("sliding_window", default)
        if window is not None:
            number("sliding_window", window, int)
        return {"sliding_window": window}

    def write(options: Options) -> Config:
        return {"sliding_window": options["sliding_window"]}

    return Part(["sliding_window"], read, write)


def windows(unsaid: Callable[[Config], Layers]) -> Part:
    """A window that some layers have, if it is used at all.

    Args:
        unsaid: Which layers slide where there are no `layer_types`.
    """

    def read(config: Config) -> Options:
        if not config.get("use_sliding_window", False):
            return {"sliding_window": None}
        types = _listed(config, "layer_types", [FULL, SLIDING])
        if types is None:
            sliding = unsaid(config)
        else:
            sliding = [each == SLIDING for each in types]
        window = config.get("sliding_window", 4096)
        if window is None or not any(sliding):
            return {"sliding_window": None}
        return {
            "sliding_window": number("sliding_window", window, int),
            "sliding_window_layers": all(sliding) or sliding,
        }

    def write(options: Options) -> Config:
        window = options["sliding_window"]
        sliding = _expanded(options, "sliding_window_layers")
        sliding = [each and window is not None for each in sliding]
        return {
            "use_sliding_window": window is not None,
            "sliding_window": window,
            "layer_types": [SLIDING if each else FULL for each in sliding],
            # What was read before there were types.
            "max_window_layers": sliding.count(False),
        }

    return Part(["sliding_window", "sliding_window_layers"], read, write)


def after_the_first(config: Config) -> Layers:
    """Layers from `max_window_layers` on, as in Qwen."""
    first = config.get("max_window_layers", 28)
    if first != 0:  # that many see all; 0 is no count
        first = number("max_window_layers", first, int)
    return [index >= first for index in range(config["num_hidden_layers"])]


def where_not_rotating(config: Config) -> Layers:
    """Layers without rotations, as in SmolLM3."""
    return [not each for each in _rotating(config)]


def _rotating(config: Config) -> Layers:
    """Whatever its name says, `no_rope_layers` is 1 where a layer rotates."""
    layers = _listed(config, "no_rope_layers", [0, 1])
    if layers is None:
        every = config.get("no_rope_layer_interval", 4)
        number("no_rope_layer_interval", every, int)
        count = config["num_hidden_layers"]
        layers = [(index + 1) % every for index in range(count)]
    return [bool(each) for each in layers]


def _read_rotating(config: Config) -> Options:
    layers = _rotating(config)
    return {"rotary_layers": all(layers) or layers}


def _write_rotating(options: Options) -> Config:
    layers = _expanded(options, "rotary_layers")
    return {"no_rope_layers": [int(each) for each in layers]}


ROTATING = Part(["rotary_layers"], _read_rotating, _write_rotating)


def _expanded(options: Options, name: str) -> Layers:
    layers = options[name]
    count = options["num_layers"]
    return [layers] * count if isinstance(layers, bool) else list(layers)


def _listed(config: Config, name: str, known: list) -> list[Any] | None:
    """A list of one value a layer; `None` if there is none."""
    values = config.get(name)
    if values is None:
        return None
    count = config["num_hidden_layers"]
    is_list = isinstance(values, list) and len(values) >= count
    if not is_list or any(value not in known for value in values):
        raise InputError(
            f"config.json must have {name} of {count} layers, each "
            f"{' or '.join(map(repr, known))}. Received: {values!r}"
        )
    return values[:count]
