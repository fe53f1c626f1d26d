"""Whole programs under load: ``angelia serve`` and gunicorn with our workers, one process each.

    .venv/bin/python benchmarks/programs.py [--seconds 3]

`wrk` loads each with 64 connections from the second core, three times; the table has the median.
CPU is that of all processes of the program, the kernel's for them included. Needs Linux, wrk and
taskset, and the packages of the dev extra.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

__all__ = ("main",)

APPLICATIONS = """
import angelia

TEXT = "Hello, World!\\n"


async def handler(request):
    return angelia.Response(text=TEXT)


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": TEXT.encode()})


def wsgi(environ, start_response):
    headers = [("Content-Type", "text/plain"), ("Content-Length", "14")]
    start_response("200 OK", headers)
    return [TEXT.encode()]
"""

PORT = 8765
URL = f"http://127.0.0.1:{PORT}/"
CONNECTIONS = 64
ROUNDS = 3
TICKS = os.sysconf("SC_CLK_TCK")

OURS = "angelia.hosting.gunicorn"
BIND = ("-w", "1", "-b", f"127.0.0.1:{PORT}")
PROGRAMS: dict[str, tuple[str, ...]] = {
    "angelia serve, handler": ("angelia", "serve", "shop:handler", "--port", str(PORT)),
    "angelia serve, ASGI": ("angelia", "serve", "shop:asgi", "--port", str(PORT)),
    "angelia serve, WSGI": ("angelia", "serve", "shop:wsgi", "--port", str(PORT)),
    "gunicorn, handler": ("gunicorn", "-k", f"{OURS}.HandlerUvloopWorker", *BIND, "shop:handler"),
    "gunicorn, ASGI": ("gunicorn", "-k", f"{OURS}.ASGIUvloopWorker", *BIND, "shop:asgi"),
    "gunicorn, WSGI": ("gunicorn", "-k", f"{OURS}.WSGIUvloopWorker", *BIND, "shop:wsgi"),
    "gunicorn's gthread, WSGI": (
        *("gunicorn", "-k", "gthread", "--threads", "32", "--keep-alive", "75"),
        *(*BIND, "shop:wsgi"),
    ),
    "uvicorn, ASGI": ("uvicorn", "--no-access-log", "--port", str(PORT), "shop:asgi"),
}


def processes(pid: int) -> Iterator[int]:
    """A process and all that it has started."""
    yield pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for child in children:
        yield from processes(int(child))


def cpu_of(pid: int) -> float:
    """Seconds of CPU of a process and its children, user and system."""
    ticks = 0
    for each in processes(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


@contextmanager
def running(command: tuple[str, ...], directory: str) -> Iterator[int]:
    """The program on the first core, once it answers."""
    program = Path(sys.executable).with_name(command[0])
    process = subprocess.Popen(
        ["taskset", "-c", "0", str(program), *command[1:]],
        cwd=directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            try:
                with urlopen(URL) as answer:
                    answer.read()
                break
            except (URLError, ConnectionError):
                time.sleep(0.05)
        else:
            raise RuntimeError(f"{command[0]} does not answer")
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def load(seconds: int) -> tuple[int, float, str]:
    """How many requests, how many a second, and the 99th percentile of their latency."""
    wrk = ["taskset", "-c", "1", "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "--latency", URL]
    printed = subprocess.run(wrk, capture_output=True, text=True, check=True).stdout
    if "Socket errors" in printed or "Non-2xx" in printed:
        raise RuntimeError(printed)
    found = re.search(
        r"99%\s+(\S+).*?(\d+) requests in.*?Requests/sec:\s+([\d.]+)", printed, re.DOTALL
    )
    if found is None:
        raise RuntimeError(printed)
    return int(found[2]), float(found[3]), found[1]


def main() -> None:
    """Measure each program and print a line for it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=3, help="of each round (3)")
    seconds = parser.parse_args().seconds
    print(f"{'':28}{'us of CPU':>10}{'requests/s':>12}{'99 %':>10}")
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "shop.py").write_text(APPLICATIONS)
        for name, command in PROGRAMS.items():
            with running(command, directory) as pid:
                load(1)
                rounds = []
                for _ in range(ROUNDS):
                    before = cpu_of(pid)
                    requests, rate, worst = load(seconds)
                    rounds.append(((cpu_of(pid) - before) / requests * 1e6, rate, worst))
            cpu, rate, worst = sorted(rounds)[ROUNDS // 2]
            print(f"{name:28}{cpu:10.1f}{rate:12.0f}{worst:>10}", flush=True)


if __name__ == "__main__":
    main()
