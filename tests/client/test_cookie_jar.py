"""CookieJar as users see it: what it takes, what it sends, what it keeps (RFC 6265)."""

from __future__ import annotations

import json
import pickle
import stat
from collections import defaultdict
from http.cookies import Morsel, SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

import angelia
from peers.raw import RawServer, response

HOST = URL("http://example.com/")
SECURE = URL("https://example.com/")


def jar_with(*lines: str, url: URL = HOST, **options: Any) -> angelia.CookieJar:
    """A jar that was given `Set-Cookie` lines by `url`."""
    jar = angelia.CookieJar(**options)
    jar.update_cookies_from_headers(lines, url)
    return jar


async def test_host_only() -> None:
    """A cookie without a domain goes back to the host that set it, and to no other."""
    jar = jar_with("a=1")
    assert jar.header_for(HOST) == "a=1"
    assert jar.header_for(URL("http://sub.example.com/")) == ""
    assert jar.host_only_cookies == {("example.com", "", "a")}


async def test_known_choices() -> None:
    """What was chosen for a URL is chosen anew when a cookie comes, goes or expires; in bounds."""
    jar = jar_with("a=1")
    now = 1000.0
    jar._now = lambda: now
    assert [jar.header_for(HOST) for _ in range(2)] == ["a=1", "a=1"]
    assert jar.header_for(HOST, {"b": "2"}) == "a=1; b=2"
    assert jar.header_for(HOST) == "a=1"
    jar.update_cookies_from_headers(["a=2", "c=3; Max-Age=5"], HOST)
    assert [jar.header_for(HOST) for _ in range(2)] == ["a=2; c=3", "a=2; c=3"]
    now += 5
    assert jar.header_for(HOST) == "a=2"
    for number in range(600):
        assert jar.header_for(HOST / str(number)) == "a=2"
    assert len(jar._known) <= 256
    jar.clear()
    assert jar.header_for(HOST) == ""


@pytest.mark.parametrize(
    ("domain", "host", "sent"),
    [
        ("example.com", "example.com", True),
        (".EXAMPLE.com", "sub.example.com", True),
        ("example.com", "notexample.com", False),
    ],
)
async def test_domain(domain: str, host: str, sent: bool) -> None:
    """A cookie with a domain goes to that domain and below, by whole labels, in any case."""
    jar = jar_with(f"a=1; Domain={domain}")
    assert bool(jar.header_for(URL(f"http://{host}/"))) == sent


@pytest.mark.parametrize("domain", ["other.com", "com", "sub.example.com"])
async def test_foreign_domain(domain: str) -> None:
    """A host sets cookies for itself and for what is above it, but for no public suffix."""
    assert len(jar_with(f"a=1; Domain={domain}")) == 0


@pytest.mark.parametrize(
    ("path", "asked", "sent"),
    [
        ("/dir", "/dir", True),
        ("/dir", "/dir/x", True),
        ("/dir", "/dirx", False),
        ("/", "/any", True),
        ("/dir/", "/dir/x", True),
        ("/dir/", "/dir", False),
    ],
)
async def test_path(path: str, asked: str, sent: bool) -> None:
    """Paths match by whole segments."""
    jar = jar_with(f"a=1; Path={path}")
    assert bool(jar.header_for(HOST.with_path(asked))) == sent


async def test_default_path() -> None:
    """Without a path it is the directory of the request."""
    jar = jar_with("a=1; Path=relative", url=URL("http://example.com/x/y"))
    assert jar.header_for(URL("http://example.com/x/z")) == "a=1"
    assert jar.header_for(URL("http://example.com/z")) == ""


async def test_longest_path_wins() -> None:
    """Cookies of one name are told apart by path; the longest that matches is sent."""
    jar = jar_with("a=1; Path=/", "a=2; Path=/x")
    assert len(jar) == 2
    assert jar.header_for(URL("http://example.com/x/y")) == "a=2"


