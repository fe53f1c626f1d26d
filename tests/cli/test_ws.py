"""Tests of angelia.cli.ws: a conversation through pipes, and the server that echoes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from angelia import WSMsgType
from angelia.cli.lines import MAX_LINE
from angelia.cli.main import main
from peers.raw import RawServer, read_head, response
from peers.ws import Peer, echo, fields_of, ws_script

COMMAND = (sys.executable, "-m", "angelia", "ws")


def ws_url(server: RawServer) -> str:
    return str(server.url.with_scheme("ws"))


@contextlib.asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[Process]:
    """The command, with pipes."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        limit=MAX_LINE * 2,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run(given: bytes, *arguments: str) -> tuple[int | None, bytes, str]:
    """The exit code, and both outputs."""
    async with running(*arguments) as process:
        out, err = await process.communicate(given)
        return process.returncode, out, err.decode()


class TestPipe:
    async def test_lines(self) -> None:
        """A line is a text message, a text message a line; the end is a closing handshake."""
        closed: list[int | None] = []

        async def play(peer: Peer) -> None:
            await echo(peer)
            closed.append(peer.core.close_code)

        async with RawServer(ws_script(play)) as server:
            given = "one\r\ntwo \u20ac\n\nlast".encode()
            code, out, err = await run(given, ws_url(server))
        assert (code, out) == (0, "one\ntwo \u20ac\n\nlast\n".encode())
        assert err == "connected\nclosed with 1000\n"
        assert closed == [1000]

    async def test_binary(self) -> None:
        """With --binary octets go out, and come back as they are."""
        async with RawServer(ws_script(echo)) as server:
            code, out, err = await run(b"\xff\x00a\nb\n", "-b", "-s", ws_url(server))
        assert (code, out, err) == (0, b"\xff\x00ab", "")

    async def test_handshake(self) -> None:
        """The options of the handshake are sent; the protocol that was chosen is told."""
        script = ws_script(echo, protocols=("b",))
        async with RawServer(script) as server:
            code, _, err = await run(
                b"", "-H", "X-Y: z", "--origin", "http://o.test", "--protocol", "a",
                "--protocol", "b", "-u", "u:p", "--compress", ws_url(server),
            )  # fmt: skip
            fields = {name.lower(): value for name, value in fields_of(server.requests[0])}
        assert code == 0
        assert err.startswith("connected, b\n")
        assert fields["x-y"] == "z"
        assert fields["origin"] == "http://o.test"
        assert fields["sec-websocket-protocol"] == "a, b"
        assert fields["sec-websocket-extensions"].startswith("permessage-deflate")
        assert fields["authorization"] == "Basic dTpw"

    async def test_server_speaks_first(self) -> None:
        """What comes while nothing is typed is shown when it comes."""
        answered = asyncio.Event()

        async def play(peer: Peer) -> None:
            await peer.text("hello")
            message = await peer.receive()
            assert (message.type, message.data) == (WSMsgType.TEXT, "hi")
            await peer.ping(b"there?")
            message = await peer.receive()
            assert (message.type, message.data) == (WSMsgType.PONG, b"there?")
            answered.set()
            await echo(peer)

        async with RawServer(ws_script(play)) as server, running(ws_url(server)) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            assert await process.stdout.readline() == b"hello\n"
            process.stdin.write(b"hi\n")
            await answered.wait()

    @pytest.mark.parametrize(
        ("code", "reason", "exit_code", "said"),
        [
            (1001, "", 0, "closed with 1001"),
            (1001, "n\x1bight", 0, "closed with 1001: n\\x1bight"),
            (1011, "", 1, "angelia: closed with 1011"),
            (4000, "go", 1, "angelia: closed with 4000: go"),
        ],
    )
    async def test_server_closes(self, code: int, reason: str, exit_code: int, said: str) -> None:
        """The server's end is ours, whatever standard input does."""

        async def play(peer: Peer) -> None:
            await peer.close(code, reason)

        async with RawServer(ws_script(play)) as server, running(ws_url(server)) as process:
            assert process.stderr is not None
            assert await process.wait() == exit_code
            assert (await process.stderr.read()).decode() == f"connected\n{said}\n"

    async def test_connection_breaks(self) -> None:
        """An end without a Close is no end in order."""

        async def play(peer: Peer) -> None:
            await peer.text("x")

        async with RawServer(ws_script(play)) as server, running(ws_url(server)) as process:
            assert process.stderr is not None
            assert await process.wait() == 3
            assert "the connection broke" in (await process.stderr.read()).decode()

    async def test_interrupted(self) -> None:
        """Ctrl-C says goodbye to the server."""
        closed: list[int | None] = []

        async def play(peer: Peer) -> None:
            await peer.text("x")
            await echo(peer)
            closed.append(peer.core.close_code)

        async with RawServer(ws_script(play)) as server, running(ws_url(server)) as process:
            assert process.stdout is not None
            await process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
        assert closed == [1000]


