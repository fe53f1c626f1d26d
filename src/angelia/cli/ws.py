"""``angelia ws``: a WebSocket between standard input and standard output, or an echo server.

Owns: lines into messages and messages into lines, who ends the conversation, and its exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from angelia.cli.arguments import WebSocketOptions
from angelia.cli.calls import build_call, open_session
from angelia.cli.exits import ExitCode, UsageError
from angelia.cli.lines import LineTooLong, StandardInput
from angelia.cli.output import Output, escaped, escaped_line

if TYPE_CHECKING:
    import angelia
    from angelia.client.websocket import ClientWebSocketResponse

__all__ = ("talk",)

SCHEMES: Final = ("ws", "wss", "http", "https")

# A server that does not answer our Close is not waited for longer, in seconds.
CLOSE_TIMEOUT: Final = 5.0

# What the Ping behind the last message says.
END: Final = b"end"

# So much of a binary message is shown on a terminal, in octets.
SHOWN_OCTETS: Final = 32

# What asks for something that only a client does.
CLIENT_OPTIONS: Final = (
    "auth",
    "binary",
    "cacert",
    "compress",
    "headers",
    "insecure",
    "origin",
    "proxy",
    "unix_socket",
)

# RFC 6455 §7.4: ends without a complaint. 1005 is a Close frame without a code.
_ORDERLY: Final = (1000, 1001, 1005)


async def talk(options: WebSocketOptions, output: Output) -> int:
    """Talk until either side ends it; returns the exit code. Raises `UsageError`."""
    if options.listen is not None:
        _check_listening(options)
        await _echo(options, output)
        return ExitCode.OK
    import angelia

    call = build_call(options, schemes=SCHEMES)
    if call.arguments.pop("skip_auto_headers"):
        raise UsageError("the fields of the handshake cannot be left out")
    for name in ("allow_redirects", "max_redirects"):
        call.arguments.pop(name)
    async with open_session(options) as session:
        try:
            ws = await session.ws_connect(
                call.url,
                **call.arguments,
                protocols=options.protocols,
                origin=options.origin,
                heartbeat=options.heartbeat,
                compress=15 if options.compress else 0,
                max_msg_size=options.max_size,
                timeout=angelia.ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
                # The conversation wants to see a Pong.
                autoping=False,
            )
        except angelia.WSServerHandshakeError as error:
            output.error(f"{error.status} {error.message}")
            return ExitCode.HTTP_ERROR
        except (ValueError, angelia.NonHttpUrlClientError) as error:
            # A URL or a field of the handshake that cannot be.
            raise UsageError(str(error)) from error
        async with ws:
            return await _Conversation(ws, options, output).run()


class _Conversation:
    """Both directions of one WebSocket."""

    __slots__ = ("_heard", "_options", "_output", "_ws")

    def __init__(
        self, ws: ClientWebSocketResponse, options: WebSocketOptions, output: Output
    ) -> None:
        self._ws = ws
        self._options = options
        self._output = output
        # The server has read all that was sent.
        self._heard = asyncio.Event()

    async def run(self) -> int:
        """Send and receive until the WebSocket is closed; returns the exit code."""
        if not self._options.silent:
            protocol = f", {self._ws.protocol}" if self._ws.protocol else ""
            self._output.note(escaped_line(f"connected{protocol}"))
        sender = asyncio.ensure_future(self._send())
        receiver = asyncio.ensure_future(self._receive())
        try:
            await asyncio.wait([sender, receiver], return_when=asyncio.FIRST_COMPLETED)
            if sender.done():
                sender.result()
            await receiver
        finally:
            for task in (sender, receiver):
                task.cancel()
            await asyncio.wait([sender, receiver])
        return self._end()

    async def _send(self) -> None:
        ws, binary = self._ws, self._options.binary
        with StandardInput(asyncio.get_running_loop()) as lines:
            try:
                while (line := await lines.next()) is not None:
                    if binary:
                        await ws.send_bytes(line)
                    else:
                        await ws.send_str(line.decode())
                await self._wait_heard()
            except UnicodeDecodeError as error:
                raise UsageError("standard input is not UTF-8 (--binary sends octets)") from error
            except LineTooLong as error:
                raise UsageError(str(error)) from error
            except ConnectionResetError:
                # The server was quicker; the receiver knows how.
                return
        ws.end_sending()

    async def _wait_heard(self) -> None:
        """Wait until the server has seen all: many answer nothing once a Close has come."""
        await self._ws.ping(END)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._heard.wait()

    async def _receive(self) -> None:
        from angelia import WSMsgType

        async for message in self._ws:
            if message.type is WSMsgType.TEXT:
                self._show_text(message.data)
            elif message.type is WSMsgType.BINARY:
                self._show_octets(message.data)
            elif message.type is WSMsgType.PING:
                await self._ws.pong(message.data)
            elif message.type is WSMsgType.PONG and message.data == END:
                self._heard.set()
            self._output.flush()

    def _show_text(self, text: str) -> None:
        output = self._output
        if output.is_terminal:
            output.line(f"{output.styled('<', 'cyan')} {escaped(text)}")
        else:
            output.write_bytes(text.encode() + b"\n")

    def _show_octets(self, data: bytes) -> None:
        output = self._output
        if output.is_terminal:
            more = " ..." if len(data) > SHOWN_OCTETS else ""
            start = data[:SHOWN_OCTETS].hex(" ")
            output.line(f"{output.styled('<', 'magenta')} ({len(data)} octets) {start}{more}")
        else:
            output.write_bytes(data)

    def _end(self) -> int:
        ws, output = self._ws, self._output
        code, error = ws.close_code, ws.exception()
        if error is not None or code is None:
            output.error(f"the connection broke: {error}" if error else "the connection broke")
            return ExitCode.CONNECTION
        said = f"closed with {code}"
        if ws.close_reason:
            said += f": {escaped_line(ws.close_reason)}"
        if code in _ORDERLY:
            if not self._options.silent:
                output.note(said)
            return ExitCode.OK
        output.error(said)
        return ExitCode.HTTP_ERROR


def _check_listening(options: WebSocketOptions) -> None:
    """UsageError for options that a server has no use for."""
    for name in CLIENT_OPTIONS:
        if getattr(options, name):
            option = name.removesuffix("s").replace("_", "-")
            raise UsageError(f"--{option} is for a client, not with --listen")


async def _echo(options: WebSocketOptions, output: Output) -> None:
    """Serve until it is interrupted."""
    import angelia

    async def handler(request: angelia.Request) -> angelia.WebSocketResponse:
        ws = angelia.WebSocketResponse(
            max_msg_size=options.max_size, protocols=options.protocols, heartbeat=options.heartbeat
        )
        await ws.prepare(request)
        async for message in ws:
            if message.type is angelia.WSMsgType.TEXT:
                await ws.send_str(message.data)
            elif message.type is angelia.WSMsgType.BINARY:
                await ws.send_bytes(message.data)
        return ws

    async with angelia.Server(handler) as server:
        try:
            await server.start(options.host, options.listen or 0)
        except OSError as error:
            raise UsageError(
                f"cannot listen on {options.host}:{options.listen}: {error}"
            ) from error
        host = f"[{options.host}]" if ":" in options.host else options.host
        output.note(f"listening on ws://{host}:{server.port}/")
        await asyncio.Event().wait()
