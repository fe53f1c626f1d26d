"""Tracing: every signal, what it carries, in which order, and what a failing callback costs."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from multidict import CIMultiDict
from yarl import URL

import angelia
from angelia.abc import AbstractResolver
from angelia.client import tracing
from peers.raw import RawServer, read_request, response

pytestmark = pytest.mark.usefixtures("loop_kind")

OK = response(b"ok")

# Each signal with the class of its parameters and their names.
SIGNALS: dict[str, tuple[type[Any], tuple[str, ...]]] = {
    "request_start": (angelia.TraceRequestStartParams, ("method", "url", "headers")),
    "request_chunk_sent": (angelia.TraceRequestChunkSentParams, ("method", "url", "chunk")),
    "response_chunk_received": (
        angelia.TraceResponseChunkReceivedParams,
        ("method", "url", "chunk"),
    ),
    "request_end": (angelia.TraceRequestEndParams, ("method", "url", "headers", "response")),
    "request_exception": (
        angelia.TraceRequestExceptionParams,
        ("method", "url", "headers", "exception"),
    ),
    "request_redirect": (
        angelia.TraceRequestRedirectParams,
        ("method", "url", "headers", "response"),
    ),
    "connection_queued_start": (angelia.TraceConnectionQueuedStartParams, ()),
    "connection_queued_end": (angelia.TraceConnectionQueuedEndParams, ()),
    "connection_create_start": (angelia.TraceConnectionCreateStartParams, ()),
    "connection_create_end": (angelia.TraceConnectionCreateEndParams, ()),
    "connection_reuseconn": (angelia.TraceConnectionReuseconnParams, ()),
    "dns_resolvehost_start": (angelia.TraceDnsResolveHostStartParams, ("host",)),
    "dns_resolvehost_end": (angelia.TraceDnsResolveHostEndParams, ("host",)),
    "dns_cache_hit": (angelia.TraceDnsCacheHitParams, ("host",)),
    "dns_cache_miss": (angelia.TraceDnsCacheMissParams, ("host",)),
    "request_headers_sent": (angelia.TraceRequestHeadersSentParams, ("method", "url", "headers")),
}

NEW = ["connection_create_start", "connection_create_end"]
BEGIN = ["request_start", *NEW, "request_headers_sent"]
AGAIN = ["request_start", "connection_reuseconn", "request_headers_sent"]
END = ["request_end", "response_chunk_received"]


class Broken(Exception):
    """What a callback raises."""


class Recorder:
    """A configuration that keeps what all its signals say; `fail` names one that raises."""

    def __init__(self, fail: str = "", **options: Any) -> None:
        self.config = angelia.TraceConfig(**options)
        self.seen: list[tuple[str, Any]] = []
        self.contexts: list[Any] = []
        self.sessions: list[Any] = []
        self.fail = fail
        for name in SIGNALS:
            self._listen(name)

    def _listen(self, name: str) -> None:
        async def note(session: Any, context: Any, params: Any) -> None:
            self.seen.append((name, params))
            self.contexts.append(context)
            self.sessions.append(session)
            if name == self.fail:
                raise Broken(name)

        getattr(self.config, f"on_{name}").append(note)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.seen]

    def one(self, name: str) -> Any:
        """The parameters of the only signal of that name."""
        (params,) = [params for other, params in self.seen if other == name]
        return params

    def chunks(self, name: str = "response_chunk_received") -> list[bytes]:
        return [params.chunk for other, params in self.seen if other == name]

    def clear(self) -> None:
        self.seen.clear()


class Names(AbstractResolver):
    """Knows one name."""

    def __init__(self) -> None:
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[Any]:
        self.asked += 1
        await asyncio.sleep(0)
        if host != "known.test":
            raise OSError(-2, "Name or service not known")
        return [
            {
                "hostname": host,
                "host": "127.0.0.1",
                "port": port,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
        ]

    async def close(self) -> None:
        """Nothing is held."""


class TestConfig:
    """`TraceConfig` itself."""

    async def test_signals(self) -> None:
        """There is a signal for each step, and no other."""
        config = angelia.TraceConfig()
        signals = {name for name in dir(config) if name.startswith("on_")}
        assert signals == {f"on_{name}" for name in SIGNALS}
        assert {f"on_{name}": cls for name, (cls, _) in SIGNALS.items()} == tracing._SIGNALS
        for name in signals:
            assert not getattr(config, name)
            with pytest.raises(AttributeError):
                setattr(config, name, [])

    async def test_context(self) -> None:
        """The factory makes a context of each request out of what the request brings."""
        config = angelia.TraceConfig()
        assert config.trace_config_ctx().trace_request_ctx is None
        context = config.trace_config_ctx(trace_request_ctx=[1])
        assert isinstance(context, SimpleNamespace)
        assert context.trace_request_ctx == [1]
        own = angelia.TraceConfig(lambda trace_request_ctx: ("mine", trace_request_ctx))
        assert own.trace_config_ctx({"a": 1}) == ("mine", {"a": 1})

    async def test_one_context_for_a_request(self) -> None:
        """All signals of a request get the same context and session; others another context."""
        recorder = Recorder(trace_config_ctx_factory=lambda trace_request_ctx: [trace_request_ctx])
        async with (
            RawServer([OK, OK]) as server,
            angelia.ClientSession(trace_configs=[recorder.config]) as session,
        ):
            for mark in ("one", "two"):
                async with session.get(server.url, trace_request_ctx=mark) as resp:
                    await resp.read()
            assert all(other is session for other in recorder.sessions)
        contexts = {id(context): context for context in recorder.contexts}
        assert list(contexts.values()) == [["one"], ["two"]]

    async def test_frozen(self) -> None:
        """From the session's start nothing can be added; freezing twice does no harm."""
        config = angelia.TraceConfig()
        config.freeze()
        config.freeze()
        async with angelia.ClientSession(trace_configs=[config]) as session:
            assert session.trace_configs == [config]
            for name in SIGNALS:
                with pytest.raises(RuntimeError):
                    getattr(config, f"on_{name}").append(lambda *_: None)

    async def test_shared_between_sessions(self) -> None:
        """One configuration serves several sessions."""
        recorder = Recorder()
        async with RawServer([OK, OK]) as server:
            for _ in range(2):
                async with (
                    angelia.ClientSession(trace_configs=[recorder.config]) as session,
                    session.get(server.url) as resp,
                ):
                    await resp.read()
        assert recorder.names == (BEGIN + END) * 2


