"""Which splitting rule a published tokenizer has.

The regular expressions are those in the tokenizers' own files; the rules in
TensorFlow are in `byte_pair_splitting`.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from keras_llm.errors import InputError

RULE_NAMES = ("bloom", "falcon", "gpt2", "llama3", "qwen2", "smollm")

GPT2_REGEX = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|"
    r"\s+(?!\S)|\s+"
)
LLAMA3_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_REGEX = LLAMA3_REGEX.replace(r"\p{N}{1,3}", r"\p{N}")
BLOOM_REGEX = " ?[^(\\s|[.,!?…。，、।۔،])]+"


@dataclass(frozen=True)
class Rule:
    """How text becomes words.

    Args:
        split: Name of the splitting rule, one of `RULE_NAMES`.
        normalization: `"NFC"`, or `None` for text as it is.
        whole_words: A word that is a token stays whole, whatever the merges
            would make of it (`ignore_merges` of Hugging Face).
        add_prefix_space: Text that does not begin with a space gets one.

    Raises:
        InputError: Another name, or another normalization.
    """

    split: str
    normalization: str | None = None
    whole_words: bool = False
    add_prefix_space: bool = False

    def __post_init__(self):
        if self.split not in RULE_NAMES:
            raise InputError(
                f"split must be one of {', '.join(RULE_NAMES)}, not "
                f"{self.split!r}."
            )
        if self.normalization not in (None, "NFC"):
            raise InputError(
                "normalization must be None or 'NFC', not "
                f"{self.normalization!r}."
            )


_GPT2 = Rule("gpt2")
_LLAMA3 = Rule("llama3", whole_words=True)
_QWEN2 = Rule("qwen2", "NFC")

# By the name of the class, so that KerasHub need not be imported.
RULES_OF_KERAS_HUB: Mapping[str, Rule] = {
    "BartTokenizer": _GPT2,
    "BloomTokenizer": Rule("bloom"),
    "BytePairTokenizer": _GPT2,
    "FalconTokenizer": Rule("falcon"),
    "GPT2Tokenizer": _GPT2,
    "GPTNeoXTokenizer": Rule("gpt2", "NFC"),
    "Llama3Tokenizer": _LLAMA3,
    "OPTTokenizer": _GPT2,
    "Qwen3MoeTokenizer": _QWEN2,
    "Qwen3Tokenizer": _QWEN2,
    "QwenMoeTokenizer": _QWEN2,
    "QwenTokenizer": _QWEN2,
    "RobertaTokenizer": _GPT2,
    "SmolLM3Tokenizer": _LLAMA3,
    "WhisperTokenizer": _GPT2,
}


def rule_of_json(content: Mapping[str, Any], file: Any) -> Rule:
    """The rule of the content of a Hugging Face `tokenizer.json`.

    Args:
        content: The content.
        file: What errors call it.

    Raises:
        InputError: A rule that is not known.
    """
    steps = [_described(step) for step in _steps(content["pre_tokenizer"])]
    split = _SPLITS.get(tuple(steps))
    if split is None and len(steps) == 2 and steps[1] == "bytes":
        split = _SPLITS_OF_REGEX.get(steps[0])
    if split is None:
        raise InputError(
            f"{file} splits text by a rule that is not known: "
            f"{content['pre_tokenizer']}. Known are {', '.join(RULE_NAMES)}; "
            "pass `rule` if it is one of these written otherwise."
        )
    rule = Rule(
        split,
        _normalization(content, file),
        bool(content["model"].get("ignore_merges")),
    )
    steps = _steps(content["pre_tokenizer"])
    if not any(step.get("add_prefix_space") for step in steps):
        return rule
    if len(steps) > 1:
        raise InputError(
            f"{file} puts a space before each part of a text "
            "(add_prefix_space after a step that splits), which is not "
            "supported."
        )
    return replace(rule, add_prefix_space=True)


def json_of_rule(rule: Rule) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The `normalizer` and `pre_tokenizer` that `rule_of_json` knows.

    Raises:
        InputError: A space before texts, with another rule than GPT-2's.
    """
    if rule.add_prefix_space and rule.split != "gpt2":
        raise InputError(
            "add_prefix_space can be written with split 'gpt2' only, not "
            f"with {rule.split!r}."
        )
    normalizer = {"type": rule.normalization} if rule.normalization else None
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": rule.add_prefix_space,
        "trim_offsets": True,
        "use_regex": True,
    }
    bare = byte_level | {"use_regex": False}
    steps = {
        "gpt2": [byte_level],
        "smollm": [{"type": "Digits", "individual_digits": True}, byte_level],
        "falcon": [
            {"type": "Punctuation", "behavior": "Contiguous"},
            byte_level,
            {"type": "Digits", "individual_digits": False},
            _splitting("[0-9][0-9][0-9]"),
        ],
    } | {
        name: [_splitting(regex), bare]
        for regex, name in _SPLITS_OF_REGEX.items()
        if name != "gpt2"
    }
    steps = steps[rule.split]
    if len(steps) == 1:
        return normalizer, steps[0]
    return normalizer, {"type": "Sequence", "pretokenizers": steps}


