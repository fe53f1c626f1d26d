"""Django by both interfaces, asked by our own client."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import RequirePeer
from hosting.frameworks_kit import check_usual, visiting

APP = Path(__file__).with_name("django_app.py")
CONTENT = APP.read_bytes()

pytestmark = pytest.mark.deadline(40)


@contextmanager
def django_server(interface: str) -> Iterator[str]:
    """The origin of a Django application in a process of its own."""
    command = [sys.executable, str(APP), interface]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            if process.stdout is None:
                pytest.fail("no pipe")
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
async def test_all(require_peer: RequirePeer, interface: str) -> None:
    """Routes, forms with files, bodies without a length, streams, files, errors."""
    require_peer("module:django")
    with django_server(interface) as origin:
        async with visiting(origin) as session:
            async with session.get("/facts/x\xfc?a=b%20c", headers={"Cookie": "c=d"}) as response:
                assert await response.json() == {
                    "name": "x\xfc",
                    "method": "GET",
                    "query": {"a": "b c"},
                    "uri": f"{origin}/facts/x%C3%BC?a=b%20c",
                    "cookies": {"c": "d"},
                }
            # Django reads as much of WSGI's stream as Content-Length says.
            await check_usual(session, needs_length=interface == "wsgi")
            async with session.get("/file") as response:
                assert int(response.headers["Content-Length"]) == len(CONTENT)
                assert await response.read() == CONTENT
            async with session.head("/file") as response:
                assert int(response.headers["Content-Length"]) == len(CONTENT)
