"""A SOCKS server: versions 4, 4a and 5 (RFC 1928), with user name and password (RFC 1929).

Only CONNECT, only TCP; run as ``python -m peers.socks_server PORT [USER PASSWORD]``. With an
account, version 5 needs it, and version 4 needs the user as its USERID. After every request it
prints one line: version, kind of address, host and port, so that a test sees who resolved the name.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
import sys
from asyncio import StreamReader, StreamWriter
from typing import Final

__all__ = ("SocksServer",)

BLOCK: Final = 65536

SOCKS4_GRANTED: Final = 90
SOCKS4_REJECTED: Final = 91
SOCKS4_WRONG_USER: Final = 93

NO_AUTHENTICATION: Final = 0
USERNAME_PASSWORD: Final = 2
NO_ACCEPTABLE_METHOD: Final = 0xFF

SUCCEEDED: Final = 0
NOT_ALLOWED: Final = 2
HOST_UNREACHABLE: Final = 4
REFUSED: Final = 5
COMMAND_NOT_SUPPORTED: Final = 7

IPV4, DOMAIN, IPV6 = 1, 3, 4
CONNECT: Final = 1


class Refused(Exception):
    """The client asked for what it does not get; the answer has been written."""


class SocksServer:
    """Handles connections; `account` is what a client has to show."""

    __slots__ = ("account",)

    def __init__(self, account: tuple[str, str] | None) -> None:
        self.account = account

    async def handle(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve one connection to its end."""
        try:
            version = (await reader.readexactly(1))[0]
            if version == 4:
                upstream = await self._socks4(reader, writer)
            elif version == 5:
                upstream = await self._socks5(reader, writer)
            else:
                return
            await _relay((reader, writer), upstream)
        except (Refused, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _socks4(
        self, reader: StreamReader, writer: StreamWriter
    ) -> tuple[StreamReader, StreamWriter]:
        command, port, address = struct.unpack("!BH4s", await reader.readexactly(7))
        user = (await reader.readuntil(b"\0"))[:-1].decode()
        host, kind = str(ipaddress.IPv4Address(address)), "ipv4"
        if address[:3] == b"\0\0\0" and address[3]:  # 4a: the name follows.
            host, kind = (await reader.readuntil(b"\0"))[:-1].decode(), "domain"
        _tell(4, kind, host, port)

        def answer(code: int) -> None:
            writer.write(struct.pack("!BBH4s", 0, code, port, address))

        if command != CONNECT:
            answer(SOCKS4_REJECTED)
            raise Refused
        if self.account is not None and user != self.account[0]:
            answer(SOCKS4_WRONG_USER)
            raise Refused
        try:
            upstream = await asyncio.open_connection(host, port)
        except OSError:
            answer(SOCKS4_REJECTED)
            raise Refused from None
        answer(SOCKS4_GRANTED)
        return upstream

    async def _socks5(
        self, reader: StreamReader, writer: StreamWriter
    ) -> tuple[StreamReader, StreamWriter]:
        await self._authenticate(reader, writer)
        _, command, _, kind = await reader.readexactly(4)
        host = await _read_address(reader, kind)
        (port,) = struct.unpack("!H", await reader.readexactly(2))
        _tell(5, {IPV4: "ipv4", DOMAIN: "domain", IPV6: "ipv6"}[kind], host, port)

        def answer(code: int) -> None:
            writer.write(struct.pack("!BBBB4sH", 5, code, 0, IPV4, b"\0\0\0\0", 0))

        if command != CONNECT:
            answer(COMMAND_NOT_SUPPORTED)
            raise Refused
        try:
            upstream = await asyncio.open_connection(host, port)
        except ConnectionRefusedError:
            answer(REFUSED)
            raise Refused from None
        except OSError:
            answer(HOST_UNREACHABLE)
            raise Refused from None
        answer(SUCCEEDED)
        return upstream

    async def _authenticate(self, reader: StreamReader, writer: StreamWriter) -> None:
        methods = await reader.readexactly((await reader.readexactly(1))[0])
        wanted = NO_AUTHENTICATION if self.account is None else USERNAME_PASSWORD
        if wanted not in methods:
            writer.write(bytes([5, NO_ACCEPTABLE_METHOD]))
            raise Refused
        writer.write(bytes([5, wanted]))
        if self.account is None:
            return
        await reader.readexactly(1)
        user = await reader.readexactly((await reader.readexactly(1))[0])
        password = await reader.readexactly((await reader.readexactly(1))[0])
        accepted = (user.decode(), password.decode()) == self.account
        writer.write(bytes([1, 0 if accepted else NOT_ALLOWED]))
        if not accepted:
            raise Refused


async def _read_address(reader: StreamReader, kind: int) -> str:
    if kind == IPV4:
        return socket.inet_ntop(socket.AF_INET, await reader.readexactly(4))
    if kind == IPV6:
        return socket.inet_ntop(socket.AF_INET6, await reader.readexactly(16))
    return (await reader.readexactly((await reader.readexactly(1))[0])).decode()


def _tell(version: int, kind: str, host: str, port: int) -> None:
    sys.stdout.write(f"{version} {kind} {host} {port}\n")
    sys.stdout.flush()


async def _relay(
    one: tuple[StreamReader, StreamWriter], other: tuple[StreamReader, StreamWriter]
) -> None:
    try:
        await asyncio.gather(_copy(one[0], other[1]), _copy(other[0], one[1]))
    finally:
        other[1].close()


async def _copy(reader: StreamReader, writer: StreamWriter) -> None:
    while block := await reader.read(BLOCK):
        writer.write(block)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def main(port: int, account: tuple[str, str] | None) -> None:
    """Serve until killed."""
    server = await asyncio.start_server(SocksServer(account).handle, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    words = sys.argv[1:]
    asyncio.run(main(int(words[0]), (words[1], words[2]) if len(words) > 2 else None))
