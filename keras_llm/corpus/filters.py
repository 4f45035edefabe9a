"""Steps that pass some documents on, whatever the recipe says."""

from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters.base_filter import BaseFilter

from keras_llm.corpus.duplicates.paragraphs import without
from keras_llm.errors import InputError


class DropUnreadable(BaseFilter):
    """Leaves out what the reader could not make text of."""

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        reason = doc.metadata.get("unreadable")
        return (False, reason) if reason else True


class DropEmpty(BaseFilter):
    """Leaves out texts of nothing but whitespace."""

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        is_empty = not doc.text or doc.text.isspace()
        return (False, "only_whitespace") if is_empty else True


class DropDuplicates(BaseFilter):
    """Leaves out the documents that have one verdict.

    Args:
        verdict: `EXACT_DUPLICATE` or `NEAR_DUPLICATE`.
    """

    def __init__(self, verdict: int):
        super().__init__()
        self.verdict = verdict

    def filter(self, doc: Document) -> bool:
        return doc.metadata["verdict"] != self.verdict


class DropParagraphs(BaseFilter):
    """Removes the paragraphs that came before, and what is left empty."""

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        if len(doc.metadata["repeated"]):
            doc.text = without(doc.text, doc.metadata["repeated"])
        return (True, "") if doc.text.strip() else (False, "nothing_left")


class OnlySplit(PipelineStep):
    """Passes the documents of one split."""

    type = "splitter"
    name = "only"

    def __init__(self, split: str):
        super().__init__()
        self.split = split

    def run(
        self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1
    ) -> DocumentsPipeline:
        for document in data:
            if document.metadata["split"] == self.split:
                yield document


class RequireReadable(PipelineStep):
    """Refuses evaluation files of which a part cannot be read.

    Raises:
        InputError: The message names the file.
    """

    type = "reader"
    name = "readable"

    def run(
        self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1
    ) -> DocumentsPipeline:
        for document in data:
            if reason := document.metadata.get("unreadable"):
                detail = document.metadata.get("detail", reason)
                raise InputError(
                    f"corpus.contamination: {document.id} cannot be read: "
                    f"{detail}"
                )
            yield document
