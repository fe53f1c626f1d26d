"""An HTTP/1.1 connection: two half-states, persistence, upgrade (RFC 9112), without I/O.

Owns: which message comes next in either direction, when the connection may carry another exchange,
what of the peer's octets is an error. Heads are `h1_wire`'s, content is `h1_body`'s. Knows nothing
of sockets, time or pools.

One exchange at a time. No pipelining on the client: one lost response would orphan the rest.

::

    sending    IDLE --open_stream--> HEAD --send_head--> CONTENT --last send_content--> DONE
    receiving  IDLE --open_stream--> HEAD --final head--> CONTENT --last octet--------> DONE
                                                     \\--101, CONNECT--> TUNNEL
    both DONE: IDLE again if the connection is persistent, else CLOSED
    an error, reset_stream or the end of the connection: CLOSED
"""

from __future__ import annotations

from typing import ClassVar, Final

from angelia.core.fields import keep_alive_timeout
from angelia.core.h1_body import (
    EofReader,
    HeldWriter,
    UnframedWriter,
    framed_writer,
    response_reader,
    tokens,
)
from angelia.core.h1_exchange import UNLIMITED, H1Connection, Half, persistent, without_frames
from angelia.core.h1_wire import (
    DECISIVE_FIELDS,
    DEFAULT_LIMITS,
    MIN_HEAD_SIZE,
    HeaderBlock,
    HeadLimits,
    SealedHead,
    excerpt,
    group_fields,
    parse_response_head,
    serialize_request_head,
    too_long,
)
from angelia.core.interface import (
    Buffer,
    Content,
    End,
    Event,
    Failed,
    HttpVersion10,
    HttpVersion11,
    RequestHead,
    ResponseHead,
    Role,
    Special,
)
from angelia.core.pure import ResponseScan
from angelia.core.speedups import scan_response_head
from angelia.errors import (
    ContentError,
    HeadError,
    LocalProtocolError,
    PeerClosed,
    RemoteProtocolError,
)

__all__ = ("MAX_INTERIM_RESPONSES", "H1ClientConnection")

# A server that sends informational responses without end would keep a request waiting for ever.
MAX_INTERIM_RESPONSES: Final = 32

_IDLE, _HEAD, _CONTENT, _TUNNEL, _DONE, _CLOSED = Half


