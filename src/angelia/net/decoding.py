"""Decoding: a response's content codings undone as far as its stream has room.

Owns: coded content that waits for the decoder, and where HTTP chunks end in what comes out. Knows
nothing of exchanges or sockets. What waits is bounded by those: while the stream is full nothing is
read.
"""

from __future__ import annotations

import collections
from typing import Final

from angelia.core.coding import Decoder
from angelia.net.streams import StreamReader

__all__ = ("Decoding",)

# Decoded content is made in pieces of this size, and no further than the reader's buffer allows.
DECODED_PIECE_SIZE: Final = 64 * 1024


class Decoding:
    """Coded content on its way into a stream."""

    __slots__ = ("_chunk_ends", "_decoder", "_waiting", "ended")

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        # Pieces are decoded one by one, so that the end of a chunk comes out where it belongs.
        self._waiting: collections.deque[tuple[bytes, bool]] = collections.deque()
        self._chunk_ends = False
        # Whether the last of the coded content has come.
        self.ended = False

    def add(self, data: bytes, *, chunk_end: bool) -> None:
        """Take coded content; `chunk_end` says that an HTTP chunk ends with it."""
        self._waiting.append((data, chunk_end))

    def pump(self, stream: StreamReader) -> bool:
        """Decode until `stream` is full; True when all that came is decoded.

        ContentError for content that is broken, or ends too early.
        """
        decoder = self._decoder
        while True:
            while piece := decoder.read(DECODED_PIECE_SIZE):
                if stream.feed_data(piece):
                    return False
            if self._chunk_ends:
                self._chunk_ends = False
                stream.end_http_chunk_receiving()
            if not self._waiting:
                break
            data, self._chunk_ends = self._waiting.popleft()
            decoder.feed(data)
        if self.ended:
            decoder.finish()
        return True
