"""Measure angelia against its peers: CPU time per unit of work, in turn, medians and ratios.

Run by any Python that has the standard library: the clients run in .venv-bench (prepare.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from clients import CLIENTS, PACKAGES
from prepare import PROJECT, PYTHON
from serve import SERVES, Running, Serve, running, wrk
from served import BODY, MEBI, cores, in_memory, serving, sized_file
from servers import SERVERS
from ws_served import ws_serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from served import Server

__all__ = ("main",)

HERE = Path(__file__).resolve().parent

ONE_RUN_SECONDS = 300
"""No run takes longer, unless it hangs."""

SLOW = {"httpx": 10}
"""Clients that do that many times fewer requests, so that a round stays a matter of seconds."""


class Work(NamedTuple):
    """A kind of work that every client does."""

    title: str
    method: str
    times: int
    quick_times: int
    concurrency: int = 32
    tls: bool = False
    megabytes: int = 0


WORKS = {
    "get": Work("GET of 14 bytes, 32 at a time", "get", 20_000, 4000),
    "post": Work("POST of 1 KiB of JSON, 32 at a time", "post", 20_000, 4000),
    "tls": Work("GET of 14 bytes over TLS, 32 at a time", "get", 20_000, 4000, tls=True),
    "stream": Work("download of 100 MB, in pieces", "stream", 10, 3, 1, megabytes=100),
    "read": Work("download of 100 MB, as one object", "read", 10, 3, 1, megabytes=100),
}

GROWTH = {
    "idle": ("idle connections to other hosts", (10, 1000, 10_000)),
    "waiting": ("requests waiting for another host", (10, 1000, 10_000)),
    "queue": ("requests at once, 32 connections", (10, 1000, 10_000)),
    "cookies": ("cookies of other hosts", (10, 1000, 10_000, 100_000)),
    "length": ("megabytes of one body (per MB)", (10, 100, 1000)),
}


class Talk(NamedTuple):
    """A kind of work on WebSockets."""

    title: str
    kind: str
    size: int
    times: int
    quick_times: int
    unit: str = "µs of CPU per message"


TALKS = (
    Talk("round trips of 64 bytes", "echo", 64, 20_000, 4000),
    Talk("round trips of 64 KiB", "echo", 1 << 16, 5000, 1000),
    Talk("round trips of 4 KiB of JSON, deflated", "deflate", 4096, 5000, 1000),
    Talk("sending 64 bytes", "send", 64, 100_000, 20_000),
    Talk("receiving 64 bytes", "receive", 64, 200_000, 40_000),
    Talk("receiving 1 MiB", "receive", 1 << 20, 500, 100, "GB per second of CPU"),
    Talk("idle connections", "idle", 0, 10_000, 500, "KiB of memory each"),
)

WS_CLIENTS = ("angelia", "angelia-pure", "picows", "aiohttp", "websockets")

ALL = (*WORKS, "import", "growth", *SERVES, "ws")


@dataclass(slots=True)
class Table:
    """The figures of one kind of work: a row has a name and a figure per round."""

    title: str
    unit: str
    higher_is_better: bool = False
    rows: dict[str, list[float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    bases: tuple[str, ...] = ("floor", "angelia")
    """The rows that the ratios are to."""

    def add(self, row: str, figure: float | str) -> None:
        """Add the figure of a round, or the reason that there is none."""
        if isinstance(figure, str):
            self.skipped.setdefault(row, figure)
        else:
            self.rows.setdefault(row, []).append(figure)

    def results(self) -> list[dict[str, object]]:
        """Return the rows with medians and ratios, as they are printed and as JSON."""
        medians = {row: statistics.median(figures) for row, figures in self.rows.items()}
        results: list[dict[str, object]] = []
        for row, figures in self.rows.items():
            ratios = {base: medians[row] / medians[base] for base in self.bases if base in medians}
            results.append(
                {
                    "name": row,
                    "median": medians[row],
                    "least": min(figures),
                    "most": max(figures),
                    "rounds": figures,
                    "ratios": ratios,
                }
            )
        results += [{"name": row, "skipped": why} for row, why in self.skipped.items()]
        return results

    def text(self) -> str:
        bases = [base for base in self.bases if base in self.rows]
        better = "more is better" if self.higher_is_better else "less is better"
        width = max(16, *(len(row) + 2 for row in (*self.rows, *self.skipped, "")))
        head = f"{'':{width}}{'median':>10}{'least':>10}{'most':>10}"
        lines = [f"{self.title}: {self.unit}, {better}", head]
        lines[1] += "".join(f"{'x ' + base:>12}" for base in bases)
        for result in self.results():
            if "skipped" in result:
                lines.append(f"{result['name']!s:{width}}skipped: {result['skipped']}")
                continue
            ratios = result["ratios"]
            assert isinstance(ratios, dict)
            figures = "".join(f"{result[name]:>10.2f}" for name in ("median", "least", "most"))
            figures += "".join(f"{ratios[base]:>12.2f}" for base in bases)
            lines.append(f"{result['name']!s:{width}}{figures}")
        return "\n".join(lines) + "\n"


class Bench:
    """What the command line asked for, and the tables that come of it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.python: Path = options.python
        self.clients: tuple[str, ...] = options.clients
        self.servers: tuple[str, ...] = options.servers
        self.loops: tuple[str, ...] = options.loops
        self.quick: bool = options.quick
        self.rounds: int = options.rounds or (3 if options.quick else 5)
        self.core, self.server_core = cores()
        self.tables: list[Table] = []

    # --- runs -----------------------------------------------------------------------------------

    def environment(self, client: str) -> dict[str, str]:
        """Return the environment of a run: the same for all, and without proxies."""
        variables = {
            name: value
            for name, value in os.environ.items()
            if not name.lower().endswith("_proxy") and not name.startswith("PYTHON")
        }
        variables["PYTHONPATH"] = str(PROJECT / "src")
        variables.pop("ANGELIA_PURE", None)
        if client == "angelia-pure":
            variables["ANGELIA_PURE"] = "1"
        return variables

    def run(self, script: str, client: str, **options: object) -> dict[str, float] | str:
        """Run one measurement in a process of its own.

        Returns:
            Its figures, or the reason that there are none.
        """
        command = [str(self.python), str(HERE / script), "--client", client]
        for name, value in (*options.items(), ("core", self.core)):
            if value is not None:
                command += [f"--{name}", str(value)]
        try:
            done = subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                timeout=ONE_RUN_SECONDS,
                env=self.environment(client),
            )
        except subprocess.TimeoutExpired:
            return f"no end after {ONE_RUN_SECONDS} s"
        lines = done.stdout.splitlines()
        if done.returncode != 0 or not lines:
            return (done.stderr.strip().splitlines() or ["failed"])[-1][:200]
        result = json.loads(lines[-1])
        return str(result["skipped"]) if "skipped" in result else result

    def in_turn(
        self, table: Table, rows: Iterable[str], measure: Callable[[str], float | str]
    ) -> None:
        """Measure each row once per round; a row that cannot be measured is not tried again."""
        self.tables.append(table)
        names = list(rows)
        for number in range(self.rounds):
            sys.stderr.write(f"{table.title}: round {number + 1} of {self.rounds}\n")
            for row in names:
                if row not in table.skipped:
                    table.add(row, measure(row))
        print(table.text(), flush=True)

    # --- kinds of work --------------------------------------------------------------------------

    def work(self, name: str) -> None:
        """Measure one of `WORKS`, on each event loop."""
        work = WORKS[name]
        with serving(self.server_core, tls=self.python if work.tls else None) as server:
            for loop in self.loops:
                self.work_on(work, loop, server)

    def work_on(self, work: Work, loop: str, server: Server) -> None:
        url = server.file(work.megabytes) if work.megabytes else server.url
        size = work.megabytes * MEBI or len(BODY)
        count = work.quick_times if self.quick else work.times

        def measure(client: str) -> float | str:
            result = self.run(
                "worker.py",
                client,
                loop=loop,
                method=work.method,
                url=url,
                size=size,
                count=max(1, count // (1 if work.megabytes else SLOW.get(client, 1))),
                concurrency=work.concurrency,
                authority=server.authority,
            )
            if isinstance(result, str):
                return result
            if work.megabytes:
                return result["bytes"] / result["cpu"] / 1e9
            return result["cpu"] / result["count"] * 1e6

        unit = "GB per second of CPU" if work.megabytes else "µs of CPU per request"
        table = Table(f"{work.title}, {loop}", unit, higher_is_better=bool(work.megabytes))
        self.in_turn(table, self.clients, measure)

    def imports(self) -> None:
        """Measure the import of each package, less that of an empty program."""
        rounds = 5 if self.quick else 20
        table = Table("import", "ms of CPU more than an empty program")
        bare: list[float] = []
        times: dict[str, list[float]] = {}
        packages = {name: PACKAGES[name] for name in self.clients if name in PACKAGES}
        for name, package in packages.items():  # Also compiles what is not compiled yet.
            if (why := self.missing(name, package)) is not None:
                table.add(name, why)
        for _ in range(rounds):
            bare.append(self.program("pass"))
            for name, package in packages.items():
                if name not in table.skipped:
                    times.setdefault(name, []).append(self.program(f"import {package}"))
        empty = statistics.median(bare)
        for name, figures in times.items():
            for figure in figures:
                table.add(name, (figure - empty) * 1e3)
        self.tables.append(table)
        print(table.text(), flush=True)

    def missing(self, name: str, package: str) -> str | None:
        """Return why the package cannot be used; None: it can."""
        code = f"import {package}"
        if name == "angelia":
            code += "; angelia.ClientSession"
        done = subprocess.run(
            [self.python, "-c", code],
            check=False,
            capture_output=True,
            text=True,
            env=self.environment(name),
        )
        return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]

    def program(self, code: str) -> float:
        """Return the seconds of CPU that the program takes, its start and end included."""
        process = subprocess.Popen([self.python, "-c", code], env=self.environment(""))
        if self.core >= 0:
            os.sched_setaffinity(process.pid, {self.core})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_utime + usage.ru_stime

    def websockets(self) -> None:
        """Measure the WebSockets of the clients that have them, on each event loop."""
        for loop in self.loops:
            for talk in TALKS:
                self.talk(talk, loop)

    def talk(self, talk: Talk, loop: str) -> None:
        higher = talk.unit.startswith("GB")
        bases = ("angelia",)
        table = Table(f"WebSocket, {talk.title}, {loop}", talk.unit, higher, bases=bases)
        table_of_server = Table("the same, in angelia's server", talk.unit)
        count = talk.quick_times if self.quick else talk.times

        def measure(client: str) -> float | str:
            # A server for each run: what one leaves in its memory is not the next one's.
            with ws_serving(self.python, self.server_core, self.environment("angelia")) as url:
                result = self.run(
                    "ws_worker.py",
                    client,
                    loop=loop,
                    kind=talk.kind,
                    url=url,
                    size=talk.size,
                    count=count,
                )
            if isinstance(result, str):
                return result
            if talk.kind == "idle":
                table_of_server.add(client, result["server"])
                return result["client"]
            if higher:
                return result["bytes"] / result["cpu"] / 1e9
            return result["cpu"] / result["count"] * 1e6

        self.in_turn(table, WS_CLIENTS, measure)
        if table_of_server.rows:
            self.tables.append(table_of_server)
            print(table_of_server.text(), flush=True)

    def growth(self) -> None:
        """Measure what the cost of a request must not grow with."""
        clients = [name for name in ("angelia", "aiohttp") if name in self.clients]
        loop = self.loops[-1]
        with serving(self.server_core) as server:
            for kind, (title, sizes) in GROWTH.items():
                for client in clients:
                    self.growth_of(kind, f"{client}, {title}, {loop}", sizes, client, server)

    def growth_of(
        self, kind: str, title: str, sizes: tuple[int, ...], client: str, server: Server
    ) -> None:
        if self.quick:
            sizes = sizes[:2]
        count = 2000 if self.quick else 10_000
        if kind == "length":
            count = 1000

        def measure(row: str) -> float | str:
            size = int(row.replace(" ", ""))
            path = ""
            if kind in ("length", "waiting"):
                path = server.file(size if kind == "length" else 100)
                path = "/" + path.removeprefix(server.url)
            result = self.run(
                "growth.py",
                client,
                loop=self.loops[-1],
                kind=kind,
                url=server.url,
                file=path,
                size=size,
                count=count,
            )
            return result if isinstance(result, str) else result["cpu"] * 1e6

        rows = [f"{size:,}".replace(",", " ") for size in sizes]
        table = Table(title, "µs of CPU", bases=(rows[0],))
        self.in_turn(table, rows, measure)

    def serve(self, name: str) -> None:
        """Measure the servers with one of `SERVES`, on each event loop."""
        serve, seconds = SERVES[name], 1 if self.quick else 4
        unit = "GB per second of CPU" if serve.by_bytes else "µs of CPU per request"
        folder = in_memory()
        try:
            file = str(sized_file(folder, 100))
            for loop in self.loops:

                def measure(server: str, loop: str = loop) -> float | str:
                    if server == "nginx":
                        return self.nginx(serve, seconds, folder)
                    if name == "serve-file" and server not in ("angelia", "aiohttp"):
                        return "an application cannot ask it for that"
                    environment = self.environment(server)
                    with running(self.python, server, loop, self.core, file, environment) as found:
                        if not isinstance(found, Running):
                            return found
                        return wrk(found, serve, self.server_core, seconds, folder)

                title = f"server: {serve.title}, {loop}"
                table = Table(title, unit, higher_is_better=serve.by_bytes)
                rows = self.servers
                if name == "serve-file":
                    rows = (*rows, "nginx")
                self.in_turn(table, rows, measure)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def nginx(self, serve: Serve, seconds: float, folder: Path) -> float | str:
        with serving(self.core) as nginx:
            path = nginx.file(100).removeprefix(nginx.url)
            server = Running(nginx.pid, nginx.port)
            return wrk(server, serve._replace(path=f"/{path}"), self.server_core, seconds, folder)

    # --- all ------------------------------------------------------------------------------------

    def document(self) -> dict[str, object]:
        """Return all that was measured, for JSON."""
        versions = subprocess.run(
            [self.python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
            check=False,
            capture_output=True,
            text=True,
        )
        packages = json.loads(versions.stdout) if versions.returncode == 0 else []
        return {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "python": platform.python_version(),
            "machine": platform.platform(),
            "cores": {"clients": self.core, "server": self.server_core},
            "load": os.getloadavg(),
            "packages": {package["name"]: package["version"] for package in packages},
            "tables": [
                {
                    "title": table.title,
                    "unit": table.unit,
                    "higher_is_better": table.higher_is_better,
                    "rows": table.results(),
                }
                for table in self.tables
            ],
        }


def listed(known: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    """Return the parser of an argument that is a list of `known` names, with commas between."""
    allowed = tuple(known)

    def parse(text: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in text.split(",") if name.strip())
        unknown = [name for name in names if name not in allowed]
        if unknown or not names:
            raise argparse.ArgumentTypeError(f"{text!r}: choose from {', '.join(allowed)}")
        return names

    return parse


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 short rounds: only to see it work")
    parser.add_argument("--only", type=listed(ALL), default=ALL, help=",".join(ALL))
    parser.add_argument(
        "--loops", type=listed(("asyncio", "uvloop")), default=("asyncio", "uvloop")
    )
    parser.add_argument("--clients", type=listed(CLIENTS), default=tuple(CLIENTS))
    parser.add_argument("--servers", type=listed(SERVERS), default=tuple(SERVERS))
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each table (5)")
    parser.add_argument("--json", help="write the JSON to this file, not after the tables")
    parser.add_argument("--python", type=Path, default=PYTHON, help="the Python of the clients")
    return parser.parse_args()


def terminated(number: int, _: object) -> NoReturn:
    """Leave through every `finally`: there is a server to stop."""
    raise SystemExit(128 + number)


def main() -> None:
    """Measure as the command line says; print the tables, then all of it as JSON."""
    options = arguments()
    if not options.python.exists():
        raise SystemExit("there is no .venv-bench yet: python benchmarks/prepare.py")
    signal.signal(signal.SIGTERM, terminated)
    bench = Bench(options)
    if bench.core == bench.server_core:
        sys.stderr.write("there is no core for the server alone: the figures are of little use\n")
    with ExitStack() as stack:
        stack.callback(finish, bench, options.json)
        for name in options.only:
            if name == "import":
                bench.imports()
            elif name == "growth":
                bench.growth()
            elif name in SERVES:
                bench.serve(name)
            elif name == "ws":
                bench.websockets()
            else:
                bench.work(name)


def finish(bench: Bench, path: str | None) -> None:
    """Write the JSON of what was measured, also when the measuring was cut short."""
    text = json.dumps(bench.document(), indent=2) + "\n"
    if path is None:
        print(text)
    else:
        Path(path).write_text(text)


if __name__ == "__main__":
    main()