class TestParameters:
    """The classes of what signals carry."""

    @pytest.mark.parametrize("name", SIGNALS)
    def test_attributes(self, name: str) -> None:
        """They have the documented attributes, are equal by value, and cannot be changed."""
        cls, attributes = SIGNALS[name]
        values = {attribute: f"<{attribute}>" for attribute in attributes}
        params = cls(**values)
        assert params == cls(*values.values())
        assert {attribute: getattr(params, attribute) for attribute in attributes} == values
        assert cls.__name__ in repr(params)
        for attribute in [*attributes, "other"]:
            with pytest.raises(AttributeError):
                setattr(params, attribute, 1)

    async def test_of_a_request(self) -> None:
        """Every signal is sent with parameters of its class; URLs have the query of `params`."""
        recorder = Recorder()
        moved = response(b"gone", "Location: /b?x=1", status="307 Temporary Redirect")
        async with (
            RawServer([moved, OK]) as server,
            angelia.ClientSession(trace_configs=[recorder.config], headers={"X-S": "1"}) as session,
        ):
            url = server.url / "a"
            async with session.post(
                url, params={"q": "1"}, data=b"abc", headers={"X-A": "2"}
            ) as resp:
                assert await resp.read() == b"ok"
        for name, params in recorder.seen:
            assert type(params) is SIGNALS[name][0]
        first, second = url.with_query(q="1"), url.with_path("/b").with_query(x="1")
        start = recorder.one("request_start")
        assert (start.method, start.url) == ("POST", first)
        assert dict(start.headers) == {"X-S": "1", "X-A": "2"}
        redirect = recorder.one("request_redirect")
        assert (redirect.method, redirect.url) == ("POST", first)
        assert redirect.response.status == 307
        assert redirect.headers["x-s"] == "1"
        sent = [params for name, params in recorder.seen if name == "request_chunk_sent"]
        assert [(params.method, params.url, params.chunk) for params in sent] == [
            ("POST", first, b"abc"),
            ("POST", second, b"abc"),
        ]
        heads = [params for name, params in recorder.seen if name == "request_headers_sent"]
        assert [params.url for params in heads] == [first, second]
        assert all(params.headers["content-length"] == "3" for params in heads)
        end = recorder.one("request_end")
        assert (end.method, end.url) == ("POST", second)
        assert end.response is resp
        assert end.headers["x-a"] == "2"
        received = recorder.one("response_chunk_received")
        assert (received.method, received.url, received.chunk) == ("POST", second, b"ok")

    async def test_headers_may_be_changed(self) -> None:
        """What a callback of the start does to the fields is what is sent, for this request."""
        config = angelia.TraceConfig()

        async def sign(session: Any, context: Any, params: angelia.TraceRequestStartParams) -> None:
            params.headers["X-Signed"] = "yes"

        config.on_request_start.append(sign)
        async with (
            RawServer([OK, OK]) as server,
            angelia.ClientSession(trace_configs=[config], headers={"X-S": "1"}) as session,
        ):
            for headers in (None, {"X-A": "1"}):
                async with session.get(server.url, headers=headers) as resp:
                    await resp.read()
            assert session.headers == CIMultiDict({"X-S": "1"})
        assert all(b"\r\nX-Signed: yes\r\n" in request for request in server.requests)
        assert all(b"\r\nX-S: 1\r\n" in request for request in server.requests)


