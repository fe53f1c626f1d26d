"""Our server, and WebSockets of Node's package `ws` as its clients."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import angelia
from angelia import WSMsgType
from peers.node_ws import BOTH, CODES, KEPT, SMALL, Costs, RequirePeer, Script, last, running

pytestmark = pytest.mark.deadline(30)

both_loops = pytest.mark.usefixtures("loop_kind")

DEFLATE = "permessage-deflate"


class Site:
    """A server of ours; its handler opens a WebSocket, and does as `play` says."""

    def __init__(
        self, play: Callable[[angelia.WebSocketResponse], Awaitable[Any]], **options: Any
    ) -> None:
        self.play = play
        self.options = options
        self.opened: list[angelia.WebSocketResponse] = []
        self.played: list[Any] = []

    async def __call__(self, request: angelia.Request) -> angelia.StreamResponse:
        angelia.check_origin(request)
        ws = angelia.WebSocketResponse(**self.options)
        await ws.prepare(request)
        self.opened.append(ws)
        self.played.append(await self.play(ws))
        return ws


@asynccontextmanager
async def visited(
    site: Site, require_peer: RequirePeer, script: str, **given: Any
) -> AsyncIterator[Script]:
    """Our server, and a script of theirs that has its URL."""
    async with angelia.Server(site) as server:
        await server.start("127.0.0.1", 0)
        url = f"ws://127.0.0.1:{server.port}/"
        async with running(require_peer, script, url=url, **given) as node:
            yield node


async def echo(ws: angelia.WebSocketResponse) -> None:
    """Ping, then send back what comes, until the end."""
    await ws.ping(b"are you there")
    async for message in ws:
        if message.type is WSMsgType.TEXT:
            await ws.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await ws.send_bytes(message.data)


class TestNodeClient:
    @both_loops
    @pytest.mark.parametrize("deflate", [False, True, {"clientNoContextTakeover": True}])
    async def test_messages(self, require_peer: RequirePeer, deflate: Any) -> None:
        """Texts, octets, 1 MiB, fragments with a Ping between, and many at once come back."""
        script = """
            const [ws] = await opened(given.url, [], { perMessageDeflate: given.deflate });
            say(await exchange(ws));
            ws.close(1000);
            say(await ended(ws));
        """
        site = Site(echo)
        async with visited(site, require_peer, script, deflate=deflate) as node:
            assert await node.said() == [True] * 8
            assert await node.said() == [1000, ""]
        assert site.opened[0].latency is not None
        assert site.opened[0].close_code == 1000

    @pytest.mark.parametrize(
        ("deflate", "answer", "fell"),
        [
            (False, None, (False, False)),
            (True, DEFLATE, (True, True)),
            (
                {"serverNoContextTakeover": True},
                DEFLATE + "; server_no_context_takeover",
                (False, True),
            ),
            (
                {"clientNoContextTakeover": True},
                DEFLATE + "; client_no_context_takeover",
                (True, False),
            ),
            (
                BOTH,
                DEFLATE + "; server_no_context_takeover; client_no_context_takeover",
                (False, False),
            ),
            (
                SMALL,
                DEFLATE + "; server_max_window_bits=9; client_max_window_bits=9",
                (False, False),
            ),
        ],
    )
    async def test_takeover(
        self, require_peer: RequirePeer, deflate: Any, answer: str | None, fell: tuple[bool, bool]
    ) -> None:
        """RFC 7692 §7.1: who keeps its window, and how large it is, is what they agreed on."""
        script = """
            const [ws, headers] = await opened(given.url, [], { perMessageDeflate: given.deflate });
            say(headers["sec-websocket-extensions"]);
            for (const text of [given.text, given.text]) {
              const got = answer(ws);
              ws.send(text);
              say(same(await got, text));
            }
        """
        costs = Costs()
        site = Site(costs.echo)
        async with visited(site, require_peer, script, deflate=deflate, text=KEPT) as node:
            assert await node.said() == answer
            assert await node.said()
            assert await node.said()
        assert costs.fell() == fell

    async def test_protocols(self, require_peer: RequirePeer) -> None:
        """The first of the client's that we speak; a client that gets none of its own gives up."""
        script = """
            for (const protocols of [["a", "b", "c"], []]) {
              const [ws] = await opened(given.url, protocols);
              say(ws.protocol);
              ws.close();
            }
            const [error] = await once(new WebSocket(given.url, ["a"]), "error");
            say(error.message);
        """
        site = Site(last, protocols=("c", "b"))
        async with visited(site, require_peer, script) as node:
            assert await node.said() == "b"
            assert not await node.said()
            assert "no subprotocol" in await node.said()
        assert [ws.ws_protocol for ws in site.opened] == ["b", None, None]

    @both_loops
    async def test_they_close(self, require_peer: RequirePeer) -> None:
        """Each code that may be sent, a Close without one, and an end without a Close."""
        script = """
            for (const code of given.codes) {
              const [ws] = await opened(given.url);
              ws.close(code, "bis sp\u00e4ter");
              say(await ended(ws));
            }
            const [ws] = await opened(given.url);
            ws.close();
            say(await ended(ws));
            const [other] = await opened(given.url);
            other.terminate();
            say(await ended(other));
        """
        site = Site(last)
        async with visited(site, require_peer, script, codes=CODES) as node:
            for code in CODES:
                assert await node.said() == [code, ""]
            assert await node.said() == [1005, ""]
            assert await node.said() == [1006, ""]
        assert site.played[: len(CODES)] == [
            (WSMsgType.CLOSE, "bis sp\u00e4ter", code) for code in CODES
        ]
        assert site.played[-2] == (WSMsgType.CLOSE, "", 1005)
        assert site.played[-1][2] == 1006

    @both_loops
    async def test_we_close(self, require_peer: RequirePeer) -> None:
        """Each code that may be sent; and what a handler's end and failure come to."""
        script = """
            for (let i = 0; i < given.count; i += 1) {
              const [ws] = await opened(given.url);
              say(await ended(ws));
            }
        """
        codes = iter(CODES)

        async def play(ws: angelia.WebSocketResponse) -> Any:
            code = next(codes, None)
            if code is None:
                if len(site.opened) == len(CODES) + 2:
                    raise RuntimeError("this handler fails")
                return None
            return await ws.close(code=code, message="bis sp\u00e4ter"), ws.close_code

        site = Site(play)
        async with visited(site, require_peer, script, count=len(CODES) + 2) as node:
            for code in CODES:
                assert await node.said() == [code, "bis sp\u00e4ter"]
            assert await node.said() == [1000, ""]
            assert await node.said() == [1011, ""]
        assert site.played == [(True, code) for code in CODES] + [None]

    async def test_server_closes(self, require_peer: RequirePeer) -> None:
        """A server that goes away says so: 1001."""
        script = """
            const [ws] = await opened(given.url);
            say("open");
            say(await ended(ws));
        """
        async with angelia.Server(Site(last)) as server:
            await server.start("127.0.0.1", 0)
            async with running(require_peer, script, url=f"ws://127.0.0.1:{server.port}/") as node:
                assert await node.said() == "open"
                await server.close()
                assert await node.said() == [1001, ""]

    @pytest.mark.parametrize("deflate", [False, True])
    async def test_too_large_for_us(self, require_peer: RequirePeer, deflate: bool) -> None:
        """As large as `max_msg_size` is taken, one octet more, also in fragments, is not: 1009."""
        script = """
            const options = { perMessageDeflate: given.deflate && { threshold: 0 } };
            for (const sizes of [[1001], [500, 501], [1 << 20]]) {
              const [ws] = await opened(given.url, [], options);
              const got = answer(ws);
              ws.send("a".repeat(1000));
              say((await got).length);
              sizes.forEach((size, i) => {
                ws.send("a".repeat(size), { fin: i === sizes.length - 1 });
              });
              const [code] = await ended(ws);
              say(code);
            }
        """
        site = Site(echo, max_msg_size=1000)
        async with visited(site, require_peer, script, deflate=deflate) as node:
            for _ in range(3):
                assert await node.said() == 1000
                assert await node.said() == 1009
        assert [ws.close_code for ws in site.opened] == [1009] * 3

    @pytest.mark.parametrize("deflate", [False, True])
    async def test_too_large_for_them(self, require_peer: RequirePeer, deflate: bool) -> None:
        """A client that says 1009 is answered, and its code is the WebSocket's."""
        script = """
            const [ws] = await opened(given.url, [], {
              maxPayload: 1000, perMessageDeflate: given.deflate,
            });
            const got = answer(ws);
            ws.send("begin");
            say((await got).length);
            ws.send("next");
            say(await ended(ws));
        """

        async def play(ws: angelia.WebSocketResponse) -> Any:
            assert await ws.receive_str() == "begin"
            await ws.send_str("a" * 1000)
            assert await ws.receive_str() == "next"
            await ws.send_str("a" * 1001)
            return await last(ws)

        site = Site(play)
        async with visited(site, require_peer, script, deflate=deflate) as node:
            assert await node.said() == 1000
            # Once it has failed, it does not look at our answer.
            assert await node.said() == ["WS_ERR_UNSUPPORTED_MESSAGE_LENGTH", 1006, ""]
        assert site.played == [(WSMsgType.CLOSE, "", 1009)]

    async def test_broken_rules(self, require_peer: RequirePeer) -> None:
        """RFC 6455 §5.1, §8.1: frames without a mask are 1002, texts that are none are 1007."""
        script = """
            for (const [data, options] of [
              ["a", { mask: false }], [Buffer.from([0x61, 0xff]), { binary: false }],
            ]) {
              const [ws] = await opened(given.url);
              ws.send(data, options);
              const [code] = await ended(ws);
              say(code);
            }
        """
        site = Site(last)
        async with visited(site, require_peer, script) as node:
            assert await node.said() == 1002
            assert await node.said() == 1007
        assert [(kind, code) for kind, _, code in site.played] == [
            (WSMsgType.ERROR, 1002),
            (WSMsgType.ERROR, 1007),
        ]

    async def test_refused(self, require_peer: RequirePeer) -> None:
        """A refusal is an answer with its status and its content."""
        script = """
            const ws = new WebSocket(given.url, { origin: "http://evil.example" });
            const [, response] = await once(ws, "unexpected-response");
            say(response.statusCode);
        """
        async with visited(Site(last), require_peer, script) as node:
            assert await node.said() == 403

    async def test_tls(
        self, require_peer: RequirePeer, server_ssl: ssl.SSLContext, ca_path: Path
    ) -> None:
        """wss: the same messages."""
        script = """
            const ca = require("node:fs").readFileSync(given.ca);
            const [ws] = await opened(given.url, [], { ca });
            say(await exchange(ws));
        """
        async with angelia.Server(Site(echo)) as server:
            await server.start("127.0.0.1", 0, ssl=server_ssl)
            url = f"wss://localhost:{server.port}/"
            async with running(require_peer, script, url=url, ca=str(ca_path)) as node:
                assert await node.said() == [True] * 8
