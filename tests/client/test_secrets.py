"""Passwords, tokens and cookies are in no text that angelia makes: messages, representations, logs.

Every object that a caller meets is looked at where all goes well and where it fails, with its
causes, its warnings and what was logged. Attributes keep what they have: that is what they are for.

Held here: credentials in error messages and access logs (aiohttp's and urllib3's hardening),
CVE-2025-69230 (what is logged of cookies), and what tracebacks show.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import gc
import logging
import pickle
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from yarl import URL

import angelia
from peers.evil import Evil, at, invented_names
from peers.raw import RawServer, response

pytestmark = pytest.mark.usefixtures("loop_kind")

SECRET = "s3cret"
FORMS = (SECRET, *(base64.b64encode(f"{user}:{SECRET}".encode()).decode() for user in ("u", "")))

AUTH = angelia.BasicAuth("u", SECRET)


def assert_silent(*texts: object) -> None:
    """No text, and no text made of an object, has the secret in any form."""
    for text in texts:
        for made in (str(text), repr(text), f"{text}"):
            for form in FORMS:
                assert form not in made, made


def assert_silent_error(error: BaseException) -> None:
    """Nor has an error, with its causes, as a traceback or a copy of it shows them."""
    chain: BaseException | None = error
    while chain is not None:
        assert_silent(chain)
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    # Lines of source text are the caller's own, and come with the place they are at.
    shown = traceback.TracebackException.from_exception(error).format()
    assert_silent("".join(line for line in shown if not line.lstrip().startswith("File ")))
    assert_silent(copy.copy(error))
    if not isinstance(error, angelia.ClientConnectorCertificateError):
        assert_silent(pickle.loads(pickle.dumps(error)))  # noqa: S301 - made here


@pytest.fixture(autouse=True)
def silent_logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that is logged at any level has the secret."""
    with caplog.at_level(logging.DEBUG):
        yield
    for record in caplog.records:
        assert_silent(record.getMessage())


def everything(server: RawServer) -> dict[str, Any]:
    """A request with a secret in each argument that takes one."""
    return {
        "url": at(server, "a.test"),
        "headers": {
            "X-Api-Key": SECRET,
            "Cookie": f"c={SECRET}",
            "Proxy-Authorization": f"Bearer {SECRET}",
        },
        "cookies": {"d": SECRET},
        "auth": AUTH,
        "data": {"password": SECRET},
        "proxy": f"http://u:{SECRET}@127.0.0.1:{server.port}",
        "proxy_headers": {"Proxy-Authorization": SECRET, "X-Auth-Token": SECRET},
    }


class Seen:
    """A middleware and a trace that look at what passes."""

    def __init__(self) -> None:
        self.requests: list[angelia.ClientRequest] = []
        self.params: list[Any] = []

    async def __call__(self, request: angelia.ClientRequest, handler: Any) -> Any:
        self.requests.append(request)
        return await handler(request)

    def trace(self) -> angelia.TraceConfig:
        async def note(session: object, context: SimpleNamespace, params: object) -> None:
            self.params.append(params)

        config = angelia.TraceConfig()
        for name in dir(config):
            if name.startswith("on_"):
                getattr(config, name).append(note)
        return config


SET_COOKIES = (f"Set-Cookie: sid={SECRET}", f"Set-Cookie2: x={SECRET}")


class TestFine:
    async def test_objects(self) -> None:
        """Sessions, requests, responses, connectors, keys, jars, payloads and traces are silent."""
        seen = Seen()
        moved = response(b"", *SET_COOKIES, "Location: /next", status="307 Temporary Redirect")
        last = response(b"ok", *SET_COOKIES, f"Location: http://u:{SECRET}@b.test/")
        async with (
            RawServer([moved, last]) as server,
            invented_names() as connector,
            angelia.ClientSession(
                connector=connector,
                middlewares=(seen,),
                trace_configs=[seen.trace()],
                headers={"X-Auth-Token": SECRET},
                proxy_auth=AUTH,
            ) as session,
        ):
            session.cookie_jar.update_cookies({"jar": SECRET}, URL("http://a.test/"))
            async with session.post(**everything(server)) as resp:
                assert_silent(resp, resp.history, resp.request_info, resp.connection)
                assert_silent(session, connector, connector.stats(), session.cookie_jar)
                assert resp.headers["Set-Cookie"] == f"sid={SECRET}"
                assert await resp.read() == b"ok"
                assert_silent(resp, resp.content, resp.links)
            assert len(seen.requests) == 2
            for request in seen.requests:
                assert_silent(request, request.body, request.connection_key, request.request_info)
                assert request.headers["X-Api-Key"] == SECRET
            assert len(seen.params) > 5
            assert_silent(*seen.params)
            assert any(getattr(params, "headers", None) for params in seen.params)

    async def test_url(self) -> None:
        """Credentials of a URL are in no URL that is shown afterwards."""
        seen = Seen()
        async with (
            RawServer([response(b"ok")]) as server,
            angelia.ClientSession(trace_configs=[seen.trace()], middlewares=(seen,)) as session,
        ):
            url = server.url.with_user("u").with_password(SECRET)
            async with session.get(url) as resp:
                assert_silent(resp, resp.url, resp.real_url, resp.request_info, *seen.params)
                assert_silent(*seen.requests)
            assert AUTH.encode().encode() in server.requests[0]

    async def test_values(self) -> None:
        """The classes that hold credentials do not show them."""
        assert_silent(AUTH, angelia.DigestAuthMiddleware("u", SECRET))
        assert_silent(angelia.FormData({"password": SECRET}))
        jar = angelia.CookieJar()
        jar.update_cookies({"sid": SECRET}, URL("http://a.test/"))
        assert_silent(jar)


