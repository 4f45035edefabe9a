"""What an architecture is in `config.json` and here, once for both ways."""

import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_llm.errors import InputError
from keras_llm.export.huggingface.tensors import Tensor
from keras_llm.models import (
    ScratchBackbone,
    ScratchCausalLM,
    ScratchTextClassifier,
)

REQUIRED = object()
CLASSIFIER = "ForSequenceClassification"  # how names of its classes end
HEAD = "lm_head.weight"  # the output projection of every architecture
SCORES = "score.weight"  # that of a decoder's classifier
BIASES = ("attention_bias", "attention_output_bias", "feed_forward_bias")
DEFAULTS = {
    name: each.default
    for name, each in inspect.signature(ScratchBackbone).parameters.items()
    if name not in ("dtype", "kwargs")
}
# What weights do not show, or what options of their own say.
IGNORED = ("block_types", "zero_init_outputs", "use_bias")
Options = dict[str, Any]
Config = Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """A field of `config.json` that is an option of ours.

    Args:
        name: Of the field.
        default: What the architecture has where there is none.
        also: Further fields that are written with the same value.
        values: Their values and ours, where these differ; the first of
            several that mean the same is written.
    """

    name: str
    default: Any = REQUIRED
    also: Sequence[str] = ()
    values: Mapping[str, str] | None = None

    def read(self, config: Config) -> Any:
        """The option, of the type that it must have.

        Raises:
            InputError: None there, or another type or value.
        """
        default, value = self.default, config.get(self.name, self.default)
        if default is REQUIRED:
            value = required(config, self.name)
        is_count = default is REQUIRED or default is None
        kind = int if is_count else type(default)
        if value is None:
            return None if kind is int else default
        if self.values is not None:
            expect(config | {self.name: value}, self.name, *self.values)
            return self.values[value]
        return number(self.name, value, kind) if kind is not bool else value

    def write(self, value: Any) -> Config:
        """The fields that say the option."""
        if self.values is not None:
            value = next(k for k, v in self.values.items() if v == value)
        return dict.fromkeys((self.name, *self.also), value)


@dataclass(frozen=True)
class Part:
    """Options that are more than fields of their own.

    Args:
        options: Which.
        read: From `config.json`.
        write: To `config.json`, from all options.
    """

    options: Sequence[str]
    read: Callable[[Config], Options]
    write: Callable[[Options], Config]


def _scores(model: ScratchTextClassifier) -> Iterator[Tensor]:
    yield Tensor(SCORES, [model.head.kernel], transposed=True)


@dataclass(frozen=True)
class Architecture:
    """One architecture of `transformers`.

    Args:
        model_type, class_name: Its names in `config.json`.
        prefix: Of all tensors but the output projection.
        embedding: Name of the token embedding.
        tensors_of: Every tensor of the file of a model, but the projection.
        fields: Options of ours that are fields.
        parts: Options of ours that are more than that.
        fixed: Options of ours that all its models have alike, or functions of
            the options that are. What is not named is as by default.
        expected: Fields that must have one of these values where they are.
        buffers: How names of tensors end that are no weights.
        scores: The tensor of a classifier with a row for each class.
        head_of: Every tensor of a classifier's head.
    """

    model_type: str
    class_name: str
    prefix: str
    embedding: str
    tensors_of: Callable[[ScratchCausalLM], Iterator[Tensor]]
    fields: Mapping[str, Field]
    parts: Sequence[Part] = ()
    fixed: Options = field(default_factory=dict)
    expected: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    buffers: Sequence[str] = ()
    scores: str = SCORES
    head_of: Callable[[ScratchTextClassifier], Iterator[Tensor]] = _scores

    def class_of(self, model: ScratchCausalLM | ScratchTextClassifier) -> str:
        """The name of the class in `transformers`."""
        if isinstance(model, ScratchTextClassifier):
            ending = "(LMHeadModel|ForCausalLM|ForMaskedLM)$"
            return re.sub(ending, CLASSIFIER, self.class_name)
        return self.class_name

    def options_in(self, config: Config) -> Options:
        """Arguments of `ScratchBackbone`.

        Raises:
            InputError: Something that it cannot be.
        """
        for name, values in self.expected.items():
            expect(config, name, *values)
        options = {
            name: value
            for name, value in self.fixed.items()
            if not callable(value)
        }
        for name, each in self.fields.items():
            options[name] = each.read(config)
        for part in self.parts:
            options |= part.read(config)
        return _settled(options)

    def all_tensors_of(
        self, model: ScratchCausalLM | ScratchTextClassifier
    ) -> list[Tensor]:
        """Every tensor of the file of a model."""
        tensors = list(self.tensors_of(model))
        if isinstance(model, ScratchTextClassifier):
            return [*tensors, *self.head_of(model)]
        embedding = model.backbone.token_embedding
        if not embedding.tie_weights:
            head = embedding.reverse_embeddings
            tensors.append(Tensor(HEAD, [head], transposed=True))
        return tensors

    def config_of(self, backbone: ScratchBackbone) -> dict[str, Any]:
        """What `config.json` says of a model."""
        options, config = options_of(backbone), {}
        for name, each in self.fields.items():
            config |= each.write(options[name])
        for part in self.parts:
            config |= part.write(options)
        return config

    def obstacles_of(self, backbone: ScratchBackbone) -> list[str]:
        """What of a model this architecture cannot be."""
        types = list(dict.fromkeys(backbone.block_types))
        if types != ["attention"]:
            return [f"block_types={types} (it has attention only)"]
        options = options_of(backbone)
        free = {*IGNORED, *self.fields}.union(*(p.options for p in self.parts))
        needed = {n: x for n, x in DEFAULTS.items() if n not in free}
        for name, value in (needed | self.fixed).items():
            needed[name] = value(options) if callable(value) else value
        seen = {}
        for name, each in self.fields.items():
            # One field says all options that are of its name.
            needed[name] = seen.setdefault(each.name, options[name])
            if each.values and options[name] not in each.values.values():
                needed[name] = " or ".join(dict.fromkeys(each.values.values()))
        if options["intermediate_dim"] == 0:
            needed["intermediate_dim"] = "a feed-forward layer"
        return [
            f"{name}={options[name]!r} (it has {value!r})"
            for name, value in needed.items()
            if options[name] != value
        ]


