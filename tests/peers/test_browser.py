"""A page in a real browser, which our server serves, and which opens WebSockets to our server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

import angelia
from peers.process import LOOPBACK, POLL_INTERVAL, UNLIMITED, Process

# A browser starts within seconds, or within many on a busy machine; `Process` bounds it first.
pytestmark = pytest.mark.deadline(120)

# Each scenario is a promise; the report is what they came to, by name.
PAGE = """<!doctype html>
<meta charset="utf-8"><title>angelia</title><link rel="icon" href="data:,">
<script>
function opened(url, protocols) {
  const ws = new WebSocket(url, protocols || []);
  ws.binaryType = "arraybuffer";
  return ws;
}
function ended(ws) {
  return new Promise((resolve) => {
    ws.onclose = (event) => resolve([event.code, event.reason, event.wasClean]);
  });
}
function same(got, sent) {
  if (typeof sent === "string") return got === sent;
  const octets = new Uint8Array(got);
  return octets.length === sent.length && octets.every((octet, at) => octet === sent[at]);
}
const here = `ws://${location.host}`;
const scenarios = {
  async echo() {
    const sent = ["", "gr\\u00fc\\u00df dich \\u{1f600}", "\\u20ac".repeat(100000),
      new Uint8Array(0), new Uint8Array(500000).map((_, at) => (at * at) >> 3)];
    const ws = opened(`${here}/echo`, ["other", "echo"]);
    const seen = [];
    ws.onopen = () => { seen.push(ws.protocol, ws.extensions); ws.send(sent[0]); };
    ws.onmessage = (event) => {
      const at = seen.length - 2;
      seen.push(same(event.data, sent[at]));
      if (at + 1 < sent.length) ws.send(sent[at + 1]); else ws.close(4001, "bye");
    };
    const end = await ended(ws);
    return { seen, end };
  },
  async closed_by_us() { return await ended(opened(`${here}/close`)); },
  async broken_off() { return await ended(opened(`${here}/broken`)); },
  async pinged() { return await ended(opened(`${here}/ping`)); },
  async from_elsewhere() { return await ended(opened(`ws://${location.hash.slice(1)}/echo`)); },
  async not_there() { return await ended(opened(`${here}/nothing`)); },
};
(async () => {
  const report = {};
  await Promise.all(Object.entries(scenarios).map(async ([name, scenario]) => {
    try { report[name] = await scenario(); } catch (error) { report[name] = String(error); }
  }));
  await fetch("/report", { method: "POST", body: JSON.stringify(report) });
})();
</script>
"""

FLAGS = (
    "--headless",
    "--no-sandbox",  # Root has no other way.
    "--disable-gpu",
    "--disable-dev-shm-usage",  # Containers have little of it.
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {LOOPBACK}",  # It asks nobody but us.
)


class Site:
    """The page, its WebSockets, and what it reports; a request with `Origin` must be its own."""

    def __init__(self) -> None:
        self.ends: dict[str, Any] = {}
        self.pong: angelia.WSMessage | None = None
        self.report: dict[str, Any] = {}
        self.reported = asyncio.Event()

    async def __call__(self, request: angelia.Request) -> angelia.StreamResponse:
        if request.path == "/":
            return angelia.Response(text=PAGE, content_type="text/html")
        if request.path == "/report":
            self.report = json.loads(await request.text())
            self.reported.set()
            return angelia.Response(status=204)
        if request.path not in ("/echo", "/close", "/broken", "/ping"):
            return angelia.Response(status=404)
        angelia.check_origin(request)
        ws = angelia.WebSocketResponse(protocols=("echo",), autoping=request.path != "/ping")
        await ws.prepare(request)
        if request.path == "/close":
            await ws.close(code=4000, message="genug \u20ac")
        elif request.path == "/broken":
            raise RuntimeError("this handler fails")
        elif request.path == "/ping":
            await ws.ping(b"are you there")
            self.pong = await ws.receive()
        else:
            await self._echo(ws)
        return ws

    async def _echo(self, ws: angelia.WebSocketResponse) -> None:
        async for message in ws:
            if message.type is angelia.WSMsgType.TEXT:
                await ws.send_str(message.data)
            else:
                await ws.send_bytes(message.data)
        self.ends["echo"] = ws.close_code


def processes_of(directory: str) -> list[int]:
    """The processes that have this home, wherever in the tree of processes they are."""
    mark, found = f"HOME={directory}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue  # It has ended, or is somebody else's.
    return found


def stop(browser: Process, directory: str) -> None:
    """End the browser, those of its processes too that left its group, and see them gone."""
    browser.stop()
    while processes := processes_of(directory):
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(POLL_INTERVAL)


async def visit(program: list[str], url: str, site: Site) -> None:
    """Open the page, wait for its report, and leave nothing of the browser but that."""
    with tempfile.TemporaryDirectory(prefix="angelia-browser-") as directory:
        browser = Process(
            [*program, *FLAGS, f"--user-data-dir={directory}/profile", url],
            log=Path(directory, "log"),
            ready=site.reported.is_set,
            environ={"HOME": directory, "TMPDIR": directory},
        )
        try:
            # It is "ready" with its report; a browser that ends before that fails, with its log.
            await asyncio.to_thread(browser.__enter__)
        finally:
            await asyncio.to_thread(stop, browser, directory)


async def test_chromium(require_peer: Any) -> None:
    """Text, octets, compression, Pings, every kind of end, and pages from elsewhere refused."""
    # The browser sets a terabyte of addresses aside.
    require_peer(UNLIMITED[0])
    program = [*UNLIMITED, require_peer("chromium")]
    site = Site()
    async with angelia.Server(site) as server, angelia.Server(site) as elsewhere:
        await server.start(LOOPBACK, 0)
        await elsewhere.start(LOOPBACK, 0)
        url = f"http://{LOOPBACK}:{server.port}/#{LOOPBACK}:{elsewhere.port}"
        await visit(program, url, site)
    echo = site.report.pop("echo")
    protocol, extensions, *same = echo["seen"]
    assert protocol == "echo"
    assert extensions.startswith("permessage-deflate")
    assert same == [True] * 5
    # Our answer to a Close has its code; the reason it has said already.
    assert echo["end"] == [4001, "", True]
    assert site.ends == {"echo": 4001}
    assert site.pong is not None
    assert (site.pong.type, bytes(site.pong.data)) == (angelia.WSMsgType.PONG, b"are you there")
    assert site.report == {
        "closed_by_us": [4000, "genug \u20ac", True],
        "broken_off": [1011, "", True],
        "pinged": [1000, "", True],
        # A page learns nothing of a refusal but that there is no WebSocket.
        "from_elsewhere": [1006, "", False],
        "not_there": [1006, "", False],
    }
