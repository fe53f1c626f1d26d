"""Tests of angelia.cli.serve: what is served, where, and how it ends."""

from __future__ import annotations

import http.client
import logging
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from angelia.cli.main import main
from cli.serve_kit import Program, get

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

MODULE = """
import angelia

async def handler(request):
    return angelia.Response(text="handler " + request.path)

def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"wsgi {environ['SCRIPT_NAME']} {environ['PATH_INFO']}".encode()]

async def reading(request):
    return angelia.Response(text=str(len(await request.read())))

def make_app():
    return handler

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        assert (await receive())["type"] == "lifespan.startup"
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        print("the end")
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    body = f"asgi {scope['root_path']} {scope['path']}".encode()
    await send({"type": "http.response.body", "body": body})

async def failing(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})

def unclear(*arguments):
    pass
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with an application; what serving changes in this process is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "shop.py").write_text(MODULE)
    loggers = logging.root, logging.getLogger("angelia.access")
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield tmp_path
    sys.modules.pop("shop", None)
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


class Served:
    """What a client got of a server that ran in this thread."""

    def __init__(self, *arguments: str, ask: Callable[[int], Any] = get) -> None:
        self.answer: Any = None
        with socket.create_server(("127.0.0.1", 0)) as sock:
            self.port = sock.getsockname()[1]
            # Connections wait in its queue until the server is there.
            thread = threading.Thread(target=self._ask, args=[ask])
            thread.start()
            self.code = main(["serve", *arguments, "--fd", str(sock.detach())])
            thread.join()

    def _ask(self, ask: Callable[[int], Any]) -> None:
        try:
            self.answer = ask(self.port)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["shop:handler"], "handler /"),
        (["shop:make_app()"], "handler /"),
        (["shop:wsgi"], "wsgi  /"),
        (["shop:wsgi", "--root-path", "/at", "--threads", "1"], "wsgi /at /"),
        (["shop:asgi"], "asgi  /"),
        (["shop:asgi", "--root-path", "/at"], "asgi /at /at/"),
        (["shop:unclear", "--interface", "wsgi"], None),
        (["shop:handler", "--loop", "asyncio"], "handler /"),
    ],
)
def test_applications(
    arguments: list[str], answer: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    """Handlers and WSGI applications are served, and SIGTERM ends it with 0."""
    served = Served(*arguments)
    assert served.code == 0
    assert served.answer[0] == (200 if answer else 500)
    if answer:
        assert served.answer[1] == answer
        err = capfd.readouterr().err
        assert re.fullmatch(
            rf"angelia: serving {re.escape(arguments[0])} \(\w+, (asyncio|uvloop)\) on "
            rf"http://127\.0\.0\.1:{served.port}/\n",
            err,
        )


def test_lifespan(capfd: pytest.CaptureFixture[str]) -> None:
    """An ASGI application hears of the end, and one that cannot start is not served."""
    Served("shop:asgi")
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("the end\n", 1)
    assert main(["serve", "shop:failing", "--port", "0"]) == 2
    assert "no database" in capfd.readouterr().err


def test_directory(project: Path) -> None:
    """Files of a directory are served, and it is not listed."""
    (project / "page.html").write_text("a page")
    served = Served("--directory", ".", ask=lambda port: [get(port, "/page.html"), get(port)])
    assert served.answer[0] == (200, "a page")
    assert served.answer[1][0] == 404


def test_limits() -> None:
    """Limits are the server's."""
    served = Served(
        *("shop:reading", "--limit-body", "1K", "--limit-line", "50"),
        ask=lambda port: [
            get(port, body=b"x" * 1024)[0],
            get(port, body=b"x" * 1025)[0],
            get(port, "/" + "x" * 50)[0],
        ],
    )
    assert served.answer == [200, 413, 414]


def test_access_log(capfd: pytest.CaptureFixture[str]) -> None:
    """--access-log writes a line for each request on standard output, in a format of one's own."""
    Served("shop:handler", "--access-log", '%s "%r"', ask=lambda port: get(port, "/a"))
    assert capfd.readouterr().out == '200 "GET /a HTTP/1.1"\n'
    Served("shop:handler", "--access-log", ask=lambda port: get(port, "/b"))
    assert capfd.readouterr().out.endswith(' "GET /b HTTP/1.1" 200 10 "-" "-"\n')


