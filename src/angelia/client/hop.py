"""Hop: one request of a call, and the next one where a redirect leads on.

Owns: what of a call may go along to where a redirect leads. Which redirects are followed, and with
which method, is decided in `redirects`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from multidict import CIMultiDict
from yarl import URL

from angelia import hdrs
from angelia.client.redirects import Redirect
from angelia.client.request import ClientRequest, extended_query
from angelia.client.request_cookies import SECURE_SCHEMES
from angelia.core.auth import BasicAuth
from angelia.errors import ClientPayloadError

__all__ = ("Hop", "following")


class Hop:
    """What a redirect may change, and the further arguments of the request."""

    __slots__ = (
        "auth",
        "cookies",
        "data",
        "downgraded",
        "draw_key",
        "extra",
        "foreign",
        "headers",
        "method",
        "params",
        "proxy",
        "proxy_auth",
        "url",
    )

    def __init__(
        self,
        method: str,
        url: URL,
        params: Any,
        data: Any,
        headers: CIMultiDict[str] | None,
        cookies: Any,
        auth: BasicAuth | None,
        proxy: URL | None,
        proxy_auth: BasicAuth | None,
        extra: dict[str, Any],
    ) -> None:
        self.method = method
        self.url = url
        self.params = params
        self.data = data
        # The session's and the request's fields together; None: only the session's.
        self.headers = headers
        self.cookies = cookies
        self.auth = auth
        self.proxy = proxy
        self.proxy_auth = proxy_auth
        self.extra = extra
        # Whether a redirect has led away from the origin that the call was for.
        self.foreign = False
        # Whether it has led from https to http.
        self.downgraded = False
        # For a WebSocket's handshake: makes the key of each connection that it is tried on.
        self.draw_key: Callable[[], str] | None = None

    @property
    def shown_headers(self) -> CIMultiDict[str]:
        """The fields as traces see them."""
        return CIMultiDict() if self.headers is None else self.headers

    @property
    def shown_url(self) -> URL:
        """The URL as traces see it."""
        return extended_query(self.url, self.params) if self.params else self.url


def following(hop: Hop, request: ClientRequest, status: int, redirect: Redirect) -> Hop:
    """The hop that follows `hop`, with what of it may go along."""
    body = request.payload if redirect.keeps_body else None
    if body is not None and not body.reusable:
        raise ClientPayloadError(
            f"the body cannot be sent again, which the redirect with status {status} asks for"
        )
    extra = dict(hop.extra)
    if body is None:
        for name in ("compress", "chunked", "expect100", "upload_tracker"):
            extra.pop(name, None)
    same = redirect.is_same_origin
    if redirect.url.raw_host != hop.url.raw_host:
        # The name is that of one host's certificate, and would pass another host for it.
        extra.pop("server_hostname", None)
    following = Hop(
        redirect.method,
        redirect.url,
        None,
        body,
        redirect.headers,
        hop.cookies if same else None,
        hop.auth if same else None,
        hop.proxy,
        hop.proxy_auth,
        extra,
    )
    if hop.draw_key is not None:
        following.draw_key = hop.draw_key
        # RFC 6455 §4.1: a server has no say in the key that another one gets.
        redirect.headers[hdrs.SEC_WEBSOCKET_KEY] = hop.draw_key()
    following.foreign = hop.foreign or not same
    following.downgraded = hop.downgraded or (
        hop.url.scheme in SECURE_SCHEMES and redirect.url.scheme not in SECURE_SCHEMES
    )
    return following
