"""HTTP/1.1 content: which framing holds, and what each reader and writer does with octets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.core.h1_body import (
    ChunkedReader,
    ChunkedWriter,
    ContentReader,
    ContentWriter,
    EofReader,
    HeldWriter,
    SizedReader,
    SizedWriter,
    UnframedWriter,
    UnreadReader,
    parse_content_length,
    response_reader,
    tokens,
)
from angelia.core.h1_wire import DEFAULT_LIMITS, MIN_HEAD_SIZE
from angelia.core.interface import Content, End, Event, Failed, ResponseHead, Special
from angelia.errors import ContentError, HeadError, IncompleteContent, LocalProtocolError
from core.h1_kit import (
    STRICT,
    asking,
    condition,
    content_of,
    cut_at,
    each_octet,
    every_way,
    feed,
    show,
    shown,
)

pytestmark = pytest.mark.usefixtures("implementation")

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(reader: ContentReader, pieces: list[bytes]) -> tuple[list[Event], bytes]:
    """The reader's events, and the octets that it left."""
    events: list[Event] = []
    for number, piece in enumerate(pieces):
        end = reader.receive(1, piece, 0, events)
        if reader.done:
            return events, piece[end:] + b"".join(pieces[number + 1 :])
        if end != len(piece):
            raise AssertionError("a reader that is not done takes everything")
    return events, b""


