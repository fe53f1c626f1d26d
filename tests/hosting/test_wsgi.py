"""The WSGI handler: PEP 3333 over real sockets."""

from __future__ import annotations

import asyncio
import gc
import gzip
import io
import logging
import os
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import pytest
import trustme

import angelia
from angelia.hosting.wsgi import WSGIHandler
from angelia.hosting.wsgi_response import real_file
from angelia.hosting.wsgi_streams import InputStream
from hosting.wsgi_kit import PATIENCE, PLAIN, Pieces, answering, hosting, talking
from server.kit import GET, LAST, Wire, ask, connected, post, serving

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

pytestmark = pytest.mark.deadline(40)

HEAD = b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"
CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the server does; the test's deadline ends what never comes."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.002)
    pytest.fail("it did not come to pass")


def reset(wire: Wire) -> None:
    """Go away without a word."""
    sock = wire.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.writer.transport.abort()


def echo(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answers with the body."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [*PLAIN, ("Content-Length", str(len(body)))])
    return [body]


class TestWhole:
    @pytest.mark.usefixtures("loop_kind")
    async def test_list(self) -> None:
        """A list is all of the content: its length is known, and the connection goes on."""
        async with talking(answering([b"hel", b"", b"lo"])) as wire:
            for _ in range(2):
                wire.send(GET)
                answer = await wire.answer()
                assert (answer.status, answer.body) == (200, b"hello")
                assert answer.headers["content-length"] == "5"
                assert answer.headers["content-type"] == "text/plain"

    async def test_fields(self) -> None:
        """The fields are those of the application, in their order, and what HTTP needs."""
        headers = [("X-A", "1"), ("Set-Cookie", "a=1"), ("x-a", "\xc3\xbc"), ("Set-Cookie", "b=2")]
        async with talking(answering(status="404 Nicht \xfc", headers=headers)) as wire:
            wire.send(LAST)
            octets = await wire.rest()
        lines = octets.split(b"\r\n")
        assert lines[0] == b"HTTP/1.1 404 Nicht \xfc"
        assert lines[1:5] == [b"X-A: 1", b"Set-Cookie: a=1", b"x-a: \xc3\xbc", b"Set-Cookie: b=2"]
        names = sorted(line.partition(b":")[0] for line in lines[5 : lines.index(b"")])
        assert names == [b"Connection", b"Content-Length", b"Date", b"Server"]

    async def test_own_date_and_server(self) -> None:
        """Those that the application gives are the only ones."""
        headers = [("Date", "then"), ("server", "mine")]
        async with hosting(answering(headers=headers)) as server:
            answer = await ask(server, GET)
        assert (answer.headers["date"], answer.headers["server"]) == ("then", "mine")

    async def test_no_content(self) -> None:
        """An iterable that ends without content is an empty response."""
        for pieces in ([], (), [b""], iter([b"", b""])):
            async with hosting(answering(pieces)) as server:
                answer = await ask(server, GET)
            assert (answer.headers["content-length"], answer.body) == ("0", b"")

    @pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
    @pytest.mark.parametrize("length", [True, False])
    async def test_statuses_without_content(self, status: str, length: bool) -> None:
        """RFC 9110 §6.4.1: no content; only 304 may say a length."""
        headers = [("Content-Length", "5")] if length else []
        for pieces in ([b"hello"], iter([b"hello"])):
            async with talking(answering(pieces, status=status, headers=headers)) as wire:
                wire.send(GET)
                answer = await wire.answer()
                assert ("content-length" in answer.headers) is (length and status[:3] == "304")
                assert "transfer-encoding" not in answer.headers
                wire.send(LAST)
                assert (await wire.answer()).status == int(status[:3])

    async def test_head(self) -> None:
        """HEAD has the fields that GET would have, and no content."""

        def lazy() -> Iterator[bytes]:
            yield b""
            yield b"hello"
            pytest.fail("nobody wants the rest")

        with_length = [("Content-Length", "5")]
        for kind, headers, length in (
            (lambda: [b"hello"], PLAIN, "5"),
            (list, PLAIN, None),
            (list, with_length, "5"),
            (lambda: [b"hello"], with_length, "5"),
            (lazy, with_length, "5"),
            (lazy, PLAIN, None),
        ):

            def app(
                environ: WSGIEnvironment,
                start_response: StartResponse,
                kind: Callable[[], Iterable[bytes]] = kind,
                headers: list[tuple[str, str]] = headers,
            ) -> Iterable[bytes]:
                start_response("200 OK", headers)
                return kind()

            async with talking(app) as wire:
                wire.send(HEAD)
                answer = await wire.answer(head=True)
                assert (answer.status, answer.headers.get("content-length")) == (200, length)
                wire.send(b"HEAD / HTTP/1.0\r\n\r\n")
                assert (await wire.answer(head=True)).status == 200


class TestStreamed:
    @pytest.mark.usefixtures("loop_kind")
    async def test_each_piece_at_once(self) -> None:
        """A piece is sent before the next one is asked for (PEP 3333 "Buffering")."""
        gates = [threading.Event() for _ in range(3)]

        def pieces() -> Iterator[bytes]:
            yield b"0"
            for number, gate in enumerate(gates, 1):
                assert gate.wait(PATIENCE)
                yield b"%d" % number

        async with talking(answering(pieces())) as wire:
            wire.send(LAST)
            status, fields = await wire.head()
            assert (status, fields["transfer-encoding"]) == (200, "chunked")
            assert await wire.reader.readexactly(6) == b"1\r\n0\r\n"
            for number, gate in enumerate(gates, 1):
                gate.set()
                assert await wire.reader.readexactly(6) == b"1\r\n%d\r\n" % number
            assert await wire.rest() == b"0\r\n\r\n"

    async def test_http_1_0(self) -> None:
        """Content without a length ends with the connection."""
        async with talking(answering(iter([b"a", b"b"]))) as wire:
            wire.send(b"GET / HTTP/1.0\r\n\r\n")
            _, fields = await wire.head()
            assert "transfer-encoding" not in fields
            assert await wire.rest() == b"ab"

    async def test_with_length(self) -> None:
        """With a length the content is not chunked, and the connection goes on."""
        async with talking(
            answering(Pieces([b"ab", b"", b"cd", b"e"]), headers=[("Content-Length", "5")])
        ) as wire:
            wire.send(GET)
            answer = await wire.answer()
            assert (answer.headers["content-length"], answer.body) == ("5", b"abcde")
            assert "transfer-encoding" not in answer.headers

    async def test_head_waits(self) -> None:
        """Until there is content the application may begin, and begin anew."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            yield b""
            start_response("200 OK", PLAIN)
            yield b""
            try:
                raise LookupError("no")  # noqa: TRY301 - as in PEP 3333's example
            except LookupError:
                start_response("404 Not Found", PLAIN, sys.exc_info())
            yield b"not here"

        async with hosting(app) as server:
            answer = await ask(server, GET)
        assert (answer.status, answer.body) == (404, b"not here")

    async def test_write(self) -> None:
        """What ``write`` gets is sent at once, before the iterable."""
        gate = threading.Event()

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            write = start_response("200 OK", PLAIN)
            write(b"one")
            assert gate.wait(PATIENCE)
            write(b"")
            write(b"two")
            return [b"three"]

        async with talking(app) as wire:
            wire.send(LAST)
            await wire.head()
            assert await wire.reader.readexactly(8) == b"3\r\none\r\n"
            gate.set()
            assert await wire.rest() == b"3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"

    async def test_write_with_length(self) -> None:
        """``write`` and the iterable share the announced length; HEAD sends neither."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            write = start_response("200 OK", [("Content-Length", "8")])
            write(b"one")
            return [b"three"]

        async with talking(app) as wire:
            wire.send(GET)
            assert (await wire.answer()).body == b"onethree"
            wire.send(HEAD)
            answer = await wire.answer(head=True)
            assert answer.headers["content-length"] == "8"
            wire.send(LAST)
            assert (await wire.answer()).body == b"onethree"

    async def test_write_after_the_end(self, caplog: pytest.LogCaptureFixture) -> None:
        """``write`` behind the last of the announced content is an error, which is logged."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            write = start_response("200 OK", [("Content-Length", "1")])

            def pieces() -> Iterator[bytes]:
                yield b"x"
                write(b"")

            return pieces()

        async with talking(app) as wire:
            for _ in range(2):
                wire.send(GET)
                assert (await wire.answer()).body == b"x"
        assert caplog.text.count("ValueError: write() after the end of the response") == 2

    async def test_slow_reader(self) -> None:
        """The application waits while the client does not read."""
        piece = bytes(64 * 1024)
        total = 400
        pieces = Pieces(piece for _ in range(total))

        handler = WSGIHandler(answering(pieces))

        async def small(request: angelia.Request) -> angelia.StreamResponse:
            sock = request.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
            return await handler(request)

        async with handler, angelia.Server(small) as server:
            await server.start("127.0.0.1", 0)
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            sock.connect(("127.0.0.1", server.port))
            with sock:
                sock.sendall(LAST)
                sock.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_recv(sock, 1)
                # The sockets' buffers and the transport's take some; the rest is not asked for.
                # One that does not wait has had more than enough turns for all by then.
                for _ in range(4 * total):
                    await asyncio.to_thread(time.sleep, 0)
                assert pieces.taken < total
                size = 0
                while data := await loop.sock_recv(sock, 1 << 20):
                    size += len(data)
        assert pieces.taken == total
        assert size > total * len(piece)
        assert pieces.closed.is_set()


class TestClose:
    async def test_called(self) -> None:
        """``close`` is called, however the iteration ends."""

        def failing() -> Iterator[bytes]:
            yield b"x"
            raise LookupError("in the middle")

        for pieces, headers in (
            (Pieces([b"x"]), PLAIN),
            (Pieces([]), PLAIN),
            (Pieces([b"x", b"y"]), [("Content-Length", "1")]),
            (Pieces([b"x"]), [("Content-Length", "2")]),
            (Pieces([b"x"]), [("Content-Length", "x")]),
            (Pieces(["text"]), PLAIN),  # type: ignore[list-item]  # what must not be
            (Pieces(failing()), PLAIN),
            (Pieces(failing()), [("Content-Length", "1")]),
        ):

            def app(
                environ: WSGIEnvironment,
                start_response: StartResponse,
                pieces: Pieces = pieces,
                headers: list[tuple[str, str]] = headers,
            ) -> Iterable[bytes]:
                try:
                    start_response("200 OK", headers)
                except ValueError:
                    start_response("400 Bad Request", PLAIN)
                return pieces

            async with talking(app) as wire:
                wire.send(LAST)
                await wire.rest()
            assert pieces.closed.wait(PATIENCE)

    async def test_after_the_response(self) -> None:
        """The client has all of the content before ``close`` returns."""
        gate = threading.Event()

        def wait() -> None:
            assert gate.wait(PATIENCE)

        pieces = Pieces([b"hello"], wait)
        results: list[Iterable[bytes]] = [[b"again"], pieces]

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", [("Content-Length", "5")])
            return results.pop()

        async with talking(app) as wire:
            wire.send(GET)
            assert (await wire.answer()).body == b"hello"
            assert not pieces.closed.is_set()
            wire.send(GET)
            # The first call is not over; the connection is free all the same.
            assert (await wire.answer()).body == b"again"
            gate.set()
        assert pieces.closed.wait(PATIENCE)

    async def test_fails(self, caplog: pytest.LogCaptureFixture) -> None:
        """An error in ``close`` after the response is logged, and harms nobody."""

        def fail() -> None:
            raise LookupError("in close")

        async with talking(
            answering(Pieces([b"hello"], fail), headers=[("Content-Length", "5")])
        ) as wire:
            wire.send(GET)
            assert (await wire.answer()).body == b"hello"
        assert "error after the response" in caplog.text
        assert "in close" in caplog.text


class TestErrors:
    async def test_before_the_head(self, caplog: pytest.LogCaptureFixture) -> None:
        """500 without the error's text, which is in the log."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", PLAIN)
            raise LookupError("a secret")

        async with hosting(app) as server:
            answer = await ask(server, GET)
        assert answer.status == 500
        assert b"secret" not in answer.body
        assert "a secret" in caplog.text

    async def test_after_the_head(self, caplog: pytest.LogCaptureFixture) -> None:
        """Half an answer: the connection breaks, so that nobody takes it for whole."""

        def pieces() -> Iterator[bytes]:
            yield b"x"
            raise LookupError("in the middle")

        for headers in (PLAIN, [("Content-Length", "5")]):
            async with talking(answering(pieces(), headers=headers)) as wire:
                wire.send(GET)
                assert (await wire.head())[0] == 200
                try:
                    octets = await wire.rest()
                except ConnectionResetError:
                    continue
                assert not octets.endswith(b"0\r\n\r\n")
        assert caplog.text.count("LookupError: in the middle") == 2

    async def test_exits(self, caplog: pytest.LogCaptureFixture) -> None:
        """An application that calls ``sys.exit`` ends the request, not the server."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            sys.exit("enough")

        async with hosting(app) as server:
            for _ in range(2):
                assert (await ask(server, GET)).status == 500
        assert "SystemExit" in caplog.text

    @pytest.mark.parametrize(
        ("status", "headers", "text"),
        [
            ("200 OK", [("Transfer-Encoding", "chunked")], "no say in Transfer-Encoding"),
            ("200 OK", [("connection", "close")], "no say in connection"),
            ("200 OK", [("Keep-Alive", "5")], "no say in Keep-Alive"),
            ("200 OK", [("Upgrade", "x")], "no say in Upgrade"),
            ("200 OK", [("Content-Length", "-1")], "not a length"),
            ("200 OK", [("Content-Length", "\xb2")], "not a length"),
            ("200 OK", [("Content-Length", "1"), ("content-length", "1")], "two lengths"),
            ("200 OK", [("X", "a\r\nY: b")], "ValueError"),
            ("200 OK", [("X\n", "a")], "ValueError"),
            ("200 OK", [("X", "\u20ac")], "latin-1"),
            ("200 OK", [("X", b"a")], "tuple of two str"),
            ("200 OK", [["X", "a"]], "tuple of two str"),
            ("200 OK", (("X", "a"),), "headers are a list"),
            ("200 O\nK", [], "control character"),
            ("100 Continue", [], "not the status"),
            ("\u0662\u0660\u0660 OK", [], "not the status"),
            ("20 OK", [], "not the status"),
            (200, [], "a status is a str"),
        ],
    )
    async def test_start_response(
        self, caplog: pytest.LogCaptureFixture, status: Any, headers: Any, text: str
    ) -> None:
        """What PEP 3333 or HTTP forbids is the application's error."""
        async with hosting(answering(status=status, headers=headers)) as server:
            answer = await ask(server, GET)
        assert answer.status == 500
        assert text in caplog.text

    async def test_not_begun(self, caplog: pytest.LogCaptureFixture) -> None:
        """Content needs ``start_response``, and an empty response does."""
        for pieces in ([], [b"x"], iter([b"x"])):

            def app(
                environ: WSGIEnvironment,
                start_response: StartResponse,
                pieces: Iterable[bytes] = pieces,
            ) -> Iterable[bytes]:
                return pieces

            async with hosting(app) as server:
                assert (await ask(server, GET)).status == 500
        assert caplog.text.count("start_response()") >= 3

    async def test_begun_twice(self, caplog: pytest.LogCaptureFixture) -> None:
        """Without an error to tell of, a response begins once."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", PLAIN)
            start_response("200 OK", PLAIN)
            return []

        async with hosting(app) as server:
            assert (await ask(server, GET)).status == 500
        assert "start_response() was called twice" in caplog.text

    async def test_begun_anew_too_late(self, caplog: pytest.LogCaptureFixture) -> None:
        """When the head is out, ``start_response`` raises what it is given."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", PLAIN)
            yield b"x"
            try:
                raise LookupError("too late")  # noqa: TRY301 - as in PEP 3333's example
            except LookupError:
                start_response("500 Oh", PLAIN, sys.exc_info())
            pytest.fail("not raised")

        async with talking(app) as wire:
            wire.send(GET)
            assert (await wire.head())[0] == 200
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await wire.reader.readuntil(b"0\r\n\r\n")
        assert "too late" in caplog.text

    async def test_no_bytes(self, caplog: pytest.LogCaptureFixture) -> None:
        """Content is bytes."""
        for pieces in (["x"], iter(["x"]), [bytearray(b"x")]):
            async with hosting(answering(pieces)) as server:  # type: ignore[arg-type]  # what must not be
                assert (await ask(server, GET)).status == 500
        assert "content is bytes, not str" in caplog.text


