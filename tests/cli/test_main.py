"""Tests of angelia.cli.main: exit codes, signals, pipes, terminals."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from angelia.cli.main import main
from cli.site import Request, Site, reply

CLOSED_PORT = "http://127.0.0.1:1/"


def program(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "angelia", *arguments]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--nonsense", "u"],
        ["ftp://example.org/"],
        ["http://["],
        ["-H", "no colon", CLOSED_PORT],
        ["-d", "@/nonexistent/file", CLOSED_PORT],
        ["-F", "novalue", CLOSED_PORT],
        ["-x", "ftp://proxy/", CLOSED_PORT],
        ["--cacert", "/nonexistent/file", "https://127.0.0.1:1/"],
        ["--cacert", os.devnull, "https://127.0.0.1:1/"],
        ["-o", "/nonexistent/dir/file", CLOSED_PORT],
        ["-o", "/", CLOSED_PORT],
        ["load"],
        ["demo", "x"],
    ],
)
def test_usage(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """What cannot be done exits with 2 and says why, on standard error."""
    assert main(arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("angelia: ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [["-H", "Bad Name: x"], ["-H", "A: b\r\nC: d"], ["-X", "BAD METHOD"], ["-H", "A: \0"]],
)
@pytest.mark.parametrize("command", [[], ["-o", os.devnull], ["load", "-n", "9"]])
def test_requests_that_cannot_be(
    command: list[str], arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """What the library refuses to send exits with 2, and nothing was sent."""
    with Site(reply(b"hello")) as site:
        assert main([*command, *arguments, site.url]) == 2
    assert site.requests == []
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("angelia: ")
    assert err.count("\n") == 1


def test_fail(capfd: pytest.CaptureFixture[str]) -> None:
    """--fail exits with 1 for statuses of 400 or more, without the body; else they are content."""
    with Site(reply(b"body", status="404 Not Found")) as site:
        assert main(["-s", site.url]) == 0
        assert capfd.readouterr().out == "body"
        assert main(["-s", "--fail", site.url]) == 1
    out, err = capfd.readouterr()
    assert (out, err) == ("", "angelia: 404 Not Found\n")
    with Site(reply(b"", status="304 Not Modified")) as site:
        assert main(["-s", "--fail", site.url]) == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://x/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[/\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_bad_responses(answer: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever a server does wrong exits with 3 and a line that says what."""
    with Site(answer) as site:
        assert main(["-s", site.url]) == 3
    err = capfd.readouterr().err
    assert err.startswith("angelia: ")
    assert err.count("\n") == 1


def test_no_connection(capfd: pytest.CaptureFixture[str]) -> None:
    """A closed port exits with 3, and so does a name that does not exist."""
    assert main([CLOSED_PORT]) == 3
    assert "127.0.0.1:1" in capfd.readouterr().err
    assert main(["http://name.invalid/"]) == 3


def test_timeout(capfd: pytest.CaptureFixture[str]) -> None:
    """--timeout exits with 3."""

    def answer(request: Request) -> bytes:
        site.ending.wait(30)
        return b""

    with Site(answer) as site:
        assert main(["--timeout", "0.05", site.url]) == 3
    assert capfd.readouterr().err.startswith("angelia: ")


