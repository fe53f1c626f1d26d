"""HTTP/1.1 heads: lines and fields to values and back, what is forgiven, what is too long."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from angelia.core.h1_wire import (
    DEFAULT_LIMITS,
    EXCERPT_SIZE,
    MIN_HEAD_SIZE,
    HeadBuffer,
    HeaderBlock,
    HeadLimits,
    excerpt,
    group_fields,
    parse_fields,
    parse_response_head,
    serialize_request_head,
)
from angelia.core.interface import HttpVersion, HttpVersion10, RequestHead
from angelia.errors import (
    ContentError,
    HeadError,
    LineTooLong,
    LocalProtocolError,
    RemoteProtocolError,
)
from core.h1_kit import STRICT, asking, each_octet, every_way, failure, feed, shown
from core.strategies import field_lists

pytestmark = pytest.mark.usefixtures("implementation")

OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = OK + b"Content-Length: 0\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class TestStatusLine:
    """RFC 9112 §4: version, three digits, reason."""

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            (b"HTTP/1.1 200 OK", ((1, 1), 200, "OK")),
            (b"HTTP/1.0 200 OK", ((1, 0), 200, "OK")),
            (b"HTTP/1.9 200 OK", ((1, 9), 200, "OK")),
            (b"HTTP/1.1 100", ((1, 1), 100, "")),
            (b"HTTP/1.1 999 ", ((1, 1), 999, "")),
            (b"HTTP/1.1 200   two  words \t", ((1, 1), 200, "two  words")),
            (b"HTTP/1.1 200 \xe2\x82\xac\xff", ((1, 1), 200, "\u20ac\udcff")),
        ],
    )
    def test_status_lines(self, line: bytes, expected: tuple[tuple[int, int], int, str]) -> None:
        """Line by line and in one go they are the same."""
        for end in (b"\r\n\r\n", b"\n\n"):
            wire = line + end
            head = parse_response_head(wire, 0, len(wire), DEFAULT_LIMITS, 7)
            assert (head.version, head.status, head.reason) == expected
            assert (head.headers, head.special, head.raw, head.stream_id) == ([], {}, wire, 7)

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"HTTP/1.1",
            b"HTTP/1.1 ",
            b"HTTP/1.1 20",
            b"HTTP/1.1 099 X",
            b"HTTP/1.1 000 X",
            b"HTTP/1.1 2000 OK",
            b"HTTP/1.1 200OK",
            b"HTTP/1.1 200\tOK",
            b"HTTP/1.1  200 OK",
            b"HTTP/1.1\t200 OK",
            b"HTTP/1.1 +20 OK",
            b"HTTP/1.1 -20 OK",
            b"HTTP/1.1 2_0 OK",
            b"HTTP/1.1 2\xc2\xb20 OK",
            "HTTP/1.1 \uff12\uff10\uff10 OK".encode(),
            "HTTP/1.\uff11 200 OK".encode(),
            b"HTTP/1.1 200 O\0K",
            b"HTTP/1.1 200 O\x1b[31mK",
            b"HTTP/1.1 200 O\x7fK",
            b"HTTP/1.1 200 O\rK",
            b"HTTP/1.1 200 OK\r\r",
            b"http/1.1 200 OK",
            b"HTTP/1 200 OK",
            b"HTTP/1.10 200 OK",
            b"HTTP/01.1 200 OK",
            b"HTTP/1,1 200 OK",
            b"HTTP/0.9 200 OK",
            b"HTTP/2 200 OK",
            b"HTTP/2.0 200 OK",
            b"HTTP/3.1 200 OK",
            b"HTTPS/1.1 200 OK",
            b" HTTP/1.1 200 OK",
            b"ICY 200 OK",
            b"SSH-2.0-OpenSSH",
            b"200 OK",
            b"<html>",
        ],
    )
    def test_what_is_none(self, line: bytes) -> None:
        """An odd version, an odd status, a control character: an error, whole and cut."""
        for end in (b"\r\n\r\n", b"\n\n", b"\r\nContent-Length: 0\r\n\r\n"):
            if not line and end == b"\r\n\r\n":
                continue
            wire = line + end
            with pytest.raises(HeadError):
                parse_response_head(wire, 0, len(wire), DEFAULT_LIMITS, 1)
            for pieces in every_way(b"\r\n\n" + wire):
                assert shown(feed(asking(), pieces)) == [("failed", 1, "HeadError")]

    @pytest.mark.parametrize(
        "banner",
        [b"220 smtp.example ESMTP", b"SSH-2.0", b"\x16\x03\x01", b"HTTQ", b"HTTP/2", b"\rH", b"\0"],
    )
    def test_another_protocol(self, banner: bytes) -> None:
        """It is told apart at its first wrong octet: its server may wait for us to go on."""
        for pieces in ([banner], each_octet(banner)):
            assert shown(feed(asking(), pieces)) == [("failed", 1, "HeadError")]
        for octet in range(256):
            failed = failure(feed(asking(), [bytes([octet])]))
            assert (failed is None) == (octet in b"H\r\n")

    def test_more_empty_lines(self) -> None:
        """RFC 9112 §2.2: an empty line before the head is skipped, endless ones are not."""
        for empty in (b"\r\n", b"\n"):
            for pieces in every_way(empty * 3 + EMPTY):
                assert shown(feed(asking(), pieces)) == [("failed", 1, "HeadError")]


class TestFieldLines:
    """RFC 9112 §5, RFC 9110 §5: names and values."""

    @pytest.mark.parametrize(
        ("block", "fields"),
        [
            (b"", []),
            (b"A: b\r\n", [("A", "b")]),
            (b"A:b\n", [("A", "b")]),
            (b"A:\r\na: \t \r\n", [("A", ""), ("a", "")]),
            (b"A: \t b c\t d \t\r\n", [("A", "b c\t d")]),
            (b"A: :b:\r\n", [("A", ":b:")]),
            (b"!#$%&'*+-.^_`|~09azAZ: b\r\n", [("!#$%&'*+-.^_`|~09azAZ", "b")]),
            (b"A: \xc3\xa4\xff\r\n", [("A", "\xe4\udcff")]),
            (b"A: b\r\n c\r\n\t d \r\n", [("A", "b c d")]),
            (b"A:\r\n b\r\n", [("A", "b")]),
            (b"A: b\r\n \r\nC: d\r\n", [("A", "b"), ("C", "d")]),
            (b"A: b\n c\nC: d\n", [("A", "b c"), ("C", "d")]),
            (b"A: b\r\n c: d\r\n", [("A", "b c: d")]),
        ],
    )
    def test_fields(self, block: bytes, fields: list[tuple[str, str]]) -> None:
        """In order and in their case, without the blanks around the values."""
        for end in (b"\r\n", b"\n"):
            assert parse_fields(block + end, DEFAULT_LIMITS) == fields
            wire = b"HTTP/1.1 204 X\r\n" + block + end
            assert shown(feed(asking(), [wire]))[0][-1] == fields

    @pytest.mark.parametrize(
        "line",
        [
            b"A",
            b"A b",
            b": b",
            b"A : b",
            b"A\t: b",
            b"A\r: b",
            b"A b: c",
            b"A\0: b",
            b"\x7fA: b",
            b"A\xc3\xa4: b",
            b"A\xff: b",
            b"A(c): b",
            b'"A": b',
            b"A/B: c",
            b"A: b\0c",
            b"A: b\rc",
            b"A: b\r\r",
            b"A: \rC: d",
            b"A: b\x1fc",
            b"A: b\x7f",
            b"A: \x0b",
            b"A: b\x0c",
            b"A: b\r\n c\0",
            b"A: b\r\n c\rD: e",
            b" A: b",
            b"\tA: b",
            b" ",
        ],
    )
    def test_malformed_fields(self, line: bytes) -> None:
        """Names that are no tokens, control characters, whitespace first: errors for everybody."""
        for end in (b"\r\n", b"\n"):
            with pytest.raises(HeadError):
                parse_fields(line + end + b"\r\n", DEFAULT_LIMITS)
            for pieces in every_way(OK + line + end + b"\r\n"):
                assert shown(feed(asking(), pieces)) == [("failed", 1, "HeadError")]
            for pieces in every_way(CHUNKED + b"0\r\n" + line + end + b"\r\n"):
                assert shown(feed(asking(), pieces))[1:] == [("failed", 1, "ContentError")]

    @given(field_lists)
    def test_what_is_written_is_read(self, fields: list[tuple[str, str]]) -> None:
        """Serializing and parsing are inverses, line by line as in one go."""
        head = serialize_request_head(RequestHead("GET", "/", fields))
        limits = HeadLimits(max_headers=1000)
        block = head.partition(b"\r\n")[2]
        assert parse_fields(block, limits) == fields
        assert parse_fields(block.replace(b"\r\n", b"\n"), limits) == fields
        assert parse_fields(block.replace(b": ", b":\r\n "), limits) == fields
        events = feed(asking(limits=limits), [b"HTTP/1.1 204 X\r\n" + block])
        assert shown(events)[0][-1] == fields

    def test_group_fields(self) -> None:
        """Only the wanted ones, in any case, with all their values in order."""
        fields = [("A", "1"), ("b", "2"), ("a", "3"), ("C", "4"), ("A", "5"), ("B", "6")]
        assert group_fields(fields, {"a", "b", "d"}) == {"a": ["1", "3", "5"], "b": ["2", "6"]}
        assert group_fields(fields, {"c"}) == {"c": "4"}


class TestHeadBuffer:
    """A head in pieces."""

    @given(
        st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"A: b", b"x" * 9, OK]), max_size=12),
        st.lists(st.integers(0, 200), max_size=6),
    )
    @example([b"\r", b"\n", b"\r", b"\n", OK, b"\n"], [1, 2, 3])
    def test_cuts_do_not_matter(self, parts: list[bytes], cuts: list[int]) -> None:
        """The end is found where it is, or the same limit is hit, whatever the pieces."""
        wire = b"".join(parts)
        places = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
        limits = HeadLimits(max_line_size=30, max_field_size=12)
        results = []
        for bounds in ([0, len(wire)], places, range(len(wire) + 1)):
            buffer = HeadBuffer()
            result: object = None
            try:
                for start, end in pairwise(bounds):
                    found = buffer.add(wire[start:end], limits)
                    if found is not None:
                        result = found[1:]
                        assert not buffer.octets
                        break
            except HeadError:
                result = "refused"
            results.append(result)
        # A long line is found before the end of the head is there; with it, by the parser.
        if "refused" not in results:
            assert results[0] == results[1] == results[2]

    def test_clear(self) -> None:
        """A buffer may be used for the next head."""
        buffer = HeadBuffer()
        for _ in range(3):
            assert buffer.add(b"\r\n" + OK + b"A: ", DEFAULT_LIMITS) is None
            assert buffer.add(b"b\r\n\r\nrest", DEFAULT_LIMITS) == (
                b"\r\n" + OK + b"A: b\r\n\r\nrest",
                2,
                len(OK) + 10,
            )
            buffer.add(OK, DEFAULT_LIMITS)
            buffer.clear()
            assert not buffer.octets


class TestRequests:
    """RFC 9112 §3: what leaves us is one request, and no more."""

    @pytest.mark.parametrize(
        "head",
        [
            RequestHead("", "/", []),
            RequestHead("GE T", "/", []),
            RequestHead("GET ", "/", []),
            RequestHead("GET\r\nEvil: 1", "/", []),
            RequestHead("GET\t", "/", []),
            RequestHead("G\xcbT", "/", []),
            RequestHead("GET:", "/", []),
            RequestHead("GET", "", []),
            RequestHead("GET", "/ HTTP/1.1\r\nEvil: 1\r\n\r\n", []),
            RequestHead("GET", "/a b", []),
            RequestHead("GET", "/a\tb", []),
            RequestHead("GET", "/\0", []),
            RequestHead("GET", "/\x7f", []),
            RequestHead("GET", "/\xe4", []),
            RequestHead("GET", "/\udcff", []),
            RequestHead("GET", "/\u2028", []),
            RequestHead("GET", "/", [], HttpVersion(2, 0)),
            RequestHead("GET", "/", [], HttpVersion(1, 2)),
            RequestHead("GET", "/", [], HttpVersion(0, 9)),
            RequestHead("GET", "/", [("A", "b\r\nEvil: 1")]),
            RequestHead("GET", "/", [("A", "b\nEvil: 1")]),
            RequestHead("GET", "/", [("A", "b\rEvil: 1")]),
            RequestHead("GET", "/", [("A", "\0")]),
            RequestHead("GET", "/", [("A", "\ud800")]),
            RequestHead("GET", "/", [("A: b\r\nEvil", "1")]),
            RequestHead("GET", "/", [("A ", "b")]),
            RequestHead("GET", "/", [("", "b")]),
            RequestHead("GET", "/", [("\xc4", "b")]),
        ],
        ids=repr,
    )
    def test_injection(self, head: RequestHead) -> None:
        """A method that is no token, a target that is no URL, a control character: refused."""
        with pytest.raises(LocalProtocolError):
            serialize_request_head(head)

    def test_versions(self) -> None:
        """1.0 and 1.1, however the value was made."""
        for version in (HttpVersion10, HttpVersion(1, 0), HttpVersion(1, 1)):
            wire = serialize_request_head(RequestHead("get", "/", [], version))
            assert wire == b"get / HTTP/1.%d\r\n\r\n" % version.minor

    def test_header_block(self) -> None:
        """A block of fields is what its pairs are, and is checked when it is made."""
        pairs = [("Host", "a"), ("X", "\xe4")]
        block = HeaderBlock(iter(pairs))
        assert list(block) == pairs
        assert len(block) == 2
        assert block[-1] == ("X", "\xe4")
        assert block[:1] == (("Host", "a"),)
        assert ("Host", "a") in block
        for headers in (block, pairs):
            assert serialize_request_head(RequestHead("GET", "/", headers)) == (
                b"GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa4\r\n\r\n"
            )
        empty = RequestHead("GET", "/", HeaderBlock([]))
        assert serialize_request_head(empty) == b"GET / HTTP/1.1\r\n\r\n"
        for bad in (("A", "b\r\nC: d"), ("A b", "c")):
            with pytest.raises(ValueError, match="'A"):
                HeaderBlock([("Host", "a"), bad])

    def test_plain_blocks(self) -> None:
        """A block that decides about nothing says so."""
        assert HeaderBlock([("Host", "a"), ("Accept", "b"), ("X-Connection", "c")]).plain
        for name in ("Connection", "UPGRADE", "content-length", "Transfer-encoding"):
            block = HeaderBlock([("Host", "a"), (name, "b"), (name, "c")])
            assert not block.plain
            assert block.special == {name.lower(): ["b", "c"]}


class TestExcerpts:
    """Errors quote a peer's octets, escaped, and not many of them."""

    @pytest.mark.parametrize("text", ["short", "x" * EXCERPT_SIZE, b"short\r\n", bytearray(b"\0")])
    def test_short(self, text: str | bytes | bytearray) -> None:
        """What is short is shown as it is, printable."""
        shown_text = bytes(text) if isinstance(text, bytearray) else text
        assert excerpt(text) == repr(shown_text)

    @pytest.mark.parametrize("text", ["x" * 1000, b"\n" * 1000, bytearray(1000)])
    def test_long(self, text: str | bytes | bytearray) -> None:
        """Of what is long there is the beginning."""
        assert excerpt(text).endswith("...")
        assert len(excerpt(text)) < 5 * EXCERPT_SIZE
        assert excerpt(text).isprintable()


