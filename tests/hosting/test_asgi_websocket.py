"""WebSockets of ASGI applications as the specification has them, asked by our own client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import angelia
from angelia.core.pure import serialize_frame
from angelia.hosting.asgi import ASGIHandler
from angelia.hosting.asgi_scope import ASGIApplication, Message
from conftest import RequirePeer
from hosting.asgi_kit import Fields, body, hosting, logged, start
from server.kit import GET, ask, connected

pytestmark = pytest.mark.deadline(40)

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
ACCEPT: Message = {"type": "websocket.accept"}
CLOSE: Message = {"type": "websocket.close"}

# Two texts and a Close with 4000.
BURST = b"".join(
    serialize_frame(first, content, b"abcd")
    for first, content in ((0x81, b"a"), (0x81, b"b"), (0x88, b"\x0f\xa0"))
)


@asynccontextmanager
async def opened(
    app: ASGIApplication, path: str = "/ws", *, client: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[angelia.ClientWebSocketResponse]:
    """A client's WebSocket to an application."""
    async with (
        hosting(app, **options) as server,
        angelia.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{server.port}{path}", **(client or {})) as ws,
    ):
        yield ws


async def refused(app: ASGIApplication) -> tuple[int, str, bytes]:
    """Status, field `x` and content of the answer to an opening handshake that is refused."""
    async with hosting(app) as server:
        answer = await ask(server, UPGRADE + b"\r\n")
    return answer.status, answer.headers.get("x", ""), answer.body


class Echo:
    """An application that sends back what it receives, and notes everything."""

    def __init__(self, accept: Message = ACCEPT) -> None:
        self.scopes: list[Any] = []
        self.seen: list[Message] = []
        self.ended = asyncio.Event()
        self._accept = accept

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        assert await receive() == {"type": "websocket.connect"}
        await send(self._accept)
        while True:
            message = await receive()
            self.seen.append(message)
            if message["type"] == "websocket.disconnect":
                break
            await send({**message, "type": "websocket.send"})
        self.ended.set()


