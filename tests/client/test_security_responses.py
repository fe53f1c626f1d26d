"""An evil server's heads and framing, through a whole session on real sockets.

What `tests/core/test_h1_attacks.py` shows of the parser is shown here of the client: an attack ends
with an error of its own, closes its connection and only that one, and no octet of it reaches
another response. The core's table of variants is not repeated.

Held here:

- status lines: without a reason, with controls, of other versions; content without a length;
- interim responses without end (CVE-2023-44487's idea in HTTP/1.1), 101 unasked;
- content behind 204, 304 and HEAD, more than Content-Length says, behind the last chunk
  (CVE-2025-53643, CVE-2026-69243), responses nobody asked for, early and late;
- CVE-2026-22815, CVE-2026-54277: floods of fields, lines and trailers; urllib3 CVE-2026-97689: a
  chunk-size line without end; gunicorn: a chunk extension without end;
- CVE-2025-69229: a million tiny chunks; h11 0.15: a length of millions of digits;
- h11 CVE-2025-43859, gunicorn #3382, llhttp CVE-2022-32215: broken ends of chunks;
- CVE-2023-37276, CVE-2026-34520: bare CR, NUL and other controls in values;
- uvicorn CVE-2020-7694, CVE-2026-69244: what errors quote is short and printable;
- cancelled requests (#12795), also while they wait for 100-continue, close their connection.
"""

from __future__ import annotations

import asyncio

import pytest

import angelia
from angelia.net import connector
from counting import counted
from peers.evil import CANARY, Evil, content, failure
from peers.raw import RawServer, read_head, read_request, response

pytestmark = pytest.mark.usefixtures("loop_kind")

SMUGGLED = response(b"EVIL", "X-Evil: 1")

# The most that an error may say of what a peer sent, and of the request.
MAX_MESSAGE = 1000


