"""What an evil client may try on a server: each variant whole, cut anywhere, and before a canary.

The expectation for all that is refused: one failure with a 4xx status (501 for an unknown transfer
coding, 505 for another major version), one answer, the connection closed, and the canary behind it
never a request. For what is accepted: exactly the request that it is, and the canary the next one.
"""

from __future__ import annotations

import pytest

from angelia.core.h1_server import H1ServerConnection
from angelia.core.h1_wire import MIN_HEAD_SIZE, REQUEST_LIMITS, HeadLimits
from angelia.core.interface import Content, End, Failed, RequestHead
from angelia.errors import ContentError, HeadError, IncompleteContent, LineTooLong
from core.h1_kit import content_of, each_octet, every_way, failure, feed
from core.h1_requests import ACCEPTED, CHUNKED, REFUSED, Accepted, Refused, each, with_fields
from core.h1_server_kit import CANARY, GET, answer, condition, serve, shown

pytestmark = pytest.mark.usefixtures("implementation")


def refused(wire: bytes, status: int = 400, in_content: bool = False) -> None:
    """Whole, cut and in front of a canary: one failure, one answer, and nothing more."""
    for full in (wire, wire + CANARY):
        ways = every_way(full) if len(full) < 200 else iter([[full], in_pieces(full)])
        for pieces in ways:
            connection = H1ServerConnection()
            events = serve(connection, pieces)
            failed = failure(events)
            assert failed is not None, pieces
            assert failed.stream_id == 1
            assert failed.error.status == status, failed
            assert type(failed.error) in (
                (ContentError,) if in_content else (HeadError, LineTooLong)
            )
            heads = [event for event in events if isinstance(event, RequestHead)]
            assert len(heads) == in_content
            assert not any(head.target == "/canary" for head in heads)
            assert not any(isinstance(event, End) for event in events)
            assert condition(connection) == "closed"
            # What comes later finds nobody.
            assert feed(connection, [CANARY], eof=True) == []


def in_pieces(wire: bytes) -> list[bytes]:
    """Octet by octet, or in some thousands of pieces where there are many more."""
    size = 1 + len(wire) // 20_000
    return [wire[at : at + size] for at in range(0, len(wire), size)]


def accepted(wire: bytes, content: bytes = b"", then: str = "idle") -> None:
    """Whole, cut and in front of a canary: this request, and then the canary where it may come."""
    ways = every_way if len(wire) < 200 else lambda full: iter([[full], each_octet(full)])
    for pieces in ways(wire):
        connection = H1ServerConnection()
        events = serve(connection, pieces)
        assert failure(events) is None, events
        assert len([event for event in events if isinstance(event, RequestHead)]) == 1
        assert isinstance(events[-1], End)
        assert content_of(events) == content
        assert condition(connection) == then
    for pieces in ways(wire + CANARY):
        events = serve(H1ServerConnection(), pieces)
        targets = [event.target for event in events if isinstance(event, RequestHead)]
        assert targets[1:] == (["/canary"] if then == "idle" else [])
        assert content_of(events) == content


class TestContentLength:
    """Content-Length: RFC 9110 §8.6, RFC 9112 §6.3."""

    @each(REFUSED["no length"])
    def test_no_number(self, variant: Refused) -> None:
        """Signs, underscores, hex, blanks inside, other digits, lists, 2**63 and more."""
        refused(*variant)

    @each(ACCEPTED["lengths"])
    def test_fine(self, variant: Accepted) -> None:
        """Decimal is never octal, and blanks around it are blanks."""
        accepted(*variant)

    def test_millions_of_digits(self) -> None:
        """No number is made of more digits than a length can have: that takes quadratic time."""
        connection = H1ServerConnection(HeadLimits(max_field_size=10**7 + 100))
        wire = with_fields(b"Content-Length: " + b"9" * 10**7)
        failed = failure(connection.receive_data(wire))
        assert failed is not None
        assert "beyond 2**63" in str(failed.error)

    @each(REFUSED["two lengths"])
    def test_twice(self, variant: Refused) -> None:
        """Two lengths, different or the same."""
        refused(*variant)

    @each(ACCEPTED["lengths of any method"])
    def test_any_method(self, variant: Accepted) -> None:
        """Content is content, whatever the method, and never the next request."""
        accepted(*variant)

    @each(ACCEPTED["length 0"])
    def test_zero(self, variant: Accepted) -> None:
        """No content is no content: what follows is a request."""
        accepted(*variant)


