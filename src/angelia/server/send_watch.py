"""SendWatch: how long a client may take nothing of what it is sent.

Owns: one timer, and what was left to send when it was set. Knows nothing of requests.
"""

from __future__ import annotations

import asyncio

__all__ = ("SendWatch",)


class SendWatch:
    """Aborts a transport that has not sent anything of what it holds for `seconds`.

    It is over when all was sent, or with `stop`.
    """

    __slots__ = ("_left", "_loop", "_seconds", "_socket", "_timer")

    def __init__(
        self, socket: asyncio.WriteTransport, seconds: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._socket = socket
        self._seconds = seconds
        self._loop = loop
        self._left = socket.get_write_buffer_size()
        self._timer = loop.call_later(seconds, self._check)

    def _check(self) -> None:
        left = self._socket.get_write_buffer_size()
        if left == self._left:
            self._socket.abort()
        elif left:
            self._left = left
            self._timer = self._loop.call_later(self._seconds, self._check)

    def stop(self) -> None:
        """Watch no longer. Idempotent."""
        self._timer.cancel()
