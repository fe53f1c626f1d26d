"""SessionSettings: defaults and what overrides them, arguments of wrong types, deprecated ones."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import ssl
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from http.cookies import Morsel, SimpleCookie
from typing import Any

import pytest
from multidict import CIMultiDict, istr
from yarl import URL

import angelia
from angelia.abc import AbstractCookieJar
from angelia.client.automatic_fields import default_headers
from peers.raw import RawServer, read_request, response

pytestmark = pytest.mark.usefixtures("loop_kind")

OK = response(b"ok")
BASIC = angelia.BasicAuth("user", "secret")
AGENT = default_headers()["User-Agent"]
OTHER = angelia.BasicAuth("other", "secret")


def fields(request: bytes, name: str) -> list[str]:
    """The values of a field of a request."""
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    pairs = [line.partition(": ") for line in lines]
    return [value for field, _, value in pairs if field.lower() == name.lower()]


async def sent(
    session_arguments: dict[str, Any], request_arguments: dict[str, Any], answer: bytes = OK
) -> bytes:
    """What goes out with these arguments of a session and of its request."""
    async with (
        RawServer([answer]) as server,
        angelia.ClientSession(**session_arguments) as session,
        session.post(server.url, **request_arguments) as resp,
    ):
        await resp.read()
    return server.requests[0]


def encoded(auth: angelia.BasicAuth) -> str:
    return "Basic " + base64.b64encode(f"{auth.login}:{auth.password}".encode()).decode()


class TestDefaults:
    """What a session is without arguments, and what its attributes say."""

    async def test_attributes(self) -> None:
        """Each default is an attribute."""
        async with angelia.ClientSession() as session:
            assert session.auth is None
            assert session.auto_decompress is True
            assert session.closed is False
            assert isinstance(session.connector, angelia.TCPConnector)
            assert session.connector_owner is True
            assert isinstance(session.cookie_jar, angelia.CookieJar)
            assert session.headers == CIMultiDict()
            assert session.json_serialize is json.dumps
            assert session.raise_for_status is False
            assert session.requote_redirect_url is True
            assert session.skip_auto_headers == frozenset()
            assert session.timeout == angelia.ClientTimeout(total=300, sock_connect=30)
            assert session.trace_configs == []
            assert session.trust_env is False
            assert session.version == angelia.HttpVersion11

    async def test_given(self) -> None:
        """Each argument, too."""
        jar = angelia.DummyCookieJar()
        connector = angelia.TCPConnector()
        timeout = angelia.ClientTimeout(total=1)
        config = angelia.TraceConfig()

        async def check(resp: angelia.ClientResponse) -> None:
            """All statuses are fine."""

        async with angelia.ClientSession(
            auth=BASIC,
            auto_decompress=False,
            connector=connector,
            cookie_jar=jar,
            headers={"A": "b"},
            json_serialize=repr,
            raise_for_status=check,
            requote_redirect_url=False,
            skip_auto_headers=["User-Agent"],
            timeout=timeout,
            trace_configs=[config],
            trust_env=True,
            version=angelia.HttpVersion10,
        ) as session:
            assert session.auth == BASIC
            assert session.auto_decompress is False
            assert session.connector is connector
            assert session.cookie_jar is jar
            assert session.headers == CIMultiDict({"A": "b"})
            assert session.json_serialize is repr
            assert session.raise_for_status is check
            assert session.requote_redirect_url is False
            assert session.skip_auto_headers == frozenset({istr("User-Agent")})
            assert session.timeout is timeout
            assert session.trace_configs == [config]
            assert session.trust_env is True
            assert session.version == angelia.HttpVersion10

    @pytest.mark.parametrize(
        "name",
        [
            "auth",
            "auto_decompress",
            "closed",
            "connector",
            "connector_owner",
            "cookie_jar",
            "headers",
            "json_serialize",
            "loop",
            "raise_for_status",
            "skip_auto_headers",
            "timeout",
            "trace_configs",
            "trust_env",
            "version",
        ],
    )
    async def test_read_only(self, name: str) -> None:
        """They cannot be set afterwards."""
        async with angelia.ClientSession() as session:
            with pytest.raises(AttributeError):
                setattr(session, name, None)

    async def test_arguments_are_copied(self) -> None:
        """What a caller changes later does not change the session."""
        headers = {"A": "b"}
        configs = [angelia.TraceConfig()]
        async with angelia.ClientSession(headers=headers, trace_configs=configs) as session:
            headers["A"] = "c"
            configs.clear()
            session.trace_configs.clear()
            assert session.headers["a"] == "b"
            assert len(session.trace_configs) == 1


class TestPairs:
    """A session's default, and the argument of a request that overrides it."""

    @pytest.mark.parametrize(
        ("session", "request_", "name", "values"),
        [
            ({"headers": {"X-A": "s"}}, {}, "X-A", ["s"]),
            ({"headers": {"X-A": "s"}}, {"headers": {"x-a": "r"}}, "X-A", ["r"]),
            ({"headers": {"X-A": "s"}}, {"headers": {"X-B": "r"}}, "X-A", ["s"]),
            ({"headers": [("X-A", "1"), ("X-A", "2")]}, {}, "X-A", ["1", "2"]),
            ({}, {}, "User-Agent", [AGENT]),
            ({"skip_auto_headers": ["user-agent"]}, {}, "User-Agent", []),
            ({}, {"skip_auto_headers": ["user-agent"]}, "User-Agent", []),
            ({"skip_auto_headers": ["accept"]}, {"skip_auto_headers": ["x"]}, "Accept", []),
            ({"auth": BASIC}, {}, "Authorization", [encoded(BASIC)]),
            ({}, {"auth": BASIC}, "Authorization", [encoded(BASIC)]),
            ({"auth": BASIC}, {"auth": OTHER}, "Authorization", [encoded(OTHER)]),
            ({"auth": BASIC}, {"headers": {"Authorization": "x"}}, "Authorization", ["x"]),
            ({"json_serialize": lambda _: "[2]"}, {"json": 1}, "Content-Length", ["3"]),
            ({"json_serialize_bytes": lambda _: b"[22]"}, {"json": 1}, "Content-Length", ["4"]),
            ({"version": angelia.HttpVersion10}, {}, "Connection", ["keep-alive"]),
        ],
    )
    async def test_fields(
        self,
        session: dict[str, Any],
        request_: dict[str, Any],
        name: str,
        values: list[str],
    ) -> None:
        """What the request says is sent, else what the session says."""
        assert fields(await sent(session, request_), name) == values

    @pytest.mark.parametrize(
        ("session", "request_", "cookies"),
        [
            ({"a": "s"}, None, {"a": "s"}),
            ({"a": "s"}, {"a": "r"}, {"a": "r"}),
            ({"a": "s"}, {"b": "r"}, {"a": "s", "b": "r"}),
            (None, {"b": "r"}, {"b": "r"}),
        ],
    )
    async def test_cookies(self, session: Any, request_: Any, cookies: dict[str, str]) -> None:
        """Cookies of a request join those of the session, and win name by name."""
        jar = angelia.CookieJar(unsafe=True)
        wire = await sent({"cookies": session, "cookie_jar": jar}, {"cookies": request_})
        parsed = SimpleCookie(fields(wire, "Cookie")[0])
        assert {name: morsel.value for name, morsel in parsed.items()} == cookies

    async def test_cookie_jar(self) -> None:
        """The jar that is given keeps and gives the cookies; `DummyCookieJar` keeps none."""
        jar = angelia.CookieJar(unsafe=True)
        await sent({"cookie_jar": jar}, {}, response(b"", "Set-Cookie: a=1"))
        assert [morsel.value for morsel in jar] == ["1"]
        dummy = angelia.DummyCookieJar()
        wire = await sent({"cookie_jar": dummy, "cookies": {"a": "1"}}, {})
        assert fields(wire, "Cookie") == []

    @pytest.mark.parametrize(
        ("session", "request_", "decoded"),
        [(True, None, True), (False, None, False), (True, False, False), (False, True, True)],
    )
    async def test_auto_decompress(
        self, session: bool, request_: bool | None, decoded: bool
    ) -> None:
        """Without decoding content and fields are left as they came."""
        packed = gzip.compress(b"x" * 100, mtime=0)
        async with (
            RawServer([response(packed, "Content-Encoding: gzip")]) as server,
            angelia.ClientSession(auto_decompress=session) as client,
            client.get(server.url, auto_decompress=request_) as resp,
        ):
            assert await resp.read() == (b"x" * 100 if decoded else packed)
            assert resp.headers["content-encoding"] == "gzip"

    @pytest.mark.parametrize(
        ("name", "answer"),
        [
            ("max_line_size", response(status=f"200 {'x' * 100}")),
            ("max_field_size", response(b"", f"X-A: {'x' * 100}")),
            ("max_headers", response(b"", *["X-A: x"] * 60)),
        ],
    )
    async def test_limits_of_heads(self, name: str, answer: bytes) -> None:
        """A head beyond a limit is an error; a request's limit replaces the session's."""
        for session, request_, fits in (
            (None, None, True),
            (50, None, False),
            (None, 50, False),
            (50, 200, True),
            (200, 50, False),
        ):
            options: dict[str, Any] = {} if session is None else {name: session}
            overriding: dict[str, Any] = {name: request_}
            async with (
                RawServer([answer]) as server,
                angelia.ClientSession(**options) as client,
            ):
                if fits:
                    async with client.get(server.url, **overriding) as resp:
                        await resp.read()
                else:
                    with pytest.raises(angelia.ClientResponseError):
                        await client.get(server.url, **overriding)

    @pytest.mark.parametrize(
        ("session", "request_", "size"), [(None, None, 2**18), (1000, None, 1000), (1000, 50, 50)]
    )
    async def test_read_bufsize(self, session: int | None, request_: int | None, size: int) -> None:
        """It is the low water mark of the content's buffer."""
        options: dict[str, Any] = {} if session is None else {"read_bufsize": session}
        async with (
            RawServer([OK]) as server,
            angelia.ClientSession(**options) as client,
            client.get(server.url, read_bufsize=request_) as resp,
        ):
            assert resp.content.get_read_buffer_limits() == (size, 2 * size)

    async def test_timeout(self) -> None:
        """A request's timeout replaces the session's altogether; None takes it away."""

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            await reader.read()

        short = angelia.ClientTimeout(total=0.01)
        none: dict[str, Any] = {}
        given: dict[str, Any] = {"timeout": short}
        for session, request_ in ((given, none), (none, given)):
            async with RawServer(silent) as server, angelia.ClientSession(**session) as client:
                with pytest.raises(asyncio.TimeoutError):
                    await client.get(server.url, **request_)
        async with (
            RawServer([OK]) as server,
            angelia.ClientSession(timeout=angelia.ClientTimeout(total=1e-9)) as client,
            client.get(server.url, timeout=None) as resp,
        ):
            assert await resp.text() == "ok"

    async def test_raise_for_status(self) -> None:
        """None is as if nothing was given."""
        bad = response(b"", status="404 Not Found")
        for session, request_, raises in (
            (None, None, False),
            (True, None, True),
            (False, True, True),
            (True, False, False),
        ):
            async with (
                RawServer([bad]) as server,
                angelia.ClientSession(raise_for_status=session) as client,
            ):
                if raises:
                    with pytest.raises(angelia.ClientResponseError, match="404"):
                        await client.get(server.url, raise_for_status=request_)
                else:
                    async with client.get(server.url, raise_for_status=request_) as resp:
                        assert resp.status == 404

    async def test_proxy(self) -> None:
        """A request's proxy and its credentials replace the session's."""

        def asked(server: RawServer) -> list[str]:
            return [
                f"{request.split(b' ', 2)[1].decode()} {fields(request, 'Proxy-Authorization')}"
                for request in server.requests
            ]

        target = "http://target.test/a"
        async with (
            RawServer([OK, OK], close_each=True) as one,
            RawServer([OK, OK], close_each=True) as two,
            angelia.ClientSession(proxy=one.url, proxy_auth=BASIC) as session,
        ):
            for options in (
                {},
                {"proxy_auth": OTHER},
                {"proxy": str(two.url)},
                {"proxy": two.url, "proxy_auth": OTHER},
            ):
                async with session.get(target, **options) as resp:
                    await resp.read()
            first, second = asked(one), asked(two)
        assert first == [f"{target} {[encoded(auth)]}" for auth in (BASIC, OTHER)]
        assert second == first

    async def test_middlewares(self) -> None:
        """A request's middlewares replace the session's; none at all is a choice, too."""

        def naming(name: str) -> angelia.ClientMiddlewareType:
            async def add(
                request: angelia.ClientRequest, handler: angelia.ClientHandlerType
            ) -> angelia.ClientResponse:
                request.headers["X-By"] = name
                return await handler(request)

            return add

        session = {"middlewares": [naming("s")]}
        assert fields(await sent(session, {}), "X-By") == ["s"]
        assert fields(await sent(session, {"middlewares": [naming("r")]}), "X-By") == ["r"]
        assert fields(await sent(session, {"middlewares": ()}), "X-By") == []

    async def test_ssl(self, ca: Any, server_ssl: ssl.SSLContext) -> None:
        """A request's `ssl` replaces the connector's."""
        trusting = ssl.create_default_context()
        ca.configure_trust(trusting)
        other = angelia.Fingerprint(b"x" * 32)
        for connector, request_, accepted in (
            (trusting, True, True),
            (True, trusting, True),
            (False, True, True),
            (other, trusting, True),
            (other, False, True),
            (other, True, False),
            (trusting, other, False),
        ):
            async with (
                RawServer([OK], tls=server_ssl) as server,
                angelia.ClientSession(connector=angelia.TCPConnector(ssl=connector)) as session,
            ):
                url = server.url.with_host("localhost")
                if accepted:
                    async with session.get(url, ssl=request_) as resp:
                        assert await resp.text() == "ok"
                else:
                    with pytest.raises(angelia.ServerFingerprintMismatch):
                        await session.get(url, ssl=request_)


