"""WebSocket messages: what a reader gets, and how one is put together from pieces.

Owns: the public type of a message; the gathering of content in pieces, with UTF-8 checked as it
comes, in memory and time that grow with the content and not with the number of pieces. Knows
nothing of frames.
"""

from __future__ import annotations

import enum
import json
from codecs import utf_8_decode
from collections.abc import Callable
from io import BytesIO, StringIO
from typing import Any, Final, NamedTuple, Protocol

from angelia.core.deflate import MessageInflater
from angelia.core.interface import Buffer
from angelia.core.ws_frames import WSCloseCode
from angelia.errors import WebSocketError

__all__ = (
    "BinaryGatherer",
    "CheckedGatherer",
    "Gatherer",
    "InflatingGatherer",
    "TextGatherer",
    "WSMessage",
    "WSMsgType",
    "decode_text",
    "not_text",
)


# From this size on the content of a frame goes into one buffer as it comes, which grows without
# being copied. Nothing is set aside for what is only announced.
JOINED_FROM: Final = 256 * 1024

# So many pieces are joined at a time.
JOINED_PIECES: Final = 256


class WSMsgType(enum.IntEnum):
    """The type of a message: the opcodes of RFC 6455 §5.2, and three that are not on the wire."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    PING = 0x9
    PONG = 0xA
    CLOSE = 0x8
    CLOSING = 0x100
    """The closing handshake has begun elsewhere."""
    CLOSED = 0x101
    """The connection is closed."""
    ERROR = 0x102
    """The connection failed; the message's data is the exception."""

    text = TEXT
    binary = BINARY
    ping = PING
    pong = PONG
    close = CLOSE
    closing = CLOSING
    closed = CLOSED
    error = ERROR


class WSMessage(NamedTuple):
    """A message or control frame that was received.

    ========== ================================== ======================
    `type`     `data`                             `extra`
    ========== ================================== ======================
    TEXT       str, or bytes if so asked for      empty
    BINARY     bytes                              empty
    PING, PONG bytes                              empty
    CLOSE      int: the code, 1005 if none came   str: the reason
    ERROR      the exception                      empty
    ========== ================================== ======================
    """

    type: WSMsgType
    data: Any
    extra: str | None

    def json(self, *, loads: Callable[[Any], Any] = json.loads) -> Any:
        """The data read as JSON by `loads`."""
        return loads(self.data)


def not_text(error: UnicodeDecodeError) -> WebSocketError:
    """RFC 6455 §8.1: what a text that is no UTF-8 fails with. It does not quote the text."""
    return WebSocketError(WSCloseCode.INVALID_TEXT, f"text is not UTF-8: {error.reason}")


def decode_text(content: Buffer) -> str:
    """The text of a whole message; WebSocketError where it is no UTF-8."""
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError as error:
        raise not_text(error) from error


class Gatherer(Protocol):
    """Gathers the content of one message. WebSocketError as soon as it is found to be wrong."""

    def add(self, octets: Buffer) -> None: ...
    def finish(self) -> str | bytes: ...


class BinaryGatherer:
    """Content as it is."""

    __slots__ = ("_joined", "_pieces", "_sink")

    def __init__(self) -> None:
        self._sink: BytesIO | None = None
        self._pieces: list[bytes] = []
        # Of short pieces the objects would take more than the octets.
        self._joined: list[bytes] = []

    def expect(self, size: int) -> None:
        """The content is one frame of that many octets."""
        if size >= JOINED_FROM:
            self._sink = BytesIO()

    def add(self, octets: Buffer) -> None:
        if self._sink is not None:
            self._sink.write(octets)
            return
        # What came as octets of its own is kept as it is; a view would keep all of its read.
        self._pieces.append(bytes(octets))
        if len(self._pieces) >= JOINED_PIECES:
            self._joined.append(b"".join(self._pieces))
            self._pieces.clear()

    def finish(self) -> bytes:
        if self._sink is not None:
            # Its own buffer, not a copy.
            return self._sink.getvalue()
        return b"".join(self._joined + self._pieces)


class _Utf8:
    """Decodes UTF-8 in pieces that may cut a character."""

    __slots__ = ("_cut",)

    def __init__(self) -> None:
        self._cut = b""

    def decode(self, octets: Buffer) -> str:
        if self._cut:
            octets = self._cut + octets
        try:
            # Not final: an incomplete character at the end waits, a wrong one fails at once.
            text, used = utf_8_decode(octets, "strict", False)
        except UnicodeDecodeError as error:
            raise not_text(error) from error
        self._cut = bytes(octets[used:])
        return text

    def finish(self) -> None:
        if self._cut:
            raise WebSocketError(WSCloseCode.INVALID_TEXT, "text ends within a character of UTF-8")


class TextGatherer:
    """Text as str."""

    __slots__ = ("_pieces", "_text", "_utf8")

    def __init__(self) -> None:
        self._utf8 = _Utf8()
        self._text = StringIO()
        # StringIO keeps up to 100000 pieces apart, and a short one takes many times its length.
        self._pieces: list[str] = []

    def add(self, octets: Buffer) -> None:
        self._pieces.append(self._utf8.decode(octets))
        if len(self._pieces) >= JOINED_PIECES:
            self._join()

    def _join(self) -> None:
        self._text.write("".join(self._pieces))
        self._pieces.clear()

    def finish(self) -> str:
        self._utf8.finish()
        self._join()
        return self._text.getvalue()


class CheckedGatherer(BinaryGatherer):
    """Text as the octets that came, checked all the same."""

    __slots__ = ("_utf8",)

    def __init__(self) -> None:
        super().__init__()
        self._utf8 = _Utf8()

    def add(self, octets: Buffer) -> None:
        self._utf8.decode(octets)
        super().add(octets)

    def finish(self) -> bytes:
        self._utf8.finish()
        return super().finish()


class InflatingGatherer:
    """Inflates what it is given, `limit` octets at most, and hands it on."""

    __slots__ = ("_gatherer", "_inflater", "_limit")

    def __init__(self, inflater: MessageInflater, gatherer: Gatherer, limit: int) -> None:
        self._inflater = inflater
        self._gatherer = gatherer
        self._limit = limit

    def _hand_on(self, content: bytes) -> None:
        self._limit -= len(content)
        self._gatherer.add(content)

    def add(self, octets: Buffer) -> None:
        self._hand_on(self._inflater.inflate(octets, self._limit))

    def finish(self) -> str | bytes:
        self._hand_on(self._inflater.finish(self._limit))
        return self._gatherer.finish()
