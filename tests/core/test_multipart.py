"""The multipart decoder and the notation of heads."""

from __future__ import annotations

from typing import Any, SupportsIndex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.core.multipart import (
    MAX_BOUNDARY_SIZE,
    MultipartDecoder,
    MultipartEnd,
    PartData,
    PartEnd,
    PartHead,
    boundary_parameter,
    check_boundary,
    serialize_content_disposition,
    serialize_part_head,
)
from angelia.errors import ContentError, HeadError, LineTooLong, ProtocolError
from counting import counted, is_linear

Part = tuple[tuple[tuple[str, str], ...], bytes]


def decode(
    pieces: list[bytes], boundary: str = "b", max_size: int = 65536, **options: Any
) -> list[Part]:
    """All parts; each piece is pulled empty before the next is given."""
    decoder = MultipartDecoder(boundary, **options)
    parts: list[Part] = []
    fields: tuple[tuple[str, str], ...] = ()
    content = b""
    for piece in [*pieces, None]:
        if piece is None:
            decoder.receive_eof()
        else:
            decoder.receive_data(piece)
        while (event := decoder.next_event(max_size)) is not None:
            if isinstance(event, PartHead):
                fields, content = event.fields, b""
            elif isinstance(event, PartData):
                assert 0 < len(event.data) <= max_size
                content += event.data
            elif isinstance(event, PartEnd):
                parts.append((fields, content))
            else:
                break
    assert decoder.ended
    assert decoder.next_event() == MultipartEnd()
    return parts


class CountingBuffer(bytearray):
    """A buffer that counts the octets that are searched in it, and moved in it."""

    octets = 0

    def find(self, sub: Any, start: Any = 0, end: Any = None, /) -> int:
        begin = super().find(sub, start)
        self.octets += (len(self) if begin < 0 else begin + len(sub)) - start
        return begin

    def rfind(self, sub: Any, start: Any = 0, end: Any = None, /) -> int:
        begin = super().rfind(sub, start)
        self.octets += len(self) - max(begin, start)
        return begin

    def __delitem__(self, key: SupportsIndex | slice[Any, Any, Any], /) -> None:
        super().__delitem__(key)
        self.octets += len(self)


def cuts(wire: bytes) -> list[list[bytes]]:
    """The octets whole, cut in two at every place, and one by one."""
    halves = [[wire[:i], wire[i:]] for i in range(1, len(wire))]
    return [[wire], *halves, [wire[i : i + 1] for i in range(len(wire))]]


A = (("A", "1"),)

WIRES = [
    pytest.param(b"--b--", [], id="no part"),
    pytest.param(b"--b--\r\n", [], id="no part, line end"),
    pytest.param(b"--b\r\nA: 1\r\n\r\nx\r\n--b--\r\n", [(A, b"x")], id="one part"),
    pytest.param(b"--b\r\nA: 1\r\n\r\nx\r\n--b--", [(A, b"x")], id="no epilogue"),
    pytest.param(b"--b\r\nA: 1\r\n\r\nx\r\n--b--\r", [(A, b"x")], id="half a line end"),
    pytest.param(b"--b\r\nA: 1\r\n\r\nx\r\n--b--\r\nmore\r\n--b\r\n", [(A, b"x")], id="epilogue"),
    pytest.param(b"hello\r\n--b\r\nA: 1\r\n\r\nx\r\n--b--", [(A, b"x")], id="preamble"),
    pytest.param(b"\r\n\r\n--b\r\nA: 1\r\n\r\nx\r\n--b--", [(A, b"x")], id="empty preamble"),
    pytest.param(b"--bo --b\r\n--b\r\nA: 1\r\n\r\nx\r\n--b--", None, id="boundary-like preamble"),
    pytest.param(b"--b \t \r\nA: 1\r\n\r\nx\r\n--b-- \t\r\n", [(A, b"x")], id="padding"),
    pytest.param(b"--b\r\nA: 1\r\n\r\n\r\n--b--", [(A, b"")], id="empty content"),
    pytest.param(b"--b\r\nA: 1\r\n\r\n--b--", [(A, b"")], id="no content at all"),
    pytest.param(b"--b\r\n\r\nx\r\n--b--", [((), b"x")], id="no fields"),
    pytest.param(b"--b\r\n\r\n\r\n--b--", [((), b"")], id="no fields, empty content"),
    pytest.param(b"--b\r\n\r\n--b--", [((), b"")], id="nothing"),
    pytest.param(b"--b\r\n\r\n\r\r\n\n--b\n\r\n--b--", [((), b"\r\r\n\n--b\n")], id="bare ends"),
    pytest.param(b"--b\r\n\r\n\r\n--\r\n--a\r\n--b--", [((), b"\r\n--\r\n--a")], id="almost"),
    pytest.param(b"--b\r\n\r\nx--b--\r\n--b--", [((), b"x--b--")], id="inside a line"),
    pytest.param(
        b"--b\r\nA: 1\r\nB:\r\nA:  2\t\r\n\r\nx\r\n--b\r\n\r\ny\r\n\r\n--b--",
        [((("A", "1"), ("B", ""), ("A", "2")), b"x"), ((), b"y\r\n")],
        id="two parts",
    ),
    pytest.param(
        b"--b\r\nA: 1\r\n 2\r\n\r\nx\r\n--b--", [((("A", "1 2"),), b"x")], id="folded field"
    ),
    pytest.param(
        b'--b\r\nA: "\xc3\xa9\xff"\r\n\r\nx\r\n--b--',
        [((("A", '"é\udcff"'),), b"x")],
        id="fields that are not ASCII",
    ),
]

