"""The words of ASGI 3, and the scope of a request: what an application is told of its head.

Owns: which key a fact becomes. Knows nothing of bodies, of responses or of how an application is
called.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from urllib.parse import unquote

from angelia.core.interface import HttpVersion11
from angelia.hosting.asgi_tls import tls_facts

if TYPE_CHECKING:
    from angelia.server.request import Request

__all__ = (
    "ASGIApplication",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "http_scope",
    "websocket_scope",
)

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApplication: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

# Of the specification "HTTP & WebSocket ASGI Message Format".
SPEC_VERSION: Final = "2.5"
# So many names of fields are kept as ASGI wants them; clients make up more.
MAX_KNOWN_NAMES: Final = 512

_HTTP_EXTENSIONS: Final[dict[str, dict[str, Any]]] = {
    "http.response.trailers": {},
    "http.response.pathsend": {},
    "http.response.early_hint": {},
}
_WEBSOCKET_EXTENSIONS: Final[dict[str, dict[str, Any]]] = {"websocket.http.response": {}}


class _Names(dict[str, bytes]):
    """The names of fields in lower case, as octets."""

    __slots__ = ()

    def __missing__(self, name: str) -> bytes:
        octets = name.lower().encode("ascii")
        if len(self) < MAX_KNOWN_NAMES:
            self[name] = octets
        return octets


_names: Final = _Names()


def http_scope(
    request: Request, root_path: str, raw_root_path: bytes, *, decoded: bool = False
) -> dict[str, Any]:
    """The scope of a request.

    `root_path` is the path at which the application is mounted; it is put before the paths that do
    not begin with it. `decoded`: the body comes without its content coding, so what the fields say
    about the coded one is left out.
    """
    head = request._head
    target = head.target
    if target[0] != "/":
        target = request.raw_path
    raw_path, _, query = target.partition("?")
    raw = raw_path.encode("utf-8", "surrogateescape")
    path = raw_path
    if "%" in raw_path or not raw_path.isascii():
        path = unquote(raw.decode("utf-8", "replace"))
    # RFC 9112 §3.2.4: "*" stands for the server, and is no path.
    if root_path and path[:1] == "/" and not _is_below(path, root_path):
        path, raw = root_path + path, raw_root_path + raw
    names = _names
    headers = [
        (names[name], value.encode("utf-8", "surrogateescape")) for name, value in head.headers
    ]
    if head.target[0] != "/" and head.target != "*":
        # RFC 9112 §3.2.2: the host in the target is the one that counts.
        headers = [pair for pair in headers if pair[0] != b"host"]
        headers.insert(0, (b"host", request.host.encode("utf-8", "surrogateescape")))
    if decoded:
        coded = (b"content-encoding", b"content-length")
        headers = [pair for pair in headers if pair[0] not in coded]
    connection = request._exchange.connection
    ends = connection.memo
    if type(ends) is not _Ends:
        ends = connection.memo = _find_ends(request)
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": SPEC_VERSION},
        "http_version": "1.1" if head.version is HttpVersion11 else "1.0",
        "method": head.method.upper(),
        "scheme": connection.scheme,
        "path": path,
        "raw_path": raw,
        "query_string": query.encode("utf-8", "surrogateescape"),
        "root_path": root_path,
        "headers": headers,
        "client": ends.client,
        "server": ends.server,
        "extensions": _extensions(_HTTP_EXTENSIONS, ends),
    }


def websocket_scope(
    request: Request, root_path: str, raw_root_path: bytes, subprotocols: list[str]
) -> dict[str, Any]:
    """The scope of a request that opens a WebSocket, and offers these subprotocols."""
    scope = http_scope(request, root_path, raw_root_path)
    del scope["method"]
    scope["type"] = "websocket"
    scope["scheme"] = "wss" if request.secure else "ws"
    scope["subprotocols"] = subprotocols
    scope["extensions"] = _extensions(_WEBSOCKET_EXTENSIONS, request._exchange.connection.memo)
    return scope


def _is_below(path: str, root_path: str) -> bool:
    return path.startswith(root_path) and path[len(root_path) :][:1] in ("", "/")


class _Ends(NamedTuple):
    """The two ends of a connection, as the keys of their names have them, and its encryption."""

    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    # What TLS has to tell; None without it.
    tls: dict[str, Any] | None


def _extensions(known: dict[str, dict[str, Any]], ends: _Ends) -> dict[str, dict[str, Any]]:
    extensions = known.copy()
    if ends.tls is not None:
        extensions["tls"] = ends.tls.copy()
    return extensions


def _find_ends(request: Request) -> _Ends:
    peername = request.peername
    sockname = request.get_extra_info("sockname")
    client = (str(peername[0]), int(peername[1])) if isinstance(peername, tuple) else None
    ssl_object = request.get_extra_info("ssl_object")
    tls = None if ssl_object is None else tls_facts(ssl_object)
    if isinstance(sockname, tuple):
        return _Ends(client, (str(sockname[0]), int(sockname[1])), tls)
    # A Unix socket's path has no port.
    return _Ends(client, (str(sockname), None) if sockname else None, tls)
