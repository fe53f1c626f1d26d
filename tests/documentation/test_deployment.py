"""docs/deployment.md: the service, the proxies and gunicorn do what it says, as it is written."""

from __future__ import annotations

import asyncio
import configparser
import contextlib
import hashlib
import os
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

import angelia
from conftest import RequirePeer
from documentation.blocks import Block, blocks, commands, filled
from peers.process import LOOPBACK, Process, free_port

pytestmark = [
    pytest.mark.deadline(120),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no systemd"),
]

PAGE = "docs/deployment.md"
HERE = Path(__file__).parent
SOCKET = "/run/shop.sock"
PROGRAM = "/srv/shop/.venv/bin/angelia"
OURS = f"{sys.executable} -m angelia"

# A guard against hangs, far above what anything here takes.
PATIENCE = 100

# What systemd does for a service: the sockets are descriptors from 3 on, and told of.
ACTIVATED = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execvp(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, which paths of sockets need."""
    with tempfile.TemporaryDirectory(prefix="angelia") as name:
        yield Path(name)


# --- systemd -------------------------------------------------------------------------------------


def unit(name: str, changes: dict[str, object] | None = None) -> tuple[str, Any]:
    """The text of a unit of the page, and what it says."""
    (text,) = [
        block.text
        for block in blocks(PAGE, language="ini")
        if block.text.startswith(f"# /etc/systemd/system/{name}\n")
    ]
    text = filled(text, changes or {})
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # as its documentation says
    parser.read_string(text)
    return text, parser


class Service:
    """The units of the page, with this test for a systemd: the socket, and a run of the service."""

    def __init__(self, folder: Path) -> None:
        _, units = unit("shop.socket", {SOCKET: folder / "shop.sock"})
        self.path: str = units["Socket"]["ListenStream"]
        self._folder = folder
        _, units = unit("shop.service", {PROGRAM: OURS})
        self._service = units["Service"]
        assert self._service["Type"] == "notify"
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._sock = self._stack.enter_context(socket.socket(socket.AF_UNIX))
        self._sock.bind(self.path)
        self._sock.listen()
        self._manager = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self._manager.bind(str(self._folder / "notify"))
        self._manager.settimeout(PATIENCE)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The service, from the moment when it is ready."""
        descriptor = self._sock.fileno()
        path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = shlex.split(self._service["ExecStart"])
        process = subprocess.Popen(
            [sys.executable, "-c", ACTIVATED, str(descriptor), *command],
            pass_fds=[descriptor],
            env={**os.environ, "PYTHONPATH": path, "NOTIFY_SOCKET": str(self._folder / "notify")},
            cwd=HERE,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with process:
            try:
                assert self._manager.recv(100) == b"READY=1"
                yield process
            finally:
                process.kill()

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Stop it, as systemd does by default."""
        process.send_signal(signal.SIGTERM)
        assert self._manager.recv(100) == b"STOPPING=1"
        assert process.wait(PATIENCE) == 0


@pytest.fixture
def service(folder: Path) -> Iterator[Service]:
    """The service's socket."""
    with Service(folder) as started:
        yield started


def test_units_are_right(folder: Path) -> None:
    """systemd itself finds nothing wrong with the units."""
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("there is no systemd-analyze here")
    for name, changes in (("shop.socket", {}), ("shop.service", {PROGRAM: sys.executable})):
        (folder / name).write_text(unit(name, {**changes})[0])
    done = subprocess.run(
        [verify, "verify", folder / "shop.service", folder / "shop.socket"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0
    # Of the system's own units it may have something to say.
    assert [line for line in done.stderr.splitlines() if "shop." in line] == []


def test_time_to_stop() -> None:
    """systemd does not kill the service before it has had the times that the page tells."""
    _, units = unit("shop.service")
    words = shlex.split(units["Service"]["ExecStart"])
    graceful = int(words[words.index("--graceful-timeout") + 1])
    assert int(units["Service"]["TimeoutStopSec"]) > graceful + 10


def test_restart(service: Service) -> None:
    """The service answers on systemd's socket, and who asks during a restart is answered after."""
    with contextlib.ExitStack() as stack:

        def ask() -> socket.socket:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.settimeout(PATIENCE)
            client.connect(service.path)
            client.sendall(b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
            return client

        def answered(client: socket.socket) -> str:
            with client, client.makefile("rb") as stream:
                head, _, body = stream.read().partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            return body.decode()

        with service.running() as process:
            first = answered(ask())
            service.stop(process)
        waiting = ask()
        with service.running() as process:
            assert answered(waiting) != first
            service.stop(process)


# --- proxies -------------------------------------------------------------------------------------

# What a distribution's nginx.conf has around the files that it includes.
NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    include {folder}/shop.conf;
}}
"""


def nginx(program: str, folder: Path, certificate: Path, port: int) -> list[str]:
    """The command for nginx with the page's configuration."""
    (block,) = blocks(PAGE, language="nginx")
    changes = {
        f"unix:{SOCKET};": f"unix:{folder}/shop.sock;",
        "listen 443 ssl;": f"listen {LOOPBACK}:{port} ssl;",
        "/etc/ssl/shop.pem": certificate,
        "/etc/ssl/shop.key": certificate,
    }
    (folder / "shop.conf").write_text(filled(block.text, changes))
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
    return [program, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def haproxy(program: str, folder: Path, certificate: Path, port: int) -> list[str]:
    """The command for HAProxy with the page's configuration."""
    (block,) = blocks(PAGE, language="text", heading="Behind HAProxy")
    changes = {
        f"unix@{SOCKET}": f"unix@{folder}/shop.sock",
        "bind :443 ": f"bind {LOOPBACK}:{port} ",
        "/etc/ssl/shop.pem": certificate,
    }
    (folder / "haproxy.cfg").write_text(filled(block.text, changes))
    return [program, "-db", "-f", str(folder / "haproxy.cfg")]


@contextlib.asynccontextmanager
async def behind(
    proxy: str,
    require_peer: RequirePeer,
    service: Service,
    certificate: Path,
    context: ssl.SSLContext,
) -> AsyncIterator[angelia.ClientSession]:
    """A session with the service behind the proxy; it says that it comes from elsewhere."""
    folder, port = Path(service.path).parent, free_port()
    make = {"nginx": nginx, "haproxy": haproxy}[proxy]
    command = make(require_peer(proxy), folder, certificate, port)
    process = Process(command, log=folder / "log", ready=[port])
    with service.running():
        await asyncio.to_thread(process.__enter__)
        try:
            async with angelia.ClientSession(
                f"https://localhost:{port}/",
                connector=angelia.TCPConnector(ssl=context),
                headers={
                    "Host": "shop.example.org",
                    "X-Forwarded-For": "192.0.2.1",
                    "X-Forwarded-Proto": "gopher",
                },
            ) as session:
                yield session
        finally:
            await asyncio.to_thread(process.stop)


Behind = Callable[[str], contextlib.AbstractAsyncContextManager[angelia.ClientSession]]


@pytest.mark.parametrize("proxy", ["nginx", "haproxy"])
async def test_proxy(
    proxy: str,
    require_peer: RequirePeer,
    service: Service,
    certificate_path: Path,
    client_ssl: ssl.SSLContext,
) -> None:
    """Requests, uploads and WebSockets come through, on connections that are used again."""
    expected = {"host": "shop.example.org", "for": [LOOPBACK], "proto": ["https"]}
    async with behind(proxy, require_peer, service, certificate_path, client_ssl) as session:
        served = []
        for _ in range(5):
            async with session.get("/") as response:
                told = await response.json()
            served.append(told.pop("served"))
            told.pop("pid")
            assert told == expected
        assert served == [1, 2, 3, 4, 5]
        content = os.urandom(8 << 20)
        async with session.post("/sum", data=content) as response:
            assert await response.text() == hashlib.sha256(content).hexdigest()
        async with session.ws_connect("/live") as ws:
            told = await ws.receive_json()
            assert {name: told[name] for name in expected} == expected
            for size in (1, 100_000):
                await ws.send_str("x" * size)
                assert await ws.receive_str() == "x" * size
        assert ws.close_code == 1000
        # A connection that was a WebSocket's is no request's again.
        async with session.get("/") as response:
            assert (await response.json())["for"] == [LOOPBACK]
        if proxy == "nginx":
            async with session.post("/sum", data=bytes(11 << 20)) as response:
                assert response.status == 413


# --- commands ------------------------------------------------------------------------------------

APPLICATIONS = {
    "ASGIWorker": """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"pid": 1}'})
""",
    "WSGIWorker": """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [b'{"pid": 1}']
""",
}


# A worker that was forked just before the signal may not hear it: gunicorn kills it then.
WORKERS = "--workers 2 --graceful-timeout 2"


def serving() -> list[Block]:
    """The commands of the two pages that serve `shop`."""
    return [
        block
        for program in ("angelia", "gunicorn")
        for block in commands(program)
        if block.page in (PAGE, "docs/hosting.md")
    ]


@pytest.mark.parametrize("block", serving(), ids=str)
async def test_command(block: Block, require_peer: RequirePeer, folder: Path) -> None:
    """Each command serves, and ends well."""
    require_peer("module:gunicorn")
    command, port = block.text, free_port()
    # More of them take longer, and show nothing more.
    command = command.replace("-w 4", "-w 1").replace("--workers 4", WORKERS)
    kind = next((kind for kind in APPLICATIONS if kind in command), None)
    application = APPLICATIONS[kind] if kind else (HERE / "shop.py").read_text()
    (folder / "shop.py").write_text(application)
    connector: angelia.BaseConnector | None = None
    if SOCKET in command:
        command = filled(command, {SOCKET: folder / "shop.sock"})
        connector = angelia.UnixConnector(str(folder / "shop.sock"))
    elif "8080" in command:
        command = filled(command, {"8080": port, "0.0.0.0": LOOPBACK})
    else:
        # The port that it takes by itself may be taken here.
        command += f" --port {port}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *shlex.split(command)),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with angelia.ClientSession(connector=connector) as session:
            assert "pid" in await answer(session, f"http://{LOOPBACK}:{port}/", process)
        process.terminate()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def answer(
    session: angelia.ClientSession, url: str, process: asyncio.subprocess.Process
) -> Any:
    """What it answers, as soon as it does."""
    while True:
        try:
            async with session.get(url) as response:
                assert response.status == 200
                return await response.json(content_type=None)
        except angelia.ClientConnectorError:
            assert process.returncode is None
            await asyncio.sleep(0.02)
