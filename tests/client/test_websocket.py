"""ws_connect and ClientWebSocketResponse, on real sockets."""

from __future__ import annotations

import array
import asyncio
import gc
import json
import socket
import ssl
import threading
from typing import Any

import pytest
from yarl import URL

import angelia
from angelia import WSCloseCode, WSMessage, WSMsgType
from angelia.client.websocket import ClientWebSocketResponse
from angelia.core.deflate import MessageDeflater
from angelia.core.pure import serialize_frame
from angelia.core.ws_extensions import DeflateOffer
from angelia.net.websocket_queue import THREAD_SIZE
from peers.evil import at, invented_names
from peers.raw import RawServer, read_head, response
from peers.ws import Peer, echo, fields_of, ws_script

pytestmark = pytest.mark.usefixtures("loop_kind")

TEXT, BINARY, CLOSE = 0x81, 0x82, 0x88

END = b"\r\n\r\n"

TUNNEL = b"HTTP/1.1 200 Connection established\r\n\r\n"


def frame(first: int, content: bytes | str) -> bytes:
    """A server's frame."""
    return serialize_frame(first, content, None)


def ws_url(server: RawServer) -> URL:
    return server.url.with_scheme("wss" if server.url.scheme == "https" else "ws")


SMALL_BUFFER = 32 * 1024
"""Of a socket, in bytes: so that the system does not hold what a reader leaves unread."""


