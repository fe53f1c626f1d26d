"""Options -> a session, and the arguments of its requests.

Owns: how the command line uses the library. Must not know how responses are shown.
"""

from __future__ import annotations

import dataclasses
import getpass
import io
import sys
from typing import TYPE_CHECKING, Any, Final

from multidict import CIMultiDict
from yarl import URL

from angelia.cli.arguments import RequestOptions
from angelia.cli.exits import LocalFileError, UsageError
from angelia.cli.request_parts import (
    FormItem,
    body_bytes,
    expand_url,
    parse_form_item,
    parse_headers,
    read_named,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

    import angelia

__all__ = ("Call", "build_call", "open_session", "send")

JSON_TYPE: Final = "application/json"
FORM_TYPE: Final = "application/x-www-form-urlencoded"
PROXY_SCHEMES: Final = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


@dataclasses.dataclass(slots=True)
class Call:
    """One request, which can be made many times."""

    method: str
    url: URL
    # Keyword arguments of `ClientSession.request`, without the body.
    arguments: dict[str, Any]
    body: bytes | None
    form: list[tuple[FormItem, bytes | str]] | None

    def keywords(self) -> dict[str, Any]:
        """Keyword arguments for one more request."""
        data = self.body if self.form is None else _form_data(self.form)
        return {**self.arguments, "data": data}


def build_call(options: RequestOptions, *, schemes: tuple[str, ...] = ("http", "https")) -> Call:
    """The request that `options` describe; reads the files that they name. Raises `UsageError`."""
    url = expand_url(options.url, schemes=schemes)
    headers, omitted = parse_headers(options.headers)
    body = body_bytes(options.data) if options.data else None
    items = [parse_form_item(item) for item in options.form]
    form = [(item, _item_value(item)) for item in items] if items else None
    if body is not None:
        is_json = options.data[0][0] == "json"
        headers.setdefault("Content-Type", JSON_TYPE if is_json else FORM_TYPE)
        if is_json:
            headers.setdefault("Accept", JSON_TYPE)
        if "content-type" in {name.lower() for name in omitted}:
            del headers["Content-Type"]
    arguments: dict[str, Any] = {
        "headers": headers,
        "skip_auto_headers": omitted or None,
        "allow_redirects": options.follow,
        "max_redirects": options.max_redirects,
    }
    if options.auth is not None and not options.digest:
        arguments["auth"] = _basic_auth(options.auth)
    if options.proxy is not None:
        arguments["proxy"] = expand_url(options.proxy, schemes=PROXY_SCHEMES)
    if options.insecure:
        arguments["ssl"] = False
    elif options.cacert is not None:
        arguments["ssl"] = _trusting(options.cacert)
    default = "HEAD" if options.head else "GET" if body is None and form is None else "POST"
    return Call(options.method or default, url, arguments, body, form)


def open_session(
    options: RequestOptions,
    *,
    limit: int = 100,
    keep_cookies: bool = True,
    auto_decompress: bool = True,
    traces: Sequence[angelia.TraceConfig] = (),
) -> angelia.ClientSession:
    """A session as `options` want it; inside a running event loop."""
    import angelia

    middlewares: list[Any] = []
    if options.digest and options.auth is not None:
        login, password = _credentials(options.auth)
        middlewares.append(angelia.DigestAuthMiddleware(login, password))
    connector: angelia.BaseConnector
    if options.unix_socket is not None:
        connector = angelia.UnixConnector(options.unix_socket, limit=limit)
    else:
        connector = angelia.TCPConnector(limit=limit)
    return angelia.ClientSession(
        connector=connector,
        cookie_jar=None if keep_cookies else angelia.DummyCookieJar(),
        timeout=angelia.ClientTimeout(total=options.timeout, sock_connect=options.connect_timeout),
        auto_decompress=auto_decompress,
        # What users of other command lines expect: proxies from the environment, netrc.
        trust_env=options.unix_socket is None,
        trace_configs=list(traces) or None,
        middlewares=middlewares,
    )


async def send(
    session: angelia.ClientSession, call: Call, headers: Mapping[str, str] | None = None
) -> angelia.ClientResponse:
    """Make the request, with further `headers`; to be used in ``async with``.

    Raises `UsageError` for what the library refuses to send, else what it raises.
    """
    import angelia

    keywords = call.keywords()
    if headers is not None:
        keywords["headers"] = CIMultiDict(keywords["headers"])
        keywords["headers"].update(headers)
    try:
        return await session.request(call.method, call.url, **keywords)
    except angelia.RedirectClientError:  # A URL of the server's.
        raise
    except (angelia.InvalidURL, angelia.NonHttpUrlClientError) as error:
        raise UsageError(str(error)) from error
    except (ValueError, TypeError) as error:
        if isinstance(error, angelia.ClientError | OSError):
            raise
        raise UsageError(str(error)) from error


def _credentials(text: str) -> tuple[str, str]:
    """Login and password of ``login:password``; the password is asked for where it is missing."""
    login, colon, password = text.partition(":")
    if not colon:
        if sys.stdin is None or not sys.stdin.isatty():
            raise UsageError("--auth is USER:PASSWORD; only on a terminal can I ask for a password")
        password = getpass.getpass(f"Password of {login}: ")
    return login, password


def _basic_auth(text: str) -> angelia.BasicAuth:
    import angelia

    login, password = _credentials(text)
    return angelia.BasicAuth(login, password, encoding="utf-8")


def _trusting(path: str) -> ssl.SSLContext:
    # Here, since a Python without the module can still do plain HTTP.
    import ssl

    try:
        return ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise UsageError(f"{path} holds no certificates (PEM): {error.reason}") from error
    except OSError as error:
        raise LocalFileError.of("read", path, error) from error


def _item_value(item: FormItem) -> bytes | str:
    if item.path is None:
        return item.text or ""
    content = read_named(item.path)
    if item.is_upload:
        return content
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def _form_data(fields: list[tuple[FormItem, bytes | str]]) -> angelia.FormData:
    import angelia

    form = angelia.FormData(default_to_multipart=True)
    for item, value in fields:
        form.add_field(
            item.name,
            io.BytesIO(value) if item.is_upload and isinstance(value, bytes) else value,
            filename=item.filename,
            content_type=item.content_type,
        )
    return form
