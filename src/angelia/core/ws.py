"""A WebSocket connection: messages, control frames, the closing handshake (RFC 6455), without I/O.

Owns: which frame may follow which in either direction, the limits on messages, answers to Ping and
Close, what fails the connection. Frames are `ws_frames`', content is gathered by `ws_messages` and
inflated by `deflate`. The opening handshake is `ws_handshake`'s and over when this begins. Knows
nothing of sockets, time or randomness: masking keys are made of what it is given.

The closing handshake; FAILED says that it was not completed::

    OPEN --send_close--> CLOSE_SENT ------Close received--> CLOSED
    OPEN --Close received--> CLOSE_RECEIVED --send_close--> CLOSED
    OPEN, CLOSE_SENT: a broken rule or the end of the connection leads to FAILED
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

from angelia.core.deflate import MIN_DEFLATE_WINDOW_BITS, MessageDeflater, MessageInflater
from angelia.core.interface import Buffer, Role
from angelia.core.speedups import mask, scan_frame, scan_messages, serialize_frame
from angelia.core.ws_extensions import PerMessageDeflate
from angelia.core.ws_frames import (
    FIN,
    MAX_CONTROL_SIZE,
    MAX_REASON_SIZE,
    OPCODES,
    RSV1,
    FrameHead,
    Opcode,
    WSCloseCode,
    parse_close,
    parse_frame_head,
    serialize_close,
    serialize_frame_head,
)
from angelia.core.ws_messages import (
    BinaryGatherer,
    CheckedGatherer,
    Gatherer,
    InflatingGatherer,
    TextGatherer,
    WSMessage,
    WSMsgType,
    decode_text,
)
from angelia.errors import LocalProtocolError, WebSocketError

__all__ = (
    "DEFAULT_MAX_MSG_SIZE",
    "MAX_PENDING_PONGS",
    "WHOLE_BINARY",
    "WHOLE_TEXT",
    "WSConnection",
    "WSState",
    "as_octets",
)

DEFAULT_MAX_MSG_SIZE: Final = 4 * 1024 * 1024  # the documented default of `max_msg_size`

# RFC 6455 §5.5.3: with several Pings unanswered, only the latest needs a Pong. We answer each until
# so many wait for the socket: a peer that sends Pings and reads nothing must not fill our memory.
MAX_PENDING_PONGS: Final = 64

# Deflate makes what it cannot compress longer by a few octets in thousands. A message whose frames
# announce more than twice the limit can only inflate to more, or is made to waste our time.
COMPRESSED_RATIO: Final = 2
COMPRESSED_EXTRA: Final = 4096

# A few octets of compressed messages can stand for thousands of times as many, each message within
# its limit. After so many octets in one call the rest waits until the reader has room again.
INFLATE_BUDGET: Final = 1024 * 1024

# From this size on a frame that is not masked goes out as its head and the caller's own octets.
UNCOPIED_SIZE: Final = 16 * 1024

# So many masking keys are made of random octets at once: a system call for each frame costs more
# than the rest of the frame. As unpredictable as one by one (RFC 6455 §5.3, §10.3).
KEYS_AT_A_TIME: Final = 32


class WSState(enum.Enum):
    """How far the closing handshake has come (RFC 6455 §7.1)."""

    OPEN = "open"
    CLOSE_SENT = "close sent"
    CLOSE_RECEIVED = "close received"
    CLOSED = "closed"
    FAILED = "failed"


class _Action(enum.Enum):
    SEND = "send a message"
    SEND_CLOSE = "send a Close frame"
    RECEIVE_CLOSE = "receive a Close frame"
    FAIL = "fail"


_OPEN: Final = WSState.OPEN

# A pair that is missing is what the protocol, or the caller's own order of things, forbids.
_TRANSITIONS: Final = {
    (WSState.OPEN, _Action.SEND): WSState.OPEN,
    (WSState.OPEN, _Action.SEND_CLOSE): WSState.CLOSE_SENT,
    (WSState.OPEN, _Action.RECEIVE_CLOSE): WSState.CLOSE_RECEIVED,
    (WSState.OPEN, _Action.FAIL): WSState.FAILED,
    (WSState.CLOSE_SENT, _Action.RECEIVE_CLOSE): WSState.CLOSED,
    (WSState.CLOSE_SENT, _Action.FAIL): WSState.FAILED,
    # RFC 6455 §5.5.1: the answer to a Close may wait until the current message is sent.
    (WSState.CLOSE_RECEIVED, _Action.SEND): WSState.CLOSE_RECEIVED,
    (WSState.CLOSE_RECEIVED, _Action.SEND_CLOSE): WSState.CLOSED,
}

_RECEIVING: Final = (WSState.OPEN, WSState.CLOSE_SENT)

# The first octets of messages in one frame.
WHOLE_TEXT: Final = FIN | Opcode.TEXT
WHOLE_BINARY: Final = FIN | Opcode.BINARY
_PONG: Final = FIN | Opcode.PONG
_CLOSE: Final = FIN | Opcode.CLOSE

_TEXT: Final = WSMsgType.TEXT
_BINARY: Final = WSMsgType.BINARY

# A named tuple's own constructor takes three times as long.
_message: Final = partial(tuple.__new__, WSMessage)


class _Incoming:
    """A data message that was begun and is not complete."""

    __slots__ = ("compressed", "gatherer", "limit", "size", "type")

    def __init__(self, kind: WSMsgType, gatherer: Gatherer, limit: int, compressed: bool) -> None:
        self.type = kind
        self.gatherer = gatherer
        # In octets as they are on the wire, announced by the heads of frames.
        self.limit = limit
        self.size = 0
        self.compressed = compressed


class _Partial:
    """A frame of a data message whose content came in part."""

    __slots__ = ("fin", "incoming", "key", "remaining")

    def __init__(self, incoming: _Incoming, head: FrameHead) -> None:
        self.incoming = incoming
        self.remaining = head.length
        self.fin = head.fin
        # Turned to what comes next.
        self.key = head.key

    def take(self, data: bytes, position: int) -> int:
        """Take the content at ``data[position:]``; returns where it ends."""
        size = len(data)
        end = min(position + self.remaining, size)
        # Not a copy of what is copied once more when it is gathered.
        octets: Buffer = data if position == 0 and end == size else memoryview(data)[position:end]
        taken = end - position
        key = self.key
        if key is not None:
            octets = mask(octets, key)
            turn = taken % 4
            self.key = key[turn:] + key[:turn]
        self.remaining -= taken
        self.incoming.gatherer.add(octets)
        return end


class WSConnection:
    """One side of a WebSocket connection after the opening handshake.

    ::

        ws = WSConnection(Role.CLIENT, random_bytes=os.urandom)
        ws.send_text("hello")
        transport.writelines(ws.data_to_send())
        for message in ws.receive_data(data):
            ...
        transport.writelines(ws.data_to_send())  # answers to Ping and Close

    `random_bytes` returns so many octets that nobody can predict. `max_msg_size` bounds a message,
    in octets and inflated; 0 is no bound. `deflate` is what both sides agreed on, and `level`
    zlib's own. With `decode_text` text is str, else bytes. With `autoping` a Ping is answered and
    not reported; with `autoclose` a Close is answered, and reported.

    Whoever writes `data_to_send` to a socket takes it only while the socket keeps up: until then
    Pongs are few (MAX_PENDING_PONGS).
    """

    __slots__ = (
        "_autoclose",
        "_autoping",
        "_carry",
        "_decode_text",
        "_fragment_deflater",
        "_fragmented",
        "_incoming",
        "_inflated",
        "_inflater",
        "_keys",
        "_kinds",
        "_latest_ping",
        "_masks",
        "_outbox",
        "_partial",
        "_pongs",
        "_random_bytes",
        "_unmasks",
        "close_code",
        "close_reason",
        "deflate",
        "deflater",
        "max_msg_size",
        "pending",
        "plain",
        "role",
        "state",
    )

    def __init__(
        self,
        role: Role,
        *,
        random_bytes: Callable[[int], bytes],
        max_msg_size: int = DEFAULT_MAX_MSG_SIZE,
        deflate: PerMessageDeflate | None = None,
        level: int | None = None,
        decode_text: bool = True,
        autoping: bool = True,
        autoclose: bool = True,
    ) -> None:
        self.role = role
        self.max_msg_size = max_msg_size or sys.maxsize
        self.deflate = deflate
        self.state = _OPEN
        self.close_code: int | None = None
        """The code of the peer's Close frame, or of the failure, whichever came first."""
        self.close_reason = ""
        self.pending = False
        """Whether received data waits for another call of `receive_data`."""
        self.plain = False
        """Whether the last `receive_data` found text and binary at most, and we have not closed.

        Nothing else is to do then.
        """
        self._masks = role is Role.CLIENT
        self._unmasks = role is Role.SERVER
        self._random_bytes = random_bytes
        self._keys: list[bytes] = []
        self._decode_text = decode_text
        # See `scan_messages`.
        self._kinds = (WSMessage, _TEXT if decode_text else None, _BINARY)
        self._autoping = autoping
        self._autoclose = autoclose
        # Octets that are no whole head, or no whole control frame, yet.
        self._carry = b""
        self._partial: _Partial | None = None
        self._incoming: _Incoming | None = None
        # Octets of compressed messages that the current call has made.
        self._inflated = 0
        self._inflater: MessageInflater | None = None
        self.deflater: MessageDeflater | None = None
        """The one compressor of this side, or None where nothing is to be compressed."""
        if deflate is not None:
            self._begin_deflate(deflate, level)
        # While a message is sent in fragments; and with what its rest is compressed, if it is.
        self._fragmented = False
        self._fragment_deflater: MessageDeflater | None = None
        self._outbox: list[Buffer] = []
        self._pongs = 0
        self._latest_ping: bytes | None = None

    def _begin_deflate(self, deflate: PerMessageDeflate, level: int | None) -> None:
        ours, theirs = deflate.sides(self.role)
        self._inflater = MessageInflater(theirs.window_bits, takeover=theirs.takeover)
        # A window too small for zlib: our messages go out uncompressed, which RFC 7692 §6 allows.
        if ours.window_bits >= MIN_DEFLATE_WINDOW_BITS:
            self.deflater = MessageDeflater(ours.window_bits, takeover=ours.takeover, level=level)

    def __repr__(self) -> str:
        code = "" if self.close_code is None else f" {self.close_code}"
        return f"<{type(self).__name__} {self.role.value} {self.state.value}{code}>"

    # --- questions -----------------------------------------------------------------------------

    @property
    def has_output(self) -> bool:
        """Whether `data_to_send` has something."""
        return bool(self._outbox) or self._latest_ping is not None

    @property
    def receiving(self) -> bool:
        """Whether the peer may still send: no Close frame came, and nothing failed."""
        return self.state in _RECEIVING

    # --- receiving -----------------------------------------------------------------------------

    def receive_data(self, data: bytes) -> list[WSMessage]:
        """What the peer sent. Never raises for that: the last message may be an ERROR.

        After an ERROR or a CLOSE whatever comes is discarded. Where compressed messages make much
        of little, some of them are left for later: while `pending`, read no more from the socket,
        and call again with no data when there is room.
        """
        messages: list[WSMessage] = []
        position = 0
        if self.state is _OPEN and self._incoming is None and not self._carry:
            # Whole data frames and nothing else: so are most reads.
            position = scan_messages(
                data, 0, self._unmasks, self.max_msg_size, self._kinds, messages
            )
            if position == len(data):
                self.plain = True
                return messages
        self.plain = self.state is _OPEN
        if self.state not in _RECEIVING:
            return messages
        try:
            self._receive(data, position, messages)
        except WebSocketError as error:
            self._fail(error, messages)
        return messages

    def receive_eof(self) -> list[WSMessage]:
        """The peer will send no more; an ERROR with code 1006 where a Close frame is missing.

        Not to be called while data is `pending`.
        """
        messages: list[WSMessage] = []
        if self.state in _RECEIVING:
            # RFC 6455 §7.1.5.
            code = WSCloseCode.ABNORMAL_CLOSURE
            error = WebSocketError(code, "connection ended without a Close frame")
            self._fail(error, messages)
        return messages

    def _receive(self, data: bytes, position: int, messages: list[WSMessage]) -> None:
        if self._carry:
            data = self._carry + data
            self._carry = b""
        masked = self._unmasks
        limit = self.max_msg_size
        self._inflated = 0
        size = len(data)
        while position < size and self._inflated <= INFLATE_BUDGET:
            if self._partial is not None:
                position = self._receive_content(self._partial, data, position, messages)
                continue
            scanned = scan_frame(data, position, masked, limit)
            if scanned is None:
                position = self._receive_head(data, position)
                continue
            position, first, content = scanned
            self._receive_frame(first, content, messages)
            if self.state not in _RECEIVING:
                return
            if self._inflated == 0 and self._incoming is None:
                position = scan_messages(data, position, masked, limit, self._kinds, messages)
        if position < size:
            self._carry = data[position:]
            self.pending = True
            self.plain = False
        else:
            self.pending = False

    def _receive_frame(self, first: int, content: bytes, messages: list[WSMessage]) -> None:
        """A whole frame."""
        opcode = OPCODES[first & 0x0F]
        rsv1 = first & RSV1 != 0
        if rsv1 and (self._inflater is None or opcode is Opcode.CONTINUATION):
            self._check_rsv1(opcode)
        if opcode & 0x08:
            self._receive_control(opcode, content, messages)
            return
        fin = first & FIN != 0
        if fin and self._incoming is None and opcode is not Opcode.CONTINUATION:
            messages.append(self._whole_message(opcode, rsv1, content))
            return
        incoming = self._begin_frame(opcode, rsv1, len(content))
        incoming.gatherer.add(content)
        if fin:
            self._end_message(incoming, messages)

    def _whole_message(self, opcode: Opcode, rsv1: bool, content: bytes) -> WSMessage:
        """The message that one frame carries."""
        if rsv1 and self._inflater is not None:
            content = self._inflater.inflate_message(content, self.max_msg_size)
            self._inflated += len(content)
        if opcode is Opcode.BINARY:
            return _message((WSMsgType.BINARY, content, ""))
        text = decode_text(content)
        return _message((WSMsgType.TEXT, text if self._decode_text else content, ""))

    def _receive_head(self, data: bytes, position: int) -> int:
        """A frame that is not complete, too long, or wrong. Returns where to go on."""
        head = parse_frame_head(data, position, masked=self._unmasks)
        if head is not None and head.rsv1:
            self._check_rsv1(head.opcode)
        if head is None or head.opcode & 0x08:
            # Short enough to wait for the whole.
            self._carry = data[position:]
            return len(data)
        alone = head.fin and self._incoming is None
        incoming = self._begin_frame(head.opcode, head.rsv1, head.length)
        if alone and type(incoming.gatherer) is BinaryGatherer:
            incoming.gatherer.expect(head.length)
        self._partial = _Partial(incoming, head)
        return head.end

    def _receive_content(
        self, partial: _Partial, data: bytes, position: int, messages: list[WSMessage]
    ) -> int:
        """More of a frame that came in part. Returns where to go on."""
        end = partial.take(data, position)
        if not partial.remaining:
            self._partial = None
            if partial.fin:
                self._end_message(partial.incoming, messages)
        return end

    def _check_rsv1(self, opcode: Opcode) -> None:
        # RFC 7692 §6: RSV1 marks the first frame of a compressed message. On a control frame it has
        # no meaning; with the extension in use some peers set it there, which harms nobody.
        if self._inflater is None:
            raise _wrong("RSV1 is set, and no extension gives it a meaning")
        if opcode is Opcode.CONTINUATION:
            raise _wrong("RSV1 is set in a continuation frame")

    def _begin_frame(self, opcode: Opcode, rsv1: bool, length: int) -> _Incoming:
        """A frame of a data message, with its content still to come."""
        incoming = self._incoming
        # RFC 6455 §5.4: the fragments of one message are not mixed with those of another.
        if opcode is Opcode.CONTINUATION:
            if incoming is None:
                raise _wrong("continuation frame without a message to continue")
        elif incoming is not None:
            raise _wrong(f"{opcode.name} frame within a fragmented message")
        else:
            incoming = self._incoming = self._begin_message(opcode, rsv1)
        # Announced is enough: nothing of a message that is too big has to be kept first.
        incoming.size += length
        if incoming.size > incoming.limit:
            raise WebSocketError(
                WSCloseCode.MESSAGE_TOO_BIG,
                f"message of {incoming.size} bytes or more, the limit is {self.max_msg_size}",
            )
        return incoming

    def _begin_message(self, opcode: Opcode, rsv1: bool) -> _Incoming:
        gatherer: Gatherer
        if opcode is Opcode.BINARY:
            kind = WSMsgType.BINARY
            gatherer = BinaryGatherer()
        else:
            kind = WSMsgType.TEXT
            gatherer = TextGatherer() if self._decode_text else CheckedGatherer()
        limit = self.max_msg_size
        if not rsv1 or self._inflater is None:
            return _Incoming(kind, gatherer, limit, False)
        gatherer = InflatingGatherer(self._inflater, gatherer, limit)
        return _Incoming(kind, gatherer, COMPRESSED_RATIO * limit + COMPRESSED_EXTRA, True)

    def _end_message(self, incoming: _Incoming, messages: list[WSMessage]) -> None:
        content = incoming.gatherer.finish()
        self._incoming = None
        if incoming.compressed:
            self._inflated += len(content)
        messages.append(_message((incoming.type, content, "")))

    # --- control frames ------------------------------------------------------------------------

    def _receive_control(self, opcode: Opcode, content: bytes, messages: list[WSMessage]) -> None:
        self.plain = False
        if opcode is Opcode.PONG:
            messages.append(_message((WSMsgType.PONG, content, "")))
        elif opcode is Opcode.CLOSE:
            self._receive_close(content, messages)
        elif not self._autoping:
            messages.append(_message((WSMsgType.PING, content, "")))
        elif self.state is _OPEN:
            self._answer_ping(content)

    def _answer_ping(self, content: bytes) -> None:
        # RFC 6455 §5.5.2: unless a Close was received (or, as we do it, sent) already.
        if self._pongs < MAX_PENDING_PONGS:
            self._pongs += 1
            self._put(_PONG, content)
        else:
            self._latest_ping = content

    def _receive_close(self, content: bytes, messages: list[WSMessage]) -> None:
        code, reason = parse_close(content)
        self._step(_Action.RECEIVE_CLOSE)
        self._discard()
        self.close_code = code
        self.close_reason = reason
        messages.append(_message((WSMsgType.CLOSE, code, reason)))
        if self._autoclose and self.state is WSState.CLOSE_RECEIVED:
            # §5.5.1: an answer typically echoes the code.
            self.send_close(code)

    def _fail(self, error: WebSocketError, messages: list[WSMessage]) -> None:
        """RFC 6455 §7.1.7: say why if that can be said, and take notice of nothing more."""
        speaks = self.state is _OPEN and error.code != WSCloseCode.ABNORMAL_CLOSURE
        self._step(_Action.FAIL)
        self.plain = False
        self._discard()
        self.close_code = error.code
        self.close_reason = error.message
        if speaks:
            reason = error.message.encode("ascii", "replace")[:MAX_REASON_SIZE]
            self._put_close(serialize_close(error.code, reason))
        messages.append(_message((WSMsgType.ERROR, error, "")))

    def _discard(self) -> None:
        """Nothing of what the peer began will be completed."""
        self._carry = b""
        self._partial = None
        self._incoming = None
        self._inflater = None
        self.pending = False

    def _step(self, action: _Action) -> None:
        state = _TRANSITIONS.get((self.state, action))
        if state is None:
            raise LocalProtocolError(f"cannot {action.value} on {self!r}")
        self.state = state

    # --- sending -------------------------------------------------------------------------------

    def frame_message(
        self, first: int, data: str | Buffer, compress: int | None = None
    ) -> Buffer | None:
        """The frame of a message that `first`, WHOLE_TEXT or WHOLE_BINARY, begins.

        It has to be written at once. None, and nothing has happened, where it is not one frame that
        comes next: then `send_text` and `send_binary` know what to do. Else as they.
        """
        if self._outbox or self.state is not _OPEN or self._fragmented:
            return None
        if self.deflater is not None and (compress is None or compress):
            data = self.deflater.deflate(as_octets(data))
            first |= RSV1
        elif not self._masks and type(data) is bytes and len(data) >= UNCOPIED_SIZE:
            return None
        if self._masks:
            keys = self._keys
            return serialize_frame(first, data, keys.pop() if keys else self._draw_keys())
        return serialize_frame(first, data, None)

    def send_text(self, text: str | Buffer, compress: int | None = None) -> None:
        """Send a text message; octets are taken for UTF-8, unchecked.

        A false `compress` sends it as it is where compression was agreed on; where it was not,
        `compress` has no effect. LocalProtocolError after a Close was sent or the connection
        failed, and within a fragmented message. UnicodeEncodeError for text with lone surrogates.
        """
        self.send_message(WHOLE_TEXT, text, compress)

    def send_binary(self, data: Buffer, compress: int | None = None) -> None:
        """Send a binary message; otherwise as `send_text`."""
        self.send_message(WHOLE_BINARY, data, compress)

    def send_message(self, first: int, data: str | Buffer, compress: int | None = None) -> None:
        """As `send_text` for WHOLE_TEXT, as `send_binary` for WHOLE_BINARY."""
        if self.state is not _OPEN:
            self._step(_Action.SEND)
        if self._fragmented:
            raise LocalProtocolError("no message can begin within a fragmented one")
        if self.deflater is not None and (compress is None or compress):
            data = self.deflater.deflate(as_octets(data))
            first |= RSV1
        self._put(first, data)

    def send_deflated(self, opcode: Opcode, data: bytes) -> None:
        """Send a message that `deflater` has deflated elsewhere, in the order in which it did so.

        What was deflated has to be sent, or the deflater reset: the peer could not follow.
        """
        if opcode not in (Opcode.TEXT, Opcode.BINARY) or self.deflater is None:
            raise LocalProtocolError(f"{opcode.name} cannot be sent deflated on {self!r}")
        self.send_message(FIN | RSV1 | opcode, data, False)

    def send_frame(
        self, opcode: Opcode, data: str | Buffer, *, fin: bool = True, compress: bool | None = None
    ) -> None:
        """Send one frame. Without `fin` it begins or continues a fragmented message.

        A message goes on with CONTINUATION frames, the last of which has `fin`; its first frame
        decides whether it is compressed. A control frame may come in between; a CLOSE takes its
        whole body for `data`. LocalProtocolError for a frame that cannot follow.
        """
        match opcode:
            case Opcode.PING | Opcode.PONG | Opcode.CLOSE:
                if not fin:
                    raise LocalProtocolError("control frames cannot be fragmented")
                self._send_control(opcode, as_octets(data))
            case Opcode.CONTINUATION:
                self._send_continuation(data, fin=fin)
            case _ if fin:
                self.send_message(FIN | opcode, data, compress)
            case _:
                self._send_beginning(opcode, data, compress)

    def _send_beginning(self, opcode: Opcode, data: str | Buffer, compress: bool | None) -> None:
        self._step(_Action.SEND)
        if self._fragmented:
            raise LocalProtocolError("no message can begin within a fragmented one")
        deflater = self.deflater if compress is None or compress else None
        if deflater is None:
            self._put(opcode, data)
        else:
            self._put(opcode | RSV1, deflater.deflate(as_octets(data), fin=False))
        self._fragmented = True
        self._fragment_deflater = deflater

    def _send_continuation(self, data: str | Buffer, *, fin: bool) -> None:
        self._step(_Action.SEND)
        if not self._fragmented:
            raise LocalProtocolError("no message was begun that could be continued")
        if self._fragment_deflater is not None:
            data = self._fragment_deflater.deflate(as_octets(data), fin=fin)
        self._put(FIN if fin else 0, data)
        self._fragmented = not fin

    def _send_control(self, opcode: Opcode, body: bytes) -> None:
        if opcode is Opcode.CLOSE:
            try:
                code, reason = parse_close(body)
            except WebSocketError as error:
                raise LocalProtocolError(str(error)) from error
            self.send_close(code, reason)
            return
        if len(body) > MAX_CONTROL_SIZE:
            raise LocalProtocolError(
                f"{opcode.name} frame of {len(body)} bytes, more than {MAX_CONTROL_SIZE}"
            )
        self._step(_Action.SEND)
        self._put(FIN | opcode, body)

    def send_ping(self, data: str | Buffer = b"") -> None:
        """Send a Ping of MAX_CONTROL_SIZE octets at most; errors as of `send_text`."""
        self._send_control(Opcode.PING, as_octets(data))

    def send_pong(self, data: str | Buffer = b"") -> None:
        """Send a Pong that nobody may have asked for (RFC 6455 §5.5.3); else as `send_ping`."""
        self._send_control(Opcode.PONG, as_octets(data))

    def send_close(self, code: int = WSCloseCode.OK, reason: str | bytes = "") -> None:
        """Begin the closing handshake, or answer the peer's Close; NO_STATUS sends no code.

        LocalProtocolError where a Close was sent or the connection failed, and for a code or a
        reason that may not be sent: see `serialize_close`.
        """
        body = serialize_close(code, reason)
        self._step(_Action.SEND_CLOSE)
        self._put_close(body)

    def data_to_send(self) -> list[Buffer]:
        """Take what is to be written to the socket, in order."""
        if self._latest_ping is not None:
            self._put_latest_pong()
        outbox = self._outbox
        self._outbox = []
        self._pongs = 0
        return outbox

    def _put_latest_pong(self) -> None:
        content, self._latest_ping = self._latest_ping, None
        if content is not None:
            self._put(_PONG, content)

    def _put_close(self, body: bytes) -> None:
        # No frame follows a Close (RFC 6455 §5.5.1), so what is left goes first.
        self._put_latest_pong()
        self._put(_CLOSE, body)

    def _put(self, first: int, content: str | Buffer) -> None:
        if self._masks:
            key = self._keys.pop() if self._keys else self._draw_keys()
            self._outbox.append(serialize_frame(first, content, key))
        elif type(content) is bytes and len(content) >= UNCOPIED_SIZE:
            self._outbox.append(serialize_frame_head(first, len(content)))
            self._outbox.append(content)
        else:
            self._outbox.append(serialize_frame(first, content, None))

    def _draw_keys(self) -> bytes:
        """Make more masking keys, and take one."""
        octets = self._random_bytes(4 * KEYS_AT_A_TIME)
        self._keys += [octets[at : at + 4] for at in range(0, len(octets), 4)]
        return self._keys.pop()


def as_octets(data: str | Buffer) -> bytes:
    """What a message or a frame says, as it goes out; TypeError for what it cannot say."""
    if type(data) is bytes:
        return data
    # A memoryview, because bytes() makes zeros of a number.
    return data.encode() if isinstance(data, str) else bytes(memoryview(data))


def _wrong(message: str) -> WebSocketError:
    return WebSocketError(WSCloseCode.PROTOCOL_ERROR, message)
