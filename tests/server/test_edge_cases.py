"""What servers have got wrong before: the small print of requests, answers and their log."""

from __future__ import annotations

import asyncio
import gc
import logging
from pathlib import Path
from typing import Any

import pytest

from angelia.server.access_log import AccessLogger
from angelia.server.files import Directory
from angelia.server.http_exception import HTTPException
from angelia.server.request import Request
from angelia.server.response import Response
from angelia.server.stream_response import StreamResponse
from server.kit import GET, ask, connected, echo, hello, serving

pytestmark = [pytest.mark.usefixtures("loop_kind"), pytest.mark.deadline(20)]

HEAD = b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"


def _file(*fields: bytes, method: bytes = b"GET") -> bytes:
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"%b /f HTTP/1.1\r\nHost: h\r\n%b\r\n" % (method, lines)


class TestAnswers:
    @pytest.mark.parametrize("kind", ["http", "error", "stream", "generator", "wrong"])
    async def test_head(self, kind: str, caplog: pytest.LogCaptureFixture) -> None:
        """HEAD never has a body: not an error's, nor one that is written piece by piece."""

        async def pieces() -> Any:
            yield b"piece"

        async def handler(request: Request) -> Any:
            if kind == "http":
                raise HTTPException(404, "nothing here")
            if kind == "error":
                raise LookupError
            if kind == "generator":
                return Response(pieces())
            if kind == "wrong":
                return None
            response = StreamResponse()
            await response.prepare(request)
            await response.write(b"piece")
            await response.write_eof(b"last")
            return response

        with caplog.at_level(logging.CRITICAL, "angelia.server"):
            async with serving(handler) as server, connected(server) as wire:
                wire.send(HEAD)
                status, fields = await wire.head()
                assert status == {"http": 404, "error": 500, "wrong": 500}.get(kind, 200)
                if fields.get("connection") != "close":
                    wire.send(HEAD)
                    assert (await wire.head())[0] == status
                    wire.writer.write_eof()
                assert await wire.closed()

    async def test_last_of_several(self) -> None:
        """`close` in a list ends the connection; what was asked for before is answered."""
        last = GET.replace(b"/ ", b"/last ", 1).replace(
            b"\r\n\r\n", b"\r\nConnection: keep-alive, x\r\nConnection: Close\r\n\r\n"
        )
        async with serving(hello) as server, connected(server) as wire:
            wire.send(GET + GET + last + GET)
            for _ in range(2):
                answer = await wire.answer()
                assert "connection" not in answer.headers
            answer = await wire.answer()
            assert (answer.body, answer.headers["connection"]) == (b"hello /last", "close")
            assert await wire.closed()

    async def test_changed_too_late(self) -> None:
        """What is in the head cannot change any more when that is out; ending twice is harmless."""

        async def handler(request: Request) -> StreamResponse:
            response = StreamResponse()
            await response.prepare(request)
            with pytest.raises(RuntimeError, match="cannot change"):
                response.set_status(404)
            with pytest.raises(RuntimeError, match="cannot change"):
                response.set_cookie("a", "b")
            await response.write_eof(b"content")
            await response.write_eof()
            with pytest.raises(RuntimeError):
                await response.write(b"more")
            return response

        async with serving(handler) as server:
            answer = await ask(server, GET)
            assert (answer.status, answer.body) == (200, b"content")


