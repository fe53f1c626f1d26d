"""A server's connection: requests in, responses out, one exchange after the other."""

from __future__ import annotations

import gc
import weakref

import pytest

from angelia.core import h1_exchange
from angelia.core.h1_server import H1ServerConnection, understands_expectation
from angelia.core.h1_wire import HeadLimits
from angelia.core.interface import (
    Content,
    End,
    HTTPConnection,
    HttpVersion,
    HttpVersion10,
    RequestHead,
    ResponseHead,
)
from angelia.errors import (
    ContentError,
    HeadError,
    IncompleteContent,
    LocalProtocolError,
    PeerClosed,
)
from core.h1_kit import content_of, each_octet, every_way, failure, feed, sent
from core.h1_server_kit import CANARY, GET, answer, asked, condition, serve, shown

pytestmark = pytest.mark.usefixtures("implementation")

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECTING = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x, Y/2\r\n\r\n"
CONNECT = b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"
SWITCH = [("Connection", "Upgrade"), ("Upgrade", "x")]
CL5 = [("Content-Length", "5")]
TE = [("Transfer-Encoding", "chunked")]


def get(*lines: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    """A request with these field lines behind its Host."""
    return b"\r\n".join([method + b" / HTTP/" + version, b"Host: a", *lines, b"", b""])


def refused(connection: H1ServerConnection, status: int, headers: list[tuple[str, str]]) -> None:
    """This response cannot be begun, and another one still can."""
    before = repr(connection)
    with pytest.raises(LocalProtocolError):
        answer(connection, 1, status, headers, end=False)
    assert repr(connection) == before
    assert sent(connection) == b""


class TestFace:
    """The face of a connection."""

    def test_is_a_connection(self) -> None:
        """It shows the face that `net` knows, and opens no streams."""
        connection: HTTPConnection = H1ServerConnection()
        assert connection.available_streams == 0
        assert connection.idle_timeout is None
        assert connection.wants_data
        assert not connection.closed
        assert connection.next_events() == []
        assert not connection.has_windows
        connection.acknowledge(1, 1)
        with pytest.raises(LocalProtocolError):
            connection.open_stream()

    def test_repr(self) -> None:
        """It tells the states."""
        assert repr(asked()) == "<H1ServerConnection exchange 1 sending=HEAD receiving=DONE>"

    def test_heads_have_what_came(self) -> None:
        """A head has its octets, and the fields that decide something by lower-case name."""
        wire = get(b"COOKIE: a=b", b"A: b", b"If-Match: x", b"if-match: y", b"Range: bytes=0-")
        for pieces in ([wire], [wire[:20], wire[20:]], [b"\r\n" + wire]):
            (head, _) = feed(H1ServerConnection(), pieces)
            assert isinstance(head, RequestHead)
            assert head.raw == wire
            assert head.special == {
                "host": "a",
                "cookie": "a=b",
                "if-match": ["x", "y"],
                "range": "bytes=0-",
            }
            assert head.headers[0] == ("Host", "a")
            assert head.stream_id == 1

    def test_a_higher_minor_version(self) -> None:
        """The parser that works line by line finds the same."""
        (head, _) = H1ServerConnection().receive_data(get(b"Cookie: a", version=b"1.7"))
        assert isinstance(head, RequestHead)
        assert head.version == HttpVersion(1, 7)
        assert head.special == {"host": "a", "cookie": "a"}

    def test_capacity(self) -> None:
        """HTTP/1.1 content goes out as fast as the socket takes it, while there may be any."""
        connection = asked()
        assert connection.send_capacity(1) == 0
        answer(connection, 1, 200, CL5, end=False)
        assert connection.send_capacity(1) == h1_exchange.UNLIMITED
        assert connection.send_capacity(2) == 0

    def test_limits_are_strict(self) -> None:
        """A server is never lenient, whatever limits it is given."""
        connection = H1ServerConnection(HeadLimits(lenient=True))
        assert failure(connection.receive_data(b"GET / HTTP/1.1\nHost: a\n\n")) is not None

    def test_whole_head_has_a_limit(self) -> None:
        """`max_size` holds for a head in one read and in many."""
        wire = get(b"A: " + b"b" * 100)
        for size, fine in ((len(wire), True), (len(wire) - 1, False)):
            limits = HeadLimits(lenient=False, max_size=size)
            for pieces in ([wire], each_octet(wire), [b"\r\n" + wire], [GET + wire]):
                failed = failure(serve(H1ServerConnection(limits), pieces))
                assert (failed is None) == fine
                if failed is not None:
                    assert failed.error.status == 431

    def test_no_cycles(self) -> None:
        """A failure that is handed on holds nothing else."""
        connection = H1ServerConnection()
        events = connection.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n")
        failed = failure(events)
        assert failed is not None
        assert failed.error.__traceback__ is None
        gc.disable()
        try:
            reference = weakref.ref(failed.error)
            del failed, events
            assert reference() is None
        finally:
            gc.enable()


class TestExchange:
    """RFC 9112 §9: one exchange after the other."""

    def test_request_and_response(self) -> None:
        """A request gives a head and an end; its answer leaves the connection idle."""
        for pieces in every_way(GET):
            connection = H1ServerConnection()
            assert connection.idle
            events = feed(connection, pieces)
            assert shown(events) == [("head", "GET", "/", "1.1", [("Host", "a")]), ("end",)]
            assert condition(connection) == "busy"
            assert connection.persistent
            wire = answer(connection, 1, 200, CL5, b"he", b"llo")
            assert wire == b"HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\nhello"
            assert condition(connection) == "idle"

    def test_half_a_request_is_not_idle(self) -> None:
        """From its first octet on a request is under way."""
        connection = H1ServerConnection()
        connection.receive_data(b"G")
        assert not connection.idle
        assert connection.next_events() == []

    def test_content(self) -> None:
        """Content comes in pieces, and may come behind the answer."""
        for pieces in every_way(POST + b"hello" + CANARY):
            events = serve(H1ServerConnection(), pieces)
            assert content_of(events) == b"hello"
            assert [event[2] for event in shown(events) if event[0] == "head"] == ["/", "/canary"]

    def test_early_answer(self) -> None:
        """The rest of a request behind its answer is still its rest, and no other request."""
        for pieces in every_way(b"hello" + CANARY):
            connection = asked(POST)
            assert connection.receiving_content
            assert connection.content_to_come == 5
            answer(connection)
            assert condition(connection) == "busy"
            assert not connection.idle
            # What comes in one read with the rest waits until it is asked for.
            events = feed(connection, pieces) + connection.next_events()
            assert content_of(events) == b"hello"
            assert shown(events)[-2][:3] == ("head", "GET", "/canary")
            assert events[-1] == End(2)
            assert connection.content_to_come == 0

    def test_early_answer_to_chunked(self) -> None:
        """Only the peer knows how much of chunked content is still to come."""
        connection = asked(CHUNKED)
        assert connection.content_to_come is None
        answer(connection)
        assert shown(connection.receive_data(b"1\r\nx\r\n0\r\n\r\n")) == [("chunk", b"x"), ("end",)]
        assert condition(connection) == "idle"

    def test_early_answer_with_close(self) -> None:
        """RFC 9112 §9.6: behind `close` nothing of the peer is read any more."""
        connection = asked(POST)
        answer(connection, 1, 413, [("Content-Length", "0"), ("Connection", "close")])
        assert condition(connection) == "closed"
        assert connection.receive_data(b"hello" + CANARY) == []

    def test_pipelined(self) -> None:
        """Requests are handed out one by one, each when the one before it was answered."""
        wire = GET + POST + b"hello" + CANARY
        for pieces in ([wire], each_octet(wire)):
            connection = H1ServerConnection()
            events = serve(connection, pieces)
            assert [event[:3] for event in shown(events)] == [
                ("head", "GET", "/"),
                ("end",),
                ("head", "POST", "/"),
                ("content", b"hello"),
                ("end",),
                ("head", "GET", "/canary"),
                ("end",),
            ]
            assert condition(connection) == "idle"

    def test_pipelined_requests_wait(self) -> None:
        """Nothing of the next request is looked at while one is under way."""
        connection = asked(GET + b"\0nonsense\r\n\r\n")
        assert connection.next_events() == []
        answer(connection)
        assert not connection.idle
        assert shown(connection.next_events()) == [("failed", 2, "HeadError", 400)]
        assert answer(connection, 2, 400).endswith(b"Connection: close\r\n\r\n")
        assert condition(connection) == "closed"

    def test_pipelined_data_before_next_events(self) -> None:
        """Octets that come when the answer is out, and nobody has asked yet, wait their turn."""
        connection = asked(GET + CANARY[:5])
        answer(connection)
        events = connection.receive_data(CANARY[5:] + GET)
        assert shown(events)[0][:3] == ("head", "GET", "/canary")
        assert len(events) == 2

    def test_wrong_exchange(self) -> None:
        """Nothing is sent for an exchange that is not under way."""
        connection = asked()
        for stream_id in (0, 2):
            with pytest.raises(LocalProtocolError):
                answer(connection, stream_id)
            with pytest.raises(LocalProtocolError):
                connection.send_content(stream_id, b"", end=True)
        answer(connection)
        for action in (
            lambda: answer(connection),
            lambda: connection.send_content(1, b"", end=True),
            lambda: connection.send_trailers(1, []),
        ):
            with pytest.raises(LocalProtocolError):
                action()

    def test_reset(self) -> None:
        """An exchange that is given up ends the connection; what was not taken is not sent."""
        connection = asked(GET + CANARY)
        head = ResponseHead(200, "OK", CL5)
        connection.send_head(1, head, end=False)
        connection.reset_stream(2)
        assert condition(connection) == "busy"
        connection.reset_stream(1)
        assert condition(connection) == "closed"
        assert sent(connection) == b""
        assert connection.next_events() == []
        connection.reset_stream(1)
        with pytest.raises(LocalProtocolError):
            connection.send_content(1, b"hello", end=True)

    def test_go_away(self) -> None:
        """RFC 9112 §9.6: the exchange under way is the last one, and says so."""
        connection = asked(GET + CANARY)
        connection.go_away()
        assert not connection.persistent
        assert b"\r\nConnection: close\r\n" in answer(connection)
        assert condition(connection) == "closed"
        idle = H1ServerConnection()
        idle.go_away()
        assert condition(idle) == "closed"
        assert idle.receive_data(GET) == []

    def test_go_away_in_a_head(self) -> None:
        """A request that has begun to come is still answered."""
        for rest in (
            b"ET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"ET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n",
        ):
            connection = H1ServerConnection()
            connection.receive_data(b"G")
            connection.go_away()
            assert len(connection.receive_data(rest)) == 2
            assert b"\r\nConnection: close\r\n" in answer(connection)
            assert condition(connection) == "closed"


class TestPersistence:
    """RFC 9112 §9.3: when the connection stays open, and how the response says so."""

    @pytest.mark.parametrize(
        ("wire", "headers", "said", "then"),
        [
            (get(), [], b"", "idle"),
            (get(b"Connection: keep-alive"), [], b"", "idle"),
            (get(b"Connection: x, Y"), [], b"", "idle"),
            (get(b"Connection: close"), [], b"Connection: close\r\n", "closed"),
            (get(b"Connection: x, Close"), [], b"Connection: close\r\n", "closed"),
            (get(b"Connection: x", b"connection: CLOSE"), [], b"Connection: close\r\n", "closed"),
            (get(b"Connection: keep-alive, close"), [], b"Connection: close\r\n", "closed"),
            (get(), [("Connection", "close")], b"", "closed"),
            (get(), [("connection", "x, Close")], b"", "closed"),
            (get(b"Connection: close"), [("Connection", "close")], b"", "closed"),
            (get(version=b"1.0"), [], b"Connection: close\r\n", "closed"),
            (get(version=b"1.2"), [], b"Connection: close\r\n", "closed"),
            (
                get(b"Connection: Keep-Alive", version=b"1.0"),
                [],
                b"Connection: keep-alive\r\n",
                "idle",
            ),
            (
                get(b"Connection: keep-alive", version=b"1.0"),
                [("Connection", "keep-alive")],
                b"",
                "idle",
            ),
            (
                get(b"Connection: keep-alive, close", version=b"1.0"),
                [],
                b"Connection: close\r\n",
                "closed",
            ),
        ],
    )
    def test_persistence(
        self, wire: bytes, headers: list[tuple[str, str]], said: bytes, then: str
    ) -> None:
        """Both sides may close; HTTP/1.0 stays open only where both say so."""
        lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers)
        for framing in (b"Content-Length: 5\r\n", b"Content-Length: 0\r\n"):
            length = framing.decode().split()[1]
            connection = asked(wire)
            fields = [("Content-Length", length), *headers]
            content = b"hello"[: int(length)]
            expected = b"HTTP/1.1 200 X\r\n" + framing + lines + said + b"\r\n" + content
            assert answer(connection, 1, 200, fields, content) == expected
            assert condition(connection) == then
            connection = asked(wire)
            if not content:
                assert answer(connection, 1, 200, fields) == expected
                assert condition(connection) == then

    def test_our_http_10(self) -> None:
        """A response may say HTTP/1.0, and then has to say that it stays."""
        wire = answer(asked(), 1, 200, CL5, b"hello", version=HttpVersion10)
        assert wire.startswith(b"HTTP/1.0 200 X\r\nContent-Length: 5\r\nConnection: keep-alive\r\n")

    def test_closing_drops_what_follows(self) -> None:
        """RFC 9112 §9.6: requests behind one with `close` are not answered."""
        connection = asked(get(b"Connection: close") + CANARY)
        answer(connection)
        assert condition(connection) == "closed"
        assert connection.next_events() == []
        assert connection.receive_data(CANARY) == []
        assert connection.receive_eof() == []


