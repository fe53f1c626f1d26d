"""Tests of angelia.cli.fetch: what is sent, what is shown, and where."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import os
import sys
import threading
from pathlib import Path

import pytest

from angelia.cli.main import main
from cli.site import Request, Site, reply


class Terminal(io.TextIOWrapper):
    """Standard output that says it is a terminal."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", newline="\n", write_through=True)

    def isatty(self) -> bool:
        return True

    def octets(self) -> bytes:
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue()


def on_a_terminal(*arguments: str) -> bytes:
    """What a successful command writes to a standard output that is a terminal."""
    stream = Terminal()
    with contextlib.redirect_stdout(stream):
        assert main(list(arguments)) == 0
    return stream.octets()


@pytest.fixture
def no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Terminals are to be plain."""
    monkeypatch.setenv("NO_COLOR", "1")


def hello(request: Request) -> bytes:
    return reply(b"hello", "Content-Type: text/plain", "X-Thing: one")


# --- where the response goes ---------------------------------------------------------------------


def test_pipes_get_the_body_alone(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Standard output has the octets of the body; the head is shown beside it."""
    content = b"\xff\0\x1b[0m{}"
    with Site(reply(content, "Content-Type: application/json")) as site:
        assert main([site.url]) == 0
    out, err = capfdbinary.readouterr()
    assert out == content
    assert err.startswith(b"HTTP/1.1 200 OK\nContent-Type: application/json\n")


