"""One measurement of a server: wrk on a core of its own, the CPU time of the server's processes.

Owns the server's process, from start to stop, and how its CPU time is read. What the servers are is
in servers.py.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from served import STOP_SECONDS, connects, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("SERVES", "Running", "Serve", "running", "wrk")

SCRIPT: Final = Path(__file__).with_name("servers.py")

LUA: Final = """
{request}
done = function(summary)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("sum %d %d %d\\n", summary.requests, summary.bytes, failed))
end
"""


class Serve(NamedTuple):
    """A kind of request that every server answers."""

    title: str
    path: str
    connections: int
    body: int = 0
    by_bytes: bool = False


SERVES: Final = {
    "serve": Serve("GET of 14 bytes, 64 connections", "/", 64),
    "serve-post": Serve("POST of 64 KiB and back, 64 connections", "/echo", 64, body=64 * 1024),
    "serve-post-small": Serve("POST of 200 bytes and back, 64 connections", "/echo", 64, body=200),
    "serve-stream": Serve("download of 100 MB, in pieces", "/stream", 1, by_bytes=True),
    "serve-file": Serve("download of a file of 100 MB", "/file", 1, by_bytes=True),
}


class Running(NamedTuple):
    """A server under way."""

    pid: int
    port: int

    def cpu(self) -> float:
        """Return the seconds of CPU that its process and all below it took, user and system."""
        ticks, parents = {}, {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = folder.joinpath("stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            pid = int(folder.name)
            parents[pid] = int(fields[1])
            ticks[pid] = int(fields[11]) + int(fields[12])
        ours, total = {self.pid}, 0
        # A child has a greater number than its parent, but where the numbers start again.
        for pid in sorted(ticks):
            if pid in ours or parents[pid] in ours:
                ours.add(pid)
                total += ticks[pid]
        return total / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(
    python: Path, server: str, loop: str, core: int, file: str, environment: dict[str, str]
) -> Iterator[Running | str]:
    """Run a server on `core` while the block runs; a str instead: the reason that it does not."""
    if not Path("/proc/self/stat").exists():
        yield "the CPU time of other processes is read from /proc"
        return
    port = free_port()
    command = [str(python), str(SCRIPT), "--server", server, "--port", str(port), "--loop", loop]
    command += ["--file", file]
    if core >= 0 and (taskset := shutil.which("taskset")) is not None:
        command = [taskset, "-c", str(core), *command]
    setpriv = shutil.which("setpriv")
    if setpriv is not None and sys.platform == "linux":
        command = [setpriv, "--pdeathsig", "TERM", *command]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        cwd=SCRIPT.parent,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if line != "ready" or not connects(process, port):
            yield line or "it did not start"
        else:
            yield Running(process.pid, port)
    finally:
        stop(process)


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def wrk(server: Running, serve: Serve, core: int, seconds: float, folder: Path) -> float | str:
    """Load a server for some time.

    Returns:
        Microseconds of CPU per request, or 10**9 bytes per second of CPU; or why there is none.
    """
    program = shutil.which("wrk")
    if program is None:
        return "wrk is not installed"
    script = folder / "wrk.lua"
    request = ""
    if serve.body:
        request = f'wrk.method = "POST"\nwrk.body = string.rep("x", {serve.body})'
    script.write_text(LUA.format(request=request))
    command = [program, "-t1", f"-c{serve.connections}", f"-d{seconds:g}s", "-s", str(script)]
    command += ["--timeout", "20s", f"http://127.0.0.1:{server.port}{serve.path}"]
    if core >= 0 and (taskset := shutil.which("taskset")) is not None:
        command = [taskset, "-c", str(core), *command]
    # The first requests fill caches.
    warm = [*command]
    warm[warm.index(f"-d{seconds:g}s")] = "-d1s"
    subprocess.run(warm, check=False, capture_output=True)
    before = server.cpu()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    cpu = server.cpu() - before
    found = re.search(r"^sum (\d+) (\d+) (\d+)$", done.stdout, re.MULTILINE)
    if found is None:
        return (done.stderr.strip().splitlines() or ["wrk failed"])[-1][:200]
    requests, octets, failed = map(int, found.groups())
    if failed or not requests or cpu <= 0:
        return f"{failed} of {requests} requests failed"
    return octets / cpu / 1e9 if serve.by_bytes else cpu / requests * 1e6
