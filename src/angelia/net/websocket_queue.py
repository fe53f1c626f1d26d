"""SendQueue: messages of a WebSocket that a thread deflates, and those behind them.

Owns: that messages leave in the order in which they were sent, and what becomes of their senders.
Knows nothing of frames, sockets, or how a WebSocket ends: it is given what deflates and what sends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from angelia.core.deflate import MessageDeflater
from angelia.core.interface import Buffer
from angelia.core.ws import as_octets
from angelia.core.ws_frames import Opcode
from angelia.net.streams import duplicate

__all__ = ("THREAD_SIZE", "SendQueue", "wants_thread")

# zlib takes 0.3 to 2 ms for so many octets, in which the event loop could do nothing else; to a
# thread and back it is 0.04 ms.
THREAD_SIZE: Final = 128 * 1024


def wants_thread(data: str | Buffer, compress: int | None) -> bool:
    """Whether a message is large, and to be compressed."""
    # A text has as many octets as characters at least.
    size = data.nbytes if isinstance(data, memoryview) else len(data)
    return size >= THREAD_SIZE and (compress is None or bool(compress))


class _Message:
    """One that waits for its turn."""

    __slots__ = ("compress", "octets", "opcode", "sent")

    def __init__(
        self, opcode: Opcode, octets: bytes, compress: bool, sent: asyncio.Future[Exception | None]
    ) -> None:
        self.opcode = opcode
        self.octets = octets
        self.compress = compress
        # What went wrong is its result, so that it is nobody's fault if nobody looks.
        self.sent = sent

    def end(self, error: Exception | None) -> None:
        if not self.sent.done():
            self.sent.set_result(error)


class SendQueue:
    """False while it is empty: then messages that want no thread may pass it by.

    `send` is called with a message's opcode and content, whether to compress it, and whether the
    content is deflated already; what it raises is the sender's.
    """

    __slots__ = ("_deflater", "_loop", "_messages", "_send")

    def __init__(
        self,
        deflater: MessageDeflater,
        send: Callable[[Opcode, bytes, bool, bool], None],
        *,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._deflater = deflater
        self._send = send
        self._loop = loop
        # While a thread deflates, the first is the one that it has.
        self._messages: deque[_Message] = deque()

    def __bool__(self) -> bool:
        return bool(self._messages)

    def add(self, opcode: Opcode, data: str | Buffer, compress: int | None) -> None:
        """Send a message in its turn, whatever becomes of its sender."""
        # The caller may change a buffer once a send is cancelled.
        octets = as_octets(data)
        wanted = compress is None or bool(compress)
        self._messages.append(_Message(opcode, octets, wanted, self._loop.create_future()))
        if len(self._messages) == 1:
            self._advance()

    async def wait(self) -> None:
        """Wait until all that is in the queue now has been sent; the last one's error is raised."""
        error = await asyncio.shield(self._messages[-1].sent)
        if error is not None:
            raise duplicate(error)

    def drop(self, error: Exception) -> None:
        """Send nothing more: all senders get the error."""
        messages, self._messages = self._messages, deque()
        for message in messages:
            message.end(error)

    def _advance(self) -> None:
        """Send what stands first, up to the next one that a thread has to deflate."""
        messages = self._messages
        while messages:
            message = messages[0]
            large = message.compress and len(message.octets) >= THREAD_SIZE
            if large and self._deflate(message):
                return
            messages.popleft()
            self._finish(message, message.octets, False)

    def _deflate(self, message: _Message) -> bool:
        """Begin to deflate in a thread; False where there are no threads any more."""
        work = self._deflater.deflate
        try:
            deflating = self._loop.run_in_executor(None, work, message.octets)
        except RuntimeError:
            # The loop is being shut down.
            return False
        deflating.add_done_callback(partial(self._deflated, message))
        return True

    def _deflated(self, message: _Message, deflating: asyncio.Future[bytes]) -> None:
        cancelled = deflating.cancelled()
        error = None if cancelled else deflating.exception()
        if not self._messages or self._messages[0] is not message:
            # It was dropped meanwhile.
            return
        self._messages.popleft()
        if cancelled or error is not None:
            # The peer will not have what the deflater remembers of it.
            self._deflater.reset()
            message.end(error if isinstance(error, Exception) else RuntimeError("not deflated"))
        else:
            self._finish(message, deflating.result(), True)
        self._advance()

    def _finish(self, message: _Message, octets: bytes, deflated: bool) -> None:
        try:
            self._send(message.opcode, octets, message.compress, deflated)
        except Exception as error:  # noqa: BLE001 - whatever it is, its sender is told
            message.end(error)
        else:
            message.end(None)