def test_tls(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """--tls-cert and --tls-key make it HTTPS."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path("cert.pem")
    certificate.private_key_pem.write_to_path("key.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)

    def ask(port: int) -> bytes:
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=30)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read()
        finally:
            connection.close()

    served = Served("shop:handler", "--tls-cert", "cert.pem", "--tls-key", "key.pem", ask=ask)
    assert served.answer == b"handler /"
    assert f"https://127.0.0.1:{served.port}/" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere:app"], "there is no module 'nowhere'"),
        (["shop:nothing"], "'shop' has no 'nothing'"),
        (["shop"], "not of the form"),
        (["shop:unclear"], "--interface"),
        (["--directory", "nowhere"], "not a directory: 'nowhere'"),
        (["shop:handler", "--fd", "999"], "cannot listen on descriptor 999: Bad file descriptor"),
        (["shop:handler", "--unix", "shop.py"], "cannot listen on shop.py: there is a file"),
        (["shop:handler", "--host", "name.invalid"], "cannot listen on name.invalid, port 8080"),
        (["shop:handler", "--tls-cert", "shop.py"], "shop.py: no certificate"),
        (["shop:handler", "--tls-cert", "none.pem"], "cannot read none.pem: No such file"),
        (["shop:handler", "--access-log", "%Q"], "--access-log: unknown directive"),
        (["shop:handler", "--threads", "2"], "--threads is for WSGI"),
        (["shop:handler", "--root-path", "/a"], "--root-path is for"),
        (["shop:wsgi", "--root-path", "a/"], "--root-path: "),
    ],
)
def test_what_cannot_be_served(
    arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """It exits with 2 and one line that says why."""
    assert main(["serve", *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("angelia: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("numbers", ["x", "3,", "-1", " 3", "\u0663", "9" * 5000])
def test_descriptors_that_are_none(
    numbers: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rubbish in the variable that hands sockets down is said, and ends it with 2."""
    monkeypatch.setenv("ANGELIA_SERVE_FDS", numbers)
    assert main(["serve", "shop:handler"]) == 2
    err = capfd.readouterr().err
    assert err.startswith("angelia: ANGELIA_SERVE_FDS is not for us: not a count: ")
    assert len(err) < 200


def test_module_that_fails(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An error in the application's module is shown with its traceback."""
    (project / "broken.py").write_text("import nowhere\n")
    assert main(["serve", "broken:app"]) == 2
    err = capfd.readouterr().err
    assert 'broken.py", line 1' in err
    assert err.endswith(
        "angelia: importing 'broken' failed: ModuleNotFoundError: No module named 'nowhere'\n"
    )


def test_program(project: Path) -> None:
    """The line on standard error tells the port; SIGINT ends the program with 0."""
    with Program("shop:handler", "--port", "0") as program:
        assert get(program.port()) == (200, "handler /")
        program.process.send_signal(signal.SIGINT)
        assert program.process.wait() == 0
        assert program.rest() == ""


HANGING = """
import threading

def app(environ, start_response):
    print("called", flush=True)
    threading.Event().wait()
"""


def test_application_that_hangs(project: Path) -> None:
    """A thread that hangs is named, and the program ends without it."""
    (project / "hanging.py").write_text(HANGING)
    arguments = ("hanging:app", "--port", "0", "--graceful-timeout", "0.01")
    with Program(*arguments, stdout=subprocess.PIPE) as program:
        with socket.create_connection(("127.0.0.1", program.port())) as sock:
            sock.sendall(b"GET /hang HTTP/1.1\r\nHost: h\r\n\r\n")
            assert program.process.stdout is not None
            assert program.process.stdout.readline() == "called\n"
            program.process.terminate()
            assert program.process.wait() == 0
        assert "goes on after its end, for <Request GET '/hang'>\n" in program.rest()


ENDLESS = """
import asyncio

async def app(scope, receive, send):
    await receive()
    print("starting", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("cancelled", flush=True)
"""


def test_stopped_at_the_start(project: Path) -> None:
    """A signal while the application starts ends that, and the program with 0."""
    (project / "endless.py").write_text(ENDLESS)
    with Program("endless:app", "--port", "0", stdout=subprocess.PIPE) as program:
        assert program.process.stdout is not None
        assert program.process.stdout.readline() == "starting\n"
        program.process.terminate()
        assert program.process.stdout.readline() == "cancelled\n"
        assert program.process.wait() == 0
        assert program.rest() == ""


def test_without_uvloop(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Where uvloop is missing asyncio's loop serves, unless uvloop was asked for."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert Served("shop:handler").code == 0
    assert "(handler, asyncio)" in capfd.readouterr().err
    assert main(["serve", "shop:handler", "--loop", "uvloop"]) == 2
    assert capfd.readouterr().err == "angelia: uvloop is not installed (pip install uvloop)\n"


def test_unix_socket(project: Path) -> None:
    """The file of a Unix socket is there while it is served; a stale one is replaced."""
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind("sock")
    with Program("shop:handler", "--unix", "sock") as program:
        program.line_with(" on unix:sock\n")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect("sock")
            sock.sendall(b"GET /u HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            with sock.makefile("rb") as stream:
                assert stream.read().endswith(b"handler /u")
        # A second server finds the place taken.
        assert main(["serve", "shop:handler", "--unix", "sock"]) == 2
        program.process.terminate()
        assert program.process.wait() == 0
    assert not Path("sock").exists()


# Is started as systemd starts a service: with a socket as descriptor 3.
ACTIVATED = """
import os, sys
from angelia.cli.main import main
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
sys.exit(main(["serve", "shop:handler"]))
"""


def test_systemd(project: Path) -> None:
    """A socket that systemd passes is served, and systemd hears of the start and the end."""
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.bind("notify")
        manager.settimeout(60)
        with subprocess.Popen(
            [sys.executable, "-c", ACTIVATED, str(sock.fileno())],
            pass_fds=[sock.fileno()],
            env={**os.environ, "NOTIFY_SOCKET": str(project / "notify")},
            stderr=subprocess.DEVNULL,
        ) as process:
            assert manager.recv(100) == b"READY=1"
            assert get(sock.getsockname()[1]) == (200, "handler /")
            process.terminate()
            assert manager.recv(100) == b"STOPPING=1"
            assert process.wait() == 0
