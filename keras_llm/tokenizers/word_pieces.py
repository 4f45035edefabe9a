"""The tokenizer of imported BERTs: KerasHub's WordPiece, and its files."""

import hashlib
import json
from pathlib import Path
from typing import Any

import keras_hub

from keras_llm.artifacts import read_object
from keras_llm.errors import InputError
from keras_llm.files import write_text
from keras_llm.registration import register
from keras_llm.tokenizers.hugging_face_settings import CONFIG, TOKENIZER

VOCABULARY = "vocab.txt"
SUFFIX, UNKNOWN = "##", "[UNK]"
# Roles there and here, and the tokens of BERT.
ROLES = {
    "cls_token": ("start_token", "[CLS]"),
    "sep_token": ("end_token", "[SEP]"),
    "pad_token": ("pad_token", "[PAD]"),
    "mask_token": ("mask_token", "[MASK]"),
}


@register
class ScratchWordPieceTokenizer(keras_hub.tokenizers.WordPieceTokenizer):
    """KerasHub's WordPiece with the special tokens of BERT.

    It is not exact: words and their accents are lost where the model has
    none, detokenizing puts a space between words and punctuation, and a few
    texts (control characters, letters that Unicode folds) have other ids than
    with `transformers`. Typed special tokens are plain text.

    Args:
        vocabulary: list of str, or a file with a token a line.
        lowercase: bool. Whether text becomes lower case, without accents.
        **kwargs: forwarded to `keras_hub.tokenizers.WordPieceTokenizer`.

    Call arguments:
        inputs: str, or a list or string tensor `(batch,)` of them.

    Returns:
        int32 ids `(length,)`; for a batch, ragged `(batch, length)`.
    """

    def __init__(self, vocabulary=None, lowercase: bool = False, **kwargs):
        for role, token in ROLES.values():
            self._add_special_token(token, role)
        kwargs = {"strip_accents": lowercase} | kwargs
        super().__init__(vocabulary=vocabulary, lowercase=lowercase, **kwargs)

    @property
    def end_token_ids(self) -> tuple[int, ...]:
        """Of all tokens that end a text."""
        return (self.end_token_id,)

    @property
    def control_tokens(self) -> dict[str, int]:
        """Ids that typed text can never produce, by the names they have."""
        tokens = [token for _, token in ROLES.values()]
        return {token: self.token_to_id(token) for token in tokens}

    @property
    def sha256(self) -> str:
        """Of all that decides the ids of a corpus."""
        parts = [self.vocabulary, self.lowercase, self.strip_accents]
        text = json.dumps([*parts, self.split_on_cjk])
        return hashlib.sha256(text.encode()).hexdigest()


def has_word_pieces(folder: Path) -> bool:
    """Whether a Hugging Face folder has a WordPiece vocabulary."""
    if (folder / TOKENIZER).is_file():
        model = read_object(folder / TOKENIZER).get("model") or {}
        return model.get("type") == "WordPiece"
    return (folder / VOCABULARY).is_file()


def read_word_pieces(folder: Path) -> ScratchWordPieceTokenizer:
    """The WordPiece tokenizer of a folder that `transformers` loads.

    Args:
        folder: With `tokenizer.json`, or `vocab.txt` and, if text does not
            become lower case, `tokenizer_config.json`.

    Raises:
        InputError: None of these, or one that is not BERT's.
    """
    if not has_word_pieces(folder):
        raise InputError(
            f"{folder} must have a WordPiece tokenizer: {TOKENIZER} of one, "
            f"or {VOCABULARY}."
        )
    if (folder / TOKENIZER).is_file():
        tokens, said = _of_json(read_object(folder / TOKENIZER), folder)
    else:
        text = (folder / VOCABULARY).read_text("utf-8")
        # U+2028, say, ends a line elsewhere, and is a token here.
        tokens, said = text.rstrip("\n").split("\n"), {}
        if (folder / CONFIG).is_file():
            said = read_object(folder / CONFIG)
    needed = {UNKNOWN, *(token for _, token in ROLES.values())}
    if missing := sorted(needed - {*tokens}):
        raise InputError(
            f"{folder} must have BERT's special tokens in its vocabulary. "
            f"Missing: {', '.join(missing)}"
        )
    lowercase = bool(said.get("do_lower_case", True))
    accents = said.get("strip_accents")
    return ScratchWordPieceTokenizer(
        tokens,
        lowercase,
        strip_accents=lowercase if accents is None else bool(accents),
        split_on_cjk=bool(said.get("tokenize_chinese_chars", True)),
    )


