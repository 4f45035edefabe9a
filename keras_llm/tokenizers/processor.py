"""SentencePiece models as Keras LLM uses them, without Keras."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from sentencepiece import SentencePieceProcessor

from keras_llm.errors import InputError
from keras_llm.tokenizers.control import END

MODEL_NAME = "tokenizer.model"

# Long enough to be worth a thread, short enough that the float32 scores a
# unigram model adds up over a piece stay exact.
PIECE_CHARACTERS = 2000

# For Python and for TensorFlow: the first character, if it is no space (which
# SentencePiece writes as U+2581), and the space that is put before it.
SPACE = "\u2581"  # how SentencePiece writes it
FIRST_CHARACTER, AFTER_SPACE = f"\\A([^ {SPACE}])", " \\1"


def model_path(path: Path) -> Path:
    """The SentencePiece file of a tokenizer folder, or the file given.

    Raises:
        InputError: There is no such file.
    """
    path = Path(path)
    file = path / MODEL_NAME if path.is_dir() else path
    if not file.is_file():
        raise InputError(
            f"{path} must be a SentencePiece .model file or a folder with "
            f"{MODEL_NAME}. Make one with `keras-llm tokenizer CORPUS --out "
            "DIR`."
        )
    return file


def load_processor(path: Path) -> SentencePieceProcessor:
    """Loads the SentencePiece model of a tokenizer folder or a file.

    Raises:
        InputError: No SentencePiece model, or one without an end token.
    """
    file = model_path(path)
    return processor_of(file.read_bytes(), file)


def processor_of(proto: bytes, file: Path) -> SentencePieceProcessor:
    """The processor of a model, which errors call `file`.

    Raises:
        InputError: No SentencePiece model, or one without an end token.
    """
    try:
        processor = SentencePieceProcessor(model_proto=proto)
    except RuntimeError as error:
        raise InputError(
            f"{file} must be a SentencePiece model; it does not load as one."
        ) from error
    if end_token(processor) is None:
        raise InputError(
            f"{file} has no end token: train it with an eos piece, or with "
            f"{END} as a control symbol."
        )
    return processor


def end_token(processor: SentencePieceProcessor) -> str | None:
    """The piece that ends a text: ours, or the model's own eos piece."""
    if processor.piece_to_id(END) != processor.unk_id():
        return END
    eos = processor.eos_id()
    return processor.id_to_piece(eos) if eos >= 0 else None


def after_space(text: str) -> str:
    """The text, with a space before it if it does not begin with one."""
    return re.sub(FIRST_CHARACTER, AFTER_SPACE, text)


def digest_of_pieces(proto: bytes, add_prefix_space: bool) -> str:
    """sha256 of all that decides the ids of a corpus."""
    return hashlib.sha256(proto + b" " * add_prefix_space).hexdigest()


def cuts_at_lines(processor: SentencePieceProcessor) -> bool:
    """Whether encoding line by line gives the ids of encoding all at once.

    It does where no piece reaches across a line end and nothing is put before
    a text. The models that `train_tokenizer` makes are so, but for `"word"`.
    """
    size = processor.vocab_size()
    pieces = processor.id_to_piece(list(range(size)))
    if any("\n" in piece and piece != "\n" for piece in pieces):
        return False
    first, second = processor.encode(["a\n", " a a"])
    return processor.encode("a\n a a") == first + second


def cut_at_lines(text: str, size: int = PIECE_CHARACTERS) -> Iterator[str]:
    """Cuts text after the first line end from every `size` characters on."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + size) + 1 or len(text)
        yield text[start:end]
        start = end


def encode_texts(
    processor: SentencePieceProcessor,
    texts: Iterable[str],
    threads: int | None = None,
) -> list[np.ndarray]:
    """Int32 ids of each text, encoded on so many cores, or all."""
    return processor.encode(
        list(texts),
        return_type="numpy",
        num_threads=threads or os.cpu_count() or 1,
    )
