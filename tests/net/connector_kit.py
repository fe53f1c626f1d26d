"""What the tests of connectors share: requests, limits, traces, servers, and a clock to turn."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass, field
from typing import Any

from angelia.net.connection_key import ConnectionKey
from angelia.net.connector import BaseConnector
from turns import turns


@dataclass(frozen=True, slots=True)
class Request:
    """All that a connector knows of a request."""

    connection_key: ConnectionKey


def ask(port: int | None, host: str = "127.0.0.1", *, tls: bool = False, **facts: Any) -> Request:
    return Request(ConnectionKey(host, port, tls, **facts))


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Those fields of a request's time limits that connectors obey."""

    connect: float | None = None
    sock_connect: float | None = None
    pool: float | None = None


class Broken(Exception):
    """What a callback of these tests raises."""


@dataclass
class Trace:
    """Notes what it is told; raises at `fail`; waits for `go_on` at `wait`."""

    fail: str = ""
    wait: str = ""
    told: list[str] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("send_"):
            raise AttributeError(name)

        async def send(*arguments: Any) -> None:
            event = name.removeprefix("send_")
            self.told.append(event)
            if event == self.fail:
                raise Broken(event)
            if event == self.wait:
                self.waiting.set()
                await self.go_on.wait()

        return send


class Clock:
    """The running loop's clock: it stands still, but can be put forward.

    Only for asyncio's own loop. However slow the machine is, no timer goes off before its time.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._now = loop.time()
        # An instance's attribute shadows the method.
        vars(loop)["time"] = self.now

    def now(self) -> float:
        return self._now

    async def forward(self, seconds: float) -> None:
        """Let so much time pass, and run what is due then."""
        self._now += seconds
        await turns(5)


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve nothing, until the client goes."""
    await reader.read()


async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read nothing, and so neither see nor answer a TLS goodbye."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # this one can
    await asyncio.Event().wait()


def figures(connector: BaseConnector) -> tuple[int, int, int, int]:
    """Connections idle, in use, being made; requests that wait."""
    stats = connector.stats()
    return stats.idle, stats.in_use, stats.connecting, stats.waiting


def defaults(kind: type) -> dict[str, Any]:
    """The parameters of a class, with their defaults."""
    parameters = list(inspect.signature(kind).parameters.values())
    return {parameter.name: parameter.default for parameter in parameters}
