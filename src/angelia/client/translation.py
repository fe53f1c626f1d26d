"""The one place where protocol errors become the client's public errors."""

from __future__ import annotations

from typing import Any

from angelia.errors import (
    ClientError,
    ClientOSError,
    ClientPayloadError,
    ClientResponseError,
    ContentError,
    IncompleteContent,
    PeerClosed,
    ProtocolError,
    ServerDisconnectedError,
    SocketTimeoutError,
)
from angelia.net.exchange import ReadTimedOut

__all__ = ("translated",)


def translated(error: BaseException | None, request_info: Any = None) -> BaseException:
    """The public error for what `net` or `core` found, with its cause.

    A violation in a head is a `ClientResponseError`, one in content a `ClientPayloadError`; the end
    of the connection before a head is a `ServerDisconnectedError`, or a `ClientOSError` where the
    system gave a reason.
    """
    public = _public(error, request_info)
    if public is not error:
        public.__cause__ = error
    public.request_sent = True
    return public


def _public(error: BaseException | None, request_info: Any) -> ClientError:
    if isinstance(error, ReadTimedOut):
        return SocketTimeoutError(f"Timeout on reading data from socket: {error}")
    if isinstance(error, PeerClosed):
        if isinstance(error.__cause__, OSError):
            cause = error.__cause__
            return ClientOSError(cause.errno, cause.strerror or str(cause))
        return ServerDisconnectedError(error.partial or None)
    if isinstance(error, ContentError):
        payload_error = ClientPayloadError(f"Response payload is not completed: {error}")
        if isinstance(error, IncompleteContent):
            payload_error.received = error.received
            payload_error.expected = error.expected
        return payload_error
    if isinstance(error, ProtocolError):
        return ClientResponseError(request_info, (), status=error.status, message=error.message)
    return ServerDisconnectedError()
