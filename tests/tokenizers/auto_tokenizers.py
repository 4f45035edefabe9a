"""What tests of Hugging Face's tokenizers share: `AutoTokenizer`, and texts."""

import io
import json

import pytest
from byte_pair_reference import strange_texts
from sentencepiece import SentencePieceTrainer
from tiny_corpus import sample_text

CONTROL = ["<|end|>", "<|start|>", "<|turn|>"]
# U+2581 is how SentencePiece and Llama write a space.
TEXTS = [
    text.replace("\u2581", "")
    for text in [
        *("", " ", "  the people", "\n\nof\t \n", "<0x41><s></s>", "<unk>"),
        *("the<|endoftext|>", "<|pad|><|unk|>", "aaaa", "\0", "\ufeffthe"),
        *("".join(CONTROL), *sample_text(20).splitlines(keepends=True)),
        *strange_texts(1000, seed=12),
    ]
]


def auto_tokenizer(folder):
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(
        str(folder), local_files_only=True
    )


def ids_of(auto, texts=TEXTS):
    """Without special tokens, neither put before nor written out."""
    return auto(
        texts, add_special_tokens=False, split_special_tokens=True
    ).input_ids


def ours(tokenizer, texts=TEXTS):
    return [list(map(int, row)) for row in tokenizer.tokenize(texts)]


def write_json(path, **content):
    path.write_text(json.dumps(content), encoding="utf-8")


def as_dict(token):
    """A special token as `transformers` before its fifth version wrote it."""
    flags = ("lstrip", "normalized", "rstrip", "single_word")
    return {"__type": "AddedToken", "content": token, "special": True} | (
        dict.fromkeys(flags, False)
    )


def llama_pieces(**options):
    """A SentencePiece model as Llama 2's."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(
            # A word whose pieces can be merged in several ways.
            [*sample_text(200).splitlines(), *["papapapapa papapa"] * 99]
        ),
        model_writer=model,
        **{
            "model_type": "bpe",
            "vocab_size": 400,
            "byte_fallback": True,
            "normalization_rule_name": "identity",
            "remove_extra_whitespaces": False,
            "minloglevel": 2,
        }
        | options,
    )
    return model.getvalue()
