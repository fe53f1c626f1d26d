"""What makes two connections interchangeable.

Owns the key of the connection pool. It knows nothing of pools, sockets or requests: it is a value,
and two requests may share a connection exactly when their keys are equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

from angelia.redaction import shown, shown_fields

if TYPE_CHECKING:
    from yarl import URL

    from angelia.core.auth import BasicAuth
    from angelia.net.tls import SSLArgument

__all__ = ("ConnectionKey",)


class ConnectionKey(NamedTuple):
    """Everything that a connection was made with, and so what a later request must ask for too.

    A connection that was verified under one set of TLS settings, or that runs through one proxy
    with one set of credentials, must never carry a request that asked for another
    (RFC 9110 §4.3.4): each of these is therefore a part of the key.

    - `host`: the target's host in ASCII form, IPv6 without brackets;
    - `port`: its port; None for what has no ports, such as Unix sockets;
    - `is_ssl`: TLS to the target;
    - `ssl`: True for the default verification, False for none, a context, or a `Fingerprint`;
    - `proxy`: the proxy's URL, None for a direct connection;
    - `proxy_auth`: credentials for the proxy;
    - `proxy_headers`: fields for the proxy only, as name and value pairs; None without a proxy;
    - `server_hostname`: the name that replaces `host` in SNI and the certificate check;
    - `tunnel`: through an HTTP proxy, a tunnel also where there is no TLS to the target, for what
      no proxy forwards, such as WebSockets.
    """

    host: str
    port: int | None
    is_ssl: bool
    ssl: SSLArgument = True
    proxy: URL | None = None
    proxy_auth: BasicAuth | None = None
    proxy_headers: tuple[tuple[str, str], ...] | None = None
    server_hostname: str | None = None
    tunnel: bool = False

    # A value: a copy is as good as the original. The context in it could not be copied.
    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    # A context cannot be pickled either. What is read back says which it was, in words.
    def __reduce__(self) -> tuple[Any, ...]:
        from angelia.net.tls import Fingerprint

        plain = isinstance(self.ssl, bool | Fingerprint)
        return type(self), tuple(self if plain else self._replace(ssl=cast(Any, repr(self.ssl))))

    def __repr__(self) -> str:
        facts = self._asdict()
        facts["proxy_headers"] = self.proxy_headers and tuple(shown_fields(self.proxy_headers))
        return f"{type(self).__name__}({', '.join(f'{k}={shown(v)}' for k, v in facts.items())})"
