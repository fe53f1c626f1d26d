"""The application `shop:app` of the documentation: it tells what it was asked for, and by whom."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import angelia


async def app(request: angelia.Request) -> angelia.StreamResponse:
    """A handler."""
    if request.path == "/live":
        ws = angelia.WebSocketResponse()
        await ws.prepare(request)
        await ws.send_json(told(request))
        async for message in ws:
            await ws.send_str(message.data)
        return ws
    if request.path == "/sum":
        digest = hashlib.sha256()
        async for piece in request.content.iter_any():
            digest.update(piece)
        return angelia.Response(text=digest.hexdigest())
    return angelia.json_response(told(request))


handler = app


def told(request: angelia.Request) -> dict[str, Any]:
    """Who asks, by the fields of a proxy; how many requests came on this connection so far."""
    return {
        "host": request.headers.get("Host"),
        "for": request.headers.getall("X-Forwarded-For", []),
        "proto": request.headers.getall("X-Forwarded-Proto", []),
        "served": request._exchange.connection.served,
        "pid": os.getpid(),
    }