class TestFraming:
    """RFC 9112 §6.3: how long a response is."""

    def test_chunked(self) -> None:
        """Each piece is a chunk, an empty one none."""
        wire = answer(asked(), 1, 200, TE, b"hello", b"", b"x" * 10)
        assert wire.endswith(b"\r\n\r\n5\r\nhello\r\na\r\nxxxxxxxxxx\r\n0\r\n\r\n")
        assert answer(asked(), 1, 200, TE).endswith(b"chunked\r\n\r\n0\r\n\r\n")

    def test_until_the_end(self) -> None:
        """RFC 9112 §6.3 (8): without a field, content lasts until the connection ends."""
        for wire in (get(), get(b"Connection: keep-alive", version=b"1.0")):
            connection = asked(wire)
            out = answer(connection, 1, 200, [], b"hel", b"lo")
            assert out == b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\nhello"
            assert condition(connection) == "closed"

    def test_empty(self) -> None:
        """What ends with its head says so."""
        connection = asked()
        assert answer(connection, 1, 200, []) == b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n"
        assert condition(connection) == "idle"

    def test_reset_content(self) -> None:
        """RFC 9110 §15.3.6: 205 has no content, and says so."""
        out = b"HTTP/1.1 205 X\r\nContent-Length: 0\r\n\r\n"
        assert answer(asked(), 1, 205, []) == out
        assert answer(asked(), 1, 205, [("Content-Length", "0")]) == out
        connection = asked()
        answer(connection, 1, 205, [], end=False)
        with pytest.raises(LocalProtocolError):
            connection.send_content(1, b"x", end=True)
        refused(asked(), 205, CL5)
        refused(asked(), 205, TE)

    @pytest.mark.parametrize("status", [204, 304])
    def test_no_content(self, status: int) -> None:
        """RFC 9110 §15.3.5, §15.4.5: these have none."""
        out = b"HTTP/1.1 %d X\r\n\r\n" % status
        connection = asked()
        assert answer(connection, 1, status, []) == out
        assert condition(connection) == "idle"
        connection = asked()
        assert answer(connection, 1, status, [], b"") == out
        connection = asked()
        answer(connection, 1, status, [], end=False)
        with pytest.raises(LocalProtocolError):
            connection.send_content(1, b"x", end=False)
        connection.send_content(1, b"", end=True)
        assert condition(connection) == "idle"

    def test_fields_of_no_content(self) -> None:
        """RFC 9110 §8.6: 204 says nothing of a length; 304 may say that of a 200."""
        refused(asked(), 204, CL5)
        refused(asked(), 204, TE)
        assert answer(asked(), 1, 304, CL5) == b"HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n"

    @pytest.mark.parametrize("headers", [CL5, TE, []])
    def test_head(self, headers: list[tuple[str, str]]) -> None:
        """RFC 9110 §9.3.2: a response to HEAD is that to GET without content."""
        for content in ((), (b"hello",), (b"hello", b"world"), (b"",)):
            connection = asked(get(method=b"HEAD") + CANARY)
            wire = answer(connection, 1, 200, headers, *content)
            lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers)
            assert wire == b"HTTP/1.1 200 X\r\n" + lines + b"\r\n"
            assert len(connection.next_events()) == 2

    def test_too_much(self) -> None:
        """RFC 9110 §8.6: content is never longer than its Content-Length."""
        connection = asked()
        assert answer(connection, 1, 200, CL5, b"hel", end=False).endswith(b"\r\n\r\nhel")
        with pytest.raises(LocalProtocolError, match="longer"):
            connection.send_content(1, b"loo", end=True)
        assert sent(connection) == b""
        connection.send_content(1, b"lo", end=True)
        assert sent(connection) == b"lo"

    def test_too_little(self) -> None:
        """Nor shorter: the connection can only be given up."""
        connection = asked()
        with pytest.raises(LocalProtocolError, match="short"):
            answer(connection, 1, 200, CL5)
        assert sent(connection) == b""
        answer(connection, 1, 200, CL5, b"hel", end=False)
        with pytest.raises(LocalProtocolError, match="short"):
            connection.send_content(1, b"", end=True)
        connection.reset_stream(1)
        assert condition(connection) == "closed"

    @pytest.mark.parametrize(
        "headers",
        [
            [*CL5, *TE],
            [*TE, ("Content-Length", "0")],
            [*CL5, *CL5],
            [("Content-Length", "5, 5")],
            [("Content-Length", "")],
            [("Content-Length", "+5")],
            [("Content-Length", "\u0665")],
            [("Content-Length", "\u00b2")],
            [("Content-Length", "9" * 19)],
            [("Transfer-Encoding", "gzip")],
            [("Transfer-Encoding", "chunked, gzip")],
            [("Transfer-Encoding", "chunked, chunked")],
            [("A", "b\r\nC: d")],
            [("A", "b\nc")],
            [("A", "b\0")],
            [("A", "b\x7f")],
            [("A\r\nB", "c")],
            [("A ", "c")],
            [("", "c")],
        ],
    )
    def test_refused(self, headers: list[tuple[str, str]]) -> None:
        """No two framings, no odd ones, nothing that would end the head."""
        refused(asked(), 200, headers)
        refused(asked(get(method=b"HEAD")), 200, headers)

    @pytest.mark.parametrize("reason", ["a\r\nB: c", "a\nb", "a\0", "a\tb", "\x1b"])
    def test_refused_reason(self, reason: str) -> None:
        """Nor does the reason."""
        with pytest.raises(LocalProtocolError):
            answer(asked(), 1, 200, CL5, b"hello", reason=reason)

    @pytest.mark.parametrize("status", [-1, 0, 99, 1000])
    def test_refused_status(self, status: int) -> None:
        """RFC 9112 §4: three digits."""
        refused(asked(), status, [])

    def test_refused_version(self) -> None:
        """Versions that we do not speak are not said."""
        with pytest.raises(LocalProtocolError):
            answer(asked(), version=HttpVersion(2, 0))

    def test_refused_request(self) -> None:
        """A server sends no requests."""
        with pytest.raises(LocalProtocolError):
            asked().send_head(1, RequestHead("GET", "/", []), end=True)

    def test_no_chunks_for_http_10(self) -> None:
        """RFC 9112 §6.1: HTTP/1.0 has no transfer codings."""
        refused(asked(get(version=b"1.0")), 200, TE)
        with pytest.raises(LocalProtocolError):
            answer(asked(), 1, 200, TE, version=HttpVersion10)

    def test_trailers(self) -> None:
        """RFC 9112 §7.1.2: behind the last chunk."""
        connection = asked()
        answer(connection, 1, 200, TE, b"hello", end=False)
        connection.send_trailers(1, [("X-Sum", "1"), ("Y", "")])
        assert sent(connection) == b"0\r\nX-Sum: 1\r\nY: \r\n\r\n"
        assert condition(connection) == "idle"
        connection = asked(get(method=b"HEAD"))
        answer(connection, 1, 200, TE, end=False)
        connection.send_trailers(1, [("X-Sum", "1")])
        assert sent(connection) == b""
        assert condition(connection) == "idle"

    @pytest.mark.parametrize(
        "trailers",
        [
            [("Content-Length", "5")],
            [("X", "y"), ("transfer-encoding", "chunked")],
            [("Host", "a")],
            [("Set-Cookie", "a=b")],
            [("A", "b\r\nC: d")],
            [("A b", "c")],
        ],
    )
    def test_refused_trailers(self, trailers: list[tuple[str, str]]) -> None:
        """RFC 9110 §6.5.1: what a head decides has no place there."""
        connection = asked()
        answer(connection, 1, 200, TE, b"hello", end=False)
        with pytest.raises(LocalProtocolError):
            connection.send_trailers(1, trailers)
        assert sent(connection) == b""
        connection.send_trailers(1, [])
        assert sent(connection) == b"0\r\n\r\n"

    def test_no_place_for_trailers(self) -> None:
        """Only chunked content has a place for them."""
        for headers in (CL5, []):
            connection = asked()
            answer(connection, 1, 200, headers, end=False)
            with pytest.raises(LocalProtocolError):
                connection.send_trailers(1, [("A", "b")])


