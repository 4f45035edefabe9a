"""Tokenizers as the content of a Hugging Face `tokenizer.json`.

Knows nothing of files; `hugging_face` reads and writes them.
"""

import re
from collections.abc import Mapping
from typing import Any

from keras_llm.errors import InputError
from keras_llm.tokenizers.byte_pair_files import BytePairVocabulary
from keras_llm.tokenizers.byte_pair_rules import json_of_rule
from keras_llm.tokenizers.processor import SPACE


def byte_pair_json(parts: BytePairVocabulary) -> dict[str, Any]:
    """The content of a byte-pair tokenizer.

    Raises:
        InputError: A splitting rule that cannot be written.
    """
    normalizer, pre_tokenizer = json_of_rule(parts.rule)
    return _content(
        added=_added_tokens(parts.control_tokens, parts.added_tokens),
        normalizer=normalizer,
        pre_tokenizer=pre_tokenizer,
        decoder={
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        },
        model=_byte_pair_model(
            dict(parts.tokens),
            parts.merges,
            ignore_merges=parts.rule.whole_words,
        ),
    )


def sentence_piece_json(proto: bytes) -> dict[str, Any]:
    """The content of a SentencePiece model.

    Ids are the same, with `split_special_tokens` for control tokens that are
    written out in text too. A unigram model adds up its scores in float64
    there and in float32 in SentencePiece: of two ways to cut a text that are
    equally likely to seven digits, either may be taken (3 of 558 pieces of
    2,000 characters, and none of 44,358 lines).

    Args:
        proto: bytes of the model.

    Raises:
        InputError: A model that Hugging Face has no equal of.
    """
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    model = ModelProto.FromString(proto)
    _check_expressible(model)
    control, typed = _kinds(model, "CONTROL"), _kinds(model, "USER_DEFINED")
    control |= _kinds(model, "UNKNOWN")
    steps = [_replace(" ", SPACE)]
    decoding = [_replace(SPACE, " ")]
    if model.trainer_spec.byte_fallback:
        decoding.append({"type": "ByteFallback"})
    decoding.append({"type": "Fuse"})
    if model.normalizer_spec.add_dummy_prefix:
        steps.insert(0, {"type": "Prepend", "prepend": SPACE})
        decoding.append(
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        )
    is_unigram = model.trainer_spec.model_type == _type("UNIGRAM")
    return _content(
        added=_added_tokens(control, typed),
        normalizer={"type": "Sequence", "normalizers": steps},
        pre_tokenizer=_apart_from_names(model) if is_unigram else None,
        decoder={"type": "Sequence", "decoders": decoding},
        model=_unigram(model) if is_unigram else _merging(model),
    )


def post_processor(
    before: Mapping[str, int], after: Mapping[str, int]
) -> dict[str, Any] | None:
    """The step that puts tokens around texts.

    Args:
        before: The token before a text and its id, if there is one.
        after: The token after it, if there is one.
    """
    ids = {**before, **after}

    def around(name: str, part: int) -> list[dict[str, Any]]:
        def special(tokens):
            return [
                {"SpecialToken": {"id": x, "type_id": part}} for x in tokens
            ]

        text = {"Sequence": {"id": name, "type_id": part}}
        return [*special(before), text, *special(after)]

    if not ids:
        return None
    return {
        "type": "TemplateProcessing",
        "single": around("A", 0),
        "pair": around("A", 0) + around("B", 1),
        "special_tokens": {
            name: {"id": name, "ids": [index], "tokens": [name]}
            for name, index in ids.items()
        },
    }


def _content(added, normalizer, pre_tokenizer, decoder, model):
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": model,
    }


def _added_tokens(control, typed):
    rows = [(index, name, True) for name, index in control.items()]
    rows += [(index, name, False) for name, index in typed.items()]
    return [
        {
            "id": index,
            "content": name,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": is_special,
        }
        for index, name, is_special in sorted(rows)
    ]


def _byte_pair_model(vocabulary, merges, **options):
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": vocabulary,
        "merges": [list(pair) for pair in merges],
    }
    return model | options


def _replace(old, new):
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


def _type(name):
    from sentencepiece.sentencepiece_model_pb2 import TrainerSpec

    return getattr(TrainerSpec, name)


