"""The waist's values: compared by what they say, shown by what they hold."""

from __future__ import annotations

import pytest

from angelia.core.interface import (
    Content,
    End,
    Event,
    Failed,
    HttpVersion,
    HttpVersion10,
    HttpVersion11,
    RequestHead,
    ResponseHead,
    Role,
)
from angelia.errors import ContentError, HeadError, IncompleteContent, LineTooLong

PAIRS = [("A", "b")]

DIFFERENT: list[Event] = [
    RequestHead("GET", "/", PAIRS),
    RequestHead("PUT", "/", PAIRS),
    RequestHead("GET", "/x", PAIRS),
    RequestHead("GET", "/", [("a", "b")]),
    RequestHead("GET", "/", PAIRS, HttpVersion10),
    RequestHead("GET", "/", PAIRS, stream_id=1),
    ResponseHead(200, "OK", PAIRS),
    ResponseHead(201, "OK", PAIRS),
    ResponseHead(200, "", PAIRS),
    ResponseHead(200, "OK", []),
    ResponseHead(200, "OK", PAIRS, HttpVersion10),
    ResponseHead(200, "OK", PAIRS, stream_id=1),
    Content(1, b"a"),
    Content(1, b"b"),
    Content(2, b"a"),
    Content(1, b"a", True),
    End(1),
    End(2),
    End(1, PAIRS),
    Failed(1, HeadError("x")),
    Failed(0, HeadError("x")),
    Failed(1, HeadError("y")),
    Failed(1, ContentError("x")),
]


class TestValues:
    """Events are values."""

    def test_equality(self) -> None:
        """Each part of an event counts, and its class does."""
        for i, event in enumerate(DIFFERENT):
            for j, other in enumerate(DIFFERENT):
                assert (event == other) == (i == j)
                assert (event != other) == (i != j)
            assert event != repr(event)

    def test_kinds_of_sequences(self) -> None:
        """Pairs are what they are in a list and in a tuple; octets in any buffer."""
        pairs = tuple(PAIRS)
        assert RequestHead("GET", "/", pairs) == RequestHead("GET", "/", PAIRS)
        assert ResponseHead(200, "OK", pairs) == ResponseHead(200, "OK", PAIRS)
        assert End(1, pairs) == End(1, PAIRS)
        assert End(1, ()) == End(1, [])
        assert Content(1, bytearray(b"a")) == Content(1, b"a") == Content(1, memoryview(b"a"))

    def test_what_follows_from_the_head(self) -> None:
        """The octets that a head came in, and the index of its fields, are no part of its value."""
        head = ResponseHead(200, "OK", PAIRS, raw=b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n")
        assert head == ResponseHead(200, "OK", PAIRS, special={"a": "b"})

    def test_failures_by_class_and_message(self) -> None:
        """Two errors that say the same are the same failure."""
        assert Failed(1, IncompleteContent(1, 2)) == Failed(1, IncompleteContent(1, 2))
        assert Failed(1, IncompleteContent(1, 2)) != Failed(1, IncompleteContent(1, 3))
        assert Failed(1, LineTooLong("x", limit=1)) != Failed(1, HeadError("x"))

    @pytest.mark.parametrize("event", DIFFERENT, ids=lambda event: type(event).__name__)
    def test_no_hash(self, event: Event) -> None:
        """What can be changed has no hash."""
        with pytest.raises(TypeError, match="unhashable"):
            hash(event)

    def test_repr(self) -> None:
        """`repr` shows each part by its name."""
        assert repr(Content(1, b"a", True)) == "Content(chunk_end=True, data=b'a', stream_id=1)"
        assert repr(End(3)) == "End(stream_id=3, trailers=())"
        for event in DIFFERENT:
            for name in type(event).__slots__:
                assert f"{name}={getattr(event, name)!r}" in repr(event)

    def test_slots(self) -> None:
        """Events hold what they declare, and nothing else."""
        for event in DIFFERENT:
            assert not hasattr(event, "__dict__")


class TestHeads:
    """Heads have defaults for what is usual."""

    def test_defaults(self) -> None:
        """HTTP/1.1, no exchange yet, nothing received."""
        request, response = RequestHead("GET", "/", []), ResponseHead(200, "OK", [])
        assert request.version is response.version is HttpVersion11
        assert request.stream_id == response.stream_id == 0
        assert response.raw == b""
        assert response.special == {}
        assert response.special is not ResponseHead(200, "OK", []).special


class TestVersions:
    """RFC 9110 §2.5: versions compare as numbers do."""

    def test_order(self) -> None:
        """A version is a pair of numbers."""
        assert HttpVersion10 < HttpVersion11 < HttpVersion(2, 0)
        assert HttpVersion(1, 1) == HttpVersion11 == (1, 1)
        assert (HttpVersion11.major, HttpVersion11.minor) == (1, 1)


def test_roles() -> None:
    """A connection has two sides."""
    assert [role.value for role in Role] == ["client", "server"]