class TestInterim:
    """RFC 9110 §15.2, §10.1.1: interim responses, and the wait for one."""

    def test_continue(self) -> None:
        """100 goes out once, and then the final response as always."""
        connection = asked(EXPECTING)
        assert connection.continue_awaited
        assert answer(connection, 1, 100, [], end=False) == b"HTTP/1.1 100 X\r\n\r\n"
        refused(connection, 100, [])
        assert shown(connection.receive_data(b"hello")) == [("content", b"hello"), ("end",)]
        answer(connection, 1, 200, CL5, end=False)
        refused(connection, 100, [])
        connection.send_content(1, b"hello", end=True)
        assert condition(connection) == "idle"

    def test_continue_is_not_awaited_any_more(self) -> None:
        """Once it was sent."""
        connection = asked(EXPECTING)
        answer(connection, 1, 100, [], end=False)
        assert not connection.continue_awaited

    def test_early_hints(self) -> None:
        """Other interim responses may be many."""
        connection = asked()
        for _ in range(2):
            out = answer(connection, 1, 103, [("Link", "</x>")], end=False)
            assert out == b"HTTP/1.1 103 X\r\nLink: </x>\r\n\r\n"
        answer(connection)
        assert condition(connection) == "idle"

    def test_refused(self) -> None:
        """They end nothing, frame nothing, and are not for HTTP/1.0, nor for failures."""
        refused(asked(), 103, CL5)
        refused(asked(), 103, TE)
        refused(asked(get(version=b"1.0")), 103, [])
        refused(asked(b"nonsense\r\n\r\n"), 103, [])
        with pytest.raises(LocalProtocolError):
            answer(asked(), 1, 103, [], end=True)

    def test_content_without_waiting(self) -> None:
        """A peer that sends content all the same waits for nothing any more."""
        for pieces in every_way(EXPECTING + b"hello"):
            connection = H1ServerConnection()
            events = feed(connection, pieces)
            assert content_of(events) == b"hello"
            assert not connection.continue_awaited
            assert b"close" not in answer(connection)

    def test_final_response_instead(self) -> None:
        """Whether the content still comes is not known: the connection ends."""
        connection = asked(EXPECTING)
        assert b"\r\nConnection: close\r\n" in answer(connection, 1, 417)
        assert condition(connection) == "closed"
        assert connection.receive_data(b"hello" + CANARY) == []
        connection = asked(EXPECTING)
        assert b"\r\nConnection: close\r\n" in answer(connection, 1, 417, CL5, b"hello")

    @pytest.mark.parametrize(
        ("wire", "awaited", "understood"),
        [
            (get(b"Content-Length: 5", b"Expect: 100-CONTINUE"), True, True),
            (get(b"Transfer-Encoding: chunked", b"Expect: 100-continue"), True, True),
            (get(b"Expect: 100-continue"), False, True),
            (get(b"Content-Length: 0", b"Expect: 100-continue"), False, True),
            (get(b"Content-Length: 5", b"Expect: 100-continue", version=b"1.0"), False, True),
            (get(b"Content-Length: 5", b"Expect: x", version=b"1.0"), False, True),
            (get(b"Content-Length: 5", b"Expect: x"), False, False),
            (get(b"Content-Length: 5", b"Expect:"), False, False),
            (get(b"Content-Length: 5", b"Expect: 100-continue, x"), True, False),
            (get(b"Content-Length: 5"), False, True),
        ],
    )
    def test_expectations(self, wire: bytes, awaited: bool, understood: bool) -> None:
        """RFC 9110 §10.1.1: one is known, and only HTTP/1.1 has any."""
        connection = H1ServerConnection()
        head = connection.receive_data(wire)[0]
        assert isinstance(head, RequestHead)
        assert connection.continue_awaited == awaited
        assert understands_expectation(head) == understood


