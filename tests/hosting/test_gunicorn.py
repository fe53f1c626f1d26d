"""The worker classes under a real gunicorn: start, limits, recycling, reload, the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import trustme

import angelia
from conftest import RequirePeer
from server.kit import GET, LAST, Wire

pytestmark = [
    pytest.mark.deadline(120),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no gunicorn"),
]

HERE = Path(__file__).parent

# For what has to come to pass: a guard against hangs.
PATIENCE = 60.0


class Gunicorn:
    """A gunicorn in a folder of its own, listening on the Unix socket ``s`` there."""

    def __init__(self, folder: Path, app: str, worker: str, **settings: Any) -> None:
        self.folder = folder
        self.socket = folder / "s"
        self._fds: list[int] = settings.pop("fds", [])
        settings = {
            "bind": f"unix:{self.socket}",
            "worker_class": f"angelia.hosting.gunicorn.{worker}",
            "chdir": str(folder),
            "control_socket_disable": True,
            "graceful_timeout": 60,
            **settings,
        }
        lines = [f"{name} = {value!r}\n" for name, value in settings.items()]
        (folder / "conf.py").write_text("".join(lines))
        self._app = app
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "gunicorn", "-c", "conf.py", f"gunicorn_apps:{self._app}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self._fds,
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("not started")
        return self._process

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def kill(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """The exit status, when it comes."""
        return await asyncio.to_thread(self.process.wait, PATIENCE)

    async def connect(self, context: ssl.SSLContext | None = None) -> Wire:
        """A connection, as soon as somebody listens."""
        end = time.monotonic() + PATIENCE
        name = None if context is None else "localhost"
        while True:
            try:
                return Wire(
                    *await asyncio.open_unix_connection(
                        self.socket, ssl=context, server_hostname=name
                    )
                )
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > end or self.process.poll() is not None:
                    pytest.fail(f"gunicorn does not listen:\n{self.log}")
                await asyncio.sleep(0.02)

    async def ask(self, octets: bytes = LAST, context: ssl.SSLContext | None = None) -> list[str]:
        """The words of the answer to one request on a connection of its own."""
        wire = await self.connect(context)
        try:
            wire.send(octets)
            answer = await wire.answer()
        finally:
            await wire.close()
        assert answer.status == 200, self.log
        return answer.body.decode().split()


@pytest.fixture
def folder(require_peer: RequirePeer) -> Iterator[Path]:
    """A folder with a short path: names of Unix sockets are."""
    require_peer("module:gunicorn")
    with tempfile.TemporaryDirectory(prefix="angelia") as name:
        yield Path(name)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            pytest.fail("it did not come to pass")
        await asyncio.sleep(0.02)


async def begin(gunicorn: Gunicorn, wire: Wire, path: bytes = b"/slow") -> None:
    """Send a request whose answer takes until `go`, and wait until it is under way."""
    wire.send(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % path)
    await until((gunicorn.folder / "begun").exists)


async def loaded(gunicorn: Gunicorn, count: int) -> None:
    """Wait until so many workers have loaded the application: before that they miss signals."""
    file = gunicorn.folder / "loaded"
    await until(lambda: file.exists() and file.stat().st_size == count)


def go(gunicorn: Gunicorn) -> None:
    """Let slow answers end."""
    (gunicorn.folder / "go").touch()


async def test_handler(folder: Path) -> None:
    """A handler on the stock loop: its context, limits of the settings, the access log, TERM."""
    with Gunicorn(
        folder,
        "handler",
        "HandlerWorker",
        limit_request_line=100,
        limit_request_fields=5,
        limit_request_field_size=200,
        accesslog="access",
        access_log_format='%(h)s "%(r)s" %(s)s %(b)s "%({x-a}i)s" "%({content-type}o)s" "%(f)s"',
        errorlog="errors",
    ) as gunicorn:
        words = await gunicorn.ask(
            b"GET /p?q HTTP/1.1\r\nHost: h\r\nX-A: \xfc\r\nReferer: r\r\nConnection: close\r\n\r\n"
        )
        assert words[0] == "handler"
        assert words[2:] == ["asyncio.unix_events", "http"]
        notes = (folder / "notes").read_text
        assert notes() == f"entered {words[1]}\n"
        for octets, status in (
            (b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n" % (b"x" * 100), 414),
            (b"GET / HTTP/1.1\r\nHost: h\r\nX: %b\r\n\r\n" % (b"x" * 200), 431),
            (b"GET / HTTP/1.1\r\nHost: h\r\n%b\r\n" % (b"X: x\r\n" * 5), 431),
        ):
            wire = await gunicorn.connect()
            wire.send(octets)
            assert (await wire.answer()).status == status
            await wire.close()
        # One request is under way, one connection idle, when it is to end.
        idle, busy = await gunicorn.connect(), await gunicorn.connect()
        idle.send(GET)
        await idle.answer()
        await begin(gunicorn, busy)
        gunicorn.kill(signal.SIGTERM)
        assert await idle.closed()
        go(gunicorn)
        answer = await busy.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        for wire in (idle, busy):
            await wire.close()
        assert await gunicorn.ended() == 0
        assert notes() == f"entered {words[1]}\nleft {words[1]}\n"
        access = (folder / "access").read_text(encoding="latin-1").splitlines()
    assert access[0].startswith('- "GET /p?q HTTP/1.1" 200 ')
    assert access[0].endswith(' "text/plain; charset=utf-8" "r"')


async def test_access_log_of_hostile_requests(folder: Path) -> None:
    """What a client sent coded does not end a line of the log, nor speak to a terminal."""
    users = {
        b"ad\nmin\x1b[2J\x9b:x": r"ad\x0amin\x1b[2J\xdc9b",
        b"ad\\nmin": r"ad\x5cnmin",
        "f\xfcr:".encode(): "f\xfcr",
    }
    with Gunicorn(
        folder,
        "handler",
        "HandlerWorker",
        accesslog="access",
        access_log_format="%(U)s|%(q)s|%(u)s|%({x-a}i)s|%({http_x_a}e)s|%({authorization}i)s",
    ) as gunicorn:
        for credentials in (*(b64encode(user) for user in users), b"a"):
            await gunicorn.ask(
                b"GET /a%%0ab%%1b%%22%%c2%%9b%%5c%%c3%%bc?q=%%0a HTTP/1.1\r\nHost: h\r\n"
                b"X-A: a\xc2\x9b\xff\r\nAuthorization: Basic %b\r\nConnection: close\r\n\r\n"
                % credentials
            )
    log = (folder / "access").read_text()
    lines = [line.split("|") for line in log.split("\n")[:-1]]
    path, value = "/a\\x0ab\\x1b\\x22\\x9b\\x5c\xfc", r"a\x9b\xdcff"
    assert [line[:2] + line[3:5] for line in lines] == [[path, "q=%0a", value, value]] * 4
    assert [line[2] for line in lines] == [*users.values(), "-"]
    assert lines[0][5] == f"Basic {b64encode(next(iter(users))).decode()}"


@pytest.mark.parametrize(
    ("credentials", "told"),
    [
        (f"Basic {b64encode(b'me:secret').decode()}", f"Basic {b64encode(b'me:').decode()}"),
        (f"basic {b64encode(b'me').decode()}", f"Basic {b64encode(b'me:').decode()}"),
        ("Basic a", "Basic a"),
        ("Basic", "Basic"),
        ("Basic \udcff\udcfe\udcfd=", "Basic Og=="),
        ('Digest username="me"', r"Digest username=\x22me\x22"),
        ("Bearer \x9b", r"Bearer \x9b"),
    ],
)
def test_credentials_in_the_log(credentials: str, told: str, require_peer: RequirePeer) -> None:
    """Of Basic credentials the log gets the name, never the password; others are escaped."""
    require_peer("module:gunicorn")
    from angelia.hosting.gunicorn import _user_only

    assert _user_only(credentials) == told


async def test_wsgi(folder: Path) -> None:
    """A WSGI application on uvloop, with TLS and the hook for its context."""
    pytest.importorskip("uvloop")
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with Gunicorn(
        folder, "wsgi", "WSGIUvloopWorker", certfile="pem", keyfile="pem", workers=2, threads=4
    ) as gunicorn:
        words = await gunicorn.ask(context=context)
        assert (words[0], *words[2:]) == ("wsgi", "True", "https")
        await loaded(gunicorn, 2)
        wire = await gunicorn.connect(context)
        wire.send(GET)
        await wire.answer()
        await begin(gunicorn, wire)
        gunicorn.kill(signal.SIGTERM)
        go(gunicorn)
        assert (await wire.answer()).body.startswith(b"wsgi")
        await wire.close()
        assert await gunicorn.ended() == 0


async def test_asgi(folder: Path) -> None:
    """An ASGI application: its lifespan, the place where it is mounted, TERM."""
    with Gunicorn(folder, "asgi", "ASGIWorker", root_path="/mount") as gunicorn:
        words = await gunicorn.ask()
        assert (words[0], *words[2:]) == ("asgi", "started", "/mount")
        wire = await gunicorn.connect()
        await begin(gunicorn, wire)
        gunicorn.kill(signal.SIGTERM)
        go(gunicorn)
        assert (await wire.answer()).body.startswith(b"asgi")
        await wire.close()
        assert await gunicorn.ended() == 0


async def test_inherited_socket(folder: Path) -> None:
    """On a TCP socket that gunicorn inherited; the worker ends its connections as it was told."""
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        Gunicorn(
            folder,
            "wsgi",
            "WSGIWorker",
            bind=f"fd://{sock.fileno()}",
            fds=[sock.fileno()],
            keepalive=0,
        ),
    ):
        wire = Wire(*await asyncio.open_connection(*sock.getsockname()))
        wire.send(GET)
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await wire.closed()
        await wire.close()


async def test_max_requests(folder: Path) -> None:
    """A worker that has had its requests is followed by another, and no request is lost."""
    with Gunicorn(
        folder, "handler", "HandlerUvloopWorker", max_requests=3, max_requests_jitter=1
    ) as gunicorn:
        workers: set[str] = set()
        requests = 0
        while len(workers) < 3:
            words = await gunicorn.ask()
            assert words[2] == "uvloop"
            workers.add(words[1])
            requests += 1
            assert requests <= 20


async def test_cannot_begin(folder: Path) -> None:
    """A handler that fails to begin ends gunicorn, instead of one worker after the other."""
    with Gunicorn(folder, "failing", "HandlerWorker") as gunicorn:
        assert await gunicorn.ended() == 3
        assert "no database" in gunicorn.log


async def test_quit(folder: Path) -> None:
    """SIGQUIT does not wait for requests."""
    with Gunicorn(folder, "handler", "HandlerWorker") as gunicorn:
        await gunicorn.ask()
        wire = await gunicorn.connect()
        await begin(gunicorn, wire, b"/stuck")
        gunicorn.kill(signal.SIGQUIT)
        assert await gunicorn.ended() == 0
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await wire.answer()
        await wire.close()


class TestReload:
    """SIGHUP under load: new workers take over, and no request is lost."""

    @asynccontextmanager
    async def load(self, gunicorn: Gunicorn, workers: list[str]) -> AsyncIterator[None]:
        """Clients that ask without a pause until the end of the block."""
        enough = asyncio.Event()

        async def new_connections() -> None:
            while not enough.is_set():
                workers.append((await gunicorn.ask())[1])

        async def kept_connections() -> None:
            # Each has its one connection, so that the next one after it is a new one.
            connector = angelia.UnixConnector(str(gunicorn.socket))
            async with angelia.ClientSession(connector=connector) as session:
                while not enough.is_set():
                    async with session.get("http://h/") as response:
                        assert response.status == 200
                        workers.append((await response.text()).split()[1])

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(new_connections())
                group.create_task(kept_connections())
            yield
            enough.set()

    async def replaced(self, gunicorn: Gunicorn, workers: list[str]) -> None:
        """Reload, and wait until only new workers answer."""
        old = set(workers)
        gunicorn.kill(signal.SIGHUP)
        await until(lambda: not set(workers[-20:]) & old)

    @pytest.mark.parametrize(
        ("app", "worker"),
        [
            ("handler", "HandlerWorker"),
            ("asgi", "ASGIUvloopWorker"),
            ("wsgi", "WSGIWorker"),
        ],
    )
    async def test_under_load(self, folder: Path, app: str, worker: str) -> None:
        """All requests are answered, by the old worker and then by the new one."""
        with Gunicorn(folder, app, worker, workers=2) as gunicorn:
            await gunicorn.ask()
            workers: list[str] = []
            async with self.load(gunicorn, workers):
                for _ in range(2):
                    await until(lambda: len(workers) > 50)
                    await self.replaced(gunicorn, workers)
                    workers.clear()
            await loaded(gunicorn, 6)
            gunicorn.kill(signal.SIGTERM)
            assert await gunicorn.ended() == 0
