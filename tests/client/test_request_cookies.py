"""The cookies that one request brings along."""

from __future__ import annotations

from http.cookies import CookieError, Morsel, SimpleCookie
from typing import Any

import pytest
from yarl import URL

from angelia.client.request_cookies import join_cookies, request_cookie_header, request_cookies
from angelia.core.cookies import make_morsel

HTTP = URL("http://www.example.com/a/b")
HTTPS = URL("https://www.example.com/a/b")


def morsel_with(**attributes: Any) -> Morsel[str]:
    """A morsel ``m=1`` with attributes."""
    morsel = make_morsel("m", "1", "1")
    for name, value in attributes.items():
        morsel[name] = value
    return morsel


@pytest.mark.parametrize(
    "cookies", [{"a": "1"}, [("a", "1")], SimpleCookie("a=1"), make_morsel("a", "1", "1")]
)
def test_kinds(cookies: Any) -> None:
    """All kinds of cookies are one."""
    assert request_cookies(cookies, HTTP) == {"a": "1"}


def test_last_of_a_name() -> None:
    """Of several with one name the last is sent."""
    assert request_cookies([("a", "1"), ("b", 2), ("a", "3")], HTTP) == {"a": "3", "b": "2"}


@pytest.mark.parametrize(("quote", "value"), [(True, '"x y"'), (False, "x y")])
def test_quoting(quote: bool, value: str) -> None:
    """Values are quoted or not, as the jar does it."""
    assert request_cookies({"a": "x y"}, HTTP, quote_cookie=quote) == {"a": value}


def test_secure() -> None:
    """A secure morsel goes over TLS, or where that is not asked for."""
    cookies = [morsel_with(secure=True)]
    assert request_cookies(cookies, HTTP) == {}
    assert request_cookies(cookies, HTTPS) == {"m": "1"}
    assert request_cookies(cookies, URL("wss://a.org")) == {"m": "1"}
    assert request_cookies(cookies, HTTP, is_secure=True) == {"m": "1"}


@pytest.mark.parametrize(
    ("attributes", "goes"),
    [
        ({"domain": "example.com"}, True),
        ({"domain": ".www.example.com"}, True),
        ({"domain": "other.org"}, False),
        ({"domain": "ample.com"}, False),
        ({"domain": "\udcff"}, False),
        ({"path": "/a"}, True),
        ({"path": "/b"}, False),
        ({"path": "relative"}, True),
        ({"httponly": True, "samesite": "Strict"}, True),
    ],
)
def test_attributes(attributes: dict[str, Any], goes: bool) -> None:
    """A morsel goes where its domain and path say."""
    assert bool(request_cookies([morsel_with(**attributes)], HTTP)) is goes


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "127.1"])
def test_addresses(host: str) -> None:
    """Hosts that are addresses get cookies if the jar is unsafe, a morsel's domain may be one."""
    url = URL(f"http://{host}/")
    cookies = [("a", "1"), ("m", morsel_with(domain=url.raw_host)), ("m2", morsel_with(domain="1"))]
    assert request_cookies(cookies, url) == {}
    assert request_cookies(cookies, url, unsafe=True) == {"a": "1", "m": "1"}


@pytest.mark.parametrize(
    ("cookies", "error"), [({"a b": "1"}, CookieError), ("a=1", TypeError), ({"a": "1;2"}, None)]
)
def test_mistakes(cookies: Any, error: type[Exception] | None) -> None:
    """What no field can hold is told; quoting may help."""
    if error is None:
        assert request_cookie_header(cookies) == r'a="1\0732"'
        error = ValueError
    with pytest.raises(error):
        request_cookies(cookies, HTTP, quote_cookie=False)


def test_header() -> None:
    """Where there is no jar, the field has the cookies as they are."""
    assert request_cookie_header({"a": "1", "b": "x y"}) == 'a=1; b="x y"'


def test_join() -> None:
    """Own cookies take the places of their namesakes; the others come at the end."""
    assert join_cookies([("a", "1"), ("b", "2")], {"c": "3", "a": "9"}) == "a=9; b=2; c=3"
    assert join_cookies([], {}) == ""
