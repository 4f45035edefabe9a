"""Hugging Face tokenizers that ours must equal, and texts to try."""

import functools
import random
from pathlib import Path

import tokenizers
from testing import DATA
from tiny_corpus import sample_text
from tokenizers import (
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from keras_llm.tokenizers.byte_pair_files import (
    END_OF_TEXT,
    BytePairVocabulary,
    read_files,
)
from keras_llm.tokenizers.byte_pair_rules import (
    BLOOM_REGEX,
    GPT2_REGEX,
    LLAMA3_REGEX,
    QWEN2_REGEX,
    Rule,
)

GPT2_FILES = [
    str(DATA.parent / "pretrained" / name)
    for name in ("encoder.json", "vocab.bpe")
]

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]

FRAGMENTS = (
    """'s 'S 'll 'LL 'lL 're 'RE 've 'd 't 'm 'ſ '' ' ’s a b hello World
    ß é e\u0301 中 文字 かな ก็ ไทย हिन्दी 1 12 123 4567 ٣ ² ½ Ⅷ 一 ! ?! ... ( [ "
    -    _ $ | x ò ñ² ³ 👍 👩‍👩‍👧 🏽 <|endoftext|> । ، … 。 ， /""".split()
    + [
        *(" ", "  ", "   ", "\t", "\r\n", "\n", "\n\n", "\r", "\v", "\f"),
        *("\x85", "\xa0", "\u2003", "\u3000", "\u2028", "\0", "\x01", "\x1c"),
        *("\x7f", "\u200b", "\u200d", "\ufeff", "\ufffd", "\ufffe"),
        *("\U0010ffff", "\U000e0041", "\u0301", "\u1161", "\u11a8"),
    ]
)


def _byte_level(use_regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def _split(regex):
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(regex), "isolated"), _byte_level(False)]
    )


# As the published tokenizer.json files have them.
PRE_TOKENIZERS = {
    "bloom": _split(BLOOM_REGEX),
    "falcon": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation("contiguous"),
            _byte_level(True),
            pre_tokenizers.Digits(individual_digits=False),
            pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
        ]
    ),
    "gpt2": _byte_level(True),
    "llama3": _split(LLAMA3_REGEX),
    "qwen2": _split(QWEN2_REGEX),
    "smollm": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), _byte_level(True)]
    ),
}
GPT2_SPLIT = _split(GPT2_REGEX)


def gpt2_vocabulary():
    """GPT-2's two files, as ours."""
    tokens, merges = read_files(*GPT2_FILES)
    end = {END_OF_TEXT: tokens[END_OF_TEXT]}
    return BytePairVocabulary(
        tokens, merges, Rule("gpt2"), end, end_token_ids=tuple(end.values())
    )


def strange_texts(count, seed):
    """Strings of what splitting rules tell apart, and of any characters."""
    draw = random.Random(seed)
    everything = [FRAGMENTS, CODE_POINTS, range(1, 0x3000)]

    def part():
        (pool,) = draw.choices(everything, (8, 1, 1))
        chosen = draw.choice(pool)
        return chosen if isinstance(chosen, str) else chr(chosen)

    return [
        "".join(part() for _ in range(draw.randrange(14))) for _ in range(count)
    ]


@functools.cache
def published_gpt2():
    """GPT-2's tokenizer, of its two files."""
    tokenizer = tokenizers.Tokenizer(models.BPE.from_file(*GPT2_FILES))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS["gpt2"]
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.encode_special_tokens = True
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer


@functools.cache
def _trained_json():
    tokenizer = tokenizers.Tokenizer(models.BPE())
    # Words of every kind: merges that other rules would cut.
    tokenizer.pre_tokenizer = _split(r"\S*\s*")
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [sample_text(300), *strange_texts(20_000, seed=1)]
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str()


def trained(rule, normalization=None, whole_words=False):
    """A tokenizer of 2,000 tokens, trained on the spot."""
    tokenizer = tokenizers.Tokenizer.from_str(_trained_json())
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[rule]
    if normalization:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.model.ignore_merges = whole_words
    return tokenizer


def ids_of(tokenizer, texts):
    """Hugging Face's ids, without special tokens."""
    batch = tokenizer.encode_batch(texts, add_special_tokens=False)
    return [encoding.ids for encoding in batch]


def lines_and_blocks(name):
    """Each line of a published text, and every twenty of them."""
    text = (Path(DATA) / name).read_bytes().decode()
    lines = text.splitlines(keepends=True)
    return lines + [
        "".join(lines[i : i + 20]) for i in range(0, len(lines), 20)
    ]