class TestTunnel:
    """RFC 9110 §7.8, §9.3.6: unframed from there on."""

    def test_upgrade(self) -> None:
        """What follows is another protocol's, what has come already included."""
        for pieces in every_way(UPGRADE + CANARY):
            connection = H1ServerConnection()
            events = feed(connection, pieces)
            assert [type(event) for event in events] == [RequestHead, End]
            assert answer(connection, 1, 101, SWITCH, end=False).startswith(b"HTTP/1.1 101 X\r\n")
            assert connection.tunnelled
            assert not connection.persistent
            assert content_of(connection.next_events()) == CANARY
            assert connection.next_events() == []
            assert connection.receive_data(b"x") == [Content(1, b"x")]
            connection.send_content(1, b"y", end=False)
            assert sent(connection) == b"y"
            assert connection.receive_eof() == [End(1)]
            connection.send_content(1, b"z", end=True)
            assert sent(connection) == b"z"
            assert condition(connection) == "closed"

    def test_our_end_first(self) -> None:
        """Each direction of a tunnel ends on its own."""
        connection = asked(UPGRADE)
        answer(connection, 1, 101, SWITCH, end=False)
        connection.send_content(1, b"", end=True)
        assert condition(connection) == "tunnel"
        assert connection.receive_data(b"x") == [Content(1, b"x")]
        assert connection.receive_eof() == [End(1)]
        assert condition(connection) == "closed"

    def test_data_before_next_events(self) -> None:
        """The order stays, whoever asks when."""
        connection = asked(UPGRADE + b"ab")
        answer(connection, 1, 101, SWITCH, end=False)
        assert content_of(connection.receive_data(b"cd")) == b"abcd"

    def test_eof_before_the_answer(self) -> None:
        """What has come is handed out, and then the end."""
        connection = asked(UPGRADE + b"ab")
        assert connection.receive_eof() == []
        answer(connection, 1, 101, SWITCH, end=False)
        assert connection.next_events() == [Content(1, b"ab"), End(1)]
        connection = asked(UPGRADE)
        assert connection.receive_eof() == []
        answer(connection, 1, 101, SWITCH, end=False)
        assert connection.next_events() == [End(1)]
        assert connection.next_events() == []

    def test_declined(self) -> None:
        """An upgrade that is not accepted is a request like any other."""
        for status in (200, 426):
            connection = asked(UPGRADE + CANARY)
            answer(connection, 1, status)
            assert shown(connection.next_events())[0][:3] == ("head", "GET", "/canary")

    def test_declined_with_content(self) -> None:
        """Its content is content, whatever it looks like."""
        head = UPGRADE[:-2] + b"Content-Length: %d\r\n\r\n" % len(CANARY)
        for pieces in every_way(head + CANARY):
            events = serve(H1ServerConnection(), pieces)
            assert content_of(events) == CANARY
            assert len([event for event in events if isinstance(event, RequestHead)]) == 1

    def test_upgrade_with_content(self) -> None:
        """RFC 9110 §7.8: first the whole request, then the other protocol."""
        connection = asked(UPGRADE[:-2] + b"Content-Length: 5\r\n\r\n")
        refused(connection, 101, SWITCH)
        connection.receive_data(b"hello")
        answer(connection, 1, 101, SWITCH, end=False)
        assert connection.tunnelled

    @pytest.mark.parametrize(
        "wire",
        [
            get(),
            get(b"Upgrade: x"),
            get(b"Upgrade: x", b"Connection: notupgrade"),
            get(b"Connection: Upgrade"),
            get(b"Upgrade: y", b"Connection: Upgrade"),
            get(b"Upgrade: x", b"Connection: Upgrade, keep-alive", version=b"1.0"),
            b"nonsense\r\n\r\n",
        ],
    )
    def test_not_offered(self, wire: bytes) -> None:
        """Only what was offered in full, and never over HTTP/1.0."""
        refused(asked(wire), 101, SWITCH)

    @pytest.mark.parametrize(
        "headers",
        [
            [],
            [("Upgrade", "x")],
            [("Connection", "Upgrade")],
            [("Connection", "Upgrade"), ("Upgrade", "z")],
            [("Connection", "Upgrade"), ("Upgrade", "x, z")],
        ],
    )
    def test_incomplete_switch(self, headers: list[tuple[str, str]]) -> None:
        """A 101 names the protocol, in both fields."""
        refused(asked(UPGRADE), 101, headers)

    def test_switch_does_not_end(self) -> None:
        """Nor does a tunnel."""
        with pytest.raises(LocalProtocolError):
            answer(asked(UPGRADE), 1, 101, SWITCH, end=True)
        with pytest.raises(LocalProtocolError):
            answer(asked(CONNECT), 1, 200, [], end=True)

    def test_connect(self) -> None:
        """RFC 9110 §9.3.6: a 2xx opens the tunnel, without framing fields."""
        connection = asked(CONNECT + b"early")
        refused(connection, 200, CL5)
        refused(connection, 200, TE)
        assert answer(connection, 1, 200, [], end=False) == b"HTTP/1.1 200 X\r\n\r\n"
        assert content_of(connection.next_events()) == b"early"
        assert condition(connection) == "tunnel"

    def test_refused_connect(self) -> None:
        """What came early was for a tunnel: it is never a request."""
        connection = asked(CONNECT + CANARY)
        assert b"\r\nConnection: close\r\n" in answer(connection, 1, 407)
        assert condition(connection) == "closed"
        assert connection.next_events() == []


