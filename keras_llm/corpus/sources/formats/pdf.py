"""PDF: the text of its pages, in the order in which it is drawn."""

import logging
from collections.abc import Iterator
from typing import Any, BinaryIO

from datatrove.data import Document

from keras_llm.corpus.sources.encodings import Decoder
from keras_llm.corpus.sources.optional import optional
from keras_llm.corpus.sources.streams import held
from keras_llm.corpus.sources.texts import Origin
from keras_llm.corpus.sources.unreadable import Unreadable


def read_pdf(
    stream: BinaryIO, origin: Origin, decoder: Decoder
) -> Iterator[Document]:
    """Yields the parts of the text of all pages.

    Scanned pages have no text.

    Args:
        stream: Binary stream, from its begin.
        origin: That of the file.
        decoder: Of no use here.

    Raises:
        InputError: pypdf is not installed.
    """
    pypdf = optional("pypdf", "documents")
    # It warns of each blemish that it has coped with.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    yield from origin.text(_pages(pypdf, held(stream)))


def _pages(pypdf: Any, stream: BinaryIO) -> Iterator[str]:
    try:
        reader = pypdf.PdfReader(stream)
        # Many are encrypted with an empty password, which only forbids edits.
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("encrypted", "It needs a password.")
        for page in reader.pages:
            yield page.extract_text() + "\n"
    except (MemoryError, Unreadable):
        raise
    except pypdf.errors.DependencyError as error:
        raise Unreadable("encrypted", f"{error}.") from error
    except Exception as error:  # PdfReadError, and whatever else it meets
        raise Unreadable.of(error) from error
