"""Filter that reduces HTML to its main content, by trafilatura.

Pages are read in a process of their own, so that one that takes forever, or
takes the process down, is given up and the rest goes on.
"""

import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.extractors.base import ExtractorSandbox
from datatrove.pipeline.filters.base_filter import BaseFilter

from keras_llm.corpus.rules.main_content import MainContent
from keras_llm.errors import InputError
from keras_llm.recipes.checks import check

_SECONDS_TO_START = 120  # importing trafilatura on a machine that is busy


class Html(BaseFilter):
    """Reduces web pages to their main content; lets other texts through.

    Navigation, advertisements, cookie notices, scripts and comments go;
    headings, paragraphs, list items and table rows stay, a line each. The
    page is dropped if nothing stays (`no_main_content`), if it takes too long
    (`timeout`) or if reading it fails (`broken_page`).

    Args:
        favor_precision: Whether what may not belong to the main content goes
            (or, if `False`, what may belong to it stays).
        include_tables: Whether tables stay.
        include_links: Whether the address of a link stays behind its text.
        timeout: Seconds a page.
    """

    name = "html"

    def __init__(
        self,
        favor_precision: bool = False,
        include_tables: bool = True,
        include_links: bool = False,
        timeout: float = 30.0,
    ):
        super().__init__()
        check(timeout > 0, "html.timeout", "above 0", timeout)
        self.timeout = timeout
        self._options = {
            "favour_precision": favor_precision,
            "include_tables": include_tables,
            "include_links": include_links,
        }
        self._sandbox: Sandbox | None = None
        self._extractor: MainContent | None = None

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Puts a page's main content in its place, or says why not."""
        if doc.metadata.get("format") != "html":
            return True
        self._prepare()
        try:
            text = self._extract(doc.text)
        except TimeoutError:
            return False, "timeout"
        except (EOFError, OSError, ValueError):
            return False, "broken_page"
        if not text:
            return False, "no_main_content"
        doc.text = text
        doc.metadata["format"] = "text"
        return True

    def close(self) -> None:
        """Ends the process that reads pages; the next page starts another."""
        if self._sandbox is not None:
            self._sandbox.stop()
            self._sandbox = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_sandbox": None, "_extractor": None}

    def _prepare(self) -> None:
        if self._sandbox is None:
            self._extractor = _extractor(self._options)
            self._sandbox = Sandbox(self.timeout)

    def _extract(self, page: str) -> str | None:
        page = page.encode("utf-8", "replace").decode("utf-8")
        return self._sandbox.process_document(page, self._extractor.extract)


class Sandbox(ExtractorSandbox):
    """datatrove's, with its own time to start, and told of a failed start.

    There the first page's time limit also covers importing trafilatura, which
    can take longer than any page, and the first pages were lost.
    """

    def stop(self) -> None:
        """Ends the process, if there is one."""
        self._cleanup_process()

    def _ensure_process(self, extract_fn: Callable[[str], str | None]) -> None:
        if self.process is not None and self.process.is_alive():
            return
        if self.process is not None:
            self._cleanup_process()
        # Not the default context: within a worker that is the executor's.
        context = get_context("fork" if sys.platform == "linux" else "spawn")
        parent_conn, child_conn = context.Pipe()
        process = context.Process(
            target=self._worker, args=(child_conn, extract_fn), daemon=True
        )
        process.start()
        self.parent_conn, self.child_conn = parent_conn, child_conn
        self.process = process
        deadline = time.monotonic() + _SECONDS_TO_START
        while not self.parent_conn.poll(0.2):
            if not self.process.is_alive() or time.monotonic() > deadline:
                self._cleanup_process()
                raise EOFError("the process that reads pages did not start")
        self.parent_conn.recv()


def _extractor(options: dict[str, Any]) -> MainContent:
    try:
        import trafilatura  # noqa: F401  (here, for the process to inherit)
    except ImportError as error:
        raise InputError(
            f"Reading HTML needs trafilatura ({error}). Install it with "
            "`pip install 'keras-llm[web]'`, or leave HTML out."
        ) from error
    return MainContent(**options)
