"""The tokenizers of llama2.c (https://github.com/karpathy/llama2.c).

A file is the length of the longest token (int32), then each token's score
(float32), its length (int32) and its bytes, little-endian.
"""

import struct
from pathlib import Path

from keras_llm.artifacts import check_regular
from keras_llm.errors import InputError
from keras_llm.tokenizers.scratch_tokenizer import ScratchTokenizer
from keras_llm.tokenizers.sentence_piece_protos import (
    Piece,
    byte_names,
    proto_of_pieces,
)

UNK, BOS, EOS = "<unk>", "<s>", "</s>"
# Those that write such files surround two of the names by line ends.
SPECIAL = (UNK, f"\n{BOS}\n", f"\n{EOS}\n")


def read_tokenizer(path: Path | str, vocabulary_size: int) -> ScratchTokenizer:
    """The tokenizer of a llama2.c model, as a SentencePiece one.

    Ids are those of llama2.c's `run`: a space is put before every text, and
    none is taken away. `<s>` starts texts and `</s>` ends them.

    Args:
        path: Such as `tokenizer.bin` or `tok512.bin`.
        vocabulary_size: Tokens that the model has, which the file itself does
            not say.

    Raises:
        InputError: Another file, or one of another number of tokens.
    """
    path = Path(path)
    try:
        check_regular(path)
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
    tokens = _tokens(data, path, vocabulary_size)
    begin = (*SPECIAL, *byte_names())
    if tuple(text for _, text in tokens[: len(begin)]) != begin:
        raise InputError(
            f"{path} must begin with {UNK}, {BOS}, {EOS} and 256 bytes, as "
            "llama2.c's tokenizers do. Pass the .bin file that its "
            "tokenizer.py has written."
        )
    control = [Piece(UNK, 0.0, "UNKNOWN")]
    control += [Piece(name, 0.0, "CONTROL") for name in (BOS, EOS)]
    pieces = [Piece(name, 0.0, "BYTE") for name in byte_names()]
    for score, text in tokens[len(begin) :]:
        pieces.append(Piece(text.replace(" ", "\u2581"), score))
    proto = proto_of_pieces(
        control + pieces,
        {"unk": 0, "bos": 1, "eos": 2},
        add_dummy_prefix=True,
    )
    return ScratchTokenizer(proto, start_token=BOS)


def _tokens(
    data: bytes, path: Path, vocabulary_size: int
) -> list[tuple[float, str]]:
    """Score and text of every token."""
    tokens = []
    try:
        (longest,) = struct.unpack_from("<i", data)
        place = 4
        while place < len(data):
            score, length = struct.unpack_from("<fi", data, place)
            text = data[place + 8 : place + 8 + length]
            if not 0 <= length <= longest or len(text) < length:
                raise ValueError(f"a token of {length} bytes")
            tokens.append((score, text.decode()))
            place += 8 + length
    except (struct.error, ValueError) as error:
        raise InputError(
            f"{path} is not a llama2.c tokenizer, or was cut short: after "
            f"{len(tokens)} tokens there is something else ({error})."
        ) from error
    if len(tokens) != vocabulary_size:
        raise InputError(
            f"{path} must have the {vocabulary_size} tokens of its model. "
            f"Received: {len(tokens)}. Pass the tokenizer that the model was "
            "trained with."
        )
    return tokens
