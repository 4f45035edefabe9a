"""What benchmarks train on: a text, a tokenizer of it, and its tokens."""

from pathlib import Path

from rich.console import Console

from keras_llm import workflow
from keras_llm.recipes import Recipe


def make_tokens(text: str, folder: Path, recipe: Recipe) -> None:
    """Writes `corpus`, `tokenizer` and `tokens` of a text of the catalogue."""
    corpus, tokenizer = folder / "corpus", folder / "tokenizer"
    quiet = Console(quiet=True)
    workflow.prepare_corpus([text], corpus, recipe, quiet)
    workflow.make_tokenizer(corpus, tokenizer, recipe, quiet)
    workflow.encode_corpus(corpus, tokenizer, folder / "tokens", quiet)
