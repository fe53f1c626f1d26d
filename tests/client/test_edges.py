"""Edges where a request of one part meets another part: each rule by itself, over a real socket.

Held here is what no module's own tests show: control characters in all that a caller gives, what is
(not) carried to the next hop, what a failed ``100 Continue`` leaves, responses that are random
octets, and that nothing of a request, however it ended, needs the cycle collector.
"""

from __future__ import annotations

import asyncio
import gc
import gzip
import random
import weakref
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from multidict import CIMultiDict
from yarl import URL

import angelia
from angelia.core.coding import available_codings
from angelia.core.ws_extensions import DeflateOffer
from counting import counted
from peers.evil import CANARY, Evil, content, fields_of
from peers.raw import RawServer, read_head, read_request, response
from peers.ws import echo, ws_script

OK = response(b"ok")
CONTROLS = [chr(code) for code in (*range(9), *range(10, 32), 127)]


def moved(location: str = "/next", *fields: str, body: bytes = b"", status: int = 302) -> bytes:
    return response(body, f"Location: {location}", *fields, status=f"{status} Moved")


def heads(server: RawServer) -> list[bytes]:
    """The heads that came on the first connection, where no request had content."""
    return server.requests[0].split(b"\r\n\r\n")[:-1]


class TestControlCharacters:
    """RFC 9110 §5.5: none but TAB has a place in a head."""

    @pytest.mark.parametrize("char", CONTROLS, ids=ascii)
    async def test_refused(self, char: str) -> None:
        """In a field's name or value, the method or a cookie it is a ValueError, before a dial."""
        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            calls: list[tuple[str, dict[str, Any]]] = [
                ("GET", {"headers": {f"X{char}": "v"}}),
                ("GET", {"headers": {"X": f"a{char}b"}}),
                ("GET", {"headers": {"X": f"{char}b"}}),
                ("GET", {"headers": {"X": f"a{char}"}}),
                (f"GE{char}T", {}),
                ("GET", {"cookies": {"a": f"b{char}"}, "headers": {"X": "1"}}),
            ]
            for method, options in calls[:-1]:
                with pytest.raises(ValueError, match=r"."):
                    await session.request(method, server.url, **options)
            assert server.connections == 0
            # A jar quotes: what comes out of it has no such character.
            method, options = calls[-1]
            try:
                await (await session.request(method, server.url, **options)).read()
            except ValueError:
                return
            assert char.encode() not in server.requests[0].replace(b"\r\n", b"")

    async def test_tab(self) -> None:
        """A TAB within a value is part of it."""
        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            await (await session.get(server.url, headers={"X": "a\tb"})).read()
            assert ("x", "a\tb") in fields_of(server.requests[0])

    @pytest.mark.parametrize("char", CONTROLS, ids=ascii)
    async def test_of_a_session(self, char: str) -> None:
        """The fields of a session are no exception."""
        async with RawServer([OK]) as server:
            with pytest.raises(ValueError, match=r"."):
                async with angelia.ClientSession(headers={"X": f"a{char}b"}) as session:
                    await session.get(server.url)
            assert server.connections == 0


