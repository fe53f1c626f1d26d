"""The ASGI handler: HTTP as the specification has it, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import logging
import socket
import ssl
import struct
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import trustme

import angelia
from angelia.hosting.asgi import ASGIHandler
from angelia.hosting.asgi_http import _open
from angelia.hosting.asgi_tls import _cipher_suite, _distinguished_name
from hosting.asgi_kit import answering, body, hosting, logged, sending, start, talking, until
from server.kit import GET, LAST, Wire, ask, connected, next_descriptor, post

pytestmark = pytest.mark.deadline(40)

HEAD = b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"
CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECTING = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"


def reset(wire: Wire) -> None:
    """Go away without a word."""
    sock = wire.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.writer.transport.abort()


class Asked:
    """An application that notes its scopes, and answers."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await send(start())
        await send(body(b"hello"))


async def scope_of(request: bytes, **options: Any) -> dict[str, Any]:
    """The scope that a request gets."""
    app = Asked()
    async with hosting(app, **options) as server:
        await ask(server, request)
    return app.scopes[0]


class TestScope:
    @pytest.mark.usefixtures("loop_kind")
    async def test_whole(self) -> None:
        """All the keys of the specification."""
        app = Asked()
        async with hosting(app) as server, connected(server) as wire:
            wire.send(b"GET /a%20b/%C3%BC?q=%41&r HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n")
            await wire.answer()
            ours = wire.writer.get_extra_info("sockname")
            theirs = wire.writer.get_extra_info("peername")
        assert app.scopes == [
            {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.5"},
                "http_version": "1.1",
                "method": "GET",
                "scheme": "http",
                "path": "/a b/\xfc",
                "raw_path": b"/a%20b/%C3%BC",
                "query_string": b"q=%41&r",
                "root_path": "",
                "headers": [(b"host", b"h"), (b"x-a", b"1")],
                "client": ours,
                "server": theirs,
                "extensions": {
                    "http.response.trailers": {},
                    "http.response.pathsend": {},
                    "http.response.early_hint": {},
                },
            }
        ]

    async def test_fields(self) -> None:
        """Names in lower case, values as they came, in their order, each as often as it came."""
        request = (
            b"GET / HTTP/1.1\r\nHost: h\r\nX-B: 2\r\nCookie: a=1\r\nX-A: \xff\r\nx-b: 1\r\n\r\n"
        )
        assert (await scope_of(request))["headers"] == [
            (b"host", b"h"),
            (b"x-b", b"2"),
            (b"cookie", b"a=1"),
            (b"x-a", b"\xff"),
            (b"x-b", b"1"),
        ]

    async def test_http_1_0(self) -> None:
        """The version is the request's."""
        assert (await scope_of(b"GET / HTTP/1.0\r\n\r\n"))["http_version"] == "1.0"

    @pytest.mark.parametrize(
        ("target", "path", "raw_path", "query"),
        [
            (b"/", "/", b"/", b""),
            (b"/%", "/%", b"/%", b""),
            (b"/%ff?%ff", "/\ufffd", b"/%ff", b"%ff"),
            (b"/a%2Fb", "/a/b", b"/a%2Fb", b""),
            (b"/?a?b", "/", b"/", b"a?b"),
            (b"//x", "//x", b"//x", b""),
            (b"http://h/a?b", "/a", b"/a", b"b"),
            (b"http://h", "/", b"/", b""),
        ],
    )
    async def test_paths(self, target: bytes, path: str, raw_path: bytes, query: bytes) -> None:
        """The path is decoded, the raw one and the query are as they came."""
        scope = await scope_of(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % target)
        found = scope["path"], scope["raw_path"], scope["query_string"]
        assert found == (path, raw_path, query)

    async def test_asterisk(self) -> None:
        """RFC 9112 §3.2.4: a target that has no path is one by itself."""
        scope = await scope_of(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (scope["method"], scope["path"]) == ("OPTIONS", "*")

    async def test_asterisk_below_root_path(self) -> None:
        """RFC 9112 §3.2.4: it stands for the server, and has no place below a path."""
        scope = await scope_of(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", root_path="/shop")
        assert (scope["path"], scope["raw_path"]) == ("*", b"*")

    async def test_host_of_target(self) -> None:
        """RFC 9112 §3.2.2: the host in the target counts, and is the field then."""
        scope = await scope_of(b"GET http://other/ HTTP/1.0\r\nX: y\r\n\r\n")
        assert scope["headers"] == [(b"host", b"other"), (b"x", b"y")]

    @pytest.mark.parametrize(
        ("target", "path", "raw_path"),
        [
            (b"/sh%C3%B6p/a%20b", "/sh\xf6p/a b", b"/sh%C3%B6p/a%20b"),
            (b"/sh%C3%B6p", "/sh\xf6p", b"/sh%C3%B6p"),
            (b"/a%20b", "/sh\xf6p/a b", b"/sh%C3%B6p/a%20b"),
            (b"/sh%C3%B6pping", "/sh\xf6p/sh\xf6pping", b"/sh%C3%B6p/sh%C3%B6pping"),
        ],
    )
    async def test_root_path(self, target: bytes, path: str, raw_path: bytes) -> None:
        """The path begins with the root path, whether a proxy has taken it off or not."""
        request = b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % target
        scope = await scope_of(request, root_path="/sh\xf6p")
        found = scope["root_path"], scope["path"], scope["raw_path"]
        assert found == ("/sh\xf6p", path, raw_path)

    async def test_unix_socket(self, tmp_path: Path) -> None:
        """There is a path in place of the server's address, and no client's."""
        app = Asked()
        server = angelia.Server(ASGIHandler(app))
        path = str(tmp_path / "s")
        await server.start(path=path)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(LAST)
        assert (await reader.read())[:12] == b"HTTP/1.1 200"
        writer.close()
        await server.close(0)
        assert (app.scopes[0]["client"], app.scopes[0]["server"]) == (None, (path, None))

    @pytest.mark.usefixtures("loop_kind")
    @pytest.mark.parametrize("with_certificate", [True, False])
    async def test_tls(self, with_certificate: bool) -> None:
        """The scheme is https, and the extension tells of the encryption."""
        authority = trustme.CA(organization_name='A, "B" ')
        here = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(here)
        authority.configure_trust(here)
        here.verify_mode = ssl.CERT_OPTIONAL
        there = ssl.create_default_context()
        authority.configure_trust(there)
        certificate = authority.issue_cert("client.example", common_name="a+b")
        if with_certificate:
            certificate.configure_cert(there)
        app = Asked()
        server = angelia.Server(ASGIHandler(app))
        await server.start("127.0.0.1", 0, ssl=here)
        async with connected(server, there) as wire:
            wire.send(GET)
            await wire.answer()
            cipher = wire.writer.get_extra_info("cipher")[0]
        await server.close(0)
        assert app.scopes[0]["scheme"] == "https"
        facts = app.scopes[0]["extensions"]["tls"]
        names = {suite["id"] & 0xFFFF: suite["name"] for suite in here.get_ciphers()}
        assert names[facts.pop("cipher_suite")] == cipher
        chain, name = facts.pop("client_cert_chain"), facts.pop("client_cert_name")
        if with_certificate:
            (leaf, *_) = certificate.cert_chain_pems
            assert [pem.split() for pem in chain] == [leaf.bytes().decode().split()]
            assert name.startswith("CN=a\\+b,OU=")
        else:
            assert (chain, name) == ([], None)
        expected = {"server_cert": None, "client_cert_error": None, "tls_version": 0x0304}
        assert facts == expected

    async def test_coded_body(self) -> None:
        """Where the server undoes the coding of a body, the fields do not speak of it."""
        seen: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.extend([dict(scope["headers"]).get(b"content-encoding"), await receive()])
            await send(start())
            await send(body())

        coded = post(b"Content-Encoding: gzip", body=gzip.compress(b"plain"))
        for decompress in (True, False):
            async with hosting(app, server_options={"auto_decompress": decompress}) as server:
                await ask(server, coded)
        assert seen[0] is None
        assert seen[1]["body"] == b"plain"
        assert seen[2] == b"gzip"
        assert gzip.decompress(seen[3]["body"]) == b"plain"

    async def test_own_copy(self) -> None:
        """What an application does to its scope is not seen by another request."""
        app = Asked()
        async with talking(app) as wire:
            for _ in range(2):
                wire.send(GET)
                await wire.answer()
                app.scopes[0]["extensions"]["mine"] = {}
                app.scopes[0]["asgi"]["mine"] = 1
        assert "mine" not in app.scopes[1]["extensions"]
        assert "mine" not in app.scopes[1]["asgi"]


class TestReceive:
    @pytest.mark.usefixtures("loop_kind")
    async def test_bodies(self) -> None:
        """A body comes in messages, the last of which says so; one without body is empty."""
        seen: list[tuple[bytes, int]] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            whole, count, more = b"", 0, True
            while more:
                message = await receive()
                assert message["type"] == "http.request"
                whole, more, count = whole + message["body"], message["more_body"], count + 1
            seen.append((whole, count))
            await send(start())
            await send(body(whole))

        chunked = CHUNKED_POST + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        async with talking(app) as wire:
            for request in (GET, post(body=b"hello"), post(), chunked):
                wire.send(request)
                answer = await wire.answer()
                assert answer.status == 200
        assert seen == [(b"", 1), (b"hello", 1), (b"", 1), (b"abcde", 1)]

    async def test_cut_anywhere(self) -> None:
        """A body in pieces is the same body, wherever the pieces end."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            whole, more = b"", True
            while more:
                message = await receive()
                whole, more = whole + message["body"], message["more_body"]
            await send(start())
            await send(body(whole))

        chunked = CHUNKED_POST + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        async with talking(app) as wire:
            for request in (chunked, post(body=b"abcde")):
                for cut in range(1, len(request)):
                    wire.send(request[:cut])
                    await asyncio.sleep(0)
                    wire.send(request[cut:])
                    assert (await wire.answer()).body == b"abcde"

    async def test_as_it_comes(self) -> None:
        """A piece is received before the next one is sent."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start())
            while True:
                message = await receive()
                await send(body(message["body"], more=message["more_body"]))
                if not message["more_body"]:
                    return

        async with talking(app) as wire:
            wire.send(CHUNKED_POST)
            for piece in (b"a", b"b"):
                wire.send(b"1\r\n" + piece + b"\r\n")
                await wire.reader.readuntil(b"1\r\n" + piece + b"\r\n")
            wire.send(b"0\r\n\r\n")
            await wire.reader.readuntil(b"0\r\n\r\n")

    async def test_back_pressure(self) -> None:
        """A body that nobody receives is not read into memory: the client waits."""
        go_on = asyncio.Event()
        size = 0

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal size
            await go_on.wait()
            more = True
            while more:
                message = await receive()
                assert len(message["body"]) < 2_000_000
                size, more = size + len(message["body"]), message["more_body"]
            await send(start(204))
            await send(body())

        async with talking(app) as wire:
            sock = wire.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            wire.send(post(body=bytes(30_000_000)))
            sent = asyncio.ensure_future(wire.writer.drain())
            go_on.set()
            assert (await wire.answer()).status == 204
            await sent
        assert size == 30_000_000

    async def test_continue_at_first_receive(self) -> None:
        """RFC 9110 §10.1.1: 100 is sent when the body is asked for, not before."""
        go_on = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await go_on.wait()
            message = await receive()
            await send(start())
            await send(body(message["body"]))

        async with talking(app) as wire:
            wire.send(EXPECTING)
            coming = asyncio.ensure_future(wire.answer())
            for _ in range(20):
                await asyncio.sleep(0)
            assert not coming.done()
            go_on.set()
            assert (await coming).status == 100
            wire.send(b"hello")
            assert (await wire.answer()).body == b"hello"

    async def test_no_continue_without_receive(self) -> None:
        """An answer without a look at the body asks for none, and is the connection's last."""
        async with talking(answering()) as wire:
            wire.send(EXPECTING)
            answer = await wire.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await wire.closed()

    @pytest.mark.usefixtures("loop_kind")
    async def test_disconnect(self) -> None:
        """Who waits behind the body learns that the client has gone; sending is OSError then."""
        begun, outcome = asyncio.Event(), asyncio.get_running_loop().create_future()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert (await receive())["type"] == "http.request"
            begun.set()
            kinds = [(await receive())["type"] for _ in range(2)]
            while (await receive())["type"] != "http.disconnect":
                pytest.fail("it has gone")
            try:
                await send(start())
                await send(body(b"x"))
            except OSError:
                outcome.set_result(kinds)
                raise

        async with hosting(app) as server, connected(server) as wire:
            wire.send(GET)
            await begun.wait()
            reset(wire)
            assert await outcome == ["http.disconnect"] * 2

    async def test_disconnect_within_body(self) -> None:
        """A body that breaks off ends with the disconnection."""
        kinds: list[str] = []
        begun, ended = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            message = await receive()
            begun.set()
            while message["type"] == "http.request":
                assert message["more_body"]
                kinds.append(message["type"])
                message = await receive()
            kinds.append(message["type"])
            ended.set()

        async with hosting(app) as server, connected(server) as wire:
            wire.send(CHUNKED_POST, b"3\r\nabc\r\n")
            await begun.wait()
            reset(wire)
            await ended.wait()
        assert kinds == ["http.request", "http.disconnect"]

    async def test_bad_body(self, caplog: pytest.LogCaptureFixture) -> None:
        """A body that breaks a rule is answered 400, whatever the application makes of its end."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            while (await receive())["type"] == "http.request":
                pass
            raise LookupError("a framework's own error")

        async with talking(app) as wire:
            wire.send(CHUNKED_POST, b"zz\r\n")
            assert (await wire.answer()).status == 400
            assert await wire.closed()
        assert logged(caplog) == []

    async def test_disconnect_after_response(self) -> None:
        """Behind the response there is nothing but the disconnection, for who waits too."""
        kinds: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            waiting = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            await send(start())
            await send(body())
            kinds.extend([(await waiting)["type"], (await receive())["type"]])

        async with talking(app) as wire:
            wire.send(GET, GET)
            for _ in range(2):
                await wire.answer()
        assert kinds == ["http.disconnect"] * 4

    async def test_disconnect_after_early_response(self) -> None:
        """The same where the body was not received to its end."""
        kinds: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            waiting = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            await send(start())
            await send(body())
            kinds.extend([(await waiting)["type"], (await receive())["type"]])

        async with talking(app) as wire:
            wire.send(CHUNKED_POST)
            assert (await wire.answer()).status == 200
            wire.send(b"1\r\na\r\n0\r\n\r\n", GET)
            assert (await wire.answer()).status == 200
        assert kinds == ["http.disconnect"] * 2 + kinds[2:]


class TestSend:
    @pytest.mark.usefixtures("loop_kind")
    async def test_whole(self) -> None:
        """A response in one message has a length, and leaves the connection open."""
        async with talking(answering(headers=[(b"content-type", b"text/plain")])) as wire:
            for _ in range(2):
                wire.send(GET)
                answer = await wire.answer()
                assert (answer.status, answer.body) == (200, b"hello")
                assert answer.headers["content-length"] == "5"
                assert answer.headers["content-type"] == "text/plain"
                assert {"date", "server"} <= answer.headers.keys()

    async def test_fields(self) -> None:
        """The fields are those of the application, in their order, each as often as it is given."""
        headers = [
            (b"x-a", b"1"),
            (b"set-cookie", b"a=1"),
            (b"X-B", b"\xff"),
            (b"set-cookie", b"b"),
        ]
        for more in (False, True):
            messages = [start(404, headers), body(more=more)] + ([body()] if more else [])
            async with talking(sending(*messages)) as wire:
                wire.send(LAST)
                lines = (await wire.rest()).split(b"\r\n")
            assert lines[:5] == [
                b"HTTP/1.1 404 Not Found",
                b"x-a: 1",
                b"set-cookie: a=1",
                b"X-B: \xff",
                b"set-cookie: b",
            ]

    async def test_own_date_and_server(self) -> None:
        """Those that the application gives are the only ones."""
        headers = [(b"date", b"then"), (b"server", b"mine")]
        async with hosting(answering(headers=headers)) as server:
            answer = await ask(server, GET)
        assert (answer.headers["date"], answer.headers["server"]) == ("then", "mine")

    async def test_framing_is_the_servers(self) -> None:
        """What an application says of the connection is not sent, but a wish to close is obeyed."""
        headers = [(b"transfer-encoding", b"chunked"), (b"keep-alive", b"x"), (b"upgrade", b"x")]
        async with talking(answering(headers=headers)) as wire:
            wire.send(GET)
            answer = await wire.answer()
            assert answer.body == b"hello"
            assert not {"transfer-encoding", "keep-alive", "upgrade"} & answer.headers.keys()
        for more in (False, True):
            app = sending(start(headers=[(b"connection", b"Close")]), body(b"x", more=more), body())
            async with talking(app) as wire:
                wire.send(GET)
                answer = await wire.answer()
                assert (answer.body, answer.headers["connection"]) == (b"x", "close")
                assert await wire.closed()

    @pytest.mark.usefixtures("loop_kind")
    async def test_streamed(self) -> None:
        """Content in several messages: chunked, or of the announced length."""
        pieces = body(b"he", more=True), body(more=True), body(b"llo")
        for headers in ([], [(b"content-length", b"5")]):
            async with talking(sending(start(headers=headers), *pieces)) as wire:
                for _ in range(2):
                    wire.send(GET)
                    answer = await wire.answer()
                    assert answer.body == b"hello"
                    assert ("content-length" in answer.headers) is bool(headers)

    async def test_http_1_0(self) -> None:
        """An HTTP/1.0 client gets no chunks: the end of the connection is that of the content."""
        app = sending(start(), body(b"he", more=True), body(b"llo"))
        async with talking(app) as wire:
            wire.send(b"GET / HTTP/1.0\r\n\r\n")
            head, _, content = (await wire.rest()).partition(b"\r\n\r\n")
            assert content == b"hello"
            assert b"transfer-encoding" not in head.lower()

    async def test_each_piece_at_once(self) -> None:
        """The head waits for the first content; from there on each piece is sent at once."""
        gates = [asyncio.Event() for _ in range(2)]

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start())
            await send(body(b"a", more=True))
            await gates[0].wait()
            await send(body(b"b", more=True))
            await gates[1].wait()
            await send(body())

        async with talking(app) as wire:
            wire.send(GET)
            await wire.head()
            await wire.reader.readuntil(b"1\r\na\r\n")
            gates[0].set()
            await wire.reader.readuntil(b"1\r\nb\r\n")
            gates[1].set()
            await wire.reader.readuntil(b"0\r\n\r\n")

    @pytest.mark.usefixtures("loop_kind")
    async def test_slow_reader(self) -> None:
        """A client that reads slowly makes the application wait."""
        sent = 0

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal sent
            await send(start())
            for _ in range(2000):
                await send(body(bytes(65536), more=True))
                sent += 1

        async with hosting(app) as server, connected(server) as wire:
            wire.writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, 65536
            )
            wire.send(GET)
            await wire.head()
            before = -1
            # It comes to a stop, and goes on when it is read.
            while sent != before:
                before = sent
                for _ in range(100):
                    await asyncio.sleep(0)
            assert sent < 2000
            while sent == before:
                await wire.reader.readexactly(65536)
            reset(wire)

    @pytest.mark.parametrize("method", [b"HEAD", b"GET"])
    @pytest.mark.parametrize("more", [False, True])
    @pytest.mark.parametrize("length", [False, True])
    async def test_head(self, method: bytes, more: bool, length: bool) -> None:
        """HEAD has the fields of GET, and no content."""
        headers = [(b"content-length", b"5")] if length else []
        app = sending(start(headers=headers), body(b"hello", more=more), *([body()] * more))
        async with talking(app) as wire:
            for _ in range(2):
                wire.send(method + b" / HTTP/1.1\r\nHost: h\r\n\r\n")
                answer = await wire.answer(head=method == b"HEAD")
                assert answer.status == 200
                expected = "5" if length or not more else None
                assert answer.headers.get("content-length") == expected

    @pytest.mark.parametrize("status", [204, 304, 205])
    async def test_statuses_without_content(self, status: int) -> None:
        """RFC 9110 §6.4.1: no content; only 304 may say a length."""
        for content in (b"", b"hello"):
            app = sending(start(status, [(b"content-length", b"5")]), body(content))
            async with talking(app) as wire:
                wire.send(GET)
                answer = await wire.answer(head=status == 205)
                found = answer.headers.get("content-length")
                assert found == {204: None, 304: "5", 205: "0"}[status]
                assert "transfer-encoding" not in answer.headers
                wire.send(LAST)
                assert (await wire.answer(head=status == 205)).status == status

    async def test_statuses(self) -> None:
        """A status may be one that has no name, or a member of HTTPStatus."""
        for status in (299, HTTPStatus.IM_A_TEAPOT, 599):
            async with hosting(sending(start(status), body())) as server:
                assert (await ask(server, GET)).status == status

    async def test_buffers(self) -> None:
        """Content may be any octets."""
        app = sending(start(), body(memoryview(b"he"), more=True), body(bytearray(b"llo")))  # type: ignore[arg-type]  # what frameworks do
        async with hosting(app) as server:
            assert (await ask(server, GET)).body == b"hello"

    async def test_defaults(self) -> None:
        """Fields, content and the end have defaults."""
        app = sending(
            {"type": "http.response.start", "status": 200}, {"type": "http.response.body"}
        )
        async with hosting(app) as server:
            answer = await ask(server, GET)
        assert (answer.headers["content-length"], answer.body) == ("0", b"")

    async def test_pairs_may_be_lists(self) -> None:
        """The specification has iterables of two."""
        app = sending(
            {"type": "http.response.start", "status": 200, "headers": iter([[b"x", b"y"]])}, body()
        )
        async with hosting(app) as server:
            assert (await ask(server, GET)).headers["x"] == "y"


CL = b"content-length"
WRONG: list[tuple[str, type[Exception], list[Any]]] = [
    ("unknown", ValueError, [{"type": "http.response.foo"}]),
    ("body first", RuntimeError, [body(b"x")]),
    ("two starts", RuntimeError, [start(), start()]),
    ("informational", ValueError, [start(101)]),
    ("status", TypeError, [start("200")]),  # type: ignore[arg-type]  # what is tested
    ("no status", KeyError, [{"type": "http.response.start"}]),
    ("str fields", TypeError, [start(headers=[("a", "b")])]),  # type: ignore[list-item]  # as above
    ("line break", ValueError, [start(headers=[(b"a", b"b\r\nc: d")]), body()]),
    ("no name", ValueError, [start(headers=[(b"a b", b"c")]), body()]),
    ("length", ValueError, [start(headers=[(b"content-length", b"+5")])]),
    (
        "two lengths",
        ValueError,
        [start(headers=[(CL, b"5"), (CL, b"6")])],
    ),
    ("str body", TypeError, [start(), body("x")]),  # type: ignore[arg-type]  # as above
    ("too short", ValueError, [start(headers=[(b"content-length", b"5")]), body(b"x")]),
    ("too long", ValueError, [start(headers=[(b"content-length", b"5")]), body(b"hello!")]),
    ("trailers", RuntimeError, [start(), {"type": "http.response.trailers"}]),
    ("hint", RuntimeError, [start(), {"type": "http.response.early_hint"}]),
    ("path", ValueError, [start(), {"type": "http.response.pathsend", "path": "a"}]),
    ("no file", OSError, [start(), {"type": "http.response.pathsend", "path": "/no/such"}]),
    ("hint link", ValueError, [{"type": "http.response.early_hint", "links": [b"a\r\nb: c"]}]),
    (
        "line break before a file",
        ValueError,
        [
            start(headers=[(b"a", b"b\r\nc: d")]),
            {"type": "http.response.pathsend", "path": __file__},
        ],
    ),
    ("path first", RuntimeError, [{"type": "http.response.pathsend", "path": "/"}]),
    ("only start", RuntimeError, [start()]),
    ("nothing", RuntimeError, []),
]


class TestErrors:
    @pytest.mark.parametrize(
        ("kind", "messages"), [case[1:] for case in WRONG], ids=[c[0] for c in WRONG]
    )
    async def test_before_the_head(
        self, kind: type[Exception], messages: list[Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        """What an application may not do is raised there; nothing was sent, so 500 answers."""
        async with hosting(sending(*messages)) as server:
            assert (await ask(server, GET)).status == 500
        (record,) = logged(caplog)
        assert record.exc_info is not None
        assert record.exc_info[0] is not None
        assert issubclass(record.exc_info[0], kind)

    @pytest.mark.parametrize(
        "messages",
        [
            [body(b"x", more=True)],
            [body(b"x", more=True), start()],
            [body(b"hello!", more=True)],
            [body(b"x", more=True), body(b"y")],
            [body(b"x", more=True), {"type": "http.response.pathsend", "path": "/no/such"}],
        ],
    )
    async def test_behind_the_head(
        self, messages: list[Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Half a response ends with the connection, so that nobody takes it for a whole one."""
        app = sending(start(headers=[(b"content-length", b"5")]), *messages)
        async with talking(app) as wire:
            wire.send(GET)
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await wire.answer()
        assert len(logged(caplog)) == 1

    async def test_after_the_end(self, caplog: pytest.LogCaptureFixture) -> None:
        """An error behind a whole response is logged; the client and the connection are well."""
        for more in ([body()], [start()], [{"type": "http.response.trailers"}]):
            caplog.clear()
            app = sending(start(), body(b"hello"), *more)
            async with talking(app) as wire:
                for _ in range(2):
                    wire.send(GET)
                    assert (await wire.answer()).body == b"hello"
            assert [record.name for record in logged(caplog)] == ["angelia.hosting.asgi"] * 2

    async def test_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        """An exception is answered 500, without its text, and logged once."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            raise LookupError("a secret")

        async with hosting(app) as server:
            answer = await ask(server, GET)
        assert answer.status == 500
        assert b"secret" not in answer.body
        assert len(logged(caplog)) == 1

    async def test_client_gone(self, caplog: pytest.LogCaptureFixture) -> None:
        """What an application makes of a client that has gone is no error."""
        begun, ended = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            begun.set()
            await receive()
            ended.set()
            raise LookupError("a framework's own error")

        async with hosting(app) as server:
            async with connected(server) as wire:
                wire.send(GET)
                await begun.wait()
                reset(wire)
            await ended.wait()
        assert logged(caplog) == []

    async def test_body_unread(self) -> None:
        """A body that the application has not received does not become the next request."""
        async with talking(answering()) as wire:
            wire.send(post(body=b"GET /evil HTTP/1.1\r\nHost: h\r\n\r\n"), GET)
            for _ in range(2):
                assert (await wire.answer()).body == b"hello"
            wire.send(LAST)
            assert (await wire.answer()).body == b"hello"
            assert await wire.closed()

    async def test_connect(self) -> None:
        """An application is no tunnel."""
        async with hosting(answering()) as server:
            answer = await ask(server, b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n")
        assert answer.status == 501

    async def test_closing_server_cancels(self) -> None:
        """A response that outlasts the server's patience is cancelled."""
        begun = asyncio.Event()
        outcome = asyncio.get_running_loop().create_future()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                outcome.set_result("cancelled")
                raise

        async with hosting(app) as server, connected(server) as wire:
            wire.send(GET)
            await begun.wait()
            await server.close(0)
            assert await outcome == "cancelled"
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await wire.head()


class Background:
    """An application that goes on after its response, until it is let go."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.begun = 0
        self.ends: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"hel", more=True))
        await send(body(b"lo"))
        self.begun += 1
        try:
            await self.go_on.wait()
            self.ends.append("whole")
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise

    async def ended(self, count: int) -> None:
        """Wait until so many calls have ended."""
        await until(lambda: len(self.ends) == count)


@pytest.mark.usefixtures("loop_kind")
class TestBackground:
    async def test_next_request(self) -> None:
        """What an application does after its response does not hold up the connection."""
        app = Background()
        async with talking(app) as wire:
            for _ in range(3):
                wire.send(GET)
                assert (await wire.answer()).body == b"hello"
            # Pipelined, too, and with bodies.
            wire.send(GET, post(body=b"x"), GET)
            for _ in range(3):
                assert (await wire.answer()).body == b"hello"
            assert app.begun == 6
            app.go_on.set()
            wire.send(GET)
            assert (await wire.answer()).body == b"hello"
            await app.ended(7)
        assert app.ends == ["whole"] * 7

    async def test_end_of_connection(self) -> None:
        """Nor does it hold up the end of the connection, where that ends the content."""
        app = Background()
        async with hosting(app) as server:
            for request in (LAST, b"GET / HTTP/1.0\r\n\r\n", LAST.replace(b"GET", b"HEAD")):
                async with connected(server) as wire:
                    wire.send(request)
                    assert (await wire.rest()).startswith(b"HTTP/1.1 200")
            app.go_on.set()
            await app.ended(3)
        assert app.ends == ["whole"] * 3

    async def test_unread_body(self) -> None:
        """A body that nobody wants ends before the next request begins."""
        app = Background()
        async with talking(app) as wire:
            wire.send(CHUNKED_POST)
            assert (await wire.answer()).body == b"hello"
            wire.send(b"5\r\nGET /\r\n0\r\n\r\n", GET)
            assert (await wire.answer()).body == b"hello"
            app.go_on.set()
            await app.ended(2)
        assert app.ends == ["whole"] * 2

    @pytest.mark.parametrize(("timeout", "end"), [(30, "whole"), (0, "cancelled")])
    async def test_closing_server_waits(self, timeout: int, end: str) -> None:
        """The server waits for it, with the connection closed already, and then cancels it."""
        app = Background()
        async with hosting(app) as server:
            for _ in range(2):
                async with connected(server) as wire:
                    wire.send(GET, GET)
                    for _ in range(2):
                        assert (await wire.answer()).body == b"hello"
            closing = asyncio.ensure_future(server.close(timeout))
            if timeout:
                for _ in range(50):
                    await asyncio.sleep(0)
                assert not closing.done()
                app.go_on.set()
            await closing
        assert app.ends == [end] * 4

    async def test_error(self, caplog: pytest.LogCaptureFixture) -> None:
        """An error there is logged, and the connection goes on."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start())
            await send(body(b"hello"))
            await asyncio.sleep(0)
            raise LookupError("late")

        async with talking(app) as wire:
            for _ in range(3):
                wire.send(GET)
                assert (await wire.answer()).body == b"hello"
        assert [record.name for record in logged(caplog)] == ["angelia.hosting.asgi"] * 3


class TestExtensions:
    async def test_early_hint(self) -> None:
        """http.response.early_hint: 103 before the response; nothing to HTTP/1.0."""
        hint = {"type": "http.response.early_hint", "links": [b"</a>; rel=preload", b"</b>"]}
        async with talking(sending(hint, start(), body(b"x"))) as wire:
            wire.send(GET)
            octets = await wire.reader.readuntil(b"\r\n\r\n")
            assert octets == (
                b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nLink: </b>\r\n\r\n"
            )
            assert (await wire.answer()).status == 200
            wire.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await wire.answer()).status == 200

    @pytest.mark.parametrize("content", [b"", b"hello"])
    async def test_trailers(self, content: bytes) -> None:
        """http.response.trailers: behind chunked content, in one message or several."""
        messages = [
            start(trailers=True),
            body(content),
            {"type": "http.response.trailers", "headers": [(b"x-a", b"1")], "more_trailers": True},
            {"type": "http.response.trailers", "headers": [(b"x-b", b"2")]},
        ]
        async with talking(sending(*messages)) as wire:
            for _ in range(2):
                wire.send(GET)
                answer = await wire.answer()
                assert answer.body == content
                found = answer.headers["trailer:x-a"], answer.headers["trailer:x-b"]
                assert found == ("1", "2")

    async def test_trailers_without_room(self) -> None:
        """RFC 9112 §7.1.2: other content than chunked has none; they are dropped."""
        trailers = {"type": "http.response.trailers", "headers": [(b"x-a", b"1")]}
        length = [(b"content-length", b"5")]
        app = sending(start(headers=length, trailers=True), body(b"hello"), trailers)
        for request in (GET, b"GET / HTTP/1.0\r\n\r\n"):
            async with hosting(app) as server:
                assert (await ask(server, request)).body == b"hello"
        async with talking(sending(start(trailers=True), body(b"hello"), trailers)) as wire:
            wire.send(HEAD)
            assert (await wire.answer(head=True)).status == 200
            wire.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await wire.answer()).body == b"hello"

    async def test_trailers_missing(self, caplog: pytest.LogCaptureFixture) -> None:
        """Announced trailers that do not come leave the response incomplete."""
        async with talking(sending(start(trailers=True), body(b"hello"))) as wire:
            wire.send(GET)
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await wire.answer()
        assert len(logged(caplog)) == 1

    @pytest.mark.parametrize(
        ("kind", "fields"), [(TypeError, [("x-a", "1")]), (ValueError, [(b"x-a", b"1\r\nb: c")])]
    )
    async def test_trailers_wrong(
        self, kind: type[Exception], fields: list[Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Trailers are fields like others; where they are none the response is not complete."""
        trailers = {"type": "http.response.trailers", "headers": fields}
        async with talking(sending(start(trailers=True), body(b"hello"), trailers)) as wire:
            wire.send(GET)
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await wire.answer()
        (record,) = logged(caplog)
        assert record.exc_info is not None
        assert record.exc_info[0] is not None
        assert issubclass(record.exc_info[0], kind)

    async def test_pathsend_to_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        """A file for a client that has gone is an OSError, and no error of the application's."""
        begun, ended = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start())
            await receive()
            begun.set()
            assert (await receive())["type"] == "http.disconnect"
            try:
                await send({"type": "http.response.pathsend", "path": __file__})
            except OSError:
                ended.set()
                raise

        async with hosting(app) as server:
            async with connected(server) as wire:
                wire.send(GET)
                await begun.wait()
            await ended.wait()
        assert logged(caplog) == []

    @pytest.mark.usefixtures("loop_kind")
    @pytest.mark.parametrize("length", [True, False])
    async def test_pathsend(self, tmp_path: Path, length: bool) -> None:
        """http.response.pathsend: a file is the content, of any size."""
        path = tmp_path / "f"
        for content in (b"", b"hello", bytes(range(256)) * 5000):
            path.write_bytes(content)
            headers = [(b"content-length", b"%d" % len(content))] if length else []
            message = {"type": "http.response.pathsend", "path": str(path)}
            async with talking(sending(start(headers=headers), message)) as wire:
                for _ in range(2):
                    wire.send(GET)
                    answer = await wire.answer()
                    assert answer.body == content
                    assert answer.headers["content-length"] == str(len(content))
                wire.send(HEAD)
                answer = await wire.answer(head=True)
                assert answer.headers["content-length"] == str(len(content))

    async def test_pathsend_within_content(self, tmp_path: Path) -> None:
        """A file may be the rest of chunked content, and trailers may follow it."""
        path = tmp_path / "f"
        path.write_bytes(b"llo")
        app = sending(
            start(trailers=True),
            body(b"he", more=True),
            {"type": "http.response.pathsend", "path": str(path)},
            {"type": "http.response.trailers", "headers": [(b"x-a", b"1")]},
        )
        async with hosting(app) as server:
            answer = await ask(server, GET)
        assert (answer.body, answer.headers["trailer:x-a"]) == (b"hello", "1")

    async def test_pathsend_refused(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """What is no regular file, or of another length, is not sent."""
        path = tmp_path / "f"
        path.write_bytes(b"hello")
        length = [(b"content-length", b"6")]
        for headers, wanted in (([], tmp_path), (length, path)):
            message = {"type": "http.response.pathsend", "path": str(wanted)}
            async with hosting(sending(start(headers=headers), message)) as server:
                assert (await ask(server, GET)).status == 500
        assert len(logged(caplog)) == 2

    def test_pathsend_closes(self, tmp_path: Path) -> None:
        """The descriptor of what is no regular file is closed."""
        before = next_descriptor()
        with pytest.raises(OSError):
            _open(str(tmp_path))
        assert next_descriptor() <= before


class TestNames:
    """Names in certificates, and numbers of cipher suites."""

    @pytest.mark.parametrize(
        ("value", "written"),
        [
            ("shop", "CN=shop"),
            ('a,b+c"d\\e<f>g;', 'CN=a\\,b\\+c\\"d\\\\e\\<f\\>g\\;'),
            ("#1", "CN=\\#1"),
            (" a ", "CN=\\ a\\ "),
            (" ", "CN=\\ "),
            ("a\0b", "CN=a\\00b"),
        ],
    )
    def test_escaped(self, value: str, written: str) -> None:
        """RFC 4514 §2.4: what would end a value is escaped."""
        assert _distinguished_name(((("commonName", value),),)) == written

    def test_order(self) -> None:
        """RFC 4514 §2: the last part first; several values of one part are joined."""
        country, name = ("countryName", "SE"), ("commonName", "shop")
        assert _distinguished_name(((country,), (name, ("1.2.3", "x")))) == "CN=shop+1.2.3=x,C=SE"
        assert _distinguished_name(()) is None

    def test_cipher_suite(self) -> None:
        """The number of RFC 8446 for a suite that the context knows, None for others."""
        context = ssl.create_default_context()
        assert _cipher_suite(context, "TLS_AES_128_GCM_SHA256") == 0x1301
        assert _cipher_suite(context, "TLS_UNHEARD_OF") is None


class TestHandler:
    def test_arguments(self) -> None:
        """A root path is a path; lifespan has three words."""
        for root_path in ("shop", "/shop/", "/"):
            with pytest.raises(ValueError, match="root_path"):
                ASGIHandler(answering(), root_path=root_path)
        with pytest.raises(ValueError, match="lifespan"):
            ASGIHandler(answering(), lifespan="yes")  # type: ignore[arg-type]  # what is tested

    async def test_access_log(self, caplog: pytest.LogCaptureFixture) -> None:
        """A line for each request, with what was sent."""
        caplog.set_level(logging.INFO, "angelia.access")
        log = angelia.AccessLogger(log_format="%s %b %{X-A}o")
        app = sending(start(201, [(b"x-a", b"1")]), body(b"he", more=True), body(b"llo"))
        async with hosting(app, server_options={"access_log": log}) as server:
            await ask(server, GET)
        assert [record.getMessage() for record in logged(caplog)] == ["201 5 1"]

    async def test_own_client(self) -> None:
        """An upload and a download through our own client."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(start())
            more = True
            while more:
                message = await receive()
                more = message["more_body"]
                await send(body(message["body"], more=more))

        content = bytes(range(256)) * 8000
        async with (
            hosting(app) as server,
            angelia.ClientSession(f"http://127.0.0.1:{server.port}") as session,
            session.post("/", data=content) as response,
        ):
            assert await response.read() == content
