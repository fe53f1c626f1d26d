"""Which cookies a jar takes over, and which go with a request (RFC 6265bis §5.7, §5.8)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from http.cookies import BaseCookie, CookieError, Morsel, SimpleCookie
from typing import Any

import pytest
from yarl import URL

from angelia.client.cookies import AbstractCookieJar, CookieJar, DummyCookieJar
from angelia.core.cookies import make_morsel, parse_set_cookie

HOST = URL("http://example.com/")
SECURE = URL("https://example.com/")
WWW = URL("https://www.example.com/a/b")


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def make_jar(*lines: str, url: URL = SECURE, **options: Any) -> CookieJar:
    """A jar that was given `Set-Cookie` fields by `url`."""
    jar = CookieJar(**options)
    jar.update_cookies_from_headers(lines, url)
    return jar


def timed_jar(*lines: str, url: URL = SECURE) -> tuple[CookieJar, Clock]:
    """A jar with a clock of its own."""
    jar = CookieJar()
    clock = jar._now = Clock()
    jar.update_cookies_from_headers(lines, url)
    return jar, clock


def names(jar: CookieJar) -> list[str]:
    """The names of a jar's cookies, in order."""
    return sorted(morsel.key for morsel in jar)


class TestConstruction:
    """What a jar is made of."""

    def test_without_a_loop(self) -> None:
        """Without a running loop, and without one given, no jar is made."""
        for kind in (CookieJar, DummyCookieJar):
            with pytest.raises(RuntimeError):
                kind()

    def test_with_a_loop(self) -> None:
        """A loop that is given need not run."""
        loop = asyncio.new_event_loop()
        try:
            with pytest.warns(DeprecationWarning, match="loop argument of CookieJar"):
                assert len(CookieJar(loop=loop)) == 0
        finally:
            loop.close()

    async def test_defaults(self) -> None:
        """Jars are safe and quote, and no origin is secure without TLS."""
        jar = CookieJar()
        assert not jar.unsafe
        assert jar.quote_cookie
        assert jar.treat_as_secure_origin == frozenset()
        assert dict(jar.cookies) == {}
        assert jar.host_only_cookies == frozenset()
        assert repr(jar) == "<CookieJar with 0 cookies>"

    @pytest.mark.parametrize(
        "origins",
        [
            "http://a.org/path",
            URL("http://a.org"),
            ["http://a.org"],
            ("http://a.org", URL("ws://a.org/x")),
        ],
    )
    async def test_origins(self, origins: Any) -> None:
        """Secure origins are given as str or URL, one or several; only the origin counts."""
        jar = CookieJar(treat_as_secure_origin=origins)
        assert jar.treat_as_secure_origin == {URL("http://a.org")}

    @pytest.mark.parametrize("options", [{"max_per_domain": 0}, {"max_cookies": 0}])
    async def test_limits(self, options: dict[str, Any]) -> None:
        """A jar that holds nothing is asked for in another way."""
        with pytest.raises(ValueError, match="at least one"):
            CookieJar(**options)