class TestLength:
    @pytest.mark.parametrize("kind", [list, iter])
    async def test_too_much(self, caplog: pytest.LogCaptureFixture, kind: Any) -> None:
        """No more than was announced is sent; the connection goes on, the log tells."""
        headers = [("Content-Length", "4")]

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", headers)
            pieces: Iterable[bytes] = kind([b"abc", b"def", b"g"])
            return pieces

        async with talking(app) as wire:
            for _ in range(2):
                wire.send(GET)
                assert (await wire.answer()).body == b"abcd"
        assert caplog.text.count("more content than was announced") == 2

    async def test_write_too_much(self, caplog: pytest.LogCaptureFixture) -> None:
        """``write`` raises where there would be too much."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            write = start_response("200 OK", [("Content-Length", "4")])
            with pytest.raises(ValueError, match="5 octets, where 4 were announced"):
                write(b"abcde")
            write(b"abcd")
            return []

        async with hosting(app) as server:
            assert (await ask(server, GET)).body == b"abcd"

    async def test_too_little(self, caplog: pytest.LogCaptureFixture) -> None:
        """What can still be answered 500 is; otherwise the connection breaks."""
        headers = [("Content-Length", "4")]
        async with hosting(answering([], headers=headers)) as server:
            assert (await ask(server, GET)).status == 500
        async with talking(answering([b"abc"], headers=headers)) as wire:
            wire.send(GET)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await wire.answer()
        assert "4 octets shorter than was announced" in caplog.text
        assert "1 octets shorter than was announced" in caplog.text


class TestInput:
    @pytest.mark.usefixtures("loop_kind")
    async def test_echo(self) -> None:
        """A body with a length, a chunked one, one larger than all buffers, none."""
        large = bytes(range(256)) * 8192
        async with talking(echo) as wire:
            wire.send(post(body=b"abc"))
            assert (await wire.answer()).body == b"abc"
            wire.send(CHUNKED_POST, b"3\r\nabc\r\n", b"2;x=y\r\nde\r\n", b"0\r\nX: y\r\n\r\n")
            assert (await wire.answer()).body == b"abcde"
            wire.send(post(body=large))
            assert (await wire.answer()).body == large
            wire.send(GET)
            assert (await wire.answer()).body == b""

    async def test_piece_by_piece(self) -> None:
        """Reading waits for the client, and answering does not wait for reading."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", PLAIN)
            yield b"go"
            yield from environ["wsgi.input"]

        async with talking(app) as wire:
            wire.send(CHUNKED_POST)
            await wire.head()
            assert await wire.reader.readexactly(7) == b"2\r\ngo\r\n"
            for line in (b"one\n", b"two\n"):
                wire.send(b"4\r\n%b\r\n" % line)
                assert await wire.reader.readexactly(9) == b"4\r\n%b\r\n" % line
            wire.send(b"0\r\n\r\n")
            assert await wire.reader.readexactly(5) == b"0\r\n\r\n"

    async def test_expect(self) -> None:
        """100 Continue is sent when the application reads, and not where it does not."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            body = environ["wsgi.input"].read() if environ["PATH_INFO"] == "/read" else b"no"
            start_response("200 OK", PLAIN)
            return [body]

        head = b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        async with hosting(app) as server:
            async with connected(server) as wire:
                wire.send(head % b"/read")
                assert (await wire.answer()).status == 100
                wire.send(b"abc")
                assert (await wire.answer()).body == b"abc"
            async with connected(server) as wire:
                wire.send(head % b"/")
                answer = await wire.answer()
                assert (answer.status, answer.body) == (200, b"no")

    async def test_unread(self) -> None:
        """What the application did not read is thrown away; the next request is answered."""
        async with talking(answering([b"ok"])) as wire:
            wire.send(post(body=bytes(1 << 20)), GET)
            for _ in range(2):
                assert (await wire.answer()).body == b"ok"

    async def test_broken_off(self) -> None:
        """A body that does not come to its end is an OSError for the application."""
        errors: list[BaseException] = []
        begun, done = threading.Event(), threading.Event()

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            begun.set()
            try:
                return [environ["wsgi.input"].read()]
            except OSError as error:
                errors.append(error)
                raise
            finally:
                done.set()

        async with hosting(app) as server, connected(server) as wire:
            wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab")
            assert await asyncio.to_thread(begun.wait, PATIENCE)
            wire.writer.write_eof()
            await wire.rest()
            assert await asyncio.to_thread(done.wait, PATIENCE)
        assert len(errors) == 1

    async def test_malformed(self) -> None:
        """A body that breaks the rules is answered as such if the application lets it pass."""
        async with talking(echo) as wire:
            wire.send(CHUNKED_POST + b"3\r\nab")
            wire.send(b"cXX")
            assert (await wire.answer()).status == 400
            assert await wire.closed()

    async def test_not_after_the_end(self) -> None:
        """What is kept of a request cannot be read when the request is over."""
        kept: list[Any] = []

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            kept.append(environ["wsgi.input"])
            start_response("200 OK", PLAIN)
            return []

        async with talking(app) as wire:
            wire.send(CHUNKED_POST)
            assert (await wire.answer()).status == 200
            with pytest.raises(OSError, match="the request is over"):
                await asyncio.to_thread(kept[0].read)


async def test_errors_stream(caplog: pytest.LogCaptureFixture) -> None:
    """What the application prints to ``wsgi.errors`` is in the log, the last line too."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        print("one\ntwo", end="", file=environ["wsgi.errors"])
        start_response("200 OK", PLAIN)
        return []

    async with hosting(app) as server:
        await ask(server, GET)
    assert [r.message for r in caplog.records if r.name == "angelia.hosting.wsgi"] == ["one", "two"]


