"""What the tests of attacks share: a resolver for names that do not exist, and an evil server.

Owns: where the invented hosts lead (all to 127.0.0.1, where the servers of a test listen), and the
script of a server that answers the first request with what an attacker made up, and every other
request with a harmless response, the canary.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any, Final

from yarl import URL

import angelia
from angelia.net.addresses import ResolveResult
from angelia.net.resolver import AbstractResolver
from peers.raw import RawServer, read_request, response

__all__ = (
    "CANARY",
    "Everywhere",
    "Evil",
    "at",
    "content",
    "failure",
    "fields_of",
    "invented_names",
    "offered",
)

# The content of every response that is not the attacker's.
CANARY: Final = b"the canary"

# Larger than any limit of a head, small enough to be written in no time.
FLOOD_PIECE: Final = 16 * 1024


class Everywhere(AbstractResolver):
    """Every name is 127.0.0.1; the names asked for are noted."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        """Nothing is held."""


def invented_names(**options: Any) -> angelia.TCPConnector:
    """A connector for which every name exists."""
    return angelia.TCPConnector(resolver=Everywhere(), **options)


def at(server: RawServer, host: str, path: str = "/") -> URL:
    """The URL of `server` under an invented name."""
    return URL.build(scheme=server.url.scheme, host=host, port=server.port, path=path)


def fields_of(request: bytes) -> list[tuple[str, str]]:
    """The fields of a request's head, names in lower case."""
    lines = request.split(b"\r\n\r\n", 1)[0].decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines)
    return [(name.lower(), value.strip()) for name, _, value in pairs]


class Evil:
    """Answers the first request with `attack`; each further one, wherever, with the canary.

    `piece` writes the attack in pieces of so many octets. `repeat` writes `repeat` after it, again
    and again, until the client has gone. `then_close` closes the connection after the attack.
    """

    def __init__(
        self,
        attack: bytes,
        *,
        piece: int | None = None,
        repeat: bytes = b"",
        then_close: bool = False,
    ) -> None:
        self._attack = attack
        self._piece = piece
        self._repeat = repeat
        self._then_close = then_close
        self._is_done = False
        # What was written of the attack, repetitions included.
        self.written = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            if self._is_done:
                writer.write(response(CANARY))
                await writer.drain()
                continue
            self._is_done = True
            for piece in self._pieces():
                writer.write(piece)
                self.written += len(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if self._then_close:
                return

    def _pieces(self) -> Iterator[bytes]:
        yield from offered(self._attack, self._piece)
        while self._repeat:
            yield self._repeat * (1 + FLOOD_PIECE // len(self._repeat))


def offered(data: bytes, piece: int | None) -> Iterator[bytes]:
    """`data` in pieces of so many octets, or whole."""
    size = piece or len(data) or 1
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def failure(session: angelia.ClientSession, url: URL, **options: Any) -> angelia.ClientError:
    """The error that a request, or the reading of its response, ends with."""
    try:
        async with session.get(url, **options) as resp:
            content = await resp.read()
    except angelia.ClientError as error:
        return error
    raise AssertionError(f"the attack was taken for a response: {content[:100]!r}")


async def content(session: angelia.ClientSession, url: URL, **options: Any) -> bytes:
    """The content of the response to a GET."""
    async with session.get(url, **options) as resp:
        return await resp.read()
