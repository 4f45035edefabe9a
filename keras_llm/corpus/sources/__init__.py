"""Sources of text, whatever they are, as the documents of a pipeline."""

from keras_llm.corpus.sources.listing import (
    SourceFile,
    as_sources,
    fingerprint,
    list_sources,
)

__all__ = ["SourceFile", "as_sources", "fingerprint", "list_sources"]
