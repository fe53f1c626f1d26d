"""UpgradedExchange: a client's exchange after its 101, as what carries another protocol.

Owns: how octets without framing leave through an exchange, and how that ends. Knows nothing of the
protocol that is spoken.
"""

from __future__ import annotations

from typing import Any

from angelia.errors import ClientConnectionError
from angelia.net.exchange import Exchange

__all__ = ("UpgradedExchange",)


class UpgradedExchange:
    """A `Carrier`. What comes goes to whoever was given to `Exchange.hand_over`."""

    __slots__ = ("_exchange", "_transport", "send", "send_all")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        transport = self._transport = exchange.transport
        self.send = transport.send_unframed
        self.send_all = transport.send_all_unframed

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._exchange!r}>"

    @property
    def received_at(self) -> float:
        """When octets came last, or reading was resumed; in the loop's time."""
        return self._transport.received_at

    @property
    def writing_paused(self) -> bool:
        """Whether the socket has been given more than it takes at the moment."""
        return self._transport.writing_paused

    @property
    def unsent(self) -> int:
        """Octets that the socket has not taken yet."""
        return self._transport.unsent

    async def drain(self) -> None:
        """Wait until the socket takes more; ClientConnectionResetError when it never will."""
        await self._exchange.transport.drain()

    def pause_reading(self) -> None:
        """Let the peer wait."""
        self._exchange.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._exchange.resume_reading()

    def end_sending(self) -> bool:
        """Tell the server that nothing more comes, and read on; False over TLS, which cannot."""
        return self._exchange.transport.end_sending()

    def end(self, timeout: float) -> None:
        """Close when what was written is out; within `timeout` seconds in any case."""
        transport = self._exchange.transport
        self._exchange.end_unframed()
        if transport.unsent:
            self._exchange.loop.call_later(timeout, transport.abort)

    def abort(self) -> None:
        """Close at once."""
        self._exchange.abort(ClientConnectionError("Connection closed"))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the event loop's transport knows."""
        return self._exchange.transport.get_extra_info(name, default)
