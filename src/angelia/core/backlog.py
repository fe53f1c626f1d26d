"""Backlog: what a client sent behind the request under way, kept until its turn comes.

Owns the octets and how seldom they are copied; how many are kept is for `h1_server` to decide.
"""

from __future__ import annotations

__all__ = ("Backlog",)


class Backlog:
    """Octets behind the request under way. Each is copied a bounded number of times."""

    __slots__ = ("_at", "_more", "data")

    def __init__(self) -> None:
        # Empty where nothing is kept.
        self.data = b""
        self._at = 0
        self._more = bytearray()

    @property
    def size(self) -> int:
        return len(self.data) - self._at + len(self._more)

    def add(self, data: bytes, at: int = 0) -> None:
        """Keep ``data[at:]``."""
        if self.data:
            self._more += memoryview(data)[at:]
        elif at * 2 < len(data):
            self.data, self._at = data, at
        else:
            # No large buffer is held for a little at its end.
            self.data, self._at = data[at:], 0

    def take(self) -> tuple[bytes, int]:
        """All that was kept, as octets and where they begin."""
        data, at = self.data, self._at
        if self._more:
            data, at = data[at:] + self._more, 0
        self.clear()
        return data, at

    def clear(self) -> None:
        """Forget it."""
        self.data, self._at = b"", 0
        self._more.clear()
