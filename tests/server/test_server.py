"""The server as a whole: where it listens, how many it takes, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

import pytest
import trustme

import angelia
from angelia.server.request import Request
from angelia.server.response import Response
from angelia.server.server import Server
from angelia.server.stream_response import StreamResponse
from server.kit import GET, LAST, Wire, connected, hello, serving

pytestmark = [pytest.mark.usefixtures("loop_kind"), pytest.mark.deadline(15)]


async def fetch(server: Server, path: str = "/") -> tuple[int, str]:
    """What our own client gets."""
    async with (
        angelia.ClientSession() as session,
        session.get(f"http://127.0.0.1:{server.port}{path}") as response,
    ):
        return response.status, await response.text()


class TestListening:
    async def test_tcp(self) -> None:
        """On a free port, with our own client."""
        async with Server(hello) as server:
            assert await server.start("127.0.0.1", 0) is server
            assert await fetch(server, "/x?y=1") == (200, "hello /x")
            assert server.addresses == [("127.0.0.1", server.port)]

    async def test_ipv6(self) -> None:
        """On an IPv6 address; the URL of a request without Host has it in brackets."""

        async def handler(request: Request) -> StreamResponse:
            return Response(text=f"{request.url} {request.remote}")

        async with Server(handler) as server:
            try:
                await server.start("::1", 0)
            except OSError:
                pytest.skip("no IPv6 here")
            wire = Wire(*await asyncio.open_connection("::1", server.port))
            wire.send(b"GET /p HTTP/1.0\r\n\r\n")
            assert (await wire.answer()).body.decode() == f"http://[::1]:{server.port}/p ::1"
            await wire.close()

    async def test_several(self) -> None:
        """One server listens in several places."""
        async with Server(hello) as server:
            await server.start("127.0.0.1", 0)
            await server.start("127.0.0.1", 0)
            first, second = (port for _, port in server.addresses)
            assert first != second

    async def test_unix(self, tmp_path: Path) -> None:
        """On a Unix socket, whose file goes with the server."""
        path = tmp_path / "socket"
        async with Server(hello) as server:
            await server.start(path=path)
            connector = angelia.UnixConnector(str(path))
            async with (
                angelia.ClientSession(connector=connector) as session,
                session.get("http://any/x") as response,
            ):
                assert await response.text() == "hello /x"
            with pytest.raises(RuntimeError, match="no port"):
                _ = server.port
        assert not path.exists()

    async def test_socket_and_descriptor(self) -> None:
        """On a socket that somebody else bound, given as it is or by its number."""
        for by_number in (False, True):
            sock = socket.create_server(("127.0.0.1", 0))
            sock.setblocking(False)
            async with Server(hello) as server:
                if by_number:
                    await server.start(fd=sock.fileno())
                    sock.close()
                else:
                    await server.start(sock=sock)
                assert (await fetch(server))[0] == 200

    async def test_reuse_port(self) -> None:
        """Two servers share a port where the system can do that."""
        if not hasattr(socket, "SO_REUSEPORT"):
            pytest.skip("no SO_REUSEPORT here")
        async with Server(hello) as one, Server(hello) as two:
            await one.start("127.0.0.1", 0, reuse_port=True)
            await two.start("127.0.0.1", one.port, reuse_port=True)

    async def test_tls(self) -> None:
        """With TLS a request says so, and its URL is https, whatever the target says."""
        authority = trustme.CA()
        server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(server_context)
        client_context = ssl.create_default_context()
        authority.configure_trust(client_context)

        async def handler(request: Request) -> StreamResponse:
            assert request.secure
            assert request.get_extra_info("ssl_object") is not None
            return Response(text=str(request.url))

        async with (
            serving(handler, ssl=server_context) as server,
            connected(server, client_context) as wire,
        ):
            wire.send(b"GET http://h/x HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await wire.answer()).body == b"https://h/x"
            wire.send(LAST)
            await wire.answer()
            assert await wire.closed()

    @pytest.mark.parametrize("octets", [b"", b"\x16\x03\x01\x02\x00\x01"])
    async def test_slow_handshake(self, octets: bytes) -> None:
        """A client that does not end its TLS handshake has no more time than for a head."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost").configure_cert(context)
        async with (
            serving(hello, ssl=context, head_timeout=0.05) as server,
            connected(server) as wire,
        ):
            wire.send(octets)
            # What is sent to a closed socket resets the connection.
            with contextlib.suppress(ConnectionResetError):
                assert await wire.closed()

    async def test_wrong_arguments(self) -> None:
        """One place at a time."""
        async with Server(hello) as server:
            with pytest.raises(ValueError, match="give host and port"):
                await server.start()
            with pytest.raises(ValueError, match="give host and port"):
                await server.start("127.0.0.1", 0, path="/x")

    async def test_port_in_use(self) -> None:
        """A port that is taken is an OSError, and the server is as before."""
        async with Server(hello) as one, Server(hello) as two:
            await one.start("127.0.0.1", 0)
            with pytest.raises(OSError, match=r"(?i)in use"):
                await two.start("127.0.0.1", one.port)
            assert two.addresses == []


