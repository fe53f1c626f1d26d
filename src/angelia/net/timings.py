"""How long the phases of a request took.

Owns the values only; those who do the work fill them in. All figures are seconds of the event
loop's clock; None says that a phase did not happen.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ("DialTimings", "Timings")


class DialTimings:
    """What making a connection took."""

    __slots__ = ("connect", "dns", "tls")

    def __init__(self) -> None:
        self.dns: float | None = None
        self.connect: float | None = None
        self.tls: float | None = None


class Timings(NamedTuple):
    """What a request took, in seconds.

    - `queue`: waiting for a connection, the making of a new one included;
    - `dns`, `connect`, `tls`: making the connection; None on a reused one;
    - `first_byte`: from the request's begin to the response's head;
    - `total`: from the request's begin to the last octet; None while content still comes.
    """

    queue: float
    dns: float | None
    connect: float | None
    tls: float | None
    first_byte: float | None
    total: float | None
