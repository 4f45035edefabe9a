"""The options that make SentencePiece exact."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from keras_llm.recipes.settings import TokenizerSettings
from keras_llm.tokenizers.control import (
    CHAT_TOKENS,
    END,
    END_ID,
    MASK,
    PAD,
    PAD_ID,
    UNK,
    UNK_ID,
)

# A word model splits at spaces only: line ends and tabs become words of their
# own, and decoding takes the spaces away again.
WORD_RULES = {"\n": " \n ", "\t": " \t "}


@contextmanager
def trainer_options(settings: TokenizerSettings) -> Iterator[dict[str, Any]]:
    """Yields keyword arguments for `SentencePieceTrainer.train`."""
    with TemporaryDirectory() as folder:
        options = _common_options(settings)
        if settings.model_type == "word":
            options |= _word_options(Path(folder))
        else:
            options |= {
                "normalization_rule_name": "identity",
                "user_defined_symbols": ["\n", "\t"],
            }
        yield options


def _common_options(settings: TokenizerSettings) -> dict[str, Any]:
    subwords = settings.model_type in ("unigram", "bpe")
    return {
        "model_type": settings.model_type,
        "vocab_size": settings.vocabulary_size,
        "hard_vocab_limit": subwords,
        "byte_fallback": subwords,
        "split_digits": subwords,
        "character_coverage": 1.0,
        "remove_extra_whitespaces": False,
        "allow_whitespace_only_pieces": True,
        "add_dummy_prefix": settings.model_type == "word",
        "pad_id": PAD_ID,
        "pad_piece": PAD,
        "unk_id": UNK_ID,
        "unk_piece": UNK,
        "bos_id": -1,
        "eos_id": END_ID,
        "eos_piece": END,
        "control_symbols": [*CHAT_TOKENS, *[MASK] * settings.mask_token],
        # Longer texts are otherwise left out without a word.
        "max_sentence_length": 1 << 20,
        # The order of float sums follows this number, not that of the cores.
        "num_threads": 4,
        "minloglevel": 2,
    }


def _word_options(folder: Path) -> dict[str, Any]:
    forward, back = folder / "forward.tsv", folder / "back.tsv"
    forward.write_text(_rules(WORD_RULES), encoding="utf-8")
    inverse = {after: before for before, after in WORD_RULES.items()}
    back.write_text(_rules(inverse), encoding="utf-8")
    return {
        "normalization_rule_name": "",
        "normalization_rule_tsv": str(forward),
        "denormalization_rule_tsv": str(back),
    }


def _rules(rules: dict[str, str]) -> str:
    """Rules in SentencePiece's format: code points in hexadecimal."""

    def codes(text: str) -> str:
        return " ".join(f"{ord(character):X}" for character in text)

    lines = (f"{codes(a)}\t{codes(b)}\n" for a, b in rules.items())
    return "".join(lines)


def without_paths(model: bytes) -> bytes:
    """The model without the names of the rule files it was made from."""
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    proto = ModelProto.FromString(model)
    proto.normalizer_spec.ClearField("normalization_rule_tsv")
    proto.denormalizer_spec.ClearField("normalization_rule_tsv")
    return proto.SerializeToString(deterministic=True)