class TestDomain:
    """RFC 6265bis §5.7 (9)-(11)."""

    @pytest.mark.parametrize(
        "line", ["a=1", "a=1; Domain=", "a=1; Domain", "a=1; Domain=x.org; Domain="]
    )
    async def test_host_only(self, line: str) -> None:
        """Without a domain a cookie goes back to the very host, in whatever case it is written."""
        jar = make_jar(line)
        assert jar.header_for(URL("https://EXAMPLE.com./")) == "a=1"
        assert jar.header_for(WWW) == ""
        assert jar.host_only_cookies == {("example.com", "", "a")}

    async def test_host_only_after_replacement(self) -> None:
        """Whether a cookie is for its host only is what the last one of its name says."""
        jar = make_jar("a=1; Domain=example.com", "a=2")
        assert jar.header_for(WWW) == ""
        jar.update_cookies_from_headers(["a=3; Domain=example.com"], SECURE)
        assert jar.header_for(WWW) == "a=3"
        assert len(jar) == 1

    async def test_host_only_after_expiry(self) -> None:
        """Nothing of a cookie that has expired rubs off on the next of its name."""
        jar, clock = timed_jar("a=1; Max-Age=5")
        clock.now += 5
        jar.update_cookies_from_headers(["a=2; Domain=example.com"], SECURE)
        assert jar.header_for(WWW) == "a=2"
        assert jar.host_only_cookies == frozenset()

    @pytest.mark.parametrize("domain", ["com", ".com", "..com", "COM.", "co.uk"])
    async def test_public_suffix(self, domain: str) -> None:
        """Nobody sets cookies for a public suffix."""
        host = "example." + domain.strip(".").lower()
        assert len(make_jar(f"a=1; Domain={domain}", url=URL(f"https://{host}/"))) == 0

    async def test_host_that_is_a_suffix(self) -> None:
        """A host that is a public suffix sets cookies for itself."""
        jar = make_jar("a=1; Domain=localhost", url=URL("http://localhost/"))
        assert jar.header_for(URL("http://localhost/")) == "a=1"
        assert jar.header_for(URL("http://other.localhost/")) == ""

    async def test_own_list_of_suffixes(self) -> None:
        """Who has a list of public suffixes can give it to the jar."""
        suffixes = {"github.io", "io"}
        jar = make_jar(
            "a=1; Domain=github.io",
            "b=2; Domain=me.github.io",
            url=URL("https://me.github.io/"),
            public_suffix=suffixes.__contains__,
        )
        assert names(jar) == ["b"]

    async def test_international(self) -> None:
        """A domain in Unicode is the one in ASCII."""
        url = URL("https://www.bücher.de/")
        assert len(make_jar("a=1; Domain=bücher.de", url=url)) == 1
        assert len(make_jar("a=1; Domain=\udcff", url=url)) == 0

    async def test_request_to_an_address(self) -> None:
        """A request's own cookies follow the jar's setting; those for all hosts go to all."""
        url = URL("http://127.0.0.1/")
        for unsafe, header in ((False, "s=1"), (True, "s=1; a=2")):
            jar = CookieJar(unsafe=unsafe)
            jar.update_cookies({"s": "1"})
            assert jar.header_for(url, {"a": "2"}) == header

    @pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "2130706433", "127.1"])
    async def test_addresses(self, host: str) -> None:
        """Addresses have cookies if the jar is unsafe; then always for themselves only."""
        url = URL(f"http://{host}/")
        lines = ["a=1", f"b=2; Domain={url.raw_host}", "c=3; Domain=0.0.1", "d=4; Domain=1"]
        assert len(make_jar(*lines, url=url)) == 0
        jar = make_jar(*lines, url=url, unsafe=True)
        assert jar.header_for(url) == "a=1; b=2"
        assert jar.header_for(URL("http://127.0.0.2/")) == ""

    async def test_given_for_a_domain(self) -> None:
        """Without a URL a morsel goes where it says, to an address only if that is allowed."""
        morsel = make_morsel("a", "1", "1")
        morsel["domain"] = "127.0.0.1"
        url = URL("http://127.0.0.1/")
        for unsafe, header in ((False, ""), (True, "a=1")):
            jar = CookieJar(unsafe=unsafe)
            jar.update_cookies([("a", morsel)])
            assert jar.header_for(url) == header


class TestIdentity:
    """RFC 6265 §5.3 (11): a cookie is its domain, path and name."""

    async def test_separate(self) -> None:
        """With another domain or path it is another cookie; the most specific one is sent."""
        jar = make_jar(
            "n=1; Path=/",
            "n=2; Path=/a",
            "n=3; Path=/; Domain=example.com",
            url=WWW,
        )
        assert len(jar) == 3
        assert jar.header_for(WWW) == "n=2"
        assert jar.header_for(WWW.with_path("/x")) == "n=1"
        assert jar.header_for(SECURE) == "n=3"
        assert {key: sorted(group) for key, group in jar.cookies.items()} == {
            ("www.example.com", ""): ["n"],
            ("www.example.com", "/a"): ["n"],
            ("example.com", ""): ["n"],
        }

    async def test_order(self) -> None:
        """RFC 6265 §5.4 (2): longer paths come first, and then older cookies, replaced or not."""
        jar = make_jar("a=1; Path=/", "b=2; Path=/a/b", "c=3; Path=/a", "d=4; Path=/", url=WWW)
        jar.update_cookies_from_headers(["a=5; Path=/"], WWW)
        assert jar.header_for(WWW) == "b=2; c=3; a=5; d=4"

    async def test_no_inheritance(self) -> None:
        """A replacement without expiry does not inherit the old one, nor flags."""
        jar, clock = timed_jar("a=1; Max-Age=5; Secure; HttpOnly", "a=2")
        clock.now += 10
        assert jar.header_for(HOST) == "a=2"
        (morsel,) = jar
        assert not morsel["max-age"]
        assert not morsel["httponly"]


