"""nginx for a measurement: started on a free port and its own core, and always taken away.

Owns the process, its files and its certificate. Knows nothing of what is measured.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = (
    "BODY",
    "MEBI",
    "STOP_SECONDS",
    "Server",
    "certificate",
    "connects",
    "cores",
    "free_port",
    "in_memory",
    "serving",
    "sized_file",
)

BODY = b"Hello, World!\n"
MEBI = 1_000_000
"""A megabyte here is 10**6 bytes."""

START_SECONDS = 10.0
STOP_SECONDS = 5.0
CONNECTIONS = 12_000
"""More than the largest pool that is measured, and within common limits of open files."""

TEMPLATE = Path(__file__).with_name("nginx.conf")


@dataclass(frozen=True, slots=True)
class Server:
    """Where the server listens and where its files are."""

    port: int
    root: Path
    authority: Path | None
    """The certificate of the authority to trust; None: the server does not do TLS."""
    pid: int

    @property
    def url(self) -> str:
        scheme = "http" if self.authority is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}/"

    def file(self, megabytes: int) -> str:
        """Make a file of that size, once, and return its URL."""
        return f"{self.url}files/{sized_file(self.root / 'files', megabytes).name}"


def sized_file(folder: Path, megabytes: int) -> Path:
    """Make a file of that size, once, and return its path."""
    path = folder / f"{megabytes}m"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        # Real pages, not holes: those would all be one page, always in the cache of the CPU.
        chunk = random.Random(megabytes).randbytes(MEBI)
        with path.open("wb") as file:
            for _ in range(megabytes):
                file.write(chunk)
    return path


def cores() -> tuple[int, int]:
    """Return the core of the clients and that of the server; the same if there is but one."""
    if not hasattr(os, "sched_getaffinity"):
        return -1, -1
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[min(1, len(available) - 1)]


def certificate(python: Path, folder: Path) -> tuple[Path, Path] | None:
    """Make an authority and a server's certificate for 127.0.0.1 in `folder`.

    Args:
        python: An interpreter that has trustme.

    Returns:
        The server's chain with its key, and the authority; None without trustme.
    """
    command = [
        str(python),
        "-m",
        "trustme",
        "-q",
        "-d",
        str(folder),
        "-i",
        "127.0.0.1",
        "localhost",
    ]
    if subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode != 0:
        return None
    chain = folder / "chain.pem"
    chain.write_bytes(
        folder.joinpath("server.key").read_bytes() + folder.joinpath("server.pem").read_bytes()
    )
    return chain, folder / "client.pem"


@contextmanager
def serving(core: int, *, tls: Path | None = None) -> Iterator[Server]:
    """Run nginx on `core` while the block runs.

    Args:
        core: The core to pin it to; -1: none.
        tls: An interpreter that has trustme, to serve TLS; None: to serve plain text.

    Raises:
        SystemExit: There is no nginx, no certificate, or nginx does not start.
    """
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        raise SystemExit("nginx is not installed")
    root = in_memory()
    process: subprocess.Popen[bytes] | None = None
    try:
        made = None if tls is None else certificate(tls, root)
        if tls is not None and made is None:
            raise SystemExit("trustme is not installed, so there is no certificate to serve with")
        port = free_port()
        config = root / "nginx.conf"
        config.write_text(configuration(root, port, made))
        process = start([nginx, "-e", "stderr", "-p", str(root), "-c", str(config)], port)
        if core >= 0:
            os.sched_setaffinity(process.pid, {core})
        authority = None if made is None else made[1]
        yield Server(port=port, root=root, authority=authority, pid=process.pid)
    finally:
        if process is not None:
            stop(process)
        shutil.rmtree(root, ignore_errors=True)


def in_memory() -> Path:
    """Make a folder for us alone, in memory where there is a place for that."""
    memory = Path("/dev/shm")  # noqa: S108
    return Path(tempfile.mkdtemp(prefix="angelia-", dir=memory if memory.is_dir() else None))


def configuration(root: Path, port: int, made: tuple[Path, Path] | None) -> str:
    """Return the text of nginx.conf with its names filled in."""
    text = TEMPLATE.read_text()
    tls = ""
    if made is not None:
        tls = f"ssl_certificate {made[0]}; ssl_certificate_key {made[0]};"
        text = text.replace("backlog=4096;", "backlog=4096 ssl;")
    values = {"ROOT": str(root), "PORT": str(port), "TLS": tls, "CONNECTIONS": str(CONNECTIONS)}
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def start(command: list[str], port: int) -> subprocess.Popen[bytes]:
    """Start nginx and wait until it accepts connections.

    Raises:
        SystemExit: It ended, or did not listen in time.
    """
    # Should this process be killed outright, its server must not stay behind.
    setpriv = shutil.which("setpriv")
    if setpriv is not None and sys.platform == "linux":
        command = [setpriv, "--pdeathsig", "TERM", *command]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    if connects(process, port):
        return process
    stop(process)
    raise SystemExit("nginx did not start")


def connects(process: subprocess.Popen[Any], port: int) -> bool:
    """Wait until a server accepts connections; False where it ended, or does not in time."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return True
    return False


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