class Wrapped:
    """What was wrapped that has no `close`."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, size: int) -> bytes:
        piece, self._content = self._content[:size], self._content[size:]
        return piece


class TestRealFile:
    """Which files the system may send by itself."""

    def test_regular(self, tmp_path: Path) -> None:
        """A regular file, from where it stands to its end; not behind it."""
        (tmp_path / "f").write_bytes(b"hello")
        with (tmp_path / "f").open("rb") as file:
            for at, size in ((0, 5), (2, 3), (9, 0)):
                file.seek(at)
                assert real_file(file) == (file, at, size)
        # It is closed.
        assert real_file(file) is None
        with (tmp_path / "f").open("rb", buffering=0) as raw:
            assert real_file(raw) == (raw, 0, 5)

    def test_others(self, tmp_path: Path) -> None:
        """What would come out of the descriptor otherwise, or is none."""
        with gzip.open(tmp_path / "f", "wb") as packed:
            packed.write(b"hello")
        with gzip.open(tmp_path / "f", "rb") as packed:
            assert real_file(packed) is None
        reader, writer = os.pipe()
        os.close(writer)
        with open(reader, "rb") as pipe:  # noqa: PTH123 - it has no path
            assert real_file(pipe) is None
        assert real_file(io.BytesIO(b"hello")) is None
        assert real_file(Wrapped(b"hello")) is None


class TestFileWrapper:
    async def test_without_close(self) -> None:
        """A file-like object need not have a `close`."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", PLAIN)
            wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](Wrapped(b"hello"), 2)
            return wrapped

        async with hosting(app) as server:
            assert (await ask(server, GET)).body == b"hello"

    async def test_before_the_start(self, caplog: pytest.LogCaptureFixture) -> None:
        """A file without ``start_response`` is an error like any content."""

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            file = Path(__file__).open("rb")  # noqa: SIM115 - the wrapper closes it
            wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
            return wrapped

        async with hosting(app) as server:
            assert (await ask(server, GET)).status == 500
        assert "content before start_response()" in caplog.text

    @pytest.mark.usefixtures("loop_kind")
    async def test_by_tls(self, tmp_path: Path) -> None:
        """Where the system cannot send the file it is read, and not too much of it."""
        content = bytes(range(256)) * 1000
        (tmp_path / "f").write_bytes(content)

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            length = environ["QUERY_STRING"]
            start_response("200 OK", [("Content-Length", length)] if length else PLAIN)
            wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"]((tmp_path / "f").open("rb"))
            return wrapped

        authority = trustme.CA()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(context)
        trust = ssl.create_default_context()
        authority.configure_trust(trust)
        async with (
            WSGIHandler(app) as handler,
            serving(handler, ssl=context) as server,
            connected(server, trust) as wire,
        ):
            for length in (None, 100_000):
                query = b"" if length is None else b"?%d" % length
                wire.send(b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n" % query)
                assert (await wire.answer()).body == content[:length]

    """PEP 3333 "Optional Platform-Specific File Handling"."""

    CONTENT = bytes(range(256)) * 3000

    def app(self, file: Any, headers: list[tuple[str, str]] | None = None) -> WSGIApplication:
        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            start_response("200 OK", PLAIN if headers is None else headers)
            wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file, 1000)
            return wrapped

        return app

    @pytest.mark.usefixtures("loop_kind")
    async def test_real_file(self, tmp_path: Path) -> None:
        """A regular file has a length, is sent from where it stands, and closed."""
        (tmp_path / "f").write_bytes(self.CONTENT)
        for buffering in (-1, 0):
            file = (tmp_path / "f").open("rb", buffering)
            file.read(7)
            async with talking(self.app(file)) as wire:
                wire.send(GET)
                answer = await wire.answer()
                assert answer.body == self.CONTENT[7:]
                assert answer.headers["content-length"] == str(len(self.CONTENT) - 7)
            assert file.closed

    @pytest.mark.parametrize("length", [0, 10, 768000])
    async def test_with_length(self, tmp_path: Path, length: int) -> None:
        """So much of it is sent as was announced."""
        (tmp_path / "f").write_bytes(self.CONTENT)
        file = (tmp_path / "f").open("rb")
        async with talking(self.app(file, [("Content-Length", str(length))])) as wire:
            wire.send(GET, HEAD)
            assert (await wire.answer()).body == self.CONTENT[:length]

    async def test_shorter_than_announced(self, tmp_path: Path) -> None:
        """A file that is too short is found before anything was sent."""
        (tmp_path / "f").write_bytes(b"abc")
        file = (tmp_path / "f").open("rb")
        async with hosting(self.app(file, [("Content-Length", "4")])) as server:
            assert (await ask(server, GET)).status == 500
        assert file.closed

    async def test_others(self, tmp_path: Path) -> None:
        """Whatever can be read is sent, block by block."""
        import gzip

        (tmp_path / "f.gz").write_bytes(gzip.compress(self.CONTENT))
        temporary = tempfile.NamedTemporaryFile()  # noqa: SIM115 - the server closes it
        temporary.write(self.CONTENT)
        temporary.seek(0)
        spooled = tempfile.SpooledTemporaryFile()  # noqa: SIM115 - the same
        spooled.write(self.CONTENT)
        spooled.seek(0)
        zipped = gzip.GzipFile(tmp_path / "f.gz")
        for file in (io.BytesIO(self.CONTENT), zipped, temporary, spooled):
            async with hosting(self.app(file)) as server:
                assert (await ask(server, GET)).body == self.CONTENT
            assert file.closed

    async def test_head_and_after_write(self, tmp_path: Path) -> None:
        """HEAD sends none of it; behind what was written it is chunked."""
        (tmp_path / "f").write_bytes(b"abc")

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            write = start_response("200 OK", PLAIN)
            if environ["REQUEST_METHOD"] == "GET":
                write(b"one")
            wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"]((tmp_path / "f").open("rb"))
            return wrapped

        async with talking(app) as wire:
            wire.send(HEAD)
            assert (await wire.answer(head=True)).status == 200
            wire.send(GET)
            assert (await wire.answer()).body == b"oneabc"


