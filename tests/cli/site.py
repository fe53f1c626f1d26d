"""A server in a thread, for a command line that runs in this thread or in another process.

Owns: accepting, reading whole requests, sending the very bytes that a test answers with. One
request per connection.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

__all__ = ("Answer", "Request", "Site", "reply")


@dataclasses.dataclass(slots=True)
class Request:
    """What came in; names of fields are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answer: TypeAlias = Callable[[Request], bytes]


def reply(
    content: bytes = b"", *fields: str, status: str = "200 OK", length: int | None = None
) -> bytes:
    """The bytes of a response; `length` announces another length than that of `content`."""
    size = len(content) if length is None else length
    lines = [f"HTTP/1.1 {status}", *fields, f"Content-Length: {size}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + content


def _read_request(stream: io.BufferedReader) -> Request | None:
    line = stream.readline().decode("latin-1").split()
    if len(line) != 3:
        return None
    headers: dict[str, str] = {}
    while (field := stream.readline().decode("utf-8").rstrip("\r\n")) != "":
        name, _, value = field.partition(":")
        headers[name.lower()] = value.strip()
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int(stream.readline(), 16):
            body += stream.read(size + 2)[:-2]
        stream.readline()
    else:
        body = stream.read(int(headers.get("content-length", "0")))
    return Request(line[0], line[1], headers, body)


class Site:
    """Answers each request with what `answer` returns for it, and closes the connection.

    `answer` runs in the thread of its connection, and `then` after what it returned was sent; both
    may wait, for `ending` if nothing else.
    """

    __slots__ = (
        "_answer",
        "_listener",
        "_then",
        "_thread",
        "_threads",
        "_tls",
        "ending",
        "port",
        "requests",
    )

    def __init__(
        self,
        answer: Answer | bytes,
        *,
        then: Callable[[], bytes] | None = None,
        tls: ssl.SSLContext | None = None,
        unix_path: Path | None = None,
    ) -> None:
        self._answer: Answer = (lambda _: answer) if isinstance(answer, bytes) else answer
        self._then = then
        self._tls = tls
        self._threads: list[threading.Thread] = []
        self.ending = threading.Event()
        self.requests: list[Request] = []
        if unix_path is None:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
            self.port = int(self._listener.getsockname()[1])
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(unix_path))
            self._listener.listen()
            self.port = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.ending.set()
        # Wakes accept(): closing a socket does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while not self.ending.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, accepted: socket.socket) -> None:
        # OSError: the client has gone away, or will have no TLS with us.
        with contextlib.suppress(OSError), accepted:
            if self._tls is None:
                self._converse(accepted)
                return
            with self._tls.wrap_socket(accepted, server_side=True) as connection:
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            request = _read_request(stream)
            if request is None:
                return
            self.requests.append(request)
            connection.sendall(self._answer(request))
            if self._then is not None:
                connection.sendall(self._then())
            if self._tls is None:
                connection.shutdown(socket.SHUT_WR)
                # Not a reset, while the client still reads: wait for its end.
                stream.read()
