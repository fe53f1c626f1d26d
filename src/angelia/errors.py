"""The whole exception tree.

Owns every exception class that leaves the library, and the protocol errors that `core` raises and
`net` or `client` translates. Knows nothing of sockets, connections or requests: errors carry facts
as attributes, and whoever raises them supplies the facts.

Every error can be pickled and copied, with all its attributes. As with all exceptions its cause
does not travel in a pickle; a copy has it.

::

    ClientError
    ├── ClientConnectionError
    │   ├── ClientConnectionResetError          (ConnectionResetError)
    │   ├── ClientOSError                       (OSError)
    │   │   └── ClientConnectorError
    │   │       ├── ClientConnectorDNSError
    │   │       ├── ClientProxyConnectionError
    │   │       ├── ClientSSLError
    │   │       │   ├── ClientConnectorCertificateError   (ssl.CertificateError)
    │   │       │   └── ClientConnectorSSLError           (ssl.SSLError)
    │   │       └── UnixClientConnectorError
    │   └── ServerConnectionError
    │       ├── ServerDisconnectedError
    │       ├── ServerFingerprintMismatch
    │       └── ServerTimeoutError              (TimeoutError)
    │           ├── ConnectionTimeoutError
    │           │   └── PoolTimeoutError
    │           └── SocketTimeoutError
    ├── ClientPayloadError
    │   └── MultipartError                      (ValueError)
    ├── ClientResponseError
    │   ├── ClientHttpProxyError
    │   ├── ContentTypeError
    │   ├── TooManyRedirects
    │   └── WSServerHandshakeError
    ├── InvalidURL                              (ValueError)
    │   └── InvalidUrlClientError
    │       └── InvalidUrlRedirectClientError   (also RedirectClientError)
    ├── NonHttpUrlClientError
    │   └── NonHttpUrlRedirectClientError       (also RedirectClientError)
    ├── RedirectClientError
    └── UploadAbortedError
    TotalTimeoutError                           (TimeoutError)
    EofStream
    PartTooLargeError                           (ValueError)
    WSMessageTypeError                          (TypeError)
    ProtocolError                               raised by `core`, translated by the roles
    ├── LocalProtocolError                      we, or our caller, did what the protocol forbids
    └── RemoteProtocolError                     the peer did
        ├── HeadError
        │   └── LineTooLong
        ├── ContentError
        │   └── IncompleteContent
        ├── HandshakeError
        ├── PeerClosed
        └── WebSocketError
"""

from __future__ import annotations

import copy
import enum
import warnings
from typing import Any, Final, NamedTuple, Protocol, Self, TypeVar

from multidict import CIMultiDict, CIMultiDictProxy

from angelia.redaction import shown_headers, shown_tuple, shown_url

try:
    from ssl import CertificateError, SSLError
except ImportError:
    # A Python without the module raises none of these errors, but has the classes.
    SSLError = OSError  # type: ignore[misc,assignment]  # the base that it has

    class CertificateError(OSError, ValueError):  # type: ignore[no-redef]  # as above
        """What `ssl.CertificateError` would be."""


__all__ = (
    "BadContentDispositionHeader",
    "BadContentDispositionParam",
    "ClientConnectionError",
    "ClientConnectionResetError",
    "ClientConnectorCertificateError",
    "ClientConnectorDNSError",
    "ClientConnectorError",
    "ClientConnectorSSLError",
    "ClientError",
    "ClientHttpProxyError",
    "ClientOSError",
    "ClientPayloadError",
    "ClientProxyConnectionError",
    "ClientResponseError",
    "ClientSSLError",
    "ConnectionTimeoutError",
    "ContentError",
    "ContentTypeError",
    "EofStream",
    "HandshakeError",
    "HeadError",
    "IncompleteContent",
    "InvalidURL",
    "InvalidUrlClientError",
    "InvalidUrlRedirectClientError",
    "LineTooLong",
    "LocalProtocolError",
    "MultipartError",
    "NonHttpUrlClientError",
    "NonHttpUrlRedirectClientError",
    "PartTooLargeError",
    "PastResponse",
    "PeerClosed",
    "PoolTimeoutError",
    "ProtocolError",
    "RedirectClientError",
    "RemoteProtocolError",
    "Scope",
    "ServerConnectionError",
    "ServerDisconnectedError",
    "ServerFingerprintMismatch",
    "ServerTimeoutError",
    "SocketTimeoutError",
    "TooManyRedirects",
    "TotalTimeoutError",
    "UnixClientConnectorError",
    "UploadAbortedError",
    "WSMessageTypeError",
    "WSServerHandshakeError",
    "WebSocketError",
)