SMALL = HeadLimits(max_line_size=20, max_field_size=30, max_headers=3)


def limited(wire: bytes, limits: HeadLimits) -> Iterator[RemoteProtocolError | None]:
    """What the octets fail with, read in every way (or in two, if they are many)."""
    ways = every_way(wire) if len(wire) < 1000 else iter([[wire], each_octet(wire)])
    for pieces in ways:
        failed = failure(feed(asking(limits=limits), pieces))
        yield None if failed is None else failed.error


class TestLimits:
    """Lines, fields, their number and the whole head, in one read and in many."""

    @pytest.mark.parametrize(
        ("wire", "found"),
        [
            (
                b"HTTP/1.1 200 45678901\r\n\r\n",
                "status line is longer than 20 bytes: b'HTTP/1.1 200",
            ),
            (b"HTTP/1.1 200 45678901\n\n", "status line is longer than 20 bytes"),
            (b"HTTP/1.1 200 O\r\nX-Long: " + b"x" * 23 + b"\r\n\r\n", "field b'X-Long' is longer"),
            (b"HTTP/1.1 200 O\r\nA:\r\nX-Long: " + b"x" * 23 + b"\n\n", "b'X-Long' is longer"),
            (b"HTTP/1.1 200 O\r\nB: x\r\n" + b" y" * 15 + b"\r\n\r\n", "longer than 30 bytes"),
            (b"HTTP/1.1 200 O\r\nX-Fold: x\r\n" + b" 3456789012\r\n" * 2 + b"\r\n", "b'X-Fold' is"),
            (b"HTTP/1.1 200 O\r\nA:\r\nB:\r\nC:\r\nD:\r\n\r\n", "more than 3 fields"),
        ],
    )
    def test_too_long(self, wire: bytes, found: str) -> None:
        """One octet or field too many is an error that says which, however it came."""
        for error in limited(wire, SMALL):
            assert isinstance(error, LineTooLong)
            assert found in str(error)
            assert error.limit in SMALL
            assert error.status == 431

    @pytest.mark.parametrize(
        "wire",
        [
            b"HTTP/1.1 204 4567890\r\n\r\n",
            b"HTTP/1.1 204 4567890\n\n",
            b"\r\n\r\nHTTP/1.1 204 4567890\r\n\r\n",
            b"HTTP/1.1 204 O\r\nX-Long: " + b"x" * 22 + b"\r\n\r\n",
            b"HTTP/1.1 204 O\r\nX-Long: " + b"x" * 22 + b"\n\n",
            b"HTTP/1.1 204 O\r\nX: x\r\n 234567890123\r\n\t234567890123\r\n\r\n",
            b"HTTP/1.1 204 O\r\nA:\r\nB:\r\nC:\r\n\r\n",
        ],
    )
    def test_just_within(self, wire: bytes) -> None:
        """The limits count octets without the line's end, and are themselves within."""
        for error in limited(wire, SMALL):
            assert error is None

    def test_whole_head(self) -> None:
        """Fields that are short enough each, but too many octets in sum."""
        limits = HeadLimits(max_line_size=8000, max_field_size=8000, max_headers=1000)
        lines = b"".join(b"X-%03d: %b\r\n" % (i, b"x" * 245) for i in range(255))
        padding = MIN_HEAD_SIZE - len(b"HTTP/1.1 204 O\r\n" + lines + b"Y: \r\n\r\n")
        for more in (0, 1):
            wire = b"HTTP/1.1 204 O\r\n%bY: %b\r\n\r\n" % (lines, b"y" * (padding + more))
            assert len(wire) == MIN_HEAD_SIZE + more
            for data in (wire, wire.replace(b"\r\nY", b"\nYY"), b"\r\n" + wire):
                for error in limited(data, limits):
                    assert isinstance(error, LineTooLong if more else type(None))
                    assert error is None or (error.limit, "head is longer" in str(error)) == (
                        MIN_HEAD_SIZE,
                        True,
                    )

    def test_whole_head_without_end(self) -> None:
        """A head that never ends is an error as soon as it cannot end within the limit."""
        connection = asking(limits=HeadLimits(max_headers=100_000))
        line = b"A: b\r\n"
        assert feed(connection, [OK, *[line] * ((MIN_HEAD_SIZE - len(OK)) // len(line))]) == []
        failed = failure(feed(connection, [line]))
        assert failed is not None
        assert isinstance(failed.error, LineTooLong)

    def test_larger_limits(self) -> None:
        """Limits can be raised: the whole head has room for what its lines may measure."""
        limits = HeadLimits(max_line_size=100_000, max_field_size=200_000)
        wire = b"HTTP/1.1 204 %b\r\nX: %b\r\n\r\n" % (b"o" * 90_000, b"x" * 190_000)
        for pieces in ([wire], [wire[:50], wire[50:]]):
            assert failure(feed(asking(limits=limits), pieces)) is None

    def test_trailers(self) -> None:
        """The limits hold for trailer fields as well, one by one, in number and in sum."""
        trailer = CHUNKED.replace(b" OK", b"") + b"0\r\n%b\r\n\r\n"
        for field, found in (
            (b"X-Long: " + b"x" * 22, None),
            (b"X-Long: " + b"x" * 23, "longer than 30 bytes: b'X-Long"),
            (b"A:\r\nB:\r\nC:", None),
            (b"A:\r\nB:\r\nC:\r\nD:", "more than 3 fields"),
        ):
            for error in limited(trailer % field, SMALL):
                if found is None:
                    assert error is None
                else:
                    assert isinstance(error, ContentError)
                    assert found in str(error)

    def test_trailers_in_sum(self) -> None:
        """A trailer section without end is an error, whatever the number of fields may be."""
        connection = asking(limits=HeadLimits(max_headers=100_000))
        feed(connection, [CHUNKED, b"0\r\n"])
        assert feed(connection, [b"A: b\r\n"] * (MIN_HEAD_SIZE // 6)) == []
        failed = failure(feed(connection, [b"A: b\r\n"]))
        assert failed is not None
        assert "trailer section is longer than 65536 bytes" in str(failed.error)

    def test_chunk_lines(self) -> None:
        """The line of a chunk's size obeys the limit of a line, extensions included."""
        for more, found in ((0, None), (1, ContentError)):
            line = b"5;" + b"e" * (18 + more)
            wire = CHUNKED.replace(b" OK", b"") + line + b"\r\nhello\r\n0\r\n\r\n"
            for error in limited(wire, SMALL):
                assert type(error) is (found or type(None))
        # Nor does it have to end before that is found.
        for error in limited(CHUNKED.replace(b" OK", b"") + b"5;" + b"e" * 20, SMALL):
            assert isinstance(error, ContentError)


class TestStrictness:
    """What is forgiven to a server by default, and to nobody in strict mode."""

    @pytest.mark.parametrize(
        "wire",
        [
            b"HTTP/1.1 204 X\n\n",
            b"HTTP/1.1 204 X\r\n\n",
            b"HTTP/1.1 204 X\n\r\n",
            b"HTTP/1.1 204 X\r\nA: b\n\r\n",
            b"HTTP/1.1 204 X\r\nA: b\r\n\n",
            b"HTTP/1.1 204 X\nA: b\r\n\r\n",
            b"HTTP/1.1 204 X\r\nA: b\r\n c\r\n\r\n",
            OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            OK + b"Content-Length: 5, 5\r\n\r\nhello",
            CHUNKED + b"0\r\n\n",
            CHUNKED + b"0\r\nA: b\n\r\n",
            CHUNKED + b"0\r\nA: b\r\n\n",
            CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n",
        ],
    )
    def test_irregularities(self, wire: bytes) -> None:
        """Bare LF, folded lines and repeated lengths."""
        for pieces in every_way(wire):
            assert shown(feed(asking(), pieces))[-1][0] == "end"
            failed = failure(feed(asking(limits=STRICT), pieces))
            assert failed is not None
            assert isinstance(failed.error, (HeadError, ContentError))

    def test_regular_responses(self) -> None:
        """A regular response is one in strict mode too."""
        for wire in (EMPTY, CHUNKED + b"5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n"):
            for pieces in every_way(wire):
                assert shown(feed(asking(limits=STRICT), pieces))[-1][0] == "end"
