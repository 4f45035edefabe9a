"""Files from http(s) addresses, in a cache; a broken download goes on.

Hand-written around `requests`, which has neither: a download that broke goes
on only while the server says that the file is the same.
"""

import email.utils
import hashlib
import json
import os
import re
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_llm import __version__
from keras_llm.corpus.sources.kinds import UNKNOWN, kind_of
from keras_llm.errors import InputError
from keras_llm.files import file_digest

DOWNLOAD_LIMIT = 64 * 2**30  # bytes
TIMEOUT = 30  # seconds without a byte
ATTEMPTS = 5  # in a row that bring nothing new
PAUSE = 0.25  # seconds before the second attempt; doubles with each
LONGEST_PAUSE = 120  # seconds, if a server asks for them
CHUNK = 2**20
MAY_PASS = (408, 416, 425, 429, 500, 502, 503, 504)
HEADERS = {
    # Many servers turn away what does not look like a browser.
    "User-Agent": f"Mozilla/5.0 (compatible; keras-llm/{__version__})",
    "Accept": "*/*",
    "Accept-Encoding": "identity",  # so that it can go on within the file
}
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_UNDECODED = re.compile("[\udc80-\udcff]")  # bytes of a name that is not UTF-8
_SHA256 = re.compile("sha256=([0-9a-fA-F]{64})")
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


