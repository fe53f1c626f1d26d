"""Tests of angelia.cli.demo and its site."""

from __future__ import annotations

import threading

import pytest

from angelia.cli.demo_site import serving
from angelia.cli.main import main


def test_demo(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """Every step finds what it should, is told on a line, and leaves no thread behind."""
    before = set(threading.enumerate())
    assert main(["demo"]) == 0
    assert set(threading.enumerate()) == before
    out, err = capfd.readouterr()
    assert (err, caplog.text) == ("", "")
    lines = out.splitlines()
    assert all(line.startswith("ok  ") for line in lines[1:-1])
    for word in (
        "GET /hello", "POST /echo", "/stream", "/moved", "cookie", "gzip", "50 x", "404",
        "ClientPayloadError", "TotalTimeoutError", "ClientConnectorError",
        "requests, the first GET /hello with 200 and 13 bytes",
    ):  # fmt: skip
        assert word in out
    assert lines[-1] == "all 12 steps found what they should have"


def test_a_step_that_fails(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that finds something else makes the demonstration fail, and the others go on."""
    monkeypatch.setattr("angelia.cli.demo.GZIPPED_TEXT", "something else")
    assert main(["demo"]) == 1
    out, err = capfd.readouterr()
    assert "failed  compression" in out
    assert "ok  a timeout" in out
    assert "1 of 12" in err


async def test_the_server_needs_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of the demonstration asks no name service, which may not be there."""

    def refuse(*arguments: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr("socket.getfqdn", refuse)
    monkeypatch.setattr("socket.gethostbyaddr", refuse)
    async with serving() as (url, _):
        assert url.startswith("http://127.0.0.1:")
