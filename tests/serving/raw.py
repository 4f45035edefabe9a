"""HTTP as no client library writes it."""

import socket
from urllib.parse import urlsplit


def connected(url):
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


def ask(url, head, body=b"", host="127.0.0.1"):
    """What the server sends until it closes: to a line and headers."""
    lines = [*head, f"Host: {host}", "Connection: close", "", ""]
    with connected(url) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1") + body)
        return everything(connection)


def everything(connection):
    """All bytes until the other side closes."""
    found = b""
    try:
        while more := connection.recv(65536):
            found += more
    except ConnectionResetError:
        pass
    return found


def status_of(answer):
    return int(answer.split()[1]) if answer else None