def options_of(backbone: ScratchBackbone) -> Options:
    """The options of a Transformer, with none left out."""
    options = {name: getattr(backbone, name) for name in DEFAULTS}
    blocks = backbone.blocks
    mixers = [block.mixer for block in blocks]
    for name in ("intermediate_dim", *BIASES):
        options[name] = getattr(blocks[0], name)
    for name in ("num_key_value_heads", "head_dim"):
        options[name] = getattr(mixers[0], name)
    rotary = [mixer.rotary for mixer in mixers]
    windows = [mixer.sliding_window is not None for mixer in mixers]
    options["rotary_layers"] = all(rotary) or rotary
    options["sliding_window_layers"] = all(windows) or windows
    unused = []
    if options["position_embedding"] != "rotary":
        unused += ["rope_max_wavelength", "rope_scaling", "rotary_layers"]
    if not options["query_key_norm"]:
        unused += ["query_key_norm_epsilon"]
    if not any(windows):
        unused += ["sliding_window", "sliding_window_layers"]
    return options | {name: DEFAULTS[name] for name in unused}


def _settled(options: Options) -> Options:
    """The same, in one of the ways that they can be said."""
    heads, width = options["num_heads"], options["hidden_dim"]
    if heads * (options.get("head_dim") or 0) == width:
        options["head_dim"] = None
    usual = {"intermediate_dim": 4 * width, "num_key_value_heads": heads}
    for name, value in usual.items():
        if name in options and options[name] is None:
            options[name] = value
    biases = {options[name] for name in BIASES if name in options}
    if biases:
        options["use_bias"] = biases == {True}
        if len(biases) == 1:
            options = {k: v for k, v in options.items() if k not in BIASES}
    return options


def required(config: Config, name: str) -> Any:
    """A field that must be there.

    Raises:
        InputError: It is not.
    """
    if config.get(name) is None:
        raise InputError(
            f"config.json must have {name}. It says: {', '.join(config)}"
        )
    return config[name]


def number(name: str, value: Any, kind: type) -> int | float:
    """A count, or a number that is not negative.

    Raises:
        InputError: Something else.
    """
    is_number = isinstance(value, int | kind) and not isinstance(value, bool)
    if is_number and math.isfinite(value) and value >= (kind is int):
        return value
    what = "a whole number from 1 on" if kind is int else "a number from 0 on"
    raise InputError(
        f"config.json must have {what} as {name}. Received: {value!r}"
    )


def expect(config: Config, name: str, *known: Any) -> None:
    """Raises unless a field is absent or one of the known values."""
    if name in config and config[name] not in known:
        values = " or ".join(repr(value) for value in known)
        raise InputError(
            f"config.json must have {name} {values}, which is what "
            f"ScratchBackbone can be. Received: {config[name]!r}"
        )
