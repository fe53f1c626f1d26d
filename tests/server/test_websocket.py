"""WebSockets of the server: the opening handshake, messages, and how one ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trustme

import angelia
from angelia.core.ws_extensions import DeflateOffer, PerMessageDeflate
from angelia.core.ws_frames import WSCloseCode
from angelia.core.ws_messages import WSMsgType
from angelia.errors import ClientConnectionResetError, WSMessageTypeError, WSServerHandshakeError
from angelia.server.http_exception import HTTPException
from angelia.server.request import Request
from angelia.server.response import Response
from angelia.server.stream_response import StreamResponse
from angelia.server.websocket import WebSocketReady, WebSocketResponse, check_origin
from server.kit import GET, Handler, Wire, ask, connected, hello, serving
from server.ws_kit import ACCEPT, KEY, handshake, opened, opening

pytestmark = [pytest.mark.usefixtures("loop_kind"), pytest.mark.deadline(15)]

Play = Callable[[WebSocketResponse], Awaitable[None]]


def playing(play: Play, seen: list[WebSocketResponse] | None = None, **options: Any) -> Handler:
    """A handler that opens a WebSocket and does as `play` says."""

    async def handler(request: Request) -> StreamResponse:
        ws = WebSocketResponse(**options)
        if seen is not None:
            seen.append(ws)
        await ws.prepare(request)
        await play(ws)
        return ws

    return handler


async def echo(ws: WebSocketResponse) -> None:
    async for message in ws:
        if message.type is WSMsgType.TEXT:
            await ws.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await ws.send_bytes(message.data)


async def drain_all(ws: WebSocketResponse) -> None:
    async for _ in ws:
        pass


async def turns_until(met: Callable[[], bool]) -> None:
    """Give the loop turns until something holds; the test's deadline is the only limit."""
    while not met():  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0)


def reset(wire: Wire) -> None:
    """End a connection at once, and not in order."""
    sock = wire.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.writer.transport.abort()


