"""Where redirects lead, and with what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from yarl import URL

from angelia.client.redirects import (
    REDIRECT_STATUSES,
    Redirect,
    RedirectPolicy,
    headers_after_redirect,
    keeps_body,
    next_hop,
    redirect_target,
    redirected_method,
    same_origin,
)
from angelia.errors import (
    InvalidURL,
    InvalidUrlRedirectClientError,
    NonHttpUrlRedirectClientError,
    RedirectClientError,
)

CURRENT = URL("http://cur:8080/dir/file?old=1#part")


class TestMethods:
    @pytest.mark.parametrize(
        ("status", "method", "expected", "body"),
        [
            (301, "POST", "GET", False),
            (302, "POST", "GET", False),
            (303, "POST", "GET", False),
            (307, "POST", "POST", True),
            (308, "POST", "POST", True),
            (301, "PUT", "PUT", True),
            (302, "DELETE", "DELETE", True),
            (303, "PUT", "GET", False),
            (303, "OPTIONS", "GET", False),
            (303, "GET", "GET", False),
            (303, "HEAD", "HEAD", False),
            (301, "HEAD", "HEAD", True),
            (307, "GET", "GET", True),
        ],
    )
    def test_table(self, status: int, method: str, expected: str, body: bool) -> None:
        """RFC 9110 §15.4: 303 fetches, 301 and 302 turn POST, 307 and 308 change nothing."""
        assert redirected_method(status, method) == expected
        assert keeps_body(status, method) is body


class TestOrigins:
    @pytest.mark.parametrize(
        ("other", "same"),
        [
            ("http://h/x", True),
            ("http://h:80/", True),
            ("HTTP://H/", True),
            ("http://u:p@h/", True),
            ("http://h:81/", False),
            ("https://h/", False),
            ("https://h:80/", False),
            ("http://sub.h/", False),
            ("http://hh/", False),
        ],
    )
    def test_same(self, other: str, same: bool) -> None:
        """RFC 9110 §4.3.1: scheme, host and port, with the scheme's default port."""
        assert same_origin(URL("http://h/"), URL(other)) is same
        assert same_origin(URL(other), URL("http://h/")) is same


class TestFields:
    HEADERS = CIMultiDict(
        [
            ("AUTHORIZATION", "one"),
            ("Cookie", "a=b"),
            ("cookie", "c=d"),
            ("Proxy-Authorization", "two"),
            ("authorization", "three"),
            ("Host", "given"),
            ("content-type", "text/plain"),
            ("Content-Length", "3"),
            ("Content-Encoding", "gzip"),
            ("Transfer-Encoding", "chunked"),
            ("Expect", "100-continue"),
            ("X-Own", "x"),
            ("x-own", "y"),
        ]
    )

    def test_across_origins(self) -> None:
        """Every line of what gives access goes, whatever its case."""
        after = headers_after_redirect(self.HEADERS, is_same_origin=False, body_dropped=False)
        assert [name.lower() for name, _ in after.items()] == [
            "content-type",
            "content-length",
            "content-encoding",
            "transfer-encoding",
            "expect",
            "x-own",
            "x-own",
        ]

    def test_without_body(self) -> None:
        """What described the body goes with it."""
        after = headers_after_redirect(self.HEADERS, is_same_origin=True, body_dropped=True)
        assert [name.lower() for name, _ in after.items()] == [
            "authorization",
            "cookie",
            "cookie",
            "proxy-authorization",
            "authorization",
            "host",
            "x-own",
            "x-own",
        ]

    def test_copies(self) -> None:
        """The caller's fields are never changed."""
        before = list(self.HEADERS.items())
        after = headers_after_redirect(self.HEADERS, is_same_origin=False, body_dropped=True)
        after.add("X-More", "z")
        assert list(self.HEADERS.items()) == before