class TestSecure:
    """RFC 6265bis §5.7 (8), (16), (19), (20); §5.8.3."""

    @pytest.mark.parametrize("scheme", ["https", "wss"])
    async def test_schemes(self, scheme: str) -> None:
        """Secure cookies come and go over TLS, for WebSockets as well."""
        url = URL(f"{scheme}://example.com/")
        jar = make_jar("a=1; Secure", url=url)
        assert jar.header_for(url) == "a=1"
        assert jar.header_for(URL("ws://example.com/")) == ""

    async def test_shared(self) -> None:
        """Secure cookies for all hosts are no exception."""
        jar = CookieJar()
        jar.update_cookies(SimpleCookie("a=1; Secure"))
        assert jar.header_for(HOST) == ""
        assert jar.header_for(URL("https://any.org/")) == "a=1"

    async def test_origins_that_count_as_secure(self) -> None:
        """They set and get secure cookies; another port or scheme is another origin."""
        jar = CookieJar(treat_as_secure_origin="http://example.com:8080")
        jar.update_cookies_from_headers(["a=1; Secure"], URL("http://example.com:8080/x"))
        assert jar.header_for(URL("http://example.com:8080/")) == "a=1"
        assert jar.header_for(URL("ws://example.com:8080/")) == "a=1"
        assert jar.header_for(HOST) == ""

    @pytest.mark.parametrize("origin", ["http://example.com:80", "http://example.com"])
    @pytest.mark.parametrize("url", ["http://example.com:80/x", "http://example.com/x"])
    async def test_default_port_of_an_origin(self, origin: str, url: str) -> None:
        """RFC 6454 section 4: the default port may be written on either side."""
        jar = CookieJar(treat_as_secure_origin=origin)
        jar.update_cookies_from_headers(["a=1; Secure; Path=/"], URL(url))
        assert jar.header_for(URL(url)) == "a=1"

    @pytest.mark.parametrize("line", ["a=2", "a=2; Domain=example.com", "a=2; Max-Age=0"])
    async def test_left_alone(self, line: str) -> None:
        """Without TLS nobody replaces, hides or deletes a secure cookie."""
        jar = make_jar("a=1; Secure; Path=/")
        jar.update_cookies_from_headers([line], HOST)
        jar.update_cookies_from_headers([line], URL("http://example.com/sub/dir"))
        jar.update_cookies_from_headers([line], URL("http://www.example.com/"))
        assert jar.header_for(SECURE) == "a=1"

    async def test_beside(self) -> None:
        """On another path or with another name there is nothing to hide."""
        jar = make_jar("a=1; Secure; Path=/x")
        jar.update_cookies_from_headers(["a=2; Path=/", "b=3"], HOST)
        assert jar.header_for(SECURE) == "a=2; b=3"

    @pytest.mark.parametrize(
        ("line", "kept"),
        [
            ("__Host-a=1; Secure; Path=/", True),
            ("__Host-a=1; Path=/", False),
            ("__Host-a=1; Secure", False),
            ("__Host-a=1; Secure; Path=/; Domain=example.com", False),
            ("__host-a=1; Secure; Path=/x", False),
            ("__Secure-a=1; Secure", True),
            ("__Secure-a=1; Secure; Domain=example.com", True),
            ("__SECURE-a=1", False),
        ],
    )
    async def test_prefixes(self, line: str, kept: bool) -> None:
        """A cookie that is not what its name says is refused."""
        assert bool(len(make_jar(line))) is kept

    async def test_prefix_of_a_suffix(self) -> None:
        """A host's own domain is a domain: `__Host-` does not allow it."""
        url = URL("https://localhost/")
        assert len(make_jar("__Host-a=1; Secure; Path=/; Domain=localhost", url=url)) == 0


