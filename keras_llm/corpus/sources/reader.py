"""The first step of a pipeline: files in, documents out, whatever they hold.

Damage ends as a document that says so, not as an error: of a million files
some are always broken. Only what the user can put right at once, such as a
library that is not installed, is an `InputError`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep

from keras_llm.corpus.sources.containers import Member, members
from keras_llm.corpus.sources.encodings import check_encoding
from keras_llm.corpus.sources.fields import Fields
from keras_llm.corpus.sources.files import SourceFile
from keras_llm.corpus.sources.formats.epub import read_epub
from keras_llm.corpus.sources.formats.pages import read_html, read_text
from keras_llm.corpus.sources.formats.pdf import read_pdf
from keras_llm.corpus.sources.formats.records import (
    RECORD_FORMATS,
    records_in,
)
from keras_llm.corpus.sources.formats.warc import read_warc
from keras_llm.corpus.sources.kinds import kind_of
from keras_llm.corpus.sources.streams import Disk, nothing
from keras_llm.corpus.sources.texts import Origin
from keras_llm.corpus.sources.unreadable import Unreadable
from keras_llm.errors import InputError
from keras_llm.recipes.corpus_settings import CorpusSettings

TASK_BYTES = 8 * 2**20
MOST_TASKS = 4096  # about: a shard of each split comes of every task


def make_tasks(
    files: Sequence[SourceFile], task_bytes: int = TASK_BYTES
) -> list[list[SourceFile]]:
    """Divides files into groups, in order, that are read independently.

    Args:
        files: As `list_sources` returns them.
        task_bytes: Bytes on disk that a group has at most, unless it is one
            file, or there would be more than `MOST_TASKS` groups.

    Returns:
        The groups; the same for the same files, whoever reads them.
    """
    total = sum(file.bytes for file in files)
    task_bytes = max(task_bytes, total // MOST_TASKS)
    tasks: list[list[SourceFile]] = []
    room = 0
    for file in files:
        if not tasks or file.bytes > room:
            tasks.append([])
            room = task_bytes
        tasks[-1].append(file)
        room -= file.bytes
    return tasks


class FileReader(PipelineStep):
    """Yields the documents of the files of a task, in order.

    Their metadata are `source`, `split` and `format` (`"text"` or `"html"`);
    `unreadable` (a reason) and `detail` (a sentence) only where there is no
    text because it could not be read.

    `progress` is called with numbers of bytes, as they are read from disk;
    over a task they add up to `sum(file.bytes for file in task)`.

    Args:
        tasks: The files of every task.
        settings: `encoding`, `text`, `template` and `split_column` are used.

    Raises:
        InputError: A setting cannot be used.
    """

    name = "files"
    type = "reader"

    def __init__(
        self, tasks: Sequence[Sequence[SourceFile]], settings: CorpusSettings
    ) -> None:
        super().__init__()
        self.tasks = tasks
        self.progress: Callable[[int], None] = nothing
        self._encoding = settings.encoding
        self._fields = Fields(settings)
        if settings.encoding is not None:
            check_encoding(settings.encoding)

    def run(
        self,
        data: DocumentsPipeline = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> DocumentsPipeline:
        """Yields the documents of task `rank`.

        Raises:
            InputError: A library that its files need is not installed.
        """
        if data:
            yield from data
        for file in self.tasks[rank]:
            yield from self._documents(file)

    def _documents(self, file: SourceFile) -> Iterator[Document]:
        origin = Origin(file.id, file.source, file.split)
        if file.trouble:
            yield origin.unreadable(Unreadable("unavailable", file.trouble))
            return
        try:
            stop = file.start + file.bytes
            disk = Disk(file.path, self.progress, file.start, stop)
        except Unreadable as error:
            self.progress(file.bytes)
            yield origin.unreadable(error)
            return
        with disk:
            for member in _safely(_members(disk, file), origin):
                if isinstance(member, Document):
                    yield member
                else:
                    yield from self._in_member(member, file, origin)
            disk.finish()

    def _in_member(
        self, member: Member, file: SourceFile, origin: Origin
    ) -> Iterator[Document]:
        if member.name:
            origin = origin.inner(f"/{member.name}")
        if member.error:
            yield origin.unreadable(member.error)
        else:
            yield from _safely(self._read(member, file, origin), origin)

    def _read(
        self, member: Member, file: SourceFile, origin: Origin
    ) -> Iterator[Document]:
        format = member.kind.format
        stream = member.stream
        if format in RECORD_FORMATS:
            found = records_in(
                stream,
                format,
                self._fields,
                self._encoding,
                (file.start, file.stop),
            )
            return (
                document
                for number, record in found
                for document in self._fields.documents(
                    record, origin.inner(f"@{number}")
                )
            )
        if format in _BOOKS:
            return _BOOKS[format](stream, origin)
        return _TEXTS[format](stream, origin, self._encoding)


_TEXTS = {"text": read_text, "html": read_html, "warc": read_warc}
_BOOKS = {"epub": read_epub, "pdf": read_pdf}


def _members(disk: Disk, file: SourceFile) -> Iterator[Member]:
    kind = kind_of(file.id)
    if kind is None:
        raise Unreadable("unsupported", "It is of no kind that is known.")
    yield from members(disk, kind)


def _safely(items: Iterator[Any], origin: Origin) -> Iterator[Any]:
    """The items, and where they end in an error, a document that says so."""
    try:
        yield from items
    except (InputError, MemoryError):
        raise
    except Unreadable as error:
        yield origin.unreadable(error)
    except Exception as error:  # a defect must not cost a day's work
        detail = f"{type(error).__name__}: {error}"[:200]
        yield origin.unreadable(Unreadable("damaged", detail))
