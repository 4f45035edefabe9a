"""Files from http(s) addresses, in a cache, by `requests`."""

import hashlib
import os
import re
import urllib.parse
from pathlib import Path
from typing import Any, BinaryIO

from keras_llm import __version__
from keras_llm.corpus.sources.kinds import UNKNOWN, kind_of
from keras_llm.errors import InputError
from keras_llm.files import file_digest

DOWNLOAD_LIMIT = 64 * 2**30  # bytes
TIMEOUT = 30  # seconds without a byte
ATTEMPTS = 5
PAUSE = 0.25  # seconds before the second attempt; doubles with each
LONGEST_PAUSE = 120  # seconds, if a server asks for them
CHUNK = 2**20
MAY_PASS = (408, 425, 429, 500, 502, 503, 504)
HEADERS = {
    # Many servers turn away what does not look like a browser.
    "User-Agent": f"Mozilla/5.0 (compatible; keras-llm/{__version__})",
    "Accept-Encoding": "identity",  # so that it can go on within the file
}
_UNDECODED = re.compile("[\udc80-\udcff]")  # bytes of a name that is not UTF-8
_SHA256 = re.compile("sha256=([0-9a-fA-F]{64})")
# What an address without a known suffix is, by what the server says.
_OFFICE = "application/vnd.openxmlformats-officedocument.wordprocessingml."
_SUFFIXES = {
    "application/epub+zip": ".epub",
    "application/pdf": ".pdf",
    "application/x-ndjson": ".jsonl",
    f"{_OFFICE}document": ".docx",
    "application/xhtml+xml": ".xhtml",
    "application/zip": ".zip",
    "text/csv": ".csv",
    "text/html": ".html",
    "text/markdown": ".md",
    "text/plain": ".txt",
    "text/tab-separated-values": ".tsv",
}
_NO_TEXT = ("audio/", "font/", "image/", "video/")


def cache_folder() -> Path:
    """Where downloads are kept: under `$XDG_CACHE_HOME`, or `~/.cache`."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "keras_llm"


def downloaded(source: str) -> Path:
    """The file at an address, downloaded unless the cache has it.

    What is in the cache stays as it is, whatever becomes of the address.

    Args:
        source: `http://…` or `https://…`, with `#sha256=HEX` after it if the
            content is known.

    Returns:
        Path of the copy, whose name tells what it is.

    Raises:
        InputError: It cannot be downloaded, is not what was expected, larger
            than `DOWNLOAD_LIMIT`, or no text by what the server says.
    """
    address, _, fragment = source.partition("#")
    known = _SHA256.fullmatch(fragment)
    if fragment.startswith("sha256=") and not known:
        raise InputError(
            f"{source} must end in #sha256= and 64 hexadecimal digits. "
            f"Received: {len(fragment) - len('sha256=')} characters."
        )
    sha256 = known[1].lower() if known else None
    key = hashlib.sha256(os.fsencode(address)).hexdigest()[:16]
    folder = cache_folder() / "downloads" / key
    if path := next(folder.glob("[!.]*"), None):
        return as_named(path, source, sha256)
    quoted = _UNDECODED.sub(lambda c: f"%{ord(c[0]) - 0xDC00:02X}", address)
    name = urllib.parse.unquote(quoted.partition("?")[0].rpartition("/")[2])
    name = re.sub(r"[^\w.+@-]", "_", name).lstrip(".")[-100:] or "index"
    stated = fetch(quoted, folder / name, DOWNLOAD_LIMIT, sha256)
    if kind_of(name).format != UNKNOWN:
        return folder / name
    if stated.startswith(_NO_TEXT):
        (folder / name).unlink()
        raise InputError(f"{source} must be a text. Received: {stated}.")
    path = folder / f"{name}{_SUFFIXES.get(stated, '')}"
    return (folder / name).rename(path)


def as_named(path: Path, source: str, sha256: str | None) -> Path:
    """The path, if its content is what the source names, as far as known."""
    if sha256 and (received := file_digest(path)) != sha256:
        raise InputError(
            f"{path} is not {source} as published: expected sha256 {sha256}. "
            f"Received: {received}. Delete it, to have it downloaded again."
        )
    return path


def fetch(
    address: str, target: Path, limit: int, sha256: str | None = None
) -> str:
    """Downloads a file, which appears whole or not at all.

    Args:
        address: `http://…` or `https://…`.
        target: File to write.
        limit: Most bytes to download.
        sha256: Of the content, hexadecimal, if known.

    Returns:
        The content type that the server states, in lower case.

    Raises:
        InputError: It could not be downloaded, or is not what was expected.
    """
    from filelock import FileLock

    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Only who has the lock may delete what is being written.
        with FileLock(target.with_name(f".{target.name}.lock")):
            try:
                with partial.open("wb") as file:
                    stated = _download(address, file, limit)
                received = file_digest(partial)
                if sha256 and received != sha256:
                    raise InputError(
                        f"{address} is not what was published: expected sha256 "
                        f"{sha256}. Received: {received} "
                        f"({partial.stat().st_size} bytes). Try again later."
                    )
                os.replace(partial, target)
            finally:
                partial.unlink(missing_ok=True)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(
            f"{address} could not be downloaded: {str(error).rstrip('.')}. "
            "Check the address and the network, and run it again."
        ) from error
    return stated


def _download(address: str, file: BinaryIO, limit: int) -> str:
    """Writes what is at an address; one that breaks goes on where it broke.

    But only while the server says that the file is the same.
    """
    import requests
    from urllib3.exceptions import HTTPError
    from urllib3.util import Retry

    retry = Retry(
        ATTEMPTS - 1,
        status_forcelist=MAY_PASS,
        backoff_factor=PAUSE,
        retry_after_max=LONGEST_PAUSE,
        raise_on_status=False,
    )
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            adapter = requests.adapters.HTTPAdapter(max_retries=retry)
            session.mount(scheme, adapter)
        resumed: dict[str, str] = {}
        for _ in range(ATTEMPTS):
            with session.get(
                address, headers=HEADERS | resumed, stream=True, timeout=TIMEOUT
            ) as reply:
                reply.raise_for_status()
                if reply.status_code != 206:
                    file.seek(0)
                    file.truncate()
                try:
                    _copy(reply, file, address, limit)
                    kind = reply.headers.get("Content-Type", "")
                    return kind.partition(";")[0].strip().lower()
                except HTTPError as error:
                    failure = error
            mark = reply.headers.get("ETag") or reply.headers.get(
                "Last-Modified", "W/"
            )
            is_same = not (mark.startswith("W/") or _decodes(reply, address))
            span = {"Range": f"bytes={file.tell()}-", "If-Range": mark}
            resumed = span if is_same and file.tell() else {}
    raise OSError(f"{file.tell()} bytes arrived ({failure})")


def _copy(reply: Any, file: BinaryIO, address: str, limit: int) -> None:
    length = int(reply.headers.get("Content-Length", 0))
    decodes = _decodes(reply, address)
    for chunk in reply.raw.stream(CHUNK, decode_content=decodes):
        file.write(chunk)
        if max(file.tell(), length) > limit:
            raise InputError(
                f"{address} is larger than {limit} bytes, the most that is "
                "downloaded. Download it yourself, and pass its path."
            )


def _decodes(reply: Any, address: str) -> bool:
    """Whether the server compressed what it was not asked to compress.

    A file that is compressed itself is often said to be so encoded.
    """
    path = urllib.parse.urlsplit(address).path
    encoding = reply.headers.get("Content-Encoding", "identity")
    return encoding != "identity" and kind_of(path).compression != "gzip"