class TestOrder:
    """The signals come in the order of a request's life, and only for what happens."""

    async def test_plain_and_reused(self) -> None:
        """A request makes a connection, the next one uses it again."""
        recorder = Recorder()
        async with (
            RawServer([OK, OK]) as server,
            angelia.ClientSession(trace_configs=[recorder.config]) as session,
        ):
            for _ in range(2):
                async with session.get(server.url) as resp:
                    await resp.read()
        assert recorder.names == BEGIN + END + AGAIN + END

    async def test_queued(self) -> None:
        """Who has to wait for a free connection is told when that begins and ends."""
        recorder = Recorder()
        waits = asyncio.Event()

        async def note(session: Any, context: Any, params: Any) -> None:
            waits.set()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await read_request(reader):
                await waits.wait()
                writer.write(OK)

        recorder.config.on_connection_queued_start.append(note)
        connector = angelia.TCPConnector(limit=1)
        async with (
            RawServer(script) as server,
            angelia.ClientSession(connector=connector, connector_owner=False) as first,
            angelia.ClientSession(trace_configs=[recorder.config], connector=connector) as second,
        ):
            tasks = [asyncio.create_task(s.get(server.url)) for s in (first, second)]
            for resp in await asyncio.gather(*tasks):
                await resp.read()
                resp.release()
        queued = ["connection_queued_start", "connection_queued_end"]
        assert recorder.names == [AGAIN[0], *queued, *AGAIN[1:], *END]

    async def test_names(self) -> None:
        """A name is a miss of the cache and a lookup, then a hit; both inside of the creation."""
        recorder = Recorder()
        resolver = Names()
        async with (
            RawServer([OK, OK]) as server,
            angelia.ClientSession(
                trace_configs=[recorder.config],
                connector=angelia.TCPConnector(resolver=resolver, force_close=True),
            ) as session,
        ):
            url = server.url.with_host("known.test")
            for _ in range(2):
                async with session.get(url) as resp:
                    await resp.read()
        dns = ["dns_cache_miss", "dns_resolvehost_start", "dns_resolvehost_end"]
        start, create, made, sent = BEGIN
        assert recorder.names == [
            *[start, create, *dns, made, sent, *END],
            *[start, create, "dns_cache_hit", made, sent, *END],
        ]
        hosts = {params.host for name, params in recorder.seen if name.startswith("dns")}
        assert hosts == {"known.test"}
        assert resolver.asked == 1

    async def test_names_without_cache(self) -> None:
        """Without a cache there is neither hit nor miss."""
        recorder = Recorder()
        connector = angelia.TCPConnector(resolver=Names(), use_dns_cache=False)
        async with (
            RawServer([OK]) as server,
            angelia.ClientSession(trace_configs=[recorder.config], connector=connector) as session,
            session.get(server.url.with_host("known.test")) as resp,
        ):
            await resp.read()
        start, create, made, sent = BEGIN
        dns = ["dns_resolvehost_start", "dns_resolvehost_end"]
        assert recorder.names == [start, create, *dns, made, sent, *END]

    async def test_redirects(self) -> None:
        """Each redirect is told, and the next hop begins with its connection, not with a start."""
        recorder = Recorder()
        moved = response(b"gone", "Location: /b", status="302 Found")
        async with (
            RawServer([moved, moved, OK]) as server,
            angelia.ClientSession(trace_configs=[recorder.config]) as session,
            session.get(server.url) as resp,
        ):
            await resp.read()
        assert recorder.names == [
            *BEGIN,
            *["request_redirect", *AGAIN[1:]] * 2,
            *END,
        ]

    async def test_chunks_sent(self) -> None:
        """Each piece of a body is told, the last one too, all after the head."""

        async def pieces() -> AsyncIterator[bytes]:
            for piece in (b"one", b"two", b"three"):
                yield piece

        recorder = Recorder()
        async with (
            RawServer([OK]) as server,
            angelia.ClientSession(trace_configs=[recorder.config]) as session,
            session.post(server.url, data=pieces()) as resp,
        ):
            await resp.read()
        assert recorder.chunks("request_chunk_sent") == [b"one", b"two", b"three"]
        assert recorder.names == BEGIN + ["request_chunk_sent"] * 3 + END

    async def test_unread(self) -> None:
        """Content that nobody reads is not told."""
        recorder = Recorder()
        async with (
            RawServer([OK]) as server,
            angelia.ClientSession(trace_configs=[recorder.config]) as session,
            session.get(server.url),
        ):
            pass
        assert recorder.names == [*BEGIN, "request_end"]

    async def test_middleware(self) -> None:
        """Signals of attempts come as often as attempts are made; start and end come once."""
        recorder = Recorder()

        async def twice(
            request: angelia.ClientRequest, handler: angelia.ClientHandlerType
        ) -> angelia.ClientResponse:
            async with await handler(request) as resp:
                await resp.read()
            return await handler(request)

        async with (
            RawServer([OK, OK]) as server,
            angelia.ClientSession(trace_configs=[recorder.config], middlewares=[twice]) as session,
            session.get(server.url) as resp,
        ):
            await resp.read()
        assert recorder.names == [
            *BEGIN,
            "response_chunk_received",
            *AGAIN[1:],
            *END,
        ]

    async def test_several(self) -> None:
        """Several configurations are told in their order, step by step."""
        log: list[tuple[int, str]] = []

        def config(number: int) -> angelia.TraceConfig:
            made = angelia.TraceConfig()

            def listen(name: str) -> None:
                async def note(*_: Any) -> None:
                    log.append((number, name))

                getattr(made, f"on_{name}").append(note)

            for name in SIGNALS:
                listen(name)
            return made

        async with (
            RawServer([OK]) as server,
            angelia.ClientSession(trace_configs=[config(1), config(2)]) as session,
            session.get(server.url) as resp,
        ):
            await resp.read()
        assert log == [(number, name) for name in BEGIN + END for number in (1, 2)]


