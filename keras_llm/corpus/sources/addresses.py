"""The file at an address: its copy in the cache, under a telling name."""

import hashlib
import os
import re
import urllib.parse
from pathlib import Path

from keras_llm.corpus.downloads import DOWNLOAD_LIMIT, cache_folder, fetch
from keras_llm.corpus.sources.kinds import UNKNOWN, kind_of
from keras_llm.errors import InputError
from keras_llm.files import file_digest

_SHA256 = re.compile("sha256=([0-9a-fA-F]{64})")
_KEPT = "%/?:@!$&'()*+,;=~[]"  # of a path or query: has a meaning, or is done
_NOT_IN_HOSTS = re.compile(r"[\s\x00-\x1f\x7f]")
# What an address without a known suffix is, by what the server says.
_SUFFIXES = {
    "application/epub+zip": ".epub",
    "application/pdf": ".pdf",
    "application/x-ndjson": ".jsonl",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": (
        ".docx"
    ),
    "application/xhtml+xml": ".xhtml",
    "application/zip": ".zip",
    "text/csv": ".csv",
    "text/html": ".html",
    "text/markdown": ".md",
    "text/plain": ".txt",
    "text/tab-separated-values": ".tsv",
}
_NO_TEXT = ("audio/", "font/", "image/", "video/")


def downloaded(source: str, limit: int = DOWNLOAD_LIMIT) -> Path:
    """The file at an address, downloaded unless the cache has it.

    What is in the cache stays as it is, whatever becomes of the address.

    Args:
        source: `http://…` or `https://…`, with `#sha256=HEX` after it if the
            content is known.
        limit: Most bytes to download.

    Returns:
        Path of the copy, whose name tells what it is.

    Raises:
        InputError: It cannot be downloaded, is not what was expected, larger
            than `limit`, or no text by what the server says.
    """
    address, _, fragment = source.partition("#")
    known = _SHA256.fullmatch(fragment)
    if fragment.startswith("sha256=") and not known:
        raise InputError(
            f"{source} must end in #sha256= and 64 hexadecimal digits. "
            f"Received: {len(fragment) - len('sha256=')} characters."
        )
    sha256 = known[1].lower() if known else None
    asked = _checked(address)
    key = hashlib.sha256(os.fsencode(address)).hexdigest()[:16]
    folder = cache_folder() / "downloads" / key
    name = _name(address)
    if kind_of(name).format != UNKNOWN:
        path = folder / name
    else:
        present = [path for path in folder.glob("[!.]*")]
        path = present[0] if present else None
    if path is None or not path.is_file():
        target = folder / name
        headers = fetch(asked, target, limit, sha256)
        path = _with_suffix(target, headers, source)
    elif sha256 and file_digest(path) != sha256:
        raise InputError(
            f"{path} is not what {source} names: its sha256 is "
            f"{file_digest(path)}. Delete it, to have it downloaded again."
        )
    return path


def _checked(address: str) -> str:
    """An address as servers are asked for it, in ASCII.

    Raises:
        InputError: It is none.
    """
    try:
        parts = urllib.parse.urlsplit(address)
        host = parts.netloc
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
        known = parts.hostname and (parts.port is None or parts.port > 0)
        if not known or _NOT_IN_HOSTS.search(host):
            raise ValueError("it names no host, or not as hosts are named")
    except ValueError as error:
        raise InputError(
            "An address must be like https://example.org/a.txt. Received: "
            f"{address!r} ({error})."
        ) from error
    path, query = (
        urllib.parse.quote(part, safe=_KEPT, errors="surrogateescape")
        for part in (parts.path, parts.query)
    )
    return urllib.parse.urlunsplit((parts.scheme, host, path, query, ""))


def _name(address: str) -> str:
    """A safe name for the file at an address."""
    path = urllib.parse.unquote(urllib.parse.urlsplit(address).path)
    name = re.sub(r"[^\w.+@-]", "_", path.rpartition("/")[2]).lstrip(".")
    return name[-100:] or "index"


def _with_suffix(target: Path, headers: dict[str, str], source: str) -> Path:
    """The file, renamed by what the server says it is if its name does not."""
    if kind_of(target.name).format != UNKNOWN:
        return target
    stated = headers.get("content-type", "").partition(";")[0].strip().lower()
    suffix = _SUFFIXES.get(stated)
    if stated.startswith(_NO_TEXT):
        target.unlink()
        raise InputError(f"{source} must be a text. Received: {stated}.")
    if suffix is None:
        return target
    return target.rename(target.with_name(target.name + suffix))
