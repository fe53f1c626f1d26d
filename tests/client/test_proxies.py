"""Proxies from the environment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from angelia.client.proxies import proxy_for
from angelia.core.auth import BasicAuth
from angelia.errors import InvalidUrlClientError

PROXY = "http://proxy:3128"


def proxied(url: str, no_proxy: str) -> bool:
    environ = {"http_proxy": PROXY, "https_proxy": PROXY, "no_proxy": no_proxy}
    return proxy_for(URL(url), environ) is not None


class TestVariables:
    @pytest.mark.parametrize("scheme", ["http", "https", "ws", "wss"])
    def test_each_scheme(self, scheme: str) -> None:
        """Each scheme has a variable, and no other speaks for it."""
        url = URL(f"{scheme}://h/")
        assert proxy_for(url, {f"{scheme}_proxy": PROXY}) == (URL(PROXY), None)
        others = {f"{name}_proxy": PROXY for name in ("http", "https", "ws", "wss")}
        del others[f"{scheme}_proxy"]
        assert proxy_for(url, others) is None

    def test_fallbacks(self) -> None:
        """Lower case wins over capitals, and the scheme's variable over all_proxy."""
        url = URL("http://h/")
        environ = {"ALL_PROXY": "http://d", "all_proxy": "http://c"}
        assert proxy_for(url, environ) == (URL("http://c"), None)
        environ["HTTP_PROXY"] = "http://b"
        assert proxy_for(url, environ) == (URL("http://b"), None)
        environ["http_proxy"] = "http://a"
        assert proxy_for(url, environ) == (URL("http://a"), None)
        assert proxy_for(url, {"ALL_PROXY": "http://d"}) == (URL("http://d"), None)

    def test_empty(self) -> None:
        """An empty variable means that there is no proxy for its scheme."""
        environ = {"http_proxy": " ", "HTTP_PROXY": PROXY, "all_proxy": PROXY}
        assert proxy_for(URL("http://h/"), environ) is None
        assert proxy_for(URL("https://h/"), environ) is not None
        assert proxy_for(URL("http://h/"), {}) is None

    def test_cgi(self) -> None:
        """Under CGI, HTTP_PROXY may be a field of the request that is being answered."""
        environ = {"REQUEST_METHOD": "GET", "HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY}
        assert proxy_for(URL("http://h/"), environ) is None
        assert proxy_for(URL("https://h/"), environ) is not None
        environ["http_proxy"] = PROXY
        assert proxy_for(URL("http://h/"), environ) is not None

    def test_cgi_on_windows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where variables have no case, the name in lower case is the forged one as well."""
        monkeypatch.setattr("os.name", "nt")
        environ = {"REQUEST_METHOD": "GET", "http_proxy": PROXY}
        assert proxy_for(URL("http://h/"), environ) is None
        del environ["REQUEST_METHOD"]
        assert proxy_for(URL("http://h/"), environ) is not None

    def test_process_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """By default the environment of the process is asked, as it is now."""
        monkeypatch.setenv("http_proxy", PROXY)
        monkeypatch.setenv("no_proxy", "")
        assert proxy_for(URL("http://h/")) == (URL(PROXY), None)

    def test_other_schemes(self) -> None:
        """What HTTP does not carry has no proxy."""
        assert proxy_for(URL("unix://h/"), {"all_proxy": PROXY, "unix_proxy": PROXY}) is None


class TestValues:
    @pytest.mark.parametrize(
        ("value", "proxy", "auth"),
        [
            ("proxy:3128", "http://proxy:3128", None),
            (" https://proxy/ ", "https://proxy/", None),
            ("socks5h://proxy:1080", "socks5h://proxy:1080", None),
            ("http://u:p%40@proxy:1", "http://proxy:1", BasicAuth("u", "p@")),
            ("u:p@proxy:1", "http://proxy:1", BasicAuth("u", "p")),
            ("http://[::1]:3128", "http://[::1]:3128", None),
        ],
    )
    def test_forms(self, value: str, proxy: str, auth: BasicAuth | None) -> None:
        """A URL, or host and port; its credentials come apart from it."""
        assert proxy_for(URL("http://h/"), {"http_proxy": value}) == (URL(proxy), auth)

    @pytest.mark.parametrize(
        "value", ["http://", "http://hunter2@", "http://u:hunter2@p:x", "http://[hunter2", "/x"]
    )
    def test_malformed(self, value: str) -> None:
        """A broken value is an error that names the variable, and keeps the value to itself."""
        with pytest.raises(InvalidUrlClientError, match="HTTP_PROXY") as info:
            proxy_for(URL("http://h/"), {"HTTP_PROXY": value})
        assert "hunter2" not in f"{info.value} {info.value!r}"

    def test_colon_in_login(self) -> None:
        """Credentials that Basic cannot carry are such an error, too."""
        with pytest.raises(InvalidUrlClientError):
            proxy_for(URL("http://h/"), {"http_proxy": "http://a%3Ab:c@proxy"})


class TestNoProxy:
    @pytest.mark.parametrize(
        ("url", "no_proxy"),
        [
            ("http://h/", "*"),
            ("http://h/", "x, *"),
            ("http://example.com/", "example.com"),
            ("http://EXAMPLE.com./", "Example.COM"),
            ("http://www.example.com/", "example.com"),
            ("http://www.example.com/", ".example.com"),
            ("http://example.com/", ".example.com"),
            ("http://a.b.example.com/", "*.example.com"),
            ("http://h/", "a b\th,c"),
            ("http://h/", " ,,h, "),
            ("http://h:8080/", "h:8080"),
            ("http://h/", "h:80"),
            ("https://h/", "h:443"),
            ("http://a.h:8080/", ".h:8080"),
            ("http://10.1.2.3/", "10.1.2.3"),
            ("http://10.1.2.3/", "10.0.0.0/8"),
            ("http://10.1.2.3/", "10.9.9.9/8"),
            ("http://10.1.2.3:81/", "10.1.2.3:81"),
            ("http://[::1]/", "::1"),
            ("http://[::1]/", "[::1]"),
            ("http://[::1]:81/", "[::1]:81"),
            ("http://[fe80::1]/", "fe80::/10"),
            ("http://[fe80::1]/", "[fe80::]/10"),
            ("http://[0:0:0:0:0:0:0:1]/", "::1"),
            ("http://b\u00fccher.de/", "b\u00fccher.de"),
            ("http://b\u00fccher.de/", "xn--bcher-kva.de"),
        ],
    )
    def test_excepted(self, url: str, no_proxy: str) -> None:
        """Names with what is below them, ports, addresses, networks, and the star."""
        assert not proxied(url, no_proxy)

    @pytest.mark.parametrize(
        ("url", "no_proxy"),
        [
            ("http://h/", ""),
            ("http://notexample.com/", "example.com"),
            ("http://example.com.evil/", "example.com"),
            ("http://example.com/", "*.example.com"),
            ("http://example.com/", "www.example.com"),
            ("http://h:8080/", "h:80"),
            ("http://h/", "h:8080"),
            ("http://h/", "h:x"),
            ("http://h/", "h:\u0661"),
            ("http://h/", "."),
            ("http://h/", "[]"),
            ("http://10.1.2.3/", "2.3"),
            ("http://10.1.2.3/", ".3"),
            ("http://10.1.2.3/", "11.0.0.0/8"),
            ("http://10.1.2.3/", "10.0.0.0/99"),
            ("http://10.1.2.3/", "fe80::/10"),
            ("http://h/", "10.0.0.0/8"),
            ("http://[::1]/", "[::1]:81"),
            ("http://[::1]/", "::2"),
            ("http://h/", "\ud800"),
        ],
    )
    def test_not_excepted(self, url: str, no_proxy: str) -> None:
        """Not on label borders, another port, no part of an address, nothing malformed."""
        assert proxied(url, no_proxy)

    def test_case_of_the_variable(self) -> None:
        """no_proxy in lower case wins over NO_PROXY, also when it is empty."""
        environ = {"http_proxy": PROXY, "NO_PROXY": "h"}
        assert proxy_for(URL("http://h/"), environ) is None
        assert proxy_for(URL("http://h/"), {**environ, "no_proxy": ""}) is not None

    @given(st.text(st.sampled_from("h.*:[]/,1 \u00e9\ud800")))
    def test_any_text(self, no_proxy: str) -> None:
        """Any text says yes or no, and raises nothing."""
        proxied("http://h.1:11/", no_proxy)
        proxied("http://1.1.1.1/", no_proxy)
