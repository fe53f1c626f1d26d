"""Starting the program of a peer, knowing when it answers, ending it for certain.

Owns: free ports, the wait for readiness (connecting until it works), the end of the process. Knows
no peer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

__all__ = ("LOOPBACK", "PASSWORD", "POLL_INTERVAL", "UNLIMITED", "USER", "Process", "free_port")

LOOPBACK: Final = "127.0.0.1"

# The one account of every peer that asks who is there.
USER: Final = "user"
PASSWORD: Final = "secret"
PASSWORD_HASH: Final = "$apr1$r.84WIyG$cim7mI3ONC.9LkFDVDBTS."

# Below the range that systems take for outgoing connections, so that nobody gets a port by chance
# between our asking and the peer's binding.
PORTS: Final = range(20_000, 32_000)

# Starting takes a second or two; on a busy machine, more. It only bounds the wait for a failure.
START_TIMEOUT: Final = 60.0
POLL_INTERVAL: Final = 0.02

# Before the command of a program that sets more addresses aside than `ulimit -v` may allow: it and
# its children have no such limit, everybody else keeps theirs.
UNLIMITED: Final = ("prlimit", "--as=unlimited", "--")

_random = random.Random(os.getpid() ^ time.monotonic_ns())


def free_port() -> int:
    """Return a port that nobody listens on, on 127.0.0.1 and on ::1."""
    for _ in range(1000):
        port = _random.choice(PORTS)
        if _is_free(socket.AF_INET, LOOPBACK, port) and _is_free(socket.AF_INET6, "::1", port):
            return port
    raise RuntimeError("no free port on the loopback addresses")


def _is_free(family: socket.AddressFamily, host: str, port: int) -> bool:
    try:
        sock = socket.socket(family)
    except OSError:
        return True  # No IPv6 here: then nobody can have its port.
    with sock:
        try:
            sock.bind((host, port))
        except OSError as exc:
            return exc.errno not in {errno.EADDRINUSE, errno.EACCES}
    return True


class Process:
    """The process of a peer, as a context manager: ready when entered, gone when left.

    What it prints goes to `log`; a failure to start shows the end of it.
    """

    __slots__ = ("_command", "_cwd", "_environ", "_process", "_ready", "log")

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        ready: Callable[[], bool] | Sequence[int],
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._command = [str(word) for word in command]
        self._cwd = cwd
        self._environ = {**os.environ, **(environ or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = ready
        self.log = log

    def __enter__(self) -> Self:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the process has not been started")
        return self._process.pid

    def stop(self) -> None:
        """End the process and all that it started."""
        process, self._process = self._process, None
        if process is None:
            return
        # Its group is its own (a new session), so this reaches its workers and nobody else. No peer
        # has anything to save, and a polite request to end takes some of them seconds.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            status = process.poll()
            if status is not None:
                raise RuntimeError(f"{self._command[0]} ended with {status}:\n{self._log_end()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._command[0]} does not answer:\n{self._log_end()}")
            time.sleep(POLL_INTERVAL)

    def _answers(self) -> bool:
        if callable(self._ready):
            return self._ready()
        return all(_connects(port) for port in self._ready)

    def _log_end(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


def _connects(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1.0).close()
    except OSError:
        return False
    return True