class TestTransferEncoding:
    """Transfer-Encoding: RFC 9112 §6.1, §6.3."""

    @each(REFUSED["not chunked"])
    def test_not_chunked(self, variant: Refused) -> None:
        """What is not chunked, once and last, leaves the length unknown."""
        refused(*variant)

    @each(REFUSED["unknown coding"])
    def test_unknown(self, variant: Refused) -> None:
        """RFC 9112 §6.1: 501 for a coding that is not understood."""
        refused(*variant)

    @each(ACCEPTED["codings"] + ACCEPTED["codings of any method"])
    def test_fine(self, variant: Accepted) -> None:
        """Case does not matter, nor blanks around, nor the method."""
        accepted(*variant)

    @each(REFUSED["two codings"])
    def test_twice(self, variant: Refused) -> None:
        """Two fields are one list."""
        refused(*variant)

    @each(REFUSED["folded coding"])
    def test_folded(self, variant: Refused) -> None:
        """RFC 9112 §5.2: a server refuses obsolete folding."""
        refused(*variant)

    @each(REFUSED["coding in HTTP/1.0"])
    def test_http_10(self, variant: Refused) -> None:
        """RFC 9112 §6.1: HTTP/1.0 has none, and an intermediary may have overlooked it."""
        refused(*variant)

    @each(REFUSED["twins"])
    def test_twins(self, variant: Refused) -> None:
        """What becomes the same variable behind a gateway interface."""
        refused(*variant)

    @each(REFUSED["other twins"])
    def test_other_twins(self, variant: Refused) -> None:
        """Other fields that decide something are twins too."""
        refused(*variant)

    @each(ACCEPTED["no twins"])
    def test_no_twins(self, variant: Accepted) -> None:
        """Any other name may have underscores."""
        accepted(*variant)


class TestBothFramings:
    """Content-Length and Transfer-Encoding together: RFC 9112 §6.3 (3)."""

    @each(REFUSED["both framings"] + REFUSED["both framings, length 0"])
    def test_both(self, variant: Refused) -> None:
        """In either order, whatever the method and the connection."""
        refused(*variant)

    def test_content_without_framing(self) -> None:
        """CL.0: a body that nobody announced is the next request, and is judged as one."""
        for pieces in every_way(with_fields() + b"hello=world" + CANARY):
            connection = H1ServerConnection()
            events = serve(connection, pieces)
            assert [type(event) for event in events] == [RequestHead, End, Failed]
            assert condition(connection) == "closed"


