"""Whether an exercise does what the package does."""

from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import numpy as np

from keras_llm import ScratchTokenizer
from keras_llm.corpus.documents import Document
from keras_llm.generation.sampling import choose_tokens
from keras_llm.layers import CausalSelfAttention, GRUCell
from keras_llm.recipes.settings import TokenizerSettings
from keras_llm.tokenizers import train_tokenizer

WORDS = {
    "were": 27,
    "lower": 32,
    "owl": 6,
    "wet": 9,
    "we": 33,
    "low": 52,
    "new": 12,
    "newer": 4,
}
PIECES = 8
# What a tokenizer has besides letters and pieces: bytes, control tokens, the
# unknown token, tab and line end.
OTHERS = 256 + 7 + 2


def check_attention(mine: ModuleType) -> None:
    """Against the layer with one head, whose projections are its own."""
    layer = CausalSelfAttention(8, num_heads=1)
    x = np.random.default_rng(0).normal(size=(7, 8)).astype("float32")
    wanted = np.array(layer(x[None]))[0]

    def projected(dense, x):
        kernel, bias = dense.get_weights()
        return x @ kernel + bias

    found = mine.attention(
        projected(layer.query, x),
        projected(layer.key, x),
        projected(layer.value, x),
    )
    found = projected(layer.attention_output, found)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def check_gru_cell(mine: ModuleType) -> None:
    """Against the cell, over three tokens."""
    cell = GRUCell(5)
    cell.build((None, 15))
    kernel, _ = cell.recurrent.get_weights()
    bias = np.random.default_rng(1).normal(size=15).astype("float32")
    cell.recurrent.set_weights([kernel, bias])
    wanted = [np.zeros((1, 5), "float32")]
    found = np.zeros(5, "float32")
    for inputs in np.random.default_rng(0).normal(size=(3, 15)):
        inputs = inputs.astype("float32")
        _, wanted = cell(inputs[None], wanted)
        found = mine.gru_step(inputs, found @ kernel + bias, found)
        np.testing.assert_allclose(found, np.array(wanted[0])[0], atol=1e-5)


def check_byte_pairs(mine: ModuleType) -> None:
    """Against a tokenizer of the package, trained on the same words."""
    tokenizer = _trained(WORDS, PIECES)
    names = [
        tokenizer.id_to_token(index)
        for index in range(tokenizer.vocabulary_size())
    ]
    learned = [name for name in names if len(name) > 1 and name.isalpha()]
    assert mine.learn(WORDS, PIECES) == learned
    # In the last three another order makes other pieces.
    for word in [*WORDS, "tower", "renew", "lowe", "newe", "lowere"]:
        ids = tokenizer(word)
        wanted = [tokenizer.id_to_token(int(index)) for index in ids]
        assert mine.cut(word, learned) == wanted, word


def _trained(words: dict[str, int], pieces: int) -> ScratchTokenizer:
    """A tokenizer with the letters of some words and so many pieces."""
    lines = "".join(f"{word}\n" * count for word, count in words.items())
    document = Document(id="words", text=lines, source="exercise")
    with TemporaryDirectory() as folder:
        shard = Path(folder) / "corpus/train/00000.jsonl"
        shard.parent.mkdir(parents=True)
        shard.write_text(document.to_json() + "\n")
        size = len({*"".join(words)}) + OTHERS + pieces
        settings = TokenizerSettings(model_type="bpe", vocabulary_size=size)
        out = Path(folder) / "tokenizer"
        train_tokenizer(Path(folder) / "corpus", out, settings)
        return ScratchTokenizer.from_file(out)


def check_sampler(mine: ModuleType) -> None:
    """Against the package's draws, with random numbers all over [0, 1)."""
    draw, count = np.random.default_rng(0), 200
    scores = draw.normal(0, 1, 12).astype("float32")
    uniforms = draw.random(count, "float32")
    for temperature, top_k, top_p in [
        (0.0, 0, 1.0),
        (1.0, 0, 1.0),
        (0.7, 5, 1.0),
        (2.0, 2, 1.0),
        (1.5, 0, 0.8),
        (1.0, 6, 0.6),
        (2.0, 3, 0.7),
    ]:
        settings = temperature, top_k, top_p, 0.0
        kinds = "float32", "int32", "float32", "float32"
        rows = [
            np.full(count, value, kind)
            for value, kind in zip(settings, kinds, strict=True)
        ]
        wanted = choose_tokens(
            np.tile(scores, (count, 1)),
            *rows,
            uniforms,
        )
        for token, uniform in zip(np.array(wanted), uniforms, strict=True):
            found = mine.choose(
                scores.copy(), temperature, top_k, top_p, uniform
            )
            assert found == token, (temperature, top_k, top_p)


CHECKS = {
    "attention": check_attention,
    "gru_cell": check_gru_cell,
    "byte_pairs": check_byte_pairs,
    "sampler": check_sampler,
}