def test_silence(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """-s leaves the body and nothing else."""
    with Site(hello) as site:
        assert main(["-s", site.url]) == 0
    assert capfdbinary.readouterr() == (b"hello", b"")


def test_include(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """-i writes the head to standard output too."""
    with Site(hello) as site:
        assert main(["-i", site.url]) == 0
    out, err = capfdbinary.readouterr()
    assert out == (
        b"HTTP/1.1 200 OK\nContent-Type: text/plain\nX-Thing: one\n"
        b"Content-Length: 5\nConnection: close\n\nhello"
    )
    assert err == b""


def test_head(capfd: pytest.CaptureFixture[str]) -> None:
    """-I asks for the head and shows it."""
    with Site(lambda _: reply(length=99)) as site:
        assert main(["-I", site.url]) == 0
    assert site.requests[0].method == "HEAD"
    assert capfd.readouterr().out.startswith("HTTP/1.1 200 OK\nContent-Length: 99\n")


@pytest.mark.usefixtures("no_colours")
def test_terminal() -> None:
    """A terminal shows status, fields and the body, laid out."""
    with Site(reply(b'{"a":[1]}', "Content-Type: application/json")) as site:
        shown = on_a_terminal(site.url)
    assert shown == (
        b"HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Length: 9\n"
        b'Connection: close\n\n{\n    "a": [\n        1\n    ]\n}\n'
    )


def test_terminal_with_colours() -> None:
    """A terminal with colours gets them."""
    with Site(reply(b'{"a":1}', "Content-Type: application/json")) as site:
        shown = on_a_terminal(site.url)
    assert b"HTTP/1.1 \x1b[32;1m200 OK\x1b[0m\n" in shown
    assert b'\x1b[36m"a"\x1b[0m: \x1b[33m1\x1b[0m' in shown


@pytest.mark.usefixtures("no_colours")
def test_terminal_is_safe(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing that a server sends can give a command to the terminal."""
    evil = "\x9b2J\u202e\x1b"
    body = f"x{evil}\ry".encode()
    fields = "Content-Type: text/plain", "X-Evil: \x9b2J\u202e\udcff"
    with Site(reply(body, *fields, status="404 No\x9b2J")) as site:
        assert main(["-v", "-f", site.url]) == 1
        shown = on_a_terminal(site.url).decode() + capfd.readouterr().err
    assert not set(shown) & set("\x1b\x9b\u202e\r")
    assert "X-Evil: \\x9b2J\\u202e\\xff" in shown
    assert "x\\x9b2J\\u202e\\x1b\\x0dy" in shown


@pytest.mark.usefixtures("no_colours")
def test_binary_on_a_terminal() -> None:
    """Binary content is not shown, and -o - shows it all the same."""
    with Site(reply(b"\x89PNG\0", "Content-Type: image/png")) as site:
        assert b"binary content, image/png, 5 bytes" in on_a_terminal(site.url)
        assert on_a_terminal("-s", "-o", "-", site.url) == b"\x89PNG\0"


def test_decoded(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Content codings are undone."""
    with Site(reply(gzip.compress(b"hello"), "Content-Encoding: gzip")) as site:
        assert main(["-s", site.url]) == 0
    assert capfdbinary.readouterr().out == b"hello"


def test_a_stream_is_shown_as_it_comes() -> None:
    """What has come is written before the rest is sent."""
    reading, writing = os.pipe()
    first = threading.Event()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"

    def read() -> None:
        assert os.read(reading, 5) == b"first"
        first.set()

    thread = threading.Thread(target=read)
    thread.start()

    def answer(request: Request) -> bytes:
        return head + b"first"

    def rest() -> bytes:
        assert first.wait(30)
        return b"secon"

    with (
        os.fdopen(writing, "w") as stream,
        Site(answer, then=rest) as site,
        contextlib.redirect_stdout(stream),
    ):
        assert main(["-s", site.url]) == 0
    thread.join()
    assert os.read(reading, 5) == b"secon"
    os.close(reading)


def test_verbose(capfd: pytest.CaptureFixture[str]) -> None:
    """-v tells of every request and response on the way, and how long it took; no passwords."""

    def answer(request: Request) -> bytes:
        if request.target == "/old":
            return reply(b"", "Location: /new", status="302 Found")
        return hello(request)

    with Site(answer) as site:
        assert main(["-v", "-u", "me:secret", f"{site.url}/old"]) == 0
    out, err = capfd.readouterr()
    assert out == "hello"
    assert "> GET /old HTTP/1.1\n" in err
    assert f"> Host: 127.0.0.1:{site.port}\n" in err
    assert "< HTTP/1.1 302 Found\n< Location: /new\n" in err
    assert "> GET /new HTTP/1.1\n" in err
    assert "> Authorization: Basic [not shown]\n" in err
    assert "< HTTP/1.1 200 OK\n" in err
    assert "first byte" in err
    assert base64.b64encode(b"me:secret").decode() not in err


# --- what is sent --------------------------------------------------------------------------------


def sent(*arguments: str) -> Request:
    """The request that a command line makes."""
    with Site(hello) as site:
        assert main(["-s", *arguments, f"{site.url}/path?q=1"]) == 0
    return site.requests[-1]


def test_plain_request() -> None:
    """Without options it is a GET."""
    request = sent()
    assert (request.method, request.target, request.body) == ("GET", "/path?q=1", b"")


def test_method_and_headers() -> None:
    """-X names the method, -H fields; an empty value leaves an automatic one out."""
    request = sent("-X", "DELETE", "-H", "X-A: ä", "-H", "X-Empty;", "-H", "User-Agent:")
    assert request.method == "DELETE"
    assert request.headers["x-a"] == "ä"
    assert request.headers["x-empty"] == ""
    assert "user-agent" not in request.headers


def test_data(tmp_path: Path) -> None:
    """-d posts a form, as curl does."""
    (tmp_path / "file").write_bytes(b"b=2\n")
    request = sent("-d", "a=1", "-d", f"@{tmp_path}/file")
    assert (request.method, request.body) == ("POST", b"a=1&b=2")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"


def test_data_with_a_content_type_of_its_own() -> None:
    """A type that the user names is the only one; an empty one is none."""
    request = sent("-X", "PUT", "-d", "x", "-H", "content-type: text/x")
    assert (request.method, request.headers["content-type"]) == ("PUT", "text/x")
    assert "content-type" not in sent("-d", "x", "-H", "Content-Type:").headers


def test_json() -> None:
    """--json posts JSON and asks for it."""
    request = sent("--json", '{"a": 1}')
    assert request.method == "POST"
    assert json.loads(request.body) == {"a": 1}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept"] == "application/json"


def test_form(tmp_path: Path) -> None:
    """-F posts a multipart form; files go with their names and types."""
    (tmp_path / "up.txt").write_bytes(b"\xffup")
    (tmp_path / "in.txt").write_bytes(b"text")
    request = sent(
        "-F", "a=b", "-F", f"f=@{tmp_path}/up.txt;type=image/x", "-F", f"t=<{tmp_path}/in.txt"
    )  # fmt: skip
    assert request.method == "POST"
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    body = request.body.lower()
    assert b'name="a"' in body
    assert b'name="f"; filename="up.txt"' in body
    assert b"content-type: image/x" in body
    assert b"\r\n\r\n\xffup\r\n" in body
    assert b"\r\n\r\ntext\r\n" in body
    assert body.count(b"filename") == 1


def test_auth() -> None:
    """-u sends Basic credentials, and so does the URL."""
    expected = "Basic " + base64.b64encode("mé:p:w".encode()).decode()
    assert sent("-u", "mé:p:w").headers["authorization"] == expected


def test_auth_without_a_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing password is a usage error where nobody can be asked."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert main(["-u", "me", "http://127.0.0.1:1/"]) == 2
    assert "USER:PASSWORD" in capfd.readouterr().err


def test_digest() -> None:
    """--digest answers the server's challenge with the credentials."""
    challenge = 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'

    def answer(request: Request) -> bytes:
        if "authorization" in request.headers:
            return hello(request)
        return reply(b"", challenge, status="401 Unauthorized")

    with Site(answer) as site:
        assert main(["-f", "-s", "--digest", "-u", "me:pw", site.url]) == 0
    assert site.requests[-1].headers["authorization"].startswith("Digest ")


def test_proxy() -> None:
    """-x sends the request to a proxy, which may be named without a scheme."""
    with Site(hello) as site:
        assert main(["-s", "-x", f"127.0.0.1:{site.port}", "http://example.invalid/x"]) == 0
    assert site.requests[0].target == "http://example.invalid/x"


def test_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY and NO_PROXY are heeded."""
    with Site(hello) as site:
        monkeypatch.setenv("http_proxy", site.url)
        assert main(["-s", "http://example.invalid/x"]) == 0
    assert site.requests[0].target == "http://example.invalid/x"


def test_redirects() -> None:
    """Redirects are followed, -L or not; --no-follow shows them; there is a limit."""

    def answer(request: Request) -> bytes:
        number = int(request.target[1:])
        if number:
            return reply(b"", f"Location: /{number - 1}", status="302 Found")
        return hello(request)

    with Site(answer) as site:
        assert main(["-s", f"{site.url}/2"]) == 0
        assert main(["-s", "-L", f"{site.url}/2"]) == 0
        assert [request.target for request in site.requests] == ["/2", "/1", "/0"] * 2
        assert main(["-s", "--no-follow", f"{site.url}/2"]) == 0
        assert site.requests[-1].target == "/2"
        assert main(["-s", "--max-redirects", "1", f"{site.url}/2"]) == 3


def test_unix_socket(tmp_path: Path) -> None:
    """--unix-socket connects there, whatever host is named."""
    with Site(hello, unix_path=tmp_path / "s") as site:
        assert main(["-s", "--unix-socket", str(tmp_path / "s"), "http://name/x"]) == 0
    assert site.requests[0].headers["host"] == "name"