def _kinds(model, kind):
    """Ids of the pieces of a kind, by their names."""
    kind = getattr(type(model).SentencePiece, kind)
    return {
        piece.piece: index
        for index, piece in enumerate(model.pieces)
        if piece.type == kind
    }


def _check_expressible(model):
    normalizer, trainer = model.normalizer_spec, model.trainer_spec
    symbols = _kinds(model, "USER_DEFINED")
    texts = _kinds(model, "NORMAL")
    obstacles = {
        "its words are found by spaces, and what is unknown in a row is one "
        "token (model_type word)": trainer.model_type == _type("WORD"),
        "it changes the characters of texts (normalization "
        f"{normalizer.name})": bool(normalizer.precompiled_charsmap),
        "it takes spaces away (remove_extra_whitespaces)": (
            normalizer.remove_extra_whitespaces
        ),
        "it leaves spaces as they are (escape_whitespaces)": (
            not normalizer.escape_whitespaces
        ),
        "it puts spaces after words (treat_whitespace_as_suffix)": (
            trainer.treat_whitespace_as_suffix
        ),
        "it has unused pieces": bool(_kinds(model, "UNUSED")),
        "it has symbols of its user's, and puts a space before texts": bool(
            symbols and normalizer.add_dummy_prefix
        ),
        "pieces have symbols of its user's within them": any(
            symbol in text for symbol in symbols for text in texts
        ),
        "symbols of its user's hold spaces": any(
            SPACE in symbol for symbol in symbols
        ),
    }
    for obstacle, stands in obstacles.items():
        if stands:
            raise InputError(
                "This SentencePiece model cannot be written for Hugging Face "
                f"with the same ids: {obstacle}. Export the model to another "
                "format, which keeps its tokenizer."
            )


def _apart_from_names(model):
    """Cuts text within the names of tokens that no text can be.

    Hugging Face's unigram models find all their tokens in text, those for
    control and for bytes too; where no piece reaches across a cut, it changes
    nothing else.
    """
    hidden = _kinds(model, "BYTE") | _kinds(model, "CONTROL")
    hidden |= _kinds(model, "UNKNOWN")
    begins = {name[:2] for name in hidden if len(name) > 1}
    texts = _kinds(model, "NORMAL")
    across = [pair for pair in begins if any(pair in text for text in texts)]
    short = [name for name in hidden if len(name) < 2]
    if across or short:
        raise InputError(
            "This SentencePiece model cannot be written for Hugging Face with "
            f"the same ids: pieces hold {across or short}, with which names "
            "of control tokens or bytes begin."
        )
    firsts = "|".join(
        f"{re.escape(first)}(?={re.escape(second)})"
        for first, second in sorted(begins)
    )
    return {
        "type": "Split",
        "pattern": {"Regex": firsts},
        "behavior": "MergedWithPrevious",
        "invert": False,
    }


def _unigram(model):
    return {
        "type": "Unigram",
        "unk_id": model.trainer_spec.unk_id,
        "vocab": [[piece.piece, piece.score] for piece in model.pieces],
        "byte_fallback": model.trainer_spec.byte_fallback,
    }


def _merging(model):
    """SentencePiece's `bpe` and `char`: merges are pairs that are pieces."""
    vocabulary = {piece.piece: i for i, piece in enumerate(model.pieces)}
    unknown = model.pieces[model.trainer_spec.unk_id].piece
    merges = []
    if model.trainer_spec.model_type == _type("BPE"):
        texts = _kinds(model, "NORMAL")
        best = sorted(texts, key=lambda text: -model.pieces[texts[text]].score)
        merges = [pair for text in best for pair in splits_of(text, texts)]
    return _byte_pair_model(
        vocabulary,
        merges,
        unk_token=unknown,
        fuse_unk=True,
        byte_fallback=model.trainer_spec.byte_fallback,
    )


def splits_of(text: str, texts: dict[str, int]) -> list[tuple[str, str]]:
    """The pairs of pieces that a piece can be merged of, shortest first."""
    pairs = ((text[:cut], text[cut:]) for cut in range(1, len(text)))
    return [pair for pair in pairs if pair[0] in texts and pair[1] in texts]
