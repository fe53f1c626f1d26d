"""make_mocked_request and make_response: requests and responses without a connection.

Owns: what stands in for the connection. Requests and responses are the real ones.
"""

from __future__ import annotations

import asyncio
import json as _json
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from angelia.client.request import RequestInfo
from angelia.client.response import ClientResponse
from angelia.client.translation import translated
from angelia.core.h1_wire import ReadyHead, group_fields, serialize_response_head
from angelia.core.interface import (
    Buffer,
    Content,
    End,
    HttpVersion,
    HttpVersion11,
    RequestHead,
    ResponseHead,
)
from angelia.core.pure import SPECIAL_REQUEST_FIELDS, SPECIAL_RESPONSE_FIELDS
from angelia.core.reasons import reason_of
from angelia.errors import LocalProtocolError
from angelia.net.exchange import Exchange, ExchangeOptions
from angelia.net.streams import DEFAULT_LIMIT, EMPTY_PAYLOAD, StreamReader
from angelia.net.transport import Transport
from angelia.server.connection import ServerConnection
from angelia.server.exchange import ServerExchange, announces_content
from angelia.server.options import ServerOptions
from angelia.server.request import Request
from angelia.server.stream_response import StreamResponse

__all__ = ("make_mocked_request", "make_response", "with_type")

# A final status; interim ones are no response.
FIRST_FINAL_STATUS: Final = 200

HeadersArgument = Mapping[str, str] | Iterable[tuple[str, str]]


class _Offline(ServerConnection):
    """A connection to nobody: what is sent is kept."""

    __slots__ = ("_extra", "sent_content", "sent_head")

    def __init__(self, scheme: str, extra: Mapping[str, Any], options: ServerOptions) -> None:
        # Neither server, loop nor batch is asked for anything by what is left of the connection.
        nobody = cast(Any, None)
        super().__init__(nobody, options, nobody, nobody, scheme, nobody)
        self._extra = dict(extra)
        self.sent_head: ResponseHead | None = None
        self.sent_content = bytearray()

    @property
    def is_open(self) -> bool:
        return True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._extra.get(name, default)

    def hold(self, exchange: ServerExchange) -> None:
        """Nothing more will come."""

    def let_go(self, exchange: ServerExchange) -> None:
        """Nothing more will come."""

    def send_head(self, exchange: ServerExchange, head: ResponseHead, *, end: bool) -> None:
        if head.status >= FIRST_FINAL_STATUS:
            self.sent_head = head

    def send_content(self, exchange: ServerExchange, data: Buffer, *, end: bool) -> None:
        self.sent_content += data

    def send_trailers(
        self, exchange: ServerExchange, trailers: tuple[tuple[str, str], ...]
    ) -> None:
        """Nobody sees them."""

    def send_whole(self, exchange: ServerExchange, head: ResponseHead, content: Buffer) -> None:
        self.sent_head = head
        self.sent_content += content

    def send_ready(self, exchange: ServerExchange, head: ReadyHead, content: bytes) -> bool:
        return False

    async def send_file(self, *_: Any) -> int:
        return 0

    async def drain(self) -> None:
        """Nobody is slow."""


class _OfflineExchange(ServerExchange):
    __slots__ = ("_stream",)

    def __init__(self, connection: _Offline, head: RequestHead, stream: StreamReader) -> None:
        has_content = announces_content(head) or stream is not EMPTY_PAYLOAD
        super().__init__(connection, head, _keeps_alive(head), has_content)
        self._stream = stream
        self.complete = True

    @property
    def content(self) -> StreamReader:
        return self._stream


async def _no_handler(_request: Request) -> StreamResponse:
    raise NotImplementedError("a mocked request comes from no server")


