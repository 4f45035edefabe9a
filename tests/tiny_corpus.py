"""A small text and a corpus of it, for tests that need a tokenizer."""

import io
import random
from pathlib import Path

from sentencepiece import SentencePieceTrainer

from keras_llm.corpus.documents import Document
from keras_llm.recipes.settings import TokenizerSettings
from keras_llm.tokenizers import train_tokenizer

WORDS = (
    "the of and to in that for nation people government congress states "
    "united peace war public great year country law citizens power right "
    "labor commerce freedom treaty army treasury union justice hope duty"
).split()

VOCABULARY_SIZES = {"unigram": 360, "bpe": 360, "char": 100, "word": 60}


def sample_text(lines: int, seed: int = 0) -> str:
    """Lines of English words, some blank, some indented by a tab."""
    draw = random.Random(seed)
    made = []
    for _ in range(lines):
        words = draw.choices(WORDS, k=draw.randint(0, 12))
        indent = draw.choice(["", "", "", "\t", "  "])
        made.append(indent + " ".join(words).capitalize())
    return "\n".join(made) + "\n"


def write_corpus(folder: Path, **splits: list[str]) -> Path:
    """Writes each split's texts as documents of one shard."""
    for split, texts in splits.items():
        documents = [
            Document(id=f"{split}-{number}", text=text, source="test")
            for number, text in enumerate(texts)
        ]
        write_documents(folder, split, documents)
    return folder


def write_documents(
    folder: Path, split: str, documents: list[Document]
) -> Path:
    """Writes one shard of a split."""
    (folder / split).mkdir(parents=True, exist_ok=True)
    lines = "".join(document.to_json() + "\n" for document in documents)
    shard = folder / split / "00000.jsonl"
    shard.write_text(lines, encoding="utf-8")
    return folder


def sample_corpus(folder: Path) -> Path:
    """A corpus of four short train documents and one to validate on."""
    train = [sample_text(100, seed) for seed in range(4)]
    return write_corpus(folder, train=train, validation=[sample_text(50, 9)])


def sample_tokenizer(
    folder: Path, model_type: str = "unigram", mask_token: bool = False
) -> Path:
    """Trains a tokenizer on `sample_corpus`; returns its folder."""
    corpus = sample_corpus(folder / "corpus")
    settings = TokenizerSettings(
        model_type=model_type,
        vocabulary_size=VOCABULARY_SIZES[model_type],
        mask_token=mask_token,
    )
    train_tokenizer(corpus, folder / "tokenizer", settings)
    return folder / "tokenizer"


def other_model(**options) -> bytes:
    """A model trained elsewhere: SentencePiece's own defaults."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(["the people of the union"] * 9),
        model_writer=model,
        vocab_size=20,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return model.getvalue()