class TestHeads:
    @pytest.mark.parametrize(
        ("head", "reason"),
        [
            (b"HTTP/1.1 200\r\n\r\n", ""),
            (b"HTTP/1.1 200 \r\n\r\n", ""),
            (b"HTTP/1.1 200 Fine indeed\r\n\r\n", "Fine indeed"),
            (b"HTTP/1.0 200 OK\r\n\r\n", "OK"),
        ],
    )
    @pytest.mark.parametrize("piece", [None, 1])
    async def test_content_to_the_end(self, head: bytes, reason: str, piece: int | None) -> None:
        """RFC 9112 §6.3: without a length, what comes until the end is the content, all of it."""
        evil = Evil(head + b"X" + SMUGGLED, piece=piece, then_close=True)
        async with RawServer(evil) as server, angelia.ClientSession() as session:
            async with session.get(server.url) as resp:
                assert resp.reason == reason
                assert await resp.read() == b"X" + SMUGGLED
            assert await content(session, server.url) == CANARY
            assert server.connections == 2

    @pytest.mark.parametrize(
        "attack",
        [
            b"HTTP/1.1 200 O\x00K\r\n\r\n",
            b"HTTP/1.1 200 O\x1b[31mK\r\n\r\n",
            b"HTTP/1.1 200 OK\rX: 1\r\n\r\n",
            b"HTTP/1.2.3 200 OK\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/0.9 200 OK\r\n\r\n",
            b"http/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 \xd9\xa2\xd9\xa0\xd9\xa0 OK\r\n\r\n",
            b"HTTP/1.1 +20 OK\r\n\r\n",
            b"HTTP/1.1 099 OK\r\n\r\n",
            b"HTTP/1.1\t200 OK\r\n\r\n",
            b" HTTP/1.1 200 OK\r\n\r\n",
            b"ICY 200 OK\r\n\r\n",
            b"<html>an answer of HTTP/0.9</html>\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\rContent-Length: 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\x1b[2Jb\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX\x00: a\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n: a\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked123\r\n\r\n",
        ],
        ids=lambda attack: ascii(attack[:50]),
    )
    @pytest.mark.parametrize("piece", [None, 1])
    async def test_refused(self, attack: bytes, piece: int | None) -> None:
        """A bad head is an error, printable and short; its connection closes, the next is clean."""
        evil = Evil(attack + SMUGGLED, piece=None if len(attack) > 500 else piece)
        async with RawServer(evil) as server, angelia.ClientSession() as session:
            error = await failure(session, server.url)
            for text in (str(error), repr(error)):
                assert len(text) < MAX_MESSAGE
                assert text.isprintable()
                assert text.isascii()
            assert await content(session, server.url) == CANARY
            assert server.connections == 2
            assert session.connector is not None
            assert session.connector.stats().in_use == 0

    async def test_coding_of_http_1_0(self) -> None:
        """RFC 9112 §6.1: such framing may be faulty, and so nothing follows it."""
        attack = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
        evil = Evil(attack + b"2\r\nok\r\n0\r\n\r\n")
        async with RawServer(evil) as server, angelia.ClientSession() as session:
            assert await content(session, server.url) == b"ok"
            await server.wait_all_closed()
            assert await content(session, server.url) == CANARY
            assert server.connections == 2

    @pytest.mark.parametrize(
        ("attack", "repeat"),
        [
            (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
            (b"HTTP/1.1 200 ", b"x"),
            (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
            (b"HTTP/1.1 200 OK\r\nX", b"x"),
            (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
            (b"", b"\r\n"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"y"),
        ],
        ids=lambda value: ascii(value[-30:]),
    )
    async def test_without_end(self, attack: bytes, repeat: bytes) -> None:
        """What never ends meets a limit soon: an error, and a closed connection."""
        evil = Evil(attack, repeat=repeat)
        async with RawServer(evil) as server, angelia.ClientSession() as session:
            error = await failure(session, server.url)
            assert len(str(error)) < MAX_MESSAGE
            # The server is stopped by the client's close, not by patience; what it wrote is what
            # sockets hold.
            await server.wait_all_closed()
            assert evil.written < 64 * 1024 * 1024
            assert await content(session, server.url) == CANARY

    async def test_many_complete_fields(self) -> None:
        """A head that is whole and has ten thousand fields is refused all the same."""
        evil = Evil(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n")
        async with RawServer(evil) as server, angelia.ClientSession() as session:
            assert isinstance(await failure(session, server.url), angelia.ClientResponseError)

    @pytest.mark.parametrize(
        "fields", [b"", b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"Content-Length: 0\r\n"]
    )
    async def test_101_unasked(self, fields: bytes) -> None:
        """RFC 9110 §15.2.2: who did not ask for another protocol is not switched to one."""
        attack = b"HTTP/1.1 101 Switching Protocols\r\n" + fields + b"\r\n" + SMUGGLED
        async with RawServer(Evil(attack)) as server, angelia.ClientSession() as session:
            error = await failure(session, server.url)
            assert isinstance(error, angelia.ClientResponseError)
            assert await content(session, server.url) == CANARY
            assert server.connections == 2


# Responses that are whole, with something behind their end.
OVERRUNS = [
    ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\n", b""),
    ("GET", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
    ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n", b""),
    ("GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", b""),
    ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
    ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n", b""),
    ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok"),
    (
        "GET",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"ok",
    ),
]


class TestOverruns:
    @pytest.mark.parametrize(("method", "attack", "expected"), OVERRUNS)
    @pytest.mark.parametrize("piece", [None, 1])
    @pytest.mark.parametrize("smuggled", [SMUGGLED, b"0\r\n\r\n"])
    async def test_at_once(
        self, method: str, attack: bytes, expected: bytes, piece: int | None, smuggled: bytes
    ) -> None:
        """What comes behind a response's end is nobody's: the next response is the canary."""
        evil = Evil(attack + smuggled, piece=piece)
        async with RawServer(evil) as server, angelia.ClientSession() as session:
            async with session.request(method, server.url) as resp:
                assert await resp.read() == expected
            await server.wait_all_closed()
            assert await content(session, server.url) == CANARY
            assert server.connections == 2

    @pytest.mark.parametrize(("method", "attack", "expected"), OVERRUNS)
    async def test_later(self, method: str, attack: bytes, expected: bytes) -> None:
        """A response on an idle connection that nobody asked for closes it."""
        idle = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            if idle.is_set():
                writer.write(response(CANARY))
                await writer.drain()
                return
            writer.write(attack)
            await idle.wait()
            writer.write(SMUGGLED)
            await reader.read()

        async with RawServer(script) as server, angelia.ClientSession() as session:
            async with session.request(method, server.url) as resp:
                assert await resp.read() == expected
            assert session.connector is not None
            assert session.connector.stats().idle == 1
            idle.set()
            await server.wait_all_closed()
            assert await content(session, server.url) == CANARY
            assert server.connections == 2

    async def test_just_before_the_next_request(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Octets that came to an idle connection, but that the loop has not read yet, count."""
        # A connection that was idle for a moment only is not asked; here no moment is that short.
        monkeypatch.setattr(connector, "FRESH", 1e-9)
        arrived = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            if arrived.is_set():
                writer.write(response(CANARY))
                await writer.drain()
                return
            writer.write(response(b"first"))
            await arrived.wait()
            # Written here, and on loopback received at once: the client that is woken in this
            # very turn has had no chance to read it.
            writer.write(SMUGGLED)
            go.set()
            await reader.read()

        async with RawServer(script) as server, angelia.ClientSession() as session:
            go = asyncio.Event()
            assert await content(session, server.url) == b"first"
            arrived.set()
            await go.wait()
            assert await content(session, server.url) == CANARY

    @pytest.mark.parametrize(
        "attack",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nshort",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\nX: y\r\n",
        ],
    )
    async def test_short_content(self, attack: bytes) -> None:
        """Content that ends before its framing says is an error, never a short success."""
        evil = Evil(attack, then_close=True)
        async with RawServer(evil) as server, angelia.ClientSession() as session:
            error = await failure(session, server.url)
            assert isinstance(error, angelia.ClientPayloadError)
            assert await content(session, server.url) == CANARY

    @pytest.mark.parametrize(
        "chunks",
        [
            b"2\r\nokEVIL",
            b"2\r\nok\r\r\n0\r\n\r\n",
            b"2\r\nok\n\n0\r\n\r\n",
            b"-2\r\nok\r\n0\r\n\r\n",
            b"0x2\r\nok\r\n0\r\n\r\n",
            b"2_0\r\nok\r\n0\r\n\r\n",
            b"1" + b"0" * 16 + b"\r\nok\r\n0\r\n\r\n",
            b"2;a=\nb\r\nok\r\n0\r\n\r\n",
            b"2\r\nok\r\n0\r\nContent-Length\x00: 5\r\n\r\n",
            b"\xd9\xa2\r\nok\r\n0\r\n\r\n",
        ],
        ids=ascii,
    )
    @pytest.mark.parametrize("piece", [None, 1])
    async def test_broken_chunks(self, chunks: bytes, piece: int | None) -> None:
        """Two octets behind each chunk, and every octet of its size, are what they have to be."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        evil = Evil(head + chunks + SMUGGLED, piece=piece)
        async with RawServer(evil) as server, angelia.ClientSession() as session:
            error = await failure(session, server.url)
            assert isinstance(error, angelia.ClientPayloadError)
            assert str(error).isprintable()
            assert len(str(error)) < MAX_MESSAGE
            assert await content(session, server.url) == CANARY
            assert server.connections == 2


class TestWork:
    async def test_many_tiny_chunks(self) -> None:
        """Each tiny chunk costs the same, however many have come."""

        def attack_of(count: int) -> bytes:
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            return head + b"1\r\nx\r\n" * count + b"0\r\n\r\n"

        calls = []
        for count in (5_000, 40_000):
            evil = Evil(attack_of(count))
            async with RawServer(evil) as server, angelia.ClientSession() as session:
                with counted() as work:
                    assert len(await content(session, server.url)) == count
                calls.append(work.calls)
        # Eight times the work, and room for reads of other sizes; quadratic would be 64 times.
        assert calls[1] < 16 * calls[0]
        # What counting does not see, moves of large buffers, would not come to an end here. (A
        # million of them are in tests/core.)
        count = 200_000
        async with RawServer(Evil(attack_of(count))) as server, angelia.ClientSession() as session:
            assert len(await content(session, server.url)) == count

    async def test_others_go_on(self) -> None:
        """An attack costs its own connection; those beside it, to the same server, stay."""
        attacked = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await read_head(reader)
            if b"GET /evil" in head:
                writer.write(b"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n")
                await reader.read()
                attacked.set()
                return
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n" + CANARY[:5])
            await attacked.wait()
            writer.write(CANARY[5:])
            await read_head(reader)
            writer.write(response(CANARY))

        async with RawServer(script) as server, angelia.ClientSession() as session:
            async with session.get(server.url) as resp:
                await failure(session, server.url / "evil")
                assert await resp.read() == CANARY
            assert await content(session, server.url) == CANARY
            assert server.connections == 2


class TestCancellation:
    @pytest.mark.parametrize("expect", [True, False])
    async def test_late_answer(self, expect: bool) -> None:
        """The answer to a request that was given up reaches nobody."""
        asked = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            if asked.is_set():
                writer.write(response(CANARY))
                await writer.drain()
                return
            asked.set()
            await reader.read()
            writer.write(SMUGGLED)

        async with RawServer(script) as server, angelia.ClientSession() as session:
            task = asyncio.ensure_future(session.put(server.url, data=b"x" * 100, expect100=expect))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert session.connector is not None
            assert session.connector.stats().idle == 0
            assert await content(session, server.url) == CANARY
            assert server.connections == 2

    async def test_unread_rest(self) -> None:
        """The rest of a content that was given up is never another response."""
        begun = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            if begun.is_set():
                writer.write(response(CANARY))
                await writer.drain()
                return
            begun.set()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nfirst")
            await reader.read()

        async with RawServer(script) as server, angelia.ClientSession() as session:
            async with session.get(server.url) as resp:
                assert await resp.content.read(5) == b"first"
                task = asyncio.ensure_future(resp.read())
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await content(session, server.url) == CANARY
            assert server.connections == 2
