"""Timeouts: the values, and what each of them ends, on real sockets.

Those that must fire are short; those that must not are long, so that no test depends on how fast
the machine is.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import math
import socket
import ssl
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

import angelia
from angelia.client.timeouts import DEFAULT_TIMEOUT, effective_timeout
from connector_kit import Clock
from dial_kit import settled
from peers.raw import RawServer, read_head, read_request, response

SOON = 0.02
NEVER = 1000.0


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take a request, and say nothing."""
    await read_request(reader)
    await reader.read()


async def slow_content(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a head and half of the content."""
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    await reader.read()


def pending_timers() -> list[asyncio.TimerHandle]:
    """The timers that are not cancelled; none are seen on uvloop."""
    scheduled = getattr(asyncio.get_running_loop(), "_scheduled", ())
    return [timer for timer in scheduled if not timer.cancelled()]


class TestValues:
    def test_fields(self) -> None:
        """The fields and their order are the documented ones, ours last; none limits by default."""
        fields = {field.name: field.default for field in dataclasses.fields(angelia.ClientTimeout)}
        assert fields == {
            "total": None,
            "connect": None,
            "sock_read": None,
            "sock_connect": None,
            "ceil_threshold": 5,
            "pool": None,
        }
        assert list(fields)[-1] == "pool"

    def test_session_default(self) -> None:
        """A session allows 300 seconds in all and 30 to connect to an address."""
        assert angelia.ClientTimeout(total=300, sock_connect=30) == DEFAULT_TIMEOUT

    def test_frozen(self) -> None:
        """A value can be shared: it does not change."""
        timeout = angelia.ClientTimeout(total=1)
        with pytest.raises(dataclasses.FrozenInstanceError):
            timeout.total = 2  # type: ignore[misc]  # it is what is tested
        assert hash(timeout) == hash(angelia.ClientTimeout(total=1))

    @pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(angelia.ClientTimeout)])
    @pytest.mark.parametrize("value", ["5", b"5", True, object(), [1]])
    def test_wrong_types(self, name: str, value: Any) -> None:
        """What is no number is refused when it is given, not when the time has come."""
        with pytest.raises(TypeError, match=name):
            angelia.ClientTimeout(**{name: value})

    @pytest.mark.parametrize("value", [None, 0, 0.0, 1, 0.5, math.inf])
    def test_numbers(self, value: float | None) -> None:
        """Integers, floats and None are taken as they are."""
        assert angelia.ClientTimeout(total=value).total == value

    def test_effective(self) -> None:
        """None is no limit; a number is a total, over the session's others."""
        assert effective_timeout(None, DEFAULT_TIMEOUT) == angelia.ClientTimeout()
        timeout = effective_timeout(5, DEFAULT_TIMEOUT)
        assert timeout == angelia.ClientTimeout(total=5, sock_connect=30)
        for wrong in ("5", True, object()):
            with pytest.raises(TypeError, match="timeout"):
                effective_timeout(wrong, DEFAULT_TIMEOUT)

    async def test_deprecated_arguments(self) -> None:
        """`read_timeout` and `conn_timeout` warn, and exclude `timeout`."""
        with pytest.warns(DeprecationWarning, match="read_timeout"):
            session = angelia.ClientSession(read_timeout=7)
        assert session.timeout == angelia.ClientTimeout(total=7, sock_connect=30)
        await session.close()
        with pytest.warns(DeprecationWarning, match="conn_timeout"):
            session = angelia.ClientSession(conn_timeout=7)
        assert session.timeout == angelia.ClientTimeout(total=300, connect=7, sock_connect=30)
        await session.close()
        with pytest.raises(ValueError, match="conflict"):
            angelia.ClientSession(timeout=angelia.ClientTimeout(), read_timeout=7)

    @pytest.mark.parametrize("limit", [None, 0])
    async def test_no_limit(self, limit: float | None) -> None:
        """None and 0 in each field arm no timer."""
        names = [f.name for f in dataclasses.fields(angelia.ClientTimeout)]
        timeout = angelia.ClientTimeout(
            **{name: limit for name in names if name != "ceil_threshold"}  # type: ignore[arg-type]  # all take it
        )
        counts = []

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            counts.append(len(pending_timers()))
            writer.write(response(b"ok"))

        async with RawServer(script) as server, angelia.ClientSession(timeout=timeout) as session:
            before = len(pending_timers())
            async with session.get(server.url) as resp:
                assert await resp.read() == b"ok"
        assert counts == [before]


@pytest.mark.usefixtures("loop_kind")
class TestPhases:
    async def check(
        self,
        session: angelia.ClientSession,
        error: type[Exception],
        url: Any,
        method: str = "GET",
        **kwargs: Any,
    ) -> None:
        """The request fails so, and leaves the slot free and the task without a cancellation."""
        with pytest.raises(error) as caught:
            async with session.request(method, url, **kwargs) as resp:
                await resp.read()
        assert type(caught.value) is error
        assert isinstance(caught.value, asyncio.TimeoutError)
        assert str(caught.value)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert session.connector is not None
        assert session.connector.stats().in_use == 0

    @pytest.mark.parametrize("script", [silent, slow_content])
    async def test_total(self, script: Any) -> None:
        """`total` ends the wait for the head and that for the content; the connection closes."""
        timeout = angelia.ClientTimeout(total=SOON)
        async with RawServer(script) as server, angelia.ClientSession(timeout=timeout) as session:
            await self.check(session, angelia.TotalTimeoutError, server.url)
            await server.wait_all_closed()

    @pytest.mark.parametrize("script", [silent, slow_content])
    async def test_sock_read(self, script: Any) -> None:
        """`sock_read` ends both waits too."""
        timeout = angelia.ClientTimeout(sock_read=SOON, total=NEVER)
        async with RawServer(script) as server, angelia.ClientSession(timeout=timeout) as session:
            await self.check(session, angelia.SocketTimeoutError, server.url)
            await server.wait_all_closed()

    async def test_total_while_data_is_always_ready(self) -> None:
        """A peer that never stops sending cannot keep the time from ending."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(bytes(65536))
                await writer.drain()

        timeout = angelia.ClientTimeout(total=0.05)
        async with RawServer(script) as server, angelia.ClientSession(timeout=timeout) as session:

            async def read() -> None:
                async with session.get(server.url) as resp:
                    async for _ in resp.content.iter_any():
                        pass

            with pytest.raises(angelia.TotalTimeoutError):
                await read()
            await server.wait_all_closed()

    @pytest.mark.parametrize("redirect_content", [b"", b"moved"])
    async def test_total_after_a_redirect(self, redirect_content: bytes) -> None:
        """`total` is for all hops, also where the first response came whole."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(response(redirect_content, "Location: /x", status="302 Found"))
            await read_request(reader)
            await reader.read()

        timeout = angelia.ClientTimeout(total=SOON)
        async with RawServer(script) as server, angelia.ClientSession(timeout=timeout) as session:
            await self.check(session, angelia.TotalTimeoutError, server.url)
            assert b"GET /x " in server.requests[0]
            await server.wait_all_closed()

    async def test_total_after_a_retry(self) -> None:
        """`total` is for all that a middleware tries, also after a response that came whole."""

        async def twice(request: Any, handler: Any) -> Any:
            resp = await handler(request)
            await resp.read()
            return await handler(request)

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(response(b"again"))
            await read_request(reader)
            await reader.read()

        timeout = angelia.ClientTimeout(total=SOON)
        async with (
            RawServer(script) as server,
            angelia.ClientSession(timeout=timeout, middlewares=[twice]) as session,
        ):
            await self.check(session, angelia.TotalTimeoutError, server.url)

    async def test_total_in_a_redirects_content(self) -> None:
        """`total` covers the reading of a redirect's own content."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 9\r\n\r\nmo")
            await reader.read()

        timeout = angelia.ClientTimeout(total=SOON)
        async with RawServer(script) as server, angelia.ClientSession(timeout=timeout) as session:
            await self.check(session, angelia.TotalTimeoutError, server.url)

    @pytest.mark.parametrize("kind", ["bytes", "iterator", "waiting iterator"])
    async def test_total_in_an_upload(self, kind: str) -> None:
        """`total` ends an upload, be it the peer or the body itself that takes its time."""

        async def body() -> AsyncIterator[bytes]:
            while True:
                if kind == "waiting iterator":
                    await asyncio.Event().wait()
                yield bytes(65536)

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # this one can
            await asyncio.Event().wait()

        timeout = angelia.ClientTimeout(total=SOON)
        async with RawServer(script) as server, angelia.ClientSession(timeout=timeout) as session:
            data = bytes(16 * 1024 * 1024) if kind == "bytes" else body()
            await self.check(session, angelia.TotalTimeoutError, server.url, "POST", data=data)

    @pytest.mark.parametrize(
        ("field", "error"),
        [
            ("total", angelia.TotalTimeoutError),
            ("connect", angelia.ConnectionTimeoutError),
            ("pool", angelia.PoolTimeoutError),
        ],
    )
    async def test_queued(self, field: str, error: type[Exception]) -> None:
        """The wait for a slot has three limits; whoever has the slot is left alone."""
        timeout = angelia.ClientTimeout(**{field: SOON})
        async with (
            RawServer(slow_content) as server,
            angelia.ClientSession(connector=angelia.TCPConnector(limit=1)) as session,
            session.get(server.url),
        ):
            with pytest.raises(error) as caught:
                await session.get(server.url, timeout=timeout)
            assert type(caught.value) is error
            assert session.connector is not None
            assert session.connector.stats().waiting == 0
            assert session.connector.stats().in_use == 1

    @pytest.mark.parametrize(
        ("field", "error"),
        [
            ("total", angelia.TotalTimeoutError),
            ("connect", angelia.ConnectionTimeoutError),
            ("sock_connect", angelia.ConnectionTimeoutError),
        ],
    )
    async def test_connecting(self, field: str, error: type[Exception]) -> None:
        """Connecting has three limits."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            timeout = angelia.ClientTimeout(**{field: SOON})
            async with angelia.ClientSession(timeout=timeout) as session:
                await self.check(session, error, url)
        finally:
            for each in (listener, *fillers):
                each.close()

    @pytest.mark.parametrize(
        ("field", "error"),
        [("total", angelia.TotalTimeoutError), ("connect", angelia.ConnectionTimeoutError)],
    )
    async def test_tls_handshake(
        self, field: str, error: type[Exception], client_ssl: ssl.SSLContext
    ) -> None:
        """A peer that does not answer the TLS handshake is part of connecting."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()

        timeout = angelia.ClientTimeout(**{field: SOON})
        async with (
            RawServer(script) as server,
            angelia.ClientSession(
                connector=angelia.TCPConnector(ssl=client_ssl), timeout=timeout
            ) as session,
        ):
            await self.check(session, error, server.url.with_scheme("https"))


# The clock is put forward by hours, beside which the time that really passes is none; the guard of
# the tests must not take them for its own.
@pytest.mark.deadline(1_000_000)
class TestSockRead:
    """When the time of `sock_read` runs, by a clock that the test turns."""

    async def test_after_the_request(self) -> None:
        """It begins when the request is out, however long its body takes."""
        go_on, sent, arrived = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield b"piece"
                sent.set()
                await go_on.wait()
                go_on.clear()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            arrived.set()
            await reader.read()

        async with RawServer(script) as server, angelia.ClientSession() as session:
            clock = Clock()
            timeout = angelia.ClientTimeout(sock_read=1000)
            task = asyncio.ensure_future(session.post(server.url, data=body(), timeout=timeout))
            for _ in range(3):
                await sent.wait()
                sent.clear()
                await clock.forward(100_000)
                assert not task.done()
                go_on.set()
            await arrived.wait()
            assert not task.done()
            await clock.forward(1001)
            with pytest.raises(angelia.SocketTimeoutError):
                await task
            await server.wait_all_closed()

    async def test_from_octet_to_octet(self) -> None:
        """Each octet that comes, of head or content, starts it anew."""
        whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        arrived = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            arrived.set()
            for _ in whole:
                writer.write(await queue.get())
            await reader.read()

        async with RawServer(script) as server, angelia.ClientSession() as session:
            clock = Clock()
            timeout = angelia.ClientTimeout(sock_read=1000)
            seen: list[Any] = []

            async def get() -> bytes:
                async with session.get(server.url, timeout=timeout) as resp:
                    seen.append(resp)
                    return await resp.read()

            task = asyncio.ensure_future(get())
            await arrived.wait()
            transport = the_transport(session)
            for octet in whole:
                # More than half of the time, so that two of them would be too much.
                await clock.forward(600)
                queue.put_nowait(bytes([octet]))
                assert await settled(lambda: transport.received_at == clock.now())
                assert not task.done()
            assert seen
            await clock.forward(1001)
            with pytest.raises(angelia.SocketTimeoutError):
                await task
            await server.wait_all_closed()


def the_transport(session: angelia.ClientSession) -> Any:
    """The one connection that is in use."""
    connector = session.connector
    assert connector is not None
    (transport,) = connector._pool.active
    return transport


@pytest.mark.usefixtures("loop_kind")
class TestTogether:
    async def test_outer_timeout(self) -> None:
        """A timeout from outside is its own error, and its cancellation is taken back."""
        async with RawServer(silent) as server, angelia.ClientSession() as session:
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(SOON):
                    await session.get(server.url)
            assert type(caught.value) is TimeoutError
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            await server.wait_all_closed()

    async def test_inner_timeout(self) -> None:
        """A timeout of the request within one from outside leaves that one alone."""
        timeout = angelia.ClientTimeout(total=SOON)
        async with RawServer(silent) as server, angelia.ClientSession(timeout=timeout) as session:
            async with asyncio.timeout(NEVER) as outer:
                with pytest.raises(angelia.TotalTimeoutError):
                    await session.get(server.url)
            assert not outer.expired()

    @pytest.mark.parametrize("first", ["timer", "cancel"])
    async def test_cancelled_when_the_time_ends(self, first: str) -> None:
        """A cancellation in the turn in which the time ends is never swallowed."""
        loop = asyncio.get_running_loop()
        async with RawServer(silent) as server, angelia.ClientSession() as session:
            answers: list[bool] = []
            cancelled = asyncio.Event()
            tasks: list[asyncio.Task[Any]] = []

            def cancel() -> None:
                answers.append(tasks[0].cancel())
                cancelled.set()

            if first == "cancel":
                loop.call_later(SOON, cancel)
            tasks.append(
                asyncio.ensure_future(
                    session.get(server.url, timeout=angelia.ClientTimeout(total=SOON))
                )
            )
            if first == "timer":
                await asyncio.sleep(0)
                loop.call_later(SOON, cancel)
            await asyncio.wait(tasks)
            await cancelled.wait()
            if answers[0]:
                assert tasks[0].cancelled()
            else:
                assert isinstance(tasks[0].exception(), angelia.TotalTimeoutError)

    async def test_task_group(self) -> None:
        """In a group a request's timeout is the one error, and the others are cancelled."""
        async with RawServer(silent) as server, angelia.ClientSession() as session:

            async def get(timeout: angelia.ClientTimeout) -> None:
                await session.get(server.url, timeout=timeout)

            async def all_of_them() -> None:
                async with asyncio.TaskGroup() as group:
                    group.create_task(get(angelia.ClientTimeout(sock_read=SOON)))
                    for _ in range(3):
                        group.create_task(get(angelia.ClientTimeout(total=NEVER)))

            with pytest.raises(ExceptionGroup) as caught:
                await all_of_them()
            assert [type(error) for error in caught.value.exceptions] == [
                angelia.SocketTimeoutError
            ]
            await server.wait_all_closed()

    async def test_not_in_a_task_of_its_own(self) -> None:
        """Another task than the one that asked may read the content: its wait ends too."""
        timeout = angelia.ClientTimeout(total=SOON)
        async with (
            RawServer(slow_content) as server,
            angelia.ClientSession(timeout=timeout) as session,
            session.get(server.url) as resp,
        ):
            reader = asyncio.ensure_future(resp.read())
            with pytest.raises(angelia.TotalTimeoutError):
                await reader


class TestTimers:
    async def test_none_is_left(self) -> None:
        """With the response read, no timer of the request is left: none on an idle connection."""
        timeout = angelia.ClientTimeout(4, NEVER, NEVER, NEVER, pool=NEVER)
        async with (
            RawServer([response(b"ok")] * 2) as server,
            angelia.ClientSession(
                connector=angelia.TCPConnector(keepalive_timeout=None), timeout=timeout
            ) as session,
        ):
            before = set(pending_timers())
            for _ in range(2):
                async with session.get(server.url) as resp:
                    await resp.read()
                assert not set(pending_timers()) - before
            assert server.connections == 1

    @pytest.mark.parametrize("total", [4.0, 300.0])
    async def test_nothing_is_held(self, total: float) -> None:
        """A long timeout holds neither response nor body of a request that is over."""

        class Body(bytearray):
            """A body that can be watched."""

        timeout = angelia.ClientTimeout(total=total)
        async with (
            RawServer([response(b"ok")]) as server,
            angelia.ClientSession(timeout=timeout) as session,
        ):
            body = Body(b"body")
            resp = await session.post(server.url, data=body)
            await resp.read()
            gone: list[weakref.ref[Any]] = [weakref.ref(resp), weakref.ref(body)]
            del resp, body
            gc.collect()
            assert [ref() for ref in gone] == [None, None]

    async def test_expired_before_it_began(self) -> None:
        """A time that is over already is an error at once, and cancels nothing later."""
        async with RawServer([response(b"ok")]) as server, angelia.ClientSession() as session:
            with pytest.raises(angelia.TotalTimeoutError):
                await session.get(server.url, timeout=angelia.ClientTimeout(total=1e-9))
            for _ in range(5):
                await asyncio.sleep(0)
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0


class TestCeilThreshold:
    """The connector's `timeout_ceil_threshold`."""

    @pytest.mark.parametrize(("threshold", "whole"), [(5, True), (3600, False)])
    async def test_rounded(self, threshold: float, whole: bool) -> None:
        """A long connect timeout ends on a whole second of the clock, a short one does not."""
        loop = asyncio.get_running_loop()
        connector = angelia.TCPConnector(timeout_ceil_threshold=threshold)
        begun = loop.time()
        moments = [connector._moment_in(60 + step / 7) for step in range(7)]
        assert all(moment.is_integer() for moment in map(float, moments)) is whole
        assert all(moment >= begun + 60 for moment in moments)
        begun = loop.time()
        exact = connector._moment_in(1.25)
        assert begun + 1.25 <= exact <= loop.time() + 1.25
        await connector.close()
