"""What is answered when no handler does: it raised, or what came is no request.

Owns: which error is which answer, and what of it a client is told. Whether anything can be sent
still is the connection's to know.
"""

from __future__ import annotations

import html
import logging
import traceback
from typing import Final, NoReturn

from angelia.core.h1_wire import serialize_response_head
from angelia.core.interface import ResponseHead
from angelia.server.http_exception import HTTPException
from angelia.server.ready_heads import SERVER, http_now
from angelia.server.request import Request
from angelia.server.response import Response

__all__ = ("answer_to", "refusal", "refuse_expectation")

_logger: Final = logging.getLogger("angelia.server")


def answer_to(error: Exception, request: Request, *, gone: bool, debug: bool) -> Response:
    """The answer to a request whose handler raised `error`, which is logged.

    `gone`: there is nobody to send it to; with `debug` the traceback is shown to the client.
    """
    if isinstance(error, HTTPException):
        return error.response()
    if isinstance(error, ConnectionError) and gone:
        _logger.debug("the client went away during %r", request)
        return HTTPException(499).response()
    status = 504 if isinstance(error, TimeoutError) else 500
    _logger.error("error while handling %r", request, exc_info=error)
    text = "".join(traceback.format_exception(error)) if debug else None
    response = HTTPException(status, text).response()
    response.force_close()
    if "text/html" in request.headers.get("Accept", ""):
        body = html.escape(response.text)
        response.text = f"<!doctype html><title>{status}</title><pre>{body}</pre>"
        response.content_type = "text/html"
    return response


def refusal(error: HTTPException) -> bytes:
    """The whole answer, as octets, to what is no request and so has no exchange."""
    body = str(error).encode("utf-8", "backslashreplace")
    head = ResponseHead(
        error.status,
        error.reason,
        [
            ("Date", http_now()),
            ("Server", SERVER),
            ("Content-Length", str(len(body))),
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Connection", "close"),
        ],
    )
    return serialize_response_head(head)[0] + body


async def refuse_expectation(_request: Request) -> NoReturn:
    """A handler for a request that expects what there is not: 417."""
    # RFC 9110 §10.1.1: the only expectation there is is 100-continue.
    raise HTTPException(417, "unknown expectation", close=True)
