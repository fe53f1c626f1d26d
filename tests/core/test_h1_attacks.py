"""What an evil server may try on a client: each attack by its name, whole and cut anywhere."""

from __future__ import annotations

import pytest

from angelia.core.h1 import MAX_INTERIM_RESPONSES, H1ClientConnection
from angelia.core.h1_wire import MIN_HEAD_SIZE, HeadLimits
from angelia.core.interface import Content, End, RequestHead, ResponseHead
from angelia.errors import (
    ContentError,
    HeadError,
    IncompleteContent,
    LineTooLong,
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
    show,
    shown,
)

pytestmark = pytest.mark.usefixtures("implementation")

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
# What the attacker wants to be taken for the answer to another request.
CANARY = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Canary: yes\r\n\r\ncanary"


def refused(wire: bytes, kind: type[Exception], *, method: str = "GET") -> None:
    """Whatever the cuts: one failure, no end, the connection closed, no canary in the heads."""
    ways = every_way(wire) if len(wire) < 300 else iter([[wire], each_octet(wire)])
    for pieces in ways:
        connection = asking(method)
        events = feed(connection, pieces)
        failed = failure(events)
        assert failed is not None
        assert failed.stream_id == 1
        assert type(failed.error) is kind
        assert not any(isinstance(event, End) for event in events)
        assert not any(
            isinstance(event, ResponseHead) and "X-Canary" in dict(event.headers)
            for event in events
        )
        assert condition(connection) == "closed"
        # What comes later finds nobody.
        assert feed(connection, [CANARY], eof=True) == []


def headed(*lines: bytes) -> bytes:
    """A response with these field lines, content, and a canary behind it."""
    return OK + b"".join(line + b"\r\n" for line in lines) + b"\r\nhello" + CANARY


