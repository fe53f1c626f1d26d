"""The server's side of an HTTP/1.1 connection (RFC 9112), without I/O.

Owns: which request is under way, when the next one may be read, what the response may be, when the
connection ends, what of the peer's octets is an error and what to answer to it. Heads are
`h1_wire`'s, targets and hosts `targets`', content is `h1_body`'s. Knows nothing of sockets or time.

One exchange at a time: what a peer sends behind a request (RFC 9112 §9.3.2, pipelining) is kept,
unread, until the response is out; then `next_events` reads on.

::

    receiving  IDLE --octets--> HEAD --whole head--> CONTENT --last octet--> DONE
               101, 2xx to CONNECT: TUNNEL, and DONE when the peer ends it
               an error of the peer: CLOSED, and nothing of it is read any more
    sending    IDLE --whole head--> HEAD --final head--> CONTENT --last content--> DONE
               an error of the peer in a head or in content: HEAD, so that it may be answered
    both DONE  IDLE again if the connection is persistent, else CLOSED
"""

from __future__ import annotations

import enum
from typing import ClassVar, Final

from angelia.core.backlog import Backlog
from angelia.core.h1_body import (
    MAX_LENGTH_DIGITS,
    ChunkedWriter,
    ContentReader,
    EofReader,
    SizedReader,
    SizedWriter,
    UnframedWriter,
    UnsentWriter,
    request_reader,
    response_writer,
    tokens,
)
from angelia.core.h1_exchange import UNLIMITED, H1Connection, Half, persistent, without_frames
from angelia.core.h1_wire import (
    REQUEST_LIMITS,
    HeadLimits,
    ReadyHead,
    parse_request_head,
    serialize_response_head,
    too_long,
)
from angelia.core.interface import (
    Content,
    End,
    Event,
    Failed,
    Headers,
    HttpVersion10,
    HttpVersion11,
    RequestHead,
    ResponseHead,
    Role,
    Special,
)
from angelia.core.pure import RequestScan
from angelia.core.speedups import scan_request_head
from angelia.core.targets import check_host, check_target
from angelia.errors import (
    ContentError,
    HeadError,
    LocalProtocolError,
    PeerClosed,
    RemoteProtocolError,
)

__all__ = ("MAX_BACKLOG", "H1ServerConnection", "understands_expectation")

# How much of what follows a request is kept while it is answered. Reading ahead lets us see that a
# peer has gone; some 64 KiB are hundreds of pipelined requests. The last read may go beyond.
MAX_BACKLOG: Final = 64 * 1024

# Content up to this size is copied behind its head: one buffer is cheaper to write than two.
JOINED_SIZE: Final = 16 * 1024

# RFC 9110 §5.3: a field that is no list comes once. Two of these, and what reads the request
# behind us may take the other one.
SINGLETONS: Final = ("authorization", "content-type", "if-modified-since", "if-unmodified-since")

_IDLE, _HEAD, _CONTENT, _TUNNEL, _DONE, _CLOSED = Half


class Continue(enum.IntEnum):
    """What a client's wait for ``100 Continue`` has come to (RFC 9110 §10.1.1)."""

    UNASKED = 0
    AWAITED = 1
    SENT = 2


_UNASKED, _AWAITED, _SENT = Continue

# Responses that end where other ones do not.
_METHODS_APART: Final = frozenset({"CONNECT", "HEAD"})
_STATUSES_APART: Final = frozenset({204, 205, 304})