class TestRefused:
    async def test_handshake(self) -> None:
        """An answer that is no handshake."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            writer.write(response(b"", status="403 Forbidden"))
            await writer.drain()

        async with RawServer(script) as server:
            code, out, err = await run(b"x\n", ws_url(server))
        assert (code, out) == (1, b"")
        assert err == "angelia: 403 Invalid response status\n"

    async def test_not_utf8(self) -> None:
        """What is no text is not sent as such."""
        async with RawServer(ws_script(echo)) as server:
            code, _, err = await run(b"\xff\n", ws_url(server))
        assert code == 2
        assert "not UTF-8" in err

    async def test_line_too_long(self) -> None:
        """A line that has no end is not kept."""
        async with RawServer(ws_script(echo, max_msg_size=0)) as server:
            code, _, err = await run(b"x" * (MAX_LINE + 65537), ws_url(server))
        assert code == 2
        assert "a line is longer than" in err

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ([], "either a URL or --listen"),
            (["ws://h/", "--listen", "1"], "either a URL or --listen"),
            (["--listen", "65536"], "not a port"),
            (["ftp://h/"], "the scheme 'ftp' is none of ws, wss, http, https"),
            (["ws://h/", "-H", "Host:"], "cannot be left out"),
            (["ws://h/", "-H", "nonsense"], "a header is"),
            (["ws://h/", "--protocol", "a,b"], "subprotocol is no token: 'a,b'"),
            (["ws://h/", "--protocol", "a", "--protocol", "a"], "subprotocol"),
            (["--listen", "0", "-H", "a: b"], "--header is for a client"),
            (["--listen", "0", "--unix-socket", "x"], "--unix-socket is for a client"),
        ],
    )
    def test_usage(
        self, arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """What cannot be done is said."""
        assert main(["ws", *arguments]) == 2
        assert said in capfd.readouterr().err

    def test_nobody_there(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """No connection."""
        path = tmp_path / "nobody"
        assert main(["ws", "ws://localhost/", "--unix-socket", str(path)]) == 3
        assert str(path) in capfd.readouterr().err


class TestListen:
    async def test_echo(self) -> None:
        """--listen 0 takes a free port and says which; text and octets come back."""
        async with running("--listen", "0") as server:
            assert server.stderr is not None
            told = (await server.stderr.readline()).decode()
            found = re.fullmatch(r"listening on (ws://127\.0\.0\.1:\d+/)\n", told)
            assert found is not None
            assert await run(b"a\nb\n", "-s", found[1]) == (0, b"a\nb\n", "")
            assert await run(b"a\nb\n", "-s", "-b", found[1]) == (0, b"ab", "")
            server.send_signal(signal.SIGINT)
            assert await server.wait() == 130

    async def test_taken(self) -> None:
        """A port that is not to be had."""
        async with RawServer(ws_script(echo)) as server:
            code, _, err = await run(b"", "--listen", str(server.port))
        assert code == 2
        assert "cannot listen on 127.0.0.1" in err


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="pseudo-terminals of POSIX")
class TestTerminal:
    async def test_escapes(self) -> None:
        """On a terminal nothing that a server sends is obeyed, and octets are shown as such."""

        async def play(peer: Peer) -> None:
            await peer.text("\x1b[2Jline\nnext")
            await peer.binary(bytes(range(40)))
            await peer.close()

        ours, theirs = os.openpty()
        try:
            async with RawServer(ws_script(play)) as server:
                process = await asyncio.create_subprocess_exec(
                    *COMMAND, "-s", ws_url(server), stdin=theirs, stdout=theirs, stderr=theirs,
                    env={**os.environ, "NO_COLOR": "1"},
                )  # fmt: skip
                assert await process.wait() == 0
            shown = os.read(ours, 65536).decode()
        finally:
            os.close(ours)
            os.close(theirs)
        assert shown.splitlines() == [
            "< \\x1b[2Jline",
            "next",
            f"< (40 octets) {bytes(range(32)).hex(' ')} ...",
        ]
