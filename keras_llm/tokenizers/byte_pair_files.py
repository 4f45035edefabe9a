"""Vocabularies, merges and splitting rules of published tokenizers.

Reads GPT-2's two files, a Hugging Face `tokenizer.json` or a KerasHub
tokenizer. Knows nothing of TensorFlow or of how text is split.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from keras_llm.artifacts import read_artifact, read_object
from keras_llm.errors import InputError
from keras_llm.tokenizers.byte_pair_rules import (
    RULES_OF_KERAS_HUB,
    Rule,
    check_added_tokens,
    rule_of_json,
)

END_OF_TEXT = "<|endoftext|>"


def byte_alphabet() -> dict[str, int]:
    """The characters that GPT-2's files write bytes with, to the bytes."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    alphabet = {chr(byte): byte for byte in printed}
    return alphabet | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTES = byte_alphabet()


@dataclass(frozen=True)
class BytePairVocabulary:
    """All that a byte-pair tokenizer is made of.

    Args:
        tokens: Ids of tokens, which are written in `byte_alphabet`.
        merges: Pairs of tokens, best first.
        rule: How text is split into words.
        control_tokens: Ids of tokens that typed text does not produce.
        added_tokens: Ids of tokens that are found in text before it is
            split (GPT-NeoX: runs of spaces).
        start_token_id: Of the token before a text, if there is one.
        end_token_ids: Of the tokens that end a text.

    Raises:
        InputError: A merge of tokens that are not in the vocabulary, or added
            tokens beside `add_prefix_space`, after which a space comes too.
    """

    tokens: Mapping[str, int]
    merges: Sequence[tuple[str, str]]
    rule: Rule
    control_tokens: Mapping[str, int] = field(default_factory=dict)
    added_tokens: Mapping[str, int] = field(default_factory=dict)
    start_token_id: int | None = None
    end_token_ids: tuple[int, ...] = ()

    def __post_init__(self):
        if self.added_tokens and self.rule.add_prefix_space:
            raise InputError(
                "Tokens that are found in text are not supported with "
                f"add_prefix_space. Received: {list(self.added_tokens)[:5]}"
            )
        for left, right in self.merges:
            for token in (left, right, left + right):
                if token not in self.tokens:
                    raise InputError(
                        f"merges has '{left} {right}', but vocabulary has no "
                        f"token {token!r}. Pass the two files of one "
                        "tokenizer."
                    )

    @property
    def size(self) -> int:
        """One more than the highest id."""
        parts = (self.tokens, self.control_tokens, self.added_tokens)
        return 1 + max((i for part in parts for i in part.values()), default=0)

    def token_bytes(self) -> list[bytes]:
        """The bytes that each id stands for; none for ids that are unused."""
        table = [b""] * self.size
        for token, index in self.tokens.items():
            table[index] = bytes_of(token)
        for part in (self.added_tokens, self.control_tokens):
            for token, index in part.items():
                if self.tokens.get(token) != index:
                    table[index] = token.encode()
        return table

    def words(self) -> dict[str, int]:
        """The tokens that typed text can be.

        Of added ones those that text can be otherwise too: `é` is written
        like a byte of other characters.
        """
        left_out = {*self.control_tokens.values()}
        return {
            token: index
            for token, index in self.tokens.items()
            if token and index not in left_out and is_byte_level(token)
        }


def is_byte_level(token: str) -> bool:
    """Whether all characters of a token stand for bytes."""
    return all(character in _BYTES for character in token)


def spelled_by_text(parts: BytePairVocabulary) -> list[str]:
    """The control tokens that text becomes although it does not name them.

    They are bytes, or what the merges make: `the`.
    """
    made = {left + right for left, right in parts.merges} | _BYTES.keys()
    return [
        name
        for name, index in parts.control_tokens.items()
        if parts.tokens.get(name) == index
        and (name in made or (parts.rule.whole_words and _is_word(name)))
    ]


def _is_word(name: str) -> bool:
    """Whether no rule splits it; of other names some do."""
    return name.isalpha() or not any(c.isalnum() or c.isspace() for c in name)


def bytes_of(token: str) -> bytes:
    """The bytes of a token; of one in another alphabet, its UTF-8."""
    if is_byte_level(token):
        return bytes(_BYTES[character] for character in token)
    return token.encode()