class TestRequests:
    @pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"FOO"])
    async def test_announced_bodies(self, method: bytes) -> None:
        """Content is there where it was announced, whatever the method."""
        seen: list[tuple[bool, bool, bytes, bool]] = []

        async def handler(request: Request) -> StreamResponse:
            exists, can_read = request.body_exists, request.can_read_body
            body = await request.read()
            seen.append((exists, can_read, body, request.can_read_body))
            return Response()

        async with serving(handler) as server, connected(server) as wire:
            for fields in (b"Content-Length: 3\r\n\r\nabc", b"\r\n"):
                wire.send(method + b" / HTTP/1.1\r\nHost: h\r\n" + fields)
                await wire.head()
        assert seen == [(True, True, b"abc", False), (False, False, b"", False)]

    async def test_facts_of_a_client_that_has_gone(self) -> None:
        """URL, host and scheme can be asked for when nobody is there any more."""
        began, gone = asyncio.Event(), asyncio.Event()
        seen: list[object] = []

        async def handler(request: Request) -> StreamResponse:
            began.set()
            await request.wait_disconnected()
            seen.extend([request.url.path, request.scheme, request.remote, repr(request)])
            gone.set()
            return Response()

        for version in (b"1.0", b"1.1\r\nHost: h"):
            began.clear()
            gone.clear()
            async with serving(handler) as server, connected(server) as wire:
                wire.send(b"GET /x HTTP/" + version + b"\r\n\r\n")
                await began.wait()
                wire.writer.transport.abort()
                await gone.wait()
            assert seen[:2] == ["/x", "http"]
            seen.clear()

    async def test_forwarding_fields(self) -> None:
        """What a client says of itself is not believed."""

        async def handler(request: Request) -> StreamResponse:
            return Response(text=f"{request.url} {request.scheme} {request.remote}")

        octets = (
            b"GET / HTTP/1.1\r\nHost: h\r\n"
            b"X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n"
            b"X-Forwarded-Host: evil\r\nX-Real-IP: 10.0.0.1\r\n"
            b"Forwarded: for=10.0.0.1;proto=https;host=evil\r\n\r\n"
        )
        async with serving(handler) as server:
            assert (await ask(server, octets)).body == b"http://h/ http 127.0.0.1"

    async def test_tiny_chunks(self) -> None:
        """A body in chunks of one octet comes whole, and its books do not outlive it."""
        count = 20_000
        async with serving(echo) as server, connected(server) as wire:
            wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(2):
                wire.send(b"1\r\nx\r\n" * count + b"0\r\n\r\n")
                assert (await wire.answer()).body == b"x" * count
                wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
            wire.writer.transport.abort()


