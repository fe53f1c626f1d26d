"""ClientRequest: what a request says, made alone and on the wire."""

from __future__ import annotations

import asyncio
import copy
import io
import pickle
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy, MultiDict
from yarl import URL

import angelia
from angelia.client.automatic_fields import default_headers
from angelia.client.request import (
    ClientRequest,
    RequestInfo,
    check_method,
    extended_query,
)
from angelia.core.interface import HttpVersion, HttpVersion10, HttpVersion11
from angelia.net.exchange import Exchange
from angelia.net.payload import BytesPayload, Payload
from peers.raw import RawServer, response

HTTP = URL("http://example.org/")
OK = response(b"")


def fields_of(request: ClientRequest) -> dict[str, str]:
    """The fields that are not there by themselves."""
    usual = default_headers()
    return {
        name: value
        for name, value in request.headers.items()
        if name != "Host" and usual.get(name) != value
    }


class TestHost:
    @pytest.mark.parametrize(
        ("url", "host"),
        [
            ("http://example.org", "example.org"),
            ("http://example.org:80", "example.org"),
            ("https://example.org:443", "example.org"),
            ("https://example.org:80", "example.org:80"),
            ("http://example.org:8080", "example.org:8080"),
            ("ws://example.org", "example.org"),
            ("wss://example.org:443", "example.org"),
            ("http://EXAMPLE.org", "example.org"),
            ("http://example.org.", "example.org"),
            ("http://example.org.:81", "example.org:81"),
            ("http://b\xfccher.example", "xn--bcher-kva.example"),
            ("http://xn--bcher-kva.example:81", "xn--bcher-kva.example:81"),
            ("http://[::1]", "[::1]"),
            ("http://[::1]:80", "[::1]"),
            ("http://[2001:db8::1]:8080", "[2001:db8::1]:8080"),
            (f"http://{'a' * 63}.example:12345", f"{'a' * 63}.example:12345"),
        ],
    )
    async def test_host(self, url: str, host: str) -> None:
        """RFC 9110 §7.2: `Host` is first, in ASCII, with a port unless it is the scheme's own."""
        request = ClientRequest("GET", URL(url))
        assert next(iter(request.headers.items())) == ("Host", host)

    @pytest.mark.parametrize(
        ("url", "host", "port", "is_ssl"),
        [
            ("http://example.org/", "example.org", 80, False),
            ("https://example.org/", "example.org", 443, True),
            ("wss://example.org:1/", "example.org", 1, True),
            ("http://[::1]:2/", "::1", 2, False),
        ],
    )
    async def test_facts(self, url: str, host: str, port: int, is_ssl: bool) -> None:
        """The host without brackets, the port also where it is the default, and the scheme."""
        request = ClientRequest("GET", URL(url), ssl=False, server_hostname="other")
        assert (request.host, request.port, request.is_ssl()) == (host, port, is_ssl)
        assert request.ssl is False
        key = request.connection_key
        assert (key.host, key.port, key.is_ssl, key.server_hostname) == (
            host,
            port,
            is_ssl,
            "other",
        )
        assert key == request.connection_key
        assert key != ClientRequest("GET", URL(url)).connection_key

    async def test_own_host(self) -> None:
        """A `Host` that the caller gives takes the place of ours, and stays first."""
        request = ClientRequest("GET", HTTP, headers={"X": "1", "host": "other"})
        assert list(request.headers.items())[:2] == [("Host", "other"), ("X", "1")]
        assert request.headers.getall("Host") == ["other"]

    async def test_one_host(self) -> None:
        """RFC 9112 §3.2: a request has one `Host`, the last that was given."""
        request = ClientRequest("GET", HTTP, headers=[("Host", "a"), ("HOST", "b")])
        assert request.headers.getall("Host") == ["b"]

    @pytest.mark.parametrize("url", ["/path", "http:///path", "http://0x7f.1/", "http://127.1/"])
    async def test_no_host(self, url: str) -> None:
        """A URL without a host, or with an odd form of an address, is refused."""
        with pytest.raises(angelia.InvalidURL):
            ClientRequest("GET", URL(url))

    async def test_credentials(self) -> None:
        """Credentials leave the URL and become a field; an empty user name will do."""
        request = ClientRequest("GET", URL("http://:p%40ss@example.org/"))
        assert request.url == HTTP
        assert request.original_url == HTTP
        assert fields_of(request) == {"Authorization": angelia.BasicAuth("", "p@ss").encode()}

    @pytest.mark.parametrize(
        ("url", "arguments"),
        [
            ("http://u:p@example.org/", {"auth": angelia.BasicAuth("a")}),
            ("http://u:p@example.org/", {"headers": {"authorization": "x"}}),
            (
                "http://example.org/",
                {"auth": angelia.BasicAuth("a"), "headers": {"AUTHORIZATION": ""}},
            ),
        ],
    )
    async def test_two_credentials(self, url: str, arguments: dict[str, Any]) -> None:
        """Of URL, argument and field only one may give credentials."""
        with pytest.raises(ValueError, match="Cannot combine"):
            ClientRequest("GET", URL(url), **arguments)

    async def test_auth_of_a_wrong_type(self) -> None:
        """Credentials are a `BasicAuth`."""
        with pytest.raises(TypeError, match="BasicAuth"):
            ClientRequest("GET", HTTP, auth=("u", "p"))  # type: ignore[arg-type]  # what is tested


