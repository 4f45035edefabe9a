"""SentencePiece models made of pieces that other files hold."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from keras_llm.errors import InputError


class Piece(NamedTuple):
    """A token of a SentencePiece model.

    Args:
        text: With `▁` for a space.
        score: Greater is better.
        kind: `"NORMAL"`, `"UNKNOWN"`, `"CONTROL"`, `"USER_DEFINED"` or
            `"BYTE"`.
    """

    text: str
    score: float
    kind: str = "NORMAL"


def byte_names() -> list[str]:
    """How SentencePiece writes the 256 bytes."""
    return [f"<0x{byte:02X}>" for byte in range(256)]


def proto_of_pieces(
    pieces: Iterable[Piece],
    special_ids: Mapping[str, int],
    add_dummy_prefix: bool,
    model_type: str = "BPE",
) -> bytes:
    """A model that merges pairs of pieces, best score first, or a unigram one.

    Text is taken as it is, and what no piece stands for becomes bytes, if
    there are pieces of them.

    Args:
        pieces: All tokens by their ids.
        special_ids: The ids of `"unk"`, `"bos"`, `"eos"` and `"pad"`; those
            that there are.
        add_dummy_prefix: Whether a space is put before every text.
        model_type: `"BPE"` or `"UNIGRAM"`.

    Returns:
        The bytes of a `tokenizer.model`.
    """
    from sentencepiece.sentencepiece_model_pb2 import ModelProto, TrainerSpec

    model = ModelProto()
    for text, score, kind in pieces:
        kind = getattr(ModelProto.SentencePiece, kind)
        model.pieces.add(piece=text, score=score, type=kind)
    spec = model.trainer_spec
    spec.model_type = getattr(TrainerSpec, model_type)
    spec.vocab_size = len(model.pieces)
    byte = ModelProto.SentencePiece.BYTE
    spec.byte_fallback = any(piece.type == byte for piece in model.pieces)
    for name in ("unk", "bos", "eos", "pad"):
        index = special_ids.get(name, -1)
        setattr(spec, f"{name}_id", index)
        if index >= 0:
            setattr(spec, f"{name}_piece", model.pieces[index].piece)
    normalizer = model.normalizer_spec
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = add_dummy_prefix
    normalizer.remove_extra_whitespaces = False
    normalizer.escape_whitespaces = True
    return model.SerializeToString(deterministic=True)


def with_control_pieces(
    proto: bytes, added: Mapping[str, tuple[int, bool]], file: Any
) -> bytes:
    """The model, with the tokens that were added beside it.

    Args:
        proto: bytes of a SentencePiece model.
        added: Of each token its id, and whether typed text never produces it.
        file: What errors call the model.

    Raises:
        InputError: Tokens that are found in text, which SentencePiece would
            find otherwise; or ids that are not the model's.
    """
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    model, kinds = ModelProto.FromString(proto), ModelProto.SentencePiece
    typed = (kinds.NORMAL, kinds.USER_DEFINED, kinds.UNUSED)
    changes = 0
    for name, (index, is_special) in sorted(
        added.items(), key=lambda item: item[1]
    ):
        size = len(model.pieces)
        piece = model.pieces[index] if index < size else None
        if piece is None and index == size and is_special:
            model.pieces.add(piece=name, type=kinds.CONTROL)
        elif piece is None or piece.piece != name:
            received = f"{piece.piece!r}" if piece else f"{size} pieces"
            raise InputError(
                f"{file} does not fit its added tokens: expected a special "
                f"token {name!r} of id {index}. Received: {received}"
            )
        elif is_special and piece.type in typed:
            piece.type = kinds.CONTROL
        elif is_special or piece.type != kinds.NORMAL:
            continue
        else:
            raise InputError(
                f"{file} has {name!r} added as a token that is found in text "
                "before it is split, which SentencePiece would find otherwise."
            )
        changes += 1
    return model.SerializeToString(deterministic=True) if changes else proto
