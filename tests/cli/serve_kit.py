"""A program that serves, and a client of it that blocks."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
import threading
from types import TracebackType
from typing import Any, Self

# A guard against hangs, far above what anything here takes.
PATIENCE = 60


def get(port: int, path: str = "/", body: bytes | None = None) -> tuple[int, str]:
    """Status and content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET" if body is None else "POST", path, body)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Program:
    """``angelia serve`` in a process of its own, which is killed if it hangs."""

    def __init__(self, *arguments: str, **options: Any) -> None:
        self.process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-m", "angelia", "serve", *arguments],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        self._guard = threading.Timer(PATIENCE, self.process.kill)

    def __enter__(self) -> Self:
        self._guard.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._guard.cancel()
        self._guard.join()
        if exc_type is not None:
            self.process.terminate()
        with self.process:
            pass

    def line_with(self, text: str) -> str:
        """The next line on standard error that has `text`; what came before it is in the error."""
        assert self.process.stderr is not None
        seen = []
        for line in self.process.stderr:
            if text in line:
                return line
            seen.append(line)
        raise AssertionError(f"no {text!r} in {seen}")

    def port(self) -> int:
        """The port that it tells when it serves."""
        line = self.line_with(" on http://")
        found = re.search(r"http://127\.0\.0\.1:([0-9]+)/", line)
        assert found is not None, line
        return int(found[1])

    def rest(self) -> str:
        """What it still says until it ends."""
        assert self.process.stderr is not None
        return self.process.stderr.read()
