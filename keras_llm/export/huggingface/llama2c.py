"""Models of llama2.c (https://github.com/karpathy/llama2.c), one file each."""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_llm.artifacts import check_regular
from keras_llm.errors import InputError
from keras_llm.export.huggingface.importing import check_vocabulary, new_model
from keras_llm.models import ScratchCausalLM
from keras_llm.tokenizers.llama2c import read_tokenizer

HEADER = struct.Struct("<7i")
FIELDS = (
    "hidden_dim",
    "intermediate_dim",
    "num_layers",
    "num_heads",
    "num_key_value_heads",
    "vocabulary_size",
    "max_sequence_length",
)


def from_llama2c(file: Path, tokenizer: Path) -> ScratchCausalLM:
    """Reads a checkpoint of llama2.c, of its first version, in float32.

    Args:
        file: The model, such as `stories15M.bin`.
        tokenizer: Its vocabulary, such as `tok512.bin`.

    Raises:
        InputError: A file that is missing, cut, or of another kind.
    """
    file = Path(file)
    settings = _read_header(file)
    pieces = read_tokenizer(tokenizer, settings["vocabulary_size"])
    check_vocabulary(pieces, settings)
    shapes = dict(_shapes(settings))
    needed = 4 * sum(int(np.prod(shape)) for shape in shapes.values())
    if (received := file.stat().st_size - HEADER.size) != needed:
        raise InputError(
            f"{file} must have {needed:,} bytes of weights, as its header "
            f"says. Received: {received:,}. Download it again."
        )
    values = np.memmap(file, "<f4", "r", offset=HEADER.size)
    arrays, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + int(np.prod(shape))
        arrays[name] = values[start:end].reshape(shape)
    model = new_model(settings, pieces)
    _assign(model, arrays)
    return model


def _read_header(file: Path) -> dict:
    try:
        check_regular(file)
        with open(file, "rb") as stream:
            numbers = HEADER.unpack(stream.read(HEADER.size))
    except (OSError, struct.error) as error:
        raise InputError(
            f"{file} must be a model of llama2.c: {error}"
        ) from error
    settings = dict(zip(FIELDS, numbers, strict=True))
    # A negative size says that the output projection is not tied.
    tied = settings["vocabulary_size"] > 0
    settings["vocabulary_size"] = abs(settings["vocabulary_size"])
    plausible = all(0 < number < 2**24 for number in settings.values())
    if not plausible or settings["hidden_dim"] % settings["num_heads"]:
        raise InputError(
            f"{file} must be a model of llama2.c, of its first version. "
            f"Its header says: {settings}"
        )
    return settings | {
        "position_embedding": "rotary",
        "normalization": "rms",
        "layer_norm_epsilon": 1e-5,
        "activation": "swiglu",
        "tie_word_embeddings": tied,
    }


def _shapes(settings: dict) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every array of the file, in its order."""
    size, length, layers, wide, inner = (
        settings["vocabulary_size"],
        settings["max_sequence_length"],
        settings["num_layers"],
        settings["hidden_dim"],
        settings["intermediate_dim"],
    )
    head = wide // settings["num_heads"]
    narrow = head * settings["num_key_value_heads"]
    yield "embeddings", (size, wide)
    yield "mixer_norm", (layers, wide)
    yield "query", (layers, wide, wide)
    yield "key", (layers, narrow, wide)
    yield "value", (layers, narrow, wide)
    yield "attention_output", (layers, wide, wide)
    yield "feed_forward_norm", (layers, wide)
    yield "gate", (layers, inner, wide)
    yield "feed_forward_output", (layers, wide, inner)
    yield "intermediate", (layers, inner, wide)
    yield "final_norm", (wide,)
    yield "cosines", (length, head // 2)
    yield "sines", (length, head // 2)
    if not settings["tie_word_embeddings"]:
        yield "head", (size, wide)


def _assign(model: ScratchCausalLM, arrays: dict[str, np.ndarray]) -> None:
    backbone = model.backbone
    embedding = backbone.embedding.token_embedding
    embedding.embeddings.assign(arrays["embeddings"])
    if not embedding.tie_weights:
        embedding.reverse_embeddings.assign(arrays["head"].T)
    backbone.final_norm.scale.assign(arrays["final_norm"])
    for index, block in enumerate(backbone.blocks):
        for name in ("mixer_norm", "feed_forward_norm"):
            getattr(block, name).scale.assign(arrays[name][index])
        for name in ("query", "key"):
            halves = _by_halves(arrays[name][index], block.mixer.head_dim)
            getattr(block.mixer, name).kernel.assign(halves.T)
        for name in ("value", "attention_output"):
            getattr(block.mixer, name).kernel.assign(arrays[name][index].T)
        for name in ("gate", "intermediate", "feed_forward_output"):
            layer = getattr(block.feed_forward, name)
            layer.kernel.assign(arrays[name][index].T)


def _by_halves(rows: np.ndarray, head_dim: int) -> np.ndarray:
    """Rows of each head in the order that `RotaryEmbedding` rotates.

    llama2.c rotates neighbours, as the first Llama did; here dimension *i* is
    rotated with dimension *i + head_dim / 2*.
    """
    pairs = rows.reshape(-1, head_dim // 2, 2, rows.shape[-1])
    return pairs.swapaxes(1, 2).reshape(rows.shape)
