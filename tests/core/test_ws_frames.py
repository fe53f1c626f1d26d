"""Frames and close codes on the wire (RFC 6455 §5, §7.4), by both implementations of the leaves."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.core import pure, speedups
from angelia.core.ws_frames import (
    MAX_REASON_SIZE,
    NO_STATUS,
    Frame,
    FrameHead,
    Opcode,
    WSCloseCode,
    parse_close,
    parse_frame,
    parse_frame_head,
    serialize_close,
    serialize_frame_head,
)
from angelia.core.ws_messages import WSMessage, WSMsgType
from angelia.errors import LocalProtocolError, WebSocketError

MODULES: list[ModuleType] = [pure]
if speedups.IMPLEMENTATION == "c":
    MODULES.append(importlib.import_module("angelia.core._speedups"))

both = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__[13:])

KEY = bytes.fromhex("37fa213d")
NO_LIMIT = 2**62

# One table for both directions.
FRAMES = [
    # RFC 6455 §5.7.
    ("81 05 48 65 6c 6c 6f", Frame(Opcode.TEXT, b"Hello"), False),
    ("81 85 37 fa 21 3d 7f 9f 4d 51 58", Frame(Opcode.TEXT, b"Hello"), True),
    ("01 03 48 65 6c", Frame(Opcode.TEXT, b"Hel", fin=False), False),
    ("80 02 6c 6f", Frame(Opcode.CONTINUATION, b"lo"), False),
    ("89 05 48 65 6c 6c 6f", Frame(Opcode.PING, b"Hello"), False),
    ("8a 85 37 fa 21 3d 7f 9f 4d 51 58", Frame(Opcode.PONG, b"Hello"), True),
    ("82 7e 01 00" + " ab" * 256, Frame(Opcode.BINARY, b"\xab" * 256), False),
    (
        "82 7f 00 00 00 00 00 01 00 00" + " ab" * 65536,
        Frame(Opcode.BINARY, b"\xab" * 65536),
        False,
    ),
    ("88 00", Frame(Opcode.CLOSE, b""), False),
    ("c1 80 37 fa 21 3d", Frame(Opcode.TEXT, b"", rsv1=True), True),
    ("00 00", Frame(Opcode.CONTINUATION, b"", fin=False), False),
    ("82 7e ff ff" + " 00" * 65535, Frame(Opcode.BINARY, bytes(65535)), False),
    ("82 7d" + " 00" * 125, Frame(Opcode.BINARY, bytes(125)), False),
    ("82 7e 00 7e" + " 00" * 126, Frame(Opcode.BINARY, bytes(126)), False),
]

# What §5.2 and §5.5 forbid, whole.
INVALID = [
    ("83 00", False, "opcode"),
    ("87 00", False, "opcode"),
    ("8b 00", False, "opcode"),
    ("8f 00", False, "opcode"),
    ("91 00", False, "reserved"),
    ("a1 00", False, "reserved"),
    ("f1 00", False, "reserved"),
    ("a9 00", False, "reserved"),
    ("08 00", False, "fragmented"),
    ("09 00", False, "fragmented"),
    ("0a 00", False, "fragmented"),
    ("89 7e 00 7e" + " 00" * 126, False, "longer than 125"),
    ("88 7e 00 05" + " 00" * 5, False, "longer than 125"),
    ("8a 7f 00 00 00 00 00 01 00 00" + " 00" * 65536, False, "longer than 125"),
    ("82 7e 00 7d" + " 00" * 125, False, "form for longer"),
    ("82 7e 00 00", False, "form for longer"),
    ("82 7f 00 00 00 00 00 00 ff ff" + " 00" * 65535, False, "form for longer"),
    ("82 7f 00 00 00 00 00 00 00 01 00", False, "form for longer"),
    ("82 7f 80 00 00 00 00 00 00 00", False, "2\\*\\*63"),
    ("82 7f ff ff ff ff ff ff ff ff", False, "2\\*\\*63"),
    ("82 80 00 00 00 00", False, "server is masked"),
    ("82 00", True, "client is not masked"),
    ("89 00", True, "client is not masked"),
]


class TestBaseFraming:
    """RFC 6455 §5.2, §5.3, §5.7."""

    @both
    @pytest.mark.parametrize(("octets", "expected", "masked"), FRAMES)
    def test_scan(self, module: Any, octets: str, expected: Frame, masked: bool) -> None:
        """A whole frame is taken where it stands, and nothing of it while a octet is missing."""
        wire = bytes.fromhex(octets)
        content = expected.content
        assert module.scan_frame(wire, 0, masked, NO_LIMIT) == (len(wire), wire[0], content)
        shifted = b"\x81\x7f" + wire + b"\x81"
        assert module.scan_frame(shifted, 2, masked, NO_LIMIT) == (
            len(wire) + 2,
            wire[0],
            content,
        )
        for size in range(min(len(wire), 200)):
            assert module.scan_frame(wire[:size], 0, masked, NO_LIMIT) is None
        assert module.scan_frame(wire[:-1], 0, masked, NO_LIMIT) is None
        assert module.scan_frame(wire, 0, not masked, NO_LIMIT) is None

    @both
    @pytest.mark.parametrize(("octets", "expected", "masked"), FRAMES)
    def test_serialize(self, module: Any, octets: str, expected: Frame, masked: bool) -> None:
        """Serializing gives what was parsed, in the shortest form."""
        wire = bytes.fromhex(octets)
        key = KEY if masked else None
        for content in (
            expected.content,
            bytearray(expected.content),
            memoryview(expected.content),
        ):
            assert module.serialize_frame(wire[0], content, key) == wire
        assert expected.serialize(key) == wire
        if not masked:
            length = len(expected.content)
            assert serialize_frame_head(wire[0], length) + expected.content == wire

    @pytest.mark.parametrize(("octets", "expected", "masked"), FRAMES)
    def test_parse(self, octets: str, expected: Frame, masked: bool) -> None:
        """The parser that explains itself agrees with the fast one, at every cut."""
        wire = bytes.fromhex(octets)
        assert parse_frame(wire, masked=masked) == (expected, len(wire))
        assert parse_frame(b"x" + wire, 1, masked=masked) == (expected, len(wire) + 1)
        for size in range(min(len(wire), 200)):
            assert parse_frame(wire[:size], masked=masked) is None

    @both
    @pytest.mark.parametrize(("octets", "masked", "reason"), INVALID)
    def test_invalid(self, module: Any, octets: str, masked: bool, reason: str) -> None:
        """An invalid frame is left to the parser that says why, and fails with 1002."""
        wire = bytes.fromhex(octets)
        assert module.scan_frame(wire, 0, masked, NO_LIMIT) is None
        with pytest.raises(WebSocketError, match=reason) as caught:
            parse_frame_head(wire, 0, masked=masked)
        assert caught.value.code == WSCloseCode.PROTOCOL_ERROR
        # As soon as it is certain, and never before.
        seen = None
        for size in range(min(len(wire), 20)):
            try:
                assert parse_frame_head(wire[:size], 0, masked=masked) is None
            except WebSocketError as error:
                seen = str(error)
                break
        assert seen in (None, str(caught.value))

    def test_head(self) -> None:
        """The head alone says what is to come."""
        wire = bytes.fromhex("42 fe 01 00 37 fa 21 3d")
        assert parse_frame_head(wire, 0, masked=True) == FrameHead(
            Opcode.BINARY, 256, False, True, KEY, 8
        )
        for size in range(8):
            assert parse_frame_head(wire[:size], 0, masked=True) is None
        largest = bytes.fromhex("82 7f 7f ff ff ff ff ff ff ff")
        head = parse_frame_head(largest, 0, masked=False)
        assert head is not None
        assert head.length == 2**63 - 1

    @both
    def test_size(self, module: Any) -> None:
        """A frame of the largest size is taken, one octet more is the caller's."""
        wire = module.serialize_frame(0x82, bytes(1000), None)
        assert module.scan_frame(wire, 0, False, 1000) is not None
        assert module.scan_frame(wire, 0, False, 999) is None
        for octets in ("82 7f 7f ff ff ff ff ff ff ff", "82 7f ff ff ff ff ff ff ff ff"):
            huge = bytes.fromhex(octets) + bytes(9)
            assert module.scan_frame(huge, 0, False, 2**63 - 1) is None

    @both
    def test_start(self, module: Any) -> None:
        """A start beyond the data finds nothing; a negative one is a mistake."""
        assert module.scan_frame(b"\x81\x00", 2, False, 10) is None
        assert module.scan_frame(b"\x81\x00", 100, False, 10) is None
        assert parse_frame_head(b"", 0, masked=False) is None
        with pytest.raises(ValueError, match="negative"):
            module.scan_frame(b"\x81\x00", -1, False, 10)

    @both
    def test_messages(self, module: Any) -> None:
        """Messages of one frame are taken together, up to whatever else comes."""
        kinds = (WSMessage, WSMsgType.TEXT, WSMsgType.BINARY)
        found: list[WSMessage] = []
        for masked in (False, True):
            key = KEY if masked else None
            usual: list[tuple[int, str | bytes]] = [
                (0x81, "grün"),
                (0x82, b"\0\1"),
                (0x81, ""),
                (0x82, b""),
                (0x82, bytes(70_000)),
            ]
            wire = b"".join(pure.serialize_frame(first, content, key) for first, content in usual)
            others = (
                pure.serialize_frame(0x89, b"", key),
                pure.serialize_frame(0xC2, b"", key),
                pure.serialize_frame(0x01, b"a", key),
                pure.serialize_frame(0x81, b"\xff", key),
                pure.serialize_frame(0x82, bytes(70_001), key),
                pure.serialize_frame(0x82, b"", None if masked else KEY),
                b"\x82",
                b"\x83\x00",
                b"",
            )
            for other in others:
                data = b"!" + wire + other
                found = []
                end = module.scan_messages(data, 1, masked, 70_000, kinds, found)
                assert end == len(wire) + 1
                assert all(type(message) is WSMessage for message in found)
                assert [tuple(message) for message in found] == [
                    (WSMsgType(first & 0x0F), content, "") for first, content in usual
                ]
            only_binary = (WSMessage, None, WSMsgType.BINARY)
            found = []
            assert module.scan_messages(wire, 0, masked, 70_000, only_binary, found) == 0
            assert found == []
        assert module.scan_messages(b"", 0, False, 1, kinds, found) == 0
        with pytest.raises(ValueError, match="negative"):
            module.scan_messages(b"\x81\x00", -1, False, 10, kinds, found)

    @both
    @pytest.mark.parametrize("content", ["", "Hello", "grün", "😀" * 40, "a" * 70000, "\0\x7f\x80"])
    def test_text(self, module: Any, content: str) -> None:
        """A str goes out as UTF-8."""
        for key in (None, KEY):
            expected = pure.serialize_frame(0x81, content.encode(), key)
            assert module.serialize_frame(0x81, content, key) == expected

    @both
    def test_not_encodable(self, module: Any) -> None:
        """A lone surrogate is no character; a key has four octets."""
        with pytest.raises(UnicodeEncodeError):
            module.serialize_frame(0x81, "a\ud800", None)
        for key in (b"", b"abc", b"abcde"):
            with pytest.raises(ValueError, match="not 4"):
                module.serialize_frame(0x81, b"abc", key)
        with pytest.raises(TypeError):
            module.serialize_frame(0x81, 5.5, None)
        with pytest.raises(ValueError):
            module.serialize_frame(256, b"", None)

    @pytest.mark.skipif(len(MODULES) < 2, reason="the C module is not there")
    def test_arguments_of_the_compiled_twin(self) -> None:
        """Wrong arguments raise, whatever they are."""
        module: Any = MODULES[1]
        for arguments in (
            (),
            (b"",) * 5,
            ("text", 0, False, 1),
            (b"", "0", False, 1),
            (b"", 0, False, "1"),
            (b"", 2**70, False, 1),
            (b"", 0, False, 2**70),
        ):
            with pytest.raises((TypeError, OverflowError)):
                module.scan_frame(*arguments)
        good: tuple[Any, ...] = (b"\x81\x00", 0, False, 1, (WSMessage, 1, 2), [])
        for at, wrong in enumerate(("text", "0", None, "1", (int, 1, 2), ())):
            if wrong is not None:
                with pytest.raises(TypeError):
                    module.scan_messages(*good[:at], wrong, *good[at + 1 :])
        for several in ((), good[:5], (*good[:4], (WSMessage, 1), [])):
            with pytest.raises(TypeError):
                module.scan_messages(*several)
        for frame in ((), ("1", b"", None), (2**70, b"", None), (-1, b"", None), (1, b"", "abcd")):
            with pytest.raises((TypeError, ValueError, OverflowError)):
                module.serialize_frame(*frame)

    @pytest.mark.skipif(len(MODULES) < 2, reason="the C module is not there")
    @given(
        st.binary(max_size=40), st.integers(0, 3), st.booleans(), st.sampled_from([0, 5, NO_LIMIT])
    )
    def test_twins(self, data: bytes, start: int, masked: bool, limit: int) -> None:
        """Both scan any octets alike, and take what the explaining parser takes."""
        scans = [module.scan_frame(data, start, masked, limit) for module in MODULES]
        assert scans[0] == scans[1]
        kinds = (WSMessage, WSMsgType.TEXT, WSMsgType.BINARY)
        found: list[list[WSMessage]] = [[], []]
        ends = [
            module.scan_messages(data, start, masked, limit, kinds, messages)
            for module, messages in zip(MODULES, found, strict=True)
        ]
        assert ends[0] == ends[1]
        assert found[0] == found[1]
        try:
            parsed = parse_frame(data, start, masked=masked)
        except WebSocketError:
            assert scans[0] is None
            assert ends[0] == start
            return
        if parsed is None or (len(parsed[0].content) > limit and not parsed[0].opcode & 0x08):
            assert scans[0] is None
        else:
            frame, end = parsed
            assert scans[0] == (end, data[start], frame.content)

    @given(st.sampled_from(list(Opcode)), st.binary(max_size=300), st.booleans(), st.booleans())
    def test_inverse(self, opcode: Opcode, content: bytes, fin: bool, rsv1: bool) -> None:
        """Serializing and parsing are inverse."""
        if opcode & 0x08:
            fin, content = True, content[:125]
        frame = Frame(opcode, content, fin, rsv1)
        for key in (None, os.urandom(4)):
            wire = frame.serialize(key)
            assert parse_frame(wire, masked=key is not None) == (frame, len(wire))


