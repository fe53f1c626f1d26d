"""The short ways of a server's connection: each does what the long way does, or nothing."""

from __future__ import annotations

import pytest

from angelia.core.h1_server import JOINED_SIZE, H1ServerConnection
from angelia.core.h1_wire import ReadyHead
from angelia.core.interface import Content, End, RequestHead
from angelia.errors import LocalProtocolError
from core.h1_kit import merged, sent
from core.h1_server_kit import CANARY, GET, answer, asked, shown

pytestmark = pytest.mark.usefixtures("implementation")

FIELDS = (("Content-Type", "text/plain"), ("X", "\xff"))
HEAD = ReadyHead(200, "X", FIELDS)


def request(*lines: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([method + b" / HTTP/" + version, b"Host: a", *lines, b"", b""])


class TestReadyHead:
    """Heads that are serialized once."""

    def test_wire(self) -> None:
        """The head as ever, without the empty line at its end."""
        assert HEAD.wire == b"HTTP/1.1 200 X\r\nContent-Type: text/plain\r\nX: \xc3\xbf\r\n"
        assert HEAD.status == 200

    @pytest.mark.parametrize(
        ("status", "reason", "field"),
        [
            (200, "X", ("Content-Length", "1")),
            (200, "X", ("transfer-encoding", "chunked")),
            (200, "X", ("CONNECTION", "close")),
            (200, "X", ("Upgrade", "x")),
            (200, "X", ("A", "b\r\nContent-Length: 0")),
            (200, "X", ("A b", "c")),
            (200, "X\n", ("A", "b")),
            (100, "X", ("A", "b")),
            (99, "X", ("A", "b")),
        ],
    )
    def test_refused(self, status: int, reason: str, field: tuple[str, str]) -> None:
        """What decides about framing or persistence has no place in it, nor what cannot be sent."""
        with pytest.raises(LocalProtocolError):
            ReadyHead(status, reason, (field,))


class TestSendReady:
    """Whole responses in one call."""

    @pytest.mark.parametrize("size", [0, 1, JOINED_SIZE, JOINED_SIZE + 1])
    @pytest.mark.parametrize(
        "wire",
        [
            GET,
            request(method=b"POST"),
            request(b"Connection: keep-alive"),
            request(b"Content-Length: 3", method=b"POST"),
            request(b"Content-Length: 3", method=b"POST") + b"abc",
            request(b"Transfer-Encoding: chunked", method=b"POST"),
            GET + CANARY,
        ],
    )
    def test_usual(self, wire: bytes, size: int) -> None:
        """The same octets as on the long way, and the same state behind them."""
        short, long = asked(wire), asked(wire)
        content = b"c" * size
        assert short.send_ready(1, HEAD, content)
        headers = [*FIELDS, ("Content-Length", str(size))]
        assert sent(short) == answer(long, 1, 200, headers, content)
        assert repr(short) == repr(long)
        assert short.persistent is long.persistent is True
        assert shown(short.next_events()) == shown(long.next_events())

    @pytest.mark.parametrize(
        ("wire", "status"),
        [
            (request(method=b"HEAD"), 200),
            (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 200),
            (request(b"Connection: close"), 200),
            (request(version=b"1.0"), 200),
            (request(b"Connection: keep-alive", version=b"1.0"), 200),
            (request(b"Content-Length: 3", b"Expect: 100-continue", method=b"PUT"), 200),
            (b"broken\r\n\r\n", 400),
            (GET, 204),
            (GET, 205),
            (GET, 304),
        ],
    )
    def test_unusual(self, wire: bytes, status: int) -> None:
        """What needs a look is left to the long way: nothing is sent, nothing has changed."""
        connection = asked(wire)
        before = repr(connection)
        assert not connection.send_ready(1, ReadyHead(status, "X", ()), b"c")
        assert repr(connection) == before
        assert sent(connection) == b""

    def test_state(self) -> None:
        """Not before a request, not for another one, not twice, not behind another head."""
        assert not H1ServerConnection().send_ready(0, HEAD, b"")
        connection = asked()
        assert not connection.send_ready(2, HEAD, b"")
        assert connection.send_ready(1, HEAD, b"")
        assert not connection.send_ready(1, HEAD, b"")
        begun = asked()
        answer(begun, 1, 200, [("Content-Length", "1")], end=False)
        assert not begun.send_ready(1, HEAD, b"c")
        leaving = asked()
        leaving.go_away()
        assert not leaving.send_ready(1, HEAD, b"")

    def test_large_content_is_not_copied(self) -> None:
        """Beyond a size the content goes out as it is."""
        connection = asked()
        content = b"c" * (JOINED_SIZE + 1)
        assert connection.send_ready(1, HEAD, content)
        assert connection.data_to_send()[1] is content


def again() -> H1ServerConnection:
    """A connection that has answered a request: it knows the Host."""
    connection = asked()
    answer(connection)
    return connection


class TestReceiveRequest:
    """The usual request as its head and content."""

    @pytest.mark.parametrize(
        ("wire", "content"),
        [
            (GET, b""),
            (request(b"Accept-Encoding: gzip", b"Connection: keep-alive"), b""),
            (request(b"Content-Length: 0"), b""),
            (request(b"Content-Length: 3", method=b"POST") + b"abc", b"abc"),
            (request(b"content-length:3", b"Content-Type: a/b", b"X: y") + CANARY[:3], b"GET"),
            (request(b"Cookie: a=b", b"Content-Encoding: x", b"Content-Length: 1") + b"c", b"c"),
            (request(b"Upgrade: x", b"Content-Length: 1") + b"c", b"c"),
        ],
    )
    def test_usual(self, wire: bytes, content: bytes) -> None:
        """One request in one piece: what comes of it is the same as on the long way."""
        short, long = again(), again()
        received = short.receive_request(wire)
        assert isinstance(received, tuple)
        head, octets = received
        assert octets == content
        events = long.receive_data(wire[:1]) + long.receive_data(wire[1:])
        expected = [head, Content(2, content), End(2)] if content else [head, End(2)]
        assert merged(events) == expected
        assert isinstance(events[0], RequestHead)
        assert (head.raw, head.special) == (events[0].raw, events[0].special)
        assert repr(short) == repr(long)
        for connection in (short, long):
            assert not connection.receiving_content
            assert connection.persistent
            assert shown(connection.receive_data(CANARY)) == []
            assert answer(connection, 2)
            assert shown(connection.next_events())[0][:3] == ("head", "GET", "/canary")

    @pytest.mark.parametrize("host", [b"b", b"b:8080", b"[::1]:1"])
    def test_other_host(self, host: bytes) -> None:
        """The Host may be another one than before, or the first."""
        for connection in (again(), H1ServerConnection()):
            received = connection.receive_request(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
            assert isinstance(received, tuple)
            assert received[0].headers == [("Host", host.decode())]

    @pytest.mark.parametrize(
        "wire",
        [
            GET[:-1],
            GET + b"G",
            b"broken\r\n\r\n",
            b"\r\n",
            request(b"Content-Length: 3", method=b"POST") + b"ab",
            request(b"Content-Length: 3", method=b"POST") + b"abcG",
            request(b"Content-Length: 03", method=b"POST") + b"abc",
            request(b"Content-Length: +3", method=b"POST") + b"abc",
            request(b"Content-Length: 3, 3", method=b"POST") + b"abc",
            request(b"Content-Length: 3", b"Content-Length: 3", method=b"POST") + b"abc",
            request(b"Content-Length: 3", b"Transfer-Encoding: chunked") + b"abc",
            request(b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
            request(b"Transfer-Encoding: chunked"),
            request(b"Content-Length: 3", b"Expect: 100-continue") + b"abc",
            request(b"Content-Length: 3", b"Content-Type: a/b", b"Content-Type: c/d") + b"abc",
            request(b"Authorization: a", b"Authorization: b"),
            request(b"Connection: close"),
            request(b"Connection: keep-alive, Upgrade", b"Upgrade: x"),
            request(b"Content-Length: 3", version=b"1.0") + b"abc",
            request(b"Host: b", b"Content-Length: 3") + b"abc",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a:x\r\n\r\n",
            request(b"Content-Length: 3", method=b"CONNECT") + b"abc",
        ],
    )
    def test_other(self, wire: bytes) -> None:
        """All else comes as events, the same ones as on the long way."""
        short, long = again(), again()
        events = short.receive_request(wire)
        assert isinstance(events, list)
        pieces = long.receive_data(wire[:1]) + long.receive_data(wire[1:])
        assert shown(events) == shown(pieces)
        assert repr(short) == repr(long)
        assert short.persistent is long.persistent
        assert short.continue_awaited is long.continue_awaited
