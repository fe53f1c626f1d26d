"""The Autobahn test suite against both roles of angelia's WebSockets.

::

    python tests/autobahn/run.py            # all cases: half an hour
    python tests/autobahn/run.py --quick    # a part of them: less than a minute
    python tests/autobahn/run.py --role server --cases '9.*'

The suite's fuzzing server tests our client, its fuzzing client our server; both are the program
``wstest``, which runs on Python 2.7 only and gets an environment of its own in ``.venvs/autobahn``.
Fails unless each case is OK or INFORMATIONAL, or NON-STRICT for a reason that stands here. Where
there is no Python 2.7 it says so and ends with the status SKIPPED.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import angelia
from peers.process import LOOPBACK, Process, free_port

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
ENVIRONMENT: Final = ROOT / ".venvs" / "autobahn"
REPORTS: Final = ROOT / ".venvs" / "autobahn-reports"
REQUIREMENTS: Final = HERE / "requirements.txt"

# The status of automake's and others' test runners for "could not be run".
SKIPPED: Final = 77

AGENT: Final = "angelia"

# Runs wstest with packages that stand in a directory; namespace packages need its .pth files.
WSTEST: Final = """
import site, sys
site.addsitedir(sys.argv.pop(1))
from autobahntestsuite.wstest import run
run()
"""

# All kinds of cases, except those that are about speed (9) and the hundreds of nearly the same
# (12, 13): a few of these.
QUICK: Final = (
    *("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.1.1", "9.2.1", "9.3.1", "9.7.1", "10.*"),
    *("12.1.1", "12.3.1", "12.5.1", "13.1.1", "13.5.1", "13.7.1"),
)

GOOD: Final = ("OK", "INFORMATIONAL")

# Cases that may end NON-STRICT, which is no failure. All of them send a message, a frame that is
# wrong, and more, in one piece or nearly so, and would like to have the message back first. Where
# one read brings both, the connection has failed before anybody could answer the message: RFC 6455
# §7.1.7 wants no more, and a peer that breaks the rules is owed no answer.
NON_STRICT: Final = frozenset(
    {"3.2", "3.3", "3.4", "4.1.3", "4.1.4", "4.1.5", "4.2.3", "4.2.4", "4.2.5", "5.15"}
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the Autobahn test suite.")
    parser.add_argument("--quick", action="store_true", help="a part that takes less than a minute")
    parser.add_argument("--role", choices=("client", "server"), help="one role only")
    parser.add_argument("--cases", nargs="+", help="cases like 1.* or 9.1.3")
    parser.add_argument("--loop", choices=("stock", "uvloop"), default="stock")
    options = parser.parse_args()
    python = find_python()
    if python is None:
        print("The Autobahn test suite was not run: it needs Python 2.7, and there is none here.")
        return SKIPPED
    install(python)
    cases = options.cases or (QUICK if options.quick else ("*",))
    failed = 0
    for role in (options.role,) if options.role else ("client", "server"):
        failed += run_role(python, role, cases, options.loop)
    return 1 if failed else 0


# --- wstest --------------------------------------------------------------------------------------


def find_python() -> str | None:
    """An interpreter of Python 2.7 with TLS, which wstest imports."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [str(path) for path in sorted(pyenv.glob("versions/2.7*/bin/python"), reverse=True)]
    found += [path for path in (shutil.which("python2.7"),) if path]
    for path in found:
        check = [path, "-c", "import sys, ssl, pip; sys.exit(sys.version_info[:2] != (2, 7))"]
        if subprocess.run(check, capture_output=True, check=False).returncode == 0:
            return path
    return None