class TestFailures:
    @pytest.mark.parametrize(
        "attack",
        [
            b"",
            b"rubbish\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=s3cret\x00\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nSet-Cookie : sid=s3cret\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=s3cret\r\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: y\r\n Set-Cookie: sid=s3cret\r\n\x00\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=s3cret" + b"x" * 10_000 + b"\r\n\r\n",
            response(b"x", *SET_COOKIES, status="500 No"),
            response(b"x", *SET_COOKIES, "Content-Encoding: gzip"),
            response(b"x", *SET_COOKIES, "Location: /", status="302 Found"),
            response(b"x", *SET_COOKIES, f"Location: http://u:{SECRET}@h:x/", status="302 Found"),
            response(b"x", *SET_COOKIES, f"Location: ftp://u:{SECRET}@h/", status="302 Found"),
            response(b"x", *SET_COOKIES, f"Location: http://{SECRET}@", status="302 Found"),
            response(b"x", *SET_COOKIES, f"Location: //u:{SECRET}@127.1/", status="302 Found"),
        ],
        ids=lambda attack: ascii(attack[:60]),
    )
    @pytest.mark.parametrize("debug", [False, True])
    async def test_responses(self, attack: bytes, debug: bool) -> None:
        """Nor does any error of a request, its copies, its history or its traceback."""
        asyncio.get_running_loop().set_debug(debug)
        seen = Seen()
        evil = Evil(attack, then_close=True)
        async with (
            RawServer(evil) as server,
            invented_names() as connector,
            angelia.ClientSession(
                connector=connector, trace_configs=[seen.trace()], raise_for_status=True
            ) as session,
        ):
            arguments = everything(server)
            with pytest.raises(angelia.ClientError) as caught:
                async with session.post(max_redirects=1, **arguments) as resp:
                    await resp.read()
            assert_silent_error(caught.value)
            assert_silent(*seen.params, session, connector)

    @pytest.mark.parametrize(
        "url",
        [
            "http://u:s3cret@h:x/",
            "http://u:s3cret@[h/",
            "http://u:s3cret@/",
            "http://u:s3cret@h\u2100/",
            "http://u:s3cret@h /",
            "http://u:s3cret@127.1/",
            "http://u:s3cret@h:99999/",
            "http://u:s3/cret@h/",
            "http://u:s3cret@\x00/",
            "http://s3cret@h..h/",
            "//u:s3cret@h/",
            "u:s3cret@h",
            "ftp://u:s3cret@h/",
            "http://u:s3cret@" + "h" * 300,
        ],
    )
    @pytest.mark.parametrize("where", ["url", "proxy", "session proxy", "base"])
    async def test_urls(self, url: str, where: str) -> None:
        """An error that names a URL names it without its password."""
        with pytest.raises((ValueError, angelia.ClientError)) as caught:  # noqa: PT012 - any step
            if where == "base":
                async with angelia.ClientSession(base_url=url) as session:
                    await session.get("x")
            elif where == "session proxy":
                async with angelia.ClientSession(proxy=url) as session:
                    await session.get("http://127.0.0.1:9/")
            else:
                async with angelia.ClientSession() as session:
                    if where == "proxy":
                        await session.get("http://127.0.0.1:9/", proxy=url)
                    else:
                        await session.get(url)
        assert_silent_error(caught.value)

    @pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks4", "socks5h"])
    async def test_unreachable(self, scheme: str) -> None:
        """Neither a server's nor a proxy's failure shows what was meant for them."""
        async with RawServer([]) as server:
            port = server.port
        async with angelia.ClientSession() as session:
            ways: list[dict[str, Any]] = [
                {"url": f"http://u:{SECRET}@127.0.0.1:{port}/"},
                {"url": "https://127.0.0.1/", "proxy": f"{scheme}://u:{SECRET}@127.0.0.1:{port}"},
                {"url": "https://127.0.0.1/", "proxy": f"{scheme}://127.0.0.1:{port}"},
            ]
            for options in ways:
                auth = AUTH if options.get("proxy", "@").count("@") == 0 else None
                with pytest.raises(angelia.ClientError) as caught:
                    await session.get(proxy_auth=auth, cookies={"a": SECRET}, **options)
                assert_silent_error(caught.value)
                assert not isinstance(caught.value, angelia.InvalidURL)

    async def test_refused_by_the_proxy(self) -> None:
        """A refused CONNECT shows neither the credentials nor the fields for the proxy."""
        refusal = response(b"no", *SET_COOKIES, status="407 Proxy Authentication Required")
        async with RawServer([refusal]) as server, angelia.ClientSession() as session:
            arguments = everything(server)
            arguments["url"] = "https://a.test/"
            with pytest.raises(angelia.ClientHttpProxyError) as caught:
                await session.post(**arguments)
            assert_silent_error(caught.value)
            assert caught.value.request_info.headers["X-Auth-Token"] == SECRET

    @pytest.mark.parametrize("octet", ["\r", "\n", "\x00", "\r\n"])
    async def test_arguments(self, octet: str) -> None:
        """What cannot be sent is refused without quoting it."""
        async with angelia.ClientSession() as session:
            ways: list[dict[str, Any]] = [
                {"headers": {"Authorization": f"Bearer {SECRET}{octet}"}},
                {"headers": {"X-Api-Key": f"{SECRET}{octet}"}},
                {"cookies": {"a": f"{SECRET}{octet}"}, "headers": {"Cookie": f"{SECRET}{octet}"}},
            ]
            for options in ways:
                with pytest.raises(ValueError) as caught:
                    async with RawServer([response(b"ok")]) as server:
                        await session.get(server.url, **options)
                assert_silent_error(caught.value)

    async def test_silent_server(self) -> None:
        """Timeouts name the phase, and nothing of the request."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()

        async with (
            RawServer(script) as server,
            angelia.ClientSession(connector=invented_names()) as session,
        ):
            for timeout in (
                angelia.ClientTimeout(total=0.01),
                angelia.ClientTimeout(sock_read=0.01),
            ):
                with pytest.raises(asyncio.TimeoutError) as caught:
                    await session.post(timeout=timeout, **everything(server))
                assert_silent_error(caught.value)

    async def test_status(self) -> None:
        """`raise_for_status` tells status, message and URL; its fields are masked."""
        answer = response(b"x", *SET_COOKIES, status="404 Not Found")
        async with RawServer([answer]) as server, angelia.ClientSession() as session:
            async with session.get(server.url, auth=AUTH) as resp:
                with pytest.raises(angelia.ClientResponseError) as caught:
                    resp.raise_for_status()
            assert_silent_error(caught.value)
            assert caught.value.headers is not None
            assert caught.value.headers["Set-Cookie"] == f"sid={SECRET}"
            assert "404" in repr(caught.value)


class TestLeftBehind:
    async def test_warnings(self) -> None:
        """What is forgotten is warned of by what it is, not by what it knows."""
        answer = response(b"content", *SET_COOKIES)[:-1]
        async with RawServer([answer, answer]) as server:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                session = angelia.ClientSession(auth=AUTH, cookies={"a": SECRET})
                resp = await session.get(server.url.with_query(a="b"))
                del resp
                gc.collect()
                del session
                gc.collect()
                for _ in range(5):
                    await asyncio.sleep(0)
            assert caught
            assert_silent(*(each.message for each in caught))

    async def test_bad_cookies(self) -> None:
        """Cookies that are refused are told to the log in one line, without their values."""
        lines = [f"Set-Cookie: a={SECRET}\x01"[:-1] + "; Domain=other.test"] * 50
        lines += [f"Set-Cookie: =={SECRET};;;"] * 50
        async with RawServer([response(b"", *lines)]) as server, angelia.ClientSession() as session:
            async with session.get(server.url) as resp:
                await resp.read()
            assert_silent(session.cookie_jar)

    @pytest.mark.parametrize(
        "content",
        [
            "machine a.test login u password s3cret bad\n",
            "machine a.test login u:x password s3cret\n",
            "machine a.test login u password s3cret\nrubbish s3cret\n",
        ],
    )
    async def test_bad_netrc(
        self, content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A netrc file that cannot be read is named; none of it is quoted."""
        netrc = tmp_path / "netrc"
        netrc.write_text(content)
        monkeypatch.setenv("NETRC", str(netrc))
        async with (
            RawServer([response(b"ok")]) as server,
            angelia.ClientSession(connector=invented_names(), trust_env=True) as session,
            session.get(at(server, "a.test")) as resp,
        ):
            assert_silent(resp)