class TestEnd:
    """The end of the peer's octets."""

    def test_idle(self) -> None:
        """Between two exchanges, and behind an empty line, it is the end and no error."""
        for pieces in ([], [b"\r\n"], [b"\r"]):
            connection = H1ServerConnection()
            assert feed(connection, pieces, eof=True) == []
            assert condition(connection) == "closed"
            assert connection.receive_eof() == []

    def test_in_a_head(self) -> None:
        """Half a request is nobody's: stream 0."""
        for size in range(1, len(GET)):
            connection = H1ServerConnection()
            failed = failure(feed(connection, [GET[:size]], eof=True))
            assert failed is not None
            assert failed.stream_id == 0
            assert isinstance(failed.error, PeerClosed)
            assert failed.error.partial == GET[:size]
            assert condition(connection) == "closed"

    def test_in_content(self) -> None:
        """An incomplete request fails, and can be answered."""
        connection = asked(POST + b"hel")
        failed = failure(connection.receive_eof())
        assert failed is not None
        assert isinstance(failed.error, IncompleteContent)
        assert (failed.stream_id, failed.error.received, failed.error.expected) == (1, 3, 5)
        assert b"\r\nConnection: close\r\n" in answer(connection, 1, 400)
        assert condition(connection) == "closed"

    def test_in_content_behind_the_answer(self) -> None:
        """When the answer is out already, it is the end."""
        connection = asked(POST + b"hel")
        answer(connection)
        assert failure(connection.receive_eof()) is not None
        assert condition(connection) == "closed"

    def test_behind_a_request(self) -> None:
        """RFC 9112 §9.6: a peer that closes its half still gets its answer."""
        connection = asked()
        assert connection.receive_eof() == []
        assert b"\r\nConnection: close\r\n" in answer(connection)
        assert condition(connection) == "closed"

    def test_in_a_response(self) -> None:
        """Also one that is under way."""
        connection = asked()
        answer(connection, 1, 200, CL5, b"he", end=False)
        assert connection.receive_eof() == []
        connection.send_content(1, b"llo", end=True)
        assert sent(connection) == b"llo"
        assert condition(connection) == "closed"

    def test_behind_pipelined_requests(self) -> None:
        """All that came whole is answered; what did not, is nobody's."""
        connection = asked(GET + GET + CANARY + b"GET")
        assert connection.receive_eof() == []
        for number in (1, 2):
            assert b"close" not in answer(connection, number)
            assert [type(event) for event in connection.next_events()] == [RequestHead, End]
        answer(connection, 3)
        failed = failure(connection.next_events())
        assert failed is not None
        assert failed.stream_id == 0
        assert condition(connection) == "closed"

    def test_last_pipelined_request(self) -> None:
        """The last of them knows that it is."""
        connection = asked(GET + CANARY)
        assert connection.receive_eof() == []
        answer(connection)
        assert len(connection.next_events()) == 2
        assert b"\r\nConnection: close\r\n" in answer(connection, 2)
        assert condition(connection) == "closed"

    def test_pipelined_content_is_cut(self) -> None:
        """A pipelined request without all of its content fails in its turn."""
        connection = asked(GET + POST + b"hel")
        assert connection.receive_eof() == []
        answer(connection)
        events = connection.next_events()
        assert [type(event).__name__ for event in events] == ["RequestHead", "Content", "Failed"]
        answer(connection, 2, 400)
        assert condition(connection) == "closed"