class TestTarget:
    @pytest.mark.parametrize(
        ("url", "target"),
        [
            ("http://a", "/"),
            ("http://a?q", "/?q"),
            ("http://a//b", "//b"),
            ("http://a/b#c", "/b"),
            ("http://a/%2F%20+?a=%2F+b&c=", "/%2F%20+?a=/+b&c="),
            ("http://a/\xe4 b?\xe4=b c", "/%C3%A4%20b?%C3%A4=b+c"),
        ],
    )
    async def test_target(self, url: str, target: str) -> None:
        """RFC 9112 §3.2.1: path and query, quoted once, without the fragment."""
        assert ClientRequest("GET", URL(url)).target() == target

    @pytest.mark.parametrize(
        ("proxy", "url", "target"),
        [
            ("http://p:1", "http://a/b", "http://a/b"),
            ("https://p:1", "http://a/b?c", "http://a/b?c"),
            ("http://p:1", "https://a/b", "/b"),
            ("socks5://p:1", "http://a/b", "/b"),
        ],
    )
    async def test_proxy(self, proxy: str, url: str, target: str) -> None:
        """RFC 9112 §3.2.2: a proxy that is no tunnel gets the whole URL."""
        assert ClientRequest("GET", URL(url), proxy=URL(proxy)).target() == target

    @pytest.mark.parametrize("proxy", [None, "http://u:p@proxy:1"])
    @pytest.mark.parametrize(
        ("url", "target"),
        [
            ("http://a/b?c", "a:80"),
            ("https://a/", "a:443"),
            ("http://a:8080/", "a:8080"),
            ("http://[::1]/", "[::1]:80"),
        ],
    )
    async def test_connect(self, proxy: str | None, url: str, target: str) -> None:
        """RFC 9112 §3.2.3: CONNECT names host and port; a proxy's credentials stay its own."""
        through = None if proxy is None else URL(proxy)
        request = ClientRequest("CONNECT", URL(url), proxy=through)
        assert request.target() == target
        names = {name.lower() for name, _ in request._head().headers}
        assert ("proxy-authorization" in names) == (through is not None and url[:5] == "http:")

    async def test_fragment(self) -> None:
        """`url` is what is asked for, `original_url` what was meant."""
        request = ClientRequest("GET", URL("http://a/b#c"))
        assert str(request.url) == "http://a/b"
        assert str(request.original_url) == "http://a/b#c"
        assert request.request_info.real_url == request.original_url
        assert repr(request) == "<ClientRequest GET http://a/b>"

    @pytest.mark.parametrize(
        ("url", "params", "query"),
        [
            ("http://a/?x=1", {"y": "2"}, "x=1&y=2"),
            ("http://a/", {"a": 1, "b": 1.5}, "a=1&b=1.5"),
            ("http://a/", [("a", "1"), ("b", ""), ("a", "2")], "a=1&b=&a=2"),
            ("http://a/", MultiDict([("a", "1"), ("a", "2")]), "a=1&a=2"),
            ("http://a/", {"a": ["1", "2"]}, "a=1&a=2"),
            ("http://a/", {"a": "+ &=\xe4"}, "a=%2B+%26%3D%C3%A4"),
            ("http://a/?x=1", "y=%2F&z=a b", "x=1&y=/&z=a+b"),
            ("http://a/", "?y", "y"),
            ("http://a/", "y=1#2&z=3", "y=1%232&z=3"),
            ("http://a/", {}, ""),
            ("http://a/?x", {}, "x"),
            ("http://a/", None, ""),
        ],
    )
    async def test_params(self, url: str, params: Any, query: str) -> None:
        """`params` go behind the query that is there; order and repetition stay."""
        request = ClientRequest("GET", URL(url), params=params)
        assert request.url.raw_query_string == query
        assert ("?" in str(request.url)) == bool(query)

    @pytest.mark.parametrize("value", [True, None, b"x", object()])
    async def test_bad_params(self, value: Any) -> None:
        """Values of other types than str and numbers are refused."""
        with pytest.raises(TypeError):
            ClientRequest("GET", HTTP, params={"a": value})

    def test_fragment_behind_params(self) -> None:
        """Adding to a query leaves the fragment where it is."""
        assert str(extended_query(URL("http://a/b?c#d"), "e=f")) == "http://a/b?c&e=f#d"

    @pytest.mark.parametrize("method", ["", "A B", "A\r\n", "G\xcbT", "GET\0", None, 1])
    def test_methods(self, method: Any) -> None:
        """RFC 9110 §9.1: a method is a token; it goes out in capitals."""
        assert check_method("get") == "GET"
        assert check_method("m-search") == "M-SEARCH"
        with pytest.raises(ValueError, match=r"(?i)method"):
            check_method(method)