class TestClients:
    @pytest.mark.usefixtures("loop_kind")
    async def test_gone(self, caplog: pytest.LogCaptureFixture) -> None:
        """A client that goes away ends the iteration; that is nobody's error."""
        piece = bytes(64 * 1024)

        def endless() -> Iterator[bytes]:
            while True:
                yield piece

        pieces = Pieces(endless())
        with caplog.at_level(logging.INFO):
            async with hosting(answering(pieces)) as server:
                async with connected(server) as wire:
                    wire.send(GET)
                    await wire.head()
                assert await asyncio.to_thread(pieces.closed.wait, PATIENCE)
        assert not [record for record in caplog.records if record.name.startswith("angelia")]

    async def test_gone_before_its_turn(self) -> None:
        """A request whose client did not wait for a thread is not run."""
        began, gate = threading.Event(), threading.Event()
        paths: list[str] = []

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            paths.append(environ["PATH_INFO"])
            began.set()
            assert gate.wait(PATIENCE)
            start_response("200 OK", PLAIN)
            return []

        handler = WSGIHandler(app, threads=1)
        gone: list[object] = []
        calls = 0

        async def counting(request: angelia.Request) -> angelia.StreamResponse:
            nonlocal calls
            calls += 1
            try:
                async with asyncio.TaskGroup() as group:
                    waiting = group.create_task(request.wait_disconnected())
                    waiting.add_done_callback(gone.append)
                    response = await handler(request)
                    waiting.cancel()
            except* ConnectionError as errors:
                raise errors.exceptions[0] from None
            return response

        async with handler, angelia.Server(counting) as server:
            await server.start("127.0.0.1", 0)
            async with connected(server) as one:
                one.send(GET)
                assert await asyncio.to_thread(began.wait, PATIENCE)
                async with connected(server) as two:
                    two.send(b"GET /two HTTP/1.1\r\nHost: h\r\n\r\n")
                    await until(lambda: calls == 2)
                    reset(two)
                async with connected(server) as three:
                    three.send(b"GET /three HTTP/1.1\r\nHost: h\r\n\r\n")
                    await until(lambda: calls == 3)
                    await until(lambda: len(gone) == 1)
                    gate.set()
                    assert (await three.answer()).status == 200
                assert (await one.answer()).status == 200
        assert paths == ["/", "/three"]

    async def test_cancelled(self) -> None:
        """With `handler_cancellation` the application is told by its next piece."""
        began, gate = threading.Event(), threading.Event()

        def slow() -> Iterator[bytes]:
            began.set()
            assert gate.wait(PATIENCE)
            yield b"x"
            pytest.fail("asked for more")

        pieces = Pieces(slow())
        async with hosting(
            answering(pieces), server_options={"handler_cancellation": True}
        ) as server:
            async with connected(server) as wire:
                wire.send(GET)
                assert await asyncio.to_thread(began.wait, PATIENCE)
            await until(lambda: not server.connections)
            gate.set()
            assert await asyncio.to_thread(pieces.closed.wait, PATIENCE)
            assert pieces.taken == 1