class TestFailures:
    """What the peer did wrong is answered once, and is the end."""

    def test_head(self) -> None:
        """A head that is none is an exchange of its own."""
        connection = asked()
        answer(connection)
        failed = failure(connection.receive_data(b"GET / HTTP/1.1\r\n\r\n" + CANARY))
        assert failed is not None
        assert failed.stream_id == 2
        assert isinstance(failed.error, HeadError)
        assert not connection.persistent
        assert connection.receive_data(CANARY) == []
        assert connection.receive_eof() == []
        out = answer(connection, 2, failed.error.status, CL5, b"wrong")
        assert out == b"HTTP/1.1 400 X\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwrong"
        assert condition(connection) == "closed"

    def test_content_before_the_answer(self) -> None:
        """Broken content can still be answered."""
        connection = asked(CHUNKED)
        failed = failure(connection.receive_data(b"1\r\nx\r\nx" + CANARY))
        assert failed is not None
        assert isinstance(failed.error, ContentError)
        assert b"\r\nConnection: close\r\n" in answer(connection, 1, 400)
        assert condition(connection) == "closed"

    def test_content_in_the_answer(self) -> None:
        """An answer that is under way goes on to its end."""
        connection = asked(CHUNKED)
        answer(connection, 1, 200, CL5, b"he", end=False)
        assert failure(connection.receive_data(b"x")) is not None
        assert condition(connection) == "busy"
        connection.send_content(1, b"llo", end=True)
        assert condition(connection) == "closed"

    def test_content_behind_the_answer(self) -> None:
        """When the answer is out, nothing is left to say."""
        connection = asked(CHUNKED)
        answer(connection)
        assert failure(connection.receive_data(b"x")) is not None
        assert condition(connection) == "closed"

    def test_expecting(self) -> None:
        """Who waits for 100, and sends rubbish, waits no more."""
        connection = asked(EXPECTING)
        connection.send_head(1, ResponseHead(100, "", []), end=False)
        assert connection.receive_data(b"hello" + b"\0") != []
        answer(connection)
        assert failure(connection.next_events()) is not None
        assert not connection.continue_awaited