class TestTargets:
    @pytest.mark.parametrize(
        ("location", "expected"),
        [
            ("/x?y=1", "http://cur:8080/x?y=1#part"),
            ("x", "http://cur:8080/dir/x#part"),
            ("../x", "http://cur:8080/x#part"),
            ("?q", "http://cur:8080/dir/file?q#part"),
            ("#new", "http://cur:8080/dir/file?old=1#new"),
            ("/x#", "http://cur:8080/x"),
            ("//other/x", "http://other/x#part"),
            ("http://other", "http://other/#part"),
            ("https://other?q=1", "https://other/?q=1#part"),
            ("HTTP://Other:80/x", "http://other/x#part"),
            ("http:/path", "http://cur:8080/path#part"),
            ("http:path", "http://cur:8080/dir/path#part"),
            ("http:foo:bar", "http://cur:8080/dir/foo:bar#part"),
            ("  /x  ", "http://cur:8080/x#part"),
            ("/\\evil", "http://cur:8080/%5Cevil#part"),
            ("\\\\evil\\x", "http://cur:8080/dir/%5C%5Cevil%5Cx#part"),
            ("/../..//evil", "http://cur:8080//evil#part"),
            ("http://u:p@other/", "http://u:p@other/#part"),
            ("http://127.0.0.1/", "http://127.0.0.1/#part"),
            ("http://[::1]:81/", "http://[::1]:81/#part"),
            ("http://h\u00e9.com/", "http://xn--h-bga.com/#part"),
            ("/a b/\u00e9%20%2F%zz", "http://cur:8080/a%20b/%C3%A9%20%2F%25zz#part"),
            ("/\udce9", "http://cur:8080/%E9#part"),
        ],
    )
    def test_resolved(self, location: str, expected: str) -> None:
        """RFC 3986 §5.2, RFC 9110 §10.2.2: resolved, quoted, and with the fragment inherited."""
        target = redirect_target(CURRENT, location)
        assert str(target) == expected
        assert target.is_absolute()

    @pytest.mark.parametrize(
        "sent",
        [
            "/a%2fb%zz",
            "/x?q=%7e+%20&r=[e]",
            "/a/../b",
            "//x//y",
            "/a'b|c",
        ],
    )
    def test_exact(self, sent: str) -> None:
        """Without requoting, path and query go out octet for octet."""
        target = redirect_target(CURRENT, f"https://H\u00f6st{sent}", requote=False)
        assert target.raw_host == "xn--hst-sna"
        assert target.raw_path_qs == sent
        if "//" not in sent and ".." not in sent:
            assert redirect_target(CURRENT, sent, requote=False).raw_path_qs == sent

    def test_exact_spaces(self) -> None:
        """A space would end the request's target, so it is quoted all the same."""
        target = redirect_target(CURRENT, "/a b?c d", requote=False)
        assert target.raw_path_qs == "/a%20b?c%20d"

    @pytest.mark.parametrize(
        ("sent", "path"), [("/\xe9%7e?\u20ac", "/%C3%A9%7e?%E2%82%AC"), ("/\udce9", "/%E9")]
    )
    def test_exact_octets(self, sent: str, path: str) -> None:
        """A URL is ASCII: other octets are quoted as they are, also without requoting."""
        assert redirect_target(CURRENT, sent, requote=False).raw_path_qs == path

    @pytest.mark.parametrize("requote", [True, False])
    @pytest.mark.parametrize(
        "location",
        [
            "http://[::1/",
            "http://h:99999/",
            "http://h:x/",
            "http://",
            "//",
            "///x",
            "http:///x",
            "http://u:p@/",
            "http://:80/",
            "https:x",
            "https:/x",
            "http://127.1/",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://0x7f.1/",
            "http://\uff11\uff12\uff17.0.0.1/",
            "http://a b/",
            "http://%31/",
            "http://a..b/",
            "http://good\\@evil/",
            "http://evil\\.good/",
            "http://h/\r\nSet-Cookie: a=b",
            "/a\tb",
            "/\x00",
            "http://" + "a" * 300 + "/",
        ],
    )
    def test_malformed(self, location: str, requote: bool) -> None:
        """What is no URL, has no host or a misleading one, is refused as a redirect's target."""
        with pytest.raises(InvalidUrlRedirectClientError) as info:
            redirect_target(CURRENT, location, requote=requote)
        assert isinstance(info.value, InvalidURL)
        assert isinstance(info.value, RedirectClientError)
        assert str(info.value).isprintable()

    @pytest.mark.parametrize(
        "location", ["ftp://h/", "file:///etc/passwd", "javascript:x", "mailto:a@b", "data:,x"]
    )
    def test_foreign(self, location: str) -> None:
        """Another scheme is refused with a class of its own, unless the connector has it."""
        with pytest.raises(NonHttpUrlRedirectClientError):
            redirect_target(CURRENT, location)

    def test_more_schemes(self) -> None:
        """The caller says which schemes can be spoken."""
        schemes = frozenset({"http", "ftp"})
        assert redirect_target(CURRENT, "ftp://h/x", schemes=schemes).scheme == "ftp"
        with pytest.raises(NonHttpUrlRedirectClientError):
            redirect_target(CURRENT, "https://h/x", schemes=schemes)

    @pytest.mark.parametrize("location", ["http://u:hunter2@[bad", "foo://u:hunter2@h/"])
    def test_no_password_in_errors(self, location: str) -> None:
        """The error's text and its URL are without the password."""
        with pytest.raises(RedirectClientError) as info:
            redirect_target(CURRENT, location)
        assert "hunter2" not in f"{info.value} {info.value!r} {info.value.args}"

    @given(st.text(st.sampled_from("htps:/\\?#@[]%.1a \u00e9\udce9\uff11")), st.booleans())
    def test_any_text(self, location: str, requote: bool) -> None:
        """Any text gives a URL with scheme and host, or one of the two errors."""
        try:
            target = redirect_target(CURRENT, location, requote=requote)
        except (InvalidUrlRedirectClientError, NonHttpUrlRedirectClientError):
            return
        assert target.scheme in ("http", "https")
        assert target.raw_host
        assert " " not in target.raw_path_qs