class TestThreads:
    async def test_at_the_same_time(self) -> None:
        """Calls run beside each other, up to the number of threads."""
        barrier = threading.Barrier(3, timeout=PATIENCE)

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            barrier.wait()
            start_response("200 OK", PLAIN)
            return []

        async with hosting(app, threads=3) as server:
            answers = await asyncio.gather(*(ask(server, GET) for _ in range(3)))
        assert [answer.status for answer in answers] == [200] * 3

    async def test_too_many(self) -> None:
        """Beyond threads and queue the answer is 503, and there is room again later."""
        gate = threading.Event()

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            assert gate.wait(PATIENCE)
            start_response("200 OK", PLAIN)
            return []

        async with hosting(app, threads=1, max_pending=1) as server:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ask(server, GET)) for _ in range(3)]
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                (refused,) = done
                assert refused.result().status == 503
                assert refused.result().headers["retry-after"] == "1"
                gate.set()
            assert sorted(task.result().status for task in tasks) == [200, 200, 503]
            assert (await ask(server, GET)).status == 200

    async def test_cancelled_in_the_queue(self) -> None:
        """A cancelled call counts until a thread has put it away, and never runs."""
        gate, called = threading.Event(), []

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            called.append(environ["PATH_INFO"])
            gate.wait(PATIENCE)
            start_response("200 OK", PLAIN)
            return []

        async with WSGIHandler(app, threads=1, max_pending=1) as wsgi:

            async def handler(request: angelia.Request) -> angelia.StreamResponse:
                if request.path != "/cancelled":
                    return await wsgi(request)
                call = asyncio.ensure_future(wsgi(request))
                await asyncio.sleep(0)
                call.cancel()
                await asyncio.wait([call])
                return angelia.Response(text=str(call.cancelled()))

            async with serving(handler) as server, connected(server) as wire:
                wire.send(GET)
                await until(lambda: bool(called))
                request = GET.replace(b"/", b"/cancelled", 1)
                assert (await ask(server, request)).body == b"True"
                assert (await ask(server, GET)).status == 503
                gate.set()
                assert (await wire.answer()).status == 200
        assert called == ["/"]

    async def test_context(self) -> None:
        """What a call leaves in its context is not there in the next one."""
        import contextvars

        variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="clean")

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            found = variable.get()
            variable.set("used")
            start_response("200 OK", PLAIN)
            return [found.encode()]

        async with hosting(app, threads=1) as server:
            assert [(await ask(server, GET)).body for _ in range(2)] == [b"clean"] * 2

    async def test_close(self, caplog: pytest.LogCaptureFixture) -> None:
        """Closing waits for the calls under way, as long as it was told to; then it is 503."""
        began, gate, ended = threading.Event(), threading.Event(), threading.Event()

        def late() -> None:
            began.set()
            assert gate.wait(PATIENCE)
            ended.set()

        handler = WSGIHandler(
            answering(Pieces([b"x"], late), headers=[("Content-Length", "1")]), threads=1
        )
        async with angelia.Server(handler) as server:
            await server.start("127.0.0.1", 0)
            assert (await ask(server, GET)).body == b"x"
            assert await asyncio.to_thread(began.wait, PATIENCE)
            await handler.close(0)
            assert "goes on after its end, for <Request GET '/'>" in caplog.text
            closing = asyncio.create_task(handler.close())
            await asyncio.sleep(0)
            assert not closing.done()
            gate.set()
            await closing
            assert ended.is_set()
            assert (await ask(server, GET)).status == 503
            assert repr(handler).endswith(" closed>")

    @pytest.mark.parametrize(
        "options",
        [{"threads": 0}, {"max_pending": -1}, {"script_name": "x"}, {"script_name": "/x/"}],
    )
    def test_wrong_options(self, options: dict[str, Any]) -> None:
        """Bounds leave room, a mount point is a path."""
        with pytest.raises(ValueError, match=r"room|script_name"):
            WSGIHandler(answering(), **options)


