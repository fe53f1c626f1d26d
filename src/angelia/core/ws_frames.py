"""WebSocket frames and close codes, to and from octets (RFC 6455 §5, §7.4).

Owns: the layout of a frame and what makes one invalid in itself; the body of a Close frame. What a
frame means after another one is for `ws`. The usual frame takes the shorter way of `scan_frame`;
`parse_frame_head` is for those that are incomplete or wrong, and says which.
"""

from __future__ import annotations

import enum
from struct import Struct
from typing import Final, NamedTuple

from angelia.core.interface import Buffer
from angelia.core.speedups import mask, serialize_frame
from angelia.errors import LocalProtocolError, WebSocketError

__all__ = (
    "FIN",
    "MAX_CONTROL_SIZE",
    "MAX_REASON_SIZE",
    "NO_STATUS",
    "OPCODES",
    "RSV1",
    "Frame",
    "FrameHead",
    "Opcode",
    "WSCloseCode",
    "mask",
    "parse_close",
    "parse_frame",
    "parse_frame_head",
    "serialize_close",
    "serialize_frame",
    "serialize_frame_head",
)

FIN: Final = 0x80
RSV1: Final = 0x40

# RFC 6455 §5.5.
MAX_CONTROL_SIZE: Final = 125
# What a Close frame has room for beside its code, in octets.
MAX_REASON_SIZE: Final = MAX_CONTROL_SIZE - 2