def _request(session: angelia.ClientSession, url: URL) -> angelia.ClientRequest:
    return angelia.ClientRequest("GET", url, loop=asyncio.get_running_loop(), session=session)


PIECES = [b"first\n", b"second\nthi", b"rd\n"]
WHOLE = b"".join(PIECES)


async def chunked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends `PIECES` as HTTP chunks, for each request."""
    while True:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in PIECES:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def by_lines(stream: angelia.StreamReader) -> list[bytes]:
    return [line async for line in stream]


async def by_iter_lines(stream: angelia.StreamReader) -> list[bytes]:
    return [line async for line in stream.iter_lines()]


async def by_chunked(stream: angelia.StreamReader) -> list[bytes]:
    return [piece async for piece in stream.iter_chunked(4)]


async def by_any(stream: angelia.StreamReader) -> list[bytes]:
    return [piece async for piece in stream.iter_any()]


async def by_chunks(stream: angelia.StreamReader) -> list[bytes]:
    return [piece async for piece, _ in stream.iter_chunks()]


async def by_until(stream: angelia.StreamReader) -> list[bytes]:
    found = []
    while piece := await stream.readuntil(b"i"):
        found.append(piece)
    return found


async def by_exactly(stream: angelia.StreamReader) -> list[bytes]:
    return [await stream.readexactly(len(WHOLE))]


async def by_read(stream: angelia.StreamReader) -> list[bytes]:
    return [await stream.read()]


READERS = [
    by_lines,
    by_iter_lines,
    by_chunked,
    by_any,
    by_chunks,
    by_until,
    by_exactly,
    by_read,
]


class TestReceivedChunks:
    """`on_response_chunk_received`: for streamed content as for `read`."""

    @pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
    async def test_streamed(self, reader: Callable[[angelia.StreamReader], Any]) -> None:
        """Each way to read a stream tells what it gives, in order, and gives all of it."""
        recorder = Recorder()
        async with (
            RawServer(chunked) as server,
            angelia.ClientSession(trace_configs=[recorder.config]) as session,
            session.get(server.url) as resp,
        ):
            given = await reader(resp.content)
        assert b"".join(given) == WHOLE
        told = recorder.chunks()
        assert b"".join(told) == WHOLE
        if reader is not by_exactly:
            assert told == [piece for piece in given if piece]

    async def test_url(self) -> None:
        """The URL is the one that was asked for, fragment and all, as the other signals have it."""
        recorder = Recorder()
        async with (
            RawServer([OK, OK]) as server,
            angelia.ClientSession(trace_configs=[recorder.config]) as session,
        ):
            url = (server.url / "x").with_query(a="1").with_fragment("part")
            for streamed in (False, True):
                async with session.get(url) as resp:
                    await (resp.content.read() if streamed else resp.read())
        told = [params.url for name, params in recorder.seen if name == "response_chunk_received"]
        assert told == [url, url]

    async def test_read_tells_once(self) -> None:
        """`read` tells its whole content once; text, json and a second read tell nothing more."""
        for script in (chunked, [response(WHOLE)]):
            recorder = Recorder()
            async with (
                RawServer(script) as server,
                angelia.ClientSession(trace_configs=[recorder.config]) as session,
                session.get(server.url) as resp,
            ):
                assert await resp.read() == WHOLE
                await resp.read()
                await resp.text()
            assert recorder.chunks() == [WHOLE]

    async def test_read_after_streaming(self) -> None:
        """`read` tells the rest of what was streamed before."""
        recorder = Recorder()
        async with (
            RawServer(chunked) as server,
            angelia.ClientSession(trace_configs=[recorder.config]) as session,
            session.get(server.url) as resp,
        ):
            line = await resp.content.readline()
            rest = await resp.read()
        assert recorder.chunks() == [line, rest]
        assert line + rest == WHOLE

    async def test_empty(self) -> None:
        """`read` of no content tells that it is empty; a stream without content tells nothing."""
        recorder = Recorder()
        async with (
            RawServer([response(), response()]) as server,
            angelia.ClientSession(trace_configs=[recorder.config]) as session,
        ):
            async with session.get(server.url) as resp:
                assert await resp.read() == b""
            async with session.get(server.url) as resp:
                assert [piece async for piece in resp.content] == []
        assert recorder.chunks() == [b""]

    async def test_decoded(self) -> None:
        """What is told is what the reader gets: decoded content."""
        recorder = Recorder()
        packed = response(gzip.compress(WHOLE), "Content-Encoding: gzip")
        async with (
            RawServer([packed]) as server,
            angelia.ClientSession(trace_configs=[recorder.config]) as session,
            session.get(server.url) as resp,
        ):
            lines = [line async for line in resp.content]
        assert recorder.chunks() == lines == WHOLE.splitlines(keepends=True)

    async def test_failing_callback(self) -> None:
        """The call that reads fails; what it was told of is read by the next one."""
        recorder = Recorder("response_chunk_received")
        async with (
            RawServer(chunked) as server,
            angelia.ClientSession(trace_configs=[recorder.config]) as session,
            session.get(server.url) as resp,
        ):
            for read in (resp.content.readline, resp.content.readchunk, resp.content.readany):
                with pytest.raises(Broken):
                    await read()
            recorder.fail = ""
            pieces = [pair async for pair in resp.content.iter_chunks()]
        assert pieces == [(piece, True) for piece in PIECES]
        assert recorder.names.count("request_exception") == 0

    async def test_cancelled_callback(self) -> None:
        """A reader that is cancelled in a callback loses nothing."""
        told = asyncio.Event()

        async def hang(*_: Any) -> None:
            told.set()
            await asyncio.Event().wait()

        config = angelia.TraceConfig()
        config.on_response_chunk_received.append(hang)
        async with (
            RawServer(chunked) as server,
            angelia.ClientSession(trace_configs=[config]) as session,
            session.get(server.url) as resp,
        ):
            task = asyncio.create_task(resp.content.readline())
            await told.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert resp.content.read_nowait(6) == PIECES[0]

    async def test_nobody_listens(self) -> None:
        """Where nobody listens to this signal the stream is a plain one."""
        silent = angelia.TraceConfig()
        for configs, kind in ((None, "StreamReader"), ([silent], "StreamReader")):
            async with (
                RawServer(chunked) as server,
                angelia.ClientSession(trace_configs=configs) as session,
                session.get(server.url) as resp,
            ):
                assert type(resp.content).__name__ == kind

    async def test_per_request_sizes(self) -> None:
        """Options of a request do not switch the signal off."""
        recorder = Recorder()
        async with (
            RawServer(chunked) as server,
            angelia.ClientSession(trace_configs=[recorder.config]) as session,
            session.get(server.url, read_bufsize=16, auto_decompress=False) as resp,
        ):
            assert [line async for line in resp.content]
        assert b"".join(recorder.chunks()) == WHOLE


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Closes instead of an answer."""
    await read_request(reader)