def small_socket(address: Any) -> socket.socket:
    """A ``socket_factory`` whose sockets receive into a small buffer."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    return made


# Questions that may be answered differently each time, which type checkers do not expect.


def is_closed(ws: ClientWebSocketResponse) -> bool:
    return ws.closed


def code_of(ws: ClientWebSocketResponse) -> int | None:
    return ws.close_code


def key_in(head: bytes) -> str:
    """The one key of a handshake."""
    (key,) = (value for name, value in fields_of(head) if name.lower() == "sec-websocket-key")
    return key


async def idle(peer: Peer) -> None:
    """Say nothing; answer what the core answers."""
    while (await peer.receive()).type not in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR):
        pass


class TestHandshake:
    async def test_request(self) -> None:
        """RFC 6455 §4.1: a GET with Upgrade, version, a key, what was asked for, and no body."""
        async with RawServer(ws_script(echo)) as server, angelia.ClientSession() as session:
            async with session.ws_connect(
                ws_url(server) / "chat",
                protocols=("a", "b"),
                origin="http://example.org",
                params={"q": "1"},
                headers={"X-Y": "z", "sec-websocket-key": "mine"},
                auth=angelia.BasicAuth("u", "p"),
                compress=15,
            ) as ws:
                assert ws.protocol is None
            head = server.requests[0].split(b"\r\n\r\n")[0]
        assert head.startswith(b"GET /chat?q=1 HTTP/1.1\r\n")
        fields = {name.lower(): value for name, value in fields_of(head)}
        assert fields["upgrade"] == "websocket"
        assert fields["connection"] == "Upgrade"
        assert fields["sec-websocket-version"] == "13"
        assert len(fields["sec-websocket-key"]) == 24
        assert fields["sec-websocket-protocol"] == "a, b"
        assert fields["sec-websocket-extensions"] == "permessage-deflate; client_max_window_bits"
        assert fields["origin"] == "http://example.org"
        assert fields["x-y"] == "z"
        assert fields["authorization"].startswith("Basic ")
        assert fields["host"] == f"127.0.0.1:{server.port}"
        assert "content-length" not in fields

    @pytest.mark.parametrize("scheme", ["ws", "http"])
    async def test_schemes(self, scheme: str) -> None:
        """`ws` and `http` mean the same; so does a URL relative to the session's."""
        async with RawServer(ws_script(echo)) as server:
            url = server.url.with_scheme(scheme)
            async with angelia.ClientSession(url) as session:
                async with session.ws_connect(url) as ws:
                    await ws.send_str("a")
                    assert await ws.receive_str() == "a"
                async with session.ws_connect("chat") as ws:
                    await ws.send_str("b")
                    assert await ws.receive_str() == "b"
            assert server.requests[1].startswith(b"GET /chat HTTP/1.1\r\n")

    @pytest.mark.parametrize("scheme", ["wss", "https"])
    async def test_tls(
        self, scheme: str, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
    ) -> None:
        """`wss` is TLS, verified with the `ssl` argument."""
        async with (
            RawServer(ws_script(echo), tls=server_ssl) as server,
            angelia.ClientSession() as session,
        ):
            with pytest.raises(angelia.ClientConnectorCertificateError):
                await session.ws_connect(server.url.with_scheme(scheme))
            url = server.url.with_scheme(scheme)
            async with session.ws_connect(url, ssl=client_ssl) as ws:
                await ws.send_str("secret")
                assert await ws.receive_str() == "secret"
                assert ws.get_extra_info("ssl_object") is not None

    async def test_server_hostname(
        self, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
    ) -> None:
        """`server_hostname` is the name that the certificate has to have; `Host` is the URL's."""
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        async with (
            RawServer(ws_script(echo), tls=server_ssl) as server,
            angelia.ClientSession(connector=invented_names(ssl=client_ssl)) as session,
        ):
            url = at(server, "elsewhere.test").with_scheme("wss")
            with pytest.raises(angelia.ClientConnectorCertificateError):
                await session.ws_connect(url)
            async with session.ws_connect(url, server_hostname="localhost") as ws:
                await ws.send_str("a")
                assert await ws.receive_str() == "a"
            (request,) = (received for received in server.requests if received)
        assert dict(fields_of(request.split(END)[0]))["Host"] == f"elsewhere.test:{server.port}"

    @pytest.mark.parametrize(
        "arguments",
        [
            {"origin": "http://a\r\nX-Evil: 1"},
            {"protocols": ("chat\r\nX-Evil: 1",)},
            {"headers": {"X-Mine": "a\r\nX-Evil: 1"}},
            {"headers": {"X-Mine\r\nX-Evil": "1"}},
            {"method": "GET / HTTP/1.1\r\nX-Evil: 1\r\n"},
        ],
    )
    async def test_injection(self, arguments: dict[str, Any]) -> None:
        """Nothing that is passed can add a field; it is refused before an octet is sent."""
        async with RawServer(ws_script(echo)) as server, angelia.ClientSession() as session:
            with pytest.raises(ValueError, match=r".+"):
                await session.ws_connect(ws_url(server), **arguments)
            assert server.requests in ([], [b""])

    async def test_awaited(self) -> None:
        """The result can be awaited, and the WebSocket itself entered."""
        async with RawServer(ws_script(echo)) as server, angelia.ClientSession() as session:
            ws = await session.ws_connect(ws_url(server))
            assert not is_closed(ws)
            assert ws.get_extra_info("peername")[1] == server.port
            assert ws.get_extra_info("nothing", 1) == 1
            async with ws as same:
                assert same is ws
            assert is_closed(ws)
            assert "closed 1000" in repr(ws)

    async def test_method(self) -> None:
        """Another method may carry the handshake."""
        async with RawServer(ws_script(echo)) as server, angelia.ClientSession() as session:
            async with session.ws_connect(ws_url(server), method="POST") as ws:
                await ws.send_str("a")
                assert await ws.receive_str() == "a"
            assert server.requests[0].startswith(b"POST / ")

    async def test_protocol(self) -> None:
        """The server chooses of the subprotocols that were offered."""
        script = ws_script(echo, protocols=("b", "c"))
        async with (
            RawServer(script) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server), protocols=("a", "b")) as ws,
        ):
            assert ws.protocol == "b"

    async def test_protocol_not_offered(self) -> None:
        """A subprotocol that was not offered is none."""
        script = ws_script(echo, replace={"Sec-WebSocket-Protocol": "x"})
        async with (
            RawServer(script) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server), protocols=("a",)) as ws,
        ):
            assert ws.protocol is None

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("Upgrade", "h2c", "Invalid upgrade header"),
            ("Upgrade", None, "Invalid upgrade header"),
            ("Connection", "close", "Invalid connection header"),
            ("Sec-WebSocket-Accept", "AAAA", "Invalid challenge response"),
            ("Sec-WebSocket-Accept", None, "Invalid challenge response"),
            ("Sec-WebSocket-Extensions", "permessage-deflate", "not offered"),
            ("Sec-WebSocket-Extensions", "x-other", "not offered"),
        ],
    )
    async def test_refused(self, field: str, value: str | None, message: str) -> None:
        """RFC 6455 §4.1: an answer that does not fit is an error, and ends the connection."""

        async def play(peer: Peer) -> None:
            await peer.wait_eof()

        script = ws_script(play, replace={field: value})
        async with RawServer(script) as server, angelia.ClientSession() as session:
            with pytest.raises(angelia.WSServerHandshakeError, match=message) as caught:
                await session.ws_connect(ws_url(server))
            await server.wait_all_closed()
        error = caught.value
        assert error.status == 101
        assert error.headers is not None
        assert error.headers.get(field) == value
        assert error.request_info.url == ws_url(server)

    @pytest.mark.parametrize(
        "value",
        [
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; unknown",
            "permessage-deflate, permessage-deflate",
        ],
    )
    async def test_refused_extension(self, value: str) -> None:
        """RFC 7692 §7.1: parameters out of range, unknown or repeated fail the handshake."""
        script = ws_script(idle, replace={"Sec-WebSocket-Extensions": value})
        async with RawServer(script) as server, angelia.ClientSession() as session:
            with pytest.raises(angelia.WSServerHandshakeError):
                await session.ws_connect(ws_url(server), compress=15)

    @pytest.mark.parametrize("check", [False, True])
    async def test_status(self, check: bool) -> None:
        """Another status is a handshake error with it, whatever the session says of statuses."""
        answer = response(b"no", "X-Why: because", status="403 Forbidden")
        async with (
            RawServer([answer]) as server,
            angelia.ClientSession(raise_for_status=check) as session,
        ):
            with pytest.raises(angelia.WSServerHandshakeError) as caught:
                async with session.ws_connect(ws_url(server)):
                    pytest.fail("there is no WebSocket")
        assert caught.value.status == 403
        assert caught.value.message == "Invalid response status"
        assert caught.value.headers is not None
        assert caught.value.headers["x-why"] == "because"

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
            # Bodies that never come to their end.
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nno",
            b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n",
        ],
    )
    async def test_refusal_ends_the_connection(self, answer: bytes) -> None:
        """A refusal is an error at its head, and the rest of it is not waited for."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            writer.write(answer)
            await reader.read()

        async with RawServer(script) as server, angelia.ClientSession() as session:
            with pytest.raises(angelia.WSServerHandshakeError) as caught:
                await session.ws_connect(ws_url(server))
            await server.wait_all_closed()
        assert caught.value.status == int(answer[9:12])

    @pytest.mark.parametrize("scheme", ["ws", "http"])
    @pytest.mark.parametrize(
        ("of_session", "options"),
        [
            (
                {},
                {
                    "headers": [
                        ("authorization", "Bearer s3cret"),
                        ("COOKIE", "a=s3cret"),
                        ("Cookie", "b=s3cret"),
                        ("proxy-AUTHORIZATION", "Bearer s3cret"),
                    ]
                },
            ),
            ({}, {"auth": angelia.BasicAuth("u", "s3cret")}),
            ({"auth": angelia.BasicAuth("u", "s3cret")}, {}),
            ({"headers": {"authorization": "Bearer s3cret"}}, {}),
        ],
    )
    async def test_redirect_elsewhere(
        self, scheme: str, of_session: dict[str, Any], options: dict[str, Any]
    ) -> None:
        """Another origin learns no credentials, however they were given and spelled."""
        async with RawServer(ws_script(echo)) as other:
            place = f"Location: {other.url.with_scheme(scheme)}"
            moved = response(b"", place, status="307 Temporary Redirect")
            async with (
                RawServer([moved]) as server,
                angelia.ClientSession(**of_session) as session,
                session.ws_connect(ws_url(server), protocols=("chat",), **options) as ws,
            ):
                await ws.send_str("a")
                assert await ws.receive_str() == "a"
            names = {name.lower() for name, _ in fields_of(server.requests[0])}
            assert names & {"authorization", "cookie"}
            names = {name.lower() for name, _ in fields_of(other.requests[0].split(END)[0])}
            assert not names & {"authorization", "cookie", "proxy-authorization"}
            assert "sec-websocket-protocol" in names
            assert b"s3cret" not in other.requests[0]

    async def test_redirect(self) -> None:
        """A redirect is followed, also to the `http` URL that means the same; auth goes along."""

        async def first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            place = f"Location: http://127.0.0.1:{server.port}/there"
            writer.write(response(b"", place, "Connection: close", status="302 Found"))

        scripts = iter([first, ws_script(echo)])

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await next(scripts)(reader, writer)

        async with RawServer(script) as server, angelia.ClientSession() as session:
            auth = angelia.BasicAuth("u", "p")
            async with session.ws_connect(ws_url(server), auth=auth) as ws:
                await ws.send_str("a")
                assert await ws.receive_str() == "a"
            assert server.requests[1].startswith(b"GET /there ")
            assert b"Authorization: Basic" in server.requests[1]
            assert len({key_in(request) for request in server.requests}) == 2

    async def test_key_of_each_attempt(self) -> None:
        """RFC 6455 §4.1: each connection that a handshake is tried on has a nonce of its own."""

        async def plain_then_gone(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            await read_head(reader)
            writer.write(response(b"ok"))
            await read_head(reader)

        scripts = iter([plain_then_gone, ws_script(echo)])

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await next(scripts)(reader, writer)

        async with RawServer(script) as server, angelia.ClientSession() as session:
            async with session.get(server.url) as resp:
                await resp.read()
            async with session.ws_connect(server.url) as ws:
                await ws.send_str("a")
                assert await ws.receive_str() == "a"
            first, second = (
                key_in(connection.received.rpartition(b"GET ")[2]) for connection in server.accepted
            )
        assert first != second

    async def test_early_messages(self) -> None:
        """What comes in one segment with the 101 are the first messages."""

        def early(core: Any) -> None:
            core.send_text("first")
            core.send_binary(b"second")

        script = ws_script(idle, early=early)
        async with (
            RawServer(script) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            assert await ws.receive_str() == "first"
            assert await ws.receive_bytes() == b"second"

    async def test_early_through_middleware(self) -> None:
        """They are kept while a middleware still has the response, even if the end has come."""
        sent = asyncio.Event()

        async def play(peer: Peer) -> None:
            for number in range(50):
                await peer.text(str(number))
                await asyncio.sleep(0)
            sent.set()

        async def slow(request: Any, handler: Any) -> Any:
            response = await handler(request)
            await sent.wait()
            for _ in range(20):
                await asyncio.sleep(0)
            return response

        async with (
            RawServer(ws_script(play)) as server,
            angelia.ClientSession(middlewares=[slow]) as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            assert [m.data async for m in ws] == [str(n) for n in range(50)]
            assert ws.close_code == 1006

    @pytest.mark.parametrize("scheme", ["ws", "http"])
    @pytest.mark.parametrize("secure_proxy", [False, True])
    async def test_proxy(
        self,
        scheme: str,
        secure_proxy: bool,
        server_ssl: ssl.SSLContext,
        client_ssl: ssl.SSLContext,
    ) -> None:
        """RFC 6455 §4.1: an HTTP proxy is asked for a tunnel, also where there is no TLS.

        `proxy_auth` and `proxy_headers` are for the proxy, and for it only.
        """
        heads = []

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append(await read_head(reader))
            writer.write(TUNNEL)
            # What comes through the tunnel is for the target, whose part we play too.
            await ws_script(echo)(reader, writer)

        async with (
            RawServer(script, tls=server_ssl if secure_proxy else None) as proxy,
            angelia.TCPConnector(proxy_ssl=client_ssl) as connector,
            angelia.ClientSession(connector=connector) as session,
        ):
            async with session.ws_connect(
                f"{scheme}://example.org/x",
                proxy=proxy.url,
                proxy_auth=angelia.BasicAuth("p", "w"),
                proxy_headers={"X-Proxy": "1"},
            ) as ws:
                await ws.send_str("a")
                assert await ws.receive_str() == "a"
            received = proxy.accepted[0].received
        assert heads[0].startswith(b"CONNECT example.org:80 HTTP/1.1\r\nHost: example.org:80\r\n")
        assert b"\r\nProxy-Authorization: Basic" in heads[0]
        assert b"\r\nX-Proxy: 1" in heads[0]
        handshake = received.removeprefix(heads[0]).split(b"\r\n\r\n")[0]
        assert handshake.startswith(b"GET /x HTTP/1.1\r\nHost: example.org\r\n")
        assert b"Proxy" not in handshake

    async def test_proxy_refuses_the_tunnel(self) -> None:
        """A tunnel that is refused is no handshake, and nobody is asked for it in another way."""
        answer = response(b"no", status="403 Forbidden")
        async with RawServer([answer]) as proxy, angelia.ClientSession() as session:
            with pytest.raises(angelia.ClientHttpProxyError) as caught:
                await session.ws_connect("ws://example.org/x", proxy=proxy.url)
            await proxy.accepted[0].closed.wait()
            assert len(proxy.requests) == 1
        assert caught.value.status == 403

    async def test_tunnels_are_not_for_requests(self) -> None:
        """A connection on which the proxy forwards requests serves no handshake of that target."""
        firsts = []

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await read_head(reader)
            firsts.append(head.partition(b"\r\n")[0])
            if head.startswith(b"CONNECT "):
                writer.write(TUNNEL)
                await ws_script(echo)(reader, writer)
            else:
                writer.write(response(b"ok"))
                await reader.read()

        async with RawServer(script) as proxy, angelia.ClientSession(proxy=proxy.url) as session:
            async with session.get("http://example.org/") as resp:
                assert await resp.text() == "ok"
            async with session.ws_connect("http://example.org/"):
                pass
            assert proxy.connections == 2
        assert firsts == [
            b"GET http://example.org/ HTTP/1.1",
            b"CONNECT example.org:80 HTTP/1.1",
        ]

    async def test_request_timeouts_end_with_the_handshake(self) -> None:
        """The session's timeouts are for the handshake; an open WebSocket may be silent."""
        go = asyncio.Event()

        async def play(peer: Peer) -> None:
            await go.wait()
            await peer.text("late")
            await idle(peer)

        timeout = angelia.ClientTimeout(total=0.2, sock_read=0.1)
        async with (
            RawServer(ws_script(play)) as server,
            angelia.ClientSession(timeout=timeout) as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            with pytest.raises(asyncio.TimeoutError):
                await ws.receive(timeout=0.3)
            go.set()
            assert await ws.receive_str() == "late"

    async def test_not_pooled(self) -> None:
        """The connection of a WebSocket serves nobody afterwards."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await scripts.pop(0)(reader, writer)

        async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            writer.write(response(b"ok"))

        scripts = [ws_script(echo), plain]
        async with RawServer(script) as server, angelia.ClientSession() as session:
            async with session.ws_connect(ws_url(server)):
                pass
            async with session.get(server.url) as resp:
                assert await resp.text() == "ok"
            assert server.connections == 2

    async def test_response_class(self) -> None:
        """The session's `ws_response_class` is what `ws_connect` returns."""

        class Mine(ClientWebSocketResponse):
            pass

        async with (
            RawServer(ws_script(echo)) as server,
            angelia.ClientSession(ws_response_class=Mine) as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            assert type(ws) is Mine

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"compress": 8}, ValueError),
            ({"compress": 16}, ValueError),
            ({"compress": -1}, ValueError),
            ({"max_msg_size": -1}, ValueError),
            ({"protocols": "chat"}, TypeError),
            ({"protocols": ("a b",)}, ValueError),
            ({"protocols": ("a", "a")}, ValueError),
            ({"timeout": "1"}, TypeError),
            ({"timeout": angelia.ClientWSTimeout(ws_close=-1)}, ValueError),
            ({"timeout": angelia.ClientWSTimeout(ws_receive=float("nan"))}, ValueError),
            ({"heartbeat": -1}, ValueError),
            ({"heartbeat": "1"}, TypeError),
            ({"max_msg_size": None}, TypeError),
        ],
    )
    async def test_wrong_arguments(self, arguments: dict[str, Any], error: type[Exception]) -> None:
        """Arguments that no handshake can have are refused at once."""
        async with angelia.ClientSession() as session:
            with pytest.raises(error):
                await session.ws_connect("ws://example.org/", **arguments)

    async def test_deprecated_timeouts(self) -> None:
        """A bare number and `receive_timeout` still work, with a warning at the caller's line."""
        async with RawServer(ws_script(idle)) as server, angelia.ClientSession() as session:
            with pytest.warns(DeprecationWarning, match="ws_close"):
                context = session.ws_connect(ws_url(server), timeout=3.0)
            async with context as ws:
                assert not is_closed(ws)
            with pytest.warns(DeprecationWarning, match="ws_receive") as caught:
                context = session.ws_connect(ws_url(server), receive_timeout=0.05)
            assert caught[0].filename == __file__
            async with context as ws:
                with pytest.raises(asyncio.TimeoutError):
                    await ws.receive()

    async def test_cancelled_handshake(self) -> None:
        """A handshake that is cancelled closes its connection."""
        asked = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            asked.set()
            await reader.read()

        async with RawServer(script) as server, angelia.ClientSession() as session:
            task = asyncio.ensure_future(_connect(session, ws_url(server)))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.wait_all_closed()


