"""The environ of a request: what PEP 3333 and CGI (RFC 3875) call the facts of its head.

Owns: which variable a fact becomes, and which fields become none. Knows nothing of threads, of
bodies or of applications.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from angelia.server.ready_heads import SERVER

if TYPE_CHECKING:
    from angelia.server.request import Request

__all__ = ("make_environ", "native")

# Variables that are not fields: RFC 3875 §4.1.2, §4.1.3 name these two without HTTP_.
_OWN_NAMES: Final = {"CONTENT_TYPE": "CONTENT_TYPE", "CONTENT_LENGTH": "CONTENT_LENGTH"}
# A field named Proxy would become HTTP_PROXY, which many clients take for their proxy's address:
# CVE-2016-5385. It means nothing in HTTP.
_REFUSED_NAMES: Final = frozenset({"PROXY"})


def native(text: str) -> str:
    """A field's value as PEP 3333 wants it: each octet a character."""
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


@functools.lru_cache(maxsize=512)
def _variable(name: str) -> str | None:
    """The variable of a field; None where it gets none."""
    # RFC 3875 §4.1.18 makes "-" an underscore: a field that has one already would become the same
    # variable as another field, which a proxy in front may be trusted to have set.
    upper = name.upper()
    if "_" in name or upper in _REFUSED_NAMES:
        return None
    variable = upper.replace("-", "_")
    return _OWN_NAMES.get(variable, f"HTTP_{variable}")


def make_environ(
    request: Request, *, script_name: str = "", decoded: bool = False
) -> dict[str, Any]:
    """The variables of a request's head, ``wsgi.url_scheme`` among them.

    `script_name` is the part of the path that belongs to the application's place; it is taken off
    the path where it is there. `decoded`: the body comes without its content coding, so what the
    fields say about the coded one is left out.
    """
    path, _, query = request.raw_path.partition("?")
    major, minor = request.version
    environ: dict[str, Any] = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REQUEST_METHOD": request.method,
        "REQUEST_URI": request.target,
        "RAW_URI": request.target,
        "SCRIPT_NAME": script_name,
        "PATH_INFO": _path_info(path, script_name),
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": f"HTTP/{major}.{minor}",
        "SERVER_SOFTWARE": SERVER,
        "wsgi.url_scheme": request.scheme,
    }
    _add_fields(environ, request)
    if request.target[:1] != "/" and request.method != "CONNECT" and request.target != "*":
        # RFC 9112 §3.2.2: the host in the target is the one that counts.
        environ["HTTP_HOST"] = request.host
    if decoded:
        environ.pop("CONTENT_LENGTH", None)
        environ.pop("HTTP_CONTENT_ENCODING", None)
    _add_addresses(environ, request)
    return environ


def _path_info(path: str, script_name: str) -> str:
    # RFC 9112 §3.2.4: "*" stands for the server, and is no path.
    if path[:1] != "/":
        return ""
    # RFC 3875 §4.1.5: decoded; PEP 3333: octets as characters.
    decoded = unquote_to_bytes(path).decode("latin-1")
    if script_name:
        rest = decoded.removeprefix(script_name)
        if len(rest) != len(decoded) and rest[:1] in ("", "/"):
            return rest
    return decoded


def _add_fields(environ: dict[str, Any], request: Request) -> None:
    for name, value in request._head.headers:
        variable = _variable(name)
        if variable is None:
            continue
        text = native(value)
        if variable in environ:
            # RFC 9110 §5.3; RFC 6265 §5.4 knows one Cookie field, and its own separator.
            separator = "; " if variable == "HTTP_COOKIE" else ", "
            text = f"{environ[variable]}{separator}{text}"
        environ[variable] = text


def _add_addresses(environ: dict[str, Any], request: Request) -> None:
    """RFC 3875 §4.1.8, §4.1.14, §4.1.15: the two ends of the connection."""
    peername = request.peername
    if isinstance(peername, tuple):
        environ["REMOTE_ADDR"] = str(peername[0])
        environ["REMOTE_PORT"] = str(peername[1])
    else:
        environ["REMOTE_ADDR"] = ""
    sockname = request.get_extra_info("sockname")
    if isinstance(sockname, tuple):
        environ["SERVER_NAME"] = str(sockname[0])
        environ["SERVER_PORT"] = str(sockname[1])
        return
    # A Unix socket has neither; both must be there, and not be empty.
    url = request.url
    environ["SERVER_NAME"] = url.host or "localhost"
    environ["SERVER_PORT"] = str(url.port or (443 if request.secure else 80))