class TestFailures:
    """A request that has started ends once: in its end or in an exception."""

    async def test_unknown_name(self) -> None:
        """A failed lookup has ended, too; then comes the exception, with the error itself."""
        recorder = Recorder()
        async with angelia.ClientSession(
            trace_configs=[recorder.config], connector=angelia.TCPConnector(resolver=Names())
        ) as session:
            with pytest.raises(angelia.ClientConnectorDNSError) as caught:
                await session.get("http://unknown.test/", params={"a": "1"})
        assert recorder.names == [
            "request_start",
            "connection_create_start",
            "dns_cache_miss",
            "dns_resolvehost_start",
            "dns_resolvehost_end",
            "request_exception",
        ]
        params = recorder.one("request_exception")
        assert params.exception is caught.value
        assert params.method == "GET"
        assert params.url == URL("http://unknown.test/?a=1")

    async def test_refused(self) -> None:
        """A connection that cannot be made is begun, and not ended."""
        async with RawServer([]) as server:
            url = server.url
        recorder = Recorder()
        async with angelia.ClientSession(trace_configs=[recorder.config]) as session:
            with pytest.raises(angelia.ClientConnectorError):
                await session.get(url)
        assert recorder.names == ["request_start", "connection_create_start", "request_exception"]

    @pytest.mark.parametrize(
        ("script", "error"),
        [
            (hang_up, angelia.ServerDisconnectedError),
            ([b"rubbish\r\n\r\n"], angelia.ClientResponseError),
        ],
    )
    async def test_no_response(self, script: Any, error: type[Exception]) -> None:
        """A response that does not come, or is none."""
        recorder = Recorder()
        async with (
            RawServer(script) as server,
            angelia.ClientSession(trace_configs=[recorder.config]) as session,
        ):
            with pytest.raises(error):
                await session.get(server.url)
        assert recorder.names == [*BEGIN, "request_exception"]

    async def test_status(self) -> None:
        """A status that the session refuses is an exception, and no end."""
        recorder = Recorder()
        async with (
            RawServer([response(status="404 Not Found")]) as server,
            angelia.ClientSession(
                trace_configs=[recorder.config], raise_for_status=True
            ) as session,
        ):
            with pytest.raises(angelia.ClientResponseError):
                await session.get(server.url)
        assert recorder.names == [*BEGIN, "request_exception"]

    async def test_too_many_redirects(self) -> None:
        """The redirect that is not followed is none."""
        recorder = Recorder()
        moved = response(b"", "Location: /b", status="302 Found")
        async with (
            RawServer([moved, moved]) as server,
            angelia.ClientSession(trace_configs=[recorder.config]) as session,
        ):
            with pytest.raises(angelia.TooManyRedirects):
                await session.get(server.url, max_redirects=2)
        assert recorder.names == [
            *BEGIN,
            "request_redirect",
            *AGAIN[1:],
            "request_exception",
        ]

    async def test_bad_body(self) -> None:
        """A body that fails while it is sent."""

        async def pieces() -> AsyncIterator[bytes]:
            yield b"one"
            raise Broken

        recorder = Recorder()
        async with (
            RawServer([OK]) as server,
            angelia.ClientSession(trace_configs=[recorder.config]) as session,
        ):
            with pytest.raises(Broken):
                await session.post(server.url, data=pieces())
        assert recorder.names == [*BEGIN, "request_chunk_sent", "request_exception"]

    async def test_timeout(self) -> None:
        """A timeout is an exception like others."""

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            await reader.read()

        recorder = Recorder()
        async with (
            RawServer(silent) as server,
            angelia.ClientSession(
                trace_configs=[recorder.config], timeout=angelia.ClientTimeout(total=0.02)
            ) as session,
        ):
            with pytest.raises(asyncio.TimeoutError):
                await session.get(server.url)
        assert recorder.names == [*BEGIN, "request_exception"]

    @pytest.mark.parametrize(
        "stop", ["request_start", "connection_create_start", "request_headers_sent"]
    )
    async def test_cancelled(self, stop: str) -> None:
        """A cancelled request is told so; the signals of what did not happen do not come."""
        recorder = Recorder()
        reached = asyncio.Event()

        async def hang(*_: Any) -> None:
            reached.set()
            await asyncio.Event().wait()

        getattr(recorder.config, f"on_{stop}").append(hang)
        async with (
            RawServer([OK]) as server,
            angelia.ClientSession(trace_configs=[recorder.config]) as session,
        ):
            task = asyncio.create_task(session.get(server.url))
            await reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert recorder.names == [*BEGIN[: BEGIN.index(stop) + 1], "request_exception"]
        assert isinstance(recorder.one("request_exception").exception, asyncio.CancelledError)

    async def test_cancelled_in_the_queue(self) -> None:
        """Who gives up waiting for a connection leaves the queue."""
        recorder = Recorder()
        waits = asyncio.Event()

        async def note(*_: Any) -> None:
            waits.set()

        recorder.config.on_connection_queued_start.append(note)
        connector = angelia.TCPConnector(limit=1)
        async with (
            RawServer([OK]) as server,
            angelia.ClientSession(trace_configs=[recorder.config], connector=connector) as session,
        ):
            connection = await connector.connect(_request(session, server.url))
            task = asyncio.create_task(session.get(server.url))
            await waits.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            connection.release()
        assert recorder.names == ["request_start", "connection_queued_start", "request_exception"]

    async def test_not_started(self) -> None:
        """What is wrong with the arguments is told to nobody: no request has started."""
        recorder = Recorder()
        async with angelia.ClientSession(trace_configs=[recorder.config]) as session:
            with pytest.raises(angelia.InvalidURL):
                await session.get("/nowhere")
            with pytest.raises(ValueError, match="data and json"):
                await session.post("http://a.test/", data=b"x", json=1)
        assert recorder.names == []