class TestExpiry:
    """RFC 6265 §5.3 (3), on a clock."""

    async def test_passing(self) -> None:
        """At its deadline a cookie is gone from everything that shows cookies."""
        jar, clock = timed_jar("a=1; Max-Age=10", "b=2")
        clock.now += 9.5
        assert jar.header_for(SECURE) == "a=1; b=2"
        clock.now += 0.5
        assert len(jar) == 1
        assert names(jar) == ["b"]
        assert jar.header_for(SECURE) == "b=2"
        assert set(jar.filter_cookies(SECURE)) == {"b"}

    async def test_last_one(self) -> None:
        """A jar whose cookies have all expired is empty."""
        jar, clock = timed_jar("a=1; Max-Age=10")
        clock.now += 10
        assert jar.header_for(SECURE) == ""
        assert len(jar) == 0

    @pytest.mark.parametrize("extra", ["", "; Path=/", "; Domain=example.com"])
    async def test_deletion(self, extra: str) -> None:
        """A deadline in the past deletes the cookie of the same domain, path and name, only."""
        jar = make_jar(f"a=1{extra}", "a=2; Path=/x")
        jar.update_cookies_from_headers([f"a=; Max-Age=0{extra}"], SECURE)
        assert [morsel.value for morsel in jar] == ["2"]

    async def test_deletion_of_nothing(self) -> None:
        """Deleting what is not there does nothing."""
        assert len(make_jar("a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT")) == 0


class TestTakingOver:
    """`update_cookies` and `update_cookies_from_headers`."""

    @pytest.mark.parametrize(
        "cookies",
        [{"a": "1"}, [("a", "1")], SimpleCookie("a=1"), make_morsel("a", "1", "1"), {"a": 1}],
    )
    async def test_kinds(self, cookies: Any) -> None:
        """Mappings, pairs and morsels are all cookies."""
        jar = CookieJar()
        jar.update_cookies(cookies, HOST)
        assert jar.header_for(HOST) == "a=1"
        assert jar.header_for(URL("http://other.org/")) == ""

    async def test_shared(self) -> None:
        """Without a URL they are for all hosts, addresses too; what a host set wins over them."""
        jar = CookieJar()
        jar.update_cookies({"a": "1", "b": "2"}, None)
        jar.update_cookies({"a": "3"}, HOST)
        assert jar.header_for(URL("http://127.0.0.1/")) == "a=1; b=2"
        assert jar.header_for(HOST) == "a=3; b=2"
        assert set(jar.filter_cookies()) == {"a", "b"}

    async def test_copies(self) -> None:
        """A morsel that a user gives stays as it was, and what happens to it stays outside."""
        morsel = make_morsel("a", "1", "1")
        jar = CookieJar()
        jar.update_cookies([morsel], WWW)
        assert morsel == make_morsel("a", "1", "1")
        morsel["domain"] = "other.org"
        (kept,) = jar
        assert (kept["domain"], kept["path"]) == ("www.example.com", "/a")

    async def test_all_or_what_comes_before(self) -> None:
        """A name or value that no field can hold is the user's mistake, and told."""
        jar = CookieJar(quote_cookie=False)
        with pytest.raises(CookieError):
            jar.update_cookies({"a b": "1"}, HOST)
        with pytest.raises(ValueError, match="semicolon"):
            jar.update_cookies({"a": "1; b=2"}, HOST)
        assert len(jar) == 0

    async def test_size(self) -> None:
        """4096 octets are the limit for what a host sets."""
        jar = CookieJar()
        jar.update_cookies({"a": "x" * 4095, "b": "x" * 4096}, HOST)
        assert names(jar) == ["a"]

    async def test_flood(self, caplog: pytest.LogCaptureFixture) -> None:
        """One response sets 50 cookies; what else it sends costs one short line of the log."""
        lines = [f"c{number}=secret" for number in range(49)] + ["bad\r\n" * 10_000 + "=secret"]
        with caplog.at_level(logging.DEBUG, "angelia"):
            jar = make_jar(*lines, *["more=secret"] * 1000)
        assert len(jar) == 49
        (record,) = caplog.records
        message = record.getMessage()
        assert message.startswith("1001 of 1050 cookies from example.com were ignored")
        assert len(message) < 300
        assert "secret" not in message
        assert "\n" not in message

    async def test_silence(self, caplog: pytest.LogCaptureFixture) -> None:
        """Cookies that are well-formed cost no line, taken or not."""
        with caplog.at_level(logging.DEBUG, "angelia"):
            make_jar("a=1", "b=2; Domain=other.org")
        assert not caplog.records

    async def test_overridden(self) -> None:
        """What a response sets goes through `update_cookies`, so that a subclass sees it."""
        seen: list[str] = []

        class Watching(CookieJar):
            def update_cookies(self, cookies: Any, response_url: Any = None) -> None:
                seen.extend(name for name, _ in cookies)
                super().update_cookies(cookies, response_url)

        jar = Watching()
        jar.update_cookies_from_headers(["a=1", "a=2; Path=/x"], SECURE)
        assert seen == ["a", "a"]
        assert len(jar) == 2


