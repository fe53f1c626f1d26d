"""Scripts for Node with its package `ws`, what they report, and what the tests of both roles share.

Owns: the process, the few functions that every script has, and the lines of JSON that it reports
with. What a script does stands in the test, beside what our end does.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import angelia
from angelia import WSMsgType

__all__ = ("BOTH", "CODES", "KEPT", "SMALL", "Costs", "RequirePeer", "Script", "last", "running")

RequirePeer: TypeAlias = Callable[[str], str]

# Settings of theirs for permessage-deflate: no windows kept, and small ones.
BOTH: Final = {"serverNoContextTakeover": True, "clientNoContextTakeover": True}
SMALL: Final = {"serverMaxWindowBits": 9, "clientMaxWindowBits": 9}

# The codes that a Close may have.
CODES: Final = (1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 4999)

KEPT: Final = base64.b64encode(random.Random(1).randbytes(15_000)).decode()
"""A text that nothing shortens but a window that has it already: 20 kB."""

PRELUDE: Final = r"""
const { once } = require("node:events");
const { WebSocket, WebSocketServer } = require("ws");
const given = JSON.parse(process.argv[1]);

function say(value) { console.log(JSON.stringify(value ?? null)); }

// Code and reason of its end. An error that ends it is its code, in front.
function ended(ws) {
  return new Promise((resolve) => {
    const end = [];
    ws.on("error", (error) => end.push(error.code ?? error.message));
    ws.on("close", (code, reason) => resolve([...end, code, reason.toString()]));
  });
}

// The next message, as what it was sent as.
async function answer(ws) {
  const [data, binary] = await once(ws, "message");
  return binary ? data : data.toString();
}

function same(got, sent) {
  return typeof sent === "string" ? got === sent : Buffer.isBuffer(got) && got.equals(sent);
}

// A WebSocket that is open, and the fields of the answer that opened it.
async function opened(url, protocols, options) {
  const ws = new WebSocket(url, protocols ?? [], options ?? {});
  const [[response]] = await Promise.all([once(ws, "upgrade"), once(ws, "open")]);
  return [ws, response.headers];
}

// A server for one WebSocket after the other; the first that it says is its port.
function listening(options, handler, http) {
  const at = http ? { server: http } : { host: "127.0.0.1", port: 0 };
  const server = new WebSocketServer({ ...at, ...options });
  server.on("connection", handler);
  const listener = http ?? server;
  if (http) http.listen(0, "127.0.0.1");
  listener.on("listening", () => say(listener.address().port));
  return server;
}

// Messages of all kinds, sent to who sends them back: whether each came back as it was.
async function exchange(ws) {
  const report = [];
  for (const sent of [
    "", "gr\u00fc\u00df dich \u{1f600}", "\u20ac".repeat(349525) + "x", Buffer.alloc(0),
    require("node:crypto").randomBytes(1 << 20),
  ]) {
    const got = answer(ws);
    ws.send(sent);
    report.push(same(await got, sent));
  }
  const got = Promise.all([answer(ws), once(ws, "pong")]);
  ws.send("in ", { fin: false });
  ws.ping("between");
  ws.send("three \u20ac ", { fin: false });
  ws.send("pieces", { fin: true });
  const [text, [pong]] = await got;
  report.push(text === "in three \u20ac pieces", pong.toString() === "between");
  const texts = [];
  const all = new Promise((resolve) => {
    ws.on("message", (data) => { if (texts.push(data.toString()) === 200) resolve(); });
  });
  for (let i = 0; i < 200; i += 1) ws.send(`message ${i}`);
  await all;
  ws.removeAllListeners("message");
  report.push(texts.every((text, i) => text === `message ${i}`));
  return report;
}
"""


class Script:
    """A script that runs, and reports in lines of JSON."""

    __slots__ = ("_process",)

    def __init__(self, process: Process) -> None:
        self._process = process

    async def said(self) -> Any:
        """What it says next; AssertionError with all that it printed if that is something else."""
        stdout = self._process.stdout
        if stdout is None:
            raise RuntimeError("the script was started without a pipe")
        line = await stdout.readline()
        try:
            return json.loads(line)
        except ValueError:
            rest = await stdout.read()
            raise AssertionError(f"the script failed:\n{(line + rest).decode()}") from None


@asynccontextmanager
async def running(require_peer: RequirePeer, script: str, **given: Any) -> AsyncIterator[Script]:
    """Run the body of an asynchronous function, which finds its arguments in `given`."""
    node, modules = require_peer("node"), require_peer("npm:ws")
    process = await asyncio.create_subprocess_exec(
        *(node, "-e", f"{PRELUDE}\n(async () => {{\n{script}\n}})();", json.dumps(given)),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        env={**os.environ, "NODE_PATH": modules},
    )
    try:
        yield Script(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def last(ws: angelia.WebSocketResponse | angelia.ClientWebSocketResponse) -> tuple[Any, ...]:
    """The message that ended it, and its code."""
    while True:
        message = await ws.receive()
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            return message.type, message.extra, ws.close_code


class Costs:
    """What a text costs on the wire when it is sent for the first and for the second time."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.received: list[int] = []

    async def echo(self, ws: angelia.WebSocketResponse) -> None:
        before = ws.stats()
        async for message in ws:
            await ws.send_str(message.data)
            after = ws.stats()
            self.sent.append(after.octets_sent - before.octets_sent)
            self.received.append(after.octets_received - before.octets_received)
            before = after

    async def ask(self, ws: angelia.ClientWebSocketResponse) -> None:
        for _ in range(2):
            before = ws.stats()
            await ws.send_str(KEPT)
            assert await ws.receive_str() == KEPT
            after = ws.stats()
            self.sent.append(after.octets_sent - before.octets_sent)
            self.received.append(after.octets_received - before.octets_received)

    def fell(self) -> tuple[bool, bool]:
        """Whether the second one cost (what we sent, what we received) next to nothing."""
        for first, second in (self.sent, self.received):
            assert second * 20 < first or second * 2 > first
        return self.sent[1] * 20 < self.sent[0], self.received[1] * 20 < self.received[0]