class TestFailingCallbacks:
    """A callback that raises fails its request, and nothing else."""

    @pytest.mark.parametrize(
        "name",
        [
            "request_start",
            "connection_create_start",
            "dns_cache_miss",
            "dns_resolvehost_start",
            "dns_resolvehost_end",
            "connection_create_end",
            "request_headers_sent",
            "request_chunk_sent",
            "request_redirect",
            "connection_reuseconn",
            "request_end",
        ],
    )
    async def test_each_signal(self, name: str) -> None:
        """The error comes out of the request; no slot or socket is lost, and the next one works."""
        recorder = Recorder(name)
        connector = angelia.TCPConnector(resolver=Names(), limit=1)

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            moved = response(b"", "Location: /b", status="307 Temporary Redirect")
            while True:
                request = await read_request(reader)
                writer.write(OK if request.startswith(b"POST /b") else moved)

        async with (
            RawServer(script) as server,
            angelia.ClientSession(trace_configs=[recorder.config], connector=connector) as session,
        ):
            url = server.url.with_host("known.test")
            with pytest.raises(Broken, match=name):
                await session.post(url, data=b"x")
            assert recorder.names.count(name) == 1
            ends = recorder.names.count("request_end") + recorder.names.count("request_exception")
            assert ends == 1
            if name != "request_end":
                assert isinstance(recorder.one("request_exception").exception, Broken)
            recorder.fail = ""
            async with session.post(url, data=b"x") as resp:
                assert await resp.read() == b"ok"
            stats = connector.stats()
            assert (stats.idle, stats.in_use, stats.connecting, stats.waiting) == (1, 0, 0, 0)

    @pytest.mark.parametrize("name", ["connection_queued_start", "connection_queued_end"])
    async def test_in_the_queue(self, name: str) -> None:
        """One who fails while waiting for a connection does not keep it."""
        recorder = Recorder(name)
        waits = asyncio.Event()

        async def note(*_: Any) -> None:
            waits.set()

        recorder.config.on_connection_queued_start.insert(0, note)
        connector = angelia.TCPConnector(limit=1)
        async with (
            RawServer([OK, OK]) as server,
            angelia.ClientSession(trace_configs=[recorder.config], connector=connector) as session,
        ):
            connection = await connector.connect(_request(session, server.url))
            task = asyncio.create_task(session.get(server.url))
            await waits.wait()
            connection.release()
            with pytest.raises(Broken, match=name):
                await task
            stats = connector.stats()
            assert (stats.in_use, stats.waiting) == (0, 0)
            recorder.fail = ""
            async with session.get(server.url) as resp:
                assert await resp.read() == b"ok"

    async def test_exception_signal(self) -> None:
        """A callback that fails over a failure is what the caller sees; others are told all the
        same, and the first failure is its context."""
        first, second = Recorder("request_exception"), Recorder()
        async with (
            RawServer(hang_up) as server,
            angelia.ClientSession(trace_configs=[first.config, second.config]) as session,
        ):
            with pytest.raises(Broken) as caught:
                await session.get(server.url)
        assert isinstance(caught.value.__context__, angelia.ServerDisconnectedError)
        error = second.one("request_exception").exception
        assert isinstance(error, angelia.ServerDisconnectedError)

    async def test_start_of_several(self) -> None:
        """Where the first configuration's start fails, the second knows of no request."""
        first, second = Recorder("request_start"), Recorder()
        async with angelia.ClientSession(trace_configs=[first.config, second.config]) as session:
            with pytest.raises(Broken):
                await session.get("http://127.0.0.1:1/")
        assert first.names == ["request_start", "request_exception"]
        assert second.names == []

    async def test_end_of_several(self) -> None:
        """Where the first configuration's end fails, the second's is an exception."""
        first, second = Recorder("request_end"), Recorder()
        async with (
            RawServer([OK]) as server,
            angelia.ClientSession(trace_configs=[first.config, second.config]) as session,
        ):
            with pytest.raises(Broken):
                await session.get(server.url)
        assert first.names == [*BEGIN, "request_end"]
        assert second.names == [*BEGIN, "request_exception"]

    async def test_slow_reuse(self) -> None:
        """The connection is taken before the callback runs: no other request can get it."""
        recorder = Recorder()
        entered, go_on = asyncio.Event(), asyncio.Event()

        async def slow(*_: Any) -> None:
            entered.set()
            await go_on.wait()

        recorder.config.on_connection_reuseconn.append(slow)
        connector = angelia.TCPConnector()
        async with (
            RawServer([OK, OK, OK]) as server,
            angelia.ClientSession(
                trace_configs=[recorder.config], connector=connector, connector_owner=False
            ) as traced,
            angelia.ClientSession(connector=connector) as plain,
        ):
            async with traced.get(server.url) as resp:
                await resp.read()
            task = asyncio.create_task(traced.get(server.url))
            await entered.wait()
            async with plain.get(server.url) as resp:
                await resp.read()
            assert server.connections == 2
            go_on.set()
            async with await task as resp:
                assert await resp.read() == b"ok"
            assert server.connections == 2
