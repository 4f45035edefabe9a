"""What each token writes, by itself."""

from sentencepiece import SentencePieceProcessor

from keras_llm.tokenizers.processor import SPACE
from keras_llm.tokenizers.scratch_byte_pair_tokenizer import (
    ScratchBytePairTokenizer,
)
from keras_llm.tokenizers.scratch_tokenizer import ScratchTokenizer
from keras_llm.tokenizers.word_pieces import (
    SUFFIX,
    ScratchWordPieceTokenizer,
)


def token_bytes(
    tokenizer: ScratchTokenizer
    | ScratchBytePairTokenizer
    | ScratchWordPieceTokenizer,
) -> list[bytes]:
    """Bytes of every token, by id; of control tokens their names.

    One token may be a part of a character. The bytes of all tokens of a text,
    one after the other, are the text; with pieces of words, about.
    """
    if isinstance(tokenizer, ScratchBytePairTokenizer):
        table = tokenizer._byte_pairs.token_bytes()
    elif isinstance(tokenizer, ScratchWordPieceTokenizer):
        table = [
            (piece[2:] if piece.startswith(SUFFIX) else " " + piece).encode()
            for piece in tokenizer.vocabulary
        ]
    else:
        pieces = SentencePieceProcessor(model_proto=tokenizer.proto)
        size = tokenizer.vocabulary_size()
        table = [_piece_bytes(pieces, index) for index in range(size)]
    for name, token in tokenizer.control_tokens.items():
        table[token] = name.encode()
    return table


def _piece_bytes(pieces: SentencePieceProcessor, index: int) -> bytes:
    piece = pieces.id_to_piece(index)
    if pieces.is_byte(index):
        return bytes([int(piece[3:5], 16)])
    return piece.replace(SPACE, " ").encode()
