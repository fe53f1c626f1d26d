"""WebSockets that come back: which failures are tried again, and when."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest
from yarl import URL

import angelia
from angelia import Backoff
from angelia.client.reconnecting import is_temporary, retry_after
from angelia.client.websocket import ClientWebSocketResponse
from peers.raw import RawServer, Script, read_head, response
from peers.ws import Peer, echo, ws_script

AT_ONCE = Backoff(first=0, maximum=0)


def ws_url(server: RawServer) -> URL:
    return server.url.with_scheme("ws")


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the handshake and go."""
    await read_head(reader)


def refusing(status: str, *fields: str) -> Script:
    """Answer the handshake with a status."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(response(b"", *fields, status=status))
        await writer.drain()

    return script


def one_after_the_other(*scripts: Script) -> Script:
    """Each connection has the next script; the last one has all the rest."""
    rest = list(scripts)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        now = rest.pop(0) if len(rest) > 1 else rest[0]
        await now(reader, writer)

    return script


class TestBackoff:
    def test_growth(self) -> None:
        """Pauses double up to the maximum."""
        backoff = Backoff(first=1, maximum=10, jitter=0)
        assert [backoff.delay(failures) for failures in range(1, 7)] == [1, 2, 4, 8, 10, 10]
        assert backoff.delay(10**9) == 10

    def test_jitter(self) -> None:
        """A random part, up to the share that is given, is left out."""
        assert Backoff(first=8, jitter=0.5, random=lambda: 1.0).delay(1) == 4
        assert Backoff(first=8, jitter=0.5, random=lambda: 0.0).delay(1) == 8
        delays = {Backoff().delay(1) for _ in range(20)}
        assert len(delays) > 1
        assert all(0.25 <= delay <= 0.5 for delay in delays)

    @pytest.mark.parametrize(
        ("wrong", "name"),
        [
            (Backoff(first=-1), "first"),
            (Backoff(maximum=float("inf")), "maximum"),
            (Backoff(stable=float("nan")), "stable"),
            (Backoff(factor=0.5), "factor"),
            (Backoff(jitter=1.5), "jitter"),
            (Backoff(attempts=0), "attempts"),
        ],
    )
    async def test_wrong(self, wrong: Backoff, name: str) -> None:
        """What is no time, factor or count is refused before anything is done."""
        async with angelia.ClientSession() as session:
            with pytest.raises(ValueError, match=rf"Backoff\.{name} "):
                session.ws_reconnect("ws://127.0.0.1/", backoff=wrong)


class TestRetryAfter:
    NOW = datetime(2026, 1, 1, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("0", 0),
            (" 120 ", 120),
            ("9" * 5000, 3600),
            ("Thu, 01 Jan 2026 00:01:00 GMT", 60),
            ("Wed, 31 Dec 2025 00:00:00 GMT", 0),
            ("-1", 0),
            ("1.5", 0),
            ("\u0661", 0),
            ("soon", 0),
            ("", 0),
        ],
    )
    def test_values(self, value: str, seconds: float) -> None:
        """RFC 9110 §10.2.3: a number of seconds or a date, an hour at most; the rest is none."""
        assert retry_after({"Retry-After": value}, self.NOW) == seconds

    def test_none(self) -> None:
        assert retry_after(None, self.NOW) == 0
        assert retry_after({}, self.NOW + timedelta(days=1)) == 0


class TestTemporary:
    @pytest.mark.parametrize(
        ("error", "temporary"),
        [
            (angelia.ServerDisconnectedError(), True),
            (angelia.ServerTimeoutError(), True),
            (TimeoutError(), True),
            (angelia.ClientOSError(111, "refused"), True),
            (angelia.InvalidURL("x"), False),
            (ValueError(), False),
            (RuntimeError("Session is closed"), False),
            (angelia.ServerFingerprintMismatch(b"", b"x", "h", 1), False),
        ],
    )
    def test_kinds(self, error: Exception, temporary: bool) -> None:
        """Networks and time are tried again; what is wrong stays wrong."""
        assert is_temporary(error) is temporary


class TestConnections:
    async def test_again_and_again(self) -> None:
        """Each turn of the loop has a WebSocket of its own; the one before is closed."""
        seen: list[ClientWebSocketResponse] = []

        async def play(peer: Peer) -> None:
            await peer.text(str(len(seen)))
            await peer.close(1001)

        async with RawServer(ws_script(play)) as server, angelia.ClientSession() as session:
            async with aclosing(
                session.ws_reconnect(ws_url(server), backoff=AT_ONCE)
            ) as all_of_them:
                async for ws in all_of_them:
                    assert [message.data async for message in ws] == [str(len(seen))]
                    seen.append(ws)
                    if len(seen) == 3:
                        break
            assert len(set(seen)) == 3
            assert all(ws.closed for ws in seen)
            assert len(server.requests) == 3

    async def test_body_that_ends_early(self) -> None:
        """A WebSocket that the body leaves open is closed before the next one opens."""
        async with RawServer(ws_script(echo)) as server, angelia.ClientSession() as session:
            seen: list[ClientWebSocketResponse] = []
            async with aclosing(session.ws_reconnect(ws_url(server), backoff=AT_ONCE)) as them:
                async for ws in them:
                    assert all(each.closed for each in seen)
                    assert not ws.closed
                    seen.append(ws)
                    if len(seen) == 2:
                        break
            assert seen[1].closed

    async def test_failures_before(self) -> None:
        """Connections that are lost and answers that may get better are tried again."""
        script = one_after_the_other(
            hang_up,
            refusing("503 Service Unavailable"),
            refusing("429 X"),
            hang_up,
            ws_script(echo),
        )
        async with RawServer(script) as server, angelia.ClientSession() as session:
            async with aclosing(session.ws_reconnect(ws_url(server), backoff=AT_ONCE)) as them:
                async for ws in them:
                    await ws.send_str("a")
                    assert await ws.receive_str() == "a"
                    break
            assert len(server.requests) == 5

    @pytest.mark.parametrize("status", ["404 Not Found", "200 OK", "401 Unauthorized"])
    async def test_final_answers(self, status: str) -> None:
        """Another answer is raised, once it was given."""
        async with RawServer(refusing(status)) as server, angelia.ClientSession() as session:
            with pytest.raises(angelia.WSServerHandshakeError) as caught:
                await anext(session.ws_reconnect(ws_url(server), backoff=AT_ONCE))
            assert caught.value.status == int(status[:3])
            assert len(server.requests) == 1

    async def test_attempts(self) -> None:
        """So many failures in a row are enough; the last one is raised."""
        async with RawServer(hang_up) as server, angelia.ClientSession() as session:
            backoff = AT_ONCE._replace(attempts=3)
            with pytest.raises(angelia.ServerDisconnectedError):
                await anext(session.ws_reconnect(ws_url(server), backoff=backoff))
            assert len(server.requests) == 3

    async def test_pauses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """They grow, are no shorter than Retry-After, and begin anew after a stable connection."""
        pauses: list[float] = []
        sleep = asyncio.sleep

        async def nap(seconds: float) -> None:
            pauses.append(seconds)
            await sleep(0)

        async def short(peer: Peer) -> None:
            await peer.close()

        script = one_after_the_other(
            hang_up,
            refusing("503 X", "Retry-After: 77"),
            ws_script(short),
            ws_script(short),
            hang_up,
            ws_script(echo),
        )
        async with RawServer(script) as server, angelia.ClientSession() as session:
            backoff = Backoff(first=1, jitter=0, maximum=9, stable=5)
            loop = asyncio.get_running_loop()
            clock = loop.time

            def later() -> float:
                return clock() + 6.0

            async with aclosing(session.ws_reconnect(ws_url(server), backoff=backoff)) as them:
                monkeypatch.setattr(asyncio, "sleep", nap)
                count = 0
                async for ws in them:
                    count += 1
                    if count == 2:
                        # This one lasts.
                        monkeypatch.setattr(loop, "time", later)
                    if count == 3:
                        break
                    await ws.receive()
                monkeypatch.undo()
        assert pauses == [1, 77, 4, 1, 2]

    async def test_arguments(self) -> None:
        """They are those of ws_connect, also what can be gone through once."""
        script = ws_script(echo, protocols=("b",))
        async with RawServer(script) as server, angelia.ClientSession() as session:
            made = session.ws_reconnect(
                ws_url(server),
                backoff=AT_ONCE,
                protocols=iter(("a", "b")),
                headers=iter([("X-Y", "z")]),
                params=iter([("q", "1")]),
            )
            async with aclosing(made) as them:
                count = 0
                async for ws in them:
                    assert ws.protocol == "b"
                    count += 1
                    if count == 2:
                        break
            assert len(server.requests) == 2
            assert all(b"?q=1 " in head and b"X-Y: z" in head for head in server.requests)
            with pytest.raises(TypeError, match="nonsense"):
                await anext(session.ws_reconnect("ws://127.0.0.1/", nonsense=1))

    async def test_closed_session(self) -> None:
        """Nobody waits for a session that is closed."""
        async with RawServer(hang_up) as server:
            session = angelia.ClientSession()
            them = session.ws_reconnect(ws_url(server), backoff=AT_ONCE)
            await session.close()
            with pytest.raises(RuntimeError, match="Session is closed"):
                await anext(them)


class TestTheEnd:
    async def test_error_of_the_body(self) -> None:
        """It comes out, and the WebSocket is closed with a handshake."""
        codes: list[int | None] = []

        async def play(peer: Peer) -> None:
            while (await peer.receive()).type is angelia.WSMsgType.TEXT:
                pass
            codes.append(peer.core.close_code)

        async with RawServer(ws_script(play)) as server, angelia.ClientSession() as session:

            async def use(them: AsyncGenerator[ClientWebSocketResponse, None]) -> None:
                async with aclosing(them):
                    async for _ in them:
                        raise LookupError

            with pytest.raises(LookupError):
                await use(session.ws_reconnect(ws_url(server)))
        assert codes == [1000]

    async def test_break_alone(self) -> None:
        """Without aclosing() the loop closes what was left."""
        left: list[ClientWebSocketResponse] = []

        async with RawServer(ws_script(echo)) as server, angelia.ClientSession() as session:
            async for ws in session.ws_reconnect(ws_url(server)):
                left.append(ws)
                break
            gc.collect()
            # The loop has a task for it.
            while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(tasks)
            assert left[0].closed

    @pytest.mark.parametrize("turns", range(12))
    async def test_cancelled(self, turns: int) -> None:
        """Cancelled at any time, nothing is left behind."""

        async def use(them: AsyncGenerator[ClientWebSocketResponse, None]) -> None:
            async with aclosing(them):
                async for ws in them:
                    await ws.receive()

        script = one_after_the_other(hang_up, ws_script(echo))
        async with RawServer(script) as server, angelia.ClientSession() as session:
            task = asyncio.ensure_future(use(session.ws_reconnect(ws_url(server), backoff=AT_ONCE)))
            for _ in range(turns * 2):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
