"""The environ: PEP 3333 "environ Variables", RFC 3875 §4.1."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

import angelia
from angelia.hosting.wsgi import WSGIHandler
from hosting.wsgi_kit import PLAIN, hosting
from server.kit import connected

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

pytestmark = pytest.mark.deadline(20)


class Recorder:
    """An application that keeps what it was called with."""

    def __init__(self) -> None:
        self.environ: dict[str, Any] = {}
        self.body = b""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.environ = environ
        self.body = environ["wsgi.input"].read()
        start_response("200 OK", PLAIN)
        return [b"ok"]


async def environ_of(*octets: bytes, **options: Any) -> dict[str, Any]:
    """The environ of the request in these octets."""
    app = Recorder()
    async with hosting(app, **options) as server, connected(server) as wire:
        wire.send(*octets)
        answer = await wire.answer()
        assert answer.status == 200
        app.environ["test.port"] = str(server.port)
    app.environ["test.body"] = app.body
    return app.environ


def get(target: str, *fields: bytes) -> bytes:
    """A GET with these fields."""
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"GET %b HTTP/1.1\r\nHost: h.example\r\n%b\r\n" % (target.encode(), lines)


async def test_a_request() -> None:
    """All variables of a plain request, and no others."""
    environ = await environ_of(get("/a/b?c=%20&d", b"X-Y: z"))
    port = environ.pop("test.port")
    for name in ("wsgi.input", "wsgi.errors", "wsgi.file_wrapper", "REMOTE_PORT", "test.body"):
        environ.pop(name)
    assert environ == {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "HTTP_HOST": "h.example",
        "HTTP_X_Y": "z",
        "PATH_INFO": "/a/b",
        "QUERY_STRING": "c=%20&d",
        "RAW_URI": "/a/b?c=%20&d",
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": "/a/b?c=%20&d",
        "SCRIPT_NAME": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": f"angelia/{angelia.__version__}",
        "wsgi.input_terminated": True,
        "wsgi.multiprocess": False,
        "wsgi.multithread": True,
        "wsgi.run_once": False,
        "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0),
    }
    assert type(environ) is dict


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"),
        ("/%C3%BC", "/\xc3\xbc"),
        ("/%ff%00", "/\xff\0"),
        ("/a%2Fb;c=1", "/a/b;c=1"),
        ("//x//", "//x//"),
        ("/%", "/%"),
        ("http://h.example/p?q", "/p"),
        ("http://h.example", "/"),
    ],
)
async def test_path(target: str, path: str) -> None:
    """PATH_INFO is decoded to octets, each a character (PEP 3333 "Unicode Issues")."""
    environ = await environ_of(get(target))
    assert environ["PATH_INFO"] == path
    assert environ["REQUEST_URI"] == target


async def test_host_of_the_target() -> None:
    """RFC 9112 §3.2.2: the host of a target in absolute form replaces Host."""
    environ = await environ_of(b"GET http://h:81/ HTTP/1.1\r\nHost: h:81\r\n\r\n")
    assert environ["HTTP_HOST"] == "h:81"
    environ = await environ_of(b"GET http://other/ HTTP/1.0\r\n\r\n")
    assert environ["HTTP_HOST"] == "other"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.0"


async def test_asterisk() -> None:
    """RFC 9112 §3.2.4: ``*`` is no path."""
    environ = await environ_of(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
    assert (environ["PATH_INFO"], environ["SCRIPT_NAME"]) == ("", "")
    assert environ["HTTP_HOST"] == "h"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/shop/x", "/x"),
        ("/shop", ""),
        ("/shop/", "/"),
        ("/shopping", "/shopping"),
        ("/x", "/x"),
        ("/sh%6Fp/y", "/y"),
    ],
)
async def test_script_name(target: str, path: str) -> None:
    """The mount point is taken off where it is there, whole segments only."""
    environ = await environ_of(get(target), script_name="/shop")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/shop", path)


class TestFields:
    async def test_repeated(self) -> None:
        """Repeated fields are one list; Cookie has its own separator."""
        environ = await environ_of(
            get("/", b"X-A: 1", b"x-a: 2", b"Cookie: a=1", b"Accept: x", b"Cookie: b=2")
        )
        assert environ["HTTP_X_A"] == "1, 2"
        assert environ["HTTP_COOKIE"] == "a=1; b=2"
        assert environ["HTTP_ACCEPT"] == "x"

    async def test_underscores(self) -> None:
        """A field with an underscore could pass for the one with a hyphen: it is dropped."""
        environ = await environ_of(
            get("/", b"X_Forwarded-For: evil", b"X-Forwarded-For: good", b"X_Y: z")
        )
        assert environ["HTTP_X_FORWARDED_FOR"] == "good"
        assert "HTTP_X_Y" not in environ

    async def test_proxy(self) -> None:
        """CVE-2016-5385: a field named Proxy does not become HTTP_PROXY."""
        assert "HTTP_PROXY" not in await environ_of(get("/", b"Proxy: http://evil/"))

    async def test_octets(self) -> None:
        """A value's octets are characters, valid UTF-8 or not."""
        environ = await environ_of(get("/", b"X-A: \xc3\xbc", b"X-B: \xff"))
        assert (environ["HTTP_X_A"], environ["HTTP_X_B"]) == ("\xc3\xbc", "\xff")


