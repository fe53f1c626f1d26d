"""Connection: the right to use one connection, until it is given back.

Owns: the use of a connection by its holder, and the warning when that is forgotten. What becomes of
the connection then is its owner's business.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any, Protocol

from angelia.core.deprecation import warn_deprecated
from angelia.net.connection_key import ConnectionKey
from angelia.net.transport import Transport

__all__ = ("Connection", "ConnectionOwner")


class ConnectionOwner(Protocol):
    """Who lent a connection, and lives as long as it is lent."""

    def take_back(self, transport: Transport, *, reuse: bool) -> None:
        """Its holder is done; with `reuse` the connection may serve another one."""


class Connection:
    """A connection that its holder may use alone until `release` or `close`.

    `transport` is the event loop's transport, None once the connection is lost or given back.
    """

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_key",
        "_loop",
        "_owner",
        "_protocol",
        "_source",
        "_source_traceback",
    )

    def __init__(
        self, owner: ConnectionOwner, key: ConnectionKey, protocol: Transport, source: Any = None
    ) -> None:
        self._owner = owner
        self._key = key
        self._loop = protocol.loop
        self._protocol: Transport | None = protocol
        self._callbacks: list[Callable[[], None]] = []
        # Whoever owns the use of the connection, if it is not this object.
        self._source = source
        self._source_traceback: traceback.StackSummary | None = None
        if source is None and protocol.loop.get_debug():
            self._source_traceback = traceback.extract_stack(sys._getframe(1))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._key.host}:{self._key.port}>"

    def __del__(self) -> None:
        protocol = getattr(self, "_protocol", None)
        if protocol is None or self._source is not None or not protocol.is_open:
            return
        place = ""
        if self._source_traceback is not None:
            place = f", made at\n{''.join(self._source_traceback.format())}"
        warnings.warn(
            f"Unclosed connection {self!r}{place}", ResourceWarning, source=self, stacklevel=2
        )
        if not protocol.loop.is_closed():
            # Or its slot would be taken for ever.
            protocol.loop.call_soon_threadsafe(protocol.abort)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop. Deprecated."""
        warn_deprecated("connection.loop is deprecated")
        return self._loop

    @property
    def transport(self) -> asyncio.Transport | None:
        """The event loop's transport."""
        protocol = self.protocol
        return None if protocol is None else protocol.socket_transport

    @property
    def protocol(self) -> Transport | None:
        """The protocol that reads and writes."""
        if self._source is not None and self._source.ended:
            return None
        return self._protocol

    @property
    def closed(self) -> bool:
        """Whether the connection was closed, released or lost."""
        protocol = self.protocol
        return protocol is None or not protocol.is_open

    def add_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the connection is released or closed."""
        self._callbacks.append(callback)

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._give(reuse=False)

    def release(self) -> None:
        """Give the connection back for reuse. Idempotent."""
        self._give(reuse=True)

    def _give(self, *, reuse: bool) -> None:
        protocol, self._protocol = self._protocol, None
        callbacks, self._callbacks = self._callbacks, []
        if protocol is not None:
            if self._source is not None:
                self._source.close()
            else:
                self._owner.take_back(protocol, reuse=reuse)
        for callback in callbacks:
            callback()