async def test_secure() -> None:
    """Secure cookies are set and sent over TLS, or at an origin that counts as secure."""
    assert len(jar_with("a=1; Secure")) == 0
    jar = jar_with("a=1; Secure", url=SECURE)
    assert jar.header_for(SECURE) == "a=1"
    assert jar.header_for(HOST) == ""
    trusting = jar_with("a=1; Secure", treat_as_secure_origin=["http://example.com"])
    assert trusting.header_for(HOST) == "a=1"
    assert trusting.treat_as_secure_origin == {HOST.origin()}


async def test_prefixes() -> None:
    """Names that promise how they were set keep their promise, or are refused."""
    assert len(jar_with("__Secure-a=1")) == 0
    assert len(jar_with("__Host-a=1; Secure; Domain=example.com; Path=/", url=SECURE)) == 0
    assert len(jar_with("__Host-a=1; Secure; Path=/", url=SECURE)) == 1


async def test_addresses() -> None:
    """Hosts that are addresses have no cookies, unless the jar is unsafe; nor have requests."""
    url = URL("http://127.0.0.1/")
    jar = jar_with("a=1", url=url)
    assert len(jar) == 0
    assert jar.header_for(url, {"b": "2"}) == ""
    unsafe = jar_with("a=1", url=url, unsafe=True)
    assert unsafe.unsafe
    assert unsafe.header_for(url, {"b": "2"}) == "a=1; b=2"
    assert unsafe.header_for(URL("http://[::1]/")) == ""


@pytest.mark.parametrize(
    "line",
    [
        "a=1; Max-Age=0",
        "a=1; Max-Age=-1",
        "a=1; Expires=Wed, 21 Oct 2015 07:28:00 GMT",
        "a=1; Max-Age=0; Expires=Wed, 21 Oct 2099 07:28:00 GMT",
    ],
)
async def test_deletion(line: str) -> None:
    """A deadline that has passed deletes the cookie; Max-Age wins over Expires."""
    jar = jar_with("a=1")
    jar.update_cookies_from_headers([line], HOST)
    assert len(jar) == 0


@pytest.mark.parametrize(
    "line",
    [
        "a=1; Max-Age=99999999999999999999999999",
        "a=1; Max-Age=nonsense; Expires=nonsense",
        "a=1; Max-Age=60; Expires=Wed, 21 Oct 2015 07:28:00 GMT",
    ],
)
async def test_survival(line: str) -> None:
    """Huge or senseless deadlines keep the cookie."""
    assert jar_with(line).header_for(HOST) == "a=1"


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        ('a={"json": [1]}', 'a={"json": [1]}'),
        ("a=b=c", "a=b=c"),
        ('a="unbalanced', 'a="unbalanced'),
        ("a/b=1; Unknown=x", "a/b=1"),
        ("Path=/x", "Path=/x"),
        ("a=", "a="),
        ('a="q\\054r"', 'a="q\\054r"'),
    ],
)
async def test_odd_cookies(line: str, sent: str) -> None:
    """What servers send goes back as it came, however odd."""
    assert jar_with(line).header_for(HOST) == sent


@pytest.mark.parametrize("line", ["a=1\0", "a\x7f=1", "=1", "a", f"a={'x' * 4097}"])
async def test_refused(line: str) -> None:
    """Control characters, no name or too many octets drop that cookie, and only that one."""
    assert jar_with(line, "b=2").header_for(HOST) == "b=2"


async def test_limits() -> None:
    """A domain and the jar hold so many cookies; those that are not secure go first."""
    jar = jar_with(max_per_domain=3)
    jar.update_cookies_from_headers(["s=1; Secure"], SECURE)
    for number in range(5):
        jar.update_cookies_from_headers([f"c{number}=1"], HOST)
    assert len(jar) <= 3
    assert "s=1" in jar.header_for(SECURE)
    small = angelia.CookieJar(max_cookies=2)
    for number in range(5):
        small.update_cookies_from_headers(["a=1"], URL(f"http://host{number}.example/"))
    assert len(small) <= 2