class TestQuoting:
    """What `quote_cookie` says concerns values that a user gives."""

    @pytest.mark.parametrize(
        ("quote", "header"), [(True, 'a="x y"; b="1/2"; c=3'), (False, "a=x y; b=1/2; c=3")]
    )
    async def test_given(self, quote: bool, header: str) -> None:
        """Those are quoted or not, in the jar and with one request."""
        cookies = {"a": "x y", "b": "1/2", "c": "3"}
        jar = CookieJar(quote_cookie=quote)
        assert jar.header_for(HOST, cookies) == header
        jar.update_cookies(cookies)
        assert jar.header_for(HOST) == header
        jar.update_cookies(cookies, HOST)
        assert jar.header_for(HOST) == header
        assert jar.filter_cookies(HOST)["a"].value == "x y"

    @pytest.mark.parametrize("quote", [True, False])
    @pytest.mark.parametrize("value", ['"x y"', "1/2", '{"a": [1]}', r'"\054"', '"', ""])
    async def test_received(self, value: str, quote: bool) -> None:
        """What a server set goes back octet for octet, also after the user moved it."""
        jar = make_jar(f"a={value}", quote_cookie=quote)
        assert jar.header_for(SECURE) == f"a={value}"
        other = CookieJar(quote_cookie=quote)
        other.update_cookies(list(jar))
        morsel = parse_set_cookie(f"a={value}")
        assert other.header_for(SECURE) == f"a={value}"
        assert CookieJar().header_for(SECURE, [morsel]) == f"a={value}"


class TestChoosing:
    """`filter_cookies` and `header_for`."""

    async def test_without_attributes(self) -> None:
        """No attribute is ever sent."""
        jar = make_jar("a=1; Path=/; Domain=example.com; Secure; HttpOnly; SameSite=Lax; Max-Age=5")
        filtered = jar.filter_cookies(SECURE)
        assert isinstance(filtered, SimpleCookie)
        assert filtered.output() == "Set-Cookie: a=1"
        assert filtered["a"].coded_value == "1"

    async def test_text_as_url(self) -> None:
        """A URL may be a str."""
        jar = make_jar("a=1")
        assert set(jar.filter_cookies("https://example.com/x")) == {"a"}

    async def test_odd_names(self) -> None:
        """Also names that `SimpleCookie` itself refuses are filtered."""
        jar = make_jar("{a}/b=1", "Path=2", "a b=3")
        assert set(jar.filter_cookies(SECURE)) == {"{a}/b", "Path", "a b"}
        assert len(jar.cookies[("example.com", "")]) == 3

    async def test_number(self) -> None:
        """A jar adds up to 150 cookies to a request."""
        jar = CookieJar()
        jar.update_cookies({f"c{number}": "1" for number in range(180)}, HOST)
        assert jar.header_for(HOST).count("; ") == 149
        assert len(jar.filter_cookies(HOST)) == 150
        assert jar.header_for(HOST, {"own": "1", "c0": "2"}).count("; ") == 149

    async def test_octets(self) -> None:
        """And up to 8190 octets; what is too long leaves room for what is not."""
        jar = CookieJar()
        jar.update_cookies({"a": "x" * 4094, "b": "x" * 4000, "c": "x" * 200, "d": "1"}, HOST)
        header = jar.header_for(HOST)
        assert len(header) <= 8190
        assert header.endswith("; d=1")
        assert [pair[0] for pair in header.split("; ")] == ["a", "b", "d"]
        assert set(jar.filter_cookies(HOST)) == {"a", "b", "d"}

    async def test_exactly(self) -> None:
        """The limit is what is sent, to the octet."""
        jar = CookieJar()
        jar.update_cookies({"a": "x" * 4000, "b": "x" * 4000}, HOST)
        jar.update_cookies({"c": "x" * (8190 - 8008 - 2)}, HOST)
        assert len(jar.header_for(HOST)) == 8190
        jar.update_cookies({"c": "x" * (8190 - 8008 - 1)}, HOST)
        assert len(jar.header_for(HOST)) == 8006

    async def test_own(self) -> None:
        """A request's own win, are sent in any case, and are not kept."""
        jar = make_jar("a=1", "b=2")
        assert jar.header_for(SECURE, {"a": "9", "c": "3"}) == "a=9; b=2; c=3"
        assert jar.header_for(SECURE) == "a=1; b=2"
        assert jar.header_for(SECURE, {"long": "x" * 9000}) == "long=" + "x" * 9000
        assert jar.header_for(SECURE, {}) == "a=1; b=2"
        assert CookieJar().header_for(SECURE, {"a": "1"}) == "a=1"

    async def test_no_growth(self) -> None:
        """Asking for ever new hosts and paths leaves nothing behind."""
        jar = make_jar("a=1; Domain=example.com")
        before = len(jar._store.domains())
        for number in range(1000):
            jar.header_for(URL(f"https://h{number}.example.com/p{number}"))
        assert len(jar._store.domains()) == before

    async def test_long_host(self) -> None:
        """A host of absurd length costs nothing worth the mention."""
        jar = make_jar("a=1")
        url = URL.build(scheme="https", host="a." * 50_000 + "com", encoded=True)
        assert jar.header_for(url) == ""


