"""An ASGI application that tells what it was asked, for the client's tests to compare.

| path | answer |
|---|---|
| `/echo` | the request's content, with its Content-Type |
| `/stream?chunks=N&size=M&pause=S` | N chunks of M bytes (chunked), S seconds between them |
| `/lines?count=N` | N lines of JSON, one chunk each |
| `/early?status=N` | the answer before any content was read |
| `/gzip`, `/deflate`, `/raw-deflate` | the JSON below, compressed |
| `/cookies/set?name=value&...` | one Set-Cookie field for each |
| `/empty` | 204 |
| any other | the JSON below |

The JSON: method, path, raw_path, query_string, http_version, headers (pairs, in order, names in
lower case), client, body_length, body_sha256. Everywhere `status=N` sets the status, and `delay=S`
waits S seconds before the head of the answer.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

__all__ = ("app",)

Scope: TypeAlias = MutableMapping[str, Any]
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
Fields: TypeAlias = list[tuple[bytes, bytes]]

COMPRESSORS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "/gzip": ("gzip", gzip.compress),
    "/deflate": ("deflate", zlib.compress),
    "/raw-deflate": ("deflate", lambda data: zlib.compress(data, wbits=-15)),
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request, or take part in the server's life."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    query = dict(parse_qsl(scope["query_string"].decode("ascii")))
    status = int(query.pop("status", "200"))
    await asyncio.sleep(float(query.pop("delay", "0")))
    path = scope["path"]
    if path == "/stream":
        await _stream(send, status, _blocks(query))
    elif path == "/lines":
        await _stream(send, status, _lines(int(query.get("count", "10"))))
    elif path == "/early":
        await _answer(send, status, [], b"early\n")
    elif path == "/empty":
        await _answer(send, 204, [], b"")
    elif path == "/echo":
        content_type = dict(scope["headers"]).get(b"content-type", b"application/octet-stream")
        content = b"".join([chunk async for chunk in _content(receive)])
        await _answer(send, status, [(b"content-type", content_type)], content)
    elif path == "/cookies/set":
        fields = [(b"set-cookie", f"{n}={v}; Path=/".encode()) for n, v in query.items()]
        await _answer(send, status, fields, b"")
    else:
        await _report(scope, receive, send, status)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return


async def _content(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        event = await receive()
        if event["type"] != "http.request":
            return
        yield event.get("body", b"")
        if not event.get("more_body"):
            return


async def _report(scope: Scope, receive: Receive, send: Send, status: int) -> None:
    digest = hashlib.sha256()
    length = 0
    async for chunk in _content(receive):
        digest.update(chunk)
        length += len(chunk)
    report = {
        "method": scope["method"],
        "path": scope["path"],
        "raw_path": scope["raw_path"].decode("latin-1"),
        "query_string": scope["query_string"].decode("latin-1"),
        "http_version": scope["http_version"],
        "headers": [(n.decode("latin-1"), v.decode("latin-1")) for n, v in scope["headers"]],
        "client": scope["client"],
        "body_length": length,
        "body_sha256": digest.hexdigest(),
    }
    content = json.dumps(report).encode() + b"\n"
    fields: Fields = [(b"content-type", b"application/json")]
    if scope["path"] in COMPRESSORS:
        coding, compress = COMPRESSORS[scope["path"]]
        fields.append((b"content-encoding", coding.encode()))
        content = compress(content)
    await _answer(send, status, fields, content)


async def _answer(send: Send, status: int, fields: Fields, content: bytes) -> None:
    if status not in {204, 304}:
        fields = [*fields, (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": content})


async def _stream(send: Send, status: int, chunks: AsyncIterator[bytes]) -> None:
    fields: Fields = [(b"content-type", b"application/octet-stream")]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    async for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _blocks(query: dict[str, str]) -> AsyncIterator[bytes]:
    pause = float(query.get("pause", "0"))
    size = int(query.get("size", "1000"))
    for number in range(int(query.get("chunks", "10"))):
        if pause:
            await asyncio.sleep(pause)
        yield bytes([number % 256]) * size


async def _lines(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield json.dumps({"number": number}).encode() + b"\n"