class TestContent:
    async def test_length(self) -> None:
        """Length and type have names of their own."""
        environ = await environ_of(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Type: a/b\r\nContent-Length: 3\r\n\r\nabc"
        )
        assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("a/b", "3")
        assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & set(environ)
        assert environ["test.body"] == b"abc"

    async def test_chunked(self) -> None:
        """A chunked body has no length; ``wsgi.input_terminated`` says that it can be read."""
        environ = await environ_of(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )
        assert "CONTENT_LENGTH" not in environ
        assert environ["wsgi.input_terminated"] is True
        assert environ["test.body"] == b"abcde"

    @pytest.mark.parametrize("decompress", [True, False])
    async def test_coded(self, decompress: bool) -> None:
        """Of a body that the server decodes the fields do not say the length of the coded one."""
        import gzip

        coded = gzip.compress(b"abc" * 100)
        environ = await environ_of(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
            % len(coded),
            coded,
            server_options={"auto_decompress": decompress},
        )
        assert environ["test.body"] == (b"abc" * 100 if decompress else coded)
        assert ("CONTENT_LENGTH" in environ) is not decompress
        assert ("HTTP_CONTENT_ENCODING" in environ) is not decompress

    async def test_too_many_codings(self) -> None:
        """Codings that the server refuses to undo never come to the application."""
        async with hosting(Recorder()) as server, connected(server) as wire:
            coded = b", ".join([b"gzip"] * 50)
            wire.send(
                b"POST / HTTP/1.1\r\nHost: h\r\nContent-Encoding: %b\r\n" % coded,
                b"Content-Length: 3\r\n\r\n",
            )
            assert (await wire.answer()).status == 400

    async def test_unknown_coding(self) -> None:
        """What the server cannot decode is as it came, and so are its fields."""
        environ = await environ_of(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Encoding: own\r\nContent-Length: 3\r\n\r\nabc"
        )
        assert environ["CONTENT_LENGTH"] == "3"
        assert environ["HTTP_CONTENT_ENCODING"] == "own"


async def test_tls() -> None:
    """The scheme is the connection's."""
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    app = Recorder()
    async with (
        hosting(app, server_options={"ssl": server_context}) as server,
        connected(server, client_context) as wire,
    ):
        wire.send(get("/"))
        await wire.answer()
    assert app.environ["wsgi.url_scheme"] == "https"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no Unix sockets")
@pytest.mark.parametrize(
    ("fields", "name", "port"),
    [(b"Host: h:81\r\n", "h", "81"), (b"Host: h\r\n", "h", "80"), (b"", "localhost", "80")],
)
async def test_unix(tmp_path: Path, fields: bytes, name: str, port: str) -> None:
    """On a Unix socket there is no address: the server is who the client says it is."""
    import asyncio

    app = Recorder()
    async with WSGIHandler(app) as handler, angelia.Server(handler) as server:
        await server.start(path=tmp_path / "s")
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(b"GET / HTTP/1.0\r\n" + fields + b"\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()
    environ = app.environ
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (name, port)
    assert environ["REMOTE_ADDR"] == ""
    assert "REMOTE_PORT" not in environ


async def test_concurrency() -> None:
    """The flags say what may happen at the same time."""
    environ = await environ_of(get("/"), threads=1, multiprocess=True)
    assert (environ["wsgi.multithread"], environ["wsgi.multiprocess"]) == (False, True)
