"""Documents that are hardly text: stubs of pages, and markup that is left."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STUB, MARKUP = "stub pages", "markup left"
LONGEST_STUB = 600  # characters
SAMPLE = 8000  # characters of a document that are looked at
CHARACTERS_PER_MARK = 400
FEWEST_MARKS = 3
_STUB = re.compile(
    r"redirect|\bmoved (?:permanently|to|here)|has (?:been )?moved|click here"
    r"|not found|javascript (?:is|must|to)|enable javascript|access denied"
    r"|under construction|continue to the (?:new|next) page",
    re.IGNORECASE,
)
_MARKS = re.compile(
    r"^[.'](?:\\\"|[A-Za-z]{2}\b)"  # roff, as of manual pages
    r"|</[A-Za-z][\w:]*>"  # HTML and XML
    r"|\\(?:begin|end|section|subsection|item|cite|ref)\b"  # LaTeX
    r"|\{\{\w|\]\]",  # of wikis
    re.MULTILINE,
)


@dataclass(frozen=True)
class Suspects:
    """Documents that look alike in what is wrong with them.

    Args:
        documents: How many.
        id: Of the first.
    """

    documents: int = 0
    id: str = ""


def suspicion(text: str) -> str | None:
    """What a document seems to be instead of text; `None` if it is fine."""
    if len(text) <= LONGEST_STUB and _STUB.search(text):
        return STUB
    sample = text[:SAMPLE]
    marks = len(_MARKS.findall(sample))
    enough = max(FEWEST_MARKS, len(sample) / CHARACTERS_PER_MARK)
    return MARKUP if marks >= enough else None


def merged_suspects(
    records: list[Mapping[str, Mapping[str, Any]]],
) -> dict[str, Suspects]:
    """Those of all tasks, in order."""
    merged: dict[str, Suspects] = {}
    for record in records:
        for kind, found in record.items():
            known = merged.get(kind, Suspects(0, found["id"]))
            count = known.documents + found["documents"]
            merged[kind] = Suspects(count, known.id)
    return dict(sorted(merged.items()))
