"""TLS settings: which context a connection uses, and which name its certificate must have.

Owns the process's default contexts, the `Fingerprint` class and the checks of the `ssl` argument
in all its forms. It opens no connection: `dial` and `tunnel` do the handshakes.

A Python that was built without the `ssl` module can import this module; asking it for a context
then raises `RuntimeError`.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, TypeAlias

from angelia.core.deprecation import warn_deprecated
from angelia.errors import InvalidUrlClientError, ServerFingerprintMismatch

try:
    import ssl as _ssl
except ImportError:  # pragma: no cover  # such a Python is rare, plain HTTP works there
    _ssl = None  # type: ignore[assignment]  # HAVE_SSL is asked before each use

HAVE_SSL = bool(_ssl)

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = (
    "ALPN_PROTOCOLS",
    "Fingerprint",
    "SSLArgument",
    "certificate_name",
    "check_ssl_argument",
    "context_for",
    "context_if_built",
    "merge_ssl_arguments",
)

# RFC 7301: what this client can speak over TLS.
ALPN_PROTOCOLS = ("http/1.1",)

# RFC 1035 §2.3.4; one dot less in text than on the wire.
MAX_NAME_LENGTH = 253
MAX_LABEL_LENGTH = 63

_SHA256_SIZE = 32
_BROKEN_DIGEST_SIZES = {16: "md5", 20: "sha1"}


class Fingerprint:
    """The SHA-256 digest that the server's certificate, in DER form, must have.

    It replaces the verification by authorities: a self-signed certificate with this digest is
    accepted, and one that any authority has signed but has another digest is not.

    Raises `ValueError` where `fingerprint` is no SHA-256 digest; those of MD5 and SHA-1 can be
    forged and are refused.
    """

    __slots__ = ("_fingerprint",)

    def __init__(self, fingerprint: bytes) -> None:
        size = len(fingerprint)
        if size in _BROKEN_DIGEST_SIZES:
            raise ValueError("md5 and sha1 are insecure and not supported. Use sha256.")
        if size != _SHA256_SIZE:
            raise ValueError(
                f"fingerprint has invalid length: {size} bytes, a sha256 digest has {_SHA256_SIZE}"
            )
        self._fingerprint = bytes(fingerprint)

    @property
    def fingerprint(self) -> bytes:
        """The digest, 32 bytes."""
        return self._fingerprint

    def check(self, transport: asyncio.BaseTransport) -> None:
        """Raise `ServerFingerprintMismatch` if the peer's certificate is another one.

        A transport without TLS has no certificate, and passes.
        """
        ssl_object = transport.get_extra_info("ssl_object")
        if ssl_object is None:
            return
        import hashlib

        certificate = ssl_object.getpeercert(binary_form=True)
        digest = b"" if certificate is None else hashlib.sha256(certificate).digest()
        if digest != self._fingerprint:
            raise ServerFingerprintMismatch(self._fingerprint, digest, *_peer(transport))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fingerprint):
            return NotImplemented
        return self._fingerprint == other._fingerprint

    def __hash__(self) -> int:
        return hash((Fingerprint, self._fingerprint))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._fingerprint.hex()}>"


def _peer(transport: asyncio.BaseTransport) -> tuple[str, int]:
    """Host and port of a transport's peer; a Unix socket's path has no port."""
    name = transport.get_extra_info("peername")
    if isinstance(name, tuple) and len(name) >= 2:
        return str(name[0]), int(name[1])
    return str(name), 0


SSLArgument: TypeAlias = "SSLContext | bool | Fingerprint"


# --- the ssl argument --------------------------------------------------------------------------


def check_ssl_argument(value: object) -> SSLArgument:
    """The `ssl` argument of a request or a connector, checked.

    None is the deprecated way to write True. Raises `TypeError` for what is neither a bool, an
    `ssl.SSLContext` nor a `Fingerprint`.
    """
    if value is None:
        warn_deprecated("ssl=None is deprecated, use ssl=True")
        return True
    if isinstance(value, bool | Fingerprint):
        return value
    if HAVE_SSL and isinstance(value, _ssl.SSLContext):
        return value
    raise TypeError(
        "ssl should be SSLContext, Fingerprint, or bool, "
        f"got {value!r} of type {type(value).__name__}"
    )


def merge_ssl_arguments(
    ssl: object,
    verify_ssl: bool | None,
    ssl_context: SSLContext | None,
    fingerprint: bytes | None,
) -> SSLArgument:
    """One `ssl` value out of the current argument and its three deprecated forms.

    Warns with `DeprecationWarning` for a deprecated form that says something, and raises
    `ValueError` where more than one argument does.
    """
    forms: list[tuple[str, SSLArgument]] = []
    if verify_ssl is not None and not verify_ssl:
        forms.append(("verify_ssl is deprecated, use ssl=False instead", False))
    if ssl_context is not None:
        context = check_ssl_argument(ssl_context)
        forms.append(("ssl_context is deprecated, use ssl=context instead", context))
    if fingerprint is not None:
        forms.append(
            (
                "fingerprint is deprecated, use ssl=Fingerprint(fingerprint) instead",
                Fingerprint(fingerprint),
            )
        )
    for warning, _ in forms:
        warn_deprecated(warning)
    if not forms:
        return check_ssl_argument(ssl)
    if len(forms) > 1 or (ssl is not None and ssl is not True):
        raise ValueError(
            "verify_ssl, ssl_context, fingerprint and ssl parameters are mutually exclusive"
        )
    return forms[0][1]


# --- contexts ----------------------------------------------------------------------------------

# Reading the trust store takes tens of milliseconds and megabytes, so each default context is
# made once for the whole process, and `SSLContext` may be used by several loops and threads.
_default_contexts: dict[bool, SSLContext] = {}
_building = threading.Lock()


def _require_ssl() -> None:
    if not HAVE_SSL:
        raise RuntimeError("SSL is not supported: this Python was built without the ssl module")


def _build_context(verified: bool) -> SSLContext:
    """The default context, from the cache or newly built; blocks while it reads the trust store."""
    with _building:
        context = _default_contexts.get(verified)
        if context is None:
            if verified:
                context = _ssl.create_default_context()
            else:
                context = _ssl.SSLContext(_ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False
                context.verify_mode = _ssl.CERT_NONE
                context.options |= _ssl.OP_NO_COMPRESSION
            context.set_alpn_protocols(list(ALPN_PROTOCOLS))
            _default_contexts[verified] = context
    return context


def context_if_built(ssl: SSLArgument | None) -> SSLContext | None:
    """The context for `ssl` if that takes no work, else None.

    Raises `RuntimeError` where Python has no `ssl` module.
    """
    _require_ssl()
    if isinstance(ssl, _ssl.SSLContext):
        return ssl
    # A pinned certificate is checked by its digest after the handshake, not by authorities.
    return _default_contexts.get(ssl is True or ssl is None)


async def context_for(ssl: SSLArgument | None) -> SSLContext:
    """The context for an `ssl` argument; a default one is built at its first use, off the loop.

    Cancellation is safe: a build that has begun goes on and serves the next caller.
    Raises `RuntimeError` where Python has no `ssl` module.
    """
    context = context_if_built(ssl)
    if context is not None:
        return context
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, _build_context, ssl is True or ssl is None)


# --- names -------------------------------------------------------------------------------------


def certificate_name(host: str, server_hostname: str | None = None) -> str:
    """The name for SNI and for the certificate check.

    That is `server_hostname` if given, else `host`, without the dot that marks a name as
    complete (RFC 6066 §3) and without the zone of an IPv6 address (RFC 4007 §11), since neither
    is part of what certificates hold. For an IP address the `ssl` module sends no SNI and
    compares with the certificate's addresses.

    Raises `InvalidUrlClientError`, a `ValueError`, for what cannot be such a name; inside a
    handshake it would be too late to tell anybody.
    """
    given = host if server_hostname is None else server_hostname
    if ":" in given:
        name = given.partition("%")[0]
        try:
            socket.inet_pton(socket.AF_INET6, name)
        except (OSError, ValueError) as error:
            raise InvalidUrlClientError(given, "is no IPv6 address") from error
        return name
    name = given.removesuffix(".")
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidUrlClientError(given[:MAX_NAME_LENGTH], "the host name is too long")
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise InvalidUrlClientError(given, f"cannot be a TLS server name: {error}") from error
    for label in name.split("."):
        if not 0 < len(label) <= MAX_LABEL_LENGTH:
            raise InvalidUrlClientError(given, "a label of the host name is empty or too long")
    if any(char <= " " or char == "\x7f" for char in name):
        raise InvalidUrlClientError(given, "the host name has control characters or spaces")
    return name
