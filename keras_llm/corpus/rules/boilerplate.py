"""Formatter that removes what publishers add around a text.

Project Gutenberg's header and licence are found by their marker lines, in
the wordings of 1991 to today. Lines that are nothing but a copyright or
licence notice go too; a sentence that mentions one stays.
"""

import re

from datatrove.pipeline.formatters.base import BaseFormatter

# "*** START OF THE PROJECT GUTENBERG EBOOK EMMA ***" and its relatives.
_GUTENBERG = r"PROJECT[ ]GUTENBERG(?:['’]?S|-TM|™|\(TM\))?"
_MARKER = re.compile(
    rf"""
    ^(?:(?P<start>
        [ ]*\*{{1,3}}[ ]*START[ ]OF[ ](?:TH(?:E|IS)[ ])?{_GUTENBERG}[ ]
            (?:E-?BOOK|E-?TEXT)\b.*
        | [ ]*\*END[ *]*THE[ ]SMALL[ ]PRINT.*
        | [ ]*\*{{1,3}}[ ]*END[ ]OF[ ]THE[ ]SMALL[ ]PRINT.*
    )|(?P<end>
        [ ]*\*{{1,3}}[ ]*END[ ]OF[ ](?:TH(?:E|IS)[ ])?{_GUTENBERG}[ ]
            (?:E-?BOOK|E-?TEXT)\b.*
        | [ ]*\**[ ]*END[ ]OF[ ](?:TH(?:E|IS)[ ])?{_GUTENBERG}[ ,].*
        | [ ]*\**[ ]*END[ ]OF[ ]THIS[ ]ETEXT\b.*
        | [ ]*\**[ ]*ENDE[ ]DIESES[ ]{_GUTENBERG}.*
    ))
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
# A long title takes the marker to its next lines.
_REST_OF_MARKER = re.compile(r"(?:\n[^\n]+){0,3}?\*\*\*[ ]*(?=\n|\Z)")
_LONGEST_FRAME = 60_000  # characters of a header or licence; most have 20,000

_NAMED = re.compile("gutenberg|etext|small print", re.IGNORECASE)
_CREDIT = re.compile(
    r"(?:Produced by|E-?text prepared by|Transcribed by|This e-?text was "
    r"(?:produced|prepared|scanned)|\[?Transcriber['’]s Note)[^\n]*",
    re.IGNORECASE,
)
_NOTICE = re.compile(
    r"""
    (?:copyright|©|\(c\)|copr\.)\s*(?:©|\(c\))?\s*[12]\d{3}\b[^\n]{0,100}
    | [^\n.!?]{0,80}\ball[ ]rights[ ]reserved\.?[^\n.!?]{0,60}
    | (?:this|the)[ ][^\n.!?]{0,60}\b(?:is|are)[ ]licen[sc]ed[ ]under[ ]
        [^\n!?]{0,40}(?:creative[ ]commons|cc[ -]by|gnu|mit|apache)[^\n!?]{0,80}
    | licen[sc]ed[ ]under[ ][^\n!?]{0,40}
        (?:creative[ ]commons|cc[ -]by|gnu|mit|apache)[^\n!?]{0,80}
    | (?:licen[sc]e:?[ ]*)?cc[ -](?:by(?:[ -](?:nc|nd|sa))*|0)
        (?:[ ]\d\.\d)?(?:[ ](?:international|unported))?\.?
    """,
    re.IGNORECASE | re.VERBOSE,
)
_NOTICE_WORDS = ("copyright", "©", "(c)", "reserved", "licen", "cc")


class Boilerplate(BaseFormatter):
    """Removes Project Gutenberg's header and licence, and licence lines.

    Of several books in one text what stands between the end of one and the
    start of the next goes as well.

    Args:
        gutenberg: Whether Project Gutenberg's header and licence go.
        notices: Whether lines go that are only a copyright or licence notice.
    """

    def __init__(self, gutenberg: bool = True, notices: bool = True):
        super().__init__()
        self.gutenberg = gutenberg
        self.notices = notices

    def format(self, text: str) -> str:
        """The text without these."""
        if self.gutenberg and _NAMED.search(text):
            text = _without_frame(text)
        if self.notices:
            text = _without_notices(text)
        return text


def _without_frame(text: str) -> str:
    """The text without what stands before a start and after an end."""
    markers = list(_MARKER.finditer(text))
    if not markers:
        return text
    begins = [0, *(_after(text, marker) for marker in markers)]
    ends = [*(marker.start() for marker in markers), len(text)]
    kinds = [None, *(marker.lastgroup for marker in markers), None]
    pieces = [
        text[begin:end]
        for begin, end, before, after in zip(
            begins, ends, kinds, kinds[1:], strict=False
        )
        if end - begin > _LONGEST_FRAME
        or not (before == "end" or after == "start")
    ]
    return "\n\n".join(filter(None, map(_without_credits, pieces)))


def _after(text: str, marker: re.Match) -> int:
    """Where a marker ends, which may take several lines."""
    if "***" in marker[0].lstrip(" *"):
        return marker.end()
    rest = _REST_OF_MARKER.match(text, marker.end())
    return rest.end() if rest else marker.end()


def _without_credits(body: str) -> str:
    """A book without who typed it, and without empty lines around it."""
    body = body.strip("\n")
    while _CREDIT.match(body):
        body = body.partition("\n\n")[2].lstrip("\n")
    return body + "\n" if body else ""


def _without_notices(text: str) -> str:
    lowered = text.lower()
    if not any(word in lowered for word in _NOTICE_WORDS):
        return text
    lines = text.split("\n")
    kept = [line for line in lines if not _is_notice(line)]
    return text if len(kept) == len(lines) else "\n".join(kept)


def _is_notice(line: str) -> bool:
    return len(line) <= 240 and bool(_NOTICE.fullmatch(line.strip()))