class TestFiles:
    async def test_beyond_two_gigabytes(self, tmp_path: Path) -> None:
        """Sizes and places of files have no 32 bits."""
        size = 3 * 2**30
        with (tmp_path / "f").open("wb") as file:
            file.truncate(size)
            file.seek(size - 3)
            file.write(b"end")
        async with serving(Directory(tmp_path)) as server:
            answer = await ask(server, _file(b"Range: bytes=-5"))
            assert (answer.status, answer.body) == (206, b"\0\0end")
            assert answer.headers["content-range"] == f"bytes {size - 5}-{size - 1}/{size}"
            answer = await ask(server, _file(method=b"HEAD"), head=True)
            assert answer.headers["content-length"] == str(size)

    @pytest.mark.parametrize(
        ("value", "status"),
        [
            (b"BYTES=0-1", 206),
            (b"bytes=\xd9\xa0-1", 200),
            (b"bytes=+0-1", 200),
            (b"bytes=0_0-1", 200),
            (b"bytes=999999999999999999-", 416),
            (b"bytes=0-999999999999999999", 206),
            # Beyond all files: no range that is known.
            (b"bytes=0-" + b"9" * 5000, 200),
        ],
    )
    async def test_digits_of_ranges(self, value: bytes, status: int, tmp_path: Path) -> None:
        """A unit has no case; digits are those of ASCII, and not too many."""
        (tmp_path / "f").write_bytes(b"0123456789")
        async with serving(Directory(tmp_path)) as server:
            assert (await ask(server, _file(b"Range: " + value))).status == status

    @pytest.mark.parametrize("piece", [b"0-,", b"0-0,", b"-1,", b",", b"9-9,0-9,"])
    async def test_many_ranges(self, piece: bytes, tmp_path: Path) -> None:
        """Asking for everything a thousand times does not get it a thousand times."""
        content = bytes(100_000)
        (tmp_path / "f").write_bytes(content)
        value = b"Range: bytes=" + piece * (8000 // len(piece)) + b"1-1"
        async with serving(Directory(tmp_path)) as server:
            answer = await ask(server, _file(value))
            assert answer.status in (200, 206, 416)
            assert len(answer.body) <= 2 * len(content)

    async def test_unreadable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that must not be read is a 403."""
        (tmp_path / "f").write_bytes(b"secret")

        def refuse(*_: object, **__: object) -> int:
            raise PermissionError(13, "Permission denied")

        async with serving(Directory(tmp_path)) as server:
            monkeypatch.setattr("angelia.server.files.os.open", refuse)
            assert (await ask(server, _file())).status == 403

    async def test_replaced(self, tmp_path: Path) -> None:
        """What is sent is the file that was opened, whatever its name stands for by then."""
        file = tmp_path / "f"
        size = 8 * 2**20
        file.write_bytes(b"a" * size)
        async with serving(Directory(tmp_path)) as server, connected(server) as wire:
            wire.send(_file())
            _, fields = await wire.head()
            (tmp_path / "other").write_bytes(b"b" * 10)
            (tmp_path / "other").replace(file)
            assert fields["content-length"] == str(size)
            assert (await wire.reader.readexactly(size)).count(b"a") == size


class TestMemory:
    @pytest.mark.parametrize(
        "octets",
        [
            (
                b"GET /%d HTTP/1.1\r\nHost: h%d\r\nA%d: b\r\nCookie: c%d=d\r\n"
                b"Connection: close\r\n\r\n"
            ),
            b"GET /%d?%d HTTP/1.1\r\nHost: h\r\nHost: h%d\r\n\r\n%d",
            b"M%d /%d HTTP/%d.%d\r\n\r\n",
        ],
        ids=["good", "bad", "rubbish"],
    )
    async def test_distinct_requests(self, octets: bytes) -> None:
        """No number of distinct requests, good or bad, leaves objects behind."""

        async def handler(request: Request) -> StreamResponse:
            return Response(text=f"{request.url.path} {request.cookies}")

        async with serving(handler) as server:

            async def rounds(first: int) -> int:
                for number in range(first, first + 40):
                    async with connected(server) as wire:
                        wire.send(octets % ((number,) * 4))
                        assert b"HTTP/1.1 " in await wire.rest()
                for _ in range(5):
                    await asyncio.sleep(0)
                gc.collect()
                return len(gc.get_objects())

            # Caches of a fixed size, of URLs for one, fill at first.
            await rounds(0)
            before = await rounds(40)
            after = await rounds(80)
            # Less than one for each connection.
            assert after - before < 40


class TestAccessLog:
    @pytest.mark.parametrize("how", ["error", "bad body", "gone", "timeout"])
    async def test_one_line(self, how: str, caplog: pytest.LogCaptureFixture) -> None:
        """Each request has its one line, also where it ended badly or nobody listens any more."""
        began, done = asyncio.Event(), asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            began.set()
            try:
                if how == "error":
                    raise LookupError
                if how == "gone":
                    await request.wait_disconnected()
                return Response(await request.read())
            finally:
                done.set()

        octets = {
            "error": GET,
            "gone": GET,
            "bad body": b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "timeout": b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nx",
        }[how]
        caplog.set_level(logging.CRITICAL, "angelia.server")
        caplog.set_level(logging.INFO, "angelia.access")
        log = AccessLogger(log_format="%s %a")
        async with serving(handler, access_log=log, body_timeout=0.02) as server:
            async with connected(server) as wire:
                wire.send(octets)
                if how == "gone":
                    await began.wait()
                    wire.writer.transport.abort()
                    await done.wait()
                else:
                    status = {"error": 500, "bad body": 400, "timeout": 408}[how]
                    assert (await wire.answer()).status == status
            await server.close()
        (line,) = [r.getMessage() for r in caplog.records if r.name == "angelia.access"]
        assert line.split()[0] in ("500", "400", "408", "499", "200")
