"""What responses say by themselves: `Date`, `Server`, and heads that have little else to say.

Owns: the clock of `Date`, the heads that are kept ready until its second is over. Knows nothing of
requests or of content.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from time import time as _time
from typing import Final

from angelia.core.fields import serialize_http_date
from angelia.core.h1_wire import ReadyHead
from angelia.version import __version__

__all__ = ("SERVER", "http_now", "ready_heads")

SERVER: Final = f"angelia/{__version__}"

# So many different heads are kept ready for the rest of a second.
MAX_READY_HEADS: Final = 64


class _Clock:
    """The value of `Date`, made once in a second."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self) -> str:
        now = int(_time())
        if now != self._second:
            self._second = now
            self._text = serialize_http_date(datetime.fromtimestamp(now, UTC))
        return self._text


http_now: Final = _Clock()


class _ReadyHeads:
    """The heads of responses that say nothing but status and type, made once in a second."""

    __slots__ = ("_heads", "_until")

    def __init__(self) -> None:
        self._until = 0.0
        self._heads: dict[tuple[int, str, str], ReadyHead] = {}

    def get(self, status: int, reason: str, content_type: str) -> ReadyHead:
        """Such a head; LocalProtocolError for what cannot be sent."""
        now = _time()
        # The clock may be set back.
        if not self._until - 1 <= now < self._until:
            self._until = math.floor(now) + 1.0
            self._heads.clear()
        head = self._heads.get((status, reason, content_type))
        return self._make(status, reason, content_type) if head is None else head

    def _make(self, status: int, reason: str, content_type: str) -> ReadyHead:
        if len(self._heads) >= MAX_READY_HEADS:
            self._heads.clear()
        pairs = (("Content-Type", content_type), ("Date", http_now()), ("Server", SERVER))
        head = ReadyHead(status, reason, pairs)
        self._heads[status, reason, content_type] = head
        return head


ready_heads: Final = _ReadyHeads()
