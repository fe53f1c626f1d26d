"""Requests that are made from what a session knows of their URL: they say what others say."""

from __future__ import annotations

from typing import Any

import pytest

import angelia
from angelia.client import session as session_module
from peers.raw import RawServer, response

# Each request on a connection of its own, whose octets `RawServer` keeps.
OK = response(b"ok", "Connection: close")

BODIES: list[dict[str, Any]] = [
    {"data": b""},
    {"data": b"octets"},
    {"data": bytes(20_000)},
    {"data": bytes(70_000)},
    {"data": bytearray(b"octets")},
    {"data": "text"},
    {"data": {"a": "b"}},
    {"json": {"a": ["b", 1]}},
    {"json": "ä"},
    {"json": None},
    {"data": angelia.JsonPayload({"a": 1}, content_type="application/x+json")},
    {"data": angelia.JsonPayload({"a": 1}, headers={"X-Part": "y"})},
    {"data": angelia.BytesPayload(b"octets", content_type="a/b")},
    {"data": b"octets", "headers": {"X-Own": "y"}},
    {"data": b"octets", "chunked": True},
]

FIELDS: list[dict[str, str]] = [
    {},
    {"X-Default": "z"},
    {"content-type": "a/b"},
    {"Connection": "close"},
]


async def sent(
    method: str, arguments: dict[str, Any], fields: dict[str, str], **options: Any
) -> tuple[bytes, list[tuple[str, str]]]:
    """What goes out for a request, and the fields that its response says it had."""
    async with (
        RawServer([OK]) as server,
        angelia.ClientSession(headers=fields, **options) as session,
        session.request(method, server.url, **arguments) as resp,
    ):
        assert await resp.read() == b"ok"
        port = str(server.port)
        shown = [(n, v.replace(port, "1")) for n, v in resp.request_info.headers.items()]
        return server.requests[0].replace(port.encode(), b"1"), shown


@pytest.mark.parametrize("fields", FIELDS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET"])
async def test_as_any_other(
    method: str, fields: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The octets, and the fields as they are told, are those of a request made one by one."""
    for arguments in BODIES:
        planned = await sent(method, arguments, fields)
        with monkeypatch.context() as patch:
            patch.setattr(session_module, "usual_body", lambda *_: None)
            assert planned == await sent(method, arguments, fields), arguments


@pytest.mark.parametrize("arguments", [{"data": b"octets"}, {"json": {"a": 1}}])
async def test_usual(arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Octets and JSON with nothing but the session's fields go that way, each time."""
    # The long way calls it.
    monkeypatch.setattr(angelia.ClientRequest, "update_body_from_data", None)
    async with RawServer([OK] * 3) as server, angelia.ClientSession() as session:
        for _ in range(3):
            assert await (await session.post(server.url, **arguments)).read() == b"ok"
        assert len(server.requests) == 3
        assert len(set(server.requests)) == 1


class TestMiddlewares:
    """What is changed before the request is sent counts."""

    @pytest.mark.parametrize("arguments", [{"data": b"octets"}, {"json": {"a": 1}}])
    async def test_changes(self, arguments: dict[str, Any]) -> None:
        """A field, the method, the body, or nothing, and the request sent again."""

        async def field(request: angelia.ClientRequest, handler: Any) -> angelia.ClientResponse:
            request.headers["X-Added"] = "y"
            return await handler(request)  # type: ignore[no-any-return]  # the handler is Any here

        async def method(request: angelia.ClientRequest, handler: Any) -> angelia.ClientResponse:
            request.method = "REPORT"
            return await handler(request)  # type: ignore[no-any-return]  # as above

        async def body(request: angelia.ClientRequest, handler: Any) -> angelia.ClientResponse:
            await request.update_body(b"other")
            return await handler(request)  # type: ignore[no-any-return]  # as above

        async def twice(request: angelia.ClientRequest, handler: Any) -> angelia.ClientResponse:
            (await handler(request)).release()
            return await handler(request)  # type: ignore[no-any-return]  # as above

        async with (
            RawServer([OK] * 6) as server,
            angelia.ClientSession() as session,
        ):
            for middleware in (None, field, method, body, twice):
                chain = () if middleware is None else (middleware,)
                resp = await session.post(server.url, middlewares=chain, **arguments)
                assert await resp.read() == b"ok"
            plain, added, renamed, replaced, *again = server.requests
        head, _, content = plain.partition(b"\r\n\r\n")
        assert b"\r\nX-Added: y\r\n" in added
        assert added.endswith(content)
        assert renamed == plain.replace(b"POST", b"REPORT", 1)
        assert replaced.endswith(b"\r\nContent-Length: 5\r\n\r\nother")
        assert replaced.count(b"Content-Type") == head.count(b"Content-Type") == 1
        assert again == [plain, plain]