async def test_needs_a_loop() -> None:
    """A server belongs to the loop that runs."""

    def outside() -> None:
        with pytest.raises(RuntimeError):
            Server(hello)

    await asyncio.get_running_loop().run_in_executor(None, outside)


class TestLimits:
    async def test_connections(self) -> None:
        """One connection too many is answered 503, and there is room again when one goes."""
        async with serving(hello, max_connections=2) as server:
            async with connected(server) as one, connected(server) as two:
                for wire in (one, two):
                    wire.send(GET)
                    assert (await wire.answer()).status == 200
                async with connected(server) as three:
                    assert (await three.answer()).status == 503
                    assert await three.closed()
            for _ in range(1000):
                if not server.connections:
                    break
                await asyncio.sleep(0.001)
            async with connected(server) as wire:
                wire.send(GET)
                assert (await wire.answer()).status == 200


class TestClose:
    async def test_idle_at_once(self) -> None:
        """Idle connections close, and the port is free."""
        async with Server(hello) as server:
            await server.start("127.0.0.1", 0)
            port = server.port
            async with connected(server) as wire:
                wire.send(GET)
                await wire.answer()
                await server.close(60)
                assert await wire.closed()
            with pytest.raises(OSError, match=r"(?i)connect|refused"):
                await asyncio.open_connection("127.0.0.1", port)
            with pytest.raises(RuntimeError, match="closed"):
                await server.start("127.0.0.1", 0)
            await server.close()

    async def test_graceful(self) -> None:
        """A request under way is answered, and the client told that it is the last one."""
        began, gate = asyncio.Event(), asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            began.set()
            await gate.wait()
            return Response(text="done")

        async with Server(handler) as server:
            await server.start("127.0.0.1", 0)
            async with connected(server) as wire:
                wire.send(GET + GET)
                await began.wait()
                closing = asyncio.create_task(server.close(60))
                await asyncio.sleep(0)
                gate.set()
                answer = await wire.answer()
                assert (answer.body, answer.headers["connection"]) == (b"done", "close")
                assert await wire.closed()
            await closing

    async def test_sent_before_it_could_know(self) -> None:
        """Requests that are on their way when the server closes are answered, as the last ones."""
        async with Server(hello) as server:
            await server.start("127.0.0.1", 0)
            async with (
                connected(server) as idle,
                connected(server) as silent,
                connected(server) as partial,
                connected(server) as arrived,
            ):
                for wire in (idle, arrived):
                    wire.send(GET)
                    await wire.answer()
                partial.send(GET[:10])
                for _ in range(1000):
                    if server.connections == 4:
                        break
                    await asyncio.sleep(0.001)
                # This one is in the kernel's hands, and the server has not heard of it.
                fresh = socket.create_connection(("127.0.0.1", server.port))
                fresh.sendall(GET)
                with socket.fromfd(
                    arrived.writer.get_extra_info("socket").fileno(),
                    socket.AF_INET,
                    socket.SOCK_STREAM,
                ) as sock:
                    sock.send(GET)
                closing = asyncio.create_task(server.close(60))
                assert await idle.closed()
                assert (await arrived.answer()).status == 200
                assert await arrived.closed()
                for wire, octets in ((silent, GET), (partial, GET[10:])):
                    wire.send(octets)
                    answer = await wire.answer()
                    assert (answer.status, answer.headers["connection"]) == (200, "close")
                    assert await wire.closed()
            with fresh:
                fresh.setblocking(False)
                octets = await asyncio.get_running_loop().sock_recv(fresh, 65536)
                assert octets.startswith(b"HTTP/1.1 200 OK\r\n")
            await closing

    @pytest.mark.parametrize("count", range(12))
    async def test_handed_over(self, count: int) -> None:
        """Of a socket that two servers share in turn no connection is lost, whenever it comes."""
        with socket.create_server(("127.0.0.1", 0)) as sock, socket.socket() as client:
            sock.setblocking(False)
            async with Server(hello) as one:
                await one.start(fd=sock.fileno())
                closing = asyncio.create_task(one.close(60))
                for _ in range(count):
                    await asyncio.sleep(0)
                client.connect(sock.getsockname())
                client.sendall(GET)
                client.setblocking(False)
                loop = asyncio.get_running_loop()
                reading = loop.create_task(loop.sock_recv(client, 65536))
                reading.add_done_callback(lambda _: client.close())
                await closing
            async with Server(hello) as two:
                await two.start(fd=sock.fileno())
                assert (await reading).startswith(b"HTTP/1.1 200 OK\r\n")

    async def test_idle_time(self) -> None:
        """With a time for idle connections a busy client gets one more answer, told as the last."""
        async with Server(hello) as server:
            await server.start("127.0.0.1", 0)
            async with connected(server) as active, connected(server) as idle:
                for wire in (active, idle):
                    wire.send(GET)
                    await wire.answer()
                closing = asyncio.create_task(server.close(3600, idle_time=3600))
                for _ in range(20):
                    await asyncio.sleep(0)
                assert server.connections == 2
                active.send(GET)
                answer = await active.answer()
                assert (answer.status, answer.headers["connection"]) == (200, "close")
                assert await active.closed()
                assert not closing.done()
            await closing
        async with Server(hello) as server:
            await server.start("127.0.0.1", 0)
            async with connected(server) as idle:
                idle.send(GET)
                await idle.answer()
                await server.close(3600, idle_time=0.001)
                assert await idle.closed()

    async def test_file_of_another_ones_socket(self, tmp_path: Path) -> None:
        """The file of a Unix socket that somebody else bound stays when the server closes."""
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
            async with Server(hello) as server:
                await server.start(fd=sock.fileno())
            async with Server(hello) as server:
                await server.start(sock=sock.dup())
        assert path.exists()

    async def test_deadline(self) -> None:
        """A handler that outlasts the deadline is cancelled, its connection aborted."""
        began = asyncio.Event()
        ended: list[str] = []

        async def handler(request: Request) -> StreamResponse:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")
            return Response()

        async with Server(handler) as server:
            await server.start("127.0.0.1", 0)
            async with connected(server) as wire:
                wire.send(GET)
                await began.wait()
                await server.close(0.01)
                assert ended == ["cancelled"]
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await wire.answer()

    @pytest.mark.parametrize("timeout", [3600, 0])
    async def test_from_a_handler(self, timeout: float) -> None:
        """Handlers that close the server wait for all others, and answer after that."""
        told: list[str] = []
        begun, gate = asyncio.Semaphore(0), asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            if request.path == "/idle":
                return Response()
            begun.release()
            if request.path == "/work":
                try:
                    await gate.wait()
                finally:
                    told.append("worked")
            elif timeout:
                await server.close(timeout)
            else:
                await gate.wait()
                await server.close(0)
            told.append(request.path)
            return Response(text="bye")

        async with Server(handler) as server:
            await server.start("127.0.0.1", 0)
            async with (
                connected(server) as one,
                connected(server) as another,
                connected(server) as worker,
                connected(server) as idle,
            ):
                idle.send(b"HEAD /idle HTTP/1.1\r\nHost: h\r\n\r\n")
                await idle.answer(head=True)
                worker.send(GET.replace(b"/", b"/work", 1))
                for wire in (one, another):
                    wire.send(GET)
                for _ in range(3):
                    await begun.acquire()
                if timeout:
                    assert await idle.closed()
                    assert told == []
                gate.set()
                if timeout:
                    assert (await worker.answer()).body == b"bye"
                    await worker.close()
                for wire in (one, another):
                    answer = await wire.answer()
                    assert (answer.body, answer.headers["connection"]) == (b"bye", "close")
                    assert await wire.closed()
        assert told[0] == "worked"

    async def test_from_a_handler_after_its_answer(self) -> None:
        """So does one that goes on after its answer, while its connection has the next request."""
        gate, over = asyncio.Event(), asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            if request.path == "/next":
                gate.set()
                return Response(text="next")
            response = Response(text="first")
            await response._answer(request)
            request._exchange.answered()
            await gate.wait()
            await server.close(3600)
            over.set()
            return response

        async with serving(handler) as server:
            async with connected(server) as wire:
                wire.send(GET)
                assert (await wire.answer()).body == b"first"
                wire.send(GET.replace(b"/", b"/next", 1))
                assert (await wire.answer()).body == b"next"
                assert await wire.closed()
            await over.wait()

    async def test_from_outside_meanwhile(self) -> None:
        """Who closes the server from outside waits for a handler that closes it as well."""
        begun, gate = asyncio.Event(), asyncio.Event()
        told: list[str] = []

        async def handler(request: Request) -> StreamResponse:
            begun.set()
            await server.close(3600)
            await gate.wait()
            told.append("answered")
            return Response(text="bye")

        async with serving(handler) as server:
            async with connected(server) as wire:
                wire.send(GET)
                await begun.wait()
                closing = asyncio.create_task(server.close(3600))
                closing.add_done_callback(lambda _: told.append("closed"))
                for _ in range(20):
                    await asyncio.sleep(0)
                gate.set()
                assert (await wire.answer()).body == b"bye"
            await closing
        assert told == ["answered", "closed"]

    async def test_tasks(self) -> None:
        """When it is closed none of its tasks is left, and nobody who waits for all waits long."""
        begun, gate = asyncio.Semaphore(0), asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            begun.release()
            await gate.wait()
            return Response()

        async with Server(handler) as server:
            await server.start("127.0.0.1", 0)
            for _ in range(2):
                gate.clear()
                async with asyncio.TaskGroup() as group:
                    for _ in range(5):
                        group.create_task(fetch(server))
                    for _ in range(5):
                        await begun.acquire()
                    gate.set()
            await server.close()
            await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
            assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_descriptors(self) -> None:
        """No descriptor is left over, whatever the connections were doing."""
        half = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"
        counts = []
        for octets in (GET, GET, b"", b"GET /", half):
            async with Server(hello) as server:
                await server.start("127.0.0.1", 0)
                wire = Wire(*await asyncio.open_connection("127.0.0.1", server.port))
                wire.send(octets)
                await asyncio.sleep(0.01)
                await server.close(0)
                await wire.close()
            for _ in range(5):
                await asyncio.sleep(0)
            counts.append(descriptors())
        # The loop has some of its own, from the first time on.
        assert counts[1:] == [counts[0]] * 4


def descriptors() -> int:
    """How many descriptors this process has; 0 where nothing tells."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0