class TestFields:
    async def test_automatic(self) -> None:
        """What nobody gave or skipped is added."""
        request = ClientRequest("GET", HTTP)
        assert list(request.headers) == ["Host", *default_headers()]
        assert request.skip_auto_headers == CIMultiDict()

    async def test_given(self) -> None:
        """Given fields replace the automatic ones, and keep case, order and repetition."""
        given = [("accept", "a"), ("X-b", "1"), ("ACCEPT", "b"), ("x-B", "2")]
        request = ClientRequest("GET", HTTP, headers=given)
        assert list(request.headers.items())[1:5] == given
        assert request.headers.getall("Accept") == ["a", "b"]

    @pytest.mark.parametrize(
        "headers",
        [
            {"A": "1", "B": "2"},
            [("A", "1"), ("B", "2")],
            CIMultiDict(A="1", B="2"),
            CIMultiDictProxy(CIMultiDict(A="1", B="2")),
            MultiDict(A="1", B="2"),
        ],
    )
    async def test_kinds(self, headers: Any) -> None:
        """Fields come as any mapping or pairs, and are copied."""
        before = copy.copy(headers) if not isinstance(headers, CIMultiDictProxy) else headers.copy()
        request = ClientRequest("GET", HTTP, headers=headers)
        assert fields_of(request) == {"A": "1", "B": "2"}
        request.headers["A"] = "3"
        assert headers == before

    async def test_skipped(self) -> None:
        """Automatic fields are skipped in any case of letters, but never the length."""
        skipped = ["accept", "USER-agent", "content-type", "content-length"]
        request = ClientRequest("POST", HTTP, skip_auto_headers=skipped, data=b"x")
        assert fields_of(request) == {"Content-Length": "1"}
        assert "Accept" not in request.headers
        assert set(request.skip_auto_headers) == set(skipped)

    async def test_cookies(self) -> None:
        """`cookies` replace namesakes in the field that is there; there is one field only."""
        headers = [("Cookie", "a=1; b=1"), ("cookie", "c=1")]
        request = ClientRequest("GET", HTTP, headers=headers, cookies={"b": "2"})
        assert request.headers.getall("Cookie") == ["a=1; b=2; c=1"]
        request.update_cookies({"d": "x y"})
        request.update_cookies(None)
        assert request.headers.getall("Cookie") == ['a=1; b=2; c=1; d="x y"']

    async def test_prepared_cookies(self) -> None:
        """What the jar has gives way to the caller's field."""
        headers = {"Cookie": "a=1"}
        request = ClientRequest("GET", HTTP, headers=headers, cookie_header="a=jar; b=jar")
        assert request.headers.getall("Cookie") == ["a=1; b=jar"]

    @pytest.mark.parametrize("version", ["1.0", " 1.0 ", HttpVersion10, HttpVersion(1, 0)])
    async def test_http10(self, version: Any) -> None:
        """HTTP/1.0 asks for the connection to stay, and has no chunks."""
        request = ClientRequest("POST", HTTP, version=version, data=b"x", chunked=True)
        assert request.version == HttpVersion10
        assert request.headers["Connection"] == "keep-alive"
        assert request.headers["Content-Length"] == "1"
        assert "Transfer-Encoding" not in request.headers

    @pytest.mark.parametrize(
        "version", ["", "1", "2.0", "1.1 x", "\u0661.1", (1, 2), (1.0, 1), (True, True)]
    )
    async def test_versions(self, version: Any) -> None:
        """Nothing but 1.0 and 1.1 is a version."""
        request = ClientRequest("GET", HTTP)
        request.update_version("1.1")
        assert request.version == HttpVersion11
        with pytest.raises(ValueError, match="version"):
            request.update_version(version)

    @pytest.mark.parametrize(
        ("version", "force_close", "own", "connection"),
        [
            (HttpVersion11, False, None, None),
            (HttpVersion11, True, None, "close"),
            (HttpVersion10, False, None, "keep-alive"),
            (HttpVersion10, True, None, None),
            (HttpVersion11, True, "x", "x"),
        ],
    )
    async def test_connection(
        self, version: HttpVersion, force_close: bool, own: str | None, connection: str | None
    ) -> None:
        """RFC 9112 §9.3: only what is not the version's default is said."""
        headers = None if own is None else {"connection": own}
        request = ClientRequest(
            "GET", HTTP, version=version, force_close=force_close, headers=headers
        )
        assert request.headers.get("Connection") == connection

    async def test_proxy(self) -> None:
        """Credentials leave the proxy's URL; others than `BasicAuth` are refused."""
        request = ClientRequest(
            "GET", HTTP, proxy=URL("http://u:p@proxy:1/"), proxy_headers={"X": "1"}
        )
        assert str(request.proxy) == "http://proxy:1/"
        assert request.proxy_auth == angelia.BasicAuth("u", "p")
        assert request.proxy_headers == CIMultiDict(X="1")
        assert request.connection_key.proxy == request.proxy
        assert "X" not in request.headers
        with pytest.raises(ValueError, match="proxy_auth"):
            request.update_proxy(URL("http://p"), "u:p", None)  # type: ignore[arg-type]  # as above
        request.update_proxy(None, None, None)
        assert request.connection_key.proxy is None

    def test_request_info(self) -> None:
        """The facts of a request survive pickling, and `real_url` defaults to `url`."""
        info = RequestInfo(HTTP, "GET", CIMultiDictProxy(CIMultiDict(a="1")))
        assert info.real_url == HTTP
        assert pickle.loads(pickle.dumps(info)) == info  # noqa: S301 - our own

    async def test_no_session(self) -> None:
        """A request alone belongs to no session, and makes no response."""
        request = ClientRequest("GET", HTTP, loop=asyncio.get_running_loop())
        with pytest.raises(RuntimeError):
            _ = request.session
        with pytest.raises(RuntimeError):
            request.make_response()
        request.terminate()
        await request.close()