class TestOpeningHandshake:
    async def test_accepted(self) -> None:
        """RFC 6455 §4.2.2: 101, the fields of the upgrade, and the key's answer."""
        async with serving(playing(echo)) as server, connected(server) as wire:
            wire.send(handshake())
            status, fields = await wire.head()
            assert status == 101
            assert fields["upgrade"] == "websocket"
            assert fields["connection"] == "Upgrade"
            assert fields["sec-websocket-accept"] == ACCEPT
            assert "sec-websocket-protocol" not in fields
            assert "sec-websocket-extensions" not in fields

    @pytest.mark.parametrize(
        "octets",
        [
            handshake(Upgrade="WebSocket", Connection="keep-alive, UPGRADE"),
            handshake(Upgrade="h2c, websocket"),
            handshake(method="POST"),
            handshake(method="POST", body="x" * 1000),
            handshake(method="PURGE"),
        ],
    )
    async def test_variants(self, octets: bytes) -> None:
        """Tokens come in any case and in lists, any method may ask, and content is read over."""
        async with serving(playing(echo)) as server, opening(server, octets) as peer:
            await peer.text("after it")
            assert (await peer.receive()).data == "after it"

    @pytest.mark.parametrize(
        ("octets", "status"),
        [
            (handshake(Upgrade=None), 400),
            (handshake(Upgrade="websockets"), 400),
            (handshake(Connection=None), 400),
            (handshake(Connection="keep-alive"), 400),
            (handshake(Sec_WebSocket_Key=None), 400),
            (handshake(Sec_WebSocket_Key="short"), 400),
            (handshake(Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAA"), 400),
            (handshake(Sec_WebSocket_Key=f"{KEY}, {KEY}"), 400),
            (handshake(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ=\xe9"), 400),
            (handshake(Sec_WebSocket_Protocol="a b"), 400),
            (handshake(Sec_WebSocket_Extensions="permessage-deflate; ="), 400),
            (handshake(version="1.0", Connection="keep-alive, Upgrade"), 400),
            (handshake(Sec_WebSocket_Version="12"), 426),
            (handshake(Sec_WebSocket_Version="13, 8"), 426),
            (handshake(Sec_WebSocket_Version=None), 426),
        ],
    )
    async def test_refused(self, octets: bytes, status: int) -> None:
        """What is no handshake is answered as a request, once, and so is the request after it."""

        async def handler(request: Request) -> StreamResponse:
            if request.path == "/next":
                return Response(text="next")
            return await playing(echo)(request)

        async with serving(handler) as server, connected(server) as wire:
            wire.send(octets, b"GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            answer = await wire.answer()
            assert answer.status == status
            if status == 426:
                # RFC 6455 §4.4, RFC 9110 §15.5.22.
                assert answer.headers["sec-websocket-version"] == "13"
                assert answer.headers["upgrade"] == "websocket"
            assert (await wire.answer()).body == b"next"
            assert await wire.closed()

    async def test_connect(self) -> None:
        """A tunnel is something else: 405."""
        octets = handshake(method="CONNECT", path="h:80")
        async with serving(playing(echo)) as server:
            answer = await ask(server, octets)
            assert answer.status == 405
            assert answer.headers["allow"] == "GET"

    async def test_refused_with_content(self) -> None:
        """The content of a request that was refused is no request."""
        smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
        octets = handshake(method="POST", Sec_WebSocket_Key="no", body=smuggled)

        async def handler(request: Request) -> StreamResponse:
            assert request.path != "/smuggled"
            return await (hello if request.path == "/next" else playing(echo))(request)

        async with serving(handler) as server, connected(server) as wire:
            wire.send(octets, b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await wire.answer()).status == 400
            assert (await wire.answer()).body == b"hello /next"

    async def test_too_much_content(self) -> None:
        """RFC 9110 §7.8: the protocol changes behind the content, which has its limit."""
        async with serving(playing(echo), max_body_size=10) as server:
            assert (await ask(server, handshake(body="x" * 11))).status == 413

    async def test_declined(self) -> None:
        """A handler that answers otherwise declines, and the connection goes on with HTTP."""
        async with serving(hello) as server, connected(server) as wire:
            for octets in (
                handshake(),
                handshake(Upgrade="h2c", HTTP2_Settings="AAMAAABkAAQAAP__"),
            ):
                wire.send(octets + GET)
                assert (await wire.answer()).body == b"hello /"
                assert (await wire.answer()).body == b"hello /"

    @pytest.mark.parametrize(
        ("how", "status"), [("answers", 200), ("refuses", 403), ("raises", 500)]
    )
    @pytest.mark.parametrize("coding", ["length", "chunks"])
    async def test_declined_with_content(self, how: str, status: int, coding: str) -> None:
        """The content of an upgrade that a handler declines, unread, is no request either."""
        smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
        if coding == "length":
            octets = handshake(method="POST", path="/ws", body=smuggled, Origin="http://evil.org")
        else:
            octets = handshake(
                method="POST", path="/ws", Transfer_Encoding="chunked", Origin="http://evil.org"
            )
            octets += f"{len(smuggled):x}\r\n{smuggled}\r\n0\r\n\r\n".encode()
        asked: list[str] = []

        async def handler(request: Request) -> StreamResponse:
            asked.append(request.path)
            if request.path == "/ws" and how == "refuses":
                check_origin(request)
            if request.path == "/ws" and how == "raises":
                raise ZeroDivisionError
            return await hello(request)

        async with serving(handler) as server, connected(server) as wire:
            wire.send(octets, b"GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            assert (await wire.answer()).status == status
            # An error takes the connection with it.
            if how != "raises":
                assert (await wire.answer()).body == b"hello /next"
            assert await wire.closed()
        assert asked == (["/ws"] if how == "raises" else ["/ws", "/next"])

    async def test_fields(self) -> None:
        """The 101 has the handler's fields and cookies, but none about content or framing."""

        async def handler(request: Request) -> StreamResponse:
            ws = WebSocketResponse(headers={"X-Mine": "1", "Content-Type": "text/plain"})
            ws.headers["Transfer-Encoding"] = "chunked"
            ws.headers["Content-Length"] = "3"
            ws.headers["Connection"] = "close"
            ws.headers["Sec-WebSocket-Accept"] = "mine"
            ws.set_cookie("a", "b")
            await ws.prepare(request)
            return ws

        async with serving(handler) as server, connected(server) as wire:
            wire.send(handshake())
            _, fields = await wire.head()
            assert fields["x-mine"] == "1"
            assert fields["set-cookie"] == "a=b; Path=/"
            assert fields["connection"] == "Upgrade"
            assert fields["sec-websocket-accept"] == ACCEPT
            assert "date" in fields
            assert not {"content-type", "content-length", "transfer-encoding"} & set(fields)

    @pytest.mark.parametrize(
        ("offered", "known", "chosen"),
        [
            ("a, b", ("b", "a"), "a"),
            ("c, b", ("a", "b"), "b"),
            ("c", ("a",), None),
            ("c", (), None),
            (None, ("a",), None),
            ("A", ("a",), None),
        ],
    )
    async def test_subprotocols(
        self,
        offered: str | None,
        known: tuple[str, ...],
        chosen: str | None,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Of the client's the first that the server knows; with none in common a line is logged."""
        seen: list[WebSocketResponse] = []
        async with (
            serving(playing(drain_all, seen, protocols=known)) as server,
            connected(server) as wire,
        ):
            wire.send(handshake(Sec_WebSocket_Protocol=offered))
            _, fields = await wire.head()
            assert fields.get("sec-websocket-protocol") == chosen
            assert seen[0].ws_protocol == chosen
            logged = [r for r in caplog.records if r.name == "angelia.websocket"]
            assert len(logged) == (offered is not None and bool(known) and chosen is None)
            assert all("127.0.0.1" in record.getMessage() for record in logged)

    async def test_octets_behind_the_head(self) -> None:
        """What came with the request are the first frames."""
        seen: list[Any] = []

        async def play(ws: WebSocketResponse) -> None:
            seen.append(await ws.receive_str())
            seen.append(await ws.receive_bytes())

        whole = handshake() + bytes.fromhex("8185 00000000 68656c6c6f 8282 00000000 0102")
        async with serving(playing(play)) as server:
            for at in range(len(handshake()) - 2, len(whole)):
                async with connected(server) as wire:
                    wire.send(whole[:at])
                    await asyncio.sleep(0)
                    wire.send(whole[at:])
                    assert (await wire.head())[0] == 101
                    # The handler is done: a Close frame with 1000.
                    assert await wire.reader.readexactly(4) == b"\x88\x02\x03\xe8"
                assert seen == ["hello", b"\x01\x02"]
                seen.clear()

    async def test_can_prepare(self) -> None:
        """It tells without sending anything."""
        seen: list[WebSocketReady] = []

        async def handler(request: Request) -> StreamResponse:
            ws = WebSocketResponse(protocols=("a",))
            seen.append(ws.can_prepare(request))
            if not seen[-1]:
                return Response(text="a page")
            assert not ws.prepared
            await ws.prepare(request)
            with pytest.raises(RuntimeError):
                ws.can_prepare(request)
            # The request has its answer.
            assert not WebSocketResponse().can_prepare(request)
            return ws

        async with serving(handler) as server, connected(server) as wire:
            wire.send(GET)
            assert (await wire.answer()).body == b"a page"
            wire.send(handshake(Sec_WebSocket_Protocol="a"))
            assert (await wire.head())[0] == 101
        assert seen == [WebSocketReady(False, None), WebSocketReady(True, "a")]

    async def test_before_prepare(self) -> None:
        """`prepared` tells the truth at every stage; before it nothing can be sent or received."""
        ws = WebSocketResponse()
        assert not ws.prepared
        assert not ws.closed
        assert ws.close_code is None
        assert ws.close_reason == ""
        assert ws.ws_protocol is None
        assert ws.exception() is None
        assert ws.get_extra_info("peername", 1) == 1
        assert ws.compress == 15
        assert "101" in repr(ws)
        calls: list[Callable[[], Awaitable[Any]]] = [
            ws.ping,
            ws.pong,
            ws.close,
            ws.receive,
            ws.receive_str,
            ws.receive_bytes,
            ws.receive_json,
            ws.__anext__,
            lambda: ws.send_str("x"),
            lambda: ws.send_bytes(b"x"),
            lambda: ws.send_json(1),
            lambda: ws.send_frame(b"x", WSMsgType.TEXT),
            lambda: ws.write(b"x"),
            ws.write_eof,
        ]
        for call in calls:
            with pytest.raises(RuntimeError):
                await call()

        async def handler(request: Request) -> StreamResponse:
            bad = WebSocketResponse()
            with pytest.raises(HTTPException):
                await bad.prepare(request)
            assert not bad.prepared
            return Response()

        async with serving(handler) as server:
            assert (await ask(server, GET)).status == 200

    async def test_prepared_once(self) -> None:
        """The first `prepare` counts."""

        async def play(ws: WebSocketResponse) -> None:
            assert ws.prepared
            assert ws.status == 101
            await ws.send_str("once")

        async def handler(request: Request) -> StreamResponse:
            ws = WebSocketResponse()
            await ws.prepare(request)
            await ws.prepare(request)
            await play(ws)
            return ws

        async with serving(handler) as server, opening(server) as peer:
            assert (await peer.receive()).data == "once"

    async def test_client_vanishes(self) -> None:
        """A client that has gone meanwhile gives ConnectionResetError."""
        caught: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        asked = asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            asked.set()
            await turns_until(lambda: not request._exchange.connection.is_open)
            ws = WebSocketResponse()
            try:
                await ws.prepare(request)
            except ConnectionResetError as error:
                caught.set_result(error)
                raise
            return ws

        async with serving(handler) as server:
            async with connected(server) as wire:
                wire.send(handshake())
                await asked.wait()
                reset(wire)
            assert isinstance(await caught, ConnectionResetError)

    @pytest.mark.parametrize(
        ("compress", "offer", "answer", "bits"),
        [
            (True, "permessage-deflate", "permessage-deflate", 15),
            (True, "x-other, permessage-deflate", "permessage-deflate", 15),
            (True, "permessage-deflate; server_max_window_bits=7, permessage-deflate", None, 15),
            (12, "permessage-deflate", "permessage-deflate; server_max_window_bits=12", 12),
            (False, "permessage-deflate", None, 0),
            (True, None, None, 0),
        ],
    )
    async def test_compression(
        self, compress: bool | int, offer: str | None, answer: str | None, bits: int
    ) -> None:
        """permessage-deflate is agreed on where both want it; the first fitting offer is taken."""
        seen: list[WebSocketResponse] = []
        async with (
            serving(playing(drain_all, seen, compress=compress)) as server,
            connected(server) as wire,
        ):
            wire.send(handshake(Sec_WebSocket_Extensions=offer))
            _, fields = await wire.head()
            assert seen[0].compress == bits
            if answer is not None:
                assert fields["sec-websocket-extensions"] == answer
            assert ("sec-websocket-extensions" in fields) is bool(bits)

    @pytest.mark.parametrize(
        "options",
        [
            {"compress": 8},
            {"compress": 16},
            {"protocols": "chat"},
            {"timeout": -1},
            {"timeout": "1"},
            {"receive_timeout": -1},
            {"heartbeat": -1},
            {"heartbeat": True},
            {"max_msg_size": -1},
            {"max_msg_size": None},
            {"writer_limit": -1},
            {"writer_limit": None},
        ],
        ids=str,
    )
    def test_wrong_arguments(self, options: dict[str, Any]) -> None:
        """Windows of 9 to 15 bits, protocols that are several; no time or size is negative."""
        with pytest.raises((ValueError, TypeError)):
            WebSocketResponse(**options)


class TestMessages:
    async def test_both_ways(self) -> None:
        """Text, octets and JSON, with the client of the house, compressed or not."""

        async def play(ws: WebSocketResponse) -> None:
            await ws.send_str(await ws.receive_str())
            await ws.send_bytes(await ws.receive_bytes())
            await ws.send_json(await ws.receive_json())
            with pytest.raises(WSMessageTypeError):
                await ws.receive_str()

        async with serving(playing(play)) as server, angelia.ClientSession() as session:
            for compress in (0, 15):
                url = f"ws://127.0.0.1:{server.port}/"
                async with session.ws_connect(url, compress=compress) as ws:
                    await ws.send_str("gr\u00fc\u00df dich " * 100)
                    assert await ws.receive_str() == "gr\u00fc\u00df dich " * 100
                    await ws.send_bytes(bytes(100_000))
                    assert await ws.receive_bytes() == bytes(100_000)
                    await ws.send_json({"a": [1]})
                    assert await ws.receive_json() == {"a": [1]}
                    await ws.send_bytes(b"no text")
                    assert (await ws.receive()).type is WSMsgType.CLOSE

    async def test_no_takeover(self) -> None:
        """With both flags each message is compressed on its own."""
        octets = handshake(
            Sec_WebSocket_Extensions="permessage-deflate; server_no_context_takeover; "
            "client_no_context_takeover"
        )
        agreed = PerMessageDeflate(True, True)
        async with (
            serving(playing(echo)) as server,
            opening(server, octets, deflate=agreed) as peer,
        ):
            for _ in range(3):
                await peer.text("again and again and again")
                assert (await peer.receive()).data == "again and again and again"

    async def test_octets_of_text(self) -> None:
        """`decode_text` False returns the octets of texts."""
        seen: list[Any] = []

        async def play(ws: WebSocketResponse) -> None:
            seen.append(await ws.receive_str())

        async with (
            serving(playing(play, decode_text=False)) as server,
            opening(server) as peer,
        ):
            await peer.text("\u00e4")
            await peer.receive()
            assert seen == ["\u00e4".encode()]

    async def test_pings(self) -> None:
        """Pings are answered and not returned; `autoping` False leaves both to the handler."""
        async with serving(playing(echo)) as server, opening(server) as peer:
            await peer.ping(b"are you there")
            message = await peer.receive()
            assert (message.type, message.data) == (WSMsgType.PONG, b"are you there")

        async def play(ws: WebSocketResponse) -> None:
            message = await ws.receive()
            assert message.type is WSMsgType.PING
            await ws.pong(b"mine")
            await ws.ping(b"and you")
            assert (await ws.receive()).type is WSMsgType.PONG

        async with (
            serving(playing(play, autoping=False)) as server,
            opening(server, autoping=False) as peer,
        ):
            await peer.ping(b"x")
            assert (await peer.receive()).data == b"mine"
            assert (await peer.receive()).type is WSMsgType.PING
            peer.core.send_pong(b"and you")
            await peer.flush()
            assert (await peer.receive()).type is WSMsgType.CLOSE

    async def test_one_receives(self) -> None:
        """A second task that receives is refused; a timeout loses nothing."""

        async def play(ws: WebSocketResponse) -> None:
            with pytest.raises(TimeoutError):
                await ws.receive(0.001)
            first = asyncio.ensure_future(ws.receive_str())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError):
                await ws.receive()
            await ws.send_str("go")
            assert await first == "here"

        async with serving(playing(play)) as server, opening(server) as peer:
            assert (await peer.receive()).data == "go"
            await peer.text("here")
            assert (await peer.receive()).data == 1000

    async def test_receive_timeout(self) -> None:
        """`receive_timeout` bounds each `receive`."""

        async def play(ws: WebSocketResponse) -> None:
            with pytest.raises(TimeoutError):
                await ws.receive()

        async with (
            serving(playing(play, receive_timeout=0.001)) as server,
            opening(server) as peer,
        ):
            assert (await peer.receive()).data == 1000

    async def test_facts(self) -> None:
        """The handler sees the connection's facts, and the request's beside."""
        seen: list[Any] = []

        async def play(ws: WebSocketResponse) -> None:
            seen.append(ws.get_extra_info("peername")[0])

        async with serving(playing(play)) as server, opening(server) as peer:
            await peer.receive()
            assert seen == ["127.0.0.1"]


# A frame with the mask of zeros, which changes nothing.
def frame(first: int, content: bytes, *, length: int | None = None) -> bytes:
    size = len(content) if length is None else length
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = bytes((first, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, 0xFF)) + size.to_bytes(8, "big")
    return head + bytes(4) + content


BAD_FRAMES = {
    "unmasked": (b"\x81\x02hi", 1002),
    "RSV1": (frame(0xC1, b"hi"), 1002),
    "RSV2": (frame(0xA1, b"hi"), 1002),
    "RSV3": (frame(0x91, b"hi"), 1002),
    "opcode 3": (frame(0x83, b"hi"), 1002),
    "opcode B": (frame(0x8B, b"hi"), 1002),
    "fragmented Ping": (frame(0x09, b"hi"), 1002),
    "long Ping": (frame(0x89, bytes(126)), 1002),
    "stray continuation": (frame(0x80, b"hi"), 1002),
    "text in a message": (frame(0x01, b"a") + frame(0x81, b"b"), 1002),
    "no UTF-8": (frame(0x81, b"\xff"), 1007),
    "no UTF-8 over fragments": (frame(0x01, b"\xe2") + frame(0x80, b"\x28\xa1"), 1007),
    "Close of one octet": (frame(0x88, b"\x03"), 1002),
    "Close 999": (frame(0x88, (999).to_bytes(2, "big")), 1002),
    "Close 1004": (frame(0x88, (1004).to_bytes(2, "big")), 1002),
    "Close 1005": (frame(0x88, (1005).to_bytes(2, "big")), 1002),
    "Close 1006": (frame(0x88, (1006).to_bytes(2, "big")), 1002),
    "Close 5000": (frame(0x88, (5000).to_bytes(2, "big")), 1002),
    "reason no UTF-8": (frame(0x88, b"\x03\xe8\xff"), 1007),
    "2^63": (frame(0x82, b"", length=1 << 63), 1002),
    "too long": (frame(0x82, b"", length=1001), 1009),
    "too long in fragments": (frame(0x02, bytes(600)) + frame(0x80, bytes(401)), 1009),
}


class TestBrokenRules:
    @pytest.mark.parametrize("name", BAD_FRAMES)
    async def test_failed(self, name: str) -> None:
        """RFC 6455 §7.1.7: a Close frame with the code, the rest discarded, the handler told."""
        octets, code = BAD_FRAMES[name]
        seen: list[WebSocketResponse] = []
        types: list[WSMsgType] = []

        async def play(ws: WebSocketResponse) -> None:
            while not ws.closed:
                types.append((await ws.receive()).type)
            assert (await ws.receive()).type is WSMsgType.CLOSED

        async with (
            serving(playing(play, seen, max_msg_size=1000)) as server,
            connected(server) as wire,
        ):
            await opened(wire)
            wire.send(frame(0x81, b"fine"), octets, frame(0x81, b"discarded"))
            head = await wire.reader.readexactly(2)
            body = await wire.reader.readexactly(head[1])
            assert (head[0], int.from_bytes(body[:2], "big")) == (0x88, code)
            wire.writer.write_eof()
            assert await wire.closed()
        assert types == [WSMsgType.TEXT, WSMsgType.ERROR]
        assert seen[0].close_code == code
        error = seen[0].exception()
        assert isinstance(error, angelia.WebSocketError)
        assert seen[0].close_reason == error.message

    async def test_largest_message(self) -> None:
        """A message of exactly `max_msg_size` is taken."""
        async with (
            serving(playing(echo, max_msg_size=1000)) as server,
            opening(server) as peer,
        ):
            await peer.binary(bytes(1000))
            assert (await peer.receive()).data == bytes(1000)

    async def test_bomb(self) -> None:
        """What inflates beyond `max_msg_size` fails with 1009."""
        octets = handshake(Sec_WebSocket_Extensions=DeflateOffer().serialize())
        async with (
            serving(playing(echo, max_msg_size=1000)) as server,
            opening(server, octets, deflate=PerMessageDeflate()) as peer,
        ):
            await peer.binary(bytes(100_000))
            assert (await peer.receive()).data == 1009

    async def test_pings_and_nobody_reads(self) -> None:
        """A client that sends Pings and reads no Pongs costs bounded memory."""
        seen: list[WebSocketResponse] = []
        async with (
            serving(playing(drain_all, seen)) as server,
            connected(server) as wire,
        ):
            await opened(wire)
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it can
            ping = frame(0x89, bytes(125)) * 200
            flushing = False
            while not flushing:
                wire.send(ping)
                await asyncio.sleep(0)
                flushing = seen[0]._ws._flusher is not None
            core = seen[0]._ws._core
            assert len(core._outbox) <= 65
            wire.writer.transport.abort()


class TestFlow:
    async def test_slow_handler(self) -> None:
        """Unread messages stop the reading of the socket, and none is lost."""
        seen: list[WebSocketResponse] = []
        go = asyncio.Event()
        count = 0

        async def play(ws: WebSocketResponse) -> None:
            nonlocal count
            await go.wait()
            async for message in ws:
                count += 1
                assert message.data == bytes(10_000)

        async with serving(playing(play, seen)) as server, opening(server) as peer:
            sent = 0
            while not seen or not seen[0]._ws._paused:
                peer.core.send_binary(bytes(10_000))
                peer.writer.writelines(peer.core.data_to_send())
                sent += 1
                await asyncio.sleep(0)
            # One read may carry it beyond, and no more.
            assert seen[0]._ws._inbox.size < 2 * 256 * 1024 + 20_000
            go.set()
            assert (await peer.close()).type is WSMsgType.CLOSE
            assert count == sent

    async def test_slow_client(self) -> None:
        """A sender waits while the client does not read."""
        stopped = asyncio.Event()
        seen: list[WebSocketResponse] = []
        sent = 0

        async def play(ws: WebSocketResponse) -> None:
            nonlocal sent
            while True:
                send = asyncio.ensure_future(ws.send_bytes(bytes(100_000)))
                sent += 1
                await asyncio.sleep(0)
                if not send.done():
                    stopped.set()
                    await send
                    return
                await send

        async with (
            serving(playing(play, seen)) as server,
            connected(server) as wire,
        ):
            peer = await opened(wire)
            await stopped.wait()
            for _ in range(sent):
                assert (await peer.receive()).data == bytes(100_000)
            assert (await peer.receive()).type is WSMsgType.CLOSE

    async def test_writer_limit(self) -> None:
        """`writer_limit` is where senders begin to wait."""
        limits: list[tuple[int, int]] = []

        async def play(ws: WebSocketResponse) -> None:
            exchange = ws._exchange
            assert exchange is not None
            transport = exchange.connection.socket_transport
            assert transport is not None
            limits.append(transport.get_write_buffer_limits())

        async with serving(playing(play, writer_limit=1000)) as server, opening(server) as peer:
            await peer.receive()
        assert limits[0][1] == 1000

    async def test_no_limit_of_time(self) -> None:
        """The limits of requests do not hold: no clock runs on an open WebSocket."""
        seen: list[WebSocketResponse] = []
        async with (
            serving(playing(echo, seen), keepalive_timeout=0.01, body_timeout=0.01) as server,
            opening(server, handshake(body="x")) as peer,
        ):
            await peer.text("x")
            await peer.receive()
            exchange = seen[0]._exchange
            assert exchange is not None
            assert exchange.connection._due is None


class TestClose:
    async def test_by_the_client(self) -> None:
        """The client's Close is answered with its code; the handler sees CLOSE, then CLOSED."""
        seen: list[Any] = []

        async def play(ws: WebSocketResponse) -> None:
            seen.append(await ws.receive())
            seen.append((await ws.receive()).type)
            seen.append((ws.closed, ws.close_code, await ws.close(), ws.exception()))
            with pytest.raises(ClientConnectionResetError):
                await ws.send_str("too late")

        async with serving(playing(play)) as server, opening(server) as peer:
            assert (await peer.close(4000, "bye")).data == 4000
            await peer.wait_eof()
        assert seen == [
            (WSMsgType.CLOSE, 4000, "bye"),
            WSMsgType.CLOSED,
            (True, 4000, False, None),
        ]

    @pytest.mark.parametrize("at_once", [True, False])
    async def test_burst(self, at_once: bool) -> None:
        """Messages before the client's Close are answered before it is, however they come."""
        ready = asyncio.Event()

        async def play(ws: WebSocketResponse) -> None:
            # All of it has come, and nobody has received yet.
            await ready.wait()
            await echo(ws)

        burst = frame(0x81, b"a") + frame(0x81, b"b") + frame(0x88, b"\x0f\xa0")
        seen: list[WebSocketResponse] = []
        async with serving(playing(play, seen)) as server, connected(server) as wire:
            wire.send(handshake() + burst if at_once else handshake())
            assert (await wire.head())[0] == 101
            if not at_once:
                wire.send(burst)
            await turns_until(lambda: seen[0].stats().unread == 3)
            assert not seen[0].closed
            ready.set()
            assert await wire.rest() == b"\x81\x01a\x81\x01b\x88\x02\x0f\xa0"
        assert seen[0].close_code == 4000

    async def test_half_closed(self) -> None:
        """A client that says no more after its Close gets the answer all the same."""

        async def play(ws: WebSocketResponse) -> None:
            await stay.wait()
            await drain_all(ws)

        stay = asyncio.Event()
        async with serving(playing(play)) as server, connected(server) as wire:
            wire.send(handshake())
            assert (await wire.head())[0] == 101
            wire.send(frame(0x81, b"a") + frame(0x88, b"\x0f\xa0"))
            wire.writer.write_eof()
            assert await wire.rest() == b"\x88\x02\x0f\xa0"
            stay.set()

    async def test_only_sends(self) -> None:
        """A handler that never receives learns of the client's Close by its next send."""

        async def play(ws: WebSocketResponse) -> None:
            with contextlib.suppress(ClientConnectionResetError):
                while True:
                    await ws.send_str("tick")
                    await asyncio.sleep(0)
            raised.set()

        raised = asyncio.Event()
        async with serving(playing(play)) as server, opening(server) as peer:
            assert (await peer.close(4000)).data == 4000
            await raised.wait()

    async def test_iteration_ends(self) -> None:
        """`async for` ends with the client's Close."""
        async with serving(playing(drain_all)) as server, opening(server) as peer:
            assert (await peer.close()).data == 1000

    async def test_by_the_handler(self) -> None:
        """`close` sends its code, drops what still comes, and waits for the client's Close."""
        seen: list[Any] = []

        async def play(ws: WebSocketResponse) -> None:
            seen.append(await ws.close(code=4001, message=b"enough"))
            seen.append((ws.closed, ws.close_code))
            seen.append((await ws.receive()).type)

        async with serving(playing(play)) as server, connected(server) as wire:
            await opened(wire)
            assert await wire.reader.readexactly(10) == b"\x88\x08\x0f\xa1enough"
            wire.send(frame(0x81, b"dropped"), frame(0x88, b"\x0f\xa1"))
            assert await wire.closed()
        assert seen == [True, (True, 4001), WSMsgType.CLOSED]

    async def test_both_at_once(self) -> None:
        """When both close at a time each sends its own code, and that is that."""
        seen: list[Any] = []
        go = asyncio.Event()

        async def play(ws: WebSocketResponse) -> None:
            await go.wait()
            seen.append(await ws.close(code=4002))
            seen.append(ws.close_code)

        async with serving(playing(play)) as server, connected(server) as wire:
            await opened(wire)
            go.set()
            assert await wire.reader.readexactly(4) == b"\x88\x02\x0f\xa2"
            wire.send(frame(0x88, b"\x0f\xa3"))
            assert await wire.closed()
        assert seen == [True, 4003]

    async def test_answered_by_the_handler(self) -> None:
        """Without `autoclose` the handler answers a Close, with its own code."""

        async def play(ws: WebSocketResponse) -> None:
            assert (await ws.receive()).type is WSMsgType.CLOSE
            assert not ws.closed
            await ws.send_str("one more")
            await ws.close(code=4004)

        async with (
            serving(playing(play, autoclose=False)) as server,
            opening(server) as peer,
        ):
            peer.core.send_close(1000)
            await peer.flush()
            assert (await peer.receive()).data == "one more"
            assert (await peer.receive()).data == 4004
            await peer.wait_eof()

    async def test_never_answered(self) -> None:
        """After `timeout` seconds without the client's Close the connection ends: 1006."""
        seen: list[Any] = []

        async def play(ws: WebSocketResponse) -> None:
            assert await ws.close()
            seen.append((ws.close_code, type(ws.exception())))

        async with (
            serving(playing(play, timeout=0.01)) as server,
            connected(server) as wire,
        ):
            await opened(wire)
            await wire.rest()
        assert seen == [(1006, TimeoutError)]

    async def test_end_without_close(self) -> None:
        """A connection that ends without a Close frame has the code 1006, and an exception."""
        seen: list[Any] = []

        async def play(ws: WebSocketResponse) -> None:
            assert await ws.receive_str() == "first"
            message = await ws.receive()
            seen.append((message.type, ws.closed, ws.close_code, type(ws.exception())))
            with pytest.raises(ClientConnectionResetError):
                await ws.send_str("nobody")

        async with serving(playing(play)) as server:
            for way in ("eof", "abort"):
                async with opening(server) as peer:
                    await peer.text("first")
                    if way == "eof":
                        peer.writer.write_eof()
                        await peer.wait_eof()
                    else:
                        await turns_until(lambda: not peer.writer.transport.get_write_buffer_size())
                        peer.writer.close()
                await turns_until(lambda: server.connections == 0)
        assert [entry[:3] for entry in seen] == [(WSMsgType.CLOSED, True, 1006)] * 2
        assert all(entry[3] is angelia.WebSocketError for entry in seen)

    async def test_runaway_loop(self) -> None:
        """Receiving again and again after the end is told so, and then refused."""
        found: list[int] = []

        async def play(ws: WebSocketResponse) -> None:
            count = 0
            try:
                while True:
                    await ws.receive()
                    count += 1
            finally:
                found.append(count)

        async with serving(playing(play)) as server, opening(server) as peer:
            await peer.close()
            await turns_until(lambda: bool(found))
        assert found[0] < 10


class TestHandlerEnds:
    async def test_returns(self) -> None:
        """The end of the handler closes with 1000, whatever it returns."""

        async def forgetful(request: Request) -> Any:
            ws = WebSocketResponse()
            await ws.prepare(request)

        async def play(_ws: WebSocketResponse) -> None:
            return

        for handler in (playing(play), forgetful):
            async with serving(handler) as server, opening(server) as peer:
                assert (await peer.receive()).data == 1000
                await peer.wait_eof()

    async def test_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        """An exception closes with 1011, and is logged."""

        async def play(_ws: WebSocketResponse) -> None:
            raise ZeroDivisionError

        async with serving(playing(play)) as server, opening(server) as peer:
            assert (await peer.receive()).data == WSCloseCode.INTERNAL_ERROR
            await peer.wait_eof()
        assert [r.exc_info is not None for r in caplog.records if r.name == "angelia.server"] == [
            True
        ]

    async def test_client_has_gone(self, caplog: pytest.LogCaptureFixture) -> None:
        """A handler that finds nobody to send to is nothing for the log."""
        gone = asyncio.Event()

        async def play(ws: WebSocketResponse) -> None:
            await drain_all(ws)
            gone.set()
            await ws.send_str("nobody")

        caplog.set_level(logging.INFO)
        async with serving(playing(play)) as server:
            async with opening(server) as peer:
                await peer.close()
            await gone.wait()
            await turns_until(lambda: server.connections == 0)
        assert [r for r in caplog.records if r.name == "angelia.server"] == []

    async def test_another_answer(self, caplog: pytest.LogCaptureFixture) -> None:
        """A response after the upgrade comes too late: it is logged, and closes with 1011."""

        async def handler(request: Request) -> StreamResponse:
            await WebSocketResponse().prepare(request)
            return Response(text="HTTP/1.1 200 OK")

        async with serving(handler) as server, opening(server) as peer:
            assert (await peer.receive()).data == 1011
            await peer.wait_eof()
        assert len(caplog.records) == 1

    async def test_outlives_the_connection(self) -> None:
        """A handler goes on after its client has closed, unless it is to be cancelled."""
        done: list[str] = []
        closed = asyncio.Event()
        go = asyncio.Event()

        async def play(ws: WebSocketResponse) -> None:
            await drain_all(ws)
            closed.set()
            try:
                await go.wait()
            except asyncio.CancelledError:
                done.append("cancelled")
                raise
            done.append("ran to its end")

        for cancels in (False, True):
            async with serving(playing(play), handler_cancellation=cancels) as server:
                async with opening(server) as peer:
                    await peer.close()
                    await peer.wait_eof()
                await closed.wait()
                await turns_until(lambda: all(not c.is_open for c in server._connections))
                go.set()
                await turns_until(lambda: server.connections == 0)
                closed.clear()
                go.clear()
        assert done == ["ran to its end"] * 2

    async def test_not_cancelled_after_a_close(self) -> None:
        """Nor is one whose client said that it goes, though the handler has not read that yet."""
        done: list[str] = []

        async def play(ws: WebSocketResponse) -> None:
            await turns_until(lambda: ws.get_extra_info("socket") is None)
            await asyncio.sleep(0)
            done.append(await ws.receive_str())

        seen: list[WebSocketResponse] = []
        handler = playing(play, seen)
        async with serving(handler, handler_cancellation=True) as server:
            async with connected(server) as wire:
                wire.send(handshake() + frame(0x81, b"a") + frame(0x88, b"\x0f\xa0"))
                await turns_until(lambda: bool(seen) and seen[0].stats().unread == 2)
                reset(wire)
            await turns_until(lambda: bool(done))
        assert done == ["a"]

    async def test_cancelled_with_its_client(self) -> None:
        """With `handler_cancellation` a client that vanishes takes its handler along."""
        cancelled = asyncio.Event()
        started = asyncio.Event()

        async def play(ws: WebSocketResponse) -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        async with serving(playing(play), handler_cancellation=True) as server:
            async with opening(server) as peer:
                await started.wait()
                peer.writer.transport.abort()
            await cancelled.wait()

    async def test_access_log(self, caplog: pytest.LogCaptureFixture) -> None:
        """A WebSocket has one line, when it has ended, with 101 and what was sent."""

        async def play(ws: WebSocketResponse) -> None:
            await ws.send_str("hello")

        caplog.set_level(logging.INFO)
        log = angelia.AccessLogger(log_format="%s %b")
        async with serving(playing(play), access_log=log) as server:
            async with opening(server) as peer:
                assert (await peer.receive()).data == "hello"
                assert (await peer.receive()).data == 1000
                await peer.wait_eof()
            await turns_until(lambda: server.connections == 0)
        lines = [r.getMessage() for r in caplog.records if r.name == "angelia.access"]
        # Two octets of a frame and five of content, then a Close frame of four.
        assert lines == ["101 11"]


class TestServerCloses:
    async def test_going_away(self) -> None:
        """RFC 6455 §7.4.1: 1001; the handler sees the end when the client answers."""
        seen: list[Any] = []

        async def play(ws: WebSocketResponse) -> None:
            await ws.send_str("up")
            seen.append((await ws.receive()).type)
            seen.append(ws.close_code)

        async with serving(playing(play)) as server, opening(server) as peer:
            assert (await peer.receive()).data == "up"
            closing = asyncio.ensure_future(server.close())
            message = await peer.receive()
            assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)
            await peer.wait_eof()
            await closing
        assert seen == [WSMsgType.CLOSE, 1001]

    async def test_messages_before_the_answer(self) -> None:
        """What the client had sent before it answers is still received; nothing can be sent."""
        seen: list[str] = []
        refused: list[BaseException] = []

        async def play(ws: WebSocketResponse) -> None:
            await ws.send_str("up")
            async for message in ws:
                seen.append(message.data)
                try:
                    await ws.send_str("no")
                except ClientConnectionResetError as error:
                    refused.append(error)

        async with serving(playing(play)) as server, connected(server) as wire:
            await opened(wire)
            await wire.reader.readexactly(4)
            closing = asyncio.ensure_future(server.close())
            assert await wire.reader.readexactly(4) == b"\x88\x02\x03\xe9"
            wire.send(frame(0x81, b"one"), frame(0x81, b"two"), frame(0x88, b"\x03\xe9"))
            assert await wire.closed()
            await closing
        assert seen == ["one", "two"]
        assert len(refused) == 2

    async def test_client_does_not_answer(self) -> None:
        """A client that ignores the Close frame holds up nobody for more than `timeout`."""
        seen: list[Any] = []

        async def play(ws: WebSocketResponse) -> None:
            await ws.send_str("up")
            seen.append((await ws.receive()).type)
            seen.append(ws.close_code)

        async with (
            serving(playing(play, timeout=0.01)) as server,
            connected(server) as wire,
        ):
            await opened(wire)
            await wire.reader.readexactly(4)
            await server.close()
        assert seen == [WSMsgType.CLOSED, 1006]

    async def test_stuck_handler(self) -> None:
        """A handler that does not end is cancelled, and its socket closed."""
        cancelled: list[bool] = []
        started = asyncio.Event()

        async def play(_ws: WebSocketResponse) -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        async with serving(playing(play)) as server, connected(server) as wire:
            await opened(wire)
            await started.wait()
            await server.close(0)
            assert (await wire.rest())[:4] == b"\x88\x02\x03\xe9"
        assert cancelled == [True]

    async def test_opened_while_closing(self) -> None:
        """A WebSocket that is opened while the server closes is told at once."""
        go = asyncio.Event()
        asked = asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            asked.set()
            await go.wait()
            return await playing(drain_all)(request)

        async with serving(handler) as server, connected(server) as wire:
            wire.send(handshake())
            await asked.wait()
            closing = asyncio.ensure_future(server.close())
            await asyncio.sleep(0)
            go.set()
            assert (await wire.head())[0] == 101
            assert await wire.reader.readexactly(4) == b"\x88\x02\x03\xe9"
            wire.send(frame(0x88, b"\x03\xe9"))
            assert await wire.closed()
            await closing


class TestHeartbeat:
    async def test_not_before_the_answer(self) -> None:
        """While `prepare` waits for the rest of the request nothing is sent, and nothing missed."""
        asked = asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            asked.set()
            return await playing(drain_all, heartbeat=0.02)(request)

        octets = handshake(body="x")
        async with serving(handler) as server, connected(server) as wire:
            wire.send(octets[:-1])
            await asked.wait()
            # Long enough for a Ping and for its Pong to be missed.
            await asyncio.sleep(0.05)
            wire.send(octets[-1:])
            assert (await wire.head())[0] == 101
            assert (await wire.reader.readexactly(2)) == b"\x89\x00"

    async def test_pong_missing(self) -> None:
        """Without a sign of life the connection ends, and `receive` says why."""
        seen: list[Any] = []

        async def play(ws: WebSocketResponse) -> None:
            message = await ws.receive()
            seen.append((message.type, type(message.data), ws.close_code))

        async with (
            serving(playing(play, heartbeat=0.02)) as server,
            connected(server) as wire,
        ):
            await opened(wire)
            assert (await wire.reader.readexactly(2)) == b"\x89\x00"
            with contextlib.suppress(ConnectionError):
                await wire.rest()
        assert seen == [(WSMsgType.ERROR, TimeoutError, 1006)]


def origin(value: str | None, host: str = "example.org") -> bytes:
    return handshake(Host=host, Origin=value)


class TestOrigin:
    @pytest.mark.parametrize(
        ("value", "host", "allowed", "fine"),
        [
            (None, "example.org", (), True),
            ("http://example.org", "example.org", (), True),
            ("http://example.org:80", "example.org", (), True),
            ("https://example.org", "example.org", (), True),
            ("https://example.org", "example.org:443", (), True),
            ("https://EXAMPLE.org", "example.ORG", (), True),
            ("http://example.org:8080", "example.org:8080", (), True),
            ("http://example.org:8080", "example.org", (), False),
            ("http://evil.org", "example.org", (), False),
            ("http://example.org.evil.org", "example.org", (), False),
            ("http://evil.org/example.org", "example.org", (), False),
            ("http://example.org@evil.org", "example.org", (), False),
            ("http://user@example.org", "example.org", (), False),
            ("http://sub.example.org", "example.org", (), False),
            ("ftp://example.org", "example.org", (), False),
            ("null", "example.org", (), False),
            ("null", "example.org", ("null",), False),
            ("", "example.org", (), False),
            ("http://", "example.org", (), False),
            ("http://example.org:99999", "example.org", (), False),
            ("http://[::1", "example.org", (), False),
            ("http://[::1]:80", "[::1]", (), True),
            ("https://app.example.org", "example.org", ("https://app.example.org",), True),
            ("http://app.example.org", "example.org", ("https://app.example.org",), False),
            ("https://app.example.org:8443", "example.org", ("https://app.example.org",), False),
        ],
    )
    async def test_rule(
        self, value: str | None, host: str, allowed: tuple[str, ...], fine: bool
    ) -> None:
        """RFC 6455 §10.2: the same origin, or one of those that are allowed; no page, no origin."""

        async def handler(request: Request) -> StreamResponse:
            check_origin(request, allowed)
            return Response(text="fine")

        async with serving(handler) as server:
            answer = await ask(server, origin(value, host))
            assert answer.status == (200 if fine else 403)

    async def test_wrong_arguments(self) -> None:
        """What can allow nobody is a mistake of the handler's, which it is told."""

        async def handler(request: Request) -> StreamResponse:
            with pytest.raises(ValueError, match=r"not an origin .*: 'app\.example\.org'"):
                check_origin(request, ["app.example.org"])
            with pytest.raises(TypeError, match="several"):
                check_origin(request, "https://app.example.org")
            return Response(text="fine")

        async with serving(handler) as server:
            assert (await ask(server, origin("https://app.example.org", "h"))).status == 200

    async def test_two_origins(self) -> None:
        """A request that claims two origins has none."""

        async def handler(request: Request) -> StreamResponse:
            check_origin(request)
            return Response(text="fine")

        octets = origin("http://h", "h").replace(b"Upgrade: ", b"Origin: http://h\r\nUpgrade: ", 1)
        async with serving(handler) as server:
            assert (await ask(server, octets)).status == 403


class TestClient:
    async def test_refused(self) -> None:
        """The client learns the status of a refusal."""

        async def handler(request: Request) -> StreamResponse:
            check_origin(request)
            return await playing(echo)(request)

        async with serving(handler) as server, angelia.ClientSession() as session:
            url = f"ws://127.0.0.1:{server.port}/"
            with pytest.raises(WSServerHandshakeError) as caught:
                await session.ws_connect(url, origin="http://evil.example")
            assert caught.value.status == 403
            async with session.ws_connect(url, origin=f"http://127.0.0.1:{server.port}") as ws:
                await ws.send_str("x")
                assert await ws.receive_str() == "x"

    async def test_many_at_a_time(self) -> None:
        """Messages of many WebSockets do not mix."""
        async with serving(playing(echo)) as server, angelia.ClientSession() as session:

            async def talk(number: int) -> None:
                url = f"ws://127.0.0.1:{server.port}/"
                async with session.ws_connect(url, compress=15 * (number % 2)) as ws:
                    for round_ in range(5):
                        text = f"{number} {round_} " * 50
                        await ws.send_str(text)
                        assert await ws.receive_str() == text

            await asyncio.gather(*(talk(number) for number in range(20)))

    async def test_tls(self) -> None:
        """``wss``: messages, a broken rule, and the end, where no half of a connection ends."""
        authority = trustme.CA()
        server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(server_context)
        client_context = ssl.create_default_context()
        authority.configure_trust(client_context)
        async with serving(playing(echo), ssl=server_context) as server:
            async with angelia.ClientSession() as session:
                url = f"wss://localhost:{server.port}/"
                async with session.ws_connect(url, ssl=client_context, compress=15) as ws:
                    for size in (0, 100, 1_000_000):
                        await ws.send_bytes(bytes(size))
                        assert await ws.receive_bytes() == bytes(size)
                assert ws.close_code == 1000
            async with connected(server, client_context) as wire:
                await opened(wire)
                wire.send(frame(0x83, b"x"))
                head = await wire.reader.readexactly(4)
                assert (head[0], int.from_bytes(head[2:], "big")) == (0x88, 1002)
                await wire.rest()
