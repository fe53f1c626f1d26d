"""From what `net` and `core` find to the client's public errors."""

from __future__ import annotations

from typing import Any

import pytest

import angelia
from angelia.client.translation import translated
from angelia.errors import (
    ContentError,
    HeadError,
    IncompleteContent,
    LineTooLong,
    PeerClosed,
    RemoteProtocolError,
)
from angelia.net.exchange import ReadTimedOut


def closed_by(cause: BaseException) -> PeerClosed:
    error = PeerClosed()
    error.__cause__ = cause
    return error


CASES: list[tuple[BaseException | None, type[angelia.ClientError], dict[str, Any], str]] = [
    (ReadTimedOut(1.5), angelia.SocketTimeoutError, {}, "nothing received for 1.5 seconds"),
    (PeerClosed(), angelia.ServerDisconnectedError, {"message": "Server disconnected"}, ""),
    (PeerClosed(b"HTTP/1"), angelia.ServerDisconnectedError, {"message": b"HTTP/1"}, "HTTP/1"),
    (
        closed_by(ConnectionResetError(104, "Connection reset by peer")),
        angelia.ClientOSError,
        {"errno": 104, "strerror": "Connection reset by peer"},
        "reset by peer",
    ),
    (closed_by(OSError("odd")), angelia.ClientOSError, {"errno": None}, "odd"),
    (closed_by(ValueError("odd")), angelia.ServerDisconnectedError, {}, "disconnected"),
    (
        IncompleteContent(3, 5),
        angelia.ClientPayloadError,
        {"received": 3, "expected": 5},
        "received 3 bytes, expected 5",
    ),
    (
        IncompleteContent(3, None),
        angelia.ClientPayloadError,
        {"received": 3, "expected": None},
        "received 3 bytes",
    ),
    (ContentError("bad chunk"), angelia.ClientPayloadError, {"received": None}, "bad chunk"),
    (HeadError("bad line"), angelia.ClientResponseError, {"status": 400}, "bad line"),
    (LineTooLong("long", limit=9), angelia.ClientResponseError, {"status": 431}, "long"),
    (RemoteProtocolError("odd"), angelia.ClientResponseError, {"status": 400}, "odd"),
    (None, angelia.ServerDisconnectedError, {}, "disconnected"),
]


@pytest.mark.parametrize(("found", "public", "facts", "text"), CASES)
def test_each(
    found: BaseException | None, public: type[angelia.ClientError], facts: dict[str, Any], text: str
) -> None:
    """Each kind becomes the class of its phase, with its facts and its cause."""
    error = translated(found)
    assert type(error) is public
    assert {name: getattr(error, name) for name in facts} == facts
    assert text in str(error)
    assert error.__cause__ is found
    assert isinstance(error, angelia.ClientError)
    assert error.request_sent is True