BROKEN = [
    pytest.param(b"", ContentError, id="nothing"),
    pytest.param(b"hello\r\n", ContentError, id="no boundary"),
    pytest.param(b"--c\r\n\r\nx\r\n--c--", ContentError, id="another boundary"),
    pytest.param(b"--b", ContentError, id="ends behind the boundary"),
    pytest.param(b"--b-", ContentError, id="ends in the close delimiter"),
    pytest.param(b"--b\r", ContentError, id="ends in the line end"),
    pytest.param(b"--b\r\n", ContentError, id="ends before the head"),
    pytest.param(b"--b\r\nA: 1\r\n", ContentError, id="ends in the head"),
    pytest.param(b"--b\r\nA: 1\r\n\r\n", ContentError, id="ends behind the head"),
    pytest.param(b"--b\r\nA: 1\r\n\r\nxy", ContentError, id="ends in the content"),
    pytest.param(b"--b\r\nA: 1\r\n\r\nxy\r\n--", ContentError, id="ends in the delimiter"),
    pytest.param(b"--b\r\nA: 1\r\n\r\nx\r\n--b\r\n", ContentError, id="ends behind a part"),
    pytest.param(b"--b\nA: 1\r\n\r\nx\r\n--b--", ContentError, id="bare LF"),
    pytest.param(b"--bc\r\n\r\nx\r\n--b--", ContentError, id="longer boundary"),
    pytest.param(b"--b\r\n\r\nx\r\n--b-\r\n", ContentError, id="one hyphen"),
    pytest.param(b"--b\r\n\r\nx\r\n--b--x", ContentError, id="octets behind the last"),
    pytest.param(b"--b\r\n--b--", ContentError, id="delimiter in the head"),
    pytest.param(b"--b\r\nA\r\n\r\nx\r\n--b--", HeadError, id="no colon"),
    pytest.param(b"--b\r\nA : 1\r\n\r\nx\r\n--b--", HeadError, id="space before the colon"),
    pytest.param(b"--b\r\nA: 1\nB: 2\r\n\r\nx\r\n--b--", HeadError, id="bare LF in the head"),
    pytest.param(b"--b\r\nA: \x00\r\n\r\nx\r\n--b--", HeadError, id="NUL in the head"),
]


class TestRFC2046Section511:
    """RFC 2046 §5.1.1: delimiters, preamble, epilogue."""

    @pytest.mark.parametrize(("wire", "parts"), WIRES)
    def test_parts(self, wire: bytes, parts: list[Part] | None) -> None:
        """Parts are the same however the octets come."""
        for pieces in cuts(wire):
            if parts is None:
                with pytest.raises(ContentError):
                    decode(pieces)
            else:
                assert decode(pieces) == parts
                assert decode(pieces, max_size=1) == parts

    @pytest.mark.parametrize(("wire", "error"), BROKEN)
    def test_broken(self, wire: bytes, error: type[Exception]) -> None:
        """What is malformed or ends early is an error however the octets come, never a hang."""
        for pieces in cuts(wire):
            with pytest.raises(error):
                decode(pieces)

    def test_content_before_an_early_end_is_delivered(self) -> None:
        """Octets that came before the content broke off are not lost."""
        decoder = MultipartDecoder("b")
        decoder.receive_data(b"--b\r\n\r\nxy\r\n--")
        assert decoder.next_event() == PartHead(())
        assert decoder.next_event() == PartData(b"xy")
        assert decoder.next_event() is None
        decoder.receive_eof()
        assert decoder.next_event() == PartData(b"\r\n--")
        with pytest.raises(ContentError):
            decoder.next_event()

    def test_within_part(self) -> None:
        """A decoder can start behind a part's head."""
        decoder = MultipartDecoder("b", within_part=True)
        decoder.receive_data(b"xy\r\n--b--")
        decoder.receive_eof()
        assert [decoder.next_event() for _ in range(3)] == [
            PartData(b"xy"),
            PartEnd(),
            MultipartEnd(),
        ]

    def test_octets_after_the_end_take_no_memory(self) -> None:
        """An epilogue is not kept."""
        decoder = MultipartDecoder("b")
        decoder.receive_data(b"--b--\r\n")
        assert decoder.next_event() == MultipartEnd()
        decoder.receive_data(b"x" * 1000)
        assert not decoder._buffer