class TestTokens:
    """RFC 9110 §5.6.1: list fields."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("a", ["a"]),
            ("A,b", ["a", "b"]),
            (" ,a , ,\tB\t, ", ["a", "b"]),
            ("", []),
            (",", []),
            (["a", "B, c", ""], ["a", "b", "c"]),
            ("a b", ["a b"]),
            ("a\x0b", ["a\x0b"]),
            ("\xa0a", ["\xa0a"]),
            ("\u212aeep-Alive", ["\u212aeep-Alive"]),
        ],
    )
    def test_members(self, value: str | list[str], expected: list[str]) -> None:
        """Over all lines, without case, blanks and empty members; only ASCII has a case."""
        assert tokens({"connection": value}, "connection") == expected

    def test_absent(self) -> None:
        """A field that is not there has no members."""
        assert tokens({}, "connection") == []


class TestContentLength:
    """RFC 9110 §8.6, RFC 9112 §6.3 (5)."""

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            (["0"], 0),
            (["5"], 5),
            (["05"], 5),
            (["010"], 10),
            (["5", "5"], 5),
            (["5, 5 ,\t5"], 5),
            (["5,5", "5"], 5),
            (["9223372036854775807"], 2**63 - 1),
        ],
    )
    def test_lengths(self, values: list[str], expected: int) -> None:
        """Decimal digits; one number, however often it is said."""
        assert parse_content_length(values) == expected

    @pytest.mark.parametrize(
        "value",
        [
            "",
            ",",
            "5,",
            ",5",
            "5, 6",
            "5, 05",
            "5 5",
            "5 0",
            "+5",
            "-1",
            "-0",
            "0x5",
            "5_0",
            "5.0",
            "5e1",
            "5;a",
            '"5"',
            "five",
            "\u0665",
            "\uff15",
            "\xb2",
            "5\x0b",
            "\xa05",
            "\x855",
            "\udcb2",
            "9223372036854775808",
            "18446744073709551616",
            "1" + "0" * 300,
            "9" * 8000,
            "0" * 20,
        ],
    )
    def test_what_is_none(self, value: str) -> None:
        """Signs, other digits, several numbers, too large ones: errors, and in a response too."""
        for values in ([value], ["5", value], [value, "5"]):
            with pytest.raises(HeadError, match="Content-Length"):
                parse_content_length(values)
        if not any(character in value for character in "\x0b\x85"):
            octets = value.encode("utf-8", "surrogateescape")
            wire = OK + b"Content-Length: " + octets + b"\r\n\r\n" + b"x" * 20
            for pieces in [[wire], each_octet(wire), [wire[:40], wire[40:]]]:
                assert shown(feed(asking(), pieces)) == [("failed", 1, "HeadError")]

    def test_different_lengths(self) -> None:
        """RFC 9112 §6.3 (5): an unrecoverable error."""
        wire = OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"
        for pieces in every_way(wire):
            assert shown(feed(asking(), pieces)) == [("failed", 1, "HeadError")]


def reader_of(special: Special, *, status: int = 200, method: str = "GET") -> ContentReader:
    return response_reader(status, method, special, DEFAULT_LIMITS, read_until_eof=True)


class TestFraming:
    """RFC 9112 §6.3: how long content is, in the order of its rules."""

    @pytest.mark.parametrize(
        ("special", "kind"),
        [
            ({}, EofReader),
            ({"content-length": "5"}, SizedReader),
            ({"content-length": "0" * 25}, HeadError),
            ({"content-length": ["5", "5"]}, SizedReader),
            ({"content-length": "5,5"}, SizedReader),
            ({"transfer-encoding": "chunked"}, ChunkedReader),
            ({"transfer-encoding": "CHUNKED"}, ChunkedReader),
            # (4): another last coding.
            ({"transfer-encoding": "gzip"}, EofReader),
            ({"transfer-encoding": "identity"}, EofReader),
            ({"transfer-encoding": "chunked, gzip"}, EofReader),
            ({"transfer-encoding": ["chunked", "identity"]}, EofReader),
            # We do not ask for them, and cannot undo them.
            ({"transfer-encoding": "gzip, chunked"}, HeadError),
            ({"transfer-encoding": ["gzip", "chunked"]}, HeadError),
            ({"transfer-encoding": "identity, chunked"}, HeadError),
            # Once, and by its name.
            ({"transfer-encoding": "chunked, chunked"}, HeadError),
            ({"transfer-encoding": ["chunked", "chunked"]}, HeadError),
            ({"transfer-encoding": "chunked, chunked, gzip"}, HeadError),
            ({"transfer-encoding": "xchunked"}, HeadError),
            ({"transfer-encoding": "chunked123"}, HeadError),
            ({"transfer-encoding": "x-chunked, gzip"}, HeadError),
            ({"transfer-encoding": "chunked;a=b"}, HeadError),
            ({"transfer-encoding": '"chunked"'}, HeadError),
            ({"transfer-encoding": "chunked\x0b"}, HeadError),
            ({"transfer-encoding": "\xa0chunked"}, HeadError),
            ({"transfer-encoding": "chunked chunked"}, HeadError),
            ({"transfer-encoding": ""}, HeadError),
            ({"transfer-encoding": ","}, HeadError),
            ({"transfer-encoding": "chunked,"}, HeadError),
            ({"transfer-encoding": ", chunked"}, HeadError),
            ({"transfer-encoding": ["", "chunked"]}, HeadError),
            ({"transfer-encoding": "gzip,,deflate"}, HeadError),
            ({"transfer-encoding": "chunke\u0501"}, HeadError),
            # In Unicode the lower-case form of this one is "chunked".
            ({"transfer-encoding": "chun\u212aed"}, HeadError),
            ({"transfer-encoding": "g zip"}, HeadError),
            ({"transfer-encoding": ";q=1"}, HeadError),
            ({"transfer-encoding": "x-thing ; a=b"}, EofReader),
            # (3): two lengths are none.
            ({"transfer-encoding": "chunked", "content-length": "5"}, HeadError),
            ({"transfer-encoding": "gzip", "content-length": "5"}, HeadError),
            ({"transfer-encoding": "", "content-length": "5"}, HeadError),
        ],
    )
    def test_rules(self, special: Special, kind: type) -> None:
        """Fields decide, and what could be read in two ways is refused."""
        if kind is HeadError:
            with pytest.raises(HeadError):
                reader_of(special)
        else:
            assert type(reader_of(special)) is kind
        # (1): where there is no content the fields say nothing.
        for status, method in ((204, "GET"), (304, "POST"), (200, "HEAD"), (404, "HEAD")):
            reader = reader_of(special, status=status, method=method)
            assert read(reader, [b"x"]) == ([End(1)], b"x")

    def test_read_until_eof(self) -> None:
        """Without it, a response of unknown length is empty, and the connection of no more use."""
        for special in ({}, {"transfer-encoding": "gzip"}):
            reader = response_reader(200, "GET", special, DEFAULT_LIMITS, read_until_eof=False)
            assert type(reader) is UnreadReader
            assert reader.until_eof
            assert read(reader, [b"hello"]) == ([End(1)], b"hello")
        for special in ({"content-length": "5"}, {"transfer-encoding": "chunked"}):
            reader = response_reader(200, "GET", special, DEFAULT_LIMITS, read_until_eof=False)
            assert not reader.until_eof

    def test_strict(self) -> None:
        """In strict mode a length is said once."""
        for value in ("5,5", ["5", "5"]):
            with pytest.raises(HeadError, match="more than one"):
                response_reader(200, "GET", {"content-length": value}, STRICT, read_until_eof=True)
        special = {"content-length": "0000000000000000005"}
        reader = response_reader(200, "GET", special, STRICT, read_until_eof=True)
        assert isinstance(reader, SizedReader)
        assert reader.length == 5


class TestReaders:
    """RFC 9112 §6: the end is found where it is, and not one octet more is taken."""

    @given(st.binary(max_size=20), st.binary(max_size=5), st.lists(st.integers(0, 25), max_size=4))
    def test_sized(self, content: bytes, rest: bytes, cuts: list[int]) -> None:
        """As many octets as were announced."""
        reader = SizedReader(len(content))
        events, left = read(reader, [*cut_at(content + rest, cuts), b""])
        assert content_of(events) == content
        assert events[-1] == End(1)
        assert left == rest
        assert reader.remaining == 0

    def test_sized_from_the_middle(self) -> None:
        """A read may hold the end of a head before the content."""
        events: list[Event] = []
        assert SizedReader(3).receive(2, b"xxabcyy", 2, events) == 5
        assert events == [Content(2, b"abc"), End(2)]
        events.clear()
        assert SizedReader(9).receive(2, b"xxabcyy", 2, events) == 7
        assert events == [Content(2, b"abcyy")]

    def test_until_eof(self) -> None:
        """Everything, until the end of the connection says that it was everything."""
        reader = EofReader()
        events, left = read(reader, [b"ab", b"", b"c"])
        assert (content_of(events), left) == (b"abc", b"")
        assert reader.receive(1, b"xxd", 2, events) == 3
        reader.receive_eof(1, events)
        assert events[2:] == [Content(1, b"d"), End(1)]
        assert reader.done

    @given(
        st.lists(st.binary(min_size=1, max_size=20), max_size=4),
        st.lists(st.integers(0, 150), max_size=5),
    )
    def test_chunked_is_the_inverse_of_chunking(
        self, content: list[bytes], cuts: list[int]
    ) -> None:
        """What our writer writes our reader reads, chunk by chunk."""
        writer = ChunkedWriter()
        pieces = [piece for data in content for piece in writer.send(data, end=False)]
        pieces += writer.send(b"", end=True)
        wire = b"".join(bytes(piece) for piece in pieces)
        events, left = read(ChunkedReader(DEFAULT_LIMITS), cut_at(wire + b"rest", cuts))
        assert left == b"rest"
        assert shown(events) == [*(("chunk", data) for data in content), ("end",)]

    def test_chunk_end(self) -> None:
        """The end of a chunk is said once, with its last octet, wherever the reads meet."""
        wire = b"3\r\nabc\r\n2\r\nde\r\n"
        for cut in range(len(wire) + 1):
            reader = ChunkedReader(DEFAULT_LIMITS)
            events, _ = read(reader, [wire[:cut], wire[cut:]])
            ends = [show(event)[1][-1:] for event in events if show(event)[0] == "chunk"]
            assert ends == [b"c", b"e"]
            assert content_of(events) == b"abcde"

    @pytest.mark.parametrize(
        ("line", "size"),
        [
            (b"1", 1),
            (b"0001", 1),
            (b"000000000000000f", 15),
            (b"A", 10),
            (b"a", 10),
            (b"1f", 31),
            (b"5 ", 5),
            (b"5 \t ", 5),
            (b"5;", 5),
            (b"5;a", 5),
            (b"5 ; a = b", 5),
            (b'5;a="b;c\\"\t\xff"', 5),
            (b"5;;;", 5),
            (b"7fffffffffffffff", 2**63 - 1),
        ],
    )
    def test_chunk_sizes(self, line: bytes, size: int) -> None:
        """RFC 9112 §7.1: hex digits; blanks and extensions behind them are skipped."""
        for pieces in every_way(line + b"\r\n"):
            data = b"x" * min(size, 40)
            events, _ = read(ChunkedReader(DEFAULT_LIMITS), [*pieces, data])
            assert shown(events) == [("chunk" if size <= 40 else "content", data)]

    @pytest.mark.parametrize(
        "wire",
        [
            b"\r\n",
            b"\n",
            b" 5\r\n",
            b"\t5\r\n",
            b"+5\r\n",
            b"-5\r\n",
            b"0x5\r\n",
            b"5h\r\n",
            b"1_0\r\n",
            b"5 5\r\n",
            b"5,\r\n",
            b";a\r\n",
            b"5.\r\n",
            b"\xd9\xa5\r\n",
            b"\xef\xbc\x95\r\n",
            b"8000000000000000\r\n",
            b"ffffffffffffffff\r\n",
            b"00000000000000005\r\n",
            b"10000000000000005\r\n",
            b"f" * 8000 + b"\r\n",
            # The line's end is CRLF, and nothing in the line can hide another one.
            b"5\nhello\r\n",
            b"5\rhello\r\n",
            b"5\r\rhello\r\n",
            b"5\r\r\nhello\r\n",
            b"5;a\nhello\r\n",
            b"5;a\rb\r\nhello\r\n",
            b"5;a\0\r\nhello\r\n",
            b"5;a\x0b\r\nhello\r\n",
            b"5;a\x7f\r\nhello\r\n",
            b'5;a="\r\n"\nhello\r\n',
            b"5;" + b"a" * 65536 + b"\r\nhello\r\n",
            # Two octets, CRLF, behind the data.
            b"5\r\nhelloX",
            b"5\r\nhello!\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello\r0\r\n\r\n",
            b"5\r\nhello\n\r0\r\n\r\n",
            b"5\r\nhello\rX",
            b"5\r\nhelloXX0\r\n\r\n",
            b"5\r\nhello\r\n\r\n",
            b"5\r\nhello\r\nX",
            # No chunk after the last one, no junk for trailers.
            b"0\r\n5\r\nhello\r\n0\r\n\r\n",
            b"0\r\n \r\n\r\n",
            b"0\r\nA\r\n\r\n",
            b"0\r\nA : b\r\n\r\n",
            b"0\r\nA: \0\r\n\r\n",
            b"0\r\nA: b\rC: d\r\n\r\n",
            b"0\r\n\rX: y\r\n\r\n",
        ],
    )
    def test_malformed_chunks(self, wire: bytes) -> None:
        """They are errors as soon as they can be seen, however they are cut."""
        for pieces in every_way(wire) if len(wire) < 100 else ([wire], each_octet(wire)):
            with pytest.raises(ContentError) as caught:
                read(ChunkedReader(DEFAULT_LIMITS), pieces)
            assert not isinstance(caught.value, IncompleteContent)
            assert len(str(caught.value)) < 500

    @pytest.mark.parametrize(
        "beginning",
        [
            b"x",
            b" ",
            b"\n",
            b"-",
            b"5x",
            b"0x",
            b"5 5",
            b"5\r1",
            b"1" * 17,
            b"5\r\nhelloX",
            b"5;\x01",
        ],
    )
    def test_no_waiting_for_what_cannot_come(self, beginning: bytes) -> None:
        """A peer that waits for us, too, would make it wait for ever."""
        for pieces in every_way(beginning):
            with pytest.raises(ContentError):
                read(ChunkedReader(DEFAULT_LIMITS), pieces)

    def test_nothing_is_kept_of_chunks(self) -> None:
        """A reader keeps the line that is under way, and that is bounded."""
        reader = ChunkedReader(DEFAULT_LIMITS)
        read(reader, [b"5;" + b"a" * 8188])
        with pytest.raises(ContentError, match="chunk size is longer than 8190"):
            read(reader, [b"a", b"a"])

    @pytest.mark.parametrize("reader", [SizedReader(5), ChunkedReader(DEFAULT_LIMITS)])
    def test_early_end(self, reader: ContentReader) -> None:
        """The end of the connection is not the end of the content."""
        with pytest.raises(IncompleteContent, match="received 0 bytes"):
            reader.receive_eof(1, [])


class TestTrailers:
    """RFC 9110 §6.5, RFC 9112 §7.1.2."""

    def test_they_are_not_headers(self) -> None:
        """No trailer becomes a header, and none changes the framing or the connection."""
        trailers = (
            b"Content-Length: 7\r\nTransfer-Encoding: gzip\r\nConnection: close\r\nHost: evil\r\n"
            b"Authorization: x\r\nSet-Cookie: a=b\r\nContent-Type: text/evil\r\n"
            b"Keep-Alive: timeout=1\r\n"
        )
        wire = CHUNKED + b"1\r\nx\r\n0\r\n" + trailers + b"\r\n"
        for pieces in every_way(wire):
            connection = asking()
            events = feed(connection, pieces)
            head, end = events[0], events[-1]
            assert isinstance(head, ResponseHead)
            assert isinstance(end, End)
            assert head.headers == [("Transfer-Encoding", "chunked")]
            assert head.special == {"transfer-encoding": "chunked"}
            assert [name for name, _ in end.trailers] == [
                line.partition(b":")[0].decode() for line in trailers.splitlines()
            ]
            assert condition(connection) == "idle"
            assert connection.idle_timeout is None

    def test_they_are_not_the_next_response(self) -> None:
        """What follows a section of trailers is not theirs, and what is theirs does not follow."""
        for pieces in every_way(CHUNKED + b"0\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"):
            connection = asking()
            assert shown(feed(connection, pieces))[1:] == [
                ("end", ("A", "b")),
                ("failed", 0, "RemoteProtocolError"),
            ]

    def test_size(self) -> None:
        """The section as a whole may be as large as a head, its final empty line included."""
        for more in (0, 1):
            section = b"A: " + b"x" * 8000 + b"\r\n"
            rest = MIN_HEAD_SIZE - 8 * len(section) + more
            lines = section * 8 + b"B: " + b"y" * (rest - 7) + b"\r\n\r\n"
            assert len(lines) == MIN_HEAD_SIZE + more
            for pieces in ([lines], each_octet(lines)):
                reader = ChunkedReader(DEFAULT_LIMITS)
                if more:
                    with pytest.raises(ContentError, match="longer than 65536"):
                        read(reader, [b"0\r\n", *pieces])
                else:
                    assert len(read(reader, [b"0\r\n", *pieces])[0]) == 1


class TestWriters:
    """RFC 9112 §6, §7: content as octets on the wire."""

    @pytest.mark.parametrize(
        "data", [b"12345678", bytearray(b"12345678"), memoryview(b"12345678").cast("H")]
    )
    @pytest.mark.parametrize(
        ("writer", "wire"),
        [
            (SizedWriter(8), b"12345678"),
            (ChunkedWriter(), b"8\r\n12345678\r\n0\r\n\r\n"),
            (UnframedWriter(), b"12345678"),
        ],
    )
    def test_all_kinds_of_octets(
        self, data: bytes | bytearray | memoryview, writer: ContentWriter, wire: bytes
    ) -> None:
        """Octets are counted, whatever the items of a memoryview are."""
        if isinstance(writer, SizedWriter):
            writer = SizedWriter(8)
        assert b"".join(bytes(piece) for piece in writer.send(data, end=True)) == wire

    @pytest.mark.parametrize(
        "writer", [SizedWriter(5), ChunkedWriter(), UnframedWriter(), HeldWriter()]
    )
    def test_nothing(self, writer: ContentWriter) -> None:
        """No content is no octets: an empty chunk would be the last one."""
        assert writer.send(b"", end=False) == []
        assert writer.send(memoryview(b""), end=False) == []

    def test_sized(self) -> None:
        """After an error the count is what it was."""
        writer = SizedWriter(5)
        assert writer.send(b"abc", end=False) == [b"abc"]
        for data, end in ((b"def", False), (b"d", True), (b"", True)):
            with pytest.raises(LocalProtocolError):
                writer.send(data, end=end)
            assert writer.remaining == 2
        assert writer.send(b"de", end=True) == [b"de"]

    def test_held(self) -> None:
        """Nothing goes out before the answer."""
        with pytest.raises(LocalProtocolError):
            HeldWriter().send(b"x", end=False)
        assert HeldWriter().send(b"", end=True) == []


class TestCost:
    """Work and memory are linear in the octets, however small the pieces are."""

    def test_many_tiny_chunks(self) -> None:
        """Many chunks of one octet: an event each, and nothing kept."""
        connection = asking()
        feed(connection, [CHUNKED])
        piece = b"1\r\nx\r\n" * 10_000
        for _ in range(10):
            events = connection.receive_data(piece)
            assert len(events) == 10_000
            assert all(type(event) is Content and event.chunk_end for event in events)
        assert shown(feed(connection, [b"0\r\n\r\n"])) == [("end",)]
        assert condition(connection) == "idle"

    @pytest.mark.parametrize("extension", [b"", b";e=1"])
    def test_tiny_chunks_in_tiny_pieces(self, extension: bytes) -> None:
        """Cut anywhere they are the same chunks."""
        wire = b"1" + extension + b"\r\nx\r\n"
        connection = asking()
        feed(connection, [CHUNKED])
        events = feed(connection, each_octet(wire * 5000))
        assert len(events) == 5000
        assert content_of(events) == b"x" * 5000

    def test_large_head_octet_by_octet(self) -> None:
        """64 KiB of head in as many reads, none of which looks at all that came before."""
        lines = b"".join(b"X-%02d: %b\r\n" % (i, b"x" * 8000) for i in range(8))
        wire = b"HTTP/1.1 204 X\r\n" + lines + b"\r\n"
        connection = asking()
        events = feed(connection, each_octet(wire))
        assert [show(event)[0] for event in events] == ["head", "end"]
        head = events[0]
        assert isinstance(head, ResponseHead)
        assert [len(value) for _, value in head.headers] == [8000] * 8

    def test_large_trailers_octet_by_octet(self) -> None:
        """The same for a trailer section."""
        lines = b"".join(b"X-%02d: %b\r\n" % (i, b"x" * 8000) for i in range(8))
        events = feed(asking(), [CHUNKED, b"0\r\n", *each_octet(lines), b"\r\n"])
        assert [show(event)[0] for event in events] == ["head", "end"]
        end = events[1]
        assert isinstance(end, End)
        assert len(end.trailers) == 8

    def test_large_content(self) -> None:
        """Content of any length passes through, and nothing is kept of it."""
        connection = asking()
        feed(connection, [OK + b"Content-Length: 9223372036854775807\r\n\r\n"])
        data = bytes(65536)
        for _ in range(100):
            assert content_of(connection.receive_data(data)) == data
        assert condition(connection) == "busy"

    def test_failed_is_the_last(self) -> None:
        """A read that fails gives what came before the failure first."""
        events = feed(asking(), [CHUNKED + b"5\r\nhello\r\n5\r\nhelloX"])
        assert [show(event)[0] for event in events] == ["head", "chunk", "chunk", "failed"]
        assert isinstance(events[-1], Failed)