class TestChunks:
    """The chunked coding: RFC 9112 §7.1."""

    @each(REFUSED["chunk sizes"])
    def test_chunk_sizes(self, variant: Refused) -> None:
        """Plain hex, at most 2**63 - 1, extensions with a name, CRLF; no blank, sign or prefix."""
        refused(*variant)

    @each(REFUSED["no line end behind a chunk"])
    def test_no_line_end_behind_a_chunk(self, variant: Refused) -> None:
        """Every two octets behind chunk data are looked at."""
        for pieces in (*every_way(variant.wire), *every_way(variant.wire + CANARY)):
            connection = H1ServerConnection()
            failed = failure(serve(connection, pieces))
            assert failed is not None
            assert (failed.stream_id, failed.error.status) == (1, 400)
            assert condition(connection) == "closed"

    @each(ACCEPTED["extensions"])
    def test_extensions(self, variant: Accepted) -> None:
        """RFC 9112 §7.1.1: names and values that are well-formed are skipped."""
        accepted(*variant)

    def test_end_of_the_connection_behind_the_last_chunk(self) -> None:
        """``0`` and CRLF alone are not the end of the content."""
        for size in range(len(CHUNKED), len(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")):
            connection = H1ServerConnection()
            events = feed(connection, [(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")[:size]], eof=True)
            failed = failure(events)
            assert failed is not None
            assert type(failed.error) is IncompleteContent
            assert (failed.stream_id, failed.error.status) == (1, 400)

    def test_many_chunks(self) -> None:
        """A million chunks of one octet keep no books."""
        connection = H1ServerConnection()
        connection.receive_data(CHUNKED)
        piece = b"1\r\nx\r\n" * 10_000
        count = 0
        for _ in range(10):
            count += len(connection.receive_data(piece))
        assert count == 100_000
        assert shown(connection.receive_data(b"0\r\n\r\n")) == [("end",)]


class TestTrailers:
    """The trailer section: RFC 9110 §6.5, RFC 9112 §7.1.2."""

    @each(ACCEPTED["trailers"])
    def test_not_merged(self, variant: Accepted) -> None:
        """Whatever it is called, a trailer is no header, and frames nothing."""
        accepted(*variant)
        head, *_, end = serve(H1ServerConnection(), [variant.wire])
        assert isinstance(head, RequestHead)
        assert dict(head.headers) == {"Host": "a", "Transfer-Encoding": "chunked"}
        assert isinstance(end, End)
        assert [value for _, value in end.trailers] == ["99"] * 5

    @each(REFUSED["trailers"])
    def test_malformed(self, variant: Refused) -> None:
        """They have the grammar of headers, and nothing is forgiven."""
        refused(*variant)

    @each(REFUSED["limits of trailers"])
    def test_limits(self, variant: Refused) -> None:
        """Count and size are those of headers."""
        refused(*variant)

    def test_endless(self) -> None:
        """The whole section has a limit too."""
        connection = H1ServerConnection(REQUEST_LIMITS._replace(max_headers=10**6))
        connection.receive_data(CHUNKED + b"0\r\n")
        events = feed(connection, [b"A: b\r\n" * 100] * 200)
        failed = failure(events)
        assert failed is not None
        assert failed.error.status == 431


class TestFields:
    """Field lines: RFC 9112 §5."""

    @each(REFUSED["fields"])
    def test_malformed(self, variant: Refused) -> None:
        """Token, colon, value without control characters, CRLF; no folding."""
        refused(*variant)

    @each(REFUSED["blank before the first field"])
    def test_blank_before_the_first(self, variant: Refused) -> None:
        """A blank before the first field would hide it, or make it part of the request line."""
        refused(*variant)

    @each(REFUSED["line ends"])
    def test_line_ends(self, variant: Refused) -> None:
        """CRLF alone ends a line."""
        refused(*variant)

    @each(REFUSED["singletons"])
    def test_singletons(self, variant: Refused) -> None:
        """What says which resource, type or person is meant says it once."""
        refused(*variant)

    @each(REFUSED["too many fields"])
    def test_too_many(self, variant: Refused) -> None:
        """128 fields are allowed, 10 000 are not."""
        refused(*variant)

    @each(ACCEPTED["many fields"])
    def test_many(self, variant: Accepted) -> None:
        """As many as are allowed."""
        accepted(*variant)

    @each(REFUSED["too long fields"])
    def test_too_long(self, variant: Refused) -> None:
        """A field of 8190 octets is allowed, one of a megabyte is not, nor many of 8190."""
        refused(*variant)

    def test_too_long_before_the_end(self) -> None:
        """Nobody waits for the end of what is too long already."""
        line = b"A: " + b"b" * 8187 + b"\r\n"
        head = b"GET / HTTP/1.1\r\nHost: a\r\n"
        failed = failure(feed(H1ServerConnection(), each_octet(head + line * 9)))
        assert failed is not None
        assert failed.error.status == 431
        connection = H1ServerConnection()
        failed = failure(feed(connection, [head, b"A: ", *[b"b" * 1000] * 1000]))
        assert failed is not None
        assert failed.error.status == 431
        assert condition(connection) == "busy"


class TestRequestLine:
    """The request line: RFC 9112 §3."""

    @each(REFUSED["request line"])
    def test_malformed(self, variant: Refused) -> None:
        """Method, target and version between single spaces, and nothing else."""
        refused(*variant)

    @each(REFUSED["other versions"])
    def test_other_versions(self, variant: Refused) -> None:
        """RFC 9110 §15.6.6: another major version is not supported."""
        refused(*variant)

    @each(REFUSED["HTTP/0.9"])
    def test_http_09(self, variant: Refused) -> None:
        """RFC 1945 §4.1: a simple request is refused without waiting for more."""
        failed = failure(feed(H1ServerConnection(), each_octet(variant.wire)))
        assert failed is not None
        assert failed.error.status == variant.status

    @each(REFUSED["other protocols"])
    def test_other_protocols(self, variant: Refused) -> None:
        """A peer that speaks something else is answered at its first octets."""
        connection = H1ServerConnection()
        failed = failure(connection.receive_data(variant.wire))
        assert failed is not None
        assert failed.error.status == variant.status
        assert ("TLS" in str(failed.error)) == (variant.wire[0] == 0x16)

    @each(ACCEPTED["minor versions"])
    def test_minor_versions(self, variant: Accepted) -> None:
        """RFC 9110 §2.5: a higher minor version is 1.1 to us, but nothing is taken for granted."""
        accepted(*variant)

    @each(ACCEPTED["methods"])
    def test_methods(self, variant: Accepted) -> None:
        """Any token is a method, and keeps its case."""
        accepted(*variant)
        (head, _) = H1ServerConnection().receive_data(variant.wire)
        assert isinstance(head, RequestHead)
        assert head.method == variant.wire.partition(b" ")[0].decode()

    @pytest.mark.parametrize(
        "target", [b"/%00", b"/a%0d%0aB:%20c", b"/..%2f", b"//evil", b'/?q={|}"<>^`', b"/a;b=c,d:@"]
    )
    def test_targets_are_kept(self, target: bytes) -> None:
        """What is encoded stays encoded."""
        (head, _) = H1ServerConnection().receive_data(
            b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target
        )
        assert isinstance(head, RequestHead)
        assert head.target == target.decode()

    @each(REFUSED["empty lines"])
    def test_empty_lines(self, variant: Refused) -> None:
        """RFC 9112 §2.2: an empty line before a request is overlooked; not many, and no bare LF."""
        refused(*variant)

    @each(ACCEPTED["empty lines"])
    def test_few_empty_lines(self, variant: Accepted) -> None:
        """RFC 9112 §2.2: those of clients that count badly."""
        accepted(*variant)

    @each(REFUSED["too long lines"])
    def test_too_long(self, variant: Refused) -> None:
        """RFC 9110 §15.5.15: 414 beyond 8190 octets, however they come."""
        refused(*variant)

    @each(ACCEPTED["long lines"])
    def test_longest(self, variant: Accepted) -> None:
        """8190 octets are fine."""
        assert len(H1ServerConnection().receive_data(variant.wire)) == 2


class TestTarget:
    """The forms of the target: RFC 9112 §3.2."""

    @each(REFUSED["targets"])
    def test_refused(self, variant: Refused) -> None:
        """Forms that the method has not, and targets that belie the Host."""
        refused(*variant)

    @each(ACCEPTED["targets"])
    def test_accepted(self, variant: Accepted) -> None:
        """Each form, and a Host that is the same but for its case and the default port."""
        accepted(*variant)

    @pytest.mark.parametrize("host", [b"a:443", b"A:443", b"a"])
    def test_connect(self, host: bytes) -> None:
        """RFC 9112 §3.2.3: host and port. When it gets no tunnel the connection closes."""
        connection = H1ServerConnection()
        wire = b"CONNECT a:443 HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
        events = connection.receive_data(wire + CANARY)
        assert [type(event) for event in events] == [RequestHead, End]
        answer(connection, 1, 403)
        assert condition(connection) == "closed"
        assert connection.next_events() == []

    @each(ACCEPTED["HTTP/1.0"])
    def test_http_10_without_host(self, variant: Accepted) -> None:
        """HTTP/1.0 has no Host, and may name it in the target."""
        accepted(*variant)

    def test_connect_of_http_10(self) -> None:
        """A CONNECT names it in any case."""
        assert len(H1ServerConnection().receive_data(b"CONNECT a:443 HTTP/1.0\r\n\r\n")) == 2

    @each(REFUSED["CONNECT with content"])
    def test_connect_with_content(self, variant: Refused) -> None:
        """RFC 9110 §9.3.6: it has none; is it the tunnel's, or a request?"""
        refused(*variant)


class TestHost:
    """The Host field: RFC 9112 §3.2, RFC 9110 §7.2."""

    @each(REFUSED["hosts"])
    def test_invalid(self, variant: Refused) -> None:
        """No list, path, userinfo, second port or other characters, and not empty."""
        refused(*variant)

    @each(ACCEPTED["hosts"])
    def test_valid(self, variant: Accepted) -> None:
        """Names, addresses, and a port."""
        accepted(*variant)

    @each(REFUSED["no host"])
    def test_missing(self, variant: Refused) -> None:
        """RFC 9112 §3.2: 400 without one, whatever the other fields."""
        refused(*variant)

    @each(REFUSED["two hosts"])
    def test_several(self, variant: Refused) -> None:
        """RFC 9112 §3.2: 400 for more than one, the same or not, in HTTP/1.0 too."""
        refused(*variant)


@each(ACCEPTED["upgrades"])
def test_declined_upgrades(variant: Accepted) -> None:
    """RFC 9110 §7.8: an upgrade that nobody takes up changes nothing."""
    accepted(*variant)


class TestPipelines:
    """Bytes that come early: RFC 9112 §9.3.2."""

    def test_canaries_in_content(self) -> None:
        """A request inside content is content, and the one behind it is answered once."""
        wire = with_fields(b"Content-Length: %d" % len(CANARY)) + CANARY
        for pieces in every_way(wire + GET):
            events = serve(H1ServerConnection(), pieces)
            targets = [event.target for event in events if isinstance(event, RequestHead)]
            assert targets == ["/", "/"]
            assert content_of(events) == CANARY

    def test_bounded(self) -> None:
        """What is pipelined is kept up to a bound; then the socket is not to be read."""
        connection = H1ServerConnection()
        connection.receive_data(GET)
        sizes = 0
        while connection.wants_data:
            sizes += len(GET) * 10
            assert connection.receive_data(GET * 10) == []
        assert sizes < MIN_HEAD_SIZE + len(GET) * 10
        answered = 1
        answer(connection, 1)
        while events := connection.next_events():
            assert [type(event) for event in events] == [RequestHead, End]
            answered += 1
            answer(connection, answered)
        assert repr(connection.wants_data) == "True"
        assert answered == 1 + sizes // len(GET)
        assert condition(connection) == "idle"

    def test_kept_octets_are_few(self) -> None:
        """A little behind a large read does not hold on to it."""
        connection = H1ServerConnection()
        connection.receive_data(with_fields(b"Content-Length: 100000") + b"x" * 100_000 + GET)
        assert connection._backlog.size == len(GET)
        assert len(connection._backlog.data) == len(GET)

    def test_dribbled(self) -> None:
        """Octet by octet, while answers go out now and then."""
        connection = H1ServerConnection()
        connection.receive_data(GET)
        number = 1
        for piece in each_octet(GET * 50):
            connection.receive_data(piece)
        for _ in range(20):
            answer(connection, number)
            number += 1
            (head, _) = connection.next_events()
            assert isinstance(head, RequestHead)
            connection.receive_data(GET)
        assert connection._backlog.size == len(GET) * 50

    def test_content_as_data_of_events(self) -> None:
        """A large body in one read is handed out without another copy of it."""
        connection = H1ServerConnection()
        connection.receive_data(with_fields(b"Content-Length: 9"))
        data = b"x" * 9
        content = connection.receive_data(data)[0]
        assert isinstance(content, Content)
        assert content.data is data
