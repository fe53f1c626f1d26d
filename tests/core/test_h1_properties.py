"""Whatever octets come, however they are cut: the same events, or one failure, in little room."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from angelia.core.h1 import H1ClientConnection
from angelia.core.h1_body import ChunkedReader
from angelia.core.h1_wire import DEFAULT_LIMITS, HeadLimits
from angelia.core.interface import Content, End, Event, Failed, ResponseHead
from angelia.errors import ContentError, HeadError
from core.h1_kit import (
    STRICT,
    Shown,
    ask_again,
    asking,
    condition,
    cut_at,
    each_octet,
    failure,
    feed,
    merged,
    show,
)
from core.strategies import cuts, soups, spoiled_responses

pytestmark = pytest.mark.usefixtures("implementation")

SMALL = HeadLimits(max_line_size=24, max_field_size=40, max_headers=3)

UPGRADE = [("Host", "a"), ("Upgrade", "x")]
POST = [("Host", "a"), ("Content-Length", "5")]

wires = st.one_of(
    soups,
    st.binary(max_size=60),
    spoiled_responses,
    st.tuples(spoiled_responses, soups).map(b"".join),
    st.tuples(st.just(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), soups).map(
        b"".join
    ),
)


def fresh(kind: str) -> H1ClientConnection:
    """A connection in one of the states that octets can find it in."""
    return KINDS[kind]()


def opened() -> H1ClientConnection:
    connection = H1ClientConnection()
    connection.open_stream()
    return connection


KINDS: dict[str, Callable[[], H1ClientConnection]] = {
    "GET": asking,
    "HEAD": partial(asking, "HEAD"),
    "CONNECT": partial(asking, "CONNECT"),
    "new": H1ClientConnection,
    "opened": opened,
    "uploading": partial(asking, "POST", POST, end=False),
    "upgrading": partial(asking, "GET", UPGRADE),
    "strict": partial(asking, limits=STRICT),
    "small": partial(asking, limits=SMALL),
    "unread": partial(asking, read_until_eof=False),
}

kinds = st.sampled_from(["GET"] * 4 + list(KINDS))


def held(connection: H1ClientConnection) -> int:
    """The octets that a connection keeps for later."""
    reader = connection._reader
    size = len(connection._head.octets)
    if isinstance(reader, ChunkedReader):
        size += len(reader._line) + len(reader._trailers)
    return size


def summary(events: Iterable[Event]) -> list[Shown]:
    """The events, and of a failure what it is about: the head, the content, or neither.

    Which of two faults is found first may depend on the cuts, not that there is one.
    """
    result: list[Shown] = []
    for event in merged(events):
        if isinstance(event, Failed):
            kind = next((k for k in (HeadError, ContentError) if isinstance(event.error, k)), None)
            result.append(("failed", event.stream_id, kind))
        else:
            result.append(show(event))
    return result


def check_order(events: list[Event]) -> None:
    """Heads, content, an end; a failure is the last."""
    failure(events)
    heads = [event for event in events if isinstance(event, ResponseHead)]
    ends = [index for index, event in enumerate(events) if isinstance(event, End)]
    assert len(ends) <= 1
    assert all(head.status < 200 and head.status != 101 for head in heads[:-1])
    seen_head = False
    for index, event in enumerate(events):
        if isinstance(event, ResponseHead):
            seen_head = True
            assert event.raw
        elif isinstance(event, Content):
            assert seen_head
            assert event.data
            assert not ends or index < ends[0]


class TestAnyOctets:
    """RFC 9112, for peers that never read it."""

    @given(wires, kinds, cuts, st.booleans())
    @example(b"\r\n\r\n\r\n", "GET", [1], True)
    @example(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\r\n\rX", "GET", [43], False)
    @settings(max_examples=400, deadline=None)
    @example(b"HTTP/1.1 200 OK plus more than a line may have\r\n", "small", [], False)
    def test_events_or_a_failure(
        self, wire: bytes, kind: str, places: list[int], eof: bool
    ) -> None:
        """Nothing is raised; cuts change neither the events nor what becomes of the connection."""
        results = []
        for pieces in ([wire], cut_at(wire, places), each_octet(wire)):
            connection = fresh(kind)
            events = feed(connection, pieces, eof=eof)
            check_order(events)
            if failure(events) is not None:
                assert connection.closed
                assert feed(connection, [wire, b"x"], eof=True) == []
            results.append((summary(events), condition(connection)))
        assert results[0] == results[1] == results[2]

    @given(wires, kinds, cuts)
    @settings(max_examples=300, deadline=None)
    def test_little_is_kept(self, wire: bytes, kind: str, places: list[int]) -> None:
        """A connection keeps what it was just given, at most, and nothing when it is over."""
        connection = fresh(kind)
        given_so_far = 0
        for piece in cut_at(wire, places):
            connection.receive_data(piece)
            given_so_far += len(piece)
            assert held(connection) <= given_so_far
            if condition(connection) in {"idle", "closed", "tunnel"}:
                assert held(connection) == 0

    @given(st.sampled_from([b"\n", b"\r\n", b"\r", b"", b": b\r\n", b"; "]), st.integers(1, 20000))
    @settings(max_examples=60, deadline=None)
    def test_endless_input(self, line_end: bytes, size: int) -> None:
        """No input without end makes a connection keep more than its limit and the last piece."""
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for start in (
            b"",
            b"HTTP/1.1 ",
            b"HTTP/1.1 200 OK\r\n",
            chunked + b"5;",
            chunked + b"0\r\n",
        ):
            connection = asking(limits=HeadLimits(max_headers=10**6))
            connection.receive_data(start)
            piece = b"x" * size + line_end
            for _ in range(2 + DEFAULT_LIMITS.max_head_size // len(piece)):
                connection.receive_data(piece)
                assert held(connection) <= DEFAULT_LIMITS.max_head_size + len(piece)
            assert connection.closed

    @given(st.lists(spoiled_responses, max_size=4), st.lists(cuts, min_size=4, max_size=4))
    @settings(max_examples=150, deadline=None)
    def test_exchanges_do_not_mix(self, wires: list[bytes], places: list[list[int]]) -> None:
        """An exchange on a used connection gives what it would have given on a new one."""
        connection = H1ClientConnection()
        for wire, cut in zip(wires, places, strict=False):
            if not connection.available_streams:
                break
            number = ask_again(connection)
            events = feed(connection, cut_at(wire, cut))
            alone = feed(asking(), [wire])
            for event in events:
                assert event.stream_id in (number, 0)
                event.stream_id = min(event.stream_id, 1)
            assert summary(events) == summary(alone)
