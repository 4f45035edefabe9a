"""Plain text and HTML. What of a page is text is a rule's to decide."""

import io
from collections.abc import Iterator
from typing import BinaryIO

from datatrove.data import Document

from keras_llm.corpus.sources import texts
from keras_llm.corpus.sources.encodings import Decoder, declared_encoding
from keras_llm.corpus.sources.texts import Origin
from keras_llm.corpus.sources.unreadable import Unreadable


def read_text(
    stream: BinaryIO,
    origin: Origin,
    decoder: Decoder,
    hint: str | None = None,
    **metadata: str,
) -> Iterator[Document]:
    """Yields the parts of a plain text.

    Args:
        stream: Binary stream, from its begin.
        origin: That of the text.
        decoder: What decodes it.
        hint: The encoding that it is said to have.
        **metadata: More that the documents carry.
    """
    pieces = decoder.characters(stream, hint)
    yield from origin.text(pieces, "text", **metadata)


def read_html(
    stream: BinaryIO,
    origin: Origin,
    decoder: Decoder,
    hint: str | None = None,
    **metadata: str,
) -> Iterator[Document]:
    """Yields a page as one document, which is never in parts.

    Args:
        stream: Binary stream, from its begin.
        origin: That of the page.
        decoder: What decodes it.
        hint: The encoding that the server says it has.
        **metadata: More that the document carries.

    Raises:
        Unreadable: It is not text, or longer than `PART_CHARACTERS`: half a
            page cannot be taken apart.
    """
    most = texts.PART_CHARACTERS
    content = stream.read(4 * most + 1)
    hint = hint or declared_encoding(content)
    page = "".join(decoder.characters(io.BytesIO(content), hint))
    if len(page) > most:
        raise Unreadable(
            "too_large", f"The page is longer than {most} characters."
        )
    yield from origin.text([page], "html", **metadata)
