"""Tests of angelia.cli.reload."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from angelia.cli import reload
from angelia.cli.reload import changed, end_process, snapshot
from cli.serve_kit import Program, get

MODULE = """
import angelia

async def app(request):
    return angelia.Response(text="{}")
"""


def test_snapshot(tmp_path: Path) -> None:
    """Python files of the project count, at any depth; those of others do not."""
    (tmp_path / "shop" / "inner").mkdir(parents=True)
    for directory in (".git", "__pycache__", "node_modules", "environment"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "other.py").write_text("")
    (tmp_path / "environment" / "pyvenv.cfg").write_text("")
    (tmp_path / "shop" / "inner" / "part.py").write_text("")
    (tmp_path / "main.py").write_text("")
    (tmp_path / "page.html").write_text("")
    found = {str(Path(path).relative_to(tmp_path)) for path in snapshot(tmp_path)}
    assert found == {"main.py", os.path.join("shop", "inner", "part.py")}  # noqa: PTH118
    assert snapshot(tmp_path / "nowhere") == {}


@pytest.mark.skipif(os.name != "posix", reason="links need a right elsewhere")
def test_snapshot_dangling_links(tmp_path: Path) -> None:
    """Links that lead nowhere, which editors use as locks, do not hide the files beside them."""
    for number in range(5):
        (tmp_path / f"{number}.py").write_text("")
        (tmp_path / f".#{number}.py").symlink_to("user@host.1234")
    assert {Path(path).name for path in snapshot(tmp_path)} == {f"{n}.py" for n in range(5)}


def test_snapshot_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look at a directory ends, whatever lies in it."""
    for number in range(10):
        (tmp_path / f"{number}.py").write_text("")
        (tmp_path / f"{number}.txt").write_text("")
    monkeypatch.setattr(reload, "MAX_FILES", 4)
    assert len(snapshot(tmp_path)) == 4
    monkeypatch.setattr(reload, "MAX_FILES", 100)
    monkeypatch.setattr(reload, "MAX_ENTRIES", 15)
    assert 5 <= len(snapshot(tmp_path)) <= 10
    monkeypatch.setattr(reload, "MAX_ENTRIES", 0)
    assert not snapshot(tmp_path)


def test_changed() -> None:
    """A file that is new, gone, or has another time or size, has changed."""
    assert changed({"a": (1, 1)}, {"a": (1, 1)}) is None
    assert changed({"a": (1, 1)}, {"a": (2, 1)}) == "a"
    assert changed({"a": (1, 1)}, {"a": (1, 2)}) == "a"
    assert changed({"a": (1, 1)}, {"a": (1, 1), "b": (1, 1)}) == "b"
    assert changed({"a": (1, 1)}, {}) == "a"


def replace(path: Path, text: str) -> None:
    """Change a file in one step, so that nobody sees a half of it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


@pytest.mark.skipif(os.name != "posix", reason="sockets are handed down")
def test_reload(tmp_path: Path) -> None:
    """A change starts the server again on the same port; one that fails waits for the next."""
    source = tmp_path / "shop.py"
    source.write_text(MODULE.format("one"))
    with Program("shop:app", "--port", "0", "--reload", cwd=tmp_path) as program:
        port = program.port()
        assert get(port) == (200, "one")
        replace(source, "syntax error")
        assert "shop.py" in program.line_with("has changed")
        program.line_with("waiting for a change")
        replace(source, MODULE.format("another"))
        assert program.port() == port
        assert get(port) == (200, "another")
        program.process.send_signal(signal.SIGTERM)
        assert program.rest() == ""
        assert program.process.wait() == 0


STUBBORN = """
import signal, threading
signal.signal(signal.SIGTERM, lambda *_: None)
print("ready", flush=True)
while True:
    threading.Event().wait()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_process_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that goes on when it was asked to end, and asked again, is killed."""
    monkeypatch.setattr(reload, "PATIENCE", 0.05)
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        end_process(process)
        assert process.returncode == -signal.SIGKILL
