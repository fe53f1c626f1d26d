"""permessage-deflate's compression of messages, with output bounds (RFC 7692 §7).

Owns: one compressor and one decompressor for each WebSocket connection, what of them lives on from
one message to the next, and the bound on what a message inflates to. The zlib library is the one
that `coding` chose. How both sides agree on parameters belongs to `ws_extensions`.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from angelia.core.coding import zlib_backend
from angelia.core.interface import Buffer
from angelia.errors import WebSocketError

__all__ = ("MIN_DEFLATE_WINDOW_BITS", "MessageDeflater", "MessageInflater")

# RFC 7692 §7.2.1: taken off the end of a message, and put back before it is inflated.
_TAIL: Final = b"\x00\x00\xff\xff"

# zlib cannot deflate in a window of 2**8 octets: it takes 9 bits instead, which a peer that keeps
# to 8 could not inflate, or refuses.
MIN_DEFLATE_WINDOW_BITS: Final = 9

# RFC 7692 §7.2.3.4 lets a sender end its deflate stream and begin another one within a message.
# Nobody needs that many, and each costs a thousand times its two octets.
MAX_STREAMS: Final = 16

# Messages are short and many: from level 4 on zlib takes twice the time, for 2 octets in 100.
DEFAULT_LEVEL: Final = 3

_TOO_BIG: Final = 1009
_PROTOCOL_ERROR: Final = 1002


class MessageInflater:
    """Inflates the messages of one direction, each piece as it comes."""

    __slots__ = ("_object", "_streams", "_takeover", "_wbits")

    def __init__(self, window_bits: int, *, takeover: bool) -> None:
        # A larger window inflates what was deflated in a smaller one.
        self._wbits = -max(window_bits, MIN_DEFLATE_WINDOW_BITS)
        self._takeover = takeover
        self._streams = 0
        # Made when it is first needed: many connections never are sent a compressed message.
        self._object: Any = None

    def inflate(self, data: Buffer, limit: int) -> bytes:
        """What `data` inflates to, which is `limit` octets at most.

        WebSocketError with code 1009 where it is more, found with one octet more in memory; with
        1002 where it is no deflate data.
        """
        decoded: list[bytes] = []
        backend = zlib_backend()
        while True:
            stream = self._object
            if stream is None:
                stream = self._object = backend.decompressobj(wbits=self._wbits)
            try:
                # A maximum of 0 would mean none.
                piece = stream.decompress(data, min(limit, sys.maxsize - 1) + 1)
            except backend.error as error:
                raise WebSocketError(
                    _PROTOCOL_ERROR, f"message is not deflate data: {error}"
                ) from error
            if len(piece) > limit:
                raise WebSocketError(_TOO_BIG, "message inflates to more than the limit")
            limit -= len(piece)
            decoded.append(piece)
            if not stream.eof:
                break
            # RFC 7692 §7.2.3.4: a block with BFINAL ends the stream. A new one follows, whose
            # sender has begun anew too, since zlib offers nothing else.
            self._object = None
            data = stream.unused_data
            self._streams += 1
            if self._streams > MAX_STREAMS:
                raise WebSocketError(
                    _PROTOCOL_ERROR, f"message has more than {MAX_STREAMS} deflate streams"
                )
        return decoded[0] if len(decoded) == 1 else b"".join(decoded)

    def finish(self, limit: int) -> bytes:
        """The message is over: the rest that it inflates to."""
        rest = self.inflate(_TAIL, limit)
        self._streams = 0
        # RFC 7692 §7.1.1: without context takeover each message has a window of its own.
        if not self._takeover:
            self._object = None
        return rest

    def inflate_message(self, data: Buffer, limit: int) -> bytes:
        """A whole message."""
        # Joined, because a call of zlib costs more than a copy of what is short.
        content = self.inflate(b"".join((data, _TAIL)), limit)
        self._streams = 0
        if not self._takeover:
            self._object = None
        return content


class MessageDeflater:
    """Deflates the messages of one direction: every one that is sent compressed, in their order."""

    __slots__ = ("_level", "_object", "_takeover", "_wbits")

    def __init__(self, window_bits: int, *, takeover: bool, level: int | None = None) -> None:
        if window_bits < MIN_DEFLATE_WINDOW_BITS:
            raise ValueError(f"zlib cannot deflate with {window_bits} window bits")
        self._wbits = -window_bits
        self._takeover = takeover
        self._level = DEFAULT_LEVEL if level is None else level
        # Made when it is first needed: it takes 256 KiB.
        self._object: Any = None

    def deflate(self, data: Buffer, *, fin: bool = True) -> bytes:
        """The content of a frame for `data`; with `fin` the last one of its message."""
        backend = zlib_backend()
        stream = self._object
        if stream is None:
            stream = self._object = backend.compressobj(level=self._level, wbits=self._wbits)
        deflated: bytes = stream.compress(data) + stream.flush(backend.Z_SYNC_FLUSH)
        if fin:
            if not self._takeover:
                self._object = None
            # RFC 7692 §7.2.1; §7.2.3.6: where zlib had nothing to say, one octet of zero stands
            # for the empty block whose rest the receiver adds.
            deflated = deflated[:-4] or b"\0"
        return deflated

    def reset(self) -> None:
        """Forget all messages so far; needed when one that was deflated is not sent."""
        self._object = None
