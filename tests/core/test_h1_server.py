"""A server's connection: requests in, responses out, one exchange after the other."""

from __future__ import annotations

import pytest

from angelia.core.h1_server import H1ServerConnection
from core.h1_kit import each_octet, every_way, feed
from core.h1_server_kit import CANARY, GET, answer, asked, condition, serve, shown

pytestmark = pytest.mark.usefixtures("implementation")


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
            wire = answer(connection, 1, 200, [("Content-Length", "5")], b"he", b"llo")
            assert wire == b"HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\nhello"
            assert condition(connection) == "idle"

    def test_pipelined(self) -> None:
        """Requests are handed out one by one, each when the one before it was answered."""
        wire = GET + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + CANARY
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
        assert shown(connection.next_events()) == [("failed", 2, "HeadError", 400)]
        assert answer(connection, 2, 400).endswith(b"Connection: close\r\n\r\n")
        assert condition(connection) == "closed"