class TestHeads:
    async def test_undecodable_value(self) -> None:
        """RFC 9110 §5.5: other octets than text are kept, so that they can be had again."""
        answer = response(b"", "X: y").replace(b"X: y", b"X: \xe9\xff\xc3\xa9")
        async with (
            RawServer([answer]) as server,
            angelia.ClientSession() as session,
            session.get(server.url) as resp,
        ):
            value = resp.headers["X"]
            assert value.encode("utf-8", "surrogateescape") == b"\xe9\xff\xc3\xa9"
            assert (b"X", b"\xe9\xff\xc3\xa9") in resp.raw_headers

    async def test_empty_value(self) -> None:
        """A field without a value has the empty one."""
        answer = response(b"", "X:", "Y: \t ")
        async with (
            RawServer([answer]) as server,
            angelia.ClientSession() as session,
            session.get(server.url) as resp,
        ):
            assert (resp.headers["X"], resp.headers["Y"]) == ("", "")
            assert (b"X", b"") in resp.raw_headers

    async def test_accept_encoding(self) -> None:
        """Only what can be decoded here is asked for, and all of it."""
        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            await (await session.get(server.url)).read()
            (accepted,) = (v for n, v in fields_of(server.requests[0]) if n == "accept-encoding")
        assert tuple(accepted.split(", ")) == available_codings()

    async def test_fields_of_a_websocket(self) -> None:
        """What the caller passes to `ws_connect` is only read."""
        headers = CIMultiDict([("X-A", "1"), ("x-a", "2")])
        before = headers.copy()
        async with RawServer(ws_script(echo)) as server, angelia.ClientSession() as session:
            url = server.url.with_scheme("ws")
            async with session.ws_connect(url, headers=headers, protocols=("chat",)) as ws:
                await ws.send_str("x")
                await ws.receive()
        assert list(headers.items()) == list(before.items())


