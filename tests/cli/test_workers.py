"""Tests of angelia.cli.workers: several processes."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from angelia.cli.main import main
from cli.serve_kit import Program, get
from conftest import RequirePeer

pytestmark = pytest.mark.skipif(os.name != "posix", reason="gunicorn is for POSIX")

# A worker that was forked just before the signal may not hear it: gunicorn kills it then.
WORKERS = ("--workers", "2", "--port", "0", "--graceful-timeout", "2")

MODULE = """
import os
import angelia

async def handler(request):
    return angelia.Response(text=f"{os.getppid()} {len(await request.read())}")

async def asgi(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"asgi"})

def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(environ["wsgi.multiprocess"]).encode()]
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, require_peer: RequirePeer) -> Path:
    require_peer("module:gunicorn")
    (tmp_path / "shop.py").write_text(MODULE)
    return tmp_path


def test_handler(project: Path) -> None:
    """Worker processes answer, within the limits; SIGTERM ends them all with 0."""
    with (
        (project / "log").open("wb") as log,
        Program(
            *("shop:handler", *WORKERS, "--limit-body", "1K"),
            *("--access-log", "%s %r"),
            cwd=project,
            stdout=log,
        ) as program,
    ):
        port = program.port()
        assert get(port) == (200, f"{program.process.pid} 0")
        assert get(port, body=b"x" * 1025)[0] == 413
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait() == 0
    # Each by its worker, whenever that comes to it.
    lines = (project / "log").read_text().splitlines()
    assert sorted(lines) == ["200 GET / HTTP/1.1", "413 POST / HTTP/1.1"]


@pytest.mark.parametrize(("name", "answer"), [("asgi", "asgi"), ("wsgi", "True")])
def test_interfaces(name: str, answer: str, project: Path) -> None:
    """ASGI and WSGI applications run in workers, too."""
    with Program(f"shop:{name}", *WORKERS, cwd=project) as program:
        assert get(program.port()) == (200, answer)
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait() == 0


def test_what_cannot_be_loaded(project: Path) -> None:
    """An application that is not there ends it with 2, and the reason."""
    with Program("shop:nothing", *WORKERS, cwd=project) as program:
        assert program.process.wait() == 2
        assert "angelia: 'shop' has no 'nothing'\n" in program.rest()


def test_what_cannot_be_hosted(project: Path) -> None:
    """An option that is not for the application is said, as without workers."""
    with Program("shop:handler", *WORKERS, "--threads", "2", cwd=project) as program:
        assert program.process.wait() == 2
        assert "angelia: --threads is for WSGI applications" in program.rest()


def test_without_gunicorn(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where gunicorn is missing, that is said."""
    for name in ("angelia.cli.workers", "gunicorn.app.base"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "gunicorn", None)
    assert main(["serve", "shop:handler", "--workers", "2"]) == 2
    assert capfd.readouterr().err == "angelia: --workers needs gunicorn (pip install gunicorn)\n"