E = TypeVar("E", bound=BaseException)


def _rebuilt(cls: type[E], args: tuple[Any, ...]) -> E:
    """An error without its attributes, which come after; its constructor may ask for others."""
    error = cls.__new__(cls)
    error.args = args
    return error


def _copied(error: E) -> E:
    """A copy with the same attributes, of which none is copied, and the same cause."""
    made = error.__reduce__()
    make, arguments, state = (*made, None)[:3]
    copied: E = make(*arguments)
    if state:
        copied.__setstate__(state)
    copied.__cause__ = error.__cause__
    copied.__suppress_context__ = error.__suppress_context__
    return copied


# --- the protocol cores ------------------------------------------------------------------------


class Scope(enum.Enum):
    """How far a protocol error reaches."""

    STREAM = "stream"
    CONNECTION = "connection"


class ProtocolError(Exception):
    """A rule of the protocol was broken; the base of what `angelia.core` raises.

    `scope` says how far it reaches, `status` what a server should answer (an HTTP status).
    """

    def __init__(self, message: str, *, status: int = 400, scope: Scope = Scope.CONNECTION) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.scope = scope

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.args), self.__dict__

    def __copy__(self) -> Self:
        return _copied(self)


class LocalProtocolError(ProtocolError):
    """This side tried to do what the protocol forbids; nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol forbids."""


class HeadError(RemoteProtocolError):
    """A start line or a field line is malformed or too large."""


class LineTooLong(HeadError):
    """A start line, a field line or the whole head passes its limit."""

    def __init__(self, message: str, *, limit: int, status: int = 431) -> None:
        super().__init__(message, status=status)
        self.limit = limit


class ContentError(RemoteProtocolError):
    """The content's framing or coding is malformed or passes its limit."""


class IncompleteContent(ContentError):
    """The connection ended before the content did.

    `received` counts octets of content; `expected` is None where the length was not announced.
    """

    def __init__(self, received: int, expected: int | None) -> None:
        wanted = "a final chunk" if expected is None else f"{expected} bytes"
        super().__init__(f"content ended early: received {received} bytes, expected {wanted}")
        self.received = received
        self.expected = expected


class PeerClosed(RemoteProtocolError):
    """The connection ended before a whole head had come; `partial` is what had come of it."""

    def __init__(self, partial: bytes | bytearray = b"") -> None:
        super().__init__("connection closed before a whole head had come")
        self.partial = bytes(partial)


class WebSocketError(RemoteProtocolError):
    """A WebSocket connection failed; `code` is the close code that says why (RFC 6455 §7.4)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.args = (code, message)
        self.code = code

    def __str__(self) -> str:
        return self.message


class HandshakeError(RemoteProtocolError):
    """An opening handshake breaks RFC 6455 §4.

    `field` is the header field at fault, empty where it is none; `found` is its value, None where
    it is missing. `status` is what a server answers, with the fields of `headers`.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        found: str | None = None,
        status: int = 400,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message, status=status)
        self.field = field
        self.found = found
        self.headers = headers


# --- the client's tree -------------------------------------------------------------------------


class EofStream(Exception):
    """The end of a stream was reached."""


class ClientError(Exception):
    """Base class of the client's errors.

    `request_sent` is ours: True when a byte of the request was handed to the network, so that the
    server may have seen it, False when it certainly has not, None where it does not apply.
    """

    request_sent: bool | None = None

    def __copy__(self) -> Self:
        return _copied(self)


class ClientConnectionError(ClientError):
    """A connection could not be made, or was lost."""


