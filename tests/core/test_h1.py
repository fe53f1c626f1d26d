"""An HTTP/1.1 connection on the client's side: every rule whole, and cut at every octet."""

from __future__ import annotations

import gc

import pytest

from angelia.core import h1_exchange
from angelia.core.h1 import MAX_INTERIM_RESPONSES, H1ClientConnection
from angelia.core.h1_wire import HeaderBlock
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
    HeadError,
    IncompleteContent,
    LocalProtocolError,
    PeerClosed,
)
from core.h1_kit import (
    ask_again,
    asking,
    condition,
    content_of,
    each_octet,
    every_way,
    failure,
    feed,
    sent,
    show,
    shown,
    states,
)
from core.h1_responses import CASES, Case

pytestmark = pytest.mark.usefixtures("implementation")

by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

HOST = ("Host", "a")
OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = OK + b"Content-Length: 0\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def answered(case: Case) -> H1ClientConnection:
    version = HttpVersion10 if case.http10 else HttpVersion(1, 1)
    return asking(case.method, version=version, read_until_eof=case.read_until_eof)


class TestResponses:
    """RFC 9112 §2 to §9: the table of responses."""

    @by_name
    def test_however_it_is_cut(self, case: Case) -> None:
        """Results are the same whole, octet by octet, and with a cut at any place."""
        for pieces in every_way(case.wire):
            connection = answered(case)
            events = feed(connection, pieces, eof=case.eof)
            assert shown(events) == case.events
            assert condition(connection) == case.then
            assert sent(connection) == b""

    @by_name
    def test_short_way_agrees(self, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        """The way for the usual response is a shorter one to the same events and the same state."""
        connection = answered(case)
        events = feed(connection, [case.wire], eof=case.eof)
        monkeypatch.setattr(H1ClientConnection, "_receive_whole", lambda *args: None)
        general = answered(case)
        expected = feed(general, [case.wire], eof=case.eof)
        assert events == expected
        assert (states(connection), connection.idle_timeout) == (
            states(general),
            general.idle_timeout,
        )
        for event, other in zip(events, expected, strict=True):
            if isinstance(event, ResponseHead) and isinstance(other, ResponseHead):
                assert (event.raw, event.special) == (other.raw, other.special)

    def test_short_way_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The usual response does not go the general way."""
        monkeypatch.setattr(H1ClientConnection, "_receive", None)
        for _ in range(2):
            connection = asking(headers=HeaderBlock([HOST]))
            for wire in (EMPTY, OK + b"content-length: 2\r\nConnection: keep-alive\r\n\r\nab"):
                assert isinstance(feed(connection, [wire])[-1], End)
                ask_again(connection)

    def test_short_way_ends_the_connection_where_we_asked(self) -> None:
        """Our own Connection: close holds for the usual response too."""
        connection = asking(headers=[HOST, ("Connection", "close")])
        assert len(feed(connection, [EMPTY])) == 2
        assert condition(connection) == "closed"

    def test_raw(self) -> None:
        """A head keeps its octets as they came, however they came, without what is around them."""
        head = b"HTTP/1.1 200 OK\nA: b\r\n c\r\nContent-Length: 1\r\n\r\n"
        for pieces in every_way(b"\r\n" + head + b"x"):
            events = feed(asking(), pieces)
            assert isinstance(events[0], ResponseHead)
            assert events[0].raw == head
            assert events[0].special == {"content-length": "1"}

    def test_special(self) -> None:
        """The fields that decide what is next are found by name, one value or several."""
        wire = (
            b"HTTP/1.1 302 X\r\nSET-cookie: a=1\r\nLocation: /\r\nSet-Cookie: b=2\r\nX: y\r\n"
            b"set-cookie: c=3\r\nContent-Length: 0\r\n"
        )
        for end in (b"\r\n", b"\n"):
            head = feed(asking(), [wire + end])[0]
            assert isinstance(head, ResponseHead)
            assert head.special == {
                "set-cookie": ["a=1", "b=2", "c=3"],
                "location": "/",
                "content-length": "0",
            }

    def test_content_is_not_copied(self) -> None:
        """Content that is a whole read is the read's own buffer."""
        connection = asking()
        feed(connection, [OK + b"Content-Length: 200\r\n\r\n"])
        for data in (b"x" * 100, b"y" * 100):
            content = connection.receive_data(data)[0]
            assert isinstance(content, Content)
            assert content.data is data
        for head in (OK + b"\r\n", CHUNKED + b"5000\r\n"):
            connection = asking()
            feed(connection, [head])
            content = connection.receive_data(data)[0]
            assert isinstance(content, Content)
            assert content.data is data

    def test_empty_reads(self) -> None:
        """A read of nothing changes nothing, wherever it comes."""
        for pieces in ([CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"], each_octet(EMPTY)):
            plain = feed(asking(), pieces)
            spaced = feed(asking(), [part for piece in pieces for part in (b"", piece, b"")])
            assert spaced == plain


class TestConnection:
    """What the interface promises to those above."""

    def test_is_an_http_connection(self) -> None:
        """The client's side offers the one face that `net` knows."""
        connection: HTTPConnection = H1ClientConnection()
        assert connection.available_streams == 1
        assert connection.has_windows is False
        assert connection.idle_timeout is None
        assert connection.wants_data
        assert not connection.closed
        assert connection.next_events() == []

    def test_numbers(self) -> None:
        """Exchanges have numbers from 1, and events carry them."""
        connection = H1ClientConnection()
        for number in (1, 2, 3):
            assert ask_again(connection) == number
            assert connection.available_streams == 0
            events = feed(connection, [OK + b"Content-Length: 1\r\n\r\nx"])
            assert {event.stream_id for event in events} == {number}

    def test_repr(self) -> None:
        """The representation tells the exchange and both half-states."""
        connection = asking("POST", [HOST, ("Content-Length", "5")], end=False)
        assert repr(connection) == "<H1ClientConnection exchange 1 sending=CONTENT receiving=HEAD>"
        feed(connection, [OK + b"\r\n"])
        assert states(connection) == "CONTENT receiving=CONTENT"
        feed(connection, [], eof=True)
        assert states(connection) == "CLOSED receiving=CLOSED"

    def test_windows(self) -> None:
        """There are none: of a request's content as much may be sent as one likes."""
        connection = H1ClientConnection()
        assert connection.send_capacity(1) == 0
        stream_id = ask_again(connection, "POST", [HOST, ("Content-Length", "5")], end=False)
        assert connection.send_capacity(stream_id) == h1_exchange.UNLIMITED
        assert connection.send_capacity(stream_id + 1) == 0
        connection.acknowledge(stream_id, 100)
        connection.send_content(stream_id, b"hello", end=True)
        assert connection.send_capacity(stream_id) == 0

    def test_idle_timeout(self) -> None:
        """Keep-Alive says for how long; it holds until another response says otherwise."""
        connection = asking()
        feed(connection, [OK + b"Content-Length: 0\r\nKeep-Alive: timeout=7, max=3\r\n\r\n"])
        assert connection.idle_timeout == 7
        ask_again(connection)
        feed(connection, [EMPTY])
        assert connection.idle_timeout == 7
        ask_again(connection)
        feed(connection, [OK + b"Content-Length: 0\r\nKeep-Alive: max=3\r\n\r\n"])
        assert connection.idle_timeout is None

    def test_no_reference_cycles(self) -> None:
        """What an exchange leaves goes without the cycle collector."""
        gc.collect()
        gc.disable()
        try:
            for wire in (
                EMPTY,
                CHUNKED + b"5\r\nhel",
                CHUNKED + b"0\r\n:\r\n\r\n",
                OK + b"\r\nx",
                b"HTTP/1.1 x\r\n\r\n",
                OK + b"Content-Length: x\r\n\r\n",
            ):
                for pieces in ([wire], each_octet(wire)):
                    connection = asking()
                    events = feed(connection, pieces, eof=True)
                    del connection, events
                    assert gc.collect() == 0, wire
        finally:
            gc.enable()


class TestStates:
    """The table of states: what is not in it is an error, and nothing is sent."""

    @pytest.fixture
    def head(self) -> RequestHead:
        return RequestHead("POST", "/", [HOST, ("Content-Length", "5")])

    def test_open_twice(self) -> None:
        """One exchange at a time: no pipelining."""
        connection = H1ClientConnection()
        connection.open_stream()
        with pytest.raises(LocalProtocolError, match="no exchange can begin"):
            connection.open_stream()
        connection = asking()
        with pytest.raises(LocalProtocolError):
            connection.open_stream()
        feed(connection, [OK + b"\r\n"])
        with pytest.raises(LocalProtocolError):
            connection.open_stream()

    def test_open_before_both_halves_are_done(self) -> None:
        """A response that came early does not free the connection."""
        connection = asking("POST", [HOST, ("Content-Length", "5")], end=False)
        feed(connection, [EMPTY])
        assert connection.available_streams == 0
        with pytest.raises(LocalProtocolError):
            connection.open_stream()

    def test_open_when_closed(self) -> None:
        """A closed connection stays closed."""
        connection = H1ClientConnection()
        assert connection.receive_eof() == []
        assert connection.closed
        assert connection.available_streams == 0
        with pytest.raises(LocalProtocolError):
            connection.open_stream()
        assert connection.receive_eof() == []

    def test_head_without_exchange(self, head: RequestHead) -> None:
        """A head needs an exchange of its own."""
        connection = H1ClientConnection()
        for stream_id in (0, 1):
            with pytest.raises(LocalProtocolError, match="no head can be sent"):
                connection.send_head(stream_id, head, end=False)
        stream_id = connection.open_stream()
        with pytest.raises(LocalProtocolError):
            connection.send_head(stream_id + 1, head, end=False)
        assert connection.data_to_send() == []

    def test_head_twice(self, head: RequestHead) -> None:
        """An exchange has one request."""
        connection = H1ClientConnection()
        stream_id = connection.open_stream()
        connection.send_head(stream_id, head, end=False)
        sent(connection)
        with pytest.raises(LocalProtocolError):
            connection.send_head(stream_id, head, end=False)
        connection.send_content(stream_id, b"hello", end=True)
        with pytest.raises(LocalProtocolError):
            connection.send_head(stream_id, head, end=False)
        assert sent(connection) == b"hello"

    def test_content_out_of_order(self, head: RequestHead) -> None:
        """Content comes between the head and the end, for the exchange that there is."""
        connection = H1ClientConnection()
        with pytest.raises(LocalProtocolError, match="no content can be sent"):
            connection.send_content(1, b"hello", end=True)
        stream_id = connection.open_stream()
        with pytest.raises(LocalProtocolError):
            connection.send_content(stream_id, b"hello", end=True)
        connection.send_head(stream_id, head, end=False)
        with pytest.raises(LocalProtocolError):
            connection.send_content(stream_id + 1, b"hello", end=True)
        connection.send_content(stream_id, b"hello", end=True)
        with pytest.raises(LocalProtocolError):
            connection.send_content(stream_id, b"", end=True)
        feed(connection, [EMPTY])
        with pytest.raises(LocalProtocolError):
            connection.send_content(stream_id, b"hello", end=True)
        assert sent(connection).endswith(b"\r\n\r\nhello")

    def test_content_when_closed(self, head: RequestHead) -> None:
        """Once the peer has gone nothing is sent."""
        connection = H1ClientConnection()
        stream_id = connection.open_stream()
        connection.send_head(stream_id, head, end=False)
        connection.receive_eof()
        with pytest.raises(LocalProtocolError, match="sending=CLOSED"):
            connection.send_content(stream_id, b"hello", end=True)

    def test_a_client_sends_requests(self) -> None:
        """Responses are the server's."""
        connection = H1ClientConnection()
        stream_id = connection.open_stream()
        with pytest.raises(LocalProtocolError, match="client sends requests"):
            connection.send_head(stream_id, ResponseHead(200, "OK", []), end=True)

    def test_a_refused_head_changes_nothing(self) -> None:
        """After a head that was refused another one may be sent."""
        connection = H1ClientConnection()
        stream_id = connection.open_stream()
        for bad in (
            RequestHead("GE T", "/", [HOST]),
            RequestHead("GET", "/", [("Evil", "a\r\nb")]),
            RequestHead("GET", "/", [HOST, ("Content-Length", "5")]),
        ):
            with pytest.raises(LocalProtocolError):
                connection.send_head(stream_id, bad, end=True)
        with pytest.raises(LocalProtocolError):
            connection.send_head(stream_id, RequestHead("GET", "/", [HOST]), end=False)
        assert connection.data_to_send() == []
        connection.send_head(stream_id, RequestHead("GET", "/", [HOST]), end=True)
        assert shown(feed(connection, [EMPTY]))[-1] == ("end",)
        assert condition(connection) == "idle"

    def test_reset(self) -> None:
        """An exchange that is given up takes the connection with it, and what was not written."""
        for received in ([], [OK], [CHUNKED, b"5\r\nhe"]):
            connection = asking()
            feed(connection, received)
            connection.reset_stream(1)
            assert condition(connection) == "closed"
            # Nothing that comes now is anybody's.
            assert feed(connection, [EMPTY, b"junk"], eof=True) == []
        connection = H1ClientConnection()
        connection.send_head(connection.open_stream(), RequestHead("GET", "/", [HOST]), end=True)
        connection.reset_stream(1)
        assert connection.data_to_send() == []

    def test_reset_of_what_is_over(self) -> None:
        """An exchange that has ended, or another one, is not there to be given up."""
        connection = H1ClientConnection()
        connection.reset_stream(0)
        assert condition(connection) == "idle"
        ask_again(connection)
        feed(connection, [EMPTY])
        connection.reset_stream(1)
        assert condition(connection) == "idle"
        ask_again(connection)
        connection.reset_stream(1)
        assert condition(connection) == "busy"
        connection.reset_stream(2)
        assert condition(connection) == "closed"

    def test_end_of_the_connection_after_the_response(self) -> None:
        """The peer has answered and hangs up before our request is out: no second message of it."""
        connection = asking("POST", [HOST, ("Content-Length", "5")], end=False)
        events = feed(connection, [EMPTY], eof=True)
        assert [show(event)[0] for event in events] == ["head", "end"]
        assert condition(connection) == "closed"


class TestSending:
    """RFC 9112 §3, §6: requests, as octets."""

    @pytest.mark.parametrize(
        ("head", "content", "wire"),
        [
            (
                RequestHead("GET", "/a?b", [HOST, ("X", "\xe4\t\udcff"), ("x", "")]),
                None,
                b"GET /a?b HTTP/1.1\r\nHost: a\r\nX: \xc3\xa4\t\xff\r\nx: \r\n\r\n",
            ),
            (
                RequestHead("GET", "*", HeaderBlock([HOST])),
                None,
                b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            ),
            (
                RequestHead("GET", "/", [], HttpVersion10),
                None,
                b"GET / HTTP/1.0\r\n\r\n",
            ),
            (
                RequestHead("M-SEARCH", "/", [("Content-Length", "0")]),
                None,
                b"M-SEARCH / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            ),
            (
                RequestHead("POST", "/", [("Content-Length", "5")]),
                [b"he", b"", bytearray(b"l"), memoryview(b"lo")],
                b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
            ),
            (
                RequestHead("POST", "/", HeaderBlock([("content-LENGTH", "5")])),
                [b"hello"],
                b"POST / HTTP/1.1\r\ncontent-LENGTH: 5\r\n\r\nhello",
            ),
            (
                RequestHead("POST", "/", [("Content-Length", "0")]),
                [b""],
                b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            ),
            (
                RequestHead("POST", "/", [("Content-Length", "8")]),
                [memoryview(b"12345678").cast("I")],
                b"POST / HTTP/1.1\r\nContent-Length: 8\r\n\r\n12345678",
            ),
            (
                RequestHead("POST", "/", [("transfer-encoding", "Chunked")]),
                [b"hello", b"", b"x" * 26, memoryview(b"1234").cast("H")],
                b"POST / HTTP/1.1\r\ntransfer-encoding: Chunked\r\n\r\n"
                b"5\r\nhello\r\n1a\r\n" + b"x" * 26 + b"\r\n4\r\n1234\r\n0\r\n\r\n",
            ),
            (
                RequestHead(
                    "POST",
                    "/",
                    [("Transfer-Encoding", "gzip"), ("TE", "x"), ("Transfer-Encoding", "chunked")],
                ),
                [b""],
                (
                    b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\nTE: x\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                ),
            ),
            (
                RequestHead("POST", "/", [("Transfer-Encoding", "chunked")]),
                None,
                b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            ),
        ],
    )
    def test_requests(self, head: RequestHead, content: list[bytes] | None, wire: bytes) -> None:
        """Head and content go out as one message, with the end where it was said."""
        connection = H1ClientConnection()
        stream_id = connection.open_stream()
        connection.send_head(stream_id, head, end=content is None)
        for number, data in enumerate(content or (), 1):
            connection.send_content(stream_id, data, end=number == len(content or ()))
        # The buffers go as they are.
        assert b"".join(bytes(piece) for piece in connection.data_to_send()) == wire
        assert connection.data_to_send() == []
        assert states(connection) == "DONE receiving=HEAD"

    def test_large_content_is_not_copied(self) -> None:
        """What goes out is the caller's buffer."""
        data = bytes(100_000)
        for field in (("Content-Length", "100000"), ("Transfer-Encoding", "chunked")):
            connection = asking("POST", [HOST, field], end=False)
            connection.send_content(1, data, end=True)
            assert any(piece is data for piece in connection.data_to_send())

    @pytest.mark.parametrize(
        ("headers", "message"),
        [
            ([("Content-Length", "5"), ("Transfer-Encoding", "chunked")], "both"),
            ([("Transfer-Encoding", "gzip")], "must be chunked"),
            ([("Transfer-Encoding", "chunked, gzip")], "must be chunked"),
            ([("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")], "chunked"),
            ([("Transfer-Encoding", "")], "must be chunked"),
            ([("Transfer-Encoding", "chun\u212aed")], "must be chunked"),
            ([("Content-Length", "5"), ("Content-Length", "5")], "more than one"),
            ([("Content-Length", "5, 5")], "more than one"),
            ([("Content-Length", "")], "not a number"),
            ([("Content-Length", "+5")], "not a number"),
            ([("Content-Length", "-5")], "not a number"),
            ([("Content-Length", "5_0")], "not a number"),
            ([("Content-Length", "\uff15")], "not a number"),
            ([("Content-Length", "9" * 30)], "beyond"),
            ([], "needs a Content-Length"),
        ],
    )
    def test_framing_is_clear(self, headers: list[tuple[str, str]], message: str) -> None:
        """RFC 9112 §6: the peer must have one way only to find the end of our message."""
        connection = H1ClientConnection()
        stream_id = connection.open_stream()
        with pytest.raises(LocalProtocolError, match=message):
            connection.send_head(stream_id, RequestHead("POST", "/", headers), end=False)
        assert connection.data_to_send() == []

    def test_no_chunks_for_http_1_0(self) -> None:
        """RFC 9112 §7.1: HTTP/1.0 does not know them."""
        head = RequestHead("POST", "/", [("Transfer-Encoding", "chunked")], HttpVersion10)
        connection = H1ClientConnection()
        with pytest.raises(LocalProtocolError, match="has no chunked transfer"):
            connection.send_head(connection.open_stream(), head, end=False)

    def test_never_more_than_announced(self) -> None:
        """RFC 9110 §8.6: content that is longer than its length would begin another request."""
        connection = asking("POST", [HOST, ("Content-Length", "5")], end=False)
        connection.send_content(1, b"hel", end=False)
        with pytest.raises(LocalProtocolError, match="longer than its Content-Length of 5"):
            connection.send_content(1, b"lo!", end=False)
        assert sent(connection) == b"hel"
        connection.send_content(1, b"lo", end=True)
        assert sent(connection) == b"lo"

    def test_never_less_than_announced(self) -> None:
        """A message that ends early would take the next one for its content."""
        connection = asking("POST", [HOST, ("Content-Length", "5")], end=False)
        with pytest.raises(LocalProtocolError, match="ends 2 bytes short of its Content-Length"):
            connection.send_content(1, b"hel", end=True)
        assert sent(connection) == b""

    def test_content_with_an_upgrade_waits(self) -> None:
        """RFC 9110 §7.8: before the answer nobody knows in which protocol it would be read."""
        for method, headers in (("CONNECT", [HOST]), ("GET", [HOST, ("Upgrade", "x")])):
            connection = asking(method, headers, end=False)
            assert connection.send_capacity(1) == 0
            with pytest.raises(LocalProtocolError, match="before the upgrade or the tunnel"):
                connection.send_content(1, b"GET /", end=False)
            connection.send_content(1, b"", end=False)
            assert sent(connection) == b""

    def test_persistence_of_our_requests(self) -> None:
        """RFC 9112 §9.3: what we said ourselves counts as much as what the peer says."""
        for headers, version, then in (
            ([HOST], HttpVersion(1, 1), "idle"),
            (HeaderBlock([HOST]), HttpVersion(1, 1), "idle"),
            ([HOST, ("Connection", "x, Close")], HttpVersion(1, 1), "closed"),
            (HeaderBlock([HOST, ("connection", "close")]), HttpVersion(1, 1), "closed"),
            ([HOST, ("Connection", "keep-alive")], HttpVersion(1, 1), "idle"),
            ([HOST], HttpVersion10, "closed"),
            (HeaderBlock([HOST]), HttpVersion10, "closed"),
            ([("Host", "keep-alive")], HttpVersion10, "closed"),
            ([HOST, ("Connection", "Keep-Alive")], HttpVersion10, "idle"),
        ):
            for wire in ([EMPTY], each_octet(EMPTY)):
                connection = asking(headers=headers, version=version)
                feed(connection, wire)
                assert condition(connection) == then


class TestEarlyResponses:
    """RFC 9112 §9.5: a server may answer before it has read the whole request."""

    def test_the_rest_may_still_be_sent(self) -> None:
        """The exchange goes on in our direction, but nothing follows it on this connection."""
        connection = asking("POST", [HOST, ("Content-Length", "5")], end=False)
        connection.send_content(1, b"he", end=False)
        events = feed(connection, [OK + b"Content-Length: 2\r\n\r\nno"])
        assert shown(events)[1:] == [("content", b"no"), ("end",)]
        assert states(connection) == "CONTENT receiving=DONE"
        connection.send_content(1, b"llo", end=True)
        assert sent(connection) == b"hello"
        assert condition(connection) == "closed"

    def test_interim_responses_leave_the_connection_open(self) -> None:
        """100 Continue is no early response."""
        headers = [HOST, ("Content-Length", "5"), ("Expect", "100-continue")]
        connection = asking("POST", headers, end=False)
        assert shown(feed(connection, [b"HTTP/1.1 100 Continue\r\n\r\n"]))[0][2] == 100
        connection.send_content(1, b"hello", end=True)
        feed(connection, [EMPTY])
        assert condition(connection) == "idle"

    def test_response_that_overtakes_the_content(self) -> None:
        """The response may begin before, and end after the end of the request."""
        connection = asking("POST", [HOST, ("Content-Length", "5")], end=False)
        feed(connection, [OK + b"Content-Length: 2\r\n\r\nn"])
        connection.send_content(1, b"hello", end=True)
        assert condition(connection) == "busy"
        feed(connection, [b"o"])
        assert condition(connection) == "idle"

    def test_response_before_the_request(self) -> None:
        """What comes before our head was sent answers no question of ours."""
        for pieces in every_way(EMPTY):
            connection = H1ClientConnection()
            connection.open_stream()
            events = feed(connection, [b"\r\n", *pieces])
            assert shown(events) == [("failed", 1, "RemoteProtocolError")]
            assert condition(connection) == "closed"


class TestInterimResponses:
    """RFC 9110 §15.2: any number of interim responses before the final one, within reason."""

    def test_as_many_as_allowed(self) -> None:
        """The limit itself is within."""
        wire = b"HTTP/1.1 102 Processing\r\n\r\n" * MAX_INTERIM_RESPONSES + EMPTY
        for pieces in ([wire], each_octet(wire)):
            connection = asking()
            assert len(feed(connection, pieces)) == MAX_INTERIM_RESPONSES + 2
            assert condition(connection) == "idle"
        # Each exchange counts for itself.
        connection = H1ClientConnection()
        for _ in range(3):
            ask_again(connection)
            assert failure(feed(connection, [wire])) is None

    def test_without_end(self) -> None:
        """A server that never comes to the point is given up."""
        for line_end in (b"\r\n", b"\n"):
            wire = (b"HTTP/1.1 100 Continue" + line_end * 2) * (MAX_INTERIM_RESPONSES + 1)
            for pieces in ([wire], each_octet(wire)):
                connection = asking()
                events = feed(connection, pieces)
                assert len(events) == MAX_INTERIM_RESPONSES + 1
                failed = failure(events)
                assert failed is not None
                assert isinstance(failed.error, HeadError)
                assert "more than 32 interim responses" in str(failed.error)
                assert condition(connection) == "closed"


UPGRADE = [HOST, ("Connection", "Upgrade"), ("Upgrade", "echo")]
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"


class TestUpgrade:
    """RFC 9110 §7.8, §9.3.6: after 101, or 2xx to CONNECT, the content has no frame."""

    @pytest.mark.parametrize(
        ("method", "headers", "answer"),
        [
            ("GET", UPGRADE, SWITCH),
            ("GET", HeaderBlock(UPGRADE), SWITCH),
            ("CONNECT", [HOST], OK + b"\r\n"),
            ("CONNECT", HeaderBlock([HOST]), OK + b"Content-Length: 3\r\n\r\n"),
        ],
    )
    @pytest.mark.parametrize("end", [True, False])
    def test_both_directions(
        self, method: str, headers: list[tuple[str, str]], answer: bytes, end: bool
    ) -> None:
        """Octets behind the head are content of the new protocol, and so is what we send."""
        wire = b"HTTP/1.1 100 Continue\r\n\r\n" + answer + b"\x00\xffHTTP/1.1 200 OK\r\n\r\n"
        for pieces in every_way(wire):
            connection = asking(method, headers, end=end)
            events = feed(connection, pieces)
            assert content_of(events) == b"\x00\xffHTTP/1.1 200 OK\r\n\r\n"
            assert condition(connection) == "tunnel"
            assert connection.send_capacity(1) == h1_exchange.UNLIMITED
            connection.send_content(1, b"ping", end=False)
            connection.send_content(1, b"", end=False)
            connection.send_content(1, memoryview(b"pong"), end=True)
            assert [bytes(piece) for piece in connection.data_to_send()] == [b"ping", b"pong"]
            assert content_of(feed(connection, [b"more"])) == b"more"
            assert shown(connection.receive_eof()) == [("end",)]
            assert condition(connection) == "closed"

    def test_declined(self) -> None:
        """A server may ignore the wish: an ordinary exchange, but the connection's last one.

        A proxy may take what follows for the other protocol, and hand it on unseen.
        """
        for pieces in every_way(EMPTY):
            connection = asking(headers=UPGRADE)
            assert len(feed(connection, pieces)) == 2
            assert condition(connection) == "closed"

    @pytest.mark.parametrize("headers", [[HOST], HeaderBlock([HOST]), [HOST, ("X-Upgrade", "x")]])
    @pytest.mark.parametrize("method", ["GET", "CONNECT"])
    def test_101_unasked(self, headers: list[tuple[str, str]], method: str) -> None:
        """RFC 9110 §15.2.2: 101 answers an Upgrade field, and nothing else."""
        for pieces in every_way(SWITCH):
            connection = asking(method, headers)
            assert shown(feed(connection, pieces)) == [("failed", 1, "HeadError")]
            assert condition(connection) == "closed"

    def test_101_in_the_middle_of_a_message(self) -> None:
        """The protocol does not change while our content is under way."""
        connection = asking("POST", [*UPGRADE, ("Content-Length", "5")], end=False)
        assert shown(feed(connection, [SWITCH])) == [("failed", 1, "HeadError")]
        connection = asking("POST", [*UPGRADE, ("Content-Length", "5")], end=False)
        connection.send_content(1, b"hello", end=True)
        feed(connection, [SWITCH])
        assert condition(connection) == "tunnel"

    def test_request_that_ended_before_the_answer(self) -> None:
        """The end of the request is not the end of what comes after it."""
        connection = asking(headers=UPGRADE, end=False)
        connection.send_content(1, b"", end=True)
        assert sent(connection) == b""
        feed(connection, [SWITCH])
        connection.send_content(1, b"ping", end=False)
        assert sent(connection) == b"ping"

    def test_reset(self) -> None:
        """A tunnel can be given up."""
        connection = asking("CONNECT")
        feed(connection, [OK + b"\r\n"])
        connection.reset_stream(1)
        assert condition(connection) == "closed"
        with pytest.raises(LocalProtocolError):
            connection.send_content(1, b"x", end=False)


class TestErrors:
    """What an error says, and how far it reaches."""

    def test_incomplete_content(self) -> None:
        """The error counts octets of content, received and expected."""
        for wire, received, expected in (
            (OK + b"Content-Length: 10\r\n\r\n", 0, 10),
            (OK + b"Content-Length: 10\r\n\r\nhello", 5, 10),
            (CHUNKED, 0, None),
            (CHUNKED + b"5\r\nhe", 2, None),
            (CHUNKED + b"5\r\nhello", 5, None),
            (CHUNKED + b"5\r\nhello\r\n0\r\nA: b\r\n", 5, None),
        ):
            for pieces in every_way(wire):
                failed = failure(feed(asking(), pieces, eof=True))
                assert failed is not None
                assert failed.stream_id == 1
                assert isinstance(failed.error, IncompleteContent)
                assert (failed.error.received, failed.error.expected) == (received, expected)

    def test_peer_closed(self) -> None:
        """The error has what had come of the head."""
        for wire in (b"", b"\r\n", b"HTTP/1.1 20", OK + b"A: b\r\n"):
            for pieces in every_way(wire):
                failed = failure(feed(asking(), pieces, eof=True))
                assert failed is not None
                assert isinstance(failed.error, PeerClosed)
                assert failed.error.partial == wire

    def test_excerpts_are_short(self) -> None:
        """An error quotes the beginning of what was wrong, and not more."""
        junk = b"\x01junk" * 1000
        for wire in (
            junk,
            b"HTTP/1.1 " + junk[:2000] + b"\r\n\r\n",
            OK + junk[:5000] + b"\r\n\r\n",
            OK + b"A: " + junk[:5000] + b"\r\n\r\n",
            OK + b"A: b\r\n " + junk[:5000] + b"\r\n\r\n",
            OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
            OK + b"Content-Length: " + b"5, 6" * 1000 + b"\r\n\r\n",
            OK + b"Transfer-Encoding: " + b"xchunked," * 500 + b"\r\n\r\n",
            CHUNKED + junk[:5000] + b"\r\n",
            CHUNKED + b"1" * 5000 + b"\r\n",
            CHUNKED + b"1\r\nx" + junk,
            CHUNKED + b"0\r\n" + junk[:5000] + b"\r\n\r\n",
            EMPTY + junk,
        ):
            failed = failure(feed(asking(), [wire]))
            assert failed is not None
            assert 0 < len(str(failed.error)) < 500

    def test_after_a_failure(self) -> None:
        """Nothing comes any more from a connection that has failed."""
        connection = asking()
        assert failure(feed(connection, [b"junk"])) is not None
        assert feed(connection, [EMPTY, b"junk"], eof=True) == []
        assert feed(connection, [b"junk"]) == []

    @pytest.mark.parametrize("stray", [b"x", EMPTY, b"\r\n\r\n\0", b"\r\nHTTP/1.1 200 OK\r\n\r\n"])
    def test_stray_octets_on_an_idle_connection(self, stray: bytes) -> None:
        """RFC 9112 §9.3.1: nobody asked; they end the connection, and belong to no exchange."""
        for pieces in every_way(stray):
            for connection in (H1ClientConnection(), asking()):
                if not connection.available_streams:
                    feed(connection, [EMPTY])
                events = feed(connection, pieces)
                assert shown(events) == [("failed", 0, "RemoteProtocolError")]
                assert condition(connection) == "closed"

    def test_empty_lines_on_an_idle_connection(self) -> None:
        """RFC 9112 §2.2: a server that leaves an empty line behind is forgiven."""
        connection = asking()
        assert feed(connection, [EMPTY, b"\r", b"\n", b"\n\r\n"])[2:] == []
        ask_again(connection)
        assert len(feed(connection, [b"\r\n" + EMPTY])) == 2

    @pytest.mark.parametrize(
        ("head", "method"),
        [
            (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "GET"),
            (b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", "GET"),
            (OK + b"Content-Length: 5\r\n\r\n", "HEAD"),
            (OK + b"\r\n", "HEAD"),
            (EMPTY, "GET"),
        ],
    )
    def test_content_where_there_is_none(self, head: bytes, method: str) -> None:
        """RFC 9112 §6.3 (1): it is nobody's content, and the connection ends after the response."""
        for pieces in every_way(head + b"hello"):
            connection = asking(method)
            events = feed(connection, pieces)
            assert [show(event)[0] for event in events] == ["head", "end", "failed"]
            assert show(events[-1]) == ("failed", 0, "RemoteProtocolError")
            assert condition(connection) == "closed"

    def test_stray_octets_before_our_request_is_out(self) -> None:
        """They end the connection while the rest of a request is still to be sent."""
        connection = asking("POST", [HOST, ("Content-Length", "5")], end=False)
        feed(connection, [EMPTY])
        assert shown(feed(connection, [b"x"])) == [("failed", 0, "RemoteProtocolError")]
        with pytest.raises(LocalProtocolError):
            connection.send_content(1, b"hello", end=True)

    def test_a_head_that_cannot_be_framed_is_not_shown(self) -> None:
        """Whoever waits for the response learns of the error, not of half a response."""
        wire = OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"
        for pieces in every_way(wire):
            assert shown(feed(asking(), pieces)) == [("failed", 1, "HeadError")]
