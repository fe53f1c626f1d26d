"""FileTransfer: a file that the system sends, past the event loop's transport.

Owns: the waits between the calls of `os.sendfile`, and how long one may take. That all that was
written before is out, and that nothing else is written meanwhile, is for the caller.

Event loops have a `sendfile` too. uvloop's does not do that for its transports, and asyncio's waits
for ever for a client that takes nothing.
"""

from __future__ import annotations

import asyncio
import os
from typing import BinaryIO, Final

__all__ = ("CAN_SEND_FILES", "FileTransfer")

CAN_SEND_FILES: Final = hasattr(os, "sendfile")

# So much of one file goes out in one turn of the loop at most; then others get theirs.
MAX_IN_TURN: Final = 4 * 1024 * 1024


class FileTransfer:
    """Sends parts of files on the socket of `transport`.

    Whoever sees the end of the transport settles the futures in `waiters`. A client that takes
    nothing for `seconds` is aborted; 0: it may.
    """

    __slots__ = ("_loop", "_seconds", "_transport", "_waiters")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.WriteTransport,
        waiters: set[asyncio.Future[None]],
        seconds: float,
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._waiters = waiters
        self._seconds = seconds

    async def send(self, descriptor: int, file: BinaryIO, start: int, size: int) -> int:
        """Send `size` octets of `file`; returns how many it had, 0 if the system cannot send it.

        ConnectionError when nobody takes them any more; OSError where the file fails.
        """
        sent, left = 0, MAX_IN_TURN
        # The loop watches a descriptor for one purpose only, and its transport has this one.
        try:
            watched = os.dup(descriptor)
        except OSError:
            # There are no more descriptors to be had.
            return 0
        try:
            while sent < size:
                count = min(size - sent, left)
                try:
                    count = os.sendfile(watched, file.fileno(), start + sent, count)
                except BlockingIOError:
                    await self._writable(watched)
                    left = MAX_IN_TURN
                    continue
                if not count:
                    break
                sent += count
                left -= count
                if not left:
                    await asyncio.sleep(0)
                    self._check_open()
                    left = MAX_IN_TURN
        except OSError as error:
            # Some files are not the system's to send; that is known with the first octet.
            if sent or isinstance(error, ConnectionError):
                raise
        finally:
            os.close(watched)
        return sent

    def _check_open(self) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError("the client has gone")

    async def _writable(self, descriptor: int) -> None:
        loop = self._loop
        waiter: asyncio.Future[None] = loop.create_future()
        watch = loop.call_later(self._seconds, self._transport.abort) if self._seconds else None
        self._waiters.add(waiter)
        loop.add_writer(descriptor, _settle, waiter)
        try:
            await waiter
        finally:
            loop.remove_writer(descriptor)
            self._waiters.discard(waiter)
            if watch is not None:
                watch.cancel()
        self._check_open()


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