def install(python: str) -> None:
    """Install the suite, unless these very requirements are there already."""
    stamp = ENVIRONMENT / "installed"
    wanted = f"{python} {hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()}"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    print("installing the Autobahn test suite", flush=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    arguments = ["--target", str(ENVIRONMENT), "--requirement", str(REQUIREMENTS)]
    done = subprocess.run([*pip, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stderr[-2000:]}\nthe Autobahn test suite could not be installed")
    stamp.write_text(wanted)


def wstest(python: str, *arguments: str) -> list[str]:
    """The command that runs wstest."""
    return [python, "-u", "-c", WSTEST, str(ENVIRONMENT), *arguments]


# --- the roles -----------------------------------------------------------------------------------


def run_role(python: str, role: str, cases: Sequence[str], loop: str) -> int:
    """Run the cases against one role; returns how many failed."""
    reports = REPORTS / role
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir(parents=True)
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    run = drive_client if role == "client" else drive_server
    with tempfile.TemporaryDirectory() as directory, asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run(python, cases, reports, Path(directory)))
    return judge(role, reports)


async def drive_client(python: str, cases: Sequence[str], reports: Path, directory: Path) -> None:
    """Let the suite's server test our client."""
    port = free_port()
    url = f"ws://{LOOPBACK}:{port}"
    spec = directory / "spec.json"
    wishes = {"url": url, "outdir": str(reports), "cases": list(cases), "exclude-cases": []}
    spec.write_text(json.dumps(wishes))
    arguments = ("--mode", "fuzzingserver", "--webport", "0", "--spec", str(spec))
    # It writes beside itself, wherever that is.
    process = Process(
        wstest(python, *arguments), log=directory / "log", ready=[port], cwd=directory
    )
    with process:
        async with angelia.ClientSession() as session:
            async with session.ws_connect(f"{url}/getCaseCount") as ws:
                count = int(await ws.receive_str())
            for case in range(1, count + 1):
                case_url = f"{url}/runCase?case={case}&agent={AGENT}"
                async with session.ws_connect(case_url, compress=15, max_msg_size=0) as ws:
                    await echo(ws)
            async with session.ws_connect(f"{url}/updateReports?agent={AGENT}") as ws:
                await ws.receive()


async def drive_server(python: str, cases: Sequence[str], reports: Path, directory: Path) -> None:
    """Let the suite's client test our server."""

    async def handler(request: angelia.Request) -> angelia.StreamResponse:
        ws = angelia.WebSocketResponse(max_msg_size=0)
        await ws.prepare(request)
        await echo(ws)
        return ws

    async with angelia.Server(handler) as server:
        await server.start(LOOPBACK, 0)
        spec = directory / "spec.json"
        url = f"ws://{LOOPBACK}:{server.port}"
        wishes: dict[str, Any] = {"outdir": str(reports), "cases": list(cases)}
        wishes |= {"servers": [{"agent": AGENT, "url": url}], "exclude-cases": []}
        spec.write_text(json.dumps(wishes))
        process = await asyncio.create_subprocess_exec(
            *wstest(python, "--mode", "fuzzingclient", "--spec", str(spec)),
            stdout=asyncio.subprocess.DEVNULL,
            cwd=directory,
        )
        if await process.wait():
            sys.exit("wstest failed")


async def echo(ws: angelia.ClientWebSocketResponse | angelia.WebSocketResponse) -> None:
    """Send back what comes, as long as it can be."""
    with contextlib.suppress(ConnectionResetError):
        async for message in ws:
            if message.type is angelia.WSMsgType.TEXT:
                await ws.send_str(message.data)
            elif message.type is angelia.WSMsgType.BINARY:
                await ws.send_bytes(message.data)


# --- the verdict ---------------------------------------------------------------------------------


def judge(role: str, reports: Path) -> int:
    """Print what came out; returns how many cases failed."""
    results: dict[str, dict[str, Any]] = json.loads((reports / "index.json").read_text())[AGENT]
    counts: dict[str, int] = {}
    failed = 0
    for case in sorted(results, key=lambda name: [int(part) for part in name.split(".")]):
        result = results[case]
        found = {result["behavior"], result["behaviorClose"]}
        counts[result["behavior"]] = counts.get(result["behavior"], 0) + 1
        if found <= {*GOOD} or (found <= {*GOOD, "NON-STRICT"} and case in NON_STRICT):
            continue
        failed += 1
        print(f"{role} {case}: {result['behavior']}, closing {result['behaviorClose']}")
    summary = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    print(f"{role}: {len(results)} cases: {summary}; {failed} failed", flush=True)
    if not results:
        return 1
    if failed:
        print(f"reports: {reports}/index.html")
    return failed


if __name__ == "__main__":
    sys.exit(main())