class TestOpen:
    @pytest.mark.usefixtures("loop_kind")
    async def test_messages(self) -> None:
        """Texts and octets both ways, and the client's farewell."""
        app = Echo()
        async with opened(app) as ws:
            await ws.send_str("h\xfc")
            assert await ws.receive_str() == "h\xfc"
            await ws.send_bytes(b"")
            assert await ws.receive_bytes() == b""
            await ws.close(code=3000, message=b"bye")
            await app.ended.wait()
        assert app.seen == [
            {"type": "websocket.receive", "text": "h\xfc"},
            {"type": "websocket.receive", "bytes": b""},
            {"type": "websocket.disconnect", "code": 3000, "reason": "bye"},
        ]

    async def test_scope(self) -> None:
        """As that of a request, without a method, with subprotocols."""
        app = Echo()
        async with opened(app, "/a%20b?q", client={"protocols": ("p", "q")}, root_path="/r"):
            (scope,) = app.scopes
        assert "method" not in scope
        found = {key: scope[key] for key in ("type", "scheme", "path", "raw_path", "query_string")}
        assert found == {
            "type": "websocket",
            "scheme": "ws",
            "path": "/r/a b",
            "raw_path": b"/r/a%20b",
            "query_string": b"q",
        }
        assert scope["subprotocols"] == ["p", "q"]
        assert scope["extensions"] == {"websocket.http.response": {}}
        assert (b"upgrade", b"websocket") in scope["headers"]

    async def test_accept(self) -> None:
        """The subprotocol and the fields that the application chooses."""
        headers: Fields = [(b"x", b"1"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        app = Echo({**ACCEPT, "subprotocol": "q", "headers": headers})
        async with opened(app, client={"protocols": ("p", "q")}) as ws:
            assert ws.protocol == "q"
        async with hosting(app) as server, connected(server) as wire:
            wire.send(UPGRADE + b"Sec-WebSocket-Protocol: q\r\n\r\n")
            head = await wire.reader.readuntil(b"\r\n\r\n")
        assert b"\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n" in head

    async def test_application_closes(self) -> None:
        """With the code and reason that it gives; then there is only the disconnection."""
        last: list[Message] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            await send({**CLOSE, "code": 4000, "reason": "enough"})
            last.append(await receive())
            with pytest.raises(RuntimeError):
                await send({"type": "websocket.send", "text": "x"})
            with pytest.raises(RuntimeError):
                await send(CLOSE)

        async with opened(app) as ws:
            message = await ws.receive()
            assert (message.type, message.data, message.extra) == (
                angelia.WSMsgType.CLOSE,
                4000,
                "enough",
            )
        assert [message["type"] for message in last] == ["websocket.disconnect"]

    @pytest.mark.parametrize(("way", "code"), [("returns", 1000), ("raises", 1011)])
    async def test_application_ends(
        self, way: str, code: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An application that ends ends the WebSocket: 1000, or 1011 for an error."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            if way == "raises":
                raise LookupError("a secret")

        async with opened(app) as ws:
            message = await ws.receive()
            assert message.data == code
        assert len(logged(caplog)) == (way == "raises")

    async def test_client_gone(self, caplog: pytest.LogCaptureFixture) -> None:
        """A client that goes without a word: 1006, and sending is OSError."""
        app = Echo()
        refused = asyncio.Event()

        async def sender(scope: Any, receive: Any, send: Any) -> None:
            await app(scope, receive, send)
            assert (await receive())["code"] == 1006
            with pytest.raises(ConnectionResetError):
                await send({"type": "websocket.send", "text": "x"})
            with pytest.raises(ConnectionResetError):
                await send(CLOSE)
            refused.set()
            raise LookupError("a framework's own error")

        async with hosting(sender) as server:
            async with connected(server) as wire:
                wire.send(UPGRADE + b"\r\n")
                await wire.head()
                wire.writer.transport.abort()
            await refused.wait()
        assert app.seen[0]["code"] == 1006
        assert logged(caplog) == []

    async def test_messages_before_the_close(self) -> None:
        """They are received, and can be answered, before the disconnection."""
        app = Echo()
        ready = asyncio.Event()

        async def late(scope: Any, receive: Any, send: Any) -> None:
            async def accepting(message: Message) -> None:
                await send(message)
                if message is ACCEPT:
                    await ready.wait()

            await app(scope, receive, accepting)

        async with hosting(late) as server, connected(server) as wire:
            wire.send(UPGRADE + b"\r\n" + BURST)
            assert (await wire.head())[0] == 101
            ready.set()
            assert await wire.rest() == b"\x81\x01a\x81\x01b\x88\x02\x0f\xa0"
        assert app.seen == [
            {"type": "websocket.receive", "text": "a"},
            {"type": "websocket.receive", "text": "b"},
            {"type": "websocket.disconnect", "code": 4000, "reason": ""},
        ]

    async def test_messages_behind_a_failed_send(self) -> None:
        """An application that cannot send any more still receives what had come."""
        seen: list[Message] = []
        done = asyncio.Event()

        async def app(_scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            with contextlib.suppress(ConnectionResetError):
                while True:
                    await send({"type": "websocket.send", "text": "x"})
                    await asyncio.sleep(0)
            seen.extend([await receive(), await receive(), await receive()])
            done.set()

        async with hosting(app, websocket={"timeout": 0.01}) as server, connected(server) as wire:
            wire.send(UPGRADE + b"\r\n" + BURST)
            await wire.rest()
            await done.wait()
        assert [message.get("text") for message in seen] == ["a", "b", None]
        assert seen[2] == {"type": "websocket.disconnect", "code": 4000, "reason": ""}

    async def test_server_closes(self) -> None:
        """A server that closes tells the client with 1001, and the application by its answer."""
        app = Echo()
        async with hosting(app) as server, angelia.ClientSession() as session:
            async with session.ws_connect(f"ws://127.0.0.1:{server.port}/") as ws:
                closing = asyncio.ensure_future(server.close(30))
                assert (await ws.receive()).data == 1001
                await app.ended.wait()
            await closing
        assert app.seen[-1]["type"] == "websocket.disconnect"

    async def test_options(self) -> None:
        """Options of the WebSocket, such as the size of a message."""
        app = Echo()
        async with opened(app, websocket={"max_msg_size": 10}) as ws:
            await ws.send_bytes(bytes(11))
            assert (await ws.receive()).data == 1009

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"foo": 1}, TypeError),
            ({"protocols": ("a",)}, TypeError),
            ({"headers": {}}, TypeError),
            ({"autoping": False}, TypeError),
            ({"autoclose": False}, TypeError),
            ({"decode_text": False}, TypeError),
            ({"max_msg_size": -1}, ValueError),
        ],
        ids=str,
    )
    def test_wrong_options(self, options: dict[str, Any], error: type[Exception]) -> None:
        """Options that would be the application's, or break what it is promised, are refused."""
        with pytest.raises(error):
            ASGIHandler(Echo(), websocket=options)


