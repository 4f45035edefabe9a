"""A `tokenizer.json` that was made of a SentencePiece model, made one again.

Llama's is: bytes to fall back on, spaces written as `▁`, merges of every pair
that is a piece. `transformers` since its fifth version writes another kind of
file, whose space before texts is told from a space that they begin with.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from keras_llm.errors import InputError
from keras_llm.tokenizers.hugging_face_writing import SPACE, splits_of
from keras_llm.tokenizers.sentence_piece_protos import (
    Piece,
    byte_names,
    proto_of_pieces,
)

WITHOUT_PREFIX = [("Replace", " ", SPACE)]
WITH_PREFIX = [("Prepend", SPACE), *WITHOUT_PREFIX]
OTHER_MODELS = {
    "WordPiece": "it splits text into words first, as BERT does, and loses "
    "spaces and line ends",
    "WordLevel": "it is a list of whole words",
}


class Spaces(NamedTuple):
    """How a tokenizer treats spaces.

    Args:
        add_dummy_prefix: Whether a space is put before every text.
        add_prefix_space: Whether one is put before texts that do not begin
            with one.
        split: Whether every space begins a new word.
    """

    add_dummy_prefix: bool = False
    add_prefix_space: bool = False
    split: bool = False


class Pieces(NamedTuple):
    """What a tokenizer of SentencePiece's kind is made of.

    Args:
        proto: Bytes of the SentencePiece model.
        add_prefix_space: Whether texts that do not begin with a space get
            one, which the model itself does not know.
    """

    proto: bytes
    add_prefix_space: bool


def pieces_of_json(
    content: Mapping[str, Any], special_ids: Mapping[str, int], file: Any
) -> Pieces:
    """The SentencePiece model with the same ids.

    Args:
        content: Of a `tokenizer.json`.
        special_ids: The ids of `"bos"`, `"eos"`, `"pad"` and `"unk"`; those
            that there are.
        file: What errors call it.

    Raises:
        InputError: Ids that no SentencePiece model would give.
    """
    model = content["model"]
    _check_model(model, file)
    spaces = _spaces(content, file)
    names, unknown = _names_by_id(model, special_ids, file)
    kinds = dict.fromkeys(byte_names(), "BYTE")
    if not model.get("byte_fallback"):
        kinds = {}
    for token in content.get("added_tokens") or []:
        kind = "CONTROL" if token["special"] else "USER_DEFINED"
        kinds[token["content"]] = kind
    kinds |= {names[index]: "CONTROL" for index in special_ids.values()}
    kinds[names[unknown]] = "UNKNOWN"
    texts = {name: i for i, name in enumerate(names) if name not in kinds}
    _check_symbols(kinds, texts, spaces, file)
    words = [x for x in kinds if kinds[x] == "CONTROL" and _is_word(x)]
    if model["type"] == "Unigram" and words:
        raise _inexact(file, f"{words[0]!r} is special, and ordinary text")
    if model["type"] == "BPE":
        scores = _scores(model["merges"], texts, file)
    else:
        scores = dict(model["vocab"])
    last = -float(len(names))
    pieces = [
        Piece(
            name,
            scores.get(name, last) if name in texts else 0.0,
            kinds.get(name, "NORMAL"),
        )
        for name in names
    ]
    proto = proto_of_pieces(
        pieces,
        special_ids | {"unk": unknown},
        spaces.add_dummy_prefix,
        model["type"].upper(),
    )
    return Pieces(proto, spaces.add_prefix_space)


def _is_word(name):
    return name.replace(SPACE, "").isalnum()


def _spaces(content, file):
    """What is done about spaces; other changes of text are refused."""
    steps = [_described(step) for step in _flat(content.get("normalizer"))]
    words = content.get("pre_tokenizer")
    if words is None and steps in (WITH_PREFIX, WITHOUT_PREFIX):
        return Spaces(add_dummy_prefix=steps == WITH_PREFIX)
    is_metaspace = (
        not steps
        and words
        and words["type"] == "Metaspace"
        and words["replacement"] == SPACE
    )
    if not is_metaspace:
        raise _inexact(
            file,
            f"of its normalizer {content.get('normalizer')} and its "
            f"pre_tokenizer {words}",
        )
    # Before there were schemes, there was a flag.
    told = "always" if words.get("add_prefix_space", True) else "never"
    is_put = words.get("prepend_scheme", told) != "never"
    return Spaces(add_prefix_space=is_put, split=words.get("split", True))


def _flat(step):
    if step is None:
        return []
    if step["type"] == "Sequence":
        return [inner for part in step["normalizers"] for inner in _flat(part)]
    return [step]


def _described(step):
    match step:
        case {"type": "Prepend", "prepend": text}:
            return ("Prepend", text)
        case {"type": "Replace", "pattern": {"String": old}, "content": new}:
            return ("Replace", old, new)
    return (step["type"],)


def _check_model(model, file):
    kind = model.get("type")
    if kind in OTHER_MODELS:
        raise InputError(
            f"{file} is a {kind} tokenizer: {OTHER_MODELS[kind]}. Models "
            "that generate text need one of byte pairs or SentencePiece; "
            "import a model that has one."
        )
    if kind not in ("BPE", "Unigram"):
        raise _inexact(file, f"its model is of type {kind!r}")
    if kind == "BPE" and not model.get("byte_fallback"):
        raise _inexact(file, "it has no bytes for unknown characters")
    for name in (
        "dropout",
        "continuing_subword_prefix",
        "end_of_word_suffix",
        "ignore_merges",
    ):
        if model.get(name):
            raise _inexact(file, f"it has {name}")
    known = set(dict(model["vocab"]))
    missing = [name for name in byte_names() if name not in known]
    if model.get("byte_fallback") and missing:
        raise _inexact(file, f"it has no token {missing[0]}")


def _check_symbols(kinds, texts, spaces, file):
    """Tokens found before text is split must be found alike afterwards."""
    symbols = [name for name, kind in kinds.items() if kind == "USER_DEFINED"]
    for symbol in symbols:
        if (
            any(spaces)
            or " " in symbol
            or SPACE in symbol
            or any(symbol in text for text in texts)
        ):
            raise _inexact(
                file, f"{symbol!r} is found in text before it is split"
            )
    across = [text for text in texts if SPACE in text[1:]]
    if spaces.split and (across or SPACE not in texts):
        raise _inexact(
            file, f"words end at spaces, but {across[:1] or SPACE!r} does not"
        )


def _names_by_id(model, special_ids, file):
    """All tokens, and the id of the one for what is unknown."""
    vocabulary = model["vocab"]
    if model["type"] == "Unigram":
        names = [name for name, _ in vocabulary]
        if len({*names}) < len(names):
            raise _inexact(file, "it has a token twice")
        unknown = model["unk_id"]
    else:
        names = sorted(vocabulary, key=vocabulary.get)
        if [vocabulary[name] for name in names] != [*range(len(names))]:
            raise _inexact(file, "its ids are not those from 0 on, each once")
        unknown = special_ids.get("unk")
        if model.get("unk_token"):
            unknown = vocabulary[model["unk_token"]]
    if unknown is None:
        raise _inexact(file, "it has no token for what is unknown")
    return names, unknown


def _scores(merges, texts, file):
    """The score of each piece, so that the best is merged first."""
    pairs = [
        tuple(pair.split(" ") if isinstance(pair, str) else pair)
        for pair in merges
    ]
    made = list(dict.fromkeys(left + right for left, right in pairs))
    order = [left + right for left, right in pairs]
    in_a_row = 1 + sum(a != b for a, b in zip(order, order[1:], strict=False))
    expected = {pair for text in texts for pair in splits_of(text, texts)}
    if set(pairs) != expected or (pairs and in_a_row != len(made)):
        odd = next(iter(set(pairs) ^ expected), None)
        raise _inexact(
            file,
            "its merges are not those of pieces by their scores"
            + (f" ({' '.join(odd)!r})" if odd else ""),
        )
    return {piece: -float(rank) for rank, piece in enumerate(made)}


def _inexact(file, reason):
    return InputError(
        f"{file} cannot become a SentencePiece model with the same ids: "
        f"{reason}. If it was made of a tokenizer.model, put that beside it."
    )