class TestLimits:
    """What a part's head may measure."""

    def test_field_size(self) -> None:
        """A field longer than the limit is refused."""
        wire = b"--b\r\nA: " + b"x" * 98 + b"\r\n\r\n\r\n--b--"
        assert decode([wire], max_field_size=101)
        with pytest.raises(LineTooLong):
            decode([wire], max_field_size=100)

    def test_field_count(self) -> None:
        """More fields than the limit are refused."""
        wire = b"--b\r\n" + b"A: x\r\n" * 5 + b"\r\n\r\n--b--"
        assert decode([wire], max_headers=5)
        with pytest.raises(LineTooLong):
            decode([wire], max_headers=4)

    def test_endless_head(self) -> None:
        """A head without an end is refused while it comes, not kept."""
        decoder = MultipartDecoder("b")
        decoder.receive_data(b"--b\r\n")

        def endless() -> None:
            for _ in range(1000):
                decoder.receive_data(b"A: " + b"x" * 1000 + b"\r\n")
                decoder.next_event()

        with pytest.raises(LineTooLong):
            endless()
        assert len(decoder._buffer) < 100_000

    def test_preamble_takes_no_memory(self) -> None:
        """A preamble is skipped as it comes."""
        decoder = MultipartDecoder("b")
        for _ in range(100):
            decoder.receive_data(b"\r\n--x" * 4096)
            assert decoder.next_event() is None
        assert len(decoder._buffer) < 200_000

    @pytest.mark.parametrize(
        "piece", [b"\r\n", b"\r", b"\r\n--", b"\r\n--bbb\r\n-", b"\r\n--bbbbb"]
    )
    def test_linear_time(self, piece: bytes) -> None:
        """Content that keeps looking like a delimiter costs work in proportion to its size."""

        def cost(count: int) -> int:
            wire = b"--" + b"b" * 70 + b"\r\n\r\n" + piece * count
            decoder = MultipartDecoder("b" * 70)
            decoder._buffer = buffer = CountingBuffer(decoder._buffer)
            with counted() as work:
                for i in range(0, len(wire), 1000):
                    decoder.receive_data(wire[i : i + 1000])
                    while decoder.next_event(100) is not None:
                        pass
            assert buffer.octets <= 4 * len(wire)
            return work.calls

        assert is_linear(cost, 1_000)

    def test_one_large_read_in_small_pieces(self) -> None:
        """Pulling a large buffer in small pieces does not search it anew for each."""
        decoder = MultipartDecoder("b")
        decoder._buffer = buffer = CountingBuffer(decoder._buffer)
        decoder.receive_data(b"--b\r\n\r\n" + b"x" * 8_000_000)
        total = 0
        while (event := decoder.next_event(1000)) is not None:
            if isinstance(event, PartData):
                total += len(event.data)
        assert total == 8_000_000
        # Searched once, and moved once on average.
        assert buffer.octets <= 3 * total


class TestBoundary:
    """What can be a boundary, and how it is announced."""

    @pytest.mark.parametrize(
        "boundary", ["", "x" * (MAX_BOUNDARY_SIZE + 1), "a\r\nb", "a ", "é", "\0"]
    )
    def test_refused(self, boundary: str) -> None:
        """Empty, longer than 70 characters, ending in a space, or not printable ASCII."""
        with pytest.raises(ValueError, match="boundary"):
            check_boundary(boundary)
        with pytest.raises(ValueError, match="boundary"):
            MultipartDecoder(boundary)

    @pytest.mark.parametrize(
        ("boundary", "parameter"),
        [
            ("abc", "boundary=abc"),
            ("x" * 70, "boundary=" + "x" * 70),
            ("a:b", 'boundary="a:b"'),
            ("a b", 'boundary="a b"'),
            ('a"\\b', 'boundary="a\\"\\\\b"'),
        ],
    )
    def test_quoted_only_when_needed(self, boundary: str, parameter: str) -> None:
        """A token goes as it is, anything else as a quoted string."""
        assert boundary_parameter(boundary) == parameter