class TestAttacks:
    """The client's lines of the list of attacks."""

    # --- lengths -----------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"+5",
            b"-1",
            b"-0",
            b"0x5",
            b"5_0",
            b"1 0",
            b"5 5",
            b"5,6",
            b"5, 05",
            b"5,",
            b"\xd9\xa5",
            b"\xef\xbc\x95",
            b"\xb2",
            b"5\x0b",
            b"5\0",
            b"9223372036854775808",
            b"18446744073709551616",
            b"1" + b"0" * 300,
        ],
    )
    def test_content_length_variants(self, value: bytes) -> None:
        """Signs, underscores, hex, inner blanks, other digits, lists, 2**63 and more."""
        refused(headed(b"Content-Length: " + value), HeadError)

    def test_content_length_of_millions_of_digits(self) -> None:
        """No number is made of more digits than a length can have: that takes quadratic time."""
        limits = HeadLimits(max_field_size=10**7 + 100)
        wire = OK + b"Content-Length: " + b"9" * 10**7 + b"\r\n\r\n"
        failed = failure(feed(asking(limits=limits), [wire]))
        assert failed is not None
        assert "beyond 2**63" in str(failed.error)

    @pytest.mark.parametrize("value", [b"5", b"005", b"5 ", b"\t5\t"])
    def test_content_length_that_is_fine(self, value: bytes) -> None:
        """Decimal is never octal, and blanks around are blanks."""
        for pieces in every_way(OK + b"Content-Length:" + value + b"\r\n\r\nhello"):
            assert content_of(feed(asking(), pieces)) == b"hello"

    def test_different_lengths(self) -> None:
        """Two lengths that differ."""
        refused(headed(b"Content-Length: 5", b"Content-Length: 50"), HeadError)
        refused(headed(b"Content-Length: 50", b"content-length: 5"), HeadError)

    def test_folded_length(self) -> None:
        """A length that another reader would take from the first line alone."""
        refused(headed(b"Content-Length: 5", b" 0"), HeadError)

    @pytest.mark.parametrize("reverse", [False, True])
    @pytest.mark.parametrize("coding", [b"chunked", b"identity", b"gzip", b"xchunked", b""])
    def test_length_and_coding(self, coding: bytes, reverse: bool) -> None:
        """Content-Length with Transfer-Encoding, in both orders."""
        lines = [b"Content-Length: 5", b"Transfer-Encoding: " + coding, b"Connection: close"]
        refused(headed(*(reversed(lines) if reverse else lines)), HeadError)

    # --- transfer codings --------------------------------------------------------------------

    @pytest.mark.parametrize(
        "value",
        [
            b"xchunked",
            b"chunked123",
            b"chunked, chunked",
            b"gzip, chunked",
            b"identity, chunked",
            b"chunked;q=1",
            b"'chunked'",
            b'"chunked"',
            b"chunked chunked",
            b"\x0bchunked",
            b"chunked\x0c",
            b"\0chunked",
            b"chunked\x85",
            b"\xc2\xa0chunked",
            b"chun\xe2\x84\xaaed",
            b"",
            b",",
            b"chunked,",
            b",chunked",
            b"gzip,,deflate",
        ],
    )
    def test_transfer_coding_variants(self, value: bytes) -> None:
        """What one parser takes for chunked and another does not."""
        wire = OK + b"Transfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n" + CANARY
        refused(wire, HeadError)

    def test_two_transfer_encoding_fields(self) -> None:
        """Only the last one, or only the first one, would be chunked."""
        for pair in ((b"gzip", b"chunked"), (b"chunked", b"chunked")):
            lines = [b"Transfer-Encoding: " + value for value in pair]
            refused(headed(*lines), HeadError)

    @pytest.mark.parametrize(
        "line",
        [
            b"Transfer-Encoding : chunked",
            b"Transfer-Encoding\t: chunked",
            b" Transfer-Encoding: chunked",
            b"Transfer-Encoding\r: chunked",
            b"Transfer-Encoding\0: chunked",
            b"Transfer-\xc4\xb0ncoding: chunked",
        ],
    )
    def test_transfer_encoding_names(self, line: bytes) -> None:
        """Names that some parsers repair."""
        refused(headed(line, b"Content-Length: 5"), HeadError)
        refused(headed(b"Content-Length : 5"), HeadError)

    def test_underscore_twins(self) -> None:
        """Fields that CGI takes for others are other fields."""
        wire = (
            OK
            + b"Transfer_Encoding: chunked\r\nContent_Length: 1\r\nContent-Length: 5\r\n\r\nhello"
        )
        for pieces in every_way(wire):
            assert content_of(feed(asking(), pieces)) == b"hello"

    def test_transfer_encoding_of_http_1_0(self) -> None:
        """RFC 9112 §6.1: the framing may be faulty, and nothing follows it."""
        for pieces in every_way(b"HTTP/1.0" + CHUNKED[8:] + b"0\r\n\r\n" + CANARY):
            connection = asking()
            assert shown(feed(connection, pieces))[1:] == [("end",)]
            assert condition(connection) == "closed"

    # --- chunks ------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "chunks",
        [
            b"0x5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"-5\r\nhello\r\n",
            b"0_5\r\nhello\r\n",
            b" 5\r\nhello\r\n",
            b"\xef\xbc\x95\r\nhello\r\n",
            b"ffffffffffffffff5\r\nhello\r\n",
            b"10000000000000005\r\nhello\r\n",
            b"8000000000000000\r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\rhello\r\n",
            b"5;a\nhello\r\n",
            b"5;a\rb\r\nhello\r\n",
            b"5;\0\r\nhello\r\n",
            b"5\r\nhello\n",
            b"5\r\nhello\r",
            b"5\r\nhello!\r\n",
            b"5\r\nhelloXX",
            b"\r\n5\r\nhello\r\n",
            b"5\r\nhello\r\n\r\n",
        ],
    )
    def test_chunk_variants(self, chunks: bytes) -> None:
        """Sizes with signs and prefixes, wrapped ones, lines without CRLF, data without CRLF."""
        refused(CHUNKED + chunks + b"0\r\n\r\n" + CANARY, ContentError)

    def test_chunk_extension_without_end(self) -> None:
        """64 KiB of extension, or a size of as many zeros."""
        refused(CHUNKED + b"5;" + b"a" * 65536, ContentError)
        refused(CHUNKED + b"0" * 65536, ContentError)

    @pytest.mark.parametrize(
        "cut",
        [b"0", b"0\r", b"0\r\n", b"0\r\n\r", b"0\r\nA: b\r\n", b"5\r\nhello", b"5\r\nhello\r\n"],
    )
    def test_chunked_content_that_ends_early(self, cut: bytes) -> None:
        """The last chunk and its empty line are there, or the content is not whole."""
        for pieces in every_way(CHUNKED + cut):
            failed = failure(feed(asking(), pieces, eof=True))
            assert failed is not None
            assert type(failed.error) is IncompleteContent

    def test_trailer_variants(self) -> None:
        """Trailers obey the grammar and the limits of fields."""
        refused(CHUNKED + b"0\r\nA : b\r\n\r\n" + CANARY, ContentError)
        refused(CHUNKED + b"0\r\nA: b\rX: y\r\n\r\n" + CANARY, ContentError)
        refused(CHUNKED + b"0\r\n" + b"A: b\r\n" * 129 + b"\r\n", ContentError)
        refused(CHUNKED + b"0\r\nA: " + b"b" * 8190 + b"\r\n\r\n", ContentError)
        refused(CHUNKED + b"0\r\n" + b"A: b\r\n" * 20_000, ContentError)

    def test_a_million_tiny_chunks(self) -> None:
        """They are a million events, and no bookkeeping grows with them."""
        connection = asking()
        feed(connection, [CHUNKED])
        piece = b"1;x\r\ny\r\n" * 50_000
        for _ in range(20):
            events = connection.receive_data(piece)
            assert len(events) == 50_000
            assert events[0] == Content(1, b"y", True)
        assert not connection._head.octets
        assert shown(feed(connection, [b"0\r\n\r\n"])) == [("end",)]

    # --- heads -------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "line",
        [
            b"HTTP/1.1 200 O\0K",
            b"HTTP/1.1 200 O\x1b[2JK",
            b"HTTP/1.1 200 O\rX-Evil: 1",
            b"HTTP/1.1 200 O\x7fK",
            b"HTTP/1.1 2000 OK",
            b"HTTP/1.1 20 OK",
            b"HTTP/1.1 099 OK",
            b"HTTP/1.1 -20 OK",
            b"HTTP/1.1 2\xd9\xa00 OK",
            b"HTTP/0.9 200 OK",
            b"HTTP/2.0 200 OK",
            b"HTTP/01.1 200 OK",
            b"http/1.1 200 OK",
            b"HTTP/1.1\t200 OK",
            b"ICY 200 OK",
            b"<!doctype html>",
        ],
    )
    def test_status_lines(self, line: bytes) -> None:
        """Control characters, odd versions, odd digits."""
        refused(line + b"\r\nContent-Length: 5\r\n\r\nhello" + CANARY, HeadError)

    def test_response_without_reason_and_headers(self) -> None:
        """``HTTP/1.1 200`` alone is a response, and what follows its content."""
        for pieces in every_way(b"HTTP/1.1 200\r\n\r\nX"):
            connection = asking()
            assert shown(feed(connection, pieces, eof=True)) == [
                ("head", "1.1", 200, "", []),
                ("content", b"X"),
                ("end",),
            ]
            assert condition(connection) == "closed"

    @pytest.mark.parametrize(
        "line",
        [
            b"A : b",
            b"A\t: b",
            b" A: b",
            b": b",
            b"A",
            b"A B: c",
            b"A\xc3\xa4: b",
            b"A@: b",
            b"A: b\0",
            b"A: b\rc",
            b"A: b\x01",
            b"A: b\x7f",
            b"A: b\r",
        ],
    )
    def test_field_lines(self, line: bytes) -> None:
        """Blanks before the colon or the first field, bad names, control characters in values."""
        refused(headed(line, b"Content-Length: 5"), HeadError)

    def test_bare_cr_cannot_hide_a_field(self) -> None:
        """A CR that is no line's end is an error in the head, not a field for somebody else."""
        refused(headed(b"A: b\rTransfer-Encoding: chunked", b"Content-Length: 5"), HeadError)
        refused(OK + b"Content-Length: 5\r\n\rX: y\r\n\r\nhello", HeadError)

    def test_header_flood(self) -> None:
        """10 000 fields, a field of 1 MB, fields without end."""
        refused(OK + b"A: b\r\n" * 10_000 + b"\r\n", LineTooLong)
        refused(OK + b"A: " + b"b" * 2**20 + b"\r\n\r\n", LineTooLong)
        refused(b"HTTP/1.1 200 " + b"O" * 2**16, LineTooLong)
        refused(OK + b"A: b\r\n" * 2**16, LineTooLong)
        refused(OK + b"A: b\r\n" + b" c\r\n" * 2**15, LineTooLong)

    def test_limits_do_not_depend_on_the_pieces(self) -> None:
        """A line that comes in many segments is held to the same limit."""
        line = b"A: " + b"b" * 8188
        for size in (1, 7, 4096, 100_000):
            wire = OK + line + b"\r\n\r\n"
            pieces = [wire[i : i + size] for i in range(0, len(wire), size)]
            failed = failure(feed(asking(), pieces))
            assert failed is not None
            assert type(failed.error) is LineTooLong
            assert failed.error.limit == 8190

    def test_memory_of_an_incomplete_head(self) -> None:
        """A connection keeps no more of a head than the limit, plus what it was just given."""
        connection = asking(limits=HeadLimits(max_headers=10**6))
        connection.receive_data(OK)
        for _ in range(20_000):
            if connection.closed:
                break
            connection.receive_data(b"A: b\r\n")
            assert len(connection._head.octets) <= MIN_HEAD_SIZE + 6
        assert connection.closed
        assert not connection._head.octets

    def test_empty_lines_without_end(self) -> None:
        """A server that sends empty lines instead of an answer."""
        refused(b"\r\n" * 1000, HeadError)

    # --- interim responses, upgrades ---------------------------------------------------------

    def test_interim_responses_without_end(self) -> None:
        """An endless row of them is an error, not a wait."""
        refused(b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM_RESPONSES + 1), HeadError)

    def test_interim_response_with_content(self) -> None:
        """1xx has none, whatever it says; what follows is the next head, or junk."""
        wire = b"HTTP/1.1 103 X\r\nContent-Length: 5\r\n\r\n"
        refused(wire + b"hello" + CANARY, HeadError)
        for pieces in every_way(wire + CANARY):
            assert content_of(feed(asking(), pieces)) == b"canary"

    def test_101_unasked(self) -> None:
        """Nobody switches to what was not offered."""
        switch = b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        refused(switch + CANARY, HeadError)
        refused(switch, HeadError, method="CONNECT")

    # --- what belongs to another response ----------------------------------------------------

    @pytest.mark.parametrize(
        ("head", "method"),
        [
            (b"HTTP/1.1 204 X\r\nContent-Length: 100\r\n\r\n", "GET"),
            (b"HTTP/1.1 304 X\r\nContent-Length: 100\r\n\r\n", "GET"),
            (OK + b"Content-Length: 100\r\n\r\n", "HEAD"),
            (CHUNKED, "HEAD"),
            (OK + b"Content-Length: 0\r\n\r\n", "GET"),
            (CHUNKED + b"0\r\n\r\n", "GET"),
        ],
    )
    def test_content_never_leaks_into_the_next_response(self, head: bytes, method: str) -> None:
        """Octets behind a response are never an answer to the next request."""
        for pieces in every_way(head + CANARY):
            connection = asking(method)
            events = feed(connection, pieces)
            assert [show(event)[0] for event in events] == ["head", "end", "failed"]
            assert not connection.available_streams
            with pytest.raises(LocalProtocolError):
                connection.open_stream()
        # In a read of their own, before the next request or after its exchange began.
        for begun in (False, True):
            connection = asking(method)
            feed(connection, [head])
            if begun:
                connection.open_stream()
            events = feed(connection, each_octet(CANARY))
            assert [show(event)[0] for event in events] == ["failed"]

    def test_content_of_another_length(self) -> None:
        """More is stray, less is incomplete; neither is silent."""
        wire = OK + b"Content-Length: 5\r\n\r\nhello"
        for pieces in every_way(wire + b"!"):
            assert [show(event)[0] for event in feed(asking(), pieces)][-2:] == ["end", "failed"]
        for pieces in every_way(wire[:-1]):
            failed = failure(feed(asking(), pieces, eof=True))
            assert failed is not None
            assert isinstance(failed.error, IncompleteContent)
            assert (failed.error.received, failed.error.expected) == (4, 5)

    def test_response_before_any_request(self) -> None:
        """A new connection that speaks first does not answer the first request."""
        for pieces in every_way(CANARY):
            connection = H1ClientConnection()
            assert shown(feed(connection, pieces)) == [("failed", 0, "RemoteProtocolError")]
            with pytest.raises(LocalProtocolError):
                connection.open_stream()

    def test_response_between_requests(self) -> None:
        """One response for one request."""
        for pieces in every_way(CANARY):
            connection = asking()
            feed(connection, [OK + b"Content-Length: 0\r\n\r\n"])
            assert shown(feed(connection, pieces)) == [("failed", 0, "RemoteProtocolError")]

    def test_half_a_response_and_the_end(self) -> None:
        """A connection that ends within a head was closed, whatever the head began to say."""
        for pieces in every_way(OK + b"Content-Length: 5\r\n"):
            connection = asking()
            failed = failure(feed(connection, pieces, eof=True))
            assert failed is not None
            assert type(failed.error) is PeerClosed

    # --- what we could be made to send -------------------------------------------------------

    @pytest.mark.parametrize("evil", ["\r\n", "\n", "\r", "\0", "\x0b", "\x85\n", "\u2028\r"])
    def test_injection(self, evil: str) -> None:
        """No line break of a caller's value, in a head, leaves us."""
        for head in (
            RequestHead(f"GET{evil}X", "/", []),
            RequestHead("GET", f"/{evil}X: y", []),
            RequestHead("GET", "/", [(f"A{evil}X", "y")]),
            RequestHead("GET", "/", [("A", f"b{evil}X: y")]),
        ):
            connection = H1ClientConnection()
            with pytest.raises(LocalProtocolError):
                connection.send_head(connection.open_stream(), head, end=True)
            assert connection.data_to_send() == []

    def test_smuggling_of_our_own(self) -> None:
        """Raw fields of a caller cannot give a request two lengths, nor content another one."""
        for headers in (
            [("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
            [("Content-Length", "5"), ("content-length", "6")],
        ):
            connection = H1ClientConnection()
            with pytest.raises(LocalProtocolError):
                connection.send_head(
                    connection.open_stream(), RequestHead("POST", "/", headers), end=False
                )
        connection = H1ClientConnection()
        ask_again(connection, "POST", [("Content-Length", "5")], end=False)
        with pytest.raises(LocalProtocolError):
            connection.send_content(1, b"helloGET /evil HTTP/1.1\r\n\r\n", end=True)
        assert connection.data_to_send() == []