class TestURLs:
    @pytest.mark.parametrize("unit", ["@", "%", "%2", ":", "[", "a@", "..", "\u00e9", "//"])
    async def test_linear(self, unit: str) -> None:
        """The work for a URL grows with its length, in host, path and query; refused or not."""

        async def cost(url: str) -> int:
            async with angelia.ClientSession(connector=Nowhere()) as session:
                with counted() as work, pytest.raises((angelia.ClientError, ValueError)):
                    await session.get(url)
            return work.calls

        for template in ("http://{}/", "http://u{}@h/", "http://h/{}", "http://h/?{}"):
            small, large = [
                await cost(template.format(unit * (size // len(unit)))) for size in (1000, 8000)
            ]
            assert large <= 8 * small, template
            # Anything worse inside a single call would not come to its end.
            await cost(template.format(unit * 50_000))


class Nowhere(angelia.BaseConnector):
    """Connects to nothing."""

    async def _create_connection(self, *args: Any, **options: Any) -> Any:
        raise angelia.ClientConnectionError("nowhere")


class TestNextHop:
    async def test_no_limit(self) -> None:
        """`max_redirects=0` is no limit."""
        answers = [moved(f"/{number}") for number in range(25)]
        async with (
            RawServer([*answers, OK]) as server,
            angelia.ClientSession() as session,
            session.get(server.url, max_redirects=0) as resp,
        ):
            assert await resp.read() == b"ok"
            assert len(resp.history) == 25

    async def test_cookies_on_the_way(self) -> None:
        """What a hop sets goes with the next one; `cookies` are the last response's alone."""
        answers = [moved("/b", "Set-Cookie: a=1"), moved("/c", "Set-Cookie: b=2; Path=/c"), OK]
        async with (
            RawServer(answers) as server,
            angelia.ClientSession(cookie_jar=angelia.CookieJar(unsafe=True)) as session,
            session.get(server.url, cookies={"own": "x"}) as resp,
        ):
            sent = [dict(fields_of(head)).get("cookie", "") for head in heads(server)]
            assert not resp.cookies
        assert [set(cookies.split("; ")) for cookies in sent] == [
            {"own=x"},
            {"own=x", "a=1"},
            {"own=x", "a=1", "b=2"},
        ]

    async def test_params_stay(self) -> None:
        """RFC 9110 §10.2.2: the location says it all; neither `params` nor query go along."""
        answers = [moved("/b"), moved("c?x=1"), OK]
        async with RawServer(answers) as server, angelia.ClientSession() as session:
            async with session.get(server.url / "a?q=1", params={"p": "2"}) as resp:
                assert resp.url.path_qs == "/c?x=1"
            targets = [head.split(b" ")[1] for head in heads(server)]
        assert targets[1:] == [b"/b", b"/c?x=1"]

    async def test_head(self) -> None:
        """HEAD is not redirected by default; where that is asked for it stays HEAD, also by 303."""
        for status in (301, 302, 303, 307, 308):
            plain = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
            answers = [moved(status=status), moved(status=status), plain]
            async with RawServer(answers) as server, angelia.ClientSession() as session:
                async with session.head(server.url) as resp:
                    assert resp.status == status
                async with session.head(server.url, allow_redirects=True) as resp:
                    assert (resp.status, resp.method) == (200, "HEAD")
                assert [head[:5] for head in heads(server)] == [b"HEAD "] * 3

    async def test_small_content_is_read(self) -> None:
        """A hop's small content is taken from the connection, which carries the next request."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for answer in (moved(body=b"x" * 1000), moved(body=b"y" * 10), OK):
                await read_request(reader)
                head, _, body = answer.partition(b"\r\n\r\n")
                writer.write(head + b"\r\n\r\n")
                # Content that comes with its head would be there unasked.
                for _ in range(20):
                    await asyncio.sleep(0)
                writer.write(body)
            await reader.read()

        async with RawServer(script) as server, angelia.ClientSession() as session:
            assert await content(session, server.url) == b"ok"
            assert server.connections == 1

    @pytest.mark.parametrize(
        ("framing", "is_endless"),
        [
            ("Content-Length: 1000000000000", True),
            ("Content-Length: 1000000000000", False),
            ("Transfer-Encoding: chunked", True),
        ],
    )
    async def test_large_content_is_not(self, framing: str, is_endless: bool) -> None:
        """A hop's large content is not read to its end, nor waited for: its connection closes."""
        head = f"HTTP/1.1 302 Found\r\nLocation: /next\r\n{framing}\r\n\r\n".encode()
        piece = b"400\r\n" + b"x" * 1024 + b"\r\n"
        evil = Evil(head + piece, repeat=piece if is_endless else b"")
        async with RawServer(evil) as server, angelia.ClientSession() as session:
            assert await content(session, server.url) == CANARY
            assert server.connections == 2

    async def test_status_of_the_last(self) -> None:
        """A check of the status is made once, of the last response."""
        checked: list[int] = []

        async def check(resp: angelia.ClientResponse) -> None:
            checked.append(resp.status)

        async with (
            RawServer([moved(), moved(), OK]) as server,
            angelia.ClientSession() as session,
            session.get(server.url, raise_for_status=check) as resp,
        ):
            assert await resp.read() == b"ok"
        assert checked == [200]

    async def test_request_within_a_middleware(self) -> None:
        """A middleware can make requests of its own that do not come back to it."""
        seen: list[str] = []

        async def middleware(
            request: angelia.ClientRequest, handler: angelia.ClientHandlerType
        ) -> angelia.ClientResponse:
            seen.append(request.url.path)
            if request.session is not None:
                inner = request.url.with_path("/inner")
                async with request.session.get(inner, middlewares=()) as resp:
                    request.headers["X-Token"] = await resp.text()
            return await handler(request)

        async with (
            RawServer([response(b"token"), OK]) as server,
            angelia.ClientSession(middlewares=(middleware,)) as session,
        ):
            assert await content(session, server.url) == b"ok"
            assert seen == ["/"]
            assert ("x-token", "token") in fields_of(heads(server)[1])


class TestContinue:
    """RFC 9110 §10.1.1: nobody knows what a server makes of a connection whose body never came."""

    @pytest.mark.parametrize("how", ["cancelled", "total", "lost", "malformed"])
    async def test_not_used_again(self, how: str) -> None:
        """However the wait for 100 is given up, its connection is closed, and not the pool's."""
        asked = asyncio.Event()
        is_first = True

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal is_first
            if not is_first:
                await read_request(reader)
                writer.write(OK)
                await reader.read()
                return
            is_first = False
            assert b"Expect: 100-continue" in await read_head(reader)
            asked.set()
            if how == "malformed":
                writer.write(b"HTTP/1.1 100 Continue\r\nX\x00: y\r\n\r\n")
            elif how == "lost":
                return
            assert await reader.read() == b""

        limit = angelia.ClientTimeout(total=0.05 if how == "total" else None)
        async with RawServer(script) as server, angelia.ClientSession() as session:
            options: dict[str, Any] = {"data": b"body", "expect100": True, "timeout": limit}
            task = asyncio.ensure_future(session.post(server.url, **options).__aenter__())
            await asked.wait()
            if how == "cancelled":
                task.cancel()
            with pytest.raises((angelia.ClientError, asyncio.CancelledError, TimeoutError)):
                await task
            assert session.connector is not None
            stats = session.connector.stats()
            assert (stats.idle, stats.in_use) == (0, 0)
            assert await content(session, server.url) == b"ok"
            assert server.connections == 2


class TestAnyResponse:
    """Whatever a peer sends, a caller sees a response, or an error of the documented tree."""

    SEEDS = (
        response(b"hello", "Set-Cookie: a=b; Path=/", "Content-Type: application/json"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
        response(b"\x1f\x8b\x08\x00rest", "Content-Encoding: gzip"),
        moved("http://127.0.0.1:1/\u00e9?x"),
        response(b"", 'WWW-Authenticate: Digest realm="a", nonce="b"', status="401 No"),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nKeep-Alive: timeout=5\r\n\r\n",
    )

    def mutated(self, count: int) -> Iterator[bytes]:
        source = random.Random(9112)
        for number in range(count):
            octets = bytearray(self.SEEDS[number % len(self.SEEDS)])
            for _ in range(source.randrange(1, 6)):
                at = source.randrange(len(octets))
                kind = source.randrange(4)
                if kind == 0:
                    octets[at] = source.randrange(256)
                elif kind == 1:
                    del octets[at : at + source.randrange(1, 9)]
                elif kind == 2:
                    octets[at:at] = octets[: source.randrange(20)]
                else:
                    octets[at:at] = source.choice([b"\r\n", b"\x00", b"\xff", b": ", b"\xd9\xa3"])
                octets = octets or bytearray(b"x")
            yield bytes(octets)

    async def test_random(self) -> None:
        """No other exception comes out, and no connection stays in use."""
        attacks = list(self.mutated(300))
        current = b""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(current)

        digest = angelia.DigestAuthMiddleware("user", "password")
        outcomes = {True: 0, False: 0}
        async with (
            RawServer(script) as server,
            angelia.ClientSession(middlewares=(digest,)) as session,
        ):
            for attack in attacks:
                current = attack
                try:
                    async with session.get(server.url, max_redirects=2) as resp:
                        await resp.read()
                        _ = (resp.cookies, resp.links, resp.charset, resp.content_disposition)
                        _ = (resp.content_type, str(resp), resp.history)
                        await resp.text(errors="replace")
                    outcomes[True] += 1
                except angelia.ClientError as error:
                    texts = (str(error), repr(error))
                    outcomes[False] += all(texts)
                assert session.connector is not None
                assert session.connector.stats().in_use == 0
        # Both happen, else the octets are the wrong ones.
        assert min(outcomes.values()) > 30


@contextmanager
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class TestNoCycles:
    """What a request was needs no cycle collector, tracebacks of its errors included."""

    async def body(self) -> AsyncIterator[bytes]:
        yield b"x"

    @pytest.mark.parametrize(
        "answer",
        [
            OK,
            moved(),
            response(b"", status="500 No"),
            b"HTTP/1.1 200 OK\r\nX\x00: y\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
            b"",
        ],
        ids=["ok", "redirected", "status", "malformed", "short", "disconnected"],
    )
    async def test_request(self, answer: bytes) -> None:
        """Response, error and session are gone with their last name."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await read_request(reader)
            writer.write(OK if b"GET /next" in head or b"POST /next" in head else answer)

        async def once(session: angelia.ClientSession, url: URL, data: Any) -> list[Any]:
            traces: list[Any] = []
            try:
                async with session.post(url, data=data, raise_for_status=True) as resp:
                    traces.append(weakref.ref(resp))
                    await resp.read()
            except angelia.ClientError as error:
                traces.append(weakref.ref(error))
            return traces

        async with RawServer(script) as server:
            session = angelia.ClientSession()
            with no_collector():
                for data in (None, b"x", self.body()):
                    traces = await once(session, server.url, data)
                    del data
                    for _ in range(3):
                        await asyncio.sleep(0)
                    assert [trace() for trace in traces] == [None] * len(traces)
                await session.close()
                for _ in range(3):
                    await asyncio.sleep(0)
                gone = weakref.ref(session)
                del session
                assert gone() is None

    async def test_cancelled(self) -> None:
        """A request that is cancelled while it waits leaves neither task nor session."""
        waiting = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            waiting.set()
            await reader.read()

        async with RawServer(script) as server:
            session = angelia.ClientSession()
            with no_collector():
                task = asyncio.ensure_future(session.get(server.url).__aenter__())
                await waiting.wait()
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                gone = weakref.ref(task)
                del task
                for _ in range(3):
                    await asyncio.sleep(0)
                assert gone() is None
                await session.close()
                session_gone = weakref.ref(session)
                del session
                for _ in range(3):
                    await asyncio.sleep(0)
                assert session_gone() is None


class TestJar:
    async def test_no_timers(self) -> None:
        """Cookies that expire cost no timer each."""
        jar = angelia.CookieJar(unsafe=True)
        loop = asyncio.get_running_loop()
        timers = len(loop._scheduled)  # type: ignore[attr-defined]  # nothing else tells of timers
        for number in range(1000):
            jar.update_cookies({}, URL(f"http://h{number}.test/"))
            jar.update_cookies_from_headers(
                [f"a{number}=1; Max-Age={number + 5}"], URL(f"http://h{number}.test/")
            )
        assert len(jar) == 1000
        assert len(loop._scheduled) <= timers + 1  # type: ignore[attr-defined]  # as above

    async def test_default_limits(self) -> None:
        """180 cookies of a domain and 3300 in all are kept by default."""
        jar = angelia.CookieJar()
        for host in range(34):
            lines = [f"c{number}=1" for number in range(200 if host == 0 else 100)]
            for start in range(0, len(lines), 50):
                url = URL(f"http://h{host}.test/")
                jar.update_cookies_from_headers(lines[start : start + 50], url)
            if host == 0:
                assert len(jar) == 180
        assert len(jar) == 3300


class TestBackend:
    async def test_everywhere(self) -> None:
        """`set_zlib_backend` holds for requests, responses and WebSocket messages alike."""
        made: list[str] = []

        def noted(name: str) -> Any:
            def make(*args: Any, **options: Any) -> Any:
                made.append(name)
                return getattr(zlib, name)(*args, **options)

            return make

        names = {name: noted(name) for name in ("compressobj", "decompressobj")}
        angelia.set_zlib_backend(SimpleNamespace(**{**vars(zlib), **names}))
        try:
            packed = response(gzip.compress(b"x"), "Content-Encoding: gzip")
            async with (
                RawServer([packed]) as server,
                angelia.ClientSession() as session,
                session.post(server.url, data=b"x", compress="gzip") as resp,
            ):
                assert await resp.read() == b"x"
            assert sorted(made) == ["compressobj", "decompressobj"]
            made.clear()
            script = ws_script(echo, deflate=DeflateOffer())
            async with RawServer(script) as server, angelia.ClientSession() as session:
                url = server.url.with_scheme("ws")
                async with session.ws_connect(url, compress=15) as ws:
                    assert ws.compress
                    await ws.send_str("x" * 1000)
                    assert await ws.receive_str() == "x" * 1000
            # Both ends are ours here.
            assert sorted(made) == ["compressobj"] * 2 + ["decompressobj"] * 2
        finally:
            angelia.set_zlib_backend(zlib)
