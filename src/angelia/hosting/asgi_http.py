"""ASGIResponse: one request and its response, as an application receives and sends them.

Owns: the order of an application's messages, what becomes of each, what is wrong with them. The
octets are the core's, the socket the exchange's. Knows nothing of scopes.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from time import time as _time
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias

from multidict import CIMultiDict

from angelia.core.h1_wire import ReadyHead
from angelia.core.interface import HttpVersion11, ResponseHead
from angelia.core.reasons import reason_of
from angelia.errors import LocalProtocolError
from angelia.hosting.asgi_scope import Message
from angelia.server.http_exception import HTTPException
from angelia.server.ready_heads import SERVER, http_now
from angelia.server.stream_response import StreamResponse, has_no_content

if TYPE_CHECKING:
    from angelia.server.request import Request

__all__ = ("ASGIResponse",)

_logger: Final = logging.getLogger("angelia.hosting.asgi")

Fields: TypeAlias = "tuple[tuple[bytes, bytes], ...]"

# So many different heads are kept ready for the rest of a second.
MAX_READY_HEADS: Final = 64
# A file that the system does not send by itself is read so much at a time.
FILE_BLOCK_SIZE: Final = 256 * 1024
# More digits are no length that anybody means.
MAX_LENGTH_DIGITS: Final = 18

# What has been sent: nothing, the start, which waits for content, the head, all but the trailers.
_NEW: Final = 0
_STARTED: Final = 1
_STREAMING: Final = 2
_TRAILERS: Final = 3
_DONE: Final = 4

# The connection and the framing are the server's (RFC 9110 §7.6.1). A length is kept in mind.
_OWN_FIELDS: Final = frozenset(
    {b"connection", b"content-length", b"keep-alive", b"transfer-encoding", b"upgrade"}
)


class _ReadyHeads:
    """The heads of responses that say the same thing, made once in a second."""

    __slots__ = ("_heads", "_until")

    def __init__(self) -> None:
        self._until = 0.0
        self._heads: dict[tuple[int, Fields], ReadyHead] = {}

    def get(self, status: int, fields: Fields) -> ReadyHead:
        """Such a head; LocalProtocolError for what cannot be sent."""
        now = _time()
        # The clock may be set back.
        if not self._until - 1 <= now < self._until:
            self._until = math.floor(now) + 1.0
            self._heads.clear()
        head = self._heads.get((status, fields))
        if head is None:
            if len(self._heads) >= MAX_READY_HEADS:
                self._heads.clear()
            head = ReadyHead(status, reason_of(status), _pairs(fields))
            self._heads[status, fields] = head
        return head


_ready_heads: Final = _ReadyHeads()


class ASGIResponse(StreamResponse):
    """What `receive` and `send` are methods of."""

    __slots__ = (
        "_fields",
        "_link",
        "_phase",
        "_received",
        "_refusal",
        "_request",
        "_told",
        "_trailer_fields",
        "length",
    )

    def __init__(self, request: Request) -> None:
        # What `StreamResponse` does, without the call: this is done for each request.
        self._exchange = None
        self._status, self._reason = 200, "OK"
        self._headers = self._cookies = self._coding = self._compressor = None
        self._partitioned = frozenset()
        self._chunked = self._force_close = self._is_head = self._ended = False
        self.body_length = 0
        self._request = request
        self._link = request._exchange
        self._phase = _NEW
        self._fields: Fields = ()
        # The announced length of the content.
        self.length: int | None = None
        # None where the application has announced no trailers.
        self._trailer_fields: list[tuple[bytes, bytes]] | None = None
        # The body has been received to its end, or never will be.
        self._received = False
        # What the server would answer to a body that breaks off.
        self._refusal: HTTPException | None = None
        # The application has been told that the client has gone.
        self._told = False

    @property
    def headers(self) -> CIMultiDict[str]:
        """The fields that the application gave."""
        headers = self._headers
        if headers is None:
            headers = self._headers = CIMultiDict(_decoded(self._fields))
        return headers

    async def _answer(self, request: Request) -> None:
        """All has been sent."""

    # --- receiving -----------------------------------------------------------------------------

    async def receive(self) -> Message:
        """The next piece of the body; behind it, or behind the response, the disconnection."""
        if not self._received:
            link = self._link
            if not link.has_content:
                self._received = True
                return {"type": "http.request", "body": b"", "more_body": False}
            whole = link.take_whole()
            if whole is not None:
                self._received = True
                return {"type": "http.request", "body": whole, "more_body": False}
            try:
                # The first use tells a client that waits for it to go on: RFC 9110 §10.1.1.
                content = link.content
                data = await content.readany()
            except HTTPException as error:
                self._refusal = error
            except OSError as error:
                _logger.debug("the body of %r breaks off: %s", self._request, error)
            else:
                self._received = content.at_eof()
                return {"type": "http.request", "body": data, "more_body": not self._received}
            self._received = True
        elif self._refusal is None:
            await self._link.wait_disconnected()
        self._told = True
        return {"type": "http.disconnect"}

    # --- sending -------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Take a message of the application.

        RuntimeError for one that is out of order, TypeError and ValueError for what it may not say,
        OSError where the client has gone.
        """
        kind = message["type"]
        if kind == "http.response.body":
            body = message.get("body", b"")
            if type(body) is not bytes:
                body = _octets(body)
            try:
                self._send_body(body, message.get("more_body", False))
            except LocalProtocolError as error:
                raise ValueError(str(error)) from error
            except OSError:
                self._told = True
                raise
            link = self._link
            if link.connection.writing_paused:
                await self._drain()
        elif kind == "http.response.start":
            self._start(message)
        elif kind == "http.response.pathsend":
            await self._send_path(message)
        elif kind == "http.response.trailers":
            self._take_trailers(message)
            await self._drain()
        elif kind == "http.response.early_hint":
            self._send_hint(message)
        else:
            raise ValueError(f"not a message of an HTTP response: {kind!r}")

    async def _drain(self) -> None:
        try:
            await self._link.drain()
        except OSError:
            if self._phase != _DONE:
                self._told = True
                raise

    def _out_of_order(self, kind: str) -> RuntimeError:
        state = (
            "before http.response.start",
            "after http.response.start",
            "while the body is being sent",
            "where http.response.trailers is to come",
            "after the end of the response",
        )
        return RuntimeError(f"{kind} {state[self._phase]}")

    # The head.

    def _start(self, message: Message) -> None:
        if self._phase != _NEW:
            raise self._out_of_order("http.response.start")
        if self._link.connection.socket_transport is None:
            self._told = True
            raise ConnectionResetError("the client has gone")
        status = message["status"]
        if type(status) is not int:
            status = _status(status)
        if not 200 <= status <= 999:
            raise ValueError(f"not the status of a final response: {status}")
        self._status = status
        fields = []
        for name, value in message.get("headers", ()):
            if type(name) is not bytes or type(value) is not bytes:
                raise TypeError(f"a header is two bytes objects, not {name!r}, {value!r}")
            lower = name.lower()
            if lower in _OWN_FIELDS:
                self._take_own(lower, value)
            else:
                fields.append((name, value))
        self._fields = tuple(fields)
        if message.get("trailers", False):
            self._trailer_fields = []
        self._phase = _STARTED

    def _take_own(self, name: bytes, value: bytes) -> None:
        """Take note of what a field says about the connection or the framing."""
        if name == b"content-length":
            # `isdigit` of octets knows no other digits than ASCII's.
            if not value.isdigit() or len(value) > MAX_LENGTH_DIGITS:
                raise ValueError(f"not a length: {value!r}")
            length = int(value)
            if self.length is not None and self.length != length:
                raise ValueError("two lengths")
            self.length = length
        elif name == b"connection":
            options = {option.strip(b" \t").lower() for option in value.split(b",")}
            if b"close" in options:
                self._force_close = True

    def _send_head(self, *, end: bool) -> None:
        """Send the head of a response that is not sent at once; `end`: of one without content."""
        link, pairs = self._link, _pairs(self._fields)
        if self.length is not None:
            if self._status == 304 or not has_no_content(self._status):
                pairs.append(("Content-Length", str(self.length)))
        elif not end and link.head.version is HttpVersion11:
            self._chunked = True
            pairs.append(("Transfer-Encoding", "chunked"))
        link.send_head(self._make(pairs), end=end)
        self._exchange = link
        self._is_head = end

    def _make(self, pairs: list[tuple[str, str]]) -> ResponseHead:
        if self._force_close or not self._link.keep_alive:
            pairs.append(("Connection", "close"))
        self._reason = reason_of(self._status)
        return ResponseHead(self._status, self._reason, pairs, HttpVersion11)

    # The content.

    def _send_body(self, body: bytes, more: bool) -> None:
        phase = self._phase
        if phase == _STREAMING:
            if not self._is_head:
                self._send_piece(body, more)
        elif phase != _STARTED:
            raise self._out_of_order("http.response.body")
        elif self._link.head.method == "HEAD" or has_no_content(self._status):
            if not more and body and self.length is None:
                self.length = len(body)
            self._send_head(end=True)
        elif more or self._trailer_fields is not None:
            self._send_head(end=False)
            self._send_piece(body, more)
        else:
            self._send_at_once(body)
        if more:
            self._phase = _STREAMING
        else:
            self._end_body()

    def _send_piece(self, body: bytes, more: bool) -> None:
        # Chunked content that trailers follow ends with them.
        end = not more and (self._trailer_fields is None or not self._chunked)
        if body or end:
            self._link.send_content(body, end=end)
            self.body_length += len(body)

    def _send_at_once(self, body: bytes) -> None:
        """Send head and content in one write."""
        link, size = self._link, len(body)
        length = self.length
        if length is not None and length != size:
            raise ValueError(f"{size} octets of content, where {length} were announced")
        if self._force_close or not (
            link.keep_alive
            and link.connection.send_ready(link, _ready_heads.get(self._status, self._fields), body)
        ):
            pairs = _pairs(self._fields)
            pairs.append(("Content-Length", str(size)))
            link.send_whole(self._make(pairs), body)
        self._exchange = link
        self.body_length = size

    def _end_body(self) -> None:
        if self._trailer_fields is None:
            self._end()
        else:
            self._phase = _TRAILERS

    def _end(self) -> None:
        """The response is complete: from now on the application finds nobody."""
        self._phase = _DONE
        self._ended = True
        link = self._link
        link.answered()
        if link.has_content and not self._received:
            # Who waits for the body has no reason any more.
            link.content.set_exception(ConnectionResetError("the response is complete"))

    def _take_trailers(self, message: Message) -> None:
        fields = self._trailer_fields
        if self._phase != _TRAILERS or fields is None:
            raise self._out_of_order("http.response.trailers")
        for name, value in message.get("headers", ()):
            if not isinstance(name, bytes) or not isinstance(value, bytes):
                raise TypeError(f"a header is two bytes objects, not {name!r}, {value!r}")
            fields.append((name, value))
        if message.get("more_trailers", False):
            return
        # RFC 9112 §7.1.2: only chunked content has room for them.
        if self._chunked:
            try:
                self._link.send_trailers(tuple(_decoded(fields)))
            except LocalProtocolError as error:
                raise ValueError(str(error)) from error
        self._end()

    def _send_hint(self, message: Message) -> None:
        """RFC 8297; RFC 9110 §15.2: HTTP/1.0 knows no interim responses."""
        if self._phase != _NEW:
            raise self._out_of_order("http.response.early_hint")
        links = [(b"Link", _octets(link)) for link in message.get("links", ())]
        if not links or self._link.head.version is not HttpVersion11:
            return
        try:
            self._link.send_interim(ResponseHead(103, "Early Hints", list(_decoded(links))))
        except LocalProtocolError as error:
            raise ValueError(str(error)) from error

    # Files.

    async def _send_path(self, message: Message) -> None:
        """Send a file as the content, or as the rest of it."""
        if self._phase not in (_STARTED, _STREAMING):
            raise self._out_of_order("http.response.pathsend")
        path = message["path"]
        if not isinstance(path, str) or not Path(path).is_absolute():
            raise ValueError(f"not an absolute path: {path!r}")
        loop = asyncio.get_running_loop()
        file, size = await loop.run_in_executor(None, _open, path)
        try:
            await self._send_file(file, size)
        except LocalProtocolError as error:
            raise ValueError(str(error)) from error
        except OSError:
            self._told = True
            raise
        finally:
            file.close()

    async def _send_file(self, file: BinaryIO, size: int) -> None:
        link = self._link
        if self._phase == _STARTED:
            if self.length is None and self._trailer_fields is None:
                self.length = size
            elif self.length is not None and self.length != size:
                raise ValueError(f"a file of {size} octets, where {self.length} were announced")
            self._send_head(end=link.head.method == "HEAD" or has_no_content(self._status))
            self._phase = _STREAMING
        if not self._is_head:
            # The system makes no chunks.
            sent = 0 if self._chunked or not size else await link.send_file(file, 0, size)
            self.body_length += sent
            file.seek(sent)
            loop = asyncio.get_running_loop()
            while sent < size:
                block = await loop.run_in_executor(
                    None, file.read, min(FILE_BLOCK_SIZE, size - sent)
                )
                if not block:
                    raise ValueError("the file became shorter while it was sent")
                sent += len(block)
                self._send_piece(block, True)
                await link.drain()
            self._send_piece(b"", False)
        self._end_body()

    # --- the end -------------------------------------------------------------------------------

    def app_ended(self) -> None:
        """The application has returned; RuntimeError if it should not have."""
        if self._phase == _DONE:
            return
        if self._refusal is not None and not self._link.head_sent:
            raise self._refusal
        if self._told and not self._link.connection.is_open:
            raise ConnectionResetError("the client has gone")
        state = ("without a response", "before the response was complete")[self._phase != _NEW]
        raise RuntimeError(f"the application returned {state}")

    def app_failed(self, error: Exception) -> None:
        """The application has raised: raise what is to be answered, if anything is."""
        if self._phase == _DONE:
            _logger.error("error after the response to %r", self._request, exc_info=error)
            return
        if self._refusal is not None and not self._link.head_sent:
            raise self._refusal from error
        if self._told and not self._link.connection.is_open:
            # Frameworks have their own errors for that.
            raise ConnectionResetError("the client has gone") from error
        raise error


