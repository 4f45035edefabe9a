"""Sources of text, whatever they are, as the documents of a pipeline.

What the user names becomes a list of files (`listing`, `folders`, `kinds`),
which are fetched first if they are elsewhere (`fetching`, `catalogue`,
`hugging_face`). `reader` reads them: decompressed and guarded (`streams`), out
of `archives`, decoded (`encodings`), as `records` (`fields`, `tables`),
`pages` (`texts`) or `books`.
"""

from keras_llm.corpus.sources.listing import (
    SourceFile,
    as_sources,
    fingerprint,
    list_sources,
)

__all__ = ["SourceFile", "as_sources", "fingerprint", "list_sources"]