def test_certificates(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A certificate that is not trusted exits with 3; -k takes any, --cacert those it names."""
    import ssl

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with Site(reply(b"hello"), tls=context) as site:
        assert main(["-s", site.url]) == 3
        assert "--insecure" in capfd.readouterr().err
        assert main(["-s", "-k", site.url]) == 0
        assert main(["-s", "--cacert", str(tmp_path / "ca.pem"), site.url]) == 0
    assert capfd.readouterr().out == "hellohello"


def test_program() -> None:
    """``python -m angelia`` is the command line; its version is on standard output."""
    done = subprocess.run(program("--version"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("angelia ")


def test_closed_pipe() -> None:
    """A reader that goes away ends the program, without a word."""
    with (
        Site(reply(b"x" * 10_000_000)) as site,
        subprocess.Popen(
            program("-s", site.url), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(10) == b"x" * 10
        process.stdout.close()
        assert process.wait(30) == 141
        assert process.stderr.read() == b""


def test_full_output() -> None:
    """A standard output that takes nothing is an error, and not a traceback."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with Site(reply(b"hello")) as site, Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            program("-s", site.url), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == "angelia: cannot write to standard output: No space left on device\n"


COMMANDS = [[], ["-o", "file"], ["load", "-n", "3", "-c", "1"]]


def interrupted(arguments: list[str], directory: Path, times: int) -> tuple[int, bytes, bytes]:
    """The end of a program that gets SIGINT while it waits for a response."""

    def answer(request: Request) -> bytes:
        for _ in range(times):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
        site.ending.wait(30)
        return b""

    with Site(answer) as site:
        process = subprocess.Popen(
            program(*arguments, site.url),
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with process:
            out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.mark.parametrize("arguments", COMMANDS)
def test_interrupt(arguments: list[str], tmp_path: Path) -> None:
    """SIGINT ends every command with 130, without a traceback, and leaves no file."""
    assert interrupted(arguments, tmp_path, 1) == (130, b"", b"")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", COMMANDS)
def test_impatience(arguments: list[str], tmp_path: Path) -> None:
    """SIGINT again and again ends it as quietly; the last may meet an interpreter that is done."""
    code, out, err = interrupted(arguments, tmp_path, 50)
    assert code in {130, -signal.SIGINT}
    assert (out, err) == (b"", b"")


def test_interrupted_load(tmp_path: Path) -> None:
    """An interrupted run reports what it has done."""
    counter = itertools.count()

    def answer(request: Request) -> bytes:
        if next(counter) == 5:
            os.kill(process.pid, signal.SIGINT)
            site.ending.wait(30)
        return reply(b"hello")

    with Site(answer) as site:
        process = subprocess.Popen(
            program("load", "-n", "99", "-c", "1", site.url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
    assert "done        5 in" in out


def test_interrupt_in_the_middle_of_a_download(tmp_path: Path) -> None:
    """SIGINT leaves the part to go on with, and no half of a file under the final name."""

    def more() -> bytes:
        os.kill(process.pid, signal.SIGINT)
        site.ending.wait(30)
        return b""

    head = b'HTTP/1.1 200 OK\r\nETag: "v"\r\nContent-Length: 99\r\n\r\n'
    with Site(head + b"some", then=lambda: more() if wait_for_part(tmp_path) else b"") as site:
        process = subprocess.Popen(program("-s", "-o", "file", site.url), cwd=tmp_path)
        assert process.wait(30) == 130
    assert (tmp_path / "file.part").read_bytes() == b"some"
    assert not (tmp_path / "file").exists()


def wait_for_part(directory: Path) -> bool:
    """Wait, in the server's thread, until what was sent is in the part file."""
    part = directory / "file.part"
    for _ in range(3000):
        if part.exists() and part.stat().st_size:
            return True
        signal.sigtimedwait([], 0.01)
    return False


def on_a_terminal(*arguments: str) -> tuple[int, str]:
    """The exit code of the program on a terminal, and all that the terminal got."""
    import pty

    controller, terminal = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(program(*arguments), stdout=terminal, stderr=terminal, env=environ)
    os.close(terminal)
    pieces = []
    try:
        while piece := os.read(controller, 65536):
            pieces.append(piece)
    except OSError:  # How Linux says that nobody has the terminal any more.
        pass
    finally:
        os.close(controller)
    return process.wait(30), b"".join(pieces).decode()


def test_on_a_terminal(tmp_path: Path) -> None:
    """On a real terminal there are colours, and progress for downloads."""
    with Site(reply(b'{"a":1}', "Content-Type: application/json")) as site:
        code, text = on_a_terminal(site.url)
        assert code == 0
        assert "\x1b[32;1m200 OK\x1b[0m" in text
        code, text = on_a_terminal("-o", str(tmp_path / "file"), site.url)
        assert code == 0
        assert "saved 7 B" in text
        code, text = on_a_terminal("load", site.url, "-n", "5")
        assert code == 0
        assert "█" in text