def _status(status: object) -> int:
    """A status that is an `http.HTTPStatus`, say."""
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(f"a status is an int, not {status!r}")
    return int(status)


def _octets(body: object) -> bytes:
    if isinstance(body, bytes | bytearray | memoryview):
        # Whoever owns the buffer may change it.
        return bytes(body)
    raise TypeError(f"bytes are sent, not {type(body).__name__}")


def _decoded(fields: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[str, str]]:
    """Fields as the core has them."""
    return [
        (name.decode("latin-1"), value.decode("utf-8", "surrogateescape")) for name, value in fields
    ]


def _pairs(fields: Fields) -> list[tuple[str, str]]:
    """Fields as the core has them, with those that HTTP needs."""
    pairs = list(_decoded(fields))
    names = {name.lower() for name, _ in fields}
    if b"date" not in names:
        pairs.append(("Date", http_now()))
    if b"server" not in names:
        pairs.append(("Server", SERVER))
    return pairs


def _open(path: str) -> tuple[BinaryIO, int]:
    """A regular file and its size; OSError where it cannot be had."""
    # Non-blocking: opening a pipe would wait for who writes into it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    facts = os.fstat(descriptor)
    # Looked at first: a file object refuses a directory, and leaves its descriptor open.
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        raise FileNotFoundError(f"not a regular file: {path!r}")
    return os.fdopen(descriptor, "rb", 0), facts.st_size