class TestBody:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
    async def test_none_without_length(self, method: str) -> None:
        """RFC 9110 §8.6: where content is unusual its absence is not announced."""
        request = ClientRequest(method, HTTP)
        assert fields_of(request) == {}
        assert request.body == b""
        assert request.payload is None

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
    async def test_none_with_length(self, method: str) -> None:
        """Where content is usual its absence is announced."""
        assert fields_of(ClientRequest(method, HTTP)) == {"Content-Length": "0"}

    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize(
        ("data", "size", "content_type"),
        [
            (b"", "0", "application/octet-stream"),
            ("", "0", "text/plain; charset=utf-8"),
            (b"ab", "2", "application/octet-stream"),
            (bytearray(b"ab"), "2", "application/octet-stream"),
            (memoryview(b"abcdefgh").cast("I"), "8", "application/octet-stream"),
            ("\xe4", "2", "text/plain; charset=utf-8"),
            ({"a": "1", "b": ""}, "6", "application/x-www-form-urlencoded"),
            ([("a", "1"), ("a", "2")], "7", "application/x-www-form-urlencoded"),
            (lambda: io.BytesIO(b"abc"), "3", "application/octet-stream"),
            (lambda: io.StringIO("abc"), "3", "text/plain; charset=utf-8"),
        ],
    )
    async def test_kinds(self, method: str, data: Any, size: str, content_type: str) -> None:
        """Each kind of body has its length in octets, and its type, empty or not."""
        request = ClientRequest(method, HTTP, data=data() if callable(data) else data)
        assert isinstance(request.body, Payload)
        assert fields_of(request) == {"Content-Length": size, "Content-Type": content_type}
        await request.close()

    async def test_unknown_size(self) -> None:
        """A body of unknown size is chunked."""

        async def pieces() -> AsyncIterator[bytes]:
            yield b"x"

        request = ClientRequest("POST", HTTP, data=pieces())
        assert request.headers["Transfer-Encoding"] == "chunked"
        assert "Content-Length" not in request.headers
        await request.close()

    async def test_chunked(self) -> None:
        """A body is chunked when that is asked for, or when the field says so."""
        asked = ClientRequest("POST", HTTP, data=b"x", chunked=True)
        said = ClientRequest("POST", HTTP, data=b"x", headers={"transfer-encoding": "Chunked"})
        for request in (asked, said):
            assert "Content-Length" not in request.headers
            assert request.headers.getall("Transfer-Encoding")[0].lower() == "chunked"

    @pytest.mark.parametrize(
        ("headers", "arguments"),
        [
            ({"Transfer-Encoding": "chunked"}, {"chunked": True}),
            ({"Content-Length": "1"}, {"chunked": True}),
            ({"Content-Encoding": "gzip"}, {"compress": True}),
            ({"content-encoding": "gzip"}, {"compress": "gzip"}),
        ],
    )
    async def test_contradictions(self, headers: dict[str, str], arguments: Any) -> None:
        """What an argument and a field say must not contradict."""
        with pytest.raises(ValueError, match="can not be set"):
            ClientRequest("POST", HTTP, data=b"x", headers=headers, **arguments)

    @pytest.mark.parametrize(("compress", "coding"), [(True, "deflate"), ("gzip", "gzip")])
    async def test_compress(self, compress: Any, coding: str) -> None:
        """A compressed body is of unknown size; without a body nothing is said."""
        request = ClientRequest("POST", HTTP, data=b"x", compress=compress)
        assert request.headers["Content-Encoding"] == coding
        assert request.headers["Transfer-Encoding"] == "chunked"
        for data in (None, b"", ""):
            empty = ClientRequest("POST", HTTP, data=data, compress=compress)
            assert "Content-Encoding" not in empty.headers
            assert "Transfer-Encoding" not in empty.headers

    async def test_compressed_already(self) -> None:
        """With the field alone the body goes as it is."""
        headers = {"Content-Encoding": "gzip"}
        request = ClientRequest("POST", HTTP, data=b"x", headers=headers)
        assert fields_of(request)["Content-Encoding"] == "gzip"
        assert fields_of(request)["Content-Length"] == "1"

    async def test_expect(self) -> None:
        """RFC 9110 §10.1.1: 100-continue is expected when asked for, or when the field says it."""
        asked = ClientRequest("POST", HTTP, data=b"x", expect100=True)
        said = ClientRequest("POST", HTTP, data=b"x", headers={"expect": "100-Continue"})
        none = ClientRequest("POST", HTTP, expect100=True)
        assert asked.headers["Expect"] == "100-continue"
        assert asked._expect_continue
        assert said._expect_continue
        # There is nothing to hold back.
        assert not none._expect_continue
        assert "Expect" not in none.headers

    @pytest.mark.parametrize("data", [object(), 1, 1.5])
    async def test_unsendable(self, data: Any) -> None:
        """What no body can be made of is refused."""
        with pytest.raises((TypeError, ValueError)):
            ClientRequest("POST", HTTP, data=data)

    async def test_update_body(self) -> None:
        """A new body closes the one before, and is described anew."""
        closed: list[str] = []

        class Body(BytesPayload):
            async def close(self) -> None:
                closed.append("body")
                await super().close()

        request = ClientRequest("POST", HTTP, data=Body(b"abc"), headers={"X": "1"})
        await request.update_body("\xe4")
        assert closed == ["body"]
        assert fields_of(request) == {
            "X": "1",
            "Content-Length": "2",
            "Content-Type": "text/plain; charset=utf-8",
        }
        await request.update_body(None)
        assert fields_of(request) == {"X": "1", "Content-Length": "0"}
        assert request.body == b""
        request.update_body_from_data(None)
        assert request.payload is None

    @pytest.mark.parametrize(
        ("method", "data", "repeatable"),
        [
            ("GET", None, True),
            ("PUT", b"x", True),
            ("DELETE", None, True),
            ("POST", None, False),
            ("PATCH", b"x", False),
        ],
    )
    async def test_repeatable(self, method: str, data: Any, repeatable: bool) -> None:
        """RFC 9110 §9.2.2: what is idempotent may be sent twice, if its body can."""
        assert ClientRequest(method, HTTP, data=data).repeatable is repeatable

    async def test_body_read_before(self) -> None:
        """A body that was read whole, for its hash, is kept, and can still be sent."""

        async def pieces() -> AsyncIterator[bytes]:
            yield b"x"

        request = ClientRequest("PUT", HTTP, data=pieces())
        assert request.repeatable
        body = request.payload
        assert body is not None
        assert await body.as_bytes() == b"x"
        assert request.repeatable
        await body.close()

    async def test_seal(self) -> None:
        """Sealing checks all that is sent, and is undone by sending."""
        request = ClientRequest("GET", HTTP, headers={"X": "1"})
        request.seal()
        head = request._head()
        assert head == request._head()
        request.headers["X"] = "a\nb"
        with pytest.raises(ValueError, match="X"):
            request.seal()