VALID_CODES = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
INVALID_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


class TestCloseCodes:
    """RFC 6455 §5.5.1, §7.4."""

    @pytest.mark.parametrize("code", VALID_CODES)
    def test_valid(self, code: int) -> None:
        """Registered codes, and those of libraries and applications."""
        body = code.to_bytes(2, "big") + b"weil"
        assert parse_close(body) == (code, "weil")
        assert serialize_close(code, "weil") == serialize_close(code, b"weil") == body

    @pytest.mark.parametrize("code", INVALID_CODES)
    def test_invalid(self, code: int) -> None:
        """Codes that may not be sent fail with 1002; we do not send them."""
        with pytest.raises(WebSocketError, match=str(code)) as caught:
            parse_close(code.to_bytes(2, "big"))
        assert caught.value.code == 1002
        with pytest.raises(LocalProtocolError, match=str(code)):
            serialize_close(code, "x")

    def test_empty(self) -> None:
        """No body stands for 1005, and 1005 for no body."""
        assert parse_close(b"") == (NO_STATUS, "")
        assert serialize_close(NO_STATUS) == b""

    def test_one_octet(self) -> None:
        """A body of one octet is no code."""
        with pytest.raises(WebSocketError, match="one byte") as caught:
            parse_close(b"\x03")
        assert caught.value.code == 1002

    def test_reason(self) -> None:
        """A reason is UTF-8, and has room for 123 octets."""
        longest = "ü" * 61 + "a"
        assert parse_close(serialize_close(1000, longest)) == (1000, longest)
        with pytest.raises(LocalProtocolError, match=str(MAX_REASON_SIZE)):
            serialize_close(1000, longest + "b")
        for reason in (b"\xff", "\ud800"):
            with pytest.raises(LocalProtocolError, match="UTF-8"):
                serialize_close(1000, reason)
        with pytest.raises(WebSocketError, match="UTF-8") as caught:
            parse_close(b"\x03\xe8\xff")
        assert caught.value.code == 1007

    def test_numbers(self) -> None:
        """The codes are those of the registry, and numbers."""
        assert {code.name: int(code) for code in WSCloseCode} == {
            "OK": 1000,
            "GOING_AWAY": 1001,
            "PROTOCOL_ERROR": 1002,
            "UNSUPPORTED_DATA": 1003,
            "ABNORMAL_CLOSURE": 1006,
            "INVALID_TEXT": 1007,
            "POLICY_VIOLATION": 1008,
            "MESSAGE_TOO_BIG": 1009,
            "MANDATORY_EXTENSION": 1010,
            "INTERNAL_ERROR": 1011,
            "SERVICE_RESTART": 1012,
            "TRY_AGAIN_LATER": 1013,
            "BAD_GATEWAY": 1014,
        }