class Jar(AbstractCookieJar):
    """A jar with no more than the methods that one must have."""

    def __iter__(self) -> Iterator[Morsel[str]]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def clear(self, predicate: Callable[[Morsel[str]], bool] | None = None) -> None:
        """Nothing to forget."""

    def clear_domain(self, domain: str) -> None:
        """Nothing to forget."""

    def update_cookies(self, cookies: Any, response_url: URL = URL()) -> None:  # noqa: B008 - as there
        """Nothing is kept."""

    def filter_cookies(self, request_url: URL) -> SimpleCookie:
        return SimpleCookie()


class TestSessionOnly:
    """Arguments that only a session has."""

    async def test_base_url(self) -> None:
        """Relative URLs are joined to it, absolute ones are not."""
        async with RawServer([OK] * 3) as server:
            async with angelia.ClientSession(base_url=server.url / "v1/") as session:
                for url in ("a", "/b", server.url / "c"):
                    async with session.get(url) as resp:
                        await resp.read()
            wire = server.requests[0]
        assert [line.split()[1] for line in wire.split(b"\r\n") if line[:4] == b"GET "] == [
            b"/v1/a",
            b"/b",
            b"/c",
        ]

    async def test_classes(self) -> None:
        """Requests and responses are of the classes that the session was given."""

        class Request(angelia.ClientRequest):
            pass

        class Response(angelia.ClientResponse):
            pass

        seen: list[Any] = []

        async def look(
            request: angelia.ClientRequest, handler: angelia.ClientHandlerType
        ) -> angelia.ClientResponse:
            seen.append(request)
            return await handler(request)

        async with (
            RawServer([OK]) as server,
            angelia.ClientSession(
                request_class=Request, response_class=Response, middlewares=[look]
            ) as session,
            session.get(server.url) as resp,
        ):
            assert type(resp) is Response
        assert type(seen[0]) is Request

    async def test_fields_of_a_request_class(self) -> None:
        """A request class may make the automatic fields its own way; what is skipped stays out."""

        class Request(angelia.ClientRequest):
            def update_auto_headers(self, skip_auto_headers: Iterable[str] | None) -> None:
                super().update_auto_headers(skip_auto_headers)
                self.headers["X-Own"] = "1"

        async with (
            RawServer([OK]) as server,
            angelia.ClientSession(request_class=Request, skip_auto_headers=["accept"]) as session,
            session.get(server.url) as resp,
        ):
            await resp.read()
        assert b"X-Own: 1\r\n" in server.requests[0]
        assert b"Accept:" not in server.requests[0]

    @pytest.mark.parametrize("base", [Jar, angelia.CookieJar, angelia.DummyCookieJar])
    async def test_own_filter(self, base: type[Any]) -> None:
        """A jar's own `filter_cookies` is asked for each request, however few it says it has."""

        class Own(base):  # type: ignore[misc]  # whichever it is
            def filter_cookies(self, request_url: URL) -> SimpleCookie:
                return SimpleCookie({"at": request_url.path[1:]})

        async with (
            RawServer([OK, OK]) as server,
            angelia.ClientSession(cookie_jar=Own()) as session,
        ):
            for path in ("one", "two"):
                async with session.get(server.url / path) as resp:
                    await resp.read()
        lines = [line for line in server.requests[0].split(b"\r\n") if line[:7] == b"Cookie:"]
        assert lines == [b"Cookie: at=one", b"Cookie: at=two"]

    @pytest.mark.parametrize("owner", [True, False])
    async def test_connector_owner(self, owner: bool) -> None:
        """The connector closes with the session only if it is the session's."""
        connector = angelia.TCPConnector()
        async with angelia.ClientSession(connector=connector, connector_owner=owner):
            pass
        assert connector.closed is owner
        await connector.close()

    async def test_requote_redirect_url(self) -> None:
        """The target of a redirect is quoted anew, or sent as it came."""
        moved = response(b"", "Location: /a%2Db", status="302 Found")
        for requote, target in ((True, b"GET /a-b "), (False, b"GET /a%2Db ")):
            async with (
                RawServer([moved, OK]) as server,
                angelia.ClientSession(requote_redirect_url=requote) as session,
                session.get(server.url) as resp,
            ):
                await resp.read()
            assert target in server.requests[0]

    async def test_trust_env(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Proxies of the environment are used only by sessions that trust it."""
        async with RawServer([OK, OK], close_each=True) as server:
            monkeypatch.setenv("http_proxy", str(server.url))
            monkeypatch.setenv("no_proxy", "")
            for trust, target in ((True, b"GET http://127.0.0.1:"), (False, b"GET / ")):
                async with (
                    angelia.ClientSession(trust_env=trust) as session,
                    session.get(server.url) as resp,
                ):
                    await resp.read()
                assert server.requests[-1].startswith(target)

    async def test_fallback_charset_resolver(self) -> None:
        """It names the charset of a text that does not say, and sees response and content."""
        seen: list[Any] = []

        def guess(resp: angelia.ClientResponse, body: bytes) -> str:
            seen.append((resp.status, body))
            return "latin-1"

        async with (
            RawServer([response(b"\xe9", "Content-Type: text/plain")]) as server,
            angelia.ClientSession(fallback_charset_resolver=guess) as session,
            session.get(server.url) as resp,
        ):
            assert await resp.text() == "é"
        assert seen == [(200, b"\xe9")]

    async def test_max_decompressed_size(self) -> None:
        """Content that decodes to more is an error."""
        packed = response(gzip.compress(b"x" * 1000), "Content-Encoding: gzip")
        for limit, fits in ((None, True), (1000, True), (999, False)):
            async with (
                RawServer([packed]) as server,
                angelia.ClientSession(max_decompressed_size=limit) as session,
                session.get(server.url) as resp,
            ):
                if fits:
                    assert len(await resp.read()) == 1000
                else:
                    with pytest.raises(angelia.ClientPayloadError):
                        await resp.read()


SESSION_ERRORS: list[tuple[str, Any, type[Exception], str]] = [
    ("auth", ("user", "pw"), TypeError, "auth is a BasicAuth, not a tuple"),
    ("base_url", 5, TypeError, "5 is no valid base_url"),
    ("base_url", "relative/", ValueError, "relative/"),
    ("base_url", "http://a.test/b", ValueError, "http://a.test/b"),
    ("connector", "tcp", TypeError, "connector is a BaseConnector, not 'tcp'"),
    ("conn_timeout", "5", TypeError, "connect .* not '5'"),
    ("cookie_jar", {}, TypeError, "cookie_jar is an AbstractCookieJar, not {}"),
    ("cookies", 5, TypeError, "cookies is a mapping, or pairs .* not 5"),
    ("fallback_charset_resolver", "utf-8", TypeError, "fallback_charset_resolver is a function"),
    ("headers", 5, TypeError, "headers .*int"),
    ("headers", ["X-A: 1"], TypeError, "headers .*list"),
    ("json_serialize", None, TypeError, "json_serialize is a function, not None"),
    ("json_serialize_bytes", 5, TypeError, "json_serialize_bytes is a function, not 5"),
    ("max_decompressed_size", -1, ValueError, "max_decompressed_size is 0 or more, not -1"),
    ("max_decompressed_size", "1", TypeError, "max_decompressed_size is a whole number, not '1'"),
    ("max_field_size", 0, ValueError, "max_field_size is 1 or more, not 0"),
    ("max_headers", None, TypeError, "max_headers is a whole number, not None"),
    ("max_line_size", True, TypeError, "max_line_size is a whole number, not True"),
    ("middlewares", [5], TypeError, "middlewares is a sequence of coroutine functions, not 5"),
    ("middlewares", 5, TypeError, "middlewares is a sequence of coroutine functions, not 5"),
    ("proxy", 5, TypeError, "5 is no valid URL of a proxy"),
    ("proxy", "http://[", angelia.InvalidURL, r"http://\["),
    ("proxy_auth", "user:pw", TypeError, "proxy_auth is a BasicAuth, not a str"),
    ("raise_for_status", "yes", TypeError, "raise_for_status is True, False .* not 'yes'"),
    ("read_bufsize", -5, ValueError, "read_bufsize is 1 or more, not -5"),
    ("read_bufsize", 1.5, TypeError, "read_bufsize is a whole number, not 1.5"),
    ("request_class", dict, TypeError, "request_class is a subclass of ClientRequest"),
    ("response_class", None, TypeError, "response_class is a subclass of ClientResponse, not None"),
    ("skip_auto_headers", "Accept", TypeError, "skip_auto_headers is .* names, not 'Accept'"),
    ("skip_auto_headers", [5], TypeError, "skip_auto_headers is .* names, not 5"),
    ("timeout", "5", TypeError, "'5'"),
    ("trace_configs", [5], TypeError, "trace_configs is a sequence of TraceConfig objects, not 5"),
    ("trace_configs", 5, TypeError, "trace_configs is a sequence of TraceConfig objects, not 5"),
]

REQUEST_ERRORS: list[tuple[str, Any, type[Exception], str]] = [
    ("auth", ("user", "pw"), TypeError, "BasicAuth"),
    ("compress", "rot13", ValueError, "rot13"),
    ("cookies", 5, TypeError, "cookies is a mapping, or pairs .* not 5"),
    ("headers", 5, TypeError, "headers .*int"),
    ("max_field_size", 0, ValueError, "max_field_size is 1 or more, not 0"),
    ("max_headers", "5", TypeError, "max_headers is a whole number, not '5'"),
    ("max_line_size", -5, ValueError, "max_line_size is 1 or more, not -5"),
    ("max_redirects", "5", TypeError, "max_redirects is a whole number, not '5'"),
    ("max_redirects", -1, ValueError, "max_redirects is 0 or more, not -1"),
    ("middlewares", [5], TypeError, "middlewares is a sequence of coroutine functions, not 5"),
    ("params", 5, TypeError, "query"),
    ("proxy", 5, TypeError, "5 is no valid URL of a proxy"),
    ("proxy_auth", ("user", "pw"), ValueError, "BasicAuth"),
    ("raise_for_status", "yes", TypeError, "raise_for_status is True, False .* not 'yes'"),
    ("read_bufsize", 0, ValueError, "read_bufsize is 1 or more, not 0"),
    ("server_hostname", 5, TypeError, "server_hostname is the name of a host, not 5"),
    ("skip_auto_headers", "Accept", TypeError, "skip_auto_headers is .* names, not 'Accept'"),
    ("ssl", "no", TypeError, "'no'"),
    ("timeout", "5", TypeError, "'5'"),
    ("upload_tracker", 5, TypeError, "upload_tracker is an UploadTracker, not 5"),
]


class TestWrongValues:
    """What makes no sense is refused at once, with its name and value."""

    @pytest.mark.parametrize(
        ("name", "value", "error", "text"), SESSION_ERRORS, ids=[e[0] for e in SESSION_ERRORS]
    )
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    async def test_of_a_session(
        self, name: str, value: Any, error: type[Exception], text: str
    ) -> None:
        """The constructor raises, and leaves nothing that would warn."""
        arguments: dict[str, Any] = {name: value}
        with pytest.raises(error, match=text):
            angelia.ClientSession(**arguments)

    @pytest.mark.parametrize(
        ("name", "value", "error", "text"), REQUEST_ERRORS, ids=[e[0] for e in REQUEST_ERRORS]
    )
    async def test_of_a_request(
        self, name: str, value: Any, error: type[Exception], text: str
    ) -> None:
        """The request raises before there is a connection; the session goes on."""
        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            with pytest.raises(error, match=text):
                await session.post(server.url, data=b"x", **{name: value})
            assert server.connections == 0
            async with session.get(server.url) as resp:
                assert await resp.text() == "ok"

    async def test_long_values_are_cut(self) -> None:
        """An error shows no more than a line of what was given."""
        with pytest.raises(TypeError) as caught:
            angelia.ClientSession(raise_for_status="x" * 1000)  # type: ignore[arg-type]  # the point
        assert len(str(caught.value)) < 200

    async def test_secrets_are_not_shown(self) -> None:
        """Nor what may be a password."""
        for name in ("auth", "proxy_auth"):
            arguments: dict[str, Any] = {name: "user:secret"}
            with pytest.raises(TypeError) as caught:
                angelia.ClientSession(**arguments)
            assert "secret" not in str(caught.value)

    async def test_url(self) -> None:
        """What is neither text nor URL is none."""
        async with angelia.ClientSession() as session:
            with pytest.raises(TypeError, match="not 5"):
                await session.get(5)  # type: ignore[arg-type]  # the point

    async def test_unknown(self) -> None:
        """An argument that does not exist is a TypeError."""
        async with angelia.ClientSession() as session:
            with pytest.raises(TypeError, match="colour"):
                await session.get("http://a.test/", colour="red")
        with pytest.raises(TypeError, match="colour"):
            angelia.ClientSession(colour="red")  # type: ignore[call-arg]  # the point


async def with_await(session: angelia.ClientSession, url: URL, **arguments: Any) -> None:
    resp = await session.get(url, **arguments)
    await resp.read()


async def with_context(session: angelia.ClientSession, url: URL, **arguments: Any) -> None:
    async with session.get(url, **arguments) as resp:
        await resp.read()


def deprecations(seen: list[warnings.WarningMessage]) -> list[tuple[type[Warning], str]]:
    """Category and file of each warning."""
    return [(item.category, item.filename) for item in seen]


HERE = [(DeprecationWarning, __file__)]


class TestDeprecated:
    """Deprecated arguments warn once, at the caller's line, and work."""

    @pytest.mark.parametrize(
        ("argument", "timeout"),
        [
            ({"read_timeout": 7}, angelia.ClientTimeout(total=7, sock_connect=30)),
            ({"read_timeout": None}, angelia.ClientTimeout(total=None, sock_connect=30)),
            ({"conn_timeout": 3}, angelia.ClientTimeout(total=300, connect=3, sock_connect=30)),
        ],
    )
    async def test_timeouts_of_a_session(
        self, argument: dict[str, Any], timeout: angelia.ClientTimeout
    ) -> None:
        """Numbers for timeouts."""
        with pytest.warns(DeprecationWarning, match="timeout") as seen:
            session = angelia.ClientSession(**argument)
        assert deprecations(seen.list) == HERE
        assert session.timeout == timeout
        await session.close()

    @pytest.mark.parametrize("number", [5, 0.5])
    async def test_number_as_timeout(self, number: float) -> None:
        """A number is a total timeout, of a session as of a request, and nothing to warn of."""
        async with RawServer([OK]) as server:
            async with angelia.ClientSession(timeout=number) as session:
                assert session.timeout == angelia.ClientTimeout(total=number, sock_connect=30)
            async with (
                angelia.ClientSession() as session,
                session.get(server.url, timeout=5) as resp,
            ):
                assert await resp.read() == b"ok"

    async def test_timeouts_conflict(self) -> None:
        """Old and new forms at once are a contradiction."""
        timeout = angelia.ClientTimeout()
        for argument in ({"read_timeout": 5}, {"conn_timeout": 5}):
            with pytest.raises(ValueError, match="conflict"):
                angelia.ClientSession(timeout=timeout, **argument)  # type: ignore[arg-type]  # numbers

    @pytest.mark.parametrize("use", [with_await, with_context])
    async def test_forms_of_ssl(
        self, use: Callable[..., Awaitable[None]], client_ssl: ssl.SSLContext
    ) -> None:
        """`verify_ssl`, `ssl_context` and `fingerprint` of a request, and `ssl=None`."""
        for argument in (
            {"verify_ssl": False},
            {"ssl_context": client_ssl},
            {"fingerprint": b"x" * 32},
            {"ssl": None},
        ):
            async with RawServer([OK]) as server, angelia.ClientSession() as session:
                with pytest.warns(DeprecationWarning, match="use ssl=") as seen:
                    await use(session, server.url, **argument)
            assert deprecations(seen.list) == HERE

    async def test_forms_of_ssl_of_a_connector(self, client_ssl: ssl.SSLContext) -> None:
        """The same of a connector, with the value that they stand for."""
        digest = b"x" * 32
        for argument, value in (
            ({"verify_ssl": False}, False),
            ({"ssl_context": client_ssl}, client_ssl),
            ({"fingerprint": digest}, angelia.Fingerprint(digest)),
            ({"ssl": None}, True),
        ):
            with pytest.warns(DeprecationWarning, match="use ssl=") as seen:
                connector = angelia.TCPConnector(**argument)
            assert deprecations(seen.list) == HERE
            assert connector.ssl == value
            await connector.close()

    async def test_loop(self) -> None:
        """The `loop` argument, of whatever has one."""
        loop = asyncio.get_running_loop()
        for make in (
            angelia.ClientSession,
            angelia.TCPConnector,
            angelia.CookieJar,
            angelia.DummyCookieJar,
        ):
            with pytest.warns(DeprecationWarning, match=make.__name__) as seen:
                made: Any = make(loop=loop)
            assert deprecations(seen.list) == HERE
            if hasattr(made, "close"):
                await made.close()
        with pytest.warns(DeprecationWarning, match="UnixConnector") as seen:
            connector = angelia.UnixConnector("/nowhere", loop=loop)
        assert deprecations(seen.list) == HERE
        await connector.close()

    async def test_loop_of_request(self) -> None:
        """The function `request` has one, too."""
        async with RawServer([OK]) as server:
            with pytest.warns(DeprecationWarning, match="request") as seen:
                context = angelia.request("GET", server.url, loop=asyncio.get_running_loop())
            assert deprecations(seen.list) == HERE
            async with context as resp:
                assert await resp.text() == "ok"

    def test_loop_that_does_not_run(self) -> None:
        """With a loop that is given, a session can be made before the loop runs."""
        loop = asyncio.new_event_loop()
        try:
            with pytest.warns(DeprecationWarning, match="ClientSession") as seen:
                session = angelia.ClientSession(loop=loop)
            assert deprecations(seen.list) == HERE

            async def ask() -> str:
                async with RawServer([OK]) as server, session, session.get(server.url) as resp:
                    return await resp.text()

            assert loop.run_until_complete(ask()) == "ok"
        finally:
            loop.close()

    async def test_loop_of_a_subclass(self) -> None:
        """A subclass is named, at the line that makes an object of it."""

        class Mine(angelia.TCPConnector):
            pass

        with pytest.warns(DeprecationWarning, match="Mine") as seen:
            connector = Mine(loop=asyncio.get_running_loop())
        assert deprecations(seen.list) == HERE
        await connector.close()

    async def test_another_loop(self) -> None:
        """Session and connector belong to one loop."""
        other = asyncio.new_event_loop()
        try:
            connector = angelia.TCPConnector()
            with (
                pytest.warns(DeprecationWarning, match="loop"),
                pytest.raises(RuntimeError, match="same event loop"),
            ):
                angelia.ClientSession(connector=connector, loop=other)
            await connector.close()
        finally:
            other.close()

    async def test_attributes(self) -> None:
        """`session.loop`, and setting `requote_redirect_url`."""
        async with angelia.ClientSession() as session:
            with pytest.warns(DeprecationWarning, match="loop") as seen:
                assert session.loop is asyncio.get_running_loop()
            assert deprecations(seen.list) == HERE
            with pytest.warns(DeprecationWarning, match="requote_redirect_url") as seen:
                session.requote_redirect_url = False
            assert deprecations(seen.list) == HERE
            assert session.requote_redirect_url is False

    async def test_of_responses(self) -> None:
        """`url_obj` of a response, `loop` of a connection."""

        async def body() -> AsyncIterator[bytes]:
            yield b"x"

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx")
            await reader.read()

        async with (
            RawServer(script) as server,
            angelia.ClientSession() as session,
            session.post(server.url, data=body()) as resp,
        ):
            with pytest.warns(DeprecationWarning, match="url_obj") as seen:
                assert resp.url_obj == resp.url
            assert deprecations(seen.list) == HERE
            assert resp.connection is not None
            with pytest.warns(DeprecationWarning, match="loop") as seen:
                assert resp.connection.loop is asyncio.get_running_loop()
            assert deprecations(seen.list) == HERE

    async def test_ssl_shutdown_timeout(self) -> None:
        """It is the connector's; a session hands it on to the one that it makes."""
        with pytest.warns(DeprecationWarning, match="ssl_shutdown_timeout") as seen:
            session = angelia.ClientSession(ssl_shutdown_timeout=0.5)
        assert deprecations(seen.list) == HERE
        assert session.connector is not None
        assert session.connector._close_timeout == 0.5
        await session.close()