class Opcode(enum.IntEnum):
    """What a frame carries (RFC 6455 §11.8)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class WSCloseCode(enum.IntEnum):
    """Why a WebSocket connection ended (RFC 6455 §7.4.1 and the registry that it founded)."""

    OK = 1000
    """The purpose of the connection is fulfilled."""
    GOING_AWAY = 1001
    """A server goes down, or a browser leaves the page."""
    PROTOCOL_ERROR = 1002
    """The peer broke the protocol."""
    UNSUPPORTED_DATA = 1003
    """A type of message that cannot be dealt with, such as binary where only text is known."""
    ABNORMAL_CLOSURE = 1006
    """The connection ended without a Close frame. Never sent."""
    INVALID_TEXT = 1007
    """A message does not fit its type: text that is no UTF-8."""
    POLICY_VIOLATION = 1008
    """A message breaks a policy, and nothing more is said."""
    MESSAGE_TOO_BIG = 1009
    """A message is too big to be processed."""
    MANDATORY_EXTENSION = 1010
    """The client wanted an extension that the server did not agree to."""
    INTERNAL_ERROR = 1011
    """The server met something that it did not expect."""
    SERVICE_RESTART = 1012
    """The service restarts; a client may come back."""
    TRY_AGAIN_LATER = 1013
    """The service is overloaded."""
    BAD_GATEWAY = 1014
    """A gateway got an invalid answer from the server behind it."""


# RFC 6455 §7.1.5: what a Close frame without a body stands for. Never on the wire.
NO_STATUS: Final = 1005

# RFC 6455 §7.4.1: 1004 is reserved, 1005, 1006 and 1015 are never sent.
_REGISTERED: Final = frozenset(WSCloseCode) - {WSCloseCode.ABNORMAL_CLOSURE}
# §7.4.2: of libraries and frameworks, and of applications.
_PRIVATE: Final = range(3000, 5000)

# By number: a look-up takes a tenth of the enum's own.
OPCODES: Final = {opcode.value: opcode for opcode in Opcode}
_UINT16: Final = Struct("!H")
_UINT64: Final = Struct("!Q")


class FrameHead(NamedTuple):
    """All of a frame but its content."""

    opcode: Opcode
    length: int
    """Of the content, in octets."""
    fin: bool
    rsv1: bool
    key: bytes | None
    """The masking key."""
    end: int
    """Where in the data the content begins."""


class Frame(NamedTuple):
    """A whole frame, unmasked."""

    opcode: Opcode
    content: bytes
    fin: bool = True
    rsv1: bool = False

    def serialize(self, key: bytes | None) -> bytes:
        """The frame on the wire, masked if there is a key."""
        first = self.opcode | (FIN if self.fin else 0) | (RSV1 if self.rsv1 else 0)
        return serialize_frame(first, self.content, key)


def _wrong(message: str) -> WebSocketError:
    return WebSocketError(WSCloseCode.PROTOCOL_ERROR, message)


def parse_frame_head(data: Buffer, start: int, *, masked: bool) -> FrameHead | None:
    """The head of the frame at ``data[start:]``, or None where that is not complete.

    WebSocketError as soon as it is certain that the frame is invalid.
    """
    size = len(data)
    if start >= size:
        return None
    opcode = _parse_first(data[start])
    if start + 1 >= size:
        return None
    second = data[start + 1]
    # RFC 6455 §5.1: a client masks all that it sends, a server nothing.
    if (second >= 0x80) is not masked:
        raise _wrong("frame of a client is not masked" if masked else "frame of a server is masked")
    length = second & 0x7F
    if opcode & 0x08:
        # §5.5: control frames are short and whole.
        if not data[start] & FIN:
            raise _wrong(f"{opcode.name} frame is fragmented")
        if length > MAX_CONTROL_SIZE:
            raise _wrong(f"{opcode.name} frame is longer than {MAX_CONTROL_SIZE} bytes")
    position = start + 2
    if length >= 126:
        width = 2 if length == 126 else 8
        if size - position < width:
            return None
        length = _parse_length(data, position, width)
        position += width
    key = None
    if masked:
        if size - position < 4:
            return None
        key = bytes(data[position : position + 4])
        position += 4
    first = data[start]
    return FrameHead(opcode, length, bool(first & FIN), bool(first & RSV1), key, position)


def _parse_first(first: int) -> Opcode:
    # §5.2: no extension that we know gives RSV2 and RSV3 a meaning. RSV1 depends on what was
    # negotiated, so that is the caller's.
    if first & 0x30:
        raise _wrong(f"reserved bits are set in a frame: {first:#04x}")
    opcode = OPCODES.get(first & 0x0F)
    if opcode is None:
        raise _wrong(f"unknown opcode {first & 0x0F:#x}")
    return opcode


def _parse_length(data: Buffer, position: int, width: int) -> int:
    # §5.2: the shortest form MUST be used, and the most significant bit MUST be 0.
    length: int
    if width == 2:
        length = _UINT16.unpack_from(data, position)[0]
        if length < 126:
            raise _wrong(f"length {length} in a form for longer ones")
    else:
        length = _UINT64.unpack_from(data, position)[0]
        if length < 1 << 16:
            raise _wrong(f"length {length} in a form for longer ones")
        if length >= 1 << 63:
            raise _wrong("length of a frame is 2**63 or more")
    return length


def serialize_frame_head(first: int, length: int) -> bytes:
    """The head of a frame that is not masked; the twin of `parse_frame_head`."""
    if length < 126:
        return bytes((first, length))
    if length < 1 << 16:
        return bytes((first, 126)) + _UINT16.pack(length)
    return bytes((first, 127)) + _UINT64.pack(length)


def parse_frame(data: bytes, start: int = 0, *, masked: bool) -> tuple[Frame, int] | None:
    """The whole frame at ``data[start:]`` and where it ends; None where it is not complete.

    WebSocketError as `parse_frame_head`. There is no limit on its size but that of `data`.
    """
    head = parse_frame_head(data, start, masked=masked)
    if head is None or len(data) - head.end < head.length:
        return None
    end = head.end + head.length
    content = data[head.end : end]
    if head.key is not None:
        content = mask(content, head.key)
    return Frame(head.opcode, content, head.fin, head.rsv1), end


# --- the body of a Close frame -----------------------------------------------------------------


def parse_close(body: bytes) -> tuple[int, str]:
    """The code and the reason of a Close frame; NO_STATUS where its body is empty."""
    if not body:
        return NO_STATUS, ""
    # RFC 6455 §5.5.1: if there is a body, it begins with a code of two octets.
    if len(body) == 1:
        raise _wrong("body of a Close frame has one byte")
    code: int = _UINT16.unpack_from(body)[0]
    if code not in _REGISTERED and code not in _PRIVATE:
        raise _wrong(f"close code {code} may not be sent")
    try:
        return code, body[2:].decode()
    except UnicodeDecodeError as error:
        raise WebSocketError(
            WSCloseCode.INVALID_TEXT, f"close reason is not UTF-8: {error.reason}"
        ) from error


def serialize_close(code: int, reason: str | bytes = "") -> bytes:
    """The body of a Close frame; empty for NO_STATUS.

    LocalProtocolError for a code that may not be sent, a reason of more than MAX_REASON_SIZE octets
    or that is not UTF-8, and a reason without a code. TypeError for a reason of another type.
    """
    try:
        # A memoryview, because bytes() makes zeros of a number.
        octets = reason.encode() if isinstance(reason, str) else bytes(memoryview(reason))
        octets.decode()
    except UnicodeError as error:
        raise LocalProtocolError(f"close reason is not UTF-8: {error}") from error
    if code == NO_STATUS and not octets:
        return b""
    given: object = code
    # A float may equal a code, and is none.
    if not isinstance(given, int) or (code not in _REGISTERED and code not in _PRIVATE):
        raise LocalProtocolError(f"close code {code} may not be sent")
    if len(octets) > MAX_REASON_SIZE:
        raise LocalProtocolError(
            f"close reason has {len(octets)} bytes, more than {MAX_REASON_SIZE}"
        )
    return _UINT16.pack(code) + octets
