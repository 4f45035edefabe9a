"""The first step of a pipeline: files in, documents out, whatever they hold.

Damage ends as a document that says so, not as an error: of a million files
some are always broken. Only what the user can put right at once, such as a
library that is not installed, is an `InputError`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from datatrove.data import Document

from keras_llm.corpus.counts import Files
from keras_llm.corpus.sources.archives import Member, members
from keras_llm.corpus.sources.books import Books
from keras_llm.corpus.sources.encodings import Decoder, looks_like_text
from keras_llm.corpus.sources.fields import Fields
from keras_llm.corpus.sources.kinds import UNKNOWN, kind_of, label_of
from keras_llm.corpus.sources.listing import SourceFile
from keras_llm.corpus.sources.pages import (
    read_html,
    read_text,
    read_warc,
)
from keras_llm.corpus.sources.records import (
    RECORD_FORMATS,
    records_in,
)
from keras_llm.corpus.sources.streams import nothing
from keras_llm.corpus.sources.texts import Origin, Unreadable
from keras_llm.errors import InputError
from keras_llm.recipes.corpus_settings import CorpusSettings

TASK_BYTES = 8 * 2**20
MOST_TASKS = 4096  # about: a shard of each split comes of every task
_PAGE = re.compile(
    rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*"
    rb"<(!doctype\s+html|html)[\s>]",
    re.IGNORECASE | re.DOTALL,
)


def make_tasks(
    files: Sequence[SourceFile], task_bytes: int = TASK_BYTES
) -> list[list[SourceFile]]:
    """Divides files into groups, in order, that are read independently.

    They are the same for the same files, whoever reads them, and have at most
    `task_bytes` on disk, unless a group is one file, or there would be more
    than `MOST_TASKS`.
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


class FileReader:
    """Yields the documents of the files of a task, in order.

    Their metadata are `source`, `split` and `format` (`"text"` or `"html"`);
    `unreadable` (a reason) and `detail` (a sentence) only where there is no
    text because it could not be read. `count` is `Files` of the task read last.

    Args:
        tasks: The files of every task.
        settings: `encoding`, `include`, `text`, `template`, `split_column`.
        progress: Called with numbers of bytes, as they are read from disk;
            over a task they add up to `sum(file.bytes for file in task)`.

    Raises:
        InputError: A setting cannot be used.
    """

    def __init__(
        self,
        tasks: Sequence[Sequence[SourceFile]],
        settings: CorpusSettings,
        progress: Callable[[int], None] = nothing,
    ) -> None:
        self.tasks = tasks
        self.progress = progress
        self._include = tuple(settings.include)
        self._encoding = settings.encoding
        self._fields = Fields(settings)
        Decoder(settings.encoding)  # says what is wrong with it

    def run(self, rank: int = 0) -> Iterator[Document]:
        """Yields the documents of task `rank`.

        Raises:
            InputError: A library that its files need is not installed.
        """
        self._decoder = Decoder(self._encoding)
        repaired = self._decoder.repaired
        self.count = Files(0, Counter(), Counter(), repaired)
        self._books = Books()
        try:
            for file in self.tasks[rank]:
                yield from self._documents(file)
        finally:
            self._books.close()

    def _documents(self, file: SourceFile) -> Iterator[Document]:
        self.count.found += file.start == 0
        if file.skipped:
            self.count.skipped[file.skipped] += 1
            return
        is_archive = bool(kind_of(file.id).archive)
        if is_archive:
            self.count.read[label_of(file.id)] += 1
        repaired = self.count.repaired
        for member in members(file, self._include, repaired, self.progress):
            if is_archive and member.kind is None:
                yield self._origin(file, member).unreadable(member.error)
                continue
            self.count.found += is_archive
            yield from self._in_member(member, file)

    def _origin(self, file: SourceFile, member: Member) -> Origin:
        id = f"{file.id}/{member.name}" if member.name else file.id
        return Origin(id, file.source, file.split)

    def _in_member(
        self, member: Member, file: SourceFile
    ) -> Iterator[Document]:
        count, label = self.count, label_of(member.name or file.id)
        if member.skipped:
            count.skipped[member.skipped] += 1
        elif not self._is_text(member):
            count.skipped[label] += 1
        else:
            count.read[label] += not file.start  # ranges of a file are one
            origin = self._origin(file, member)
            try:
                if member.error:
                    raise member.error
                yield from self._read(member, file, origin)
            except (InputError, MemoryError):
                raise
            except Unreadable as error:
                yield origin.unreadable(error)
            except Exception as error:  # a defect must not cost a day's work
                detail = f"{type(error).__name__}: {error}"[:200]
                yield origin.unreadable(Unreadable("damaged", detail))

    def _is_text(self, member: Member) -> bool:
        if member.error or member.kind.format != UNKNOWN:
            return True
        try:
            return looks_like_text(member.stream.peek(), self._encoding)
        except Unreadable:
            return True  # until it is read, and that fails

    def _read(
        self, member: Member, file: SourceFile, origin: Origin
    ) -> Iterator[Document]:
        format = member.kind.format
        stream = member.stream
        if format == UNKNOWN:
            format = "html" if _PAGE.match(stream.peek()) else "text"
        if format in RECORD_FORMATS:
            found = records_in(
                stream,
                format,
                self._fields,
                self._decoder,
                (file.start, file.stop),
            )
            for number, record in found:
                here = origin.inner(f"@{number}")
                yield from self._fields.documents(record, here)
        elif format in _READERS:
            yield from _READERS[format](stream, origin, self._decoder)
        else:
            yield from self._books.read(format, stream, origin)


_READERS = {"html": read_html, "text": read_text, "warc": read_warc}