class ClientConnectionResetError(ClientConnectionError, ConnectionResetError):
    """A write to a connection that the peer, or we, have closed."""


class ClientOSError(ClientConnectionError, OSError):
    """A connection error that began as an `OSError`."""


class ConnectionFacts(Protocol):
    """What a connector error wants to know of the connection that failed."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int | None: ...
    @property
    def is_ssl(self) -> bool: ...
    @property
    def ssl(self) -> Any: ...


class ClientConnectorError(ClientOSError):
    """A connector could not establish a connection; `os_error` is the reason."""

    def __init__(self, connection_key: ConnectionFacts, os_error: OSError) -> None:
        self._conn_key = connection_key
        self._os_error = os_error
        super().__init__(os_error.errno, os_error.strerror)
        self.args = (connection_key, os_error)

    @property
    def os_error(self) -> OSError:
        return self._os_error

    @property
    def host(self) -> str:
        return self._conn_key.host

    @property
    def port(self) -> int | None:
        return self._conn_key.port

    @property
    def ssl(self) -> Any:
        return self._conn_key.ssl

    def _where(self) -> str:
        tls = "default" if self.ssl is True else self.ssl
        return f"Cannot connect to host {self.host}:{self.port} ssl:{tls}"

    def _why(self) -> str:
        return self._os_error.strerror or str(self._os_error) or repr(self._os_error)

    def __str__(self) -> str:
        return f"{self._where()} [{self._why()}]"

    # OSError.__reduce__ rebuilds from errno and strerror; ours are made from the two arguments.
    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._conn_key, self._os_error), _instance_state(self)


class ClientConnectorDNSError(ClientConnectorError):
    """The host's name could not be resolved."""


class ClientProxyConnectionError(ClientConnectorError):
    """The proxy could not be reached; `host` and `port` are the proxy's."""

    def _where(self) -> str:
        return f"Cannot connect to proxy {self.host}:{self.port}"


class UnixClientConnectorError(ClientConnectorError):
    """A Unix socket could not be connected to; `path` is its place."""

    def __init__(self, path: str, connection_key: ConnectionFacts, os_error: OSError) -> None:
        self._path = path
        super().__init__(connection_key, os_error)

    @property
    def path(self) -> str:
        return self._path

    def _where(self) -> str:
        tls = "default" if self.ssl is True else self.ssl
        return f"Cannot connect to unix socket {self._path} ssl:{tls}"

    def __reduce__(self) -> tuple[Any, ...]:
        return (
            type(self),
            (self._path, self._conn_key, self._os_error),
            _instance_state(self),
        )


# What `ssl` says of its errors besides number and text.
_TLS_FACTS: Final = ("library", "reason", "verify_code", "verify_message")


class ClientSSLError(ClientConnectorError):
    """Base class of the TLS errors of a connector.

    They have what `ssl` set on the error that they stand for: `library` and `reason`, and
    `verify_code` and `verify_message` if a certificate was not accepted.
    """

    def __init__(self, connection_key: ConnectionFacts, os_error: OSError) -> None:
        super().__init__(connection_key, os_error)
        for name in _TLS_FACTS:
            if hasattr(os_error, name):
                setattr(self, name, getattr(os_error, name))


class ClientConnectorSSLError(ClientSSLError, SSLError):
    """The TLS handshake failed."""


