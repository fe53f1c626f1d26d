"""WebSockets of our server, and clients of others: websockets, Node, curl; proxies in between."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import angelia
from angelia.net.websocket_queue import THREAD_SIZE
from peers.process import Process, free_port

pytestmark = [pytest.mark.usefixtures("loop_kind"), pytest.mark.deadline(30)]

RequirePeer = Callable[[str], str]


async def handler(request: angelia.Request) -> angelia.StreamResponse:
    """Echo; `/close` closes with 4000, `/ping` sends Pings in between."""
    ws = angelia.WebSocketResponse(protocols=("echo",), max_msg_size=0)
    await ws.prepare(request)
    if request.path == "/close":
        await ws.close(code=4000, message="enough")
        return ws
    async for message in ws:
        if request.path == "/ping":
            await ws.ping(b"are you there")
        if message.type is angelia.WSMsgType.TEXT:
            await ws.send_str(message.data)
        else:
            await ws.send_bytes(message.data)
    return ws


class TestWebsocketsLibrary:
    @pytest.mark.parametrize("compression", [None, "deflate"])
    async def test_messages(self, require_peer: RequirePeer, compression: Any) -> None:
        """Texts, octets, fragments and large messages come back; control frames in between."""
        require_peer("module:websockets")
        from websockets.asyncio.client import connect
        from websockets.typing import Subprotocol

        large = os.urandom(50_000) * 30
        async with angelia.Server(handler) as server:
            await server.start("127.0.0.1", 0)
            url = f"ws://127.0.0.1:{server.port}/ping"
            async with connect(
                url,
                compression=compression,
                max_size=None,
                subprotocols=[Subprotocol("other"), Subprotocol("echo")],
            ) as ws:
                assert ws.subprotocol == "echo"
                for message in ("", "gr\u00fc\u00df dich", "x" * 100_000, b"", b"\x00\xff", large):
                    await ws.send(message)
                    assert await ws.recv() == message
                await ws.send(["in ", "pieces ", "\u20ac"])
                assert await ws.recv() == "in pieces \u20ac"
                await (await ws.ping())

    async def test_many_senders(self, require_peer: RequirePeer) -> None:
        """Large and small messages of many tasks come in their order, compressed by one window."""
        require_peer("module:websockets")
        from websockets.asyncio.client import connect

        contents = [f"{n} " * (THREAD_SIZE if n % 3 else 10) for n in range(12)]

        async def sender(request: angelia.Request) -> angelia.StreamResponse:
            ws = angelia.WebSocketResponse()
            await ws.prepare(request)
            await asyncio.gather(*(ws.send_str(text) for text in contents))
            return ws

        async with angelia.Server(sender) as server:
            await server.start("127.0.0.1", 0)
            url = f"ws://127.0.0.1:{server.port}/"
            async with connect(url, compression="deflate", max_size=None) as ws:
                assert [message async for message in ws] == contents
                assert ws.close_code == 1000

    async def test_close(self, require_peer: RequirePeer) -> None:
        """Codes and reasons go both ways."""
        require_peer("module:websockets")
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed

        async with angelia.Server(handler) as server:
            await server.start("127.0.0.1", 0)
            async with connect(f"ws://127.0.0.1:{server.port}/close") as ws:
                with pytest.raises(ConnectionClosed) as caught:
                    await ws.recv()
                assert caught.value.rcvd is not None
                assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4000, "enough")
            async with connect(f"ws://127.0.0.1:{server.port}/") as ws:
                await ws.close(4001, "bye")
                assert ws.close_code == 4001
            ws = await connect(f"ws://127.0.0.1:{server.port}/")
            await server.close()
            await ws.wait_closed()
            assert ws.close_code == 1001

    async def test_refused(self, require_peer: RequirePeer) -> None:
        """A refusal is an answer that the client can read."""
        require_peer("module:websockets")
        from websockets.asyncio.client import connect
        from websockets.exceptions import InvalidStatus

        async def refusing(request: angelia.Request) -> angelia.StreamResponse:
            angelia.check_origin(request)
            return await handler(request)

        async with angelia.Server(refusing) as server:
            await server.start("127.0.0.1", 0)
            url = f"ws://127.0.0.1:{server.port}/"
            with pytest.raises(InvalidStatus) as caught:
                await connect(url, origin="http://evil.example")  # type: ignore[arg-type]  # its NewType
            assert caught.value.response.status_code == 403


NODE = """
if (typeof WebSocket === "undefined") { console.log("none"); process.exit(0); }
const ws = new WebSocket(process.argv[1], ["echo"]);
ws.binaryType = "arraybuffer";
const sent = ["hello", "\\u20ac".repeat(70000), new Uint8Array(100000).fill(7)];
let at = 0;
ws.onopen = () => { console.log(ws.protocol, ws.extensions); ws.send(sent[0]); };
ws.onmessage = (event) => {
  const data = event.data;
  const same = typeof data === "string" ? data === sent[at]
    : Buffer.from(data).equals(Buffer.from(sent[at]));
  console.log(same);
  at += 1;
  if (at < sent.length) ws.send(sent[at]); else ws.close(4002, "done");
};
ws.onclose = (event) => console.log(event.code, event.wasClean);
ws.onerror = (event) => console.log("error", event.message);
"""


async def test_node(require_peer: RequirePeer) -> None:
    """Node's own WebSocket, which is a browser's: text, octets, and a clean end."""
    path = require_peer("node")

    async def run(*flags: str) -> list[str]:
        process = await asyncio.create_subprocess_exec(
            *(path, "--disable-wasm-trap-handler", *flags, "-e", NODE, url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output, _ = await process.communicate()
        return output.decode().splitlines()

    async with angelia.Server(handler) as server:
        await server.start("127.0.0.1", 0)
        url = f"ws://127.0.0.1:{server.port}/"
        lines = await run()
        if lines == ["none"]:
            # From Node 20.10 on it is there for those who ask.
            lines = await run("--experimental-websocket")
        if lines in ([], ["none"]):
            pytest.skip("this Node has no WebSocket")
    assert lines[0].startswith("echo")
    assert lines[1:] == ["true", "true", "true", "4002 true"]


# The example of RFC 6455 §1.3, with its answer.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
ASKED = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


async def greeting(request: angelia.Request) -> angelia.StreamResponse:
    """A WebSocket that says something and ends, for pages of ours only."""
    angelia.check_origin(request)
    # curl answers no Close.
    ws = angelia.WebSocketResponse(protocols=("echo",), timeout=0)
    await ws.prepare(request)
    await ws.send_str("hello")
    return ws


class TestCurl:
    """The opening handshake, spelt by a client that knows nothing of WebSockets."""

    async def ask(
        self, path: str, fields: dict[str, str | None], *options: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, fields by lower-case name, and what follows them."""
        wanted = {**ASKED, **fields}
        arguments = [f"{name}: {value}" for name, value in wanted.items() if value is not None]
        async with angelia.Server(greeting) as server:
            await server.start("127.0.0.1", 0)
            process = await asyncio.create_subprocess_exec(
                *(path, "-isS", "--max-time", "20", "--http1.1", *options),
                *(word for argument in arguments for word in ("-H", argument)),
                f"http://127.0.0.1:{server.port}/",
                stdout=asyncio.subprocess.PIPE,
            )
            printed, _ = await process.communicate()
        assert process.returncode == 0
        head, _, rest = printed.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        return int(first.split()[1]), {name.lower(): value for name, _, value in pairs}, rest

    @pytest.mark.parametrize(
        ("fields", "options", "protocol"),
        [
            ({}, [], None),
            ({"Upgrade": "WebSocket", "Connection": "keep-alive, upgrade"}, [], None),
            ({"Sec-WebSocket-Protocol": "other, echo"}, [], "echo"),
            ({}, ["-X", "POST", "-d", "content"], None),
        ],
    )
    async def test_accepted(
        self,
        fields: dict[str, str | None],
        options: list[str],
        protocol: str | None,
        require_peer: RequirePeer,
    ) -> None:
        """RFC 6455 §4.2.2: 101, the key's answer, the subprotocol, and frames from there on."""
        status, answer, frames = await self.ask(require_peer("curl"), fields, *options)
        assert status == 101
        assert answer["upgrade"] == "websocket"
        assert answer["connection"] == "Upgrade"
        assert answer["sec-websocket-accept"] == ACCEPT
        assert answer.get("sec-websocket-protocol") == protocol
        assert frames == b"\x81\x05hello\x88\x02\x03\xe8"

    @pytest.mark.parametrize(
        ("fields", "options", "status"),
        [
            ({"Upgrade": None}, [], 400),
            ({"Upgrade": "h2c"}, [], 400),
            ({"Connection": "close"}, [], 400),
            ({"Sec-WebSocket-Key": None}, [], 400),
            ({"Sec-WebSocket-Key": KEY[4:]}, [], 400),
            ({"Sec-WebSocket-Version": None}, [], 426),
            ({"Sec-WebSocket-Version": "12"}, [], 426),
            ({}, ["--http1.0"], 400),
            ({"Origin": "http://evil.example"}, [], 403),
        ],
    )
    async def test_refused(
        self,
        fields: dict[str, str | None],
        options: list[str],
        status: int,
        require_peer: RequirePeer,
    ) -> None:
        """What is no handshake, or not for this origin, gets an answer that says why."""
        found, answer, content = await self.ask(require_peer("curl"), fields, *options)
        assert found == status
        assert len(content) == int(answer["content-length"]) > 0
        assert "sec-websocket-accept" not in answer
        # RFC 6455 §4.4
        assert answer.get("sec-websocket-version") == ("13" if status == 426 else None)