class H1ServerConnection(H1Connection):
    """The server's side of an HTTP/1.1 connection; an `HTTPConnection`.

    A `Failed` with a stream's number may be answered on that stream, with `error.status`, and
    nothing but that answer follows; one with the number 0 may not.
    """

    idle_timeout: ClassVar[float | None] = None
    # A server opens no streams.
    available_streams: ClassVar[int] = 0

    __slots__ = (
        "_backlog",
        "_continue",
        "_ended",
        "_host",
        "_max_field",
        "_max_fields",
        "_max_head",
        "_max_line",
        "_request",
        "wants_data",
    )

    def __init__(self, limits: HeadLimits = REQUEST_LIMITS) -> None:
        """`limits` hold for heads and trailers; a server is never lenient."""
        super().__init__(
            Role.SERVER, limits if not limits.lenient else limits._replace(lenient=False)
        )
        self._max_line = limits.max_line_size
        self._max_field = limits.max_field_size
        self._max_fields = limits.max_headers
        self._max_head = limits.max_head_size
        self._request: RequestHead | None = None
        # Whether the peer has said that it sends no more.
        self._ended = False
        self._continue = _UNASKED
        # The last Host that was found to be one: it hardly ever changes on a connection. No field
        # has the value that it begins with.
        self._host = " "
        self._backlog = Backlog()
        self.wants_data = True

    # --- questions -----------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether no exchange is under way and nothing of the next request has come."""
        return self._receiving is _IDLE

    @property
    def answered(self) -> bool:
        """Whether no exchange is under way: what comes next is a request, or is one already."""
        return self._sending is _IDLE

    @property
    def closed(self) -> bool:
        """Whether nothing more can happen: what was not written yet is to be, and then closed."""
        return self._sending is _CLOSED

    @property
    def persistent(self) -> bool:
        """Whether another request may follow, as far as it is known."""
        return not self._close_asked and self._sending is not _CLOSED

    @property
    def receiving_content(self) -> bool:
        """Whether content of the request is still to come, read by anybody or not."""
        return self._receiving is _CONTENT

    @property
    def content_to_come(self) -> int | None:
        """How many octets of content are still to come; None where only the peer knows."""
        reader = self._reader
        if self._receiving is not _CONTENT:
            return 0
        return reader.remaining if type(reader) is SizedReader else None

    @property
    def continue_awaited(self) -> bool:
        """Whether the peer waits for ``100 Continue`` before it sends content.

        Not any more once a final head went out, content has come, or 100 was sent.
        """
        return self._continue is _AWAITED and self._sending is _HEAD

    # --- sending -------------------------------------------------------------------------------

    def open_stream(self) -> int:
        """A server opens no streams: LocalProtocolError."""
        raise LocalProtocolError("a server opens no streams")

    def send_head(self, stream_id: int, head: RequestHead | ResponseHead, *, end: bool) -> None:
        """Send a response's head, interim or final; `end` says that no content follows.

        LocalProtocolError, and nothing sent, where it is malformed or not for this request. Fields
        decide the framing: Content-Length, or Transfer-Encoding, else the content lasts until the
        connection ends. `Connection: close`, or `keep-alive` to HTTP/1.0, and `Content-Length: 0`
        are added where they are needed and missing.
        """
        if self._sending is not _HEAD or stream_id != self._stream_id:
            raise LocalProtocolError(f"no head can be sent for exchange {stream_id} on {self!r}")
        if not isinstance(head, ResponseHead):
            raise LocalProtocolError("a server sends responses")
        wire, special = serialize_response_head(head)
        status = head.status
        if not end and len(special) == 1 and status >= 200 and status not in _STATUSES_APART:
            # The usual response: a length and content. A shorter way to what `_send_final` does.
            length, request = special.get("content-length"), self._request
            if (
                type(length) is str
                and length.isdigit()
                and length.isascii()
                and len(length) < MAX_LENGTH_DIGITS
                and request is not None
                and request.version is HttpVersion11
                and head.version is HttpVersion11
                and request.method not in _METHODS_APART
                and not self._close_asked
                and self._continue is not _AWAITED
            ):
                self._outbox.append(wire)
                self._writer = SizedWriter(int(length))
                self._sending = _CONTENT
                return
        if status >= 200:
            self._send_final(head, wire, special, end)
        elif status == 101:
            self._send_switch(wire, special, end)
        else:
            self._send_interim(status, wire, special, end)

    def send_ready(self, stream_id: int, head: ReadyHead, content: bytes) -> bool:
        """Send a whole response, if it is a usual one; if not, False, and nothing is sent.

        That is a shorter way to what `send_head` and `send_content` do with a `Content-Length`.
        """
        request = self._request
        if (
            self._sending is not _HEAD
            or stream_id != self._stream_id
            or request is None
            or request.version is not HttpVersion11
            or request.method in _METHODS_APART
            or head.status in _STATUSES_APART
            or self._close_asked
            or self._continue is _AWAITED
        ):
            return False
        size = len(content)
        if size <= JOINED_SIZE:
            self._outbox.append(b"%bContent-Length: %d\r\n\r\n%b" % (head.wire, size, content))
        else:
            self._outbox += (b"%bContent-Length: %d\r\n\r\n" % (head.wire, size), content)
        # As `_settle` has it.
        if self._receiving is _DONE:
            self._request = None
            self._sending = _IDLE
            self._receiving = _HEAD if self._backlog.data else _IDLE
        else:
            self._sending = _DONE
        return True

    def _send_final(self, head: ResponseHead, wire: bytes, special: Special, end: bool) -> None:
        request, status = self._request, head.status
        method = "" if request is None else request.method
        version = head.version
        if request is not None and request.version == HttpVersion10:
            version = HttpVersion10
        close = self._close_asked
        if self._continue is _AWAITED:
            # RFC 9110 §10.1.1: whether the peer still sends the content is for it to decide. We
            # could not tell that content from the next request.
            close = True
        added = b""
        writer = response_writer(status, method, special, version)
        if writer is None:
            if end or status == 205:
                writer = SizedWriter(0)
                added = b"Content-Length: 0\r\n"
            else:
                writer = UnframedWriter()
                close = True
        tunnel = method == "CONNECT" and status < 300
        # A length that was announced and does not come is found here.
        framed = writer.send(b"", end=True) if end and not tunnel else []
        if not tunnel:
            options = tokens(special, "connection") if "connection" in special else ()
            if "close" in options:
                close = True
            elif close:
                added += b"Connection: close\r\n"
            elif version.minor == 0 and "keep-alive" not in options:
                added += b"Connection: keep-alive\r\n"
        if tunnel:
            self._begin_tunnel(end)
        self._close_asked = close or tunnel
        self._outbox.append(wire[:-2] + added + b"\r\n" if added else wire)
        self._outbox += framed
        if end and not tunnel:
            self._sending = _DONE
            self._settle()
        else:
            self._writer = writer
            self._sending = _CONTENT

    def _send_interim(self, status: int, wire: bytes, special: Special, end: bool) -> None:
        request = self._request
        if end:
            raise LocalProtocolError(f"a final response must follow {status}")
        # RFC 9110 §15.2: HTTP/1.0 knows no interim responses.
        if request is None or request.version.minor == 0:
            raise LocalProtocolError(f"no {status} response to this peer")
        # RFC 9110 §8.6, RFC 9112 §6.1.
        if "content-length" in special or "transfer-encoding" in special:
            raise LocalProtocolError("framing fields in an interim response")
        if status == 100:
            if self._continue is _SENT:
                raise LocalProtocolError("100 Continue was sent already")
            self._continue = _SENT
        self._outbox.append(wire)

    def _send_switch(self, wire: bytes, special: Special, end: bool) -> None:
        request = self._request
        offered = [] if request is None else _offered_protocols(request)
        chosen = tokens(special, "upgrade")
        # RFC 9110 §7.8: only to what was offered, and the answer says so.
        if not chosen or not set(chosen) <= set(offered):
            raise LocalProtocolError(f"upgrade to {chosen}, where {offered} was offered")
        if "upgrade" not in tokens(special, "connection"):
            raise LocalProtocolError("101 without Connection: Upgrade")
        if end:
            raise LocalProtocolError("101 without the other protocol")
        self._begin_tunnel(end)
        self._close_asked = True
        self._outbox.append(wire)
        self._writer = UnframedWriter()
        self._sending = _CONTENT

    def _begin_tunnel(self, end: bool) -> None:
        # RFC 9110 §7.8: nobody changes the protocol in the middle of a message.
        if self._receiving is not _DONE:
            raise LocalProtocolError("an upgrade before the whole request was received")
        if end:
            raise LocalProtocolError("a tunnel does not end where it begins")
        self._reader = EofReader()
        self._receiving = _TUNNEL

    def count_content(self, stream_id: int, size: int) -> None:
        """Count content that the system sent by itself; LocalProtocolError without a length."""
        writer = self._writer
        if stream_id != self._stream_id or type(writer) is not SizedWriter:
            raise LocalProtocolError(f"no content of a known length goes out on {self!r}")
        writer.count(size)

    def send_trailers(self, stream_id: int, trailers: Headers) -> None:
        """End chunked content with trailers; LocalProtocolError for those that are not allowed.

        A response to HEAD has none, whatever they are. No other framing has room for any.
        """
        writer = self._writer
        if stream_id != self._stream_id or not isinstance(writer, (ChunkedWriter, UnsentWriter)):
            raise LocalProtocolError(
                f"no trailers can be sent for exchange {stream_id} on {self!r}"
            )
        if isinstance(writer, ChunkedWriter):
            self._outbox += writer.send_trailers(trailers)
        self._writer = None
        self._sending = _DONE
        self._settle()

    def send_capacity(self, stream_id: int) -> int:
        """HTTP/1.1 has no windows: the socket decides."""
        return UNLIMITED if stream_id == self._stream_id and self._writer is not None else 0

    def reset_stream(self, stream_id: int) -> None:
        """Abandon the exchange, and with it the connection; what was not taken is not sent."""
        if stream_id == self._stream_id and self._sending not in (_IDLE, _CLOSED):
            self._outbox.clear()
            self._close()

    def go_away(self) -> None:
        """Take no further exchange: the connection ends with the one under way, or now."""
        self._close_asked = True
        if self._receiving is _IDLE:
            self._close()

    # --- receiving -----------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> list[Event]:
        received = self.receive_request(data)
        if isinstance(received, list):
            return received
        head, content = received
        stream_id = head.stream_id
        if content:
            return [head, Content(stream_id, content), End(stream_id)]
        return [head, End(stream_id)]

    def receive_request(self, data: bytes) -> tuple[RequestHead, bytes] | list[Event]:
        """As `receive_data`, but for the usual request: its head and content, and no events.

        That is one without content or with a length, which came in one piece, and nothing else
        with it.
        """
        scanned = None
        if self._receiving is _IDLE:
            scanned = scan_request_head(data, 0, self._max_line, self._max_field, self._max_fields)
            # What follows is a shorter way to what `_receive` would do with such a request.
            if scanned is not None:
                end, minor, method, target, fields, special = scanned
                if (
                    (end == len(data) if len(special) == 1 else _is_whole(special, len(data) - end))
                    and minor == 1
                    and target[0] == "/"
                    and method != "CONNECT"
                    and end <= self._max_head
                    and (special.get("host") == self._host or self._takes_host(special))
                ):
                    content = data[end:]
                    raw = data[:end] if content else data
                    self._stream_id = stream_id = self._stream_id + 1
                    head = RequestHead(
                        method, target, fields, HttpVersion11, stream_id, raw, special
                    )
                    self._request = head
                    self._continue = _UNASKED
                    self._sending = _HEAD
                    self._receiving = _DONE
                    return head, content
        elif self._backlog.size:
            self._backlog.add(data)
            return self.next_events()
        events: list[Event] = []
        self._receive(data, 0, scanned, events)
        return events

    def next_events(self) -> list[Event]:
        """What follows an exchange that is over, or the octets behind an upgrade.

        To be called when a response has ended, when an upgrade or a CONNECT was accepted, and as
        long as there are events.
        """
        events: list[Event] = []
        if self._receiving is _HEAD or self._receiving is _TUNNEL:
            if self._backlog.size:
                data, at = self._backlog.take()
                self._receive(data, at, None, events)
            if self._ended:
                self._receive_end(events)
        self.wants_data = self._backlog.size < MAX_BACKLOG
        return events

    def receive_eof(self) -> list[Event]:
        """The peer will send no more; what has come whole is still answered."""
        events: list[Event] = []
        if not self._ended:
            self._ended = True
            self._receive_end(events)
        return events

    def _receive_end(self, events: list[Event]) -> None:
        if self._backlog.size:
            # That comes first.
            return
        reader = self._reader
        if reader is not None:
            try:
                reader.receive_eof(self._stream_id, events)
            except ContentError as error:
                self._fail(error, events)
                return
            self._reader = None
            self._receiving = _DONE
            self._settle()
        elif self._receiving is _DONE:
            self._close_asked = True
        elif self._receiving is not _CLOSED:
            # Half a request is a matter for nobody but the log.
            partial = self._head.octets.lstrip(b"\r\n")
            if partial:
                events.append(Failed(0, PeerClosed(partial)))
            self._close()

    def _receive(
        self, data: bytes, at: int, scanned: RequestScan | None, events: list[Event]
    ) -> None:
        size = len(data)
        try:
            while at < size:
                if self._receiving is _IDLE or self._receiving is _HEAD:
                    data, at = self._receive_head(data, at, scanned, events)
                    scanned = None
                    size = len(data)
                elif self._reader is not None:
                    at = self._receive_content(self._reader, data, at, events)
                    if at < size and self._sending is _IDLE:
                        # It was answered early. The next one is asked for with `next_events`.
                        self._receiving = _HEAD
                        self._backlog.add(data, at)
                        return
                elif self._receiving is _CLOSED:
                    return
                else:
                    self._backlog.add(data, at)
                    self.wants_data = self._backlog.size < MAX_BACKLOG
                    return
        except RemoteProtocolError as error:
            self._fail(error, events)

    def _receive_head(
        self, data: bytes, at: int, scanned: RequestScan | None, events: list[Event]
    ) -> tuple[bytes, int]:
        """Read a head that begins at `at` or before: the octets that it ends in, and where."""
        if scanned is None and not self._head.octets:
            scanned = self._scan(data, at)
        if scanned is not None:
            return data, self._begin_scanned(data, at, scanned, events)
        limits = self._limits
        found = self._head.add(data[at:] if at else data, limits)
        if found is None:
            self._receiving = _HEAD
            return data, len(data)
        data, start, end = found
        scanned = self._scan(data, start)
        if scanned is not None:
            return data, self._begin_scanned(data, start, scanned, events)
        self._begin(parse_request_head(data, start, end, limits, self._stream_id + 1), events)
        return data, end

    def _scan(self, data: bytes, at: int) -> RequestScan | None:
        return scan_request_head(data, at, self._max_line, self._max_field, self._max_fields)

    def _begin_scanned(
        self, data: bytes, at: int, scanned: RequestScan, events: list[Event]
    ) -> int:
        end, minor, method, target, fields, special = scanned
        if end - at > self._max_head:
            raise too_long(self._limits)
        version = HttpVersion11 if minor else HttpVersion10
        stream_id = self._stream_id + 1
        raw = data[at:end]
        self._begin(RequestHead(method, target, fields, version, stream_id, raw, special), events)
        return end

    def _begin(self, head: RequestHead, events: list[Event]) -> None:
        """A request begins, and where it has no content it ends as well."""
        special, minor, method = head.special, head.version.minor, head.method
        self._check_authority(head)
        reader = None
        awaited = _UNASKED
        close = False
        if len(special) > 1 or minor != 1:
            for name in SINGLETONS:
                if type(special.get(name)) is list:
                    raise HeadError(f"more than one {name}")
            reader = request_reader(special, minor, self._limits)
            if minor != 1 or special.get("connection", "keep-alive") != "keep-alive":
                close = not persistent(minor, tokens(special, "connection"))
            if reader is not None and "expect" in special and minor:
                awaited = _awaits_continue(special)
        # RFC 9110 §9.3.6: CONNECT has no content, and what follows it is the tunnel's.
        if method == "CONNECT":
            if reader is not None:
                raise HeadError("CONNECT with content")
            # A client that did not wait for a tunnel, and gets none, has sent us who knows what.
            close = True
        self._stream_id += 1
        self._request = head
        # A connection that is going away stays so.
        self._close_asked |= close
        self._continue = awaited
        self._sending = _HEAD
        events.append(head)
        if reader is None:
            self._receiving = _DONE
            events.append(End(self._stream_id))
        else:
            self._reader = reader
            self._receiving = _CONTENT

    def _check_authority(self, head: RequestHead) -> None:
        host = head.special.get("host")
        if host is None:
            # RFC 9112 §3.2.
            if head.version.minor:
                raise HeadError("no Host")
        elif not isinstance(host, str):
            raise HeadError("more than one Host")
        elif host != self._host:
            check_host(host)
            self._host = host
        if head.target[0] != "/" or head.method == "CONNECT":
            check_target(head.method, head.target, host)

    def _takes_host(self, special: Special) -> bool:
        """As `_check_authority`, without its error."""
        host = special.get("host")
        if not isinstance(host, str):
            return False
        try:
            check_host(host)
        except HeadError:
            return False
        self._host = host
        return True

    def _receive_content(
        self, reader: ContentReader, data: bytes, at: int, events: list[Event]
    ) -> int:
        if self._continue is _AWAITED:
            self._continue = _UNASKED
        at = reader.receive(self._stream_id, data, at, events)
        if reader.done:
            self._reader = None
            self._receiving = _DONE
            self._settle()
        return at

    # --- transitions ---------------------------------------------------------------------------

    def _settle(self) -> None:
        """After an end: with both halves done the next request may be read, or none ever."""
        if self._sending is not _DONE or self._receiving is _TUNNEL:
            return
        if self._close_asked:
            # RFC 9112 §9.6: whatever else comes is not read. The rest of the content neither: who
            # wants to be polite to the peer reads and forgets it, without us.
            self._close()
        elif self._receiving is _DONE:
            self._request = None
            self._sending = _IDLE
            self._receiving = _HEAD if self._backlog.size else _IDLE

    def _fail(self, error: RemoteProtocolError, events: list[Event]) -> None:
        if self._receiving is _IDLE or self._receiving is _HEAD:
            # What cannot be read as a request is an exchange of its own, and can be answered.
            self._stream_id += 1
            self._request = None
            self._sending = _HEAD
            self._continue = _UNASKED
        events.append(Failed(self._stream_id, without_frames(error)))
        self._receiving = _CLOSED
        self._close_asked = True
        self._reader = None
        self._head.clear()
        self._backlog.clear()
        self.wants_data = True
        self._settle()

    def _close(self) -> None:
        self._sending = self._receiving = _CLOSED
        self._request = None
        self._reader = None
        self._writer = None
        self._head.clear()
        self._backlog.clear()
        self.wants_data = True


def _is_whole(special: Special, size: int) -> bool:
    """Whether `size` octets behind a head are all its content, and it asks for nothing special."""
    return (
        special.get("content-length", "0") == str(size)
        and special.get("connection", "keep-alive") == "keep-alive"
        and "transfer-encoding" not in special
        and "expect" not in special
        # No field that repeats.
        and list not in map(type, special.values())
    )


def _offered_protocols(request: RequestHead) -> list[str]:
    """What the peer would switch to, in lower case (RFC 9110 §7.8); not over HTTP/1.0."""
    special = request.special
    if request.version.minor == 0 or "upgrade" not in tokens(special, "connection"):
        return []
    return tokens(special, "upgrade")


def _awaits_continue(special: Special) -> Continue:
    asked = "100-continue" in tokens(special, "expect")
    return _AWAITED if asked else _UNASKED


def understands_expectation(head: RequestHead) -> bool:
    """Whether all that `Expect` says is 100-continue; if not, 417 answers (RFC 9110 §10.1.1).

    A request of HTTP/1.0 expects nothing.
    """
    if "expect" not in head.special or head.version.minor == 0:
        return True
    return tokens(head.special, "expect") == ["100-continue"]