class TestHeads:
    """Part heads and Content-Disposition."""

    def test_serialized(self) -> None:
        """Fields in order, in UTF-8, and the empty line."""
        assert serialize_part_head([("A", "1"), ("b", "é")]) == b"A: 1\r\nb: \xc3\xa9\r\n\r\n"

    @pytest.mark.parametrize(
        ("name", "value"), [("A", "1\r\nB: 2"), ("A", "\n"), ("A", "\0"), ("A B", "1"), ("", "1")]
    )
    def test_injection(self, name: str, value: str) -> None:
        """What could be read as another field is refused."""
        with pytest.raises(ValueError, match=r"control character|not a field name"):
            serialize_part_head([(name, value)])

    @pytest.mark.parametrize("quote_fields", [True, False])
    @pytest.mark.parametrize("name", ["name", "filename"])
    @pytest.mark.parametrize("control", ["\r", "\n", "\r\nX: 1", "\0", "\x7f"])
    def test_disposition_injection(self, quote_fields: bool, name: str, control: str) -> None:
        """Control characters are refused with and without quoting."""
        with pytest.raises(ValueError, match="control character"):
            serialize_content_disposition(
                "form-data", {name: f"a{control}b"}, quote_fields=quote_fields
            )

    @pytest.mark.parametrize(
        ("disposition", "name"), [("", "a"), ("a b", "a"), ("a", ""), ("a", "=")]
    )
    def test_disposition_names(self, disposition: str, name: str) -> None:
        """The type and the parameters' names are tokens."""
        with pytest.raises(ValueError, match="not a"):
            serialize_content_disposition(disposition, {name: "x"})

    @pytest.mark.parametrize(
        ("quote_fields", "parameters", "value"),
        [
            (True, {"name": "a b"}, 'form-data; name="a b"'),
            (True, {"name": 'a"\\b'}, 'form-data; name="a\\"\\\\b"'),
            (True, {"name": "é"}, "form-data; name*=utf-8''%C3%A9"),
            (
                True,
                {"name": "n", "filename": "a é/.txt"},
                'form-data; name="n"; filename="a%20%C3%A9%2F.txt"',
            ),
            (False, {"name": "é", "filename": 'é"'}, 'form-data; name="é"; filename="é\\""'),
        ],
    )
    def test_disposition(self, quote_fields: bool, parameters: dict[str, str], value: str) -> None:
        """Only ``filename`` is percent-encoded; others are quoted strings or RFC 2231 values."""
        assert (
            serialize_content_disposition("form-data", parameters, quote_fields=quote_fields)
            == value
        )


fields = st.lists(
    st.tuples(
        st.text("abcXYZ-", min_size=1, max_size=8),
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=12).map(
            lambda value: value.strip(" \t")
        ),
    ),
    max_size=3,
)
contents = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"--", b"-", b"b", b"--bou", b"x", b"\0"]), max_size=12
).map(b"".join)


@given(st.lists(st.tuples(fields, contents), max_size=4), st.data())
def test_inverse(parts: list[tuple[list[tuple[str, str]], bytes]], data: st.DataObject) -> None:
    """What was serialized is decoded, however it is cut."""
    boundary = "bound"
    wire = b""
    for head, content in parts:
        wire += b"--bound\r\n" + serialize_part_head(head) + content + b"\r\n"
    wire += b"--bound--\r\n"
    where = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    pieces = [wire[i:j] for i, j in zip([0, *where], [*where, len(wire)], strict=True)]
    expected = [(tuple(head), content) for head, content in parts]
    # Content that has the boundary in it is what nobody may send.
    if any(b"\r\n--bound" in b"\r\n" + content for _, content in parts):
        return
    assert decode(pieces, boundary) == expected


@given(st.lists(st.sampled_from([b"\r\n", b"--b", b"--", b"\r", b"\n", b" ", b"A: 1", b"x"])))
def test_any_octets(pieces: list[bytes]) -> None:
    """Any octets give parts or a protocol error, and the same ones whole and cut."""
    outcomes = []
    for form in (pieces, [b"".join(pieces)]):
        try:
            outcomes.append(decode(form))
        except ProtocolError as error:
            outcomes.append([((), type(error).__name__.encode())])
    assert outcomes[0] == outcomes[1]
