"""HTTPException: an answer that a handler raises.

Owns nothing but the facts of the answer; `response` makes it one. Knows nothing of requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from angelia.core.reasons import reason_of
from angelia.errors import ProtocolError

if TYPE_CHECKING:
    from angelia.server.response import Response

__all__ = ("HTTPException", "complaint")

# So much of an error's text, which quotes what the client sent, is sent back.
MAX_EXCERPT: Final = 200


class HTTPException(Exception):
    """Raised in a handler, it is the answer: ``raise HTTPException(404)``.

    - `status`: 300 to 599;
    - `text`: the content, by default ``404: Not Found``;
    - `reason`: the reason phrase, by default the usual one;
    - `headers`: fields of the answer, for example `Location` or `WWW-Authenticate`;
    - `close`: end the connection after the answer.

    ValueError for another status.
    """

    def __init__(
        self,
        status: int,
        text: str | None = None,
        *,
        reason: str | None = None,
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ) -> None:
        if not 300 <= status <= 599:
            raise ValueError(f"an exception answers with a status from 300 to 599, not {status}")
        super().__init__(status, text)
        self.status = status
        self.reason = reason_of(status) if reason is None else reason
        self.text = text
        self.headers = headers
        self.close = close

    def __str__(self) -> str:
        return self.text or f"{self.status} {self.reason}"

    def __reduce__(self) -> Any:
        state = {
            "reason": self.reason,
            "headers": None if self.headers is None else dict(self.headers),
            "close": self.close,
        }
        return type(self), (self.status, self.text), state

    def response(self) -> Response:
        """The answer."""
        from angelia.server.response import Response

        text = f"{self.status}: {self.reason}" if self.text is None else self.text
        response = Response(text=text, status=self.status, reason=self.reason, headers=self.headers)
        if self.close:
            response.force_close()
        return response


def complaint(error: ProtocolError) -> HTTPException:
    """What a client is told that broke a rule of HTTP."""
    return HTTPException(error.status or 400, str(error)[:MAX_EXCERPT], close=True)