class TestSubclasses:
    async def test_overridden(self) -> None:
        """Each aspect can be overridden by a subclass."""
        called: list[str] = []

        class Request(ClientRequest):
            def update_headers(self, headers: Any) -> None:
                called.append("headers")
                super().update_headers(headers)

            def update_cookies(self, cookies: Any) -> None:
                called.append("cookies")
                super().update_cookies(cookies)

            def update_auth(self, auth: angelia.BasicAuth | None, trust_env: bool = False) -> None:
                called.append("auth")
                super().update_auth(auth, trust_env)

            def update_body_from_data(self, body: Any, _stacklevel: int = 3) -> None:
                called.append("body")
                super().update_body_from_data(body)

            def update_transfer_encoding(self) -> None:
                called.append("transfer")
                super().update_transfer_encoding()

        Request("POST", HTTP, cookies={"a": "1"}, auth=angelia.BasicAuth("a"), data=b"x")
        assert called == ["headers", "cookies", "auth", "body", "transfer"]


async def sent(**arguments: Any) -> tuple[list[str], bytes]:
    """The lines of the head, and the content, of a POST through a session to a server."""
    async with RawServer([OK]) as server, angelia.ClientSession() as session:
        url = server.url.join(URL(arguments.pop("path", "/"), encoded=True))
        async with session.request(arguments.pop("method", "POST"), url, **arguments) as resp:
            await resp.read()
        head, _, content = server.requests[0].partition(b"\r\n\r\n")
    return head.decode().split("\r\n"), content