def cache_folder() -> Path:
    """Where downloads are kept: under `$XDG_CACHE_HOME`, or `~/.cache`."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "keras_llm"


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


def _checked(address: str) -> str:
    """An address as servers are asked for it, in ASCII.

    Raises:
        InputError: It is none.
    """
    import requests

    quoted = _UNDECODED.sub(lambda c: f"%{ord(c[0]) - 0xDC00:02X}", address)
    try:
        asked = requests.Request("GET", quoted).prepare().url
        host = urllib.parse.urlsplit(asked).netloc
        if not host.isascii() or not host.isprintable() or "%" in host:
            raise ValueError("its host is not named as hosts are")
    except ValueError as error:
        raise InputError(
            "An address must be like https://example.org/a.txt. Received: "
            f"{address!r} ({error})."
        ) from error
    return asked


def fetch(
    address: str, target: Path, limit: int, sha256: str | None = None
) -> dict[str, str]:
    """Downloads a file, which appears whole or not at all.

    What a broken download brought is kept beside the target, and asked for no
    more, as long as the server says that the file is the same.

    Args:
        address: `http://…` or `https://…`.
        target: File to write.
        limit: Most bytes to download.
        sha256: Of the content, hexadecimal, if known.

    Returns:
        Headers of the server's last answer, by names in lower case.

    Raises:
        InputError: It could not be downloaded, or is not what was expected.
    """
    from filelock import FileLock

    partial = _Partial(target.with_name(f".{target.name}.partial"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            headers = _persist(address, partial, limit)
            received = file_digest(partial.path)
            if sha256 and received != sha256:
                size = partial.path.stat().st_size
                partial.delete()
                raise InputError(
                    f"{address} is not what was published: expected sha256 "
                    f"{sha256}. Received: {received} ({size} bytes). Try "
                    "again later."
                )
            os.replace(partial.path, target)
            partial.delete()
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{address} could not be downloaded: {str(error).rstrip('.')}. "
            "Check the address and the network, and run it again: what has "
            "arrived is kept."
        ) from error
    return headers


class _Broken(OSError):
    """A download ended early; another attempt may bring the rest."""


@dataclass
class _Partial:
    """The begin of a file, and how to tell that it has not changed since."""

    path: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def validator(self) -> str | None:
        """What `If-Range` is to hold; nothing is resumed without it."""
        try:
            return json.loads(self._notes.read_text("utf-8"))
        except (OSError, ValueError):
            return None

    def begin(self, validator: str | None) -> None:
        self.path.write_bytes(b"")
        self._notes.write_text(json.dumps(validator), encoding="utf-8")

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    @property
    def _notes(self) -> Path:
        return self.path.with_name(self.path.name + ".json")


def _persist(address: str, partial: _Partial, limit: int) -> dict[str, str]:
    """Tries until the file is whole, or attempts bring nothing new."""
    furthest = partial.size if partial.validator else 0
    failures = 0
    while True:
        try:
            return _attempt(address, partial, limit)
        except OSError as error:
            pause = _pause(error)
            if pause is None:
                raise
            failures += 1
            if partial.validator and partial.size > furthest:
                furthest = partial.size
                failures = 1
            if failures >= ATTEMPTS:
                raise
            time.sleep(max(pause, PAUSE * 2 ** (failures - 1)))


def _pause(error: OSError) -> float | None:
    """Seconds to wait after an error; `None` if it will not pass."""
    import requests

    if isinstance(error, ValueError):  # of the address itself
        return None
    if not isinstance(error, requests.HTTPError):
        return 0.0
    asked = error.response.headers.get("Retry-After", "0")
    if error.response.status_code not in MAY_PASS:
        return None
    if not asked.isdigit():
        date = email.utils.parsedate_tz(asked)
        asked = email.utils.mktime_tz(date) - time.time() if date else 0
    seconds = max(0.0, float(asked))
    return seconds if seconds <= LONGEST_PAUSE else None


def _attempt(address: str, partial: _Partial, limit: int) -> dict[str, str]:
    import requests
    import urllib3

    offset = partial.size
    headers = dict(HEADERS)
    if offset and partial.validator:
        headers["Range"] = f"bytes={offset}-"
        headers["If-Range"] = partial.validator
    with requests.get(
        address, headers=headers, stream=True, timeout=TIMEOUT
    ) as reply:
        if reply.status_code == 416:  # nothing is there: start again
            partial.delete()
        reply.raise_for_status()
        decodes = _decodes(reply, address)
        total = _total(reply, partial, offset, decodes)
        if total is not None and total > limit:
            raise _too_large(address, limit)
        try:
            _copy(reply, partial, address, limit, decodes)
        except urllib3.exceptions.HTTPError as error:
            whole = "" if total is None else f" of {total}"
            raise _Broken(
                f"{partial.size}{whole} bytes arrived ({error})"
            ) from error
        arrived = partial.size if not decodes else reply.raw.tell()
    if total is not None and arrived != total:
        if arrived > total:
            partial.delete()
        raise _Broken(f"{arrived} of {total} bytes arrived")
    return {name.lower(): text for name, text in reply.headers.items()}


def _decodes(reply: Any, address: str) -> bool:
    """Whether the server compressed what it was not asked to compress.

    A file that is compressed itself is often said to be so encoded.
    """
    path = urllib.parse.urlsplit(address).path
    is_its_own = kind_of(path).compression == "gzip"
    encoding = reply.headers.get("Content-Encoding", "identity")
    return encoding.lower() != "identity" and not is_its_own


def _total(
    reply: Any, partial: _Partial, offset: int, decodes: bool
) -> int | None:
    """Bytes of the whole file, if known; begins it anew unless it goes on."""
    headers = reply.headers
    if reply.status_code == 206:
        part = _RANGE.fullmatch(headers.get("Content-Range", ""))
        if not part or int(part[1]) != offset:
            partial.delete()
            raise _Broken("another part than the one asked for arrived")
        return None if part[2] == "*" else int(part[2])
    etag = headers.get("ETag", "")
    is_strong = etag and not etag.startswith("W/")
    validator = etag if is_strong else headers.get("Last-Modified")
    partial.begin(None if decodes else validator)
    length = headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _copy(
    reply: Any, partial: _Partial, address: str, limit: int, decodes: bool
) -> None:
    with partial.path.open("ab") as file:
        for chunk in reply.raw.stream(CHUNK, decode_content=decodes):
            file.write(chunk)
            if file.tell() > limit:
                raise _too_large(address, limit)


def _too_large(address: str, limit: int) -> InputError:
    return InputError(
        f"{address} is larger than {limit} bytes, the most that is "
        "downloaded. Download it yourself, and pass its path."
    )
