"""What a file is, and for which split, by its name.

A name that says nothing means text, if the content can be read as that.
"""

import re
from dataclasses import dataclass
from posixpath import basename, splitext

FORMATS = {
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".markdown": "text",
    ".rst": "text",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".json": "json",
    ".jsonl": "json_lines",
    ".ndjson": "json_lines",
    ".csv": "csv",
    ".tsv": "tsv",
    ".arrow": "arrow",
    ".parquet": "arrow",
    ".warc": "warc",
    ".wet": "warc",
    ".docx": "docx",
    ".epub": "epub",
    ".pdf": "pdf",
}
ARCHIVES = {".tar": "tar", ".zip": "zip"}
UNKNOWN = "unknown"  # format of a name that says nothing
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2", ".xz": "xz"}
SHORT = {
    ".tgz": ".tar.gz",
    ".tzst": ".tar.zst",
    ".tbz2": ".tar.bz2",
    ".txz": ".tar.xz",
}
SPLIT_NAMES = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
_SUFFIX = re.compile(r"\.\w{1,12}")
_NUMBER = re.compile(r"-\d+-of-\d+$")  # as Hugging Face numbers its files


@dataclass(frozen=True)
class Kind:
    """What a file holds.

    Args:
        format: Of its text, a value of `FORMATS` or `UNKNOWN`; empty for an
            archive.
        archive: `"tar"` or `"zip"`; empty for a file that is no archive.
        compression: A value of `COMPRESSIONS`; empty if not compressed.
    """

    format: str = ""
    archive: str = ""
    compression: str = ""

    @property
    def has_fields(self) -> bool:
        """Whether it is a table or records, with columns or keys."""
        return self.format in ("json", "json_lines", "csv", "tsv", "arrow")


def stem_of(name: str) -> str:
    """A file's name without what says what it is, and which of how many."""
    known = {*FORMATS, *ARCHIVES, *COMPRESSIONS, *SHORT}
    while splitext(name)[1].lower() in known:
        name = splitext(name)[0]
    return _NUMBER.sub("", name)


def kind_of(name: str) -> Kind:
    """What a file of this name holds.

    Args:
        name: Name or path; upper and lower case are alike.
    """
    name = basename(name.lower())
    for short, full in SHORT.items():
        if name.endswith(short):
            name = name.removesuffix(short) + full
    stem, suffix = splitext(name)
    compression = COMPRESSIONS.get(suffix, "")
    if compression:
        suffix = splitext(stem)[1]
    if suffix in ARCHIVES:
        return Kind(archive=ARCHIVES[suffix], compression=compression)
    return Kind(FORMATS.get(suffix, UNKNOWN), compression=compression)


def label_of(name: str) -> str:
    """How files of this name are counted: by suffix, in lower case."""
    suffix = splitext(name.lower())[1]
    return suffix if _SUFFIX.fullmatch(suffix) else "no suffix"