@pytest.mark.usefixtures("loop_kind")
class TestWire:
    """Octets, as a server receives them."""

    async def test_plain(self) -> None:
        """All of a request, in order."""
        lines, content = await sent(data=b"abc", headers={"X-A": "1"}, params={"q": "a b"})
        assert lines[0] == "POST /?q=a+b HTTP/1.1"
        assert [line.partition(":")[0] for line in lines[1:]] == [
            "Host",
            "X-A",
            "Accept",
            "Accept-Encoding",
            "User-Agent",
            "Content-Type",
            "Content-Length",
        ]
        assert content == b"abc"

    @pytest.mark.parametrize("path", ["//b//c", "/%2f/%41?+=%20", "/a;b=c"])
    async def test_encoded(self, path: str) -> None:
        """An encoded URL goes out octet for octet."""
        lines, _ = await sent(path=f"/x{path}")
        assert lines[0] == f"POST /x{path} HTTP/1.1"

    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            ({"headers": {"x": "\xe4"}}, "x: \xe4"),
            ({"headers": [("x", "1"), ("X", "2")]}, "X: 2"),
            ({"headers": {"x": ""}}, "x: "),
            ({"auth": angelia.BasicAuth("u", "p")}, "Authorization: Basic dTpw"),
            ({"json": {"a": None}}, "Content-Type: application/json"),
            ({"json": None}, "Content-Length: 0"),
            ({"json": 0}, "Content-Length: 1"),
            ({"headers": {"content-type": "a/b"}, "json": 1}, "content-type: a/b"),
            ({"method": "get"}, "GET / HTTP/1.1"),
        ],
    )
    async def test_lines(self, arguments: dict[str, Any], line: str) -> None:
        """Arguments as lines of the head."""
        lines, _ = await sent(**arguments)
        assert line in lines

    async def test_file_from_its_position(self, tmp_path: Path) -> None:
        """A file is sent from where it stands, with its length."""
        path = tmp_path / "file.bin"
        path.write_bytes(bytes(range(256)) * 1024)
        with path.open("rb") as file:
            file.seek(1000)
            lines, content = await sent(data=file)
        assert f"Content-Length: {256 * 1024 - 1000}" in lines
        assert content == path.read_bytes()[1000:]

    async def test_text_file(self, tmp_path: Path) -> None:
        """A text file is decoded by its own charset, and goes out in the one that is announced."""
        path = tmp_path / "file.txt"
        path.write_text("h\xe4\n" * 1000, encoding="latin-1")
        with path.open(encoding="latin-1", newline="") as file:
            lines, content = await sent(data=file)
        assert "Content-Type: text/plain; charset=utf-8" in lines
        assert "h\xe4\n".encode() * 1000 in content

    async def test_update_file(self, tmp_path: Path) -> None:
        """A file that may be written to, too, is read."""
        path = tmp_path / "file.bin"
        path.write_bytes(b"abc")
        with path.open("r+b") as file:
            lines, content = await sent(data=file)
        assert "Content-Length: 3" in lines
        assert content == b"abc"

    async def test_body_replay(self) -> None:
        """A body that is kept after a redirect starts again where it began."""
        moved = response(b"", "Location: /two", status="307 Temporary Redirect")
        file = io.BytesIO(b"0123456789")
        file.seek(4)
        async with RawServer([moved, OK]) as server, angelia.ClientSession() as session:
            async with session.put(server.url, data=file) as resp:
                assert resp.url.path == "/two"
            (wire,) = server.requests
        assert wire.count(b"\r\n\r\n456789") == 2

    async def test_unchecked_body_class(self) -> None:
        """A `Payload` of the user's own is sent as it says."""
        payload = BytesPayload(b"x", content_type="a/b")
        lines, content = await sent(data=payload)
        assert "Content-Type: a/b" in lines
        assert content == b"x"

    async def test_send(self) -> None:
        """`send` on a connection gives a response before its head has come."""
        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            request = ClientRequest(
                "GET", server.url, session=session, response_class=angelia.ClientResponse
            )
            connector = session.connector
            assert connector is not None
            conn = await connector.connect(request, [], angelia.ClientTimeout())
            resp = await request.send(conn)
            assert isinstance(resp._exchange, Exchange)
            await resp.start(conn)
            assert resp.status == 200
            await resp.read()
            resp.release()
            conn.close()
        assert server.requests[0].startswith(b"GET / HTTP/1.1\r\nHost: ")