NGINX = """
daemon off; master_process off; worker_processes 1;
pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 100; }}
http {{
    access_log off;
    client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
    uwsgi_temp_path {directory}; scgi_temp_path {directory};
    server {{
        listen 127.0.0.1:{own};
        location / {{
            proxy_pass http://127.0.0.1:{port}; proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
            proxy_set_header Host $host;
        }}
    }}
}}
"""


HAPROXY = """
global
    maxconn 100
    nbthread 1
defaults
    mode http
    timeout connect 20s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
frontend front
    bind 127.0.0.1:{own}
    default_backend ours
backend ours
    server ours 127.0.0.1:{port}
"""


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
async def test_behind_proxy(name: str, require_peer: RequirePeer, tmp_path: Path) -> None:
    """Through a proxy: messages, compression, and the end from either side."""
    program = require_peer(name)
    async with angelia.Server(handler) as server, angelia.ClientSession() as session:
        await server.start("127.0.0.1", 0)
        own = free_port()
        file = tmp_path / "configuration"
        text = NGINX if name == "nginx" else HAPROXY
        file.write_text(text.format(directory=tmp_path, port=server.port, own=own))
        command = {
            "nginx": [program, "-c", str(file), "-p", str(tmp_path)],
            "haproxy": [program, "-db", "-f", str(file)],
        }[name]
        process = Process(command, log=tmp_path / "log", ready=[own])
        with process:
            url = f"ws://127.0.0.1:{own}"
            async with session.ws_connect(url, compress=15) as ws:
                assert ws.compress == 15
                for size in (0, 1, 1000, 1_000_000):
                    await ws.send_str("x" * size)
                    assert await ws.receive_str() == "x" * size
            assert ws.close_code == 1000
            async with session.ws_connect(f"{url}/close") as ws:
                assert await ws.receive() == (angelia.WSMsgType.CLOSE, 4000, "enough")