class H1ClientConnection(H1Connection):
    """The client's side of an HTTP/1.1 connection; an `HTTPConnection`."""

    # Nothing is received ahead: what no request asked for ends the connection.
    wants_data: ClassVar[bool] = True

    __slots__ = (
        "_interim",
        "_method",
        "_read_until_eof",
        "_upgrade_asked",
        "idle_timeout",
    )

    def __init__(self) -> None:
        super().__init__(Role.CLIENT, DEFAULT_LIMITS)
        self._read_until_eof = True
        self._method = ""
        self._upgrade_asked = False
        self._interim = 0
        self.idle_timeout: float | None = None

    # --- questions -----------------------------------------------------------------------------

    @property
    def available_streams(self) -> int:
        """1 while another exchange may begin."""
        return 1 if self._sending is _IDLE and self._receiving is _IDLE else 0

    @property
    def closed(self) -> bool:
        """Whether nothing more can happen on this connection."""
        return self._receiving is _CLOSED

    # --- sending -------------------------------------------------------------------------------

    def open_stream(self, limits: HeadLimits = DEFAULT_LIMITS, read_until_eof: bool = True) -> int:
        """Reserve the connection for one exchange and return the exchange's number.

        `limits` hold for the response's head and trailers. ``read_until_eof=False`` takes a
        response without a length for an empty one.
        """
        if self._sending is not _IDLE or self._receiving is not _IDLE:
            raise LocalProtocolError(f"no exchange can begin on {self!r}")
        self._sending = self._receiving = _HEAD
        self._limits = limits
        self._read_until_eof = read_until_eof
        self._interim = 0
        self._stream_id += 1
        return self._stream_id

    def send_head(self, stream_id: int, head: RequestHead | ResponseHead, *, end: bool) -> None:
        """Send a request's head; LocalProtocolError, and nothing sent, where it is malformed."""
        if self._sending is not _HEAD or stream_id != self._stream_id:
            raise LocalProtocolError(f"no head can be sent for exchange {stream_id} on {self!r}")
        if not isinstance(head, RequestHead):
            raise LocalProtocolError("a client sends requests")
        wire = serialize_request_head(head)
        headers, method, version = head.headers, head.method, head.version
        if end and type(headers) is HeaderBlock and headers.plain and version is HttpVersion11:
            # The usual request: nothing to find out about it.
            self._upgrade_asked = self._close_asked = False
            self._method = method
            self._outbox.append(wire)
            self._sending = _DONE
            return
        special: Special
        if type(headers) is HeaderBlock:
            special = headers.special
        else:
            special = group_fields(headers, DECISIVE_FIELDS)
        writer = framed_writer(special, version)
        upgrade_asked = "upgrade" in special
        framed: list[Buffer] = []
        if end:
            # A length that was announced and does not come is found here.
            if writer is not None:
                framed = writer.send(b"", end=True)
        elif writer is None:
            if not upgrade_asked and method != "CONNECT":
                raise LocalProtocolError(
                    "content needs a Content-Length or Transfer-Encoding field"
                )
            writer = HeldWriter()
        self._method = method
        self._upgrade_asked = upgrade_asked
        # Who stands between may tunnel whatever comes after such a request: nothing of ours does,
        # though the server declines.
        options = tokens(special, "connection") if "connection" in special else []
        self._close_asked = upgrade_asked or not persistent(version.minor, options)
        self._outbox.append(wire)
        self._outbox += framed
        self._writer = None if end else writer
        self._sending = _DONE if end else _CONTENT

    def send_sealed(self, stream_id: int, head: SealedHead, content: bytes | None = None) -> None:
        """Send a whole request, whose head was checked and serialized before.

        With `content` its length is added to the fields.
        """
        if self._sending is not _HEAD or stream_id != self._stream_id:
            raise LocalProtocolError(f"no head can be sent for exchange {stream_id} on {self!r}")
        self._upgrade_asked = self._close_asked = False
        self._method = head.method
        if content is None:
            self._outbox.append(head.wire)
        else:
            wire = b"%bContent-Length: %d\r\n\r\n" % (head.wire[:-2], len(content))
            self._outbox += (wire, content)
        self._sending = _DONE

    def send_capacity(self, stream_id: int) -> int:
        """HTTP/1.1 has no windows: the socket decides."""
        if stream_id != self._stream_id or self._writer is None:
            return 0
        return 0 if type(self._writer) is HeldWriter else UNLIMITED

    def reset_stream(self, stream_id: int) -> None:
        """Abandon the exchange, and with it the connection; what was not taken is not sent."""
        if stream_id == self._stream_id and self._receiving is not _IDLE:
            self._outbox.clear()
            self._close()

    # --- receiving -----------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> list[Event]:
        received = self.receive_response(data)
        if type(received) is not tuple:
            return received  # type: ignore[return-value]  # mypy does not follow type()
        head, content = received
        stream_id = head.stream_id
        if not content:
            return [head, End(stream_id)]
        return [head, Content(stream_id, content), End(stream_id)]

    def receive_response(self, data: bytes) -> tuple[ResponseHead, bytes] | list[Event]:
        """As `receive_data`, but for the usual response: its head and content, and no events.

        That is a final one of a known length, which came in one piece, and nothing else with it.
        """
        events: list[Event] = []
        scanned = None
        if self._receiving is _HEAD and not self._head.octets:
            scanned = self._scan(data, 0)
            if scanned is not None and (whole := self._receive_whole(data, scanned)) is not None:
                return whole
        try:
            self._receive(data, scanned, events)
        except RemoteProtocolError as error:
            self._fail(error, events)
        return events

    def next_events(self) -> list[Event]:
        """Nothing is received ahead."""
        return []

    def receive_eof(self) -> list[Event]:
        events: list[Event] = []
        reader = self._reader
        try:
            if reader is not None:
                reader.receive_eof(self._stream_id, events)
            elif self._receiving is _HEAD:
                events.append(Failed(self._stream_id, PeerClosed(self._head.octets)))
        except ContentError as error:
            events.append(Failed(self._stream_id, without_frames(error)))
        self._close()
        return events

    def _scan(self, data: bytes, position: int) -> ResponseScan | None:
        limits = self._limits
        return scan_response_head(
            data, position, limits.max_line_size, limits.max_field_size, limits.max_headers
        )

    def _receive_whole(
        self, data: bytes, scanned: ResponseScan
    ) -> tuple[ResponseHead, bytes] | None:
        """The usual response: head and content of a known length, all in one read, and no more.

        What follows is a shorter way to what `_receive` would do; None leaves it to that.
        """
        end, minor, status, reason, fields, special = scanned
        length = special.get("content-length")
        if (
            type(length) is not str
            or minor != 1
            or not 200 <= status < 300
            or status == 204
            or special.get("connection", "keep-alive") != "keep-alive"
            or "transfer-encoding" in special
            or "keep-alive" in special
            or self._method in _METHODS_APART
            or self._sending is not _DONE
            or length != str(len(data) - end)
            or end > MIN_HEAD_SIZE
        ):
            return None
        raw = data[:end]
        head = ResponseHead(status, reason, fields, HttpVersion11, self._stream_id, raw, special)
        if self._close_asked:
            self._close()
        else:
            self._sending = self._receiving = _IDLE
        return head, data[end:]

    def _receive(self, data: bytes, scanned: ResponseScan | None, events: list[Event]) -> None:
        position = 0
        # While our own head has not been sent, nothing can be an answer to it.
        if self._receiving is _HEAD and self._sending is not _HEAD:
            found = self._receive_head(data, scanned, events)
            if found is None:
                return
            data, position = found
        reader = self._reader
        if reader is not None:
            position = reader.receive(self._stream_id, data, position, events)
            if reader.done:
                self._reader = None
                self._receiving = _DONE
                self._settle()
        if position < len(data) and self._receiving is not _CLOSED:
            _refuse_stray(data[position:])

    def _receive_head(
        self, data: bytes, scanned: ResponseScan | None, events: list[Event]
    ) -> tuple[bytes, int] | None:
        """Read heads until the final one: the octets that it ends in, and where. None: not yet."""
        position = 0
        limits = self._limits
        while True:
            if scanned is not None:
                end, minor, status, reason, fields, special = scanned
                if end - position > limits.max_head_size:
                    raise too_long(limits)
                raw = data[position:end]
                version = HttpVersion11 if minor == 1 else HttpVersion10
                head = ResponseHead(status, reason, fields, version, self._stream_id, raw, special)
            else:
                found = self._head.add(data[position:], limits)
                if found is None:
                    return None
                data, position, end = found
                head = parse_response_head(data, position, end, limits, self._stream_id)
            position = end
            if head.status >= 200 or head.status == 101:
                self._begin_content(head)
                events.append(head)
                return data, position
            self._interim += 1
            if self._interim > MAX_INTERIM_RESPONSES:
                raise HeadError(f"more than {MAX_INTERIM_RESPONSES} interim responses")
            events.append(head)
            scanned = self._scan(data, position)

    def _begin_content(self, head: ResponseHead) -> None:
        status, special, minor = head.status, head.special, head.version.minor
        if status == 101 or (self._method == "CONNECT" and status < 300):
            self._begin_tunnel(status)
            return
        reader = response_reader(
            status, self._method, special, self._limits, read_until_eof=self._read_until_eof
        )
        if "keep-alive" in special:
            self.idle_timeout = keep_alive_timeout(special["keep-alive"])
        if minor != 1 or "connection" in special:
            self._close_asked |= not persistent(minor, tokens(special, "connection"))
        if reader.until_eof or (minor == 0 and "transfer-encoding" in special):
            # RFC 9112 §6.1: an HTTP/1.0 server that sends a transfer coding may not know it.
            self._close_asked = True
        self._reader = reader
        self._receiving = _CONTENT

    def _begin_tunnel(self, status: int) -> None:
        # RFC 9110 §15.2.2: a server may not switch to what the client did not offer.
        if status == 101 and not self._upgrade_asked:
            raise HeadError("101 Switching Protocols, which was not asked for")
        # RFC 9110 §7.8: nobody changes the protocol in the middle of a message.
        if self._writer is not None and type(self._writer) is not HeldWriter:
            raise HeadError(f"{status} before the whole request was sent")
        self._close_asked = True
        self._reader = EofReader()
        self._receiving = _TUNNEL
        self._writer = UnframedWriter()
        self._sending = _CONTENT

    # --- transitions ---------------------------------------------------------------------------

    def _settle(self) -> None:
        """After an end: with both halves done the next exchange may begin, or none ever."""
        if self._sending is _DONE and self._receiving is _DONE:
            if self._close_asked:
                self._close()
            else:
                self._sending = self._receiving = _IDLE
        elif self._receiving is _DONE:
            # The response came before the request was out whole: the rest may still be sent, but
            # where the peer does not read it there is no second exchange.
            self._close_asked = True

    def _fail(self, error: RemoteProtocolError, events: list[Event]) -> None:
        busy = self._receiving in (_HEAD, _CONTENT, _TUNNEL)
        events.append(Failed(self._stream_id if busy else 0, without_frames(error)))
        self._close()

    def _close(self) -> None:
        self._sending = self._receiving = _CLOSED
        self._reader = None
        self._writer = None
        self._head.clear()


# Their responses end where other ones do not.
_METHODS_APART: Final = frozenset({"CONNECT", "HEAD"})


def _refuse_stray(data: bytes) -> None:
    # RFC 9112 §9.3.1 and §6.3: what follows a complete response was not asked for. It never
    # becomes part of another one: the connection ends. An empty line is forgiven.
    stray = data.lstrip(b"\r\n")
    if stray:
        raise RemoteProtocolError(f"data that no request asked for: {excerpt(stray)}")
