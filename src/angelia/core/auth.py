"""Credentials and challenges: RFC 7617 (Basic), RFC 7616 (Digest), RFC 9110 §11.

Owns: how credentials become the value of an `Authorization` field, and what a `WWW-Authenticate`
field asks for. Knows nothing of requests, files or randomness: whoever computes a digest gives the
client nonce in, and decides whom it is for.
"""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple, Self

from yarl import URL

__all__ = (
    "BasicAuth",
    "encode_basic_auth",
)


# --- Basic -------------------------------------------------------------------------------------


class _Credentials(NamedTuple):
    login: str
    password: str
    encoding: str


class BasicAuth(_Credentials):
    """A login and a password for HTTP Basic authentication (RFC 7617).

    `encoding` names the charset they are sent in. Raises `ValueError` where login or password is
    None, or the login has a colon, which the scheme cannot tell from its own separator.
    """

    __slots__ = ()

    def __new__(cls, login: str, password: str = "", encoding: str = "latin1") -> Self:
        _check_credentials(login, password)
        return super().__new__(cls, login, password, encoding)

    @classmethod
    def decode(cls, auth_header: str, encoding: str = "latin1") -> Self:
        """The credentials in the value of an `Authorization` field.

        Raises `ValueError` where the scheme is missing or another, where the rest is no base64,
        and where it has no colon.
        """
        scheme, separator, encoded = auth_header.strip(" \t").partition(" ")
        if not separator:
            raise ValueError("Could not parse authorization header.")
        # RFC 9110 §11.1: the scheme's case does not matter.
        if scheme.lower() != "basic":
            raise ValueError(f"Unknown authorization method {scheme[:40]!r}")
        try:
            octets = base64.b64decode(encoded.strip(" ").encode("ascii"), validate=True)
            text = octets.decode(encoding)
        except UnicodeEncodeError as exc:
            raise ValueError("Invalid base64 encoding.") from exc
        except binascii.Error as exc:
            raise ValueError("Invalid base64 encoding.") from exc
        except UnicodeDecodeError:
            # No cause: the decoder's error carries the password.
            raise ValueError(f"Invalid credentials: not {encoding}.") from None
        # RFC 7617 §2: the first colon separates; those behind it belong to the password.
        login, separator, password = text.partition(":")
        if not separator:
            raise ValueError("Invalid credentials.")
        return cls(login, password, encoding)

    @classmethod
    def from_url(cls, url: URL, *, encoding: str = "latin1") -> Self | None:
        """The credentials in a URL; None where it has neither a user nor a password.

        Raises `TypeError` for what is no `yarl.URL`.
        """
        if not isinstance(url, URL):
            raise TypeError("url should be yarl.URL instance")
        if url.raw_user is None and url.raw_password is None:
            return None
        return cls(url.user or "", url.password or "", encoding)

    def encode(self) -> str:
        """The value of an `Authorization` field; `ValueError` if `encoding` has not the letters."""
        return encode_basic_auth(self.login, self.password, self.encoding)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(login={self.login!r}, password='***', {self.encoding!r})"


def encode_basic_auth(login: str, password: str = "", encoding: str = "utf-8") -> str:
    """The value of an `Authorization` field with HTTP Basic credentials (RFC 7617).

    Raises `ValueError` where login or password is None, the login has a colon, or `encoding` lacks
    one of their letters.
    """
    _check_credentials(login, password)
    octets = f"{login}:{password}".encode(encoding)
    return "Basic " + base64.b64encode(octets).decode("ascii")


def _check_credentials(login: str | None, password: str | None) -> None:
    if login is None:
        raise ValueError("None is not allowed as login value")
    if password is None:
        raise ValueError("None is not allowed as password value")
    if ":" in login:
        raise ValueError("A ':' is not allowed in the login (RFC 7617 section 2)")
