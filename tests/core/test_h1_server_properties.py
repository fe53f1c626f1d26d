"""Whatever octets come, however cut: the same requests, or one failure, in little room."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from angelia.core.h1_body import ChunkedReader
from angelia.core.h1_server import MAX_BACKLOG, H1ServerConnection
from angelia.core.h1_wire import REQUEST_LIMITS, HeadLimits
from angelia.core.interface import Content, End, Event, Failed, RequestHead
from core.h1_kit import Shown, cut_at, each_octet, failure, feed, merged
from core.h1_server_kit import CANARY, GET, answer, condition, serve, show
from core.strategies import cuts, request_soups, spoiled_requests

pytestmark = pytest.mark.usefixtures("implementation")

SMALL = HeadLimits(max_line_size=24, max_field_size=40, max_headers=3, lenient=False)

wires = st.one_of(
    request_soups,
    st.binary(max_size=60),
    spoiled_requests,
    st.tuples(spoiled_requests, spoiled_requests).map(b"".join),
    st.tuples(st.just(GET), request_soups).map(b"".join),
    st.tuples(
        st.just(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), request_soups
    ).map(b"".join),
)

limits = st.sampled_from([REQUEST_LIMITS, REQUEST_LIMITS, SMALL])


def held(connection: H1ServerConnection) -> int:
    """The octets that a connection keeps for later."""
    reader = connection._reader
    size = len(connection._head.octets) + connection._backlog.size
    if isinstance(reader, ChunkedReader):
        size += len(reader._line) + len(reader._trailers)
    return size


def summary(events: Iterable[Event]) -> list[Shown]:
    """The events; of a failure its exchange alone: the cuts may decide which fault is found."""
    return [
        ("failed", event.stream_id) if isinstance(event, Failed) else show(event)
        for event in merged(events)
    ]


def check_order(events: list[Event]) -> None:
    """Head, content, end, and so on; numbers in order; a failure is the last."""
    failure(events)
    number, is_open = 0, False
    for event in events:
        if isinstance(event, RequestHead):
            assert not is_open
            number += 1
            is_open = True
            assert event.raw
        elif isinstance(event, Failed):
            assert event.stream_id in ((number,) if is_open else (0, number + 1))
            continue
        else:
            assert is_open
        assert event.stream_id == number
        if isinstance(event, Content):
            assert event.data
        if isinstance(event, End):
            is_open = False


class TestAnyOctets:
    """RFC 9112, for peers that never read it."""

    @given(wires, limits, cuts)
    @example(b"\r\n\r\n\r\n", REQUEST_LIMITS, [1])
    @example(GET + b"\r\n" + CANARY, REQUEST_LIMITS, [30])
    @settings(max_examples=300, deadline=None)
    def test_events_or_a_failure(self, wire: bytes, bounds: HeadLimits, places: list[int]) -> None:
        """Nothing is raised; cuts change neither the events nor what becomes of the connection."""
        results = []
        for pieces in ([wire], cut_at(wire, places), each_octet(wire)):
            connection = H1ServerConnection(bounds)
            events = serve(connection, pieces)
            check_order(events)
            if failure(events) is not None:
                assert connection.closed
                assert feed(connection, [wire, b"x"], eof=True) == []
            then = condition(connection)
            last = connection.receive_eof()
            assert all(isinstance(event, Failed) for event in last)
            results.append((summary(events), then, summary(last)))
        assert results[0] == results[1] == results[2]

    @given(wires, cuts, st.booleans())
    @settings(max_examples=300, deadline=None)
    def test_little_is_kept(self, wire: bytes, places: list[int], answers: bool) -> None:
        """A connection keeps what it was given, at most, and nothing when it is over."""
        connection = H1ServerConnection()
        given_so_far = 0
        for piece in cut_at(wire, places):
            if answers:
                serve(connection, [piece])
            else:
                connection.receive_data(piece)
            given_so_far += len(piece)
            assert held(connection) <= given_so_far
            if condition(connection) in {"idle", "closed"}:
                assert held(connection) == 0

    @given(st.sampled_from([b"\n", b"\r\n", b"\r", b"", b": b\r\n", b"; "]), st.integers(1, 20000))
    @settings(max_examples=40, deadline=None)
    def test_endless_input(self, line_end: bytes, size: int) -> None:
        """No input without end makes a connection keep more than its limit and the last piece."""
        chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        for start in (b"", b"GET /", b"GET / HTTP/1.1\r\n", chunked + b"5;", chunked + b"0\r\n"):
            bounds = REQUEST_LIMITS._replace(max_headers=10**6)
            connection = H1ServerConnection(bounds)
            connection.receive_data(start)
            piece = b"x" * size + line_end
            events: list[Event] = []
            for _ in range(2 + bounds.max_head_size // len(piece)):
                events += connection.receive_data(piece)
                assert held(connection) <= bounds.max_head_size + len(piece)
            assert failure(events) is not None

    @given(wires, st.integers(1, 5000))
    @settings(max_examples=60, deadline=None)
    def test_endless_pipelines(self, wire: bytes, times: int) -> None:
        """A peer that is not answered is stopped; what was kept is one read beyond the bound."""
        connection = H1ServerConnection()
        connection.receive_data(GET)
        piece = wire * times
        for _ in range(3):
            if connection.wants_data:
                assert connection.receive_data(piece) == []
        assert held(connection) <= MAX_BACKLOG + len(piece)
        assert connection.wants_data == (held(connection) < MAX_BACKLOG)
        answer(connection)
        connection.next_events()

    @given(st.lists(spoiled_requests, max_size=4))
    @settings(max_examples=150, deadline=None)
    def test_exchanges_do_not_mix(self, requests: list[bytes]) -> None:
        """A request on a used connection gives what it would have given on a new one."""
        connection = H1ServerConnection()
        for number, wire in enumerate(requests, 1):
            alone = H1ServerConnection()
            expected = serve(alone, [wire])
            events = serve(connection, [wire])
            assert [show(e)[:1] for e in events] == [show(e)[:1] for e in expected]
            assert condition(connection) == condition(alone)
            if condition(connection) != "idle" or events[-1:] != [End(number)]:
                break