def _splitting(regex: str) -> dict[str, Any]:
    return {
        "type": "Split",
        "pattern": {"Regex": regex},
        "behavior": "Isolated",
        "invert": False,
    }


def _steps(step: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if step is None:
        return []
    if step["type"] == "Sequence":
        parts = step.get("pretokenizers", step.get("normalizers", []))
        return [inner for part in parts for inner in _steps(part)]
    return [step]


def _described(step: Mapping[str, Any]) -> str | None:
    """One word for a step of a known kind, the regex of a splitting one."""
    match step:
        case {"type": "ByteLevel", "use_regex": False}:
            return None if step["add_prefix_space"] else "bytes"
        case {"type": "ByteLevel"}:
            return "words"
        case {"type": "Split", "behavior": "Isolated", "invert": False}:
            return step["pattern"].get("Regex")
        case {"type": "Digits"}:
            return "digits" if step["individual_digits"] else "numbers"
        case {"type": "Punctuation", "behavior": "Contiguous"}:
            return "punctuation"
    return None


_SPLITS_OF_REGEX = {
    BLOOM_REGEX: "bloom",
    GPT2_REGEX: "gpt2",
    LLAMA3_REGEX: "llama3",
    QWEN2_REGEX: "qwen2",
}
_SPLITS = {
    ("words",): "gpt2",
    ("digits", "words"): "smollm",
    ("punctuation", "words", "numbers", "[0-9][0-9][0-9]"): "falcon",
}


def _normalization(content: Mapping[str, Any], file: Any) -> str | None:
    steps = [step["type"] for step in _steps(content.get("normalizer"))]
    if steps not in ([], ["NFC"]):
        raise InputError(
            f"{file} normalises text by {', '.join(steps)}: only NFC is "
            "supported."
        )
    return steps[0] if steps else None


def check_added_tokens(
    added: Sequence[Mapping[str, Any]], rule: Rule, file: Any
) -> None:
    """Tokens that are found in text must be found as `tokenizers` finds them.

    Those that are not `normalized` are found before the text is.

    Args:
        added: Their entries in a `tokenizer.json`.
        rule: How text is split.
        file: What errors call it.

    Raises:
        InputError: Tokens that would be found otherwise.
    """
    is_normal = [t.get("normalized", False) for t in added]
    for token, normal in zip(added, is_normal, strict=True):
        name = token["content"]
        reason = None
        if token["lstrip"] or token["rstrip"] or token["single_word"]:
            reason = "with lstrip, rstrip or single_word, which are"
        elif rule.normalization and not _stays(name, normal):
            reason = "which other characters may become or join, which is"
        elif len({*is_normal}) > 1 and any(
            _overlap(name, other["content"])
            for other in added
            if other.get("normalized", False) != normal
        ):
            reason = "normalized, and overlaps one that is not, which is"
        if reason:
            raise InputError(f"{file} adds {name!r} {reason} not supported.")


def _stays(name: str, normalized: bool) -> bool:
    """Whether form C makes such a token of nothing else, nor another of it.

    Three characters become `K`, `;` and a grave accent. Marks are kept off
    tokens in `byte_pair`, which is right for those that are not `normalized`;
    of the others some may end in `>`, which a single mark joins, U+0338.
    """
    if not normalized:
        return name.isascii() and not {*name} & {*"K;`"}
    borders = name[0] + name[-1]
    return unicodedata.is_normalized("NFC", name) and not any(
        c.isalnum() or not c.isascii() for c in borders
    )


def _overlap(one: str, other: str) -> bool:
    """Whether both may be written in the same place of a text."""
    ends = range(1, min(len(one), len(other)) + 1)
    return (
        one in other
        or other in one
        or any(one[-k:] == other[:k] or other[-k:] == one[:k] for k in ends)
    )