class TestRefused:
    async def test_close(self) -> None:
        """Closing instead of accepting is 403."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(CLOSE)
            for message in (CLOSE, ACCEPT, {"type": "websocket.send", "text": ""}):
                with pytest.raises(RuntimeError):
                    await send(message)

        assert (await refused(app))[0] == 403

    async def test_close_is_answered_at_once(self) -> None:
        """An application that waits for the disconnection before it returns learns of it."""
        seen: list[Message] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append(await receive())
            await send(CLOSE)
            seen.append(await receive())

        assert await refused(app) == (403, "", b"403: Forbidden")
        gone = {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        assert seen == [{"type": "websocket.connect"}, gone]

    async def test_response(self) -> None:
        """websocket.http.response: any other response."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            for message in (start(401, [(b"x", b"y")]), body(b"he", more=True), body(b"llo")):
                await send({**message, "type": f"websocket.{message['type']}"})
            with pytest.raises(RuntimeError):
                await send(ACCEPT)
            assert (await receive())["type"] == "websocket.disconnect"

        assert await refused(app) == (401, "y", b"hello")

    @pytest.mark.parametrize(
        "messages",
        [
            [],
            [{"type": "websocket.send", "text": "x"}],
            [{"type": "websocket.foo"}],
            [{"type": "websocket.http.response.foo"}],
            [{**ACCEPT, "subprotocol": "q"}],
            [{**ACCEPT, "headers": [(b"Upgrade", b"x")]}],
            [{**ACCEPT, "headers": [("x", "y")]}],
            [{**ACCEPT, "headers": [(b"x", b"a\r\nb: c")]}],
        ],
    )
    async def test_wrong(self, messages: list[Any], caplog: pytest.LogCaptureFixture) -> None:
        """What is wrong before the WebSocket is open is answered 500."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            for message in messages:
                await send(message)

        assert (await refused(app))[0] == 500
        assert len(logged(caplog)) == 1

    @pytest.mark.parametrize(
        "message", [{}, {"text": "x", "bytes": b"x"}, {"text": b"x"}, {"bytes": "x"}]
    )
    async def test_wrong_message(self, message: Any, caplog: pytest.LogCaptureFixture) -> None:
        """A message is a text or octets."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            await send({**message, "type": "websocket.send"})

        async with opened(app) as ws:
            assert (await ws.receive()).data == 1011
        assert len(logged(caplog)) == 1

    async def test_response_too_late(self, caplog: pytest.LogCaptureFixture) -> None:
        """An open WebSocket cannot be refused any more."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send(ACCEPT)
            await send({**start(401), "type": "websocket.http.response.start"})

        async with opened(app) as ws:
            assert (await ws.receive()).data == 1011
        assert "after the answer to the handshake" in caplog.text

    async def test_response_half(self, caplog: pytest.LogCaptureFixture) -> None:
        """An application that fails within its refusal is answered 500, or breaks it off."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({**start(401), "type": "websocket.http.response.start"})
            raise LookupError("no more")

        assert (await refused(app))[0] == 500
        assert "no more" in caplog.text

    @pytest.mark.parametrize("raises", [False, True])
    async def test_gone_before_the_answer(
        self, raises: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An application whose client did not wait for an answer owes none."""
        begun, ended = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert await receive() == {"type": "websocket.connect"}
            begun.set()
            assert (await receive())["type"] == "websocket.disconnect"
            ended.set()
            if raises:
                raise LookupError("nobody there")

        async with hosting(app) as server:
            async with connected(server) as wire:
                wire.send(UPGRADE + b"\r\n")
                await begun.wait()
            await ended.wait()
        assert logged(caplog) == []

    async def test_no_handshake(self) -> None:
        """What is no handshake is refused before the application hears of it."""
        seen: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append(scope["type"])
            await send(start())
            await send(body())

        old = UPGRADE.replace(b"13", b"8") + b"\r\n"
        no_key = UPGRADE.partition(b"Sec-WebSocket-Key")[0] + b"\r\n"
        async with hosting(app) as server:
            assert (await ask(server, old)).status == 426
            assert (await ask(server, no_key)).status == 400
            assert seen == []
            # What does not mean it is a request like any other.
            for request in (
                UPGRADE.replace(b"GET", b"PUT"),
                UPGRADE.replace(b"websocket", b"h2c"),
                UPGRADE.replace(b"Connection: Upgrade", b"X: y"),
            ):
                assert (await ask(server, request + b"\r\n")).status == 200
            assert (await ask(server, GET)).status == 200
        assert seen == ["http"] * 4


async def test_starlette(require_peer: RequirePeer) -> None:
    """Endpoints, subprotocols, JSON, a refusal, and an endpoint that its client leaves."""
    require_peer("module:starlette")
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept(subprotocol="p")
        while True:
            await websocket.send_json({"got": await websocket.receive_json()})

    async def deny(websocket: WebSocket) -> None:
        await websocket.send_denial_response(PlainTextResponse("no", status_code=401))

    app = Starlette(routes=[WebSocketRoute("/ws", echo), WebSocketRoute("/deny", deny)])
    async with opened(app, client={"protocols": ["p"]}) as ws:
        for number in range(3):
            await ws.send_json(number)
            assert await ws.receive_json() == {"got": number}
    for path, status in (("/deny", 401), ("/none", 403)):
        with pytest.raises(angelia.WSServerHandshakeError) as caught:
            async with opened(app, path):
                pytest.fail("it is refused")
        assert caught.value.status == status