class TestForgetting:
    """`clear` and `clear_domain`."""

    async def test_predicate_that_raises(self) -> None:
        """Then nothing is forgotten."""
        jar = make_jar("a=1", "b=2")

        def predicate(morsel: Morsel[str]) -> bool:
            if morsel.key == "b":
                raise LookupError
            return True

        with pytest.raises(LookupError):
            jar.clear(predicate)
        assert names(jar) == ["a", "b"]

    async def test_clear_domain(self) -> None:
        """A domain with all below it, in any case; cookies for all hosts stay."""
        jar = make_jar("a=1; Domain=example.com", "b=2", url=URL("https://www.example.com/"))
        jar.update_cookies_from_headers(["c=3"], URL("https://notexample.com/"))
        jar.update_cookies({"d": "4"})
        jar.clear_domain("Example.COM")
        assert names(jar) == ["c", "d"]


class TestOtherJars:
    """Jars of users."""

    async def test_minimal(self) -> None:
        """What the documentation asks of a jar is enough for a session."""

        class Minimal(AbstractCookieJar):
            def __init__(self) -> None:
                super().__init__()
                self.kept: SimpleCookie = SimpleCookie()

            def __iter__(self) -> Iterator[Morsel[str]]:
                return iter(self.kept.values())

            def __len__(self) -> int:
                return len(self.kept)

            def clear(self, predicate: Callable[[Morsel[str]], bool] | None = None) -> None:
                self.kept.clear()

            def clear_domain(self, domain: str) -> None:
                self.kept.clear()

            def update_cookies(self, cookies: Any, response_url: URL = HOST) -> None:
                for name, value in cookies:
                    self.kept[name] = value

            def filter_cookies(self, request_url: URL) -> BaseCookie[str]:
                return self.kept

        jar = Minimal()
        assert jar.header_for(HOST) == ""
        assert jar.header_for(HOST, {"o": "1 2"}) == 'o="1 2"'
        jar.update_cookies_from_headers(["a=1; Path=/", "b=x/y"], HOST)
        assert jar.header_for(HOST, {"a": "2"}) == "a=2; b=x/y"
        assert jar.treat_as_secure_origin == frozenset()
        assert not jar.unsafe
        assert jar.quote_cookie
        assert dict(jar.cookies) == {}
        assert jar.host_only_cookies == frozenset()

    async def test_dummy(self) -> None:
        """A dummy parses nothing, not even what is no text."""
        jar = DummyCookieJar()
        jar.update_cookies_from_headers([object()], HOST)  # type: ignore[list-item]  # the point
        jar.update_cookies(object(), HOST)
        assert not len(jar)
        assert list(jar) == []
        assert isinstance(jar.filter_cookies(HOST), SimpleCookie)
        assert jar.header_for(HOST, {"c": "3"}) == "c=3"
        assert jar.header_for(URL("http://127.0.0.1/"), {"c": "3"}) == "c=3"
