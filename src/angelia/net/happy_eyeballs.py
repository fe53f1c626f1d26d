"""Happy Eyeballs version 2 (RFC 8305 §5): one connected socket out of several addresses.

Owns the staggered race. It does not know how an attempt is made, where the addresses come from,
or what the connection is for.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from angelia.net.addresses import AddrInfoType

__all__ = ("MIN_ATTEMPT_DELAY", "ConnectAttempt", "connect_first", "join_errors")

ConnectAttempt = Callable[[AddrInfoType], Awaitable[socket.socket]]

# RFC 8305 §5: the delay between attempts MUST have a lower bound of 10 milliseconds, since
# without one a host with many addresses is hit with all of them at once.
MIN_ATTEMPT_DELAY = 0.01


async def connect_first(
    infos: Sequence[AddrInfoType], attempt: ConnectAttempt, delay: float | None
) -> socket.socket:
    """The first socket that connects to one of `infos`, which are tried in their order.

    An attempt starts `delay` seconds after the one before, or at once when that one fails; with
    None each waits for the failure of the one before. The sockets of the attempts that lose are
    closed, as all are on cancellation.

    Raises an `ExceptionGroup` of the attempts' `OSError`s when all have failed. Any other
    exception of an attempt ends the race and is raised as it is.
    """
    if delay is None or len(infos) < 2:
        return await _in_sequence(infos, attempt)
    return await _staggered(infos, attempt, max(delay, MIN_ATTEMPT_DELAY))


async def _in_sequence(infos: Sequence[AddrInfoType], attempt: ConnectAttempt) -> socket.socket:
    errors: list[OSError] = []
    for info in infos:
        try:
            return await attempt(info)
        except OSError as error:
            errors.append(error)
    raise ExceptionGroup("no address could be connected to", errors)


async def _staggered(
    infos: Sequence[AddrInfoType], attempt: ConnectAttempt, delay: float
) -> socket.socket:
    waiting = deque(infos)
    running: list[asyncio.Task[socket.socket]] = []
    errors: list[OSError] = []
    try:
        while waiting or running:
            if waiting:
                running.append(asyncio.ensure_future(_run(attempt, waiting.popleft())))
            await asyncio.wait(
                running,
                timeout=delay if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            # In the order of preference, where several have finished in the same turn.
            for task in [task for task in running if task.done()]:
                error = task.exception()
                if error is None or not isinstance(error, OSError):
                    running.remove(task)
                    return task.result()
                running.remove(task)
                errors.append(error)
    finally:
        for task in running:
            # Not awaited: a second cancellation during that wait would lose the winner.
            task.cancel()
            task.add_done_callback(_discard)
    raise ExceptionGroup("no address could be connected to", errors)


async def _run(attempt: ConnectAttempt, info: AddrInfoType) -> socket.socket:
    return await attempt(info)


def _discard(task: asyncio.Task[socket.socket]) -> None:
    """Close the socket of an attempt that was connected when it was no longer wanted."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def join_errors(errors: Sequence[Any]) -> OSError:
    """One `OSError` that says what the attempts' errors say, of the first one's kind."""
    first: OSError = errors[0]
    if len(errors) == 1:
        return first
    reasons = list(dict.fromkeys(str(error) for error in errors))
    if len(reasons) == 1:
        return first
    joined = OSError(first.errno, f"Multiple exceptions: {', '.join(reasons)}")
    joined.__cause__ = ExceptionGroup("connection attempts", list(errors))
    return joined