def _of_json(content: dict, folder: Path) -> tuple[list[str], dict[str, Any]]:
    """The tokens of `tokenizer.json`, and what it does to text first."""
    model = content["model"]
    steps = content.get("normalizer") or {}
    suffix = model.get("continuing_subword_prefix", SUFFIX)
    if steps.get("type") != "BertNormalizer" or suffix != SUFFIX:
        raise InputError(
            f"{folder / TOKENIZER} must have BERT's normalizer and mark the "
            f"pieces within words by {SUFFIX}. Received: "
            f"{steps.get('type')!r}, {suffix!r}"
        )
    vocabulary = model["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.get)
    if [vocabulary[token] for token in tokens] != [*range(len(tokens))]:
        raise InputError(f"{folder / TOKENIZER} has ids that no token has.")
    return tokens, {
        "do_lower_case": steps.get("lowercase", True),
        "strip_accents": steps.get("strip_accents"),
        "tokenize_chinese_chars": steps.get("handle_chinese_chars", True),
    }


def write_word_pieces(
    tokenizer: ScratchWordPieceTokenizer, folder: Path
) -> None:
    """Writes `vocab.txt`, `tokenizer.json` and `tokenizer_config.json`.

    Args:
        tokenizer: The tokenizer.
        folder: An existing folder.
    """
    write_text(folder / VOCABULARY, "\n".join(tokenizer.vocabulary))
    text = json.dumps(_to_json(tokenizer), ensure_ascii=False, indent=2)
    write_text(folder / TOKENIZER, text)
    names = {role: token for role, (_, token) in ROLES.items()}
    config = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": tokenizer.lowercase,
        "strip_accents": tokenizer.strip_accents,
        "tokenize_chinese_chars": tokenizer.split_on_cjk,
        "unk_token": UNKNOWN,
        **names,
    }
    write_text(folder / CONFIG, json.dumps(config, indent=2))


def _to_json(tokenizer: ScratchWordPieceTokenizer) -> dict[str, Any]:
    """What `tokenizers` loads: the parts of `BertWordPieceTokenizer`."""
    control = tokenizer.control_tokens | {
        UNKNOWN: tokenizer.token_to_id(UNKNOWN)
    }
    added = {"single_word": False, "lstrip": False, "rstrip": False}
    added |= {"normalized": False, "special": True}
    first, last = tokenizer.start_token, tokenizer.end_token
    single = [
        {"SpecialToken": {"id": first, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": last, "type_id": 0}},
    ]
    pair = [
        {"Sequence": {"id": "B", "type_id": 1}},
        {"SpecialToken": {"id": last, "type_id": 1}},
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": index, "content": token, **added}
            for token, index in sorted(control.items(), key=lambda x: x[1])
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": tokenizer.split_on_cjk,
            "strip_accents": tokenizer.strip_accents,
            "lowercase": tokenizer.lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": single + pair,
            "special_tokens": {
                token: {"id": token, "ids": [control[token]], "tokens": [token]}
                for token in (first, last)
            },
        },
        "decoder": {"type": "WordPiece", "prefix": SUFFIX, "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": UNKNOWN,
            "continuing_subword_prefix": SUFFIX,
            "max_input_chars_per_word": 100,
            "vocab": {x: i for i, x in enumerate(tokenizer.vocabulary)},
        },
    }
