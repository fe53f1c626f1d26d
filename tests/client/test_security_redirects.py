"""Redirects as attacks: what a next hop must not learn, and where no hop must lead.

Each kind of credential is checked for each way to another origin: scheme, host, port, subdomain,
and there and back again.

Held here:

- CVE-2026-34518 and #13180: Authorization, Cookie and Proxy-Authorization, all lines, in any case;
  urllib3 CVE-2018-20060, CVE-2018-25091, CVE-2023-43804, CVE-2026-44431, Twisted CVE-2022-21712,
  websockets 16.1;
- CVE-2026-47265: `cookies=`; CVE-2026-54276: digest; requests CVE-2014-1829, CVE-2018-18074: netrc
  and credentials from https to http; CVE-2024-47081: the host that netrc is asked for;
- CVE-2021-21330, CVE-2022-33124, urllib3 CVE-2019-11236, httpx CVE-2021-41945, #12827: locations
  that programs read in different ways, legacy addresses, other schemes, injections;
- urllib3 CVE-2023-45803: bodies; a body is never sent truncated;
- endless redirects.
"""

from __future__ import annotations

import asyncio
import base64
import io
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest
import trustme
from yarl import URL

import angelia
from peers.evil import CANARY, at, content, failure, fields_of, invented_names
from peers.raw import RawServer, read_request, response

pytestmark = pytest.mark.usefixtures("loop_kind")

Context: TypeAlias = ssl.SSLContext

SECRET = "s3cret"

# Answered with the canary once it is answered itself.
CHALLENGE = response(
    b"", 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"', status="401 Unauthorized"
)