async def test_nothing_is_kept() -> None:
    """What a request needed goes with it, without the help of the garbage collector."""
    async with hosting(echo) as server, connected(server) as wire:
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                wire.send(post(body=b"abc"))
                await wire.answer()
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            kept = [thing for thing in gc.garbage if type(thing) is InputStream]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    assert not kept


async def test_connect() -> None:
    """CONNECT asks for a tunnel, which no application is."""
    async with hosting(answering()) as server:
        answer = await ask(server, b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n")
    assert answer.status == 501


async def test_access_log(caplog: pytest.LogCaptureFixture) -> None:
    """The log knows status, size and fields."""
    log = angelia.AccessLogger(log_format="%s %b %{X-A}o")
    with caplog.at_level(logging.INFO):
        app = answering([b"hello"], status="201 Created", headers=[("X-A", "b")])
        async with hosting(app, server_options={"access_log": log}) as server:
            await ask(server, LAST)
    assert "201 5 b" in caplog.messages


class TestValidated:
    """wsgiref.validate stands between server and application, and finds nothing."""

    @pytest.mark.filterwarnings("error")
    async def test_clean(self, caplog: pytest.LogCaptureFixture) -> None:
        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            body = environ["wsgi.input"]
            text = body.read(2) + body.readline() + b"".join(body.readlines(1)) + b"".join(body)
            environ["wsgi.errors"].write("an error\n")
            environ["wsgi.errors"].flush()
            write = start_response("200 OK", [*PLAIN, ("X-Query", environ["QUERY_STRING"])])
            if environ["PATH_INFO"] == "/write":
                write(b"written ")
            return [text]

        async with talking(validator(app)) as wire:
            for path, body in ((b"/", b""), (b"/write", b"written "), (b"/%E2?a=b", b"")):
                wire.send(post(body=b"one\ntwo\nthree\nfour", path=path))
                answer = await wire.answer()
                assert (answer.status, answer.body) == (200, body + b"one\ntwo\nthree\nfour")
            wire.send(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await wire.answer()).status == 200
            wire.send(HEAD)
            assert (await wire.answer(head=True)).status == 200
        assert {record.message for record in caplog.records} == {"an error"}