class ClientConnectorCertificateError(ClientSSLError, CertificateError):
    """The server's certificate was not accepted; `certificate_error` says why."""

    def __init__(self, connection_key: ConnectionFacts, certificate_error: Exception) -> None:
        if isinstance(certificate_error, OSError):
            os_error = certificate_error
        else:
            os_error = OSError(None, str(certificate_error))
        super().__init__(connection_key, os_error)
        self._certificate_error = certificate_error
        self.args = (connection_key, certificate_error)

    @property
    def certificate_error(self) -> Exception:
        return self._certificate_error

    def __str__(self) -> str:
        return (
            f"{self._where()} [{type(self._certificate_error).__name__}: {self._certificate_error}]"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (
            type(self),
            (self._conn_key, self._certificate_error),
            _instance_state(self),
        )


class ServerConnectionError(ClientConnectionError):
    """The server broke the connection off, or was too slow."""


class ServerDisconnectedError(ServerConnectionError):
    """The server closed the connection before a whole response head had come."""

    def __init__(self, message: Any = None) -> None:
        if message is None:
            message = "Server disconnected"
        super().__init__(message)
        self.message = message


class ServerFingerprintMismatch(ServerConnectionError):
    """The certificate's digest is another than the one that was asked for."""

    def __init__(self, expected: bytes, got: bytes, host: str, port: int) -> None:
        super().__init__(expected, got, host, port)
        self.expected = expected
        self.got = got
        self.host = host
        self.port = port

    def __str__(self) -> str:
        return (
            f"certificate of {self.host}:{self.port} has the fingerprint {self.got.hex()}, "
            f"expected {self.expected.hex()}"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


class ServerTimeoutError(ServerConnectionError, TimeoutError):
    """An operation on the server took longer than its timeout."""


class ConnectionTimeoutError(ServerTimeoutError):
    """No connection within `ClientTimeout.connect` or `ClientTimeout.sock_connect` seconds."""


class PoolTimeoutError(ConnectionTimeoutError):
    """No free connection in the pool within `ClientTimeout.pool` seconds."""


class SocketTimeoutError(ServerTimeoutError):
    """Nothing was received for `ClientTimeout.sock_read` seconds."""


class TotalTimeoutError(TimeoutError):
    """The request as a whole took longer than `ClientTimeout.total` seconds.

    As in aiohttp it is no `ClientError`, so that ``except`` clauses keep their meaning.
    """

    request_sent: bool | None = None


class ClientPayloadError(ClientError):
    """Content is malformed: its framing, its coding, or fewer bytes than announced.

    Also raised where a request's body cannot be sent again. `received` and `expected` count bytes
    where that is what went wrong, and are None otherwise.
    """

    received: int | None = None
    expected: int | None = None


class MultipartError(ClientPayloadError, ValueError):
    """Multipart content is malformed, or ended early."""


class PartTooLargeError(ValueError):
    """A part is larger than `max_size` octets; `actual_size` had come when that was seen."""

    def __init__(self, max_size: int, actual_size: int) -> None:
        super().__init__(max_size, actual_size)
        self.max_size = max_size
        self.actual_size = actual_size

    def __str__(self) -> str:
        return f"a part is larger than {self.max_size} bytes: {self.actual_size} have come"


class UploadAbortedError(ClientError):
    """The request's body did not go out whole."""


class PastResponse(NamedTuple):
    """What is left of a redirect's response in the `history` of an error that was pickled.

    Its attributes are those of a response by the same name; content and connection are gone.
    """

    method: str
    url: Any
    real_url: Any
    status: int
    reason: str | None
    version: Any
    headers: Any
    request_info: Any

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status < 400

    def __repr__(self) -> str:
        return shown_tuple(self, self._fields)


def _past(response: Any) -> Any:
    """A response as something that can be pickled; what is no response stays what it is."""
    if isinstance(response, PastResponse) or not hasattr(response, "request_info"):
        return response
    facts: dict[str, Any] = {name: getattr(response, name, None) for name in PastResponse._fields}
    facts["headers"] = _plain_headers(facts["headers"])
    return PastResponse(**facts)


def _plain_headers(headers: Any) -> Any:
    """Multidict proxies cannot be pickled; a copy can."""
    if isinstance(headers, CIMultiDictProxy):
        return CIMultiDict(headers)
    return headers


class ClientResponseError(ClientError):
    """Something is wrong with a response that did arrive.

    - `request_info`: URL, method and fields of the request, a `RequestInfo`;
    - `history`: the redirects' responses, the earliest first. They hold connections and do not
      travel: an error that was pickled has a `PastResponse` for each of them;
    - `status`, `message`: of the response, or what is wrong with it;
    - `headers`: of the response, None where there are none.
    """

    def __init__(
        self,
        request_info: Any,
        history: tuple[Any, ...],
        *,
        code: int | None = None,
        status: int | None = None,
        message: str = "",
        headers: Any = None,
    ) -> None:
        super().__init__(request_info, history)
        self.request_info = request_info
        self.history = history
        if code is not None:
            if status is not None:
                raise ValueError("give status or the deprecated code, not both")
            warnings.warn(
                "the code argument is deprecated, use status",
                DeprecationWarning,
                stacklevel=2,
            )
            status = code
        self.status = 0 if status is None else status
        self.message = message
        self.headers = headers

    @property
    def code(self) -> int:
        warnings.warn(
            "the code property is deprecated, use status",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.status

    @code.setter
    def code(self, value: int) -> None:
        warnings.warn(
            "the code property is deprecated, use status",
            DeprecationWarning,
            stacklevel=2,
        )
        self.status = value

    def __str__(self) -> str:
        url = getattr(self.request_info, "real_url", None)
        return f"{self.status}, message={self.message!r}, url={shown_url(url)!r}"

    def __repr__(self) -> str:
        arguments = [repr(self.request_info), repr(self.history)]
        if self.status != 0:
            arguments.append(f"status={self.status!r}")
        if self.message != "":
            arguments.append(f"message={self.message!r}")
        if self.headers is not None:
            arguments.append(f"headers={shown_headers(self.headers)}")
        return f"{type(self).__name__}({', '.join(arguments)})"

    def __copy__(self) -> Self:
        copied = _rebuilt(type(self), self.args)
        copied.__dict__.update(self.__dict__)
        copied.__cause__ = self.__cause__
        copied.__suppress_context__ = self.__suppress_context__
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = self.__copy__()
        for name, value in self.__dict__.items():
            # Responses are no values, and their fields cannot be changed: these are shared.
            if name != "history" and not isinstance(value, CIMultiDictProxy):
                setattr(copied, name, copy.deepcopy(value, memo))
        copied.args = (copied.request_info, copied.history)
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        history = tuple(map(_past, self.history))
        state = dict(self.__dict__, history=history, headers=_plain_headers(self.headers))
        return _rebuilt, (type(self), (self.request_info, history)), state


class ContentTypeError(ClientResponseError):
    """The response's content type is not the one that was asked for."""


class WSServerHandshakeError(ClientResponseError):
    """The server did not accept a WebSocket handshake."""


class WSMessageTypeError(TypeError):
    """A WebSocket message is not of the type that was asked for."""


class ClientHttpProxyError(ClientResponseError):
    """The proxy refused the request."""


class TooManyRedirects(ClientResponseError):
    """More redirects than `max_redirects` allows; `history` has them."""


class InvalidURL(ClientError, ValueError):
    """A URL that no request can be made of; `url` and `description` say which and why."""

    def __init__(self, url: Any, description: str | None = None) -> None:
        self._url = url
        self._description = description
        if description:
            super().__init__(url, description)
        else:
            super().__init__(url)

    @property
    def url(self) -> Any:
        return self._url

    @property
    def description(self) -> str | None:
        return self._description

    def __str__(self) -> str:
        if self._description:
            return f"{shown_url(self._url)} - {self._description}"
        return shown_url(self._url)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


class InvalidUrlClientError(InvalidURL):
    """The URL of a request is malformed."""


class RedirectClientError(ClientError):
    """A redirect cannot be followed."""


class NonHttpUrlClientError(ClientError):
    """The URL's scheme is none that the connector can handle."""

    def __str__(self) -> str:
        return ", ".join(map(shown_url, self.args))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class InvalidUrlRedirectClientError(InvalidUrlClientError, RedirectClientError):
    """A redirect leads to a malformed URL."""


class NonHttpUrlRedirectClientError(NonHttpUrlClientError, RedirectClientError):
    """A redirect leads to a scheme that the connector cannot handle."""


class BadContentDispositionHeader(RuntimeWarning):
    """A `Content-Disposition` field could not be parsed."""


class BadContentDispositionParam(RuntimeWarning):
    """A parameter of a `Content-Disposition` field could not be parsed."""


def _instance_state(error: BaseException) -> dict[str, Any] | None:
    return error.__dict__ or None