class Site:
    """Answers with the canary, or with what `answers` has for a path."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        # Each request that came, on whatever connection.
        self.requests: list[bytes] = []

    def redirect(self, path: str, location: str | URL, status: str = "302 Found") -> None:
        self.answers[path] = response(b"moved", f"Location: {location}", status=status)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await read_request(reader)
            self.requests.append(request)
            path = request.split(b" ")[1].decode()
            answer = self.answers.get(path)
            if answer is None or (answer is CHALLENGE and b"Digest username" in request):
                answer = response(CANARY)
            writer.write(answer)
            await writer.drain()

    def asked(self, path: str) -> bytes:
        """The only request for `path`."""
        found = [r for r in self.requests if r.split(b" ")[1] == path.encode()]
        assert len(found) == 1
        return found[0]


def told(request: bytes) -> bytes:
    """All that a request says, with what is base64 in it decoded as well."""
    decoded = [
        base64.b64decode(found) for found in re.findall(rb"Basic ([A-Za-z0-9+/=]+)", request)
    ]
    return b"\n".join([request, *decoded])


def knows(request: bytes) -> bool:
    """Whether a request says the secret, or something that proves it is known."""
    return SECRET.encode() in told(request) or b"Digest username" in request


@pytest.fixture(scope="module")
def server_ssl(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("a.test", "sub.a.test", "b.test").configure_cert(context)
    return context


HEADERS = [
    ("authorization", f"Bearer {SECRET}"),
    ("AUTHORIZATION", f"Bearer {SECRET}2"),
    ("cOOkie", f"one={SECRET}"),
    ("Cookie", f"two={SECRET}"),
    ("PROXY-authorization", f"Bearer {SECRET}"),
    ("Proxy-Authorization", f"Bearer {SECRET}"),
]

# How a caller gives a credential: options of the session, of the request, and a user for the URL.
CREDENTIALS: dict[str, tuple[dict[str, Any], dict[str, Any], str | None]] = {
    "headers": ({}, {"headers": HEADERS}, None),
    "session headers": ({"headers": HEADERS}, {}, None),
    "cookies": ({}, {"cookies": {"x": SECRET}}, None),
    "auth": ({}, {"auth": angelia.BasicAuth("u", SECRET)}, None),
    "session auth": ({"auth": angelia.BasicAuth("u", SECRET)}, {}, None),
    "url": ({}, {}, SECRET),
}


class Way(NamedTuple):
    """From where to where; with another scheme the port is always another one."""

    scheme: str
    host: str
    next_scheme: str
    next_host: str
    other_port: bool = False


WAYS = [
    Way("http", "a.test", "http", "b.test"),
    Way("http", "a.test", "http", "b.test", other_port=True),
    Way("http", "a.test", "http", "a.test", other_port=True),
    Way("http", "a.test", "http", "sub.a.test"),
    Way("http", "sub.a.test", "http", "a.test"),
    Way("http", "a.test", "http", "a.test.b.test"),
    Way("https", "a.test", "http", "a.test", other_port=True),
    Way("https", "a.test", "https", "b.test"),
    Way("http", "a.test", "https", "a.test", other_port=True),
]


class Trip(NamedTuple):
    """The sites of a way there and back again, and its URLs."""

    first: Site
    reached: Site
    start: URL
    next: URL
    end: URL


@asynccontextmanager
async def journey(
    way: Way, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext, **options: Any
) -> AsyncIterator[tuple[Trip, angelia.ClientSession]]:
    """The sites of `way` as they run, and a session that trusts them."""
    first, second = Site(), Site()
    async with (
        RawServer(first, tls=server_ssl if way.scheme == "https" else None) as one,
        RawServer(second, tls=server_ssl if way.next_scheme == "https" else None) as two,
        angelia.ClientSession(connector=invented_names(ssl=client_ssl), **options) as session,
    ):
        trip = Trip(
            first,
            second if way.other_port else first,
            at(one, way.host, "/start"),
            at(two if way.other_port else one, way.next_host, "/next"),
            at(one, way.host, "/end"),
        )
        yield trip, session


class TestCredentials:
    @pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way)))
    @pytest.mark.parametrize("kind", CREDENTIALS)
    @pytest.mark.parametrize("status", ["302 Found", "308 Permanent Redirect"])
    async def test_stay(
        self, kind: str, way: Way, status: str, server_ssl: ssl.SSLContext, client_ssl: Context
    ) -> None:
        """What was given for an origin stays there, and does not come back from another one."""
        session_options, options, password = CREDENTIALS[kind]
        async with journey(way, server_ssl, client_ssl, **session_options) as (trip, session):
            start = trip.start
            if password:
                start = start.with_user("u").with_password(password)
            trip.first.redirect("/start", trip.next, status)
            trip.reached.redirect("/next", trip.end, status)
            async with session.get(start, **options) as resp:
                assert len(resp.history) == 2
                assert await resp.read() == CANARY
        assert knows(trip.first.asked("/start"))
        assert not knows(trip.reached.asked("/next"))
        assert not knows(trip.first.asked("/end"))

    @pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way)))
    async def test_digest(self, way: Way, server_ssl: ssl.SSLContext, client_ssl: Context) -> None:
        """Another origin that challenges gets no answer, though the password is known."""
        digest = angelia.DigestAuthMiddleware("u", SECRET)
        async with journey(way, server_ssl, client_ssl, middlewares=(digest,)) as (trip, session):
            trip.first.answers["/start"] = CHALLENGE
            await content(session, trip.start)
            trip.first.redirect("/start", trip.next)
            trip.reached.answers["/next"] = CHALLENGE
            async with session.get(trip.start) as resp:
                assert resp.status == 401
        assert knows(trip.first.requests[2])
        assert not knows(trip.reached.asked("/next"))

    @pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way)))
    @pytest.mark.parametrize("machine", ["default", "machine"])
    async def test_netrc(
        self,
        way: Way,
        machine: str,
        server_ssl: ssl.SSLContext,
        client_ssl: Context,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """An entry is for its host; the default is for no redirect, and nothing leaves TLS."""
        netrc = tmp_path / "netrc"
        name = f"machine {way.host}" if machine == "machine" else machine
        netrc.write_text(f"{name} login u password {SECRET}\n")
        monkeypatch.setenv("NETRC", str(netrc))
        for proxy in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(proxy, raising=False)
            monkeypatch.delenv(proxy.upper(), raising=False)
        async with journey(way, server_ssl, client_ssl, trust_env=True) as (trip, session):
            trip.first.redirect("/start", trip.next)
            assert await content(session, trip.start) == CANARY
        assert knows(trip.first.asked("/start"))
        named = machine == "machine" and way.host == way.next_host
        assert knows(trip.reached.asked("/next")) is (named and way.scheme != "https")

    @pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way)))
    async def test_jar(self, way: Way, server_ssl: ssl.SSLContext, client_ssl: Context) -> None:
        """A cookie is for its host; one that is for TLS only leaves TLS nowhere."""
        async with journey(way, server_ssl, client_ssl) as (trip, session):
            secure = "; Secure" if way.scheme == "https" else ""
            line = f"Set-Cookie: x={SECRET}{secure}"
            trip.first.answers["/start"] = response(
                b"", line, f"Location: {trip.next}", status="302 Found"
            )
            trip.reached.redirect("/next", trip.end)
            assert await content(session, trip.start) == CANARY
        # RFC 6265 §8.5: cookies know no ports.
        same_host = way.host == way.next_host
        assert knows(trip.reached.asked("/next")) is (same_host and way.scheme == "http")
        assert knows(trip.first.asked("/end"))

    async def test_of_the_location(self) -> None:
        """Credentials in a location are for its origin; they replace what was there before."""
        first, second = Site(), Site()
        async with (
            RawServer(first) as one,
            RawServer(second) as two,
            angelia.ClientSession(connector=invented_names()) as session,
        ):
            target = at(two, "b.test", "/next").with_user("v").with_password("other")
            first.redirect("/start", target)
            second.redirect("/next", at(one, "a.test", "/end"))
            async with session.get(
                at(one, "a.test", "/start"), auth=angelia.BasicAuth("u", SECRET)
            ) as resp:
                # No password is left in the URL, nor is it sent on.
                assert resp.history[1].url == at(two, "b.test", "/next")
            assert b"v:other" in told(second.requests[0])
            assert not knows(second.requests[0])
            assert b"Authorization" not in first.requests[1]

    async def test_user_that_looks_like_a_host(self) -> None:
        """``http://a.test@b.test`` is b.test's, in each part that asks."""
        first, second = Site(), Site()
        async with (
            RawServer(first) as one,
            RawServer(second) as two,
            angelia.ClientSession(connector=invented_names()) as session,
        ):
            first.redirect("/start", f"http://a.test:{one.port}@b.test:{two.port}/next")
            session.cookie_jar.update_cookies({"x": SECRET}, URL("http://a.test/"))
            async with session.get(
                at(one, "a.test", "/start"), headers={"Authorization": SECRET}
            ) as resp:
                assert resp.url.host == "b.test"
            assert ("host", f"b.test:{two.port}") in fields_of(second.requests[0])
            assert not knows(second.requests[0])

    @pytest.mark.parametrize("url", ["http://a.test:{0}/", "http://a.test:{0}:@b.test:{0}/"])
    async def test_netrc_is_asked_for_the_host(
        self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A user in front of the host does not make netrc give what is another host's."""
        netrc = tmp_path / "netrc"
        netrc.write_text(f"machine a.test login u password {SECRET}\n")
        monkeypatch.setenv("NETRC", str(netrc))
        site = Site()
        async with (
            RawServer(site) as server,
            angelia.ClientSession(connector=invented_names(), trust_env=True) as session,
        ):
            try:
                await content(session, URL(url.format(server.port)))
            except angelia.InvalidURL:
                assert "@" in url
            assert any(knows(request) for request in site.requests) is ("@" not in url)

    async def test_given_host(self) -> None:
        """A `Host` that was given for one origin does not name another's resource."""
        first, second = Site(), Site()
        async with (
            RawServer(first) as one,
            RawServer(second) as two,
            angelia.ClientSession(connector=invented_names()) as session,
        ):
            first.redirect("/start", at(two, "b.test", "/next"))
            await content(session, at(one, "a.test", "/start"), headers={"Host": "inner.test"})
            assert ("host", "inner.test") in fields_of(first.requests[0])
            assert ("host", f"b.test:{two.port}") in fields_of(second.requests[0])


class TestTargets:
    @pytest.mark.parametrize(
        ("location", "path"),
        [
            ("/next%0d%0aX-Evil:%201", "/next%0D%0AX-Evil:%201"),
            ("/%00", "/%00"),
            ("/\\b.test/x", "/%5Cb.test/x"),
            ("\\\\b.test\\x", "/%5C%5Cb.test%5Cx"),
            ("/..//b.test/x", "//b.test/x"),
            ("/.//b.test/x", "//b.test/x"),
            ("http:/b.test/x", "/b.test/x"),
            ("http:b.test", "/b.test"),
            ("?x#http://b.test/", "/start?x"),
            ("/caf\u00e9", "/caf%C3%A9"),
        ],
    )
    async def test_same_host(self, location: str, path: str) -> None:
        """What only looks like another host, or like a second line, is a path of this one."""
        site = Site()
        site.redirect("/start", location)
        async with (
            RawServer(site) as server,
            angelia.ClientSession(connector=invented_names()) as session,
        ):
            async with session.get(at(server, "a.test", "/start")) as resp:
                assert resp.url.host == "a.test"
            assert len(site.requests) == 2
            request = site.requests[1]
            assert request.startswith(f"GET {path} HTTP/1.1\r\n".encode())
            assert ("host", f"a.test:{server.port}") in fields_of(request)
            assert not [name for name, _ in fields_of(request) if name == "x-evil"]

    @pytest.mark.parametrize("path", ["", "/x"])
    async def test_other_host(self, path: str) -> None:
        """``//host`` leads to another host, and is treated as such."""
        first, second = Site(), Site()
        async with (
            RawServer(first) as one,
            RawServer(second) as two,
            angelia.ClientSession(connector=invented_names()) as session,
        ):
            first.redirect("/start", f"//b.test:{two.port}{path}")
            async with session.get(
                at(one, "a.test", "/start"), headers={"Authorization": SECRET}
            ) as resp:
                assert resp.url == at(two, "b.test", path or "/")
            assert not knows(second.requests[0])

    @pytest.mark.parametrize(
        "location",
        [
            "http://127.1:{}/",
            "http://2130706433:{}/",
            "http://0177.0.0.1:{}/",
            "http://0x7f000001:{}/",
            "http://0x7f.1:{}/",
            "http://\uff11\uff12\uff17.0.0.1:{}/",
            "http://\u2460\u2461\u2466.0.0.1:{}/",
            "http:///x",
            "http://:{}/",
            "http://b.test:{}\\@a.test/",
            "http://b.test\\:{}/",
            "http://[::1:{}/",
            "http://b.test:999999/",
            "http://b.test:-1/",
            "http://b.test:1_0/",
            "http://b.test:\u0661/",
            "http://b.test%00.a.test:{}/",
            "http://b .test:{}/",
            "https:/x",
            "///x",
            "//",
            "file:///etc/passwd",
            "FILE:/etc/passwd",
            "ftp://b.test:{}/",
            "gopher://b.test:{}/",
            "javascript:alert(1)",
            "data:text/plain,x",
            "unix:///run/docker.sock",
            "tcp://b.test:{}/",
            "blob:http://b.test/",
        ],
    )
    async def test_nowhere(self, location: str) -> None:
        """What is no http URL, or one that can be read in two ways, is an error, and not asked."""
        site = Site()
        async with (
            RawServer(site) as server,
            angelia.ClientSession(connector=invented_names()) as session,
        ):
            site.redirect("/start", location.format(server.port))
            error = await failure(session, at(server, "a.test", "/start"))
            assert isinstance(error, angelia.RedirectClientError)
            assert str(error).isprintable()
            assert len(site.requests) == 1
            assert server.connections == 1
            # The session is as good as before.
            assert await content(session, at(server, "a.test")) == CANARY

    @pytest.mark.parametrize("port", ["1_0", "+80", "-1", " 80", "\u0661", "8o", "0x50", "99999"])
    @pytest.mark.parametrize("authority", ["b.test:{}", "u:1@b.test:{}", "[::1]:{}"])
    async def test_odd_ports(self, authority: str, port: str) -> None:
        """A port is ASCII digits, in the URLs of callers as in those of servers."""
        async with angelia.ClientSession() as session:
            with pytest.raises(angelia.InvalidUrlClientError):
                await session.get(f"http://{authority.format(port)}/")

    @pytest.mark.parametrize("octet", [b"\x00", b"\r", b"\n", b"\x1b", b"\x7f"])
    async def test_controls(self, octet: bytes) -> None:
        """A location with a control character makes no request, and shows none of it."""
        site = Site()
        site.answers["/start"] = (
            b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /a" + octet + b"b\r\n\r\n"
        )
        async with RawServer(site) as server, angelia.ClientSession() as session:
            error = await failure(session, server.url / "start")
            assert str(error).isprintable()
            assert len(site.requests) == 1

    async def test_schemes_of_the_connector(self, tmp_path: Path) -> None:
        """A connector to one place sends every hop there, whoever the location names."""
        site = Site()
        site.redirect("/start", "http://b.test/next")
        path = str(tmp_path / "socket")
        async with (
            RawServer(site, unix_path=path),
            angelia.UnixConnector(path) as connector,
            angelia.ClientSession(connector=connector) as session,
        ):
            async with session.get(
                "http://a.test/start", headers={"Authorization": SECRET}
            ) as resp:
                assert await resp.read() == CANARY
            assert ("host", "b.test") in fields_of(site.requests[1])
            assert not knows(site.requests[1])


class TestLoops:
    @pytest.mark.parametrize("location", ["/start", "start?x", "//a.test:{}/start"])
    async def test_for_ever(self, location: str) -> None:
        """Ten redirects are followed by default, and then it is an error with its history."""
        site = Site()
        async with (
            RawServer(site) as server,
            angelia.ClientSession(connector=invented_names()) as session,
        ):
            site.redirect("/start", location.format(server.port))
            site.redirect("/start?x", location.format(server.port))
            error = await failure(session, at(server, "a.test", "/start"))
            assert isinstance(error, angelia.TooManyRedirects)
            assert len(error.history) == 10
            assert len(site.requests) == 10
            assert len(repr(error)) < 100_000
            assert server.connections == 1


class TestBodies:
    @pytest.mark.parametrize(
        ("status", "kept"),
        [("301 Moved", False), ("302 Found", False), ("303 See Other", False), ("307 T", True)],
    )
    @pytest.mark.parametrize(
        "make",
        [
            SECRET.encode,
            lambda: io.BytesIO(SECRET.encode()),
            lambda: {"field": SECRET},
            lambda: io.StringIO(SECRET),
        ],
    )
    async def test_whole_or_not_at_all(
        self, status: str, kept: bool, make: Callable[[], Any]
    ) -> None:
        """The next request has all of the body and its fields, or nothing of either."""
        first, second = Site(), Site()
        async with (
            RawServer(first) as one,
            RawServer(second) as two,
            angelia.ClientSession(connector=invented_names()) as session,
        ):
            first.redirect("/start", at(two, "b.test", "/next"), status)
            async with session.post(at(one, "a.test", "/start"), data=make()) as resp:
                await resp.read()
            sent, following = first.requests[0], second.requests[0]
            body = sent.split(b"\r\n\r\n", 1)[1]
            assert SECRET.encode() in body
            assert following.split(b"\r\n\r\n", 1)[1] == (body if kept else b"")
            names = {name for name, _ in fields_of(following)}
            assert ("content-type" in names) is kept
            assert ("content-length" in names) is kept
