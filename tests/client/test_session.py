"""ClientSession: one call from its arguments to its response, on real sockets."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from multidict import CIMultiDict
from yarl import URL

import angelia
from angelia.abc import AbstractResolver, AbstractStreamWriter, ResolveResult
from peers.raw import RawServer, read_request, response

pytestmark = pytest.mark.usefixtures("loop_kind")

OK = response(b"ok")


def head_of(request: bytes) -> list[str]:
    """The lines of a request's head."""
    return request.split(b"\r\n\r\n", 1)[0].decode("latin-1").split("\r\n")


def body_of(request: bytes) -> bytes:
    return request.split(b"\r\n\r\n", 1)[1]


def unchunked(wire: bytes) -> bytes:
    """The content of a chunked body."""
    content = b""
    while True:
        line, _, wire = wire.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            return content
        content += wire[:size]
        wire = wire[size + 2 :]


class CountingBody(angelia.Payload):
    """A body that has something to close, and counts how often that is done."""

    closings = 0

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return str(self._value, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await writer.write(self._value)

    async def close(self) -> None:
        self.closings += 1
        await super().close()


class EveryHostIsHere(AbstractResolver):
    """Resolves each name to the loopback address, and keeps the names."""

    def __init__(self) -> None:
        self.names: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.names.append(host)
        return [
            ResolveResult(
                hostname=host,
                host="127.0.0.1",
                port=port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """There is nothing to close."""


class TestRequests:
    async def test_get(self) -> None:
        """A GET sends Host first, the automatic fields, and no length; its response is readable."""
        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            async with session.get(server.url) as resp:
                assert resp.status == 200
                assert resp.reason == "OK"
                assert resp.ok
                assert resp.version == angelia.HttpVersion11
                assert resp.method == "GET"
                assert resp.url == server.url
                assert resp.headers["content-length"] == "2"
                assert resp.raw_headers == ((b"Content-Length", b"2"),)
                assert await resp.read() == b"ok"
                assert await resp.text() == "ok"
            lines = head_of(server.requests[0])
        assert lines[0] == "GET / HTTP/1.1"
        assert lines[1] == f"Host: 127.0.0.1:{server.url.port}"
        names = [line.partition(":")[0] for line in lines[1:]]
        assert names == ["Host", "Accept", "Accept-Encoding", "User-Agent"]

    @pytest.mark.parametrize(
        ("verb", "method"),
        [
            ("get", "GET"),
            ("post", "POST"),
            ("put", "PUT"),
            ("patch", "PATCH"),
            ("delete", "DELETE"),
            ("options", "OPTIONS"),
        ],
    )
    async def test_verbs(self, verb: str, method: str) -> None:
        """Each verb has its method; only those that may have a body announce its absence."""
        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            async with getattr(session, verb)(server.url) as resp:
                assert resp.method == method
                await resp.read()
            lines = head_of(server.requests[0])
        assert lines[0] == f"{method} / HTTP/1.1"
        assert ("Content-Length: 0" in lines) == (method not in ("GET", "OPTIONS"))

    async def test_head(self) -> None:
        """The response to HEAD has no content, whatever it announces, and its connection stays."""
        answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", OK]
        async with RawServer(answers) as server, angelia.ClientSession() as session:
            async with session.head(server.url) as resp:
                assert await resp.read() == b""
                assert resp.content_length == 100
            async with session.get(server.url) as resp:
                assert await resp.read() == b"ok"
            assert server.connections == 1

    async def test_awaited(self) -> None:
        """A request can be awaited instead of entered; the response is then released by hand."""
        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            resp = await session.get(server.url)
            assert await resp.read() == b"ok"
            resp.release()
            assert resp.closed

    async def test_function(self) -> None:
        """`angelia.request` works both ways, and leaves no session behind."""
        async with RawServer([OK, OK]) as server:
            async with angelia.request("GET", server.url) as resp:
                assert await resp.text() == "ok"
            resp = await angelia.request("GET", server.url)
            assert await resp.text() == "ok"

    async def test_session_headers_and_request_headers(self) -> None:
        """Fields of a request replace those of the session by name; several values are all sent."""
        async with (
            RawServer([OK]) as server,
            angelia.ClientSession(headers={"X-A": "1", "x-b": "2"}) as session,
        ):
            given = CIMultiDict([("X-B", "3"), ("X-B", "4"), ("User-Agent", "me")])
            async with session.get(server.url, headers=given) as resp:
                await resp.read()
            assert given == CIMultiDict([("X-B", "3"), ("X-B", "4"), ("User-Agent", "me")])
            lines = head_of(server.requests[0])
        assert [line for line in lines if line.lower().startswith("x-")] == [
            "X-A: 1",
            "X-B: 3",
            "X-B: 4",
        ]
        assert [line for line in lines if line.lower().startswith("user-agent")] == [
            "User-Agent: me"
        ]

    async def test_session_headers_may_change(self) -> None:
        """The session's fields can be changed between requests."""
        async with RawServer([OK, OK]) as server, angelia.ClientSession() as session:
            await (await session.get(server.url)).read()
            session.headers["X-New"] = "1"
            await (await session.get(server.url)).read()
            first, second = server.requests[0].split(b"\r\n\r\n")[:2]
        assert b"X-New" not in first
        assert b"X-New: 1" in second

    @pytest.mark.parametrize(
        ("host", "resolved", "named"),
        [
            ("host.test", "host.test", "host.test"),
            ("HOST.test", "host.test", "host.test"),
            ("host.test.", "host.test.", "host.test"),
            ("b\u00fccher.test", "xn--bcher-kva.test", "xn--bcher-kva.test"),
            ("a" * 63 + ".test", "a" * 63 + ".test", "a" * 63 + ".test"),
        ],
    )
    async def test_names_of_hosts(self, host: str, resolved: str, named: str) -> None:
        """Names go out in ASCII; a trailing dot is for the resolver alone."""
        resolver = EveryHostIsHere()
        async with (
            RawServer([OK]) as server,
            angelia.ClientSession(connector=angelia.TCPConnector(resolver=resolver)) as session,
        ):
            async with session.get(f"http://{host}:{server.port}/") as resp:
                assert await resp.read() == b"ok"
            assert head_of(server.requests[0])[1] == f"Host: {named}:{server.port}"
        assert resolver.names == [resolved]

    async def test_own_fields_replace_automatic_ones(self) -> None:
        """Each automatic field that the caller gives, in any case, is sent once and first hand."""
        own = {
            "HOST": "h.test",
            "accept": "a/b",
            "ACCEPT-encoding": "identity",
            "user-agent": "me",
            "content-TYPE": "c/d",
        }
        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            async with session.post(server.url, data=b"x", headers=own) as resp:
                await resp.read()
            fields = [line.split(": ") for line in head_of(server.requests[0])[1:]]
        assert {name.lower(): value for name, value in fields} == {
            **{name.lower(): value for name, value in own.items()},
            "content-length": "1",
        }
        assert len(fields) == len(own) + 1

    async def test_arguments_are_not_changed(self) -> None:
        """What the caller passes is only read, by the session, the request and redirects."""
        headers = CIMultiDict([("Authorization", "secret"), ("X-A", "1"), ("X-A", "2")])
        shared = {"X-S": "s"}
        params, cookies, data = {"a": "1"}, {"c": "1"}, {"f": "v"}
        skipped = {"User-Agent"}
        before = [value.copy() for value in (headers, shared, params, cookies, data, skipped)]
        answers = [response(b"", "Location: /next", "Set-Cookie: d=1", status="302 Found"), OK]
        async with (
            RawServer(answers) as server,
            angelia.ClientSession(headers=shared) as session,
            session.post(
                server.url,
                headers=headers,
                params=params,
                cookies=cookies,
                data=data,
                skip_auto_headers=skipped,
            ) as resp,
        ):
            assert await resp.read() == b"ok"
        assert [headers, shared, params, cookies, data, skipped] == before

    async def test_skip_auto_headers(self) -> None:
        """Automatic fields are left out on request, in any case; Content-Length is not."""
        async with (
            RawServer([OK, OK]) as server,
            angelia.ClientSession(skip_auto_headers=["user-agent"]) as session,
        ):
            async with session.post(
                server.url, data=b"x", skip_auto_headers=["CONTENT-TYPE", "Content-Length"]
            ) as resp:
                await resp.read()
            names = [line.partition(":")[0] for line in head_of(server.requests[0])[1:]]
        assert names == ["Host", "Accept", "Accept-Encoding", "Content-Length"]

    async def test_params(self) -> None:
        """`params` join the query of the URL, keep order and repetition, and add no empty ``?``."""
        async with RawServer([OK] * 4) as server, angelia.ClientSession() as session:
            url = server.url / "p"
            for given in ({"b": "2"}, [("b", 2), ("b", 2.5)], "b=%20", {}):
                async with session.get(url.with_query("a=1") if given else url, params=given) as r:
                    await r.read()
            targets = [
                part.split(b" ")[1].decode() for part in server.requests[0].split(b"\r\n\r\n")[:-1]
            ]
        assert targets == ["/p?a=1&b=2", "/p?a=1&b=2&b=2.5", "/p?a=1&b=%20", "/p"]

    @pytest.mark.parametrize("value", [True, None])
    async def test_params_of_a_wrong_type(self, value: Any) -> None:
        """`bool` and None are no values of a query."""
        async with angelia.ClientSession() as session:
            with pytest.raises(TypeError):
                await session.get("http://localhost/", params={"a": value})

    async def test_fragment_stays_here(self) -> None:
        """The fragment is not sent; `real_url` keeps it and `url` does not."""
        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            async with session.get(server.url.with_fragment("part")) as resp:
                assert resp.real_url.fragment == "part"
                assert resp.url.fragment == ""
            assert head_of(server.requests[0])[0] == "GET / HTTP/1.1"

    async def test_encoded_url_goes_as_it_is(self) -> None:
        """A URL that is marked as encoded goes out octet for octet."""
        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            url = URL(f"{server.url}a%2Fb?x=%2b+%20;y=1", encoded=True)
            async with session.get(url) as resp:
                await resp.read()
            assert head_of(server.requests[0])[0] == "GET /a%2Fb?x=%2b+%20;y=1 HTTP/1.1"

    async def test_base_url(self) -> None:
        """Relative URLs are joined to the base, absolute ones are not (RFC 3986 §5)."""
        async with RawServer([OK] * 3) as server:
            base = server.url / "api" / ""
            async with angelia.ClientSession(base) as session:
                for url in ("x", "/y", str(server.url / "z")):
                    async with session.get(url) as resp:
                        await resp.read()
            parts = server.requests[0].split(b"\r\n\r\n")[:-1]
        assert [part.split(b" ")[1] for part in parts] == [b"/api/x", b"/y", b"/z"]

    async def test_base_url_and_authority(self) -> None:
        """A reference with a host but no scheme takes the scheme of the base (RFC 3986 §5.2.2)."""
        async with (
            RawServer([OK]) as server,
            angelia.ClientSession("http://base.invalid/") as session,
            session.get(f"//127.0.0.1:{server.port}/x") as resp,
        ):
            await resp.read()
            assert str(resp.url) == str(server.url / "x")

    async def test_one_host(self) -> None:
        """Of several `Host` fields of the session the last goes out, and no other."""
        async with RawServer([OK]) as server:
            fields = [("Host", "a.test"), ("Host", "b.test")]
            async with (
                angelia.ClientSession(headers=fields) as session,
                session.get(server.url) as resp,
            ):
                await resp.read()
            hosts = [line for line in head_of(server.requests[0]) if line[:5] == "Host:"]
        assert hosts == ["Host: b.test"]

    async def test_base_url_without_slash(self) -> None:
        """A base URL's path ends with a slash."""
        with pytest.raises(ValueError, match="base_url"):
            angelia.ClientSession("http://localhost/api")

    async def test_http10(self) -> None:
        """HTTP/1.0 asks for keep-alive, and gets no chunks."""

        async def body() -> AsyncIterator[bytes]:
            yield b"ab"
            yield b"c"

        async with (
            RawServer([OK]) as server,
            angelia.ClientSession(version=angelia.HttpVersion10) as session,
        ):
            async with session.post(server.url, data=body()) as resp:
                await resp.read()
            lines = head_of(server.requests[0])
            assert body_of(server.requests[0]) == b"abc"
        assert lines[0] == "POST / HTTP/1.0"
        assert "Connection: keep-alive" in lines
        assert "Content-Length: 3" in lines

    async def test_force_close(self) -> None:
        """A connector that closes makes the request say so."""
        async with (
            RawServer([OK]) as server,
            angelia.TCPConnector(force_close=True) as connector,
            angelia.ClientSession(connector=connector) as session,
        ):
            async with session.get(server.url) as resp:
                await resp.read()
            assert "Connection: close" in head_of(server.requests[0])


class TestCookies:
    @pytest.mark.parametrize("unsafe", [False, True])
    async def test_merged_by_name(self, unsafe: bool) -> None:
        """A `Cookie` field of the caller wins over `cookies`, and those over the jar, by name.

        To IP addresses `cookies` go as the jar's `unsafe` says; what is written as a field, always.
        """
        jar = angelia.CookieJar(unsafe=unsafe)
        jar.update_cookies({"a": "jar", "b": "jar", "c": "jar"})
        async with (
            RawServer([OK, OK]) as server,
            angelia.ClientSession(cookie_jar=jar) as session,
        ):
            arguments: dict[str, Any] = {
                "headers": [("Cookie", "a=field"), ("Cookie", "d=field")],
                "cookies": {"a": "own", "b": "own"},
            }
            await (await session.get(server.url, **arguments)).read()
            await (await session.get(server.url, headers={"cookie": "a=1"})).read()
            first, second = server.requests[0].split(b"\r\n\r\n")[:2]
        own = "own" if unsafe else "jar"
        assert f"Cookie: a=field; b={own}; c=jar; d=field" in first.decode().split("\r\n")
        assert first.count(b"Cookie:") == 1
        assert b"Cookie: a=1; b=jar; c=jar" in second.split(b"\r\n")


class TestBodies:
    @pytest.mark.parametrize(
        ("data", "sent", "content_type"),
        [
            (b"abc", b"abc", "application/octet-stream"),
            (bytearray(b"abc"), b"abc", "application/octet-stream"),
            (memoryview(b"abc"), b"abc", "application/octet-stream"),
            ("h\u00e9", "h\u00e9".encode(), "text/plain; charset=utf-8"),
            (b"", b"", "application/octet-stream"),
            ("", b"", "text/plain; charset=utf-8"),
            (lambda: io.BytesIO(b"abc"), b"abc", "application/octet-stream"),
            (lambda: io.StringIO("abc"), b"abc", "text/plain; charset=utf-8"),
            ({"a": "1", "b": "x y"}, b"a=1&b=x+y", "application/x-www-form-urlencoded"),
            ([("a", "1"), ("a", "2")], b"a=1&a=2", "application/x-www-form-urlencoded"),
        ],
        ids=range(10),
    )
    async def test_kinds(self, data: Any, sent: bytes, content_type: str) -> None:
        """Every kind of body arrives with its length and its type."""
        if callable(data):
            data = data()
        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            async with session.post(server.url, data=data) as resp:
                await resp.read()
            lines = head_of(server.requests[0])
            assert body_of(server.requests[0]) == sent
        assert f"Content-Length: {len(sent)}" in lines
        assert f"Content-Type: {content_type}" in lines

    async def test_json(self) -> None:
        """`json` is serialized by the session's function."""
        async with (
            RawServer([OK]) as server,
            angelia.ClientSession(json_serialize=lambda value: json.dumps(value, indent=1)) as s,
        ):
            async with s.post(server.url, json={"a": [1]}) as resp:
                await resp.read()
            assert body_of(server.requests[0]) == json.dumps({"a": [1]}, indent=1).encode()
            assert "Content-Type: application/json" in head_of(server.requests[0])

    @pytest.mark.parametrize("data", [b"x", b"", ""])
    async def test_json_and_data(self, data: Any) -> None:
        """`json` beside `data` is refused, even if that is empty."""
        async with angelia.ClientSession() as session:
            with pytest.raises(ValueError, match="data and json"):
                await session.post("http://localhost/", data=data, json={})

    async def test_async_iterable_is_chunked(self) -> None:
        """A body of unknown size is chunked; an empty piece does not end it."""

        async def body() -> AsyncIterator[bytes]:
            yield b"ab"
            yield b""
            yield b"c"

        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            async with session.post(server.url, data=body()) as resp:
                await resp.read()
            assert body_of(server.requests[0]) == b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
            assert "Transfer-Encoding: chunked" in head_of(server.requests[0])

    async def test_failing_iterable(self) -> None:
        """What a body's iterator raises reaches the caller; no end is written after it."""

        async def body() -> AsyncIterator[bytes]:
            yield b"ab"
            raise KeyError("broken")

        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            with pytest.raises(KeyError, match="broken"):
                await session.post(server.url, data=body())
            await server.wait_all_closed()
            assert b"0\r\n\r\n" not in body_of(server.requests[0])
            assert session.connector is not None
            assert session.connector.stats().in_use == 0

    async def test_response_while_uploading(self) -> None:
        """The response can come while the body is still being sent: both run at the same time."""
        answered = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"a"
            await answered.wait()
            yield b"b"

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(b"1\r\na\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
            await reader.readexactly(len(b"1\r\nb\r\n0\r\n\r\n"))
            writer.write(b"x")
            await writer.drain()

        async with (
            RawServer(script) as server,
            angelia.ClientSession() as session,
            session.post(server.url, data=body()) as resp,
        ):
            assert not resp.upload_complete
            answered.set()
            assert await resp.read() == b"x"
            assert resp.upload_complete

    async def test_early_answer_ends_the_upload(self) -> None:
        """A whole answer before the body is out is readable, and the connection is not reused."""

        async def body() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 65536

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(response(b"no", status="413 Content Too Large"))
            await writer.drain()
            while await reader.read(65536):
                pass

        async with RawServer(script) as server, angelia.ClientSession() as session:
            async with session.post(server.url, data=body()) as resp:
                assert resp.status == 413
                assert await resp.read() == b"no"
            assert session.connector is not None
            assert session.connector.stats().idle == 0

    @pytest.mark.parametrize("status", ["301 Moved", "303 See Other", "307 Temporary Redirect"])
    @pytest.mark.parametrize("method", ["POST", "PUT"])
    async def test_closed_once_after_redirects(self, status: str, method: str) -> None:
        """A body is closed once, whether a redirect takes it along or not."""
        body = CountingBody(b"abc")
        answers = [response(b"", "Location: /next", status=status), OK]
        async with (
            RawServer(answers) as server,
            angelia.ClientSession() as session,
            session.request(method, server.url, data=body) as resp,
        ):
            assert await resp.read() == b"ok"
        assert body.closings == 1

    @pytest.mark.parametrize("answer", [OK, b"", b"nonsense\r\n\r\n"])
    async def test_closed_once(self, answer: bytes) -> None:
        """A body is closed once: answered, not answered, or answered with something else."""
        body = CountingBody(b"abc")
        async with (
            RawServer([answer], close_each=True) as server,
            angelia.ClientSession() as session,
        ):
            try:
                async with session.post(server.url, data=body) as resp:
                    await resp.read()
            except angelia.ClientError:
                assert answer != OK
        assert body.closings == 1

    async def test_closed_once_when_refused(self) -> None:
        """A body for which there is no connection is closed too."""
        body = CountingBody(b"abc")
        async with RawServer([]) as server:
            url = server.url
        async with angelia.ClientSession() as session:
            with pytest.raises(angelia.ClientConnectorError):
                await session.post(url, data=body)
        assert body.closings == 1

    @pytest.mark.parametrize("expect100", [False, True])
    async def test_closed_once_when_cancelled(self, expect100: bool) -> None:
        """A body whose request is cancelled is closed, sent or not."""
        body = CountingBody(b"abc")
        asked = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            asked.set()
            await reader.read()

        async with RawServer(script) as server, angelia.ClientSession() as session:
            call = session.post(server.url, data=body, expect100=expect100)
            task = asyncio.ensure_future(call)
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.wait_all_closed()
        assert body.closings == 1

    async def test_expect_100_without_a_body(self) -> None:
        """RFC 9110 section 10.1.1: what has no content has nothing to expect."""
        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            async with session.get(server.url, expect100=True) as resp:
                assert await resp.read() == b"ok"
            assert b"Expect" not in server.requests[0]

    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_100_unasked(self, method: str) -> None:
        """Interim responses that nobody asked for are skipped, several too, with their fields."""
        interim = (
            b"HTTP/1.1 100 Continue\r\n\r\n"
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\n\r\n"
        )
        async with RawServer([interim + OK, interim + OK]) as server:
            async with angelia.ClientSession() as session:
                for _ in range(2):
                    async with session.request(method, server.url) as resp:
                        assert resp.status == 200
                        assert "Link" not in resp.headers
                        assert await resp.read() == b"ok"
            assert server.connections == 1

    async def test_expect_100(self) -> None:
        """With `expect100` the body waits for ``100 Continue``."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"Expect: 100-continue" in head
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert await reader.readexactly(3) == b"abc"
            writer.write(OK)
            await writer.drain()

        async with (
            RawServer(script) as server,
            angelia.ClientSession() as session,
            session.post(server.url, data=b"abc", expect100=True) as resp,
        ):
            assert await resp.read() == b"ok"

    async def test_expect_100_refused(self) -> None:
        """A final status instead of 100 is the response, and the body is not sent."""
        answer = response(b"no", status="417 Expectation Failed")

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            assert await reader.read() == b""

        async with RawServer(script) as server, angelia.ClientSession() as session:
            async with session.post(server.url, data=b"abc", expect100=True) as resp:
                assert resp.status == 417
                assert await resp.read() == b"no"
            await server.wait_all_closed()

    async def test_compress(self) -> None:
        """`compress` codes the body and says so; without a body it says nothing."""
        import zlib

        async with RawServer([OK, OK]) as server, angelia.ClientSession() as session:
            async with session.post(server.url, data=b"abc" * 100, compress=True) as resp:
                await resp.read()
            assert "Content-Encoding: deflate" in head_of(server.requests[0])
            assert zlib.decompress(unchunked(body_of(server.requests[0]))) == b"abc" * 100
            async with session.get(server.url, compress=True) as resp:
                await resp.read()
            assert b"Content-Encoding" not in server.requests[0].split(b"0\r\n\r\n")[-1]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"chunked": True, "headers": {"Content-Length": "1"}}, "Content-Length"),
            ({"chunked": True, "headers": {"Transfer-Encoding": "chunked"}}, "chunked"),
            ({"compress": True, "headers": {"Content-Encoding": "gzip"}}, "Content-Encoding"),
        ],
    )
    async def test_contradictions(self, arguments: dict[str, Any], message: str) -> None:
        """Arguments and fields that contradict each other are refused."""
        async with angelia.ClientSession() as session:
            with pytest.raises(ValueError, match=message):
                await session.post("http://localhost/", data=b"x", **arguments)


class TestBadArguments:
    @pytest.mark.parametrize("method", ["GE T", "GET\r\n", "", "G\u00c9T", "GET\0"])
    async def test_method(self, method: str) -> None:
        """A method is a token."""
        async with angelia.ClientSession() as session:
            with pytest.raises(ValueError, match="Method"):
                await session.request(method, "http://localhost/")

    @pytest.mark.parametrize(
        "url", ["/relative", "http://", "http:///path", "http://[::1", "http://host:99999/", ""]
    )
    async def test_url(self, url: str) -> None:
        """A URL without a scheme or host, or with a broken host or port, is refused."""
        async with angelia.ClientSession() as session:
            with pytest.raises(angelia.InvalidUrlClientError) as caught:
                await session.get(url)
        assert isinstance(caught.value, angelia.InvalidURL)
        assert isinstance(caught.value, ValueError)

    @pytest.mark.parametrize("url", ["", "relative", "/x?y", "http:///path"])
    async def test_url_of_the_error(self, url: str) -> None:
        """What was given is in the error, as a `URL` where it is one, however useless."""
        async with angelia.ClientSession() as session:
            with pytest.raises(angelia.InvalidUrlClientError) as caught:
                await session.get(url)
        assert caught.value.url == URL(url)

    @pytest.mark.parametrize("host", ["127.1", "2130706433", "0177.0.0.1"])
    async def test_odd_addresses(self, host: str) -> None:
        """Addresses in forms that only some programs understand are refused."""
        async with angelia.ClientSession() as session:
            with pytest.raises(angelia.InvalidUrlClientError):
                await session.get(f"http://{host}/")

    async def test_scheme(self) -> None:
        """A scheme that the connector does not speak is refused by name."""
        async with angelia.ClientSession() as session:
            with pytest.raises(angelia.NonHttpUrlClientError, match="ftp"):
                await session.get("ftp://host/")

    @pytest.mark.parametrize(
        ("name", "value"),
        [("X", "a\r\nB: c"), ("X", "a\nb"), ("X", "\0"), ("X\r\nB", "c"), ("X Y", "c"), ("", "c")],
    )
    async def test_header_injection(self, name: str, value: str) -> None:
        """A field that would be read as something else is refused before anything is done."""
        async with RawServer([OK, OK]) as server, angelia.ClientSession() as session:
            with pytest.raises(ValueError, match=r"header|character|name"):
                await session.get(server.url, headers={name: value})
            assert server.connections == 0
            # Nor is a connection lost for it that is there already.
            await (await session.get(server.url)).read()
            with pytest.raises(ValueError, match=r"header|character|name"):
                await session.post(server.url, headers={name: value}, data=b"x")
            await (await session.get(server.url)).read()
            assert server.connections == 1

    @pytest.mark.parametrize("value", [1, None, b"x"])
    async def test_header_of_a_wrong_type(self, value: Any) -> None:
        """Names and values of fields are str; others are refused before connecting."""
        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            with pytest.raises(TypeError):
                await session.get(server.url, headers={"X": value})
            with pytest.raises(TypeError):
                await session.get(server.url, headers={value: "X"})
            assert server.connections == 0

    @pytest.mark.parametrize("path", ["/a b", "/a\r\nX: y", "/\xe4", "/a\0"])
    @pytest.mark.parametrize("headers", [None, {"X": "y"}])
    async def test_target_injection(self, path: str, headers: dict[str, str] | None) -> None:
        """An encoded URL that would break the request line is refused before connecting."""
        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            url = URL(f"{str(server.url)[:-1]}{path}", encoded=True)
            with pytest.raises(ValueError, match="target"):
                await session.get(url, headers=headers)
            assert server.connections == 0

    @pytest.mark.parametrize("version", [(2, 0), (1, 1, "x"), ("1\r\nX: y", 1), "1.1\r\nA: b"])
    async def test_version(self, version: Any) -> None:
        """A version is HTTP/1.0 or HTTP/1.1, and cannot carry text."""
        async with angelia.ClientSession(version=version) as session:
            with pytest.raises(ValueError, match=r"(?i)version"):
                await session.get("http://localhost/")

    async def test_ssl_argument(self) -> None:
        """Another type as `ssl` is refused."""
        async with angelia.ClientSession() as session:
            with pytest.raises(TypeError, match="ssl"):
                await session.get("https://localhost/", ssl="yes")

    async def test_timeout_argument(self) -> None:
        """Another type as `timeout` is refused; a number is a total."""
        async with angelia.ClientSession() as session:
            with pytest.raises(TypeError, match="timeout"):
                await session.get("http://localhost/", timeout="5")

    async def test_unsendable_body(self) -> None:
        """A body that nothing can be made of is refused."""
        async with angelia.ClientSession() as session:
            with pytest.raises(TypeError):
                await session.post("http://localhost/", data=5)


class TestFailures:
    async def test_server_disconnects(self) -> None:
        """The end of the connection instead of a response is an error of its own."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)

        async with RawServer(script) as server, angelia.ClientSession() as session:
            with pytest.raises(angelia.ServerDisconnectedError) as caught:
                await session.get(server.url)
            assert caught.value.request_sent is True

    async def test_stale_connection_is_replaced(self) -> None:
        """An idempotent request whose idle connection dies under it is sent once more."""
        served = 0

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal served
            served += 1
            await read_request(reader)
            writer.write(OK)
            await writer.drain()
            if served == 1:
                # The second request on this connection gets its end for an answer.
                await read_request(reader)
            else:
                await reader.read()

        async with RawServer(script) as server, angelia.ClientSession() as session:
            for _ in range(2):
                async with session.get(server.url) as resp:
                    assert await resp.read() == b"ok"
            assert server.connections == 2

    async def test_post_is_not_repeated(self) -> None:
        """A POST is never sent twice by itself."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(OK)
            await writer.drain()
            await read_request(reader)

        async with RawServer(script) as server, angelia.ClientSession() as session:
            async with session.post(server.url) as resp:
                await resp.read()
            with pytest.raises(angelia.ServerDisconnectedError):
                await session.post(server.url)
            assert server.connections == 1

    async def test_refused(self) -> None:
        """A refused connection names host and port, and says that nothing was sent."""
        async with RawServer([OK]) as server:
            url = server.url
        async with angelia.ClientSession() as session:
            with pytest.raises(angelia.ClientConnectorError) as caught:
                await session.get(url)
        assert caught.value.host == "127.0.0.1"
        assert caught.value.port == url.port
        assert caught.value.request_sent is False
        assert isinstance(caught.value, OSError)

    @pytest.mark.parametrize(
        "answer",
        [
            b"rubbish\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        ],
    )
    async def test_malformed_heads(self, answer: bytes) -> None:
        """A malformed head is a ClientResponseError with the request's facts, and a close."""
        async with RawServer([answer]) as server, angelia.ClientSession() as session:
            with pytest.raises(angelia.ClientResponseError) as caught:
                await session.get(server.url)
            assert caught.value.request_info.url == server.url
            assert str(caught.value)
            await server.wait_all_closed()

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        ],
    )
    async def test_malformed_content(self, answer: bytes) -> None:
        """Malformed content is a ClientPayloadError when it is read."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(answer)
            await writer.drain()

        async with RawServer(script) as server, angelia.ClientSession() as session:
            with pytest.raises(angelia.ClientPayloadError):
                async with session.get(server.url) as resp:
                    await resp.read()
            assert session.connector is not None
            assert session.connector.stats().in_use == 0

    async def test_cancelled_while_waiting(self) -> None:
        """A cancelled request closes its connection and frees its slot."""
        waiting = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            waiting.set()
            await reader.read()

        async with RawServer(script) as server, angelia.ClientSession() as session:
            task = asyncio.ensure_future(session.get(server.url))
            await waiting.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.wait_all_closed()
            assert session.connector is not None
            assert session.connector.stats().in_use == 0


class TestTimeouts:
    @staticmethod
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await reader.read()

    @pytest.mark.parametrize(
        ("timeout", "error"),
        [
            (angelia.ClientTimeout(total=0.02), angelia.TotalTimeoutError),
            (angelia.ClientTimeout(sock_read=0.02), angelia.SocketTimeoutError),
        ],
    )
    async def test_silent_server(
        self, timeout: angelia.ClientTimeout, error: type[Exception]
    ) -> None:
        """Each phase has its own error, and each is an `asyncio.TimeoutError`."""
        async with RawServer(self.silent) as server, angelia.ClientSession() as session:
            with pytest.raises(error) as caught:
                await session.get(server.url, timeout=timeout)
            assert isinstance(caught.value, asyncio.TimeoutError)
            await server.wait_all_closed()

    @pytest.mark.parametrize(
        ("timeout", "error"),
        [
            (angelia.ClientTimeout(connect=0.02), angelia.ConnectionTimeoutError),
            (angelia.ClientTimeout(pool=0.02), angelia.PoolTimeoutError),
        ],
    )
    async def test_no_free_connection(
        self, timeout: angelia.ClientTimeout, error: type[Exception]
    ) -> None:
        """The wait for a connection counts for `connect`, and alone for `pool`."""
        async with (
            RawServer(self.silent) as server,
            angelia.TCPConnector(limit=1) as connector,
            angelia.ClientSession(connector=connector) as session,
        ):
            first = asyncio.ensure_future(session.get(server.url))
            await server.wait_connections(1)
            with pytest.raises(error):
                await session.get(server.url, timeout=timeout)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert connector.stats().waiting == 0

    async def test_content_that_stops(self) -> None:
        """`total` and `sock_read` hold while content is read, too."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
            await reader.read()

        async with RawServer(script) as server, angelia.ClientSession() as session:
            for timeout, error in (
                (angelia.ClientTimeout(total=0.05), asyncio.TimeoutError),
                (angelia.ClientTimeout(sock_read=0.05), angelia.SocketTimeoutError),
            ):
                async with session.get(server.url, timeout=timeout) as resp:
                    with pytest.raises(error):
                        await resp.read()


class TestRedirects:
    @pytest.mark.parametrize(
        ("status", "method", "after", "kept"),
        [
            (301, "POST", "GET", False),
            (302, "POST", "GET", False),
            (303, "PUT", "GET", False),
            (307, "POST", "POST", True),
            (308, "PUT", "PUT", True),
            (301, "PUT", "PUT", True),
        ],
    )
    async def test_methods_and_bodies(
        self, status: int, method: str, after: str, kept: bool
    ) -> None:
        """The method and the body of the next request depend on status and method."""
        moved = response(b"", "Location: /next", status=f"{status} Moved")
        async with RawServer([moved, OK]) as server, angelia.ClientSession() as session:
            async with session.request(method, server.url, data=io.BytesIO(b"abc")) as resp:
                assert resp.method == after
                assert [r.status for r in resp.history] == [status]
                assert resp.url == server.url / "next"
            second = server.requests[0].split(b"abc", 1)[1]
            assert server.connections == 1
        assert second.startswith(f"{after} /next HTTP/1.1\r\n".encode())
        assert second.endswith(b"abc") == kept
        assert (b"Content-Type" in second) == kept

    async def test_credentials_stay_with_their_origin(self) -> None:
        """Nothing secret goes to another origin, and does not come back from there."""
        async with RawServer([OK]) as other:
            moved = response(b"", f"Location: {other.url}", status="302 Found")
            async with (
                RawServer([moved]) as server,
                angelia.ClientSession(
                    auth=angelia.BasicAuth("default", "x"),
                    cookie_jar=angelia.CookieJar(unsafe=True),
                ) as session,
            ):
                async with session.get(
                    server.url,
                    cookies={"secret": "1"},
                    headers=[("Cookie", "more=1"), ("Proxy-Authorization", "x")],
                ) as resp:
                    assert resp.status == 200
                assert b"Authorization: Basic" in server.requests[0]
                assert b"secret=1" in server.requests[0]
                for secret in (b"Authorization", b"Cookie", b"secret", b"more"):
                    assert secret not in other.requests[0]

    async def test_too_many(self) -> None:
        """The Nth redirect is one too many, with N responses in the history."""
        moved = response(b"", "Location: /", status="302 Found")
        async with RawServer([moved] * 5) as server, angelia.ClientSession() as session:
            with pytest.raises(angelia.TooManyRedirects) as caught:
                await session.get(server.url, max_redirects=3)
            assert len(caught.value.history) == 3

    async def test_not_followed(self) -> None:
        """Redirects are followed only if that is allowed, and if there is a location."""
        moved = response(b"x", "Location: /", status="302 Found")
        nowhere = response(b"x", status="302 Found")
        async with RawServer([moved, nowhere]) as server, angelia.ClientSession() as session:
            async with session.get(server.url, allow_redirects=False) as resp:
                assert resp.status == 302
                assert await resp.read() == b"x"
            async with session.get(server.url) as resp:
                assert resp.status == 302
                assert resp.history == ()

    @pytest.mark.parametrize(
        ("location", "error"),
        [
            ("ftp://host/", angelia.NonHttpUrlRedirectClientError),
            ("http://", angelia.InvalidUrlRedirectClientError),
            ("http://[::1", angelia.InvalidUrlRedirectClientError),
            ("http://127.1/", angelia.InvalidUrlRedirectClientError),
        ],
    )
    async def test_bad_locations(self, location: str, error: type[Exception]) -> None:
        """A redirect that cannot be followed is an error, and its connection is freed."""
        moved = response(b"", f"Location: {location}", status="302 Found")
        async with RawServer([moved]) as server, angelia.ClientSession() as session:
            with pytest.raises(error):
                await session.get(server.url)
            assert session.connector is not None
            assert session.connector.stats().in_use == 0

    async def test_body_that_cannot_be_repeated(self) -> None:
        """A body that was used up cannot follow a 307."""

        async def body() -> AsyncIterator[bytes]:
            yield b"abc"

        moved = response(b"", "Location: /", status="307 Temporary Redirect")
        async with RawServer([moved]) as server, angelia.ClientSession() as session:
            with pytest.raises(angelia.ClientPayloadError):
                await session.post(server.url, data=body())


class TestStatusChecks:
    async def test_raise_for_status(self) -> None:
        """A session or a request can have statuses checked, also by a function of one's own."""
        bad = response(b"x", status="404 Not Found")

        async def check(resp: angelia.ClientResponse) -> None:
            raise KeyError(resp.status)

        async with (
            RawServer([bad] * 4) as server,
            angelia.ClientSession(raise_for_status=True) as session,
        ):
            with pytest.raises(angelia.ClientResponseError) as caught:
                await session.get(server.url)
            assert caught.value.status == 404
            assert caught.value.message == "Not Found"
            async with session.get(server.url, raise_for_status=False) as resp:
                assert resp.status == 404
            with pytest.raises(KeyError):
                await session.get(server.url, raise_for_status=check)


class TestMiddlewares:
    async def test_order_and_override(self) -> None:
        """Middlewares run in order around each attempt; a request's replace the session's."""
        calls: list[str] = []

        def make(name: str) -> Any:
            async def middleware(
                request: angelia.ClientRequest, handler: angelia.ClientHandlerType
            ) -> angelia.ClientResponse:
                calls.append(f"{name}>")
                request.headers["X-By"] = name
                resp = await handler(request)
                calls.append(f"<{name}")
                return resp

            return middleware

        async with (
            RawServer([OK] * 3) as server,
            angelia.ClientSession(middlewares=[make("a"), make("b")]) as session,
        ):
            await (await session.get(server.url)).read()
            assert calls == ["a>", "b>", "<b", "<a"]
            assert b"X-By: b" in server.requests[0]
            calls.clear()
            await (await session.get(server.url, middlewares=[make("c")])).read()
            await (await session.get(server.url, middlewares=())).read()
            assert calls == ["c>", "<c"]


class TestLife:
    async def test_closed(self) -> None:
        """A closed session takes no requests; closing twice is fine."""
        session = angelia.ClientSession()
        await session.close()
        await session.close()
        assert session.closed
        with pytest.raises(RuntimeError, match="Session is closed"):
            await session.get("http://localhost/")

    async def test_plain_with(self) -> None:
        """A session closes asynchronously."""
        session = angelia.ClientSession()
        with pytest.raises(TypeError, match="async with"):
            session.__enter__()
        await session.close()

    async def test_detach_and_owner(self) -> None:
        """A connector that the session does not own, or no longer has, stays open."""
        connector = angelia.TCPConnector()
        async with angelia.ClientSession(connector=connector, connector_owner=False):
            pass
        assert not connector.closed
        session = angelia.ClientSession(connector=connector)
        session.detach()
        assert session.closed
        assert not connector.closed
        await connector.close()

    async def test_unclosed_session_warns_once(self) -> None:
        """A forgotten session says where it was made."""
        async with RawServer([OK]) as server:
            session = angelia.ClientSession()
            async with session.get(server.url) as resp:
                await resp.read()
            with pytest.warns(
                ResourceWarning, match=r"(?s)Unclosed client session.*test_session.py"
            ) as w:
                del session, resp
            assert len(w) == 1
            await server.wait_all_closed()

    async def test_unread_response_is_closed(self) -> None:
        """Leaving a response unread closes its connection; reading on fails."""
        big = response(b"x" * 3_000_000)
        async with RawServer([big]) as server, angelia.ClientSession() as session:
            async with session.get(server.url) as resp:
                pass
            with pytest.raises(angelia.ClientConnectionError):
                await resp.read()
            await server.wait_all_closed()

    def test_no_loop(self) -> None:
        """Without a running loop there is no session."""
        with pytest.raises(RuntimeError):
            angelia.ClientSession()


class TestPlans:
    """Requests without anything of their own take a shorter way, which must not show."""

    async def test_same_as_the_long_way(self) -> None:
        """The fields are the same, and so are those that the request tells of afterwards."""
        async with RawServer([OK] * 2) as server, angelia.ClientSession(headers={"X": "y"}) as s:
            infos = []
            for headers in (None, {"x": "y"}):
                async with s.get(server.url.with_fragment("f"), headers=headers) as resp:
                    await resp.read()
                    infos.append(resp.request_info)
            first, second = server.requests[0].split(b"\r\n\r\n")[:2]
        assert sorted(first.lower().split(b"\r\n")) == sorted(second.lower().split(b"\r\n"))
        assert infos[0].url == infos[1].url
        assert infos[0].real_url == infos[1].real_url
        assert sorted(infos[0].headers.items()) == sorted(
            (name.title() if name == "x" else name, value)
            for name, value in infos[1].headers.items()
        )

    async def test_credentials_in_the_url(self) -> None:
        """Credentials are a field of their own, the second time too."""
        async with RawServer([OK] * 2) as server, angelia.ClientSession() as session:
            for _ in range(2):
                async with session.get(server.url.with_user("u").with_password("p")) as resp:
                    await resp.read()
                    assert resp.url.user is None
            assert server.requests[0].count(b"Authorization: Basic dTpw") == 2

    async def test_subclass(self) -> None:
        """A request class of the user's own is always made the documented way."""
        made = []

        class Request(angelia.ClientRequest):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                made.append(self.url)

        async with (
            RawServer([OK]) as server,
            angelia.ClientSession(request_class=Request) as session,
        ):
            async with session.get(server.url) as resp:
                await resp.read()
            assert made == [server.url]
