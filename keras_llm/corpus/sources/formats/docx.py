"""DOCX: the paragraphs of a document, by mammoth."""

from collections.abc import Iterator
from typing import BinaryIO

from datatrove.data import Document

from keras_llm.corpus.sources.containers import opened_zip
from keras_llm.corpus.sources.encodings import Decoder
from keras_llm.corpus.sources.optional import optional
from keras_llm.corpus.sources.streams import BUFFER, Budget, Guarded, held
from keras_llm.corpus.sources.texts import Origin
from keras_llm.corpus.sources.unreadable import Unreadable


def read_docx(
    stream: BinaryIO, origin: Origin, decoder: Decoder
) -> Iterator[Document]:
    """Yields the text of a document, with an empty line between paragraphs.

    Args:
        stream: Binary stream, from its begin.
        origin: That of the file.
        decoder: Of no use here.

    Raises:
        Unreadable: It is damaged.
        InputError: mammoth is not installed.
    """
    mammoth = optional("mammoth", "documents")
    stream = held(stream)
    _check_size(stream)
    try:
        text = mammoth.extract_raw_text(stream).value
    except MemoryError:
        raise
    except Exception as error:  # of zip, of XML, of what it expects in it
        raise Unreadable.of(error) from error
    yield from origin.text([text])


def _check_size(stream: BinaryIO) -> None:
    """Raises `Unreadable` for a bomb, which mammoth would read whole."""
    size = stream.seek(0, 2)
    stream.seek(0)
    budget = Budget(lambda: size)
    with opened_zip(stream) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                content = Guarded(member, budget)
                while content.read(BUFFER):
                    pass
    stream.seek(0)
