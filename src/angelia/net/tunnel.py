"""Tunnels through HTTP proxies: the CONNECT request and its answer (RFC 9110 §9.3.6).

Owns what is said to a proxy before the tunnel stands. It neither connects to the proxy nor does
the TLS handshakes: `dial` puts these together. Plain HTTP through a proxy needs no tunnel, and is
the request's own business (its absolute-form target); a WebSocket needs one even without TLS.
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING, Any, NamedTuple

from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from angelia.core.auth import BasicAuth
from angelia.core.h1 import H1ClientConnection
from angelia.core.h1_wire import HeadLimits, serialize_request_head
from angelia.core.interface import Event, Failed, RequestHead, ResponseHead
from angelia.errors import ClientHttpProxyError, LocalProtocolError
from angelia.net.addresses import authority
from angelia.redaction import shown_tuple

if TYPE_CHECKING:
    from angelia.net.connection_key import ConnectionKey

__all__ = ("ConnectRequestInfo", "Tunnel", "connect_head", "open_tunnel", "proxy_url")

# Proxies answer in a few hundred bytes; some add long diagnoses to a refusal.
PROXY_LIMITS = HeadLimits(max_line_size=8190, max_field_size=16384, max_headers=128)


class ConnectRequestInfo(NamedTuple):
    """The facts of a CONNECT request, for the error of a refused one.

    `url` is the proxy's, without credentials; `headers` are those for the proxy, without
    ``Proxy-Authorization``.
    """

    url: URL
    method: str
    headers: CIMultiDictProxy[str]
    real_url: URL

    def __repr__(self) -> str:
        return shown_tuple(self, self._fields)

    # Proxies of multidicts cannot be pickled.
    def __reduce__(self) -> tuple[Any, ...]:
        return _restored_info, (self.url, self.method, list(self.headers.items()), self.real_url)


def _restored_info(
    url: URL, method: str, headers: list[tuple[str, str]], real_url: URL
) -> ConnectRequestInfo:
    return ConnectRequestInfo(url, method, CIMultiDictProxy(CIMultiDict(headers)), real_url)


def proxy_url(proxy: URL) -> URL:
    """A proxy's URL without the credentials, which no error message shall show."""
    return proxy.with_user(None) if proxy.raw_user or proxy.raw_password else proxy


def connect_head(key: ConnectionKey, port: int) -> RequestHead:
    """The CONNECT request for a tunnel to the key's host.

    The proxy's own fields win over those made here. Nothing of the request that will use the
    tunnel is in it. Raises `ValueError` for fields that cannot be sent.
    """
    target = authority(key.host, port)
    given = key.proxy_headers or ()
    names = {name.lower() for name, _ in given}
    headers: list[tuple[str, str]] = []
    # RFC 9112 §3.2: the Host field of a request in authority-form is that authority.
    if "host" not in names:
        headers.append(("Host", target))
    credentials = _credentials(key)
    if credentials is not None and "proxy-authorization" not in names:
        headers.append(("Proxy-Authorization", credentials))
    headers.extend(given)
    # RFC 9110 §9.3.6: content in a CONNECT request has no meaning, and so no framing fields.
    framing = names & {"content-length", "transfer-encoding"}
    if framing:
        raise ValueError(f"proxy_headers cannot have {', '.join(sorted(framing))}")
    head = RequestHead("CONNECT", target, headers)
    try:
        serialize_request_head(head)
    except LocalProtocolError as error:
        raise ValueError(f"proxy_headers or the target cannot be sent: {error}") from error
    return head


def _credentials(key: ConnectionKey) -> str | None:
    auth = key.proxy_auth
    if auth is None and key.proxy is not None:
        auth = BasicAuth.from_url(key.proxy)
    return None if auth is None else auth.encode()


class Tunnel(asyncio.Protocol):
    """The protocol of a connection to a proxy until the proxy has answered a CONNECT."""

    def __init__(self) -> None:
        self._core = H1ClientConnection()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[ResponseHead] = asyncio.get_running_loop().create_future()
        # Set before anybody waits where the proxy hangs up early: that is no unheard error.
        self._answer.add_done_callback(_heed)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream's transport
        # A proxy has nothing to say before it is asked.

    def data_received(self, data: bytes) -> None:
        if self._answer.done() and self._transport is not None:
            # Too late for an answer, too early for a target that is yet to be spoken to.
            self._transport.abort()
            return
        self._receive(self._core.receive_data(data))

    def eof_received(self) -> None:
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        reason = "the proxy closed the connection before it answered"
        self._fail(ConnectionResetError(errno.ECONNRESET, f"{reason}: {exc}" if exc else reason))

    def _receive(self, events: list[Event]) -> None:
        head: ResponseHead | None = None
        for event in events:
            if head is not None and 200 <= head.status < 300:
                # RFC 9110 §9.3.6: the tunnel's content begins after the head. TLS servers wait
                # for us to speak, so that these bytes can only be the proxy's, or an attacker's.
                return self._fail(_protocol_error("the proxy sent data after its answer"))
            if isinstance(event, ResponseHead) and event.status >= 200:
                head = event
            elif isinstance(event, ResponseHead) and event.status == 101:
                return self._fail(_protocol_error("the proxy switched protocols"))
            elif isinstance(event, Failed) and head is None:
                return self._fail(_protocol_error(str(event.error)))
        if head is not None and not self._answer.done():
            self._answer.set_result(head)
        return None

    def _fail(self, error: OSError) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)

    async def ask(self, request: RequestHead) -> ResponseHead:
        """Send the request and return the final answer's head.

        Raises `OSError` where no valid one comes.
        """
        core, transport = self._core, self._transport
        if transport is None:
            raise ConnectionResetError(errno.ECONNRESET, "the proxy's connection was lost")
        stream_id = core.open_stream(limits=PROXY_LIMITS)
        core.send_head(stream_id, request, end=True)
        transport.write(b"".join(core.data_to_send()))
        return await self._answer


def _heed(answer: asyncio.Future[ResponseHead]) -> None:
    if not answer.cancelled():
        answer.exception()


def _protocol_error(message: str) -> OSError:
    return OSError(getattr(errno, "EPROTO", errno.EINVAL), message)


async def open_tunnel(
    transport: asyncio.Transport, tunnel: Tunnel, key: ConnectionKey, request: RequestHead
) -> None:
    """Ask the key's proxy for a tunnel, with a request from `connect_head`.

    On return the transport leads to the target, which waits for us to speak. Failure and
    cancellation abort the transport. Raises `ClientHttpProxyError` for a refusal, `OSError` for an
    answer that is none.
    """
    try:
        _check_answer(key, request, await tunnel.ask(request))
        _check_open(transport)
    except BaseException:
        transport.abort()
        raise


def _check_open(transport: asyncio.Transport) -> None:
    if transport.is_closing():
        raise ConnectionResetError(errno.ECONNRESET, "the proxy closed the tunnel")


def _check_answer(key: ConnectionKey, request: RequestHead, answer: ResponseHead) -> None:
    """Raise for an answer that refuses the tunnel."""
    if 200 <= answer.status < 300 or key.proxy is None:
        return
    url = proxy_url(key.proxy)
    sent = [pair for pair in request.headers if pair[0].lower() != "proxy-authorization"]
    info = ConnectRequestInfo(url, "CONNECT", CIMultiDictProxy(CIMultiDict(sent)), url)
    raise ClientHttpProxyError(
        info,
        (),
        status=answer.status,
        message=answer.reason,
        headers=CIMultiDictProxy(CIMultiDict(answer.headers)),
    )