def make_mocked_request(
    method: str,
    path: str,
    headers: HeadersArgument | None = None,
    *,
    version: HttpVersion = HttpVersion11,
    payload: bytes | StreamReader = b"",
    scheme: str = "http",
    remote: str | None = "127.0.0.1",
    extra: Mapping[str, Any] | None = None,
    max_body_size: int | None = None,
    state: Any = None,
) -> Request:
    """A `Request` as a handler gets it, without sockets and without a server.

    - `path`: path and query as in a request line;
    - `headers`: just these are there, `Host` only if it is given;
    - `payload`: the body: octets, for which an event loop must run, or a stream; empty by default;
    - `scheme`: ``http`` or ``https``; `remote`: the client's address;
    - `extra`: further answers of `Request.get_extra_info`;
    - `max_body_size`: octets that `Request.read` takes; the server's default by default;
    - `state`: the `state` of the request.

    A response can be prepared for it and written; what is sent goes nowhere.
    """
    fields = list(CIMultiDict(headers or ()).items())
    special = group_fields(fields, SPECIAL_REQUEST_FIELDS)
    head = RequestHead(method, path, fields, version, 1, b"", special)
    options = ServerOptions(handler=_no_handler)
    if max_body_size is not None:
        options = ServerOptions(handler=_no_handler, max_body_size=max_body_size)
    facts: dict[str, Any] = {"sockname": ("127.0.0.1", 443 if scheme == "https" else 80)}
    if remote is not None:
        facts["peername"] = (remote, 0)
    facts.update(extra or {})
    connection = _Offline(scheme, facts, options)
    stream = payload if isinstance(payload, StreamReader) else _stream_of(payload)
    request = Request(_OfflineExchange(connection, head, stream))
    request.state = state
    return request


def _stream_of(payload: bytes) -> StreamReader:
    if not payload:
        return EMPTY_PAYLOAD
    # It is never paused: more than the whole may lie in it.
    stream = StreamReader(_Still(), len(payload))
    stream.feed_data(payload)
    stream.feed_eof()
    return stream


class _Still:
    def pause_reading(self) -> None:
        """Nothing flows."""

    def resume_reading(self) -> None:
        """Nothing flows."""


def _keeps_alive(head: RequestHead) -> bool:
    # RFC 9112 §9.3.
    values = head.special.get("connection", "")
    joined = (values if isinstance(values, str) else ",".join(values)).lower()
    options = {option.strip(" \t") for option in joined.split(",")}
    if "close" in options:
        return False
    return head.version >= HttpVersion11 or "keep-alive" in options


def with_type(
    headers: HeadersArgument | None, body: bytes, text: str | None, json: Any
) -> tuple[CIMultiDict[str], bytes]:
    """Fields and content of a message for one of body, text and json.

    ValueError for several of them.
    """
    fields = CIMultiDict(headers or ())
    if (bool(body), text is not None, json is not None).count(True) > 1:
        raise ValueError("give one of body, text and json")
    if text is not None:
        fields.setdefault("Content-Type", "text/plain; charset=utf-8")
        return fields, text.encode()
    if json is not None:
        fields.setdefault("Content-Type", "application/json")
        return fields, _json.dumps(json).encode()
    return fields, body


def make_response(
    method: str = "GET",
    url: str | URL = "http://localhost/",
    *,
    status: int = 200,
    reason: str | None = None,
    headers: HeadersArgument | None = None,
    body: bytes = b"",
    text: str | None = None,
    json: Any = None,
    version: HttpVersion = HttpVersion11,
    request_headers: HeadersArgument | None = None,
    history: tuple[ClientResponse, ...] = (),
) -> ClientResponse:
    """A `ClientResponse` that has come whole, as a session would return it.

    - `status`, `reason`: the reason is the usual one by default;
    - one of `body`, `text` (sent as UTF-8) and `json`; a body with a `Content-Encoding` in
      `headers` is decoded;
    - `request_headers`: the fields in its `request_info`; `history`: the redirects before it.

    ValueError for a status that is no final one, for a field that cannot be sent, and for several
    contents; RuntimeError where no event loop runs.
    """
    if not FIRST_FINAL_STATUS <= status <= 999:
        raise ValueError(f"not the status of a final response: {status}")
    fields, content = with_type(headers, body, text, json)
    if content:
        fields.setdefault("Content-Length", str(len(content)))
    pairs = list(fields.items())
    phrase = reason_of(status) if reason is None else reason
    try:
        raw, _ = serialize_response_head(ResponseHead(status, phrase, pairs, version))
    except LocalProtocolError as error:
        raise ValueError(str(error)) from error
    special = group_fields(pairs, SPECIAL_RESPONSE_FIELDS)
    exchange = Exchange(Transport(asyncio.get_running_loop()), 1, _OPTIONS)
    exchange.deliver(ResponseHead(status, phrase, pairs, version, 1, raw, special))
    if content:
        exchange.deliver(Content(1, content))
    exchange.deliver(End(1))
    target = URL(url)
    sent = CIMultiDictProxy(CIMultiDict(request_headers or ()))
    info = RequestInfo(target.with_fragment(None), method, sent, target)
    response = ClientResponse(method, target, request_info=info, loop=exchange.loop)
    response._history = history
    response.begin(exchange)
    return response


_OPTIONS: Final = ExchangeOptions(
    translate=translated, read_bufsize=DEFAULT_LIMIT, auto_decompress=True
)