async def test_shared_cookies() -> None:
    """Cookies without a URL go to all hosts; given morsels are copied."""
    morsel: Morsel[str] = Morsel()
    morsel.set("m", "1", "1")
    jar = angelia.CookieJar()
    jar.update_cookies({"a": "x y"})
    jar.update_cookies([("m", morsel)])
    assert set(jar.header_for(URL("http://anywhere.org/p")).split("; ")) == {'a="x y"', "m=1"}
    assert morsel["path"] == ""
    assert set(jar.filter_cookies(HOST)) == {"a", "m"}


async def test_clear() -> None:
    """Cookies are forgotten all, by predicate, or by domain."""
    jar = jar_with("a=1", "b=2")
    jar.update_cookies_from_headers(["c=3"], URL("http://sub.example.com/"))
    jar.update_cookies_from_headers(["d=4"], URL("http://other.org/"))
    jar.clear(lambda morsel: morsel.key == "a")
    assert {morsel.key for morsel in jar} == {"b", "c", "d"}
    jar.clear_domain("example.com")
    assert {morsel.key for morsel in jar} == {"d"}
    jar.clear()
    assert len(jar) == 0


async def test_save_and_load(tmp_path: Path) -> None:
    """A file keeps the cookies with their deadline and host; only its owner can read it."""
    jar = jar_with("a=1; Max-Age=1000", "b=2; Domain=example.com")
    path = tmp_path / "cookies"
    jar.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    json.loads(path.read_text())
    other = jar_with("old=1")
    other.load(path)
    assert set(other.header_for(HOST).split("; ")) == {"a=1", "b=2"}
    assert other.header_for(URL("http://sub.example.com/")) == "b=2"


@pytest.mark.parametrize("content", [b"", b"{}", b'{"cookies": [1]}', b"\x80\x04N.", b"rubbish"])
async def test_bad_files(tmp_path: Path, content: bytes) -> None:
    """A file that is no jar leaves the jar as it was."""
    path = tmp_path / "cookies"
    path.write_bytes(content)
    jar = jar_with("a=1")
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        jar.load(path)
    assert jar.header_for(HOST) == "a=1"


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("executed",)


async def test_pickles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Old pickles are read as far as they hold cookies; nothing else is built."""
    cookies: dict[tuple[str, str], SimpleCookie] = defaultdict(SimpleCookie)
    cookies["example.com", "/"]["a"] = "1"
    path = tmp_path / "cookies"
    path.write_bytes(pickle.dumps(cookies))
    jar = angelia.CookieJar()
    jar.load(path)
    assert jar.header_for(HOST) == "a=1"
    path.write_bytes(pickle.dumps(_Evil()))
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        jar.load(path)
    assert capsys.readouterr().out == ""
    assert jar.header_for(HOST) == "a=1"


async def test_dummy() -> None:
    """A dummy keeps nothing, and sends what a request gives."""
    jar = angelia.DummyCookieJar()
    jar.update_cookies_from_headers(["a=1"], HOST)
    jar.update_cookies({"b": "2"}, HOST)
    assert len(jar) == 0
    assert list(jar) == []
    assert jar.header_for(HOST, {"c": "3"}) == "c=3"
    jar.clear()
    jar.clear_domain("example.com")


async def test_in_a_session() -> None:
    """Cookies of a response go with the next request, and a request's own win and are not kept."""
    answers = [response(b"", "Set-Cookie: a=1; HttpOnly", "Set-Cookie: b=2")] + [response(b"")] * 2
    async with (
        RawServer(answers) as server,
        angelia.ClientSession(cookie_jar=angelia.CookieJar(unsafe=True)) as session,
    ):
        async with session.get(server.url) as resp:
            assert {name: morsel.value for name, morsel in resp.cookies.items()} == {
                "a": "1",
                "b": "2",
            }
        for cookies in ({"a": "9"}, None):
            async with session.get(server.url, cookies=cookies) as resp:
                await resp.read()
        _, second, third = server.requests[0].split(b"\r\n\r\n")[:3]
    assert b"Cookie: a=9; b=2" in second
    assert b"Cookie: a=1; b=2" in third