async def _connect(session: angelia.ClientSession, url: URL) -> ClientWebSocketResponse:
    return await session.ws_connect(url)


class TestMessages:
    async def test_every_kind(self) -> None:
        """Each send method has its message; the server sends back what came."""
        async with (
            RawServer(ws_script(echo)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            await ws.send_str("grüße")
            assert await ws.receive() == WSMessage(WSMsgType.TEXT, "grüße", "")
            for data in (b"abc", bytearray(b"abc"), memoryview(b"abc")):
                await ws.send_bytes(data)
                assert await ws.receive_bytes() == b"abc"
            await ws.send_json({"a": [1]})
            assert await ws.receive_json() == {"a": [1]}
            await ws.send_json_bytes([1], dumps=lambda x: json.dumps(x).encode())
            assert (await ws.receive()).json() == [1]
            await ws.send_frame(b"raw", WSMsgType.TEXT)
            assert await ws.receive_str() == "raw"

    async def test_types(self) -> None:
        """What is no str or no octets is refused, and nothing of it sent."""
        wrong: Any = 1
        async with (
            RawServer(ws_script(echo)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            with pytest.raises(TypeError):
                await ws.send_str(wrong)
            with pytest.raises(TypeError):
                await ws.send_bytes(wrong)
            with pytest.raises(TypeError):
                await ws.send_json(1, dumps=lambda _: wrong)
            with pytest.raises(UnicodeEncodeError):
                await ws.send_str("\ud800")
            with pytest.raises(ValueError, match="PING"):
                await ws.ping(b"x" * 126)
            await ws.send_str("ok")
            assert await ws.receive_str() == "ok"

    @pytest.mark.parametrize("compress", [0, 15])
    async def test_views(self, compress: int) -> None:
        """A memoryview is the octets that it shows, whatever they are taken from."""
        views = [
            memoryview(b"abcdef")[::2],
            memoryview(b"abcdef")[::-1],
            memoryview(bytes(range(256)) * 400)[1::3],
            memoryview(array.array("I", [1, 2, 3])),
            memoryview(b"abcdef").cast("B", (2, 3)),
        ]
        async with (
            RawServer(ws_script(echo)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server), compress=compress) as ws,
        ):
            for view in views:
                await ws.send_bytes(view)
                assert await ws.receive_bytes() == bytes(view)

    async def test_other_type(self) -> None:
        """`receive_str` and its relatives refuse messages of another type, which are gone then."""
        async with (
            RawServer(ws_script(echo)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            await ws.send_bytes(b"a")
            with pytest.raises(angelia.WSMessageTypeError, match="b'a' is not"):
                await ws.receive_str()
            await ws.send_bytes(b"a" * 10000)
            with pytest.raises(angelia.WSMessageTypeError, match=r"b'a{100}'\.\.\. is not"):
                await ws.receive_str()
            await ws.send_str("b")
            with pytest.raises(angelia.WSMessageTypeError):
                await ws.receive_bytes()
            await ws.send_bytes(b"{}")
            with pytest.raises(TypeError):
                await ws.receive_json()

    async def test_octets_of_texts(self) -> None:
        """``decode_text=False`` gives the octets of texts."""
        async with (
            RawServer(ws_script(echo)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server), decode_text=False) as ws,
        ):
            await ws.send_str('{"ä": 1}')
            assert await ws.receive() == (WSMsgType.TEXT, '{"ä": 1}'.encode(), "")
            await ws.send_str('{"ä": 1}')
            assert await ws.receive_json() == {"ä": 1}

    @pytest.mark.parametrize("piece", [1, 2, 7])
    async def test_cut(self, piece: int) -> None:
        """Messages are the same however their octets are cut."""
        wire = frame(TEXT, "ab") + frame(0x01, "c") + frame(0x89, b"p") + frame(0x80, "d")
        wire += frame(BINARY, b"x" * 300) + frame(CLOSE, b"\x0f\xa1bye")

        async def play(peer: Peer) -> None:
            await peer.octets(wire, piece=piece)
            await peer.wait_eof()

        async with (
            RawServer(ws_script(play)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            assert await ws.receive_str() == "ab"
            assert await ws.receive_str() == "cd"
            assert await ws.receive_bytes() == b"x" * 300
            assert await ws.receive() == (WSMsgType.CLOSE, 4001, "bye")
            assert ws.close_code == 4001

    async def test_large(self) -> None:
        """Messages larger than any buffer go both ways at once."""
        data = bytes(range(256)) * 4096 * 3
        async with (
            RawServer(ws_script(echo)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            for _ in range(3):
                await ws.send_bytes(data)
                assert await ws.receive_bytes() == data

    async def test_max_msg_size(self) -> None:
        """A message of `max_msg_size` is taken, one octet more fails with 1009, 0 takes any."""

        async def play(peer: Peer) -> None:
            await peer.binary(b"x" * 1000)
            await peer.binary(b"x" * 1001)
            codes.append((await peer.receive()).data)

        codes: list[int] = []
        async with RawServer(ws_script(play)) as server, angelia.ClientSession() as session:
            async with session.ws_connect(ws_url(server), max_msg_size=1000) as ws:
                assert len(await ws.receive_bytes()) == 1000
                message = await ws.receive()
                assert message.type is WSMsgType.ERROR
                assert isinstance(message.data, angelia.WebSocketError)
                assert ws.exception() is message.data
                assert ws.close_code == 1009
                assert is_closed(ws)
                assert (await ws.receive()).type is WSMsgType.CLOSED
            async with session.ws_connect(ws_url(server), max_msg_size=0) as ws:
                assert len(await ws.receive_bytes()) == 1000
                assert len(await ws.receive_bytes()) == 1001
        assert codes == [1009, 1000]

    @pytest.mark.parametrize(
        ("wire", "code"),
        [
            (frame(0x83, b""), 1002),
            (frame(0xC1, b""), 1002),
            (serialize_frame(TEXT, b"masked", b"abcd"), 1002),
            (frame(0x80, b"stray"), 1002),
            (frame(TEXT, b"\xff"), 1007),
            (frame(CLOSE, b"\x03"), 1002),
            (frame(CLOSE, b"\x03\xed"), 1002),
            (b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 1002),
        ],
    )
    async def test_broken_rules(self, wire: bytes, code: int) -> None:
        """RFC 6455 §7.1.7: the peer is told why; what it sends on is thrown away, not reset."""

        async def play(peer: Peer) -> None:
            await peer.octets(frame(TEXT, "before") + wire)
            for _ in range(20):
                await peer.octets(frame(BINARY, b"x" * 65536))
            codes.append((await peer.receive()).data)

        codes: list[int] = []
        async with (
            RawServer(ws_script(play)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            received = [message async for message in ws]
            assert [m.type for m in received] == [WSMsgType.TEXT, WSMsgType.ERROR]
            assert ws.close_code == code
        assert codes == [code]

    async def test_concurrent_sends(self) -> None:
        """Sends of many tasks mix no frames, with one compressor for all, also if cancelled."""
        received: list[str] = []

        async def play(peer: Peer) -> None:
            while (message := await peer.receive()).type is WSMsgType.TEXT:
                received.append(message.data)

        script = ws_script(play, deflate=DeflateOffer())
        async with (
            RawServer(script) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server), compress=15) as ws,
        ):
            assert ws.compress == 15
            texts = [f"{number} " * 5000 for number in range(100)]
            tasks = [asyncio.ensure_future(ws.send_str(text)) for text in texts]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert received == texts

    async def test_second_receive(self) -> None:
        """A second task that receives is refused; the first one goes on."""
        async with (
            RawServer(ws_script(echo)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            first = asyncio.ensure_future(ws.receive())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="Concurrent call"):
                await ws.receive()
            await ws.send_str("a")
            assert (await first).data == "a"

    async def test_timeout_and_cancellation(self) -> None:
        """A receive that times out or is cancelled loses nothing, however late that comes."""
        async with (
            RawServer(ws_script(echo)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            with pytest.raises(asyncio.TimeoutError):
                await ws.receive(timeout=0.01)
            for number in range(30):
                waiting = asyncio.ensure_future(ws.receive())
                await ws.send_str(str(number))
                for _ in range(number % 10):
                    await asyncio.sleep(0)
                waiting.cancel()
                try:
                    message = await waiting
                except asyncio.CancelledError:
                    message = await ws.receive()
                assert message.data == str(number)

    async def test_receive_timeout_of_the_whole(self) -> None:
        """`ws_receive` holds for each receive without a timeout of its own."""
        async with RawServer(ws_script(echo)) as server, angelia.ClientSession() as session:
            timeout = angelia.ClientWSTimeout(ws_receive=0.01, ws_close=10)
            async with session.ws_connect(ws_url(server), timeout=timeout) as ws:
                with pytest.raises(asyncio.TimeoutError):
                    await ws.receive_str()
                await ws.send_str("a")
                assert await ws.receive_str(timeout=5) == "a"

    async def test_back_pressure(self) -> None:
        """A reader that does not read stops the server; then it gets everything, in order."""
        sent = 0
        total = 400
        blocked = asyncio.Event()

        async def play(peer: Peer) -> None:
            nonlocal sent
            raw = peer.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
            for number in range(total):
                peer.core.send_binary(number.to_bytes(2, "big") * 16384)
                # Not writelines(): that of Python 3.12.0 tells nobody that a transport is full.
                peer.writer.write(b"".join(peer.core.data_to_send()))
                written = asyncio.ensure_future(peer.writer.drain())
                # Both ends share the loop: who has not read in so many turns of it does not read.
                for _ in range(200):
                    if written.done():
                        break
                    await asyncio.sleep(0)
                else:
                    blocked.set()
                await written
                sent += 1
            await idle(peer)

        async with (
            RawServer(ws_script(play)) as server,
            angelia.ClientSession(
                connector=angelia.TCPConnector(socket_factory=small_socket)
            ) as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            await blocked.wait()
            assert sent < total // 4
            for number in range(total):
                data = await ws.receive_bytes()
                assert data[:2] == number.to_bytes(2, "big")

    async def test_sender_waits(self) -> None:
        """A server that does not read stops the sender; octets count, not characters."""
        go = asyncio.Event()
        received: list[int] = []

        async def play(peer: Peer) -> None:
            await go.wait()
            while (message := await peer.receive()).type is WSMsgType.TEXT:
                received.append(len(message.data))

        async with (
            RawServer(ws_script(play)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            text = "\u20ac" * 100_000
            sent = 0
            while True:
                sending = asyncio.ensure_future(ws.send_str(text))
                sent += 1
                # No system holds so much of it.
                assert sent < 400
                # Both ends share the loop: what is not taken in so many turns of it never is.
                for _ in range(200):
                    if sending.done():
                        break
                    await asyncio.sleep(0)
                else:
                    break
                await sending
            # A head of ten octets, and a mask of four.
            assert ws.stats().octets_sent == sent * (300_000 + 14)
            go.set()
            await sending
        assert received == [100_000] * sent

    async def test_iteration(self) -> None:
        """``async for`` gives messages until the WebSocket closes."""

        async def play(peer: Peer) -> None:
            await peer.text("a")
            await peer.binary(b"b")
            await peer.close(1001)

        async with (
            RawServer(ws_script(play)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            assert [message.data async for message in ws] == ["a", b"b"]
            assert ws.close_code == WSCloseCode.GOING_AWAY
            assert ws.exception() is None


class TestDeflate:
    @pytest.mark.parametrize(
        ("policy", "bits", "notakeover"),
        [
            (DeflateOffer(), 15, False),
            (DeflateOffer(client_no_context_takeover=True), 15, True),
            (DeflateOffer(server_no_context_takeover=True), 15, False),
            (DeflateOffer(client_max_window_bits=10, server_max_window_bits=9), 10, False),
        ],
    )
    async def test_agreed(self, policy: DeflateOffer, bits: int, notakeover: bool) -> None:
        """What was agreed on is known, and messages survive it."""
        script = ws_script(echo, deflate=policy)
        async with RawServer(script) as server, angelia.ClientSession() as session:
            async with session.ws_connect(ws_url(server), compress=15) as ws:
                assert ws.compress == bits
                assert ws.client_notakeover is notakeover
                for number in range(20):
                    await ws.send_str("hello " * 1000 + str(number))
                    assert await ws.receive_str() == "hello " * 1000 + str(number)
                await ws.send_str("", compress=None)
                assert await ws.receive_str() == ""
            assert len(server.requests[0]) < 10_000

    async def test_not_agreed(self) -> None:
        """Without an agreement nothing is compressed, whatever a call says."""
        async with (
            RawServer(ws_script(echo)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server), compress=15) as ws,
        ):
            assert ws.compress == 0
            await ws.send_str("a" * 1000, compress=15)
            assert await ws.receive_str() == "a" * 1000

    async def test_per_message(self) -> None:
        """``compress=0`` sends one message as it is."""
        script = ws_script(echo, deflate=DeflateOffer())
        async with RawServer(script) as server, angelia.ClientSession() as session:
            async with session.ws_connect(ws_url(server), compress=15) as ws:
                await ws.send_str("x" * 5000, compress=0)
                assert await ws.receive_str() == "x" * 5000
            assert len(server.requests[0]) > 5000

    async def test_inflated_beyond_room(self) -> None:
        """What inflates to much is inflated as it is read, and none of it is lost."""
        script_count = 40

        async def play(peer: Peer) -> None:
            for _ in range(script_count):
                peer.core.send_binary(bytes(1024 * 1024))
            await peer.flush()
            await peer.close()

        script = ws_script(play, deflate=DeflateOffer())
        async with (
            RawServer(script) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server), compress=15) as ws,
        ):
            sizes = [len(message.data) async for message in ws]
            assert sizes == [1024 * 1024] * script_count
            assert ws.close_code == 1000


class TestControl:
    async def test_autoping(self) -> None:
        """Pings are answered though nobody receives, and neither they nor Pongs are returned."""

        async def play(peer: Peer) -> None:
            await peer.ping(b"are you there")
            pongs.append(await peer.receive())
            await peer.text("done")
            await idle(peer)

        pongs: list[WSMessage] = []
        async with (
            RawServer(ws_script(play)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            await ws.ping("hello")
            assert await ws.receive_str() == "done"
        assert pongs == [(WSMsgType.PONG, b"are you there", "")] or pongs[0].type is WSMsgType.PONG

    async def test_without_autoping(self) -> None:
        """Without `autoping` Pings and Pongs are returned, and answering is the user's."""

        async def play(peer: Peer) -> None:
            await peer.ping(b"p")
            pongs.append(await peer.receive())
            await idle(peer)

        pongs: list[WSMessage] = []
        async with (
            RawServer(ws_script(play)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server), autoping=False) as ws,
        ):
            assert await ws.receive() == (WSMsgType.PING, b"p", "")
            await ws.pong(b"p")
            await ws.ping("q")
            assert await ws.receive() == (WSMsgType.PONG, b"q", "")
        assert pongs == [(WSMsgType.PONG, b"p", "")]

    async def test_autoclose(self) -> None:
        """The peer's Close is answered with its code when it is received; then come CLOSED."""

        async def play(peer: Peer) -> None:
            peer.core.send_text("first")
            peer.core.send_close(4000, "bye")
            await peer.flush()
            answers.extend([await peer.receive(), await peer.receive()])

        answers: list[WSMessage] = []
        async with RawServer(ws_script(play)) as server, angelia.ClientSession() as session:
            ws = await session.ws_connect(ws_url(server))
            assert await ws.receive_str() == "first"
            await ws.send_str("an answer")
            assert not is_closed(ws)
            assert await ws.receive() == (WSMsgType.CLOSE, 4000, "bye")
            assert is_closed(ws)
            await server.wait_all_closed()
            assert answers == [(WSMsgType.TEXT, "an answer", ""), (WSMsgType.CLOSE, 4000, "")]
            with pytest.raises(angelia.ClientConnectionResetError):
                await ws.send_str("too late")
            assert (ws.close_code, ws.close_reason) == (4000, "bye")
            for _ in range(20):
                assert await ws.receive() == (WSMsgType.CLOSED, None, None)
            assert await ws.close() is False
            assert ws.close_code == 4000

    async def test_autoclose_though_nobody_receives(self) -> None:
        """At once where no message came before it, else after half of `ws_close`."""

        async def play(peer: Peer) -> None:
            if first:
                await peer.text("unread")
            answers.append(await peer.close(4000, "bye"))

        answers: list[WSMessage] = []
        timeout = angelia.ClientWSTimeout(ws_close=0.02)
        for first in (False, True):
            # The peer's code comes back, and not 1006 by the end of the time.
            options: Any = {"timeout": timeout} if first else {}
            async with RawServer(ws_script(play)) as server, angelia.ClientSession() as session:
                ws = await session.ws_connect(ws_url(server), **options)
                await server.wait_all_closed()
                assert answers.pop() == (WSMsgType.CLOSE, 4000, "")
                with pytest.raises(angelia.ClientConnectionResetError):
                    await ws.send_str("too late")
                assert not is_closed(ws)
                if first:
                    assert await ws.receive_str() == "unread"
                assert await ws.receive() == (WSMsgType.CLOSE, 4000, "bye")
                assert is_closed(ws)

    async def test_without_autoclose(self) -> None:
        """Without `autoclose` the Close is returned, and answered when the user closes."""

        async def play(peer: Peer) -> None:
            answers.append(await peer.close(4000, "bye"))

        answers: list[WSMessage] = []
        async with (
            RawServer(ws_script(play)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server), autoclose=False) as ws,
        ):
            assert await ws.receive() == (WSMsgType.CLOSE, 4000, "bye")
            assert not is_closed(ws)
            assert answers == []
            assert await ws.close(code=4001, message="and you")
            assert is_closed(ws)
            assert ws.close_code == 4000
        assert answers == [(WSMsgType.CLOSE, 4001, "and you")]


class TestClose:
    async def test_close(self) -> None:
        """One Close frame is sent, the answer awaited; afterwards nothing can be sent."""

        async def play(peer: Peer) -> None:
            received.append(await peer.receive())
            await peer.wait_eof()

        received: list[WSMessage] = []
        async with RawServer(ws_script(play)) as server, angelia.ClientSession() as session:
            ws = await session.ws_connect(ws_url(server))
            assert code_of(ws) is None
            assert await ws.close(code=4002, message=b"enough") is True
            assert is_closed(ws)
            assert ws.close_code == 4002
            assert await ws.close() is False
            assert await ws.receive() == (WSMsgType.CLOSED, None, None)
            for send in (ws.send_str("a"), ws.send_bytes(b"a"), ws.ping(), ws.send_json(1)):
                with pytest.raises(angelia.ClientConnectionResetError):
                    await send
            await server.wait_all_closed()
        assert received == [(WSMsgType.CLOSE, 4002, "enough")]

    async def test_wrong_code(self) -> None:
        """A code that may not be sent, or too long a reason, is refused and nothing happens."""
        async with (
            RawServer(ws_script(echo)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            for code, message in ((1006, b""), (999, b""), (5000, b""), (1000, b"x" * 124)):
                with pytest.raises(ValueError, match=r".+"):
                    await ws.close(code=code, message=message)
            wrong: Any = 5
            with pytest.raises(TypeError):
                await ws.close(message=wrong)
            with pytest.raises(TypeError):
                await ws.ping(wrong)
            wrong = 1000.0
            with pytest.raises(ValueError, match=r"1000\.0"):
                await ws.close(code=wrong)
            await ws.send_str("still here")
            assert await ws.receive_str() == "still here"

    async def test_data_before_the_answer(self) -> None:
        """What the peer sends before it answers is skipped."""

        async def play(peer: Peer) -> None:
            started.set()
            for _ in range(100):
                await peer.binary(bytes(65536))
            await idle(peer)

        started = asyncio.Event()
        async with (
            RawServer(ws_script(play)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            await started.wait()
            assert await ws.close()
            assert ws.close_code == 1000

    async def test_no_answer(self) -> None:
        """Without an answer within `ws_close` the connection is closed with 1006."""

        async def play(peer: Peer) -> None:
            await peer.wait_eof()

        timeout = angelia.ClientWSTimeout(ws_close=0.05)
        script = ws_script(play, autoclose=False)
        async with RawServer(script) as server, angelia.ClientSession() as session:
            ws = await session.ws_connect(ws_url(server), timeout=timeout)
            assert await ws.close()
            assert ws.close_code == 1006
            assert isinstance(ws.exception(), asyncio.TimeoutError)
            await server.wait_all_closed()

    async def test_cancelled_close(self) -> None:
        """A close that is cancelled closes the connection all the same."""

        async def play(peer: Peer) -> None:
            await peer.wait_eof()

        async with RawServer(ws_script(play)) as server, angelia.ClientSession() as session:
            ws = await session.ws_connect(ws_url(server))
            task = asyncio.ensure_future(ws.close())
            for _ in range(5):
                await asyncio.sleep(0)
            assert is_closed(ws)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.wait_all_closed()
            assert is_closed(ws)
            assert ws.close_code == 1006
            assert (await ws.receive()).type is WSMsgType.CLOSED

    async def test_close_wakes_receive(self) -> None:
        """Closing from another task wakes a receive, whose iteration ends."""
        async with RawServer(ws_script(echo)) as server, angelia.ClientSession() as session:
            async with session.ws_connect(ws_url(server)) as ws:
                waiting = asyncio.ensure_future(ws.receive())
                await asyncio.sleep(0)
                await ws.close()
                assert (await waiting).type in (WSMsgType.CLOSING, WSMsgType.CLOSED)
                assert ws.close_code == 1000
            async with session.ws_connect(ws_url(server)) as ws:

                async def read() -> list[WSMessage]:
                    return [message async for message in ws]

                reading = asyncio.ensure_future(read())
                await asyncio.sleep(0)
                await ws.close()
                assert await reading == []

    async def test_both_close(self) -> None:
        """When both sides close at the same time, both codes arrive and both are done."""

        async def play(peer: Peer) -> None:
            peer.core.send_close(4010)
            await peer.flush()
            codes.append((await peer.receive()).data)

        codes: list[int] = []
        async with RawServer(ws_script(play)) as server, angelia.ClientSession() as session:
            ws = await session.ws_connect(ws_url(server))
            await ws.close(code=4011)
            assert ws.close_code == 4010
            await server.wait_all_closed()
        assert codes[0] in (4010, 4011)

    @pytest.mark.parametrize("reset", [False, True])
    async def test_end_without_close(self, reset: bool) -> None:
        """RFC 6455 §7.1.5: the end without a Close frame is 1006, with an exception, not an order.

        Messages before it are read first; who iterates sees the end.
        """

        async def play(peer: Peer) -> None:
            await peer.text("last words")
            await peer.receive()
            if reset:
                peer.writer.transport.abort()

        async with RawServer(ws_script(play)) as server, angelia.ClientSession() as session:
            ws = await session.ws_connect(ws_url(server))
            assert await ws.receive_str() == "last words"
            await ws.send_str("go")
            assert await ws.receive() == (WSMsgType.CLOSED, None, None)
            assert is_closed(ws)
            assert ws.close_code == 1006
            assert ws.exception() is not None
            with pytest.raises(angelia.ClientConnectionResetError):
                await ws.send_str("anybody?")
            assert await ws.close() is False
            assert ws.close_code == 1006

    async def test_session_closes(self) -> None:
        """A session that closes ends its WebSockets, and whoever receives learns of it."""

        async def play(peer: Peer) -> None:
            await peer.wait_eof()

        async with RawServer(ws_script(play)) as server:
            async with angelia.ClientSession() as session:
                ws = await session.ws_connect(ws_url(server))
                waiting = asyncio.ensure_future(ws.receive())
                await asyncio.sleep(0)
            assert (await waiting).type is WSMsgType.CLOSED
            assert ws.close_code == 1006
            assert isinstance(ws.exception(), angelia.ClientConnectionError)
            await server.wait_all_closed()

    async def test_forgotten(self) -> None:
        """A WebSocket that is forgotten warns, and its connection is closed, heartbeat or not."""

        async def play(peer: Peer) -> None:
            await peer.wait_eof()

        async with RawServer(ws_script(play)) as server, angelia.ClientSession() as session:
            ws = await session.ws_connect(ws_url(server), heartbeat=30)
            with pytest.warns(ResourceWarning, match="Unclosed"):
                del ws
            gc.collect()
            await server.wait_all_closed()

    async def test_body_fails(self) -> None:
        """An exception in ``async with`` closes the WebSocket and goes on."""
        async with RawServer(ws_script(echo)) as server, angelia.ClientSession() as session:
            with pytest.raises(LookupError):
                async with session.ws_connect(ws_url(server)) as ws:
                    raise LookupError
            assert is_closed(ws)
            assert ws.close_code == 1000


class TestEndSending:
    async def test_rest_is_received(self) -> None:
        """After our Close what the server still says is received, up to its answer."""

        async def play(peer: Peer) -> None:
            peer.core.send_text("one")
            await peer.text("two")
            assert (await peer.receive()).type is WSMsgType.CLOSE

        async with (
            RawServer(ws_script(play)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            with pytest.raises(ValueError, match="999"):
                ws.end_sending(999)
            ws.end_sending()
            ws.end_sending()
            with pytest.raises(angelia.ClientConnectionResetError):
                await ws.send_str("x")
            assert [message.data async for message in ws] == ["one", "two"]
            assert ws.close_code == WSCloseCode.OK
            assert ws.exception() is None


class TestStats:
    async def test_face(self) -> None:
        """How fast the server answers, and what went over the WebSocket."""
        async with (
            RawServer(ws_script(echo)) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server)) as ws,
        ):
            assert ws.stats().latency is None
            await ws.ping()
            await ws.send_str("hello")
            assert await ws.receive_str() == "hello"
            stats = ws.stats()
            assert stats.latency == ws.latency
            assert stats == (1, 1, 6 + 11, 2 + 7, 0, stats.latency)
            assert stats.latency


class TestHeartbeat:
    async def test_pings(self) -> None:
        """In silence Pings go out; Pongs keep the WebSocket open though nobody receives."""

        async def play(peer: Peer) -> None:
            for _ in range(3):
                pings.append((await peer.receive()).type)
                peer.core.send_pong()
                await peer.flush()
            await peer.text("enough")
            done.set()
            await idle(peer)

        done = asyncio.Event()
        pings: list[WSMsgType] = []
        script = ws_script(play, autoping=False)
        async with (
            RawServer(script) as server,
            angelia.ClientSession() as session,
            session.ws_connect(ws_url(server), heartbeat=0.4) as ws,
        ):
            await done.wait()
            assert await ws.receive_str() == "enough"
        assert pings == [WSMsgType.PING] * 3

    @pytest.mark.parametrize("waits", [False, True])
    async def test_no_pong(self, waits: bool) -> None:
        """A missing Pong is an error for whoever receives, and 1006; the connection is closed."""

        async def play(peer: Peer) -> None:
            await peer.wait_eof()

        async with RawServer(ws_script(play)) as server, angelia.ClientSession() as session:
            ws = await session.ws_connect(ws_url(server), heartbeat=0.04)
            if not waits:
                await server.wait_all_closed()
            message = await ws.receive()
            assert message.type is WSMsgType.ERROR
            assert isinstance(message.data, angelia.ServerTimeoutError)
            assert ws.exception() is message.data
            assert ws.close_code == 1006
            assert is_closed(ws)
            assert (await ws.receive()).type is WSMsgType.CLOSED
            await server.wait_all_closed()


@pytest.mark.parametrize("compress", [0, 15])
async def test_websockets_library(compress: int) -> None:
    """The `websockets` library as the server: texts, octets, pings, and a close from each side."""
    server_module = pytest.importorskip("websockets.asyncio.server")

    async def handler(connection: Any) -> None:
        async for message in connection:
            if message == "close":
                await connection.close(4003, "as you like")
                return
            await connection.send(message)
            await (await connection.ping())

    async with (
        server_module.serve(handler, "127.0.0.1", 0, subprotocols=["chat"]) as server,
        angelia.ClientSession() as session,
    ):
        port = server.sockets[0].getsockname()[1]
        url = f"ws://127.0.0.1:{port}/"
        async with session.ws_connect(url, compress=compress, protocols=("chat",)) as ws:
            assert ws.protocol == "chat"
            assert ws.compress == (12 if compress else 0)
            for message in ("a", "grüße" * 10_000, ""):
                await ws.send_str(message)
                assert await ws.receive_str() == message
            await ws.send_bytes(bytes(100_000))
            assert await ws.receive_bytes() == bytes(100_000)
            await ws.send_str("close")
            assert await ws.receive() == (WSMsgType.CLOSE, 4003, "as you like")
        async with session.ws_connect(url, compress=compress, protocols=("chat",)) as ws:
            await ws.close(code=4004)
            assert ws.close_code == 4004


@pytest.mark.usefixtures("loop_kind")
class TestThreads:
    """Large messages that are to be compressed are deflated in threads."""

    async def test_loop_goes_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """While a thread deflates, all goes on but messages: they keep their order."""
        began, go = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()
        deflate = MessageDeflater.deflate

        def slow(self: MessageDeflater, data: bytes, *, fin: bool = True) -> bytes:
            if len(data) >= THREAD_SIZE:
                loop.call_soon_threadsafe(began.set)
                go.wait()
            return deflate(self, data, fin=fin)

        async def play(peer: Peer) -> None:
            await peer.text("a")
            messages.extend([await peer.receive() for _ in range(3)])
            await idle(peer)

        messages: list[WSMessage] = []
        monkeypatch.setattr(MessageDeflater, "deflate", slow)
        try:
            async with (
                RawServer(ws_script(play, deflate=DeflateOffer(), autoping=False)) as server,
                angelia.ClientSession() as session,
                session.ws_connect(ws_url(server), compress=15) as ws,
            ):
                large = asyncio.ensure_future(ws.send_bytes(bytes(THREAD_SIZE)))
                await began.wait()
                small = asyncio.ensure_future(ws.send_str("b"))
                assert await ws.receive_str() == "a"
                await ws.ping()
                assert not large.done()
                assert not small.done()
                go.set()
                await large
                await small
        finally:
            go.set()
        assert [m.type for m in messages] == [WSMsgType.PING, WSMsgType.BINARY, WSMsgType.TEXT]
        assert messages[1].data == bytes(THREAD_SIZE)

    async def test_session_closes_meanwhile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The sender hears of it at once; what the thread makes is thrown away."""
        began, go = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def stuck(_self: MessageDeflater, _data: bytes) -> bytes:
            loop.call_soon_threadsafe(began.set)
            go.wait()
            return b""

        monkeypatch.setattr(MessageDeflater, "deflate", stuck)
        try:
            async with RawServer(ws_script(idle, deflate=DeflateOffer())) as server:
                async with angelia.ClientSession() as session:
                    ws = await session.ws_connect(ws_url(server), compress=15)
                    sending = asyncio.ensure_future(ws.send_bytes(bytes(THREAD_SIZE)))
                    await began.wait()
                with pytest.raises(angelia.ClientConnectionResetError):
                    await sending
                await server.wait_all_closed()
        finally:
            go.set()

    async def test_websockets_library(self) -> None:
        """Many tasks send at a time, and some of them are cancelled: what was begun comes back."""
        server_module = pytest.importorskip("websockets.asyncio.server")

        async def handler(connection: Any) -> None:
            async for message in connection:
                await connection.send(message)

        contents = [f"{n} " * (THREAD_SIZE if n % 3 else 10) for n in range(12)]
        async with (
            server_module.serve(handler, "127.0.0.1", 0, max_size=None) as server,
            angelia.ClientSession() as session,
        ):
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            async with session.ws_connect(url, compress=15) as ws:
                tasks = [asyncio.ensure_future(ws.send_str(text)) for text in contents]
                await asyncio.sleep(0)
                for task in tasks[::4]:
                    task.cancel()
                assert [await ws.receive_str() for _ in contents] == contents
                await asyncio.gather(*tasks, return_exceptions=True)