def digest_of(parts: BytePairVocabulary) -> str:
    """sha256 of all that decides the ids of a corpus."""
    content = [
        dict(parts.tokens),
        [list(pair) for pair in parts.merges],
        astuple(parts.rule),
        dict(parts.control_tokens),
        dict(parts.added_tokens),
        parts.end_token_ids[:1],
    ]
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_files(
    vocabulary: Path | str, merges: Path | str
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The tokens and merges of GPT-2's two files.

    Raises:
        InputError: A file that is not there or does not hold this.
    """
    what = "a mapping of tokens to ids"
    tokens = read_artifact(Path(vocabulary), dict[str, int], what)
    return tokens, _pairs(_read(Path(merges)).split("\n"), merges)


def write_files(
    parts: BytePairVocabulary, vocabulary: Path, merges: Path
) -> None:
    """Writes tokens and merges as `read_files` reads them."""
    tokens = json.dumps(dict(parts.tokens), ensure_ascii=False)
    vocabulary.write_text(tokens + "\n", encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in parts.merges)]
    text = "\n".join(lines) + "\n"
    merges.write_text(text, encoding="utf-8", newline="\n")


def from_tokenizer_json(
    file: Path | str, rule: Rule | None = None
) -> BytePairVocabulary:
    """Reads a Hugging Face `tokenizer.json`.

    It does not say which token starts or ends a text: see the attributes of
    the result, which `dataclasses.replace` sets.

    Args:
        file: The file.
        rule: How text is split; recognised by default.

    Raises:
        InputError: No byte-pair tokenizer, or one whose rule is not known.
    """
    content = read_object(Path(file))
    model = content.get("model", {})
    if model.get("type") != "BPE":
        raise InputError(
            f"{file} must hold a model of type 'BPE', not "
            f"{model.get('type')!r}."
        )
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            raise InputError(f"{file} has {name}: not a byte-level tokenizer.")
    if model.get("dropout"):
        raise InputError(
            f"{file} has dropout {model['dropout']}, which gives other ids "
            "every time. Set it to null there."
        )
    if model.get("unk_token") and not model["vocab"].keys() >= _BYTES.keys():
        raise InputError(
            f"{file} has an unk_token for bytes that its vocabulary does not "
            "have, which is not supported."
        )
    rule = rule or rule_of_json(content, file)
    added = content.get("added_tokens") or []
    check_added_tokens([t for t in added if not t["special"]], rule, file)
    return BytePairVocabulary(
        model["vocab"],
        _pairs(model["merges"], file),
        rule,
        {t["content"]: t["id"] for t in added if t["special"]},
        {t["content"]: t["id"] for t in added if not t["special"]},
    )


def from_keras_hub(tokenizer, rule: Rule | None = None) -> BytePairVocabulary:
    """Takes over a KerasHub byte-pair tokenizer.

    Args:
        tokenizer: a `keras_hub.tokenizers.BytePairTokenizer`.
        rule: How text is split; by default what the tokenizer was published
            with, which its class tells.

    Raises:
        InputError: A class whose published splitting rule is not known.
    """
    rule = rule or _rule_of_class(tokenizer)
    tokens = dict(tokenizer.vocabulary)
    names = {*tokenizer.special_tokens, *(tokenizer.unsplittable_tokens or ())}
    control = {name: tokens[name] for name in names if name in tokens}
    spaces = {
        token: index
        for token, index in tokens.items()
        if token and not token.strip(" ")
    }
    ends = ("end_token_id", "end_token2_id")
    ids = (getattr(tokenizer, name, None) for name in ends)
    return BytePairVocabulary(
        tokens,
        _pairs(tokenizer.merges, "the tokenizer"),
        rule,
        control,
        spaces,
        getattr(tokenizer, "start_token_id", None),
        tuple(dict.fromkeys(i for i in ids if i is not None)),
    )


def _rule_of_class(tokenizer) -> Rule:
    name = type(tokenizer).__name__
    rule = RULES_OF_KERAS_HUB.get(name)
    if rule is None:
        known = ", ".join(RULES_OF_KERAS_HUB)
        raise InputError(
            f"The splitting rule of {name} is not known. Pass `rule`, or a "
            f"tokenizer of one of these classes: {known}."
        )
    if getattr(tokenizer, "add_prefix_space", False):
        return Rule(rule.split, rule.normalization, rule.whole_words, True)
    return rule


def _pairs(lines: Sequence[Any], file: Any) -> list[tuple[str, str]]:
    pairs = []
    for number, line in enumerate(lines):
        if isinstance(line, str):
            if not line or (number == 0 and line.startswith("#version")):
                continue
            line = line.split(" ")
        if len(line) != 2:
            raise InputError(
                f"{file} must have two tokens in each merge, not "
                f"{' '.join(line)!r}."
            )
        pairs.append((line[0], line[1]))
    return pairs


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
