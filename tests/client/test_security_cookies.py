"""Cookies that a server sets for others, through a whole session.

Held here: Set-Cookie for another domain, a parent, a public suffix, an address; prefixes; Secure
from http; nameless cookies (werkzeug CVE-2023-23934); one cookie for each line; floods and sizes;
host-only cookies after save and load (CVE-2026-54279);
quadratic values (CVE-2024-7592). The jar's own tables are in `test_cookie_jar.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from yarl import URL

import angelia
from counting import counted
from peers.evil import CANARY, at, content, fields_of, invented_names
from peers.raw import RawServer, response

pytestmark = pytest.mark.usefixtures("loop_kind")

HOSTS = ("a.test", "sub.a.test", "b.test", "test", "127.0.0.1")


async def spread(
    line: str, setter: str = "a.test", jar: angelia.CookieJar | None = None
) -> set[str]:
    """The hosts that are sent a cookie after `setter` has answered with a `Set-Cookie` line."""
    answers = [response(b"", f"Set-Cookie: {line}"), *[response(CANARY)] * len(HOSTS)]
    async with (
        RawServer(answers) as server,
        angelia.ClientSession(connector=invented_names(), cookie_jar=jar) as session,
    ):
        await content(session, at(server, setter))
        sent = set()
        for host in HOSTS:
            async with session.get(at(server, host)) as resp:
                await resp.read()
                if "Cookie" in resp.request_info.headers:
                    sent.add(host)
        seen = b"".join(server.requests).count(b"\r\nCookie: ")
    assert seen == len(sent)
    return sent


class TestScope:
    @pytest.mark.parametrize(
        ("line", "hosts"),
        [
            ("x=y", {"a.test"}),
            ("x=y; Domain=a.test", {"a.test", "sub.a.test"}),
            ("x=y; Domain=.a.test", {"a.test", "sub.a.test"}),
            ("x=y; Domain=b.test", set()),
            ("x=y; Domain=sub.a.test", set()),
            ("x=y; Domain=test", set()),
            ("x=y; Domain=.", {"a.test"}),
            ("x=y; Domain=a.test.", None),
            ("x=y; Domain=A.TEST", {"a.test", "sub.a.test"}),
            ("x=y; Domain=127.0.0.1", set()),
            ("x=y; Domain=a.test; Domain=b.test", set()),
            ("x=y; Domain=b.test; Domain=a.test", {"a.test", "sub.a.test"}),
            ("x=y; Domain=a.test\u00a0", set()),
            ("x=y; Secure", set()),
            ("__Secure-x=y; Secure", set()),
            ("__Secure-x=y", set()),
            ("__Host-x=y; Path=/", set()),
            ("__hOsT-x=y; Secure; Path=/; Domain=a.test", set()),
            ("=x=y", set()),
            ("=__Host-x=y", set()),
            ("x=y; Path=/other", set()),
            ("x=y; Max-Age=0", set()),
            ("x=y; Expires=Thu, 01 Jan 1970 00:00:00 GMT", set()),
            ("x=" + "y" * 5000, set()),
        ],
    )
    async def test_who_gets_it(self, line: str, hosts: set[str] | None) -> None:
        """A cookie goes to the host that set it, and to those below it that it may name."""
        sent = await spread(line)
        if hosts is None:
            assert sent <= {"a.test", "sub.a.test"}
        else:
            assert sent == hosts

    @pytest.mark.parametrize("line", ["x=y", "x=y; Domain=127.0.0.1", "x=y; Domain=0.0.1"])
    async def test_addresses(self, line: str) -> None:
        """Addresses have no cookies unless the jar was told so, and then no domains."""
        assert await spread(line, "127.0.0.1") == set()
        expected = set() if "0.0.1" in line and "127" not in line else {"127.0.0.1"}
        assert await spread(line, "127.0.0.1", angelia.CookieJar(unsafe=True)) == expected

    async def test_one_for_each_line(self) -> None:
        """A line sets one cookie, however many it seems to hold."""
        answer = response(b"", "Set-Cookie: a=1, b=2; c=3; Path=/; d=4")
        async with (
            RawServer([answer, response(CANARY)]) as server,
            angelia.ClientSession(connector=invented_names()) as session,
        ):
            for _ in range(2):
                await content(session, at(server, "a.test"))
            assert len(session.cookie_jar) == 1
            second = server.requests[0].split(b"\r\n\r\n")[1]
            assert dict(fields_of(second))["cookie"] == "a=1, b=2"

    async def test_host_only_after_loading(self, tmp_path: Path) -> None:
        """A cookie of one host is not a domain's when it was saved and loaded."""
        jar = angelia.CookieJar()
        jar.update_cookies_from_headers(["x=y"], URL("http://a.test/"))
        jar.save(tmp_path / "jar")
        loaded = angelia.CookieJar()
        loaded.load(tmp_path / "jar")
        assert loaded.filter_cookies(URL("http://a.test/"))
        assert not loaded.filter_cookies(URL("http://sub.a.test/"))


class TestFloods:
    async def test_many(self) -> None:
        """However many a server sets, and for however many hosts, the jar keeps its bound."""
        lines = [f"Set-Cookie: c{number}=x" for number in range(100)]
        answers = [response(b"", *lines)] * 3
        async with (
            RawServer(answers) as server,
            angelia.ClientSession(connector=invented_names()) as session,
        ):
            for number in range(3):
                await content(session, at(server, f"h{number}.a.test"))
            assert 0 < len(session.cookie_jar) <= 300
        jar = angelia.CookieJar()
        for number in range(100):
            jar.update_cookies_from_headers(
                [f"n{number}x{each}=y" for each in range(50)], URL("http://a.test/")
            )
        assert len(jar) <= 180

    async def test_head_of_the_next_request(self) -> None:
        """What a server sets never makes a request that breaks out of its field."""
        lines = ['a="\\012X-Evil: 1"', "b=\\r\\nX: 1", 'c="x;y"', "d=\u00e9", "e=\x7f", "f=a\tb"]
        answer = response(b"", *(f"Set-Cookie: {line}" for line in lines if line.isprintable()))
        async with (
            RawServer([answer, response(CANARY)]) as server,
            angelia.ClientSession(connector=invented_names()) as session,
        ):
            for _ in range(2):
                await content(session, at(server, "a.test"))
            second = server.requests[0].split(b"\r\n\r\n")[1]
            names = [name for name, _ in fields_of(second)]
            assert names.count("cookie") == 1
            assert not [name for name in names if name.startswith("x-")]

    @pytest.mark.parametrize("unit", ['"\\', "\\1", ";", "=", " ", '"', ", "])
    async def test_linear(self, unit: str) -> None:
        """The work for a value grows with its length, and no faster."""

        async def cost(size: int) -> int:
            line = "a=" + unit * (size // len(unit))
            answer = response(b"", *[f"Set-Cookie: {line}"] * 12)
            async with (
                RawServer([answer, response(CANARY)]) as server,
                angelia.ClientSession(connector=invented_names()) as session,
            ):
                with counted() as work:
                    for _ in range(2):
                        await content(session, at(server, "a.test"))
            return work.calls

        assert await cost(4000) <= 8 * await cost(500)
