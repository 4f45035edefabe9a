"""Filter that reduces HTML to its main content, by trafilatura.

Pages are read in a process of their own, so that one that takes forever, or
takes the process down, is given up and the rest goes on.
"""

from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter

from keras_llm.corpus.rules.main_content import MainContent
from keras_llm.corpus.sandbox import Sandbox
from keras_llm.errors import InputError
from keras_llm.recipes.checks import check


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

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Puts a page's main content in its place, or says why not."""
        if doc.metadata.get("format") != "html":
            return True
        if self._sandbox is None:
            extract = _extractor(self._options).extract
            self._sandbox = Sandbox(extract, self.timeout, warm_up="")
        try:
            page = doc.text.encode("utf-8", "replace").decode("utf-8")
            text = self._sandbox.call(page)
        except TimeoutError:
            return False, "timeout"
        except (EOFError, MemoryError, ValueError):
            return False, "broken_page"
        if not text:
            return False, "no_main_content"
        doc.text = text
        doc.metadata["format"] = "text"
        return True

    def close(self) -> None:
        """Ends the process that reads pages; the next page starts another."""
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_sandbox": None}


def _extractor(options: dict[str, Any]) -> MainContent:
    try:
        import trafilatura  # noqa: F401  (here, for the process to inherit)
    except ImportError as error:
        raise InputError(
            f"Reading HTML needs trafilatura ({error}). Install it with "
            "`pip install 'keras-llm[web]'`, or leave HTML out."
        ) from error
    return MainContent(**options)