class TestNextHop:
    HEADERS = CIMultiDict([("Authorization", "a"), ("Content-Type", "b")])

    def hop(
        self, status: int, location: str | None, policy: RedirectPolicy | None = None
    ) -> Redirect | None:
        return next_hop(
            status,
            location,
            method="POST",
            url=CURRENT,
            headers=self.HEADERS,
            policy=policy or RedirectPolicy(),
        )

    @pytest.mark.parametrize("status", sorted({200, 201, 300, 304, 305, 306, 404}))
    def test_other_statuses(self, status: int) -> None:
        """Only 301, 302, 303, 307 and 308 redirect, with or without a location."""
        assert status not in REDIRECT_STATUSES
        assert self.hop(status, "/x") is None

    @pytest.mark.parametrize("location", [None, ""])
    def test_no_location(self, location: str | None) -> None:
        """Without a location it is an ordinary response."""
        assert self.hop(302, location) is None

    def test_value(self) -> None:
        """The value has all that the next request is made of."""
        assert self.hop(302, "https://other/x") == Redirect(
            "GET", URL("https://other/x#part"), CIMultiDict(), False, False
        )
        assert self.hop(307, "/x") == Redirect(
            "POST", URL("http://cur:8080/x#part"), self.HEADERS, True, True
        )

    def test_policy(self) -> None:
        """The session's options reach the target."""
        found = self.hop(301, "http:/%zz", RedirectPolicy(requote=False))
        assert found is not None
        assert found.url.raw_path == "/%zz"
        with pytest.raises(NonHttpUrlRedirectClientError):
            self.hop(301, "https://h/", RedirectPolicy(schemes=frozenset({"http"})))
