"""Our client, and WebSocket servers of Node's package `ws`."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import angelia
from angelia import WSMsgType
from peers.node_ws import BOTH, CODES, SMALL, Costs, RequirePeer, Script, last, running

pytestmark = pytest.mark.deadline(30)

both_loops = pytest.mark.usefixtures("loop_kind")

MEBIBYTE = 1 << 20


@asynccontextmanager
async def listened(
    require_peer: RequirePeer, script: str, **given: Any
) -> AsyncIterator[tuple[Script, str]]:
    """A script of theirs that serves, and its URL."""
    async with running(require_peer, script, **given) as node:
        yield node, f"ws://127.0.0.1:{await node.said()}/"


ECHO = """
    listening({ perMessageDeflate: given.deflate }, (ws) => {
      ws.on("message", (data, binary) => ws.send(data, { binary }));
      ended(ws).then(say);
    });
"""


async def exchange(ws: angelia.ClientWebSocketResponse) -> None:
    """Messages of all kinds, sent to who sends them back as they were."""
    for text in ("", "gr\u00fc\u00df dich \U0001f600", "\u20ac" * 349_525 + "x"):
        await ws.send_str(text)
        assert await ws.receive_str() == text
    for data in (b"", random.Random(2).randbytes(MEBIBYTE)):
        await ws.send_bytes(data)
        assert await ws.receive_bytes() == data
    await ws.ping(b"are you there")
    texts = [f"message {number}" for number in range(200)]
    await asyncio.gather(*[ws.send_str(text) for text in texts])
    assert [await ws.receive_str() for _ in texts] == texts
    assert ws.latency is not None


class TestNodeServer:
    @both_loops
    @pytest.mark.parametrize(
        ("deflate", "compress"), [(False, 15), (True, 0), (True, 15), (True, 9), (BOTH, 15)]
    )
    async def test_messages(self, require_peer: RequirePeer, deflate: Any, compress: int) -> None:
        """Texts, octets, 1 MiB, Pings and many at once come back, whatever was agreed on."""
        async with (
            listened(require_peer, ECHO, deflate=deflate) as (node, url),
            angelia.ClientSession() as session,
        ):
            async with session.ws_connect(url, compress=compress) as ws:
                assert ws.compress == (compress if deflate else 0)
                await exchange(ws)
            assert await node.said() == [1000, ""]
            assert ws.close_code == 1000

    @pytest.mark.parametrize(
        ("deflate", "fell"),
        [
            (False, (False, False)),
            (True, (True, True)),
            ({"serverNoContextTakeover": True}, (True, False)),
            ({"clientNoContextTakeover": True}, (False, True)),
            (BOTH, (False, False)),
            (SMALL, (False, False)),
        ],
    )
    async def test_takeover(
        self, require_peer: RequirePeer, deflate: Any, fell: tuple[bool, bool]
    ) -> None:
        """RFC 7692 §7.1: what the server answers to our offer is kept to."""
        costs = Costs()
        async with (
            listened(require_peer, ECHO, deflate=deflate) as (_, url),
            angelia.ClientSession() as session,
            session.ws_connect(url, compress=15) as ws,
        ):
            await costs.ask(ws)
        assert costs.fell() == fell

    async def test_fragments(self, require_peer: RequirePeer) -> None:
        """Fragments, compressed or not, with Pings of theirs between them, are one message."""
        script = """
            listening({ perMessageDeflate: { threshold: 0 } }, async (ws) => {
              for (const compress of [true, false]) {
                const pong = once(ws, "pong");
                ws.send("in ", { fin: false, compress });
                ws.ping("between");
                ws.send("\u20ac".repeat(100000), { fin: false, compress });
                ws.send("", { fin: true, compress });
                say((await pong)[0].toString());
              }
            });
        """
        async with (
            listened(require_peer, script) as (node, url),
            angelia.ClientSession() as session,
            session.ws_connect(url, compress=15) as ws,
        ):
            for _ in range(2):
                assert await ws.receive_str() == "in " + "\u20ac" * 100_000
                assert await node.said() == "between"

    async def test_protocols(self, require_peer: RequirePeer) -> None:
        """The subprotocol is the one that the server took."""
        script = """
            const handleProtocols = (protocols) => protocols.has("b") && "b";
            listening({ handleProtocols }, (ws) => say(ws.protocol));
        """
        async with (
            listened(require_peer, script) as (node, url),
            angelia.ClientSession() as session,
        ):
            for offered, chosen in ((("a", "b"), "b"), (("a",), None), ((), None)):
                async with session.ws_connect(url, protocols=offered) as ws:
                    assert ws.protocol == chosen
                    assert await node.said() == (chosen or "")

    @both_loops
    async def test_they_close(self, require_peer: RequirePeer) -> None:
        """Each code that may be sent, a Close without one, and an end without a Close."""
        script = """
            listening({}, async (ws, request) => {
              const code = Number(request.url.slice(1));
              if (code === 1006) ws.terminate();
              else if (code === 1005) ws.close();
              else ws.close(code, "bis sp\u00e4ter");
              say(await ended(ws));
            });
        """
        async with (
            listened(require_peer, script) as (node, url),
            angelia.ClientSession() as session,
        ):
            for code in CODES:
                async with session.ws_connect(f"{url}{code}") as ws:
                    assert await last(ws) == (WSMsgType.CLOSE, "bis sp\u00e4ter", code)
                assert await node.said() == [code, ""]
            async with session.ws_connect(f"{url}1005") as ws:
                assert await last(ws) == (WSMsgType.CLOSE, "", 1005)
            assert await node.said() == [1005, ""]
            async with session.ws_connect(f"{url}1006") as ws:
                assert (await last(ws))[2] == 1006
            assert await node.said() == [1006, ""]

    @both_loops
    async def test_we_close(self, require_peer: RequirePeer) -> None:
        """Each code that may be sent, with its reason."""
        script = "listening({}, async (ws) => say(await ended(ws)));"
        async with (
            listened(require_peer, script) as (node, url),
            angelia.ClientSession() as session,
        ):
            for code in CODES:
                ws = await session.ws_connect(url)
                assert await ws.close(code=code, message=b"bis sp\xc3\xa4ter")
                assert ws.close_code == code
                assert await node.said() == [code, "bis sp\u00e4ter"]

    @pytest.mark.parametrize("deflate", [False, True])
    async def test_too_large_for_us(self, require_peer: RequirePeer, deflate: bool) -> None:
        """As large as `max_msg_size` is taken, one octet more, also in fragments, is not: 1009."""
        script = """
            const perMessageDeflate = given.deflate && { threshold: 0 };
            listening({ perMessageDeflate }, async (ws, request) => {
              const end = ended(ws);
              const sizes = JSON.parse(decodeURIComponent(request.url.slice(1)));
              ws.send("a".repeat(1000));
              sizes.forEach((size, i) => {
                ws.send("a".repeat(size), { fin: i === sizes.length - 1 });
              });
              const [code] = await end;
              say(code);
            });
        """
        async with (
            listened(require_peer, script, deflate=deflate) as (node, url),
            angelia.ClientSession() as session,
        ):
            for sizes in ("[1001]", "[500,501]", f"[{MEBIBYTE}]"):
                async with session.ws_connect(
                    url + sizes, max_msg_size=1000, compress=15 if deflate else 0
                ) as ws:
                    assert len(await ws.receive_str()) == 1000
                    message = await ws.receive()
                    assert message.type is WSMsgType.ERROR
                    assert message.data.code == 1009
                assert await node.said() == 1009

    @pytest.mark.parametrize("deflate", [False, True])
    async def test_too_large_for_them(self, require_peer: RequirePeer, deflate: bool) -> None:
        """A server that says 1009 is answered, and its code is the WebSocket's."""
        script = """
            listening({ maxPayload: 1000, perMessageDeflate: given.deflate }, async (ws) => {
              ws.on("message", (data) => ws.send(data.toString()));
              say(await ended(ws));
            });
        """
        async with (
            listened(require_peer, script, deflate=deflate) as (node, url),
            angelia.ClientSession() as session,
            session.ws_connect(url, compress=15 if deflate else 0) as ws,
        ):
            await ws.send_str("a" * 1000)
            assert len(await ws.receive_str()) == 1000
            await ws.send_str("a" * 1001)
            assert await last(ws) == (WSMsgType.CLOSE, "", 1009)
            assert await node.said() == ["WS_ERR_UNSUPPORTED_MESSAGE_LENGTH", 1006, ""]

    async def test_broken_rules(self, require_peer: RequirePeer) -> None:
        """RFC 6455 §5.1, §8.1: frames with a mask are 1002, texts that are none are 1007."""
        script = """
            listening({}, async (ws, request) => {
              if (request.url === "/mask") ws.send("a", { mask: true });
              else ws.send(Buffer.from([0x61, 0xff]), { binary: false });
              const [code] = await ended(ws);
              say(code);
            });
        """
        async with (
            listened(require_peer, script) as (node, url),
            angelia.ClientSession() as session,
        ):
            for path, code in (("mask", 1002), ("text", 1007)):
                async with session.ws_connect(url + path) as ws:
                    kind, _, found = await last(ws)
                    assert (kind, found) == (WSMsgType.ERROR, code)
                assert await node.said() == code

    async def test_refused(self, require_peer: RequirePeer) -> None:
        """A refusal is an error with its status."""
        script = """
            const verifyClient = (info, done) => done(false, 401, "No", { "X-Why": "because" });
            listening({ verifyClient }, () => say("opened"));
        """
        async with (
            listened(require_peer, script) as (_, url),
            angelia.ClientSession() as session,
        ):
            with pytest.raises(angelia.WSServerHandshakeError) as caught:
                await session.ws_connect(url)
            assert caught.value.status == 401
            assert caught.value.headers is not None
            assert caught.value.headers["X-Why"] == "because"

    async def test_tls(
        self, require_peer: RequirePeer, client_ssl: ssl.SSLContext, certificate_path: Path
    ) -> None:
        """wss: the same messages."""
        script = """
            const pem = require("node:fs").readFileSync(given.pem);
            const http = require("node:https").createServer({ key: pem, cert: pem });
            listening({}, (ws) => {
              ws.on("message", (data, binary) => ws.send(data, { binary }));
            }, http);
        """
        async with (
            running(require_peer, script, pem=str(certificate_path)) as node,
            angelia.ClientSession() as session,
        ):
            url = f"wss://localhost:{await node.said()}/"
            async with session.ws_connect(url, ssl=client_ssl) as ws:
                await exchange(ws)
