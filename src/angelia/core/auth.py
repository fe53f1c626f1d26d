"""Credentials and challenges: RFC 7617 (Basic), RFC 7616 (Digest), RFC 9110 §11.

Owns: how credentials become the value of an `Authorization` field, and what a `WWW-Authenticate`
field asks for. Knows nothing of requests, files or randomness: whoever computes a digest gives the
client nonce in, and decides whom it is for.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, Self
from urllib.parse import quote

from yarl import URL

from angelia.core.fields import TOKEN, end_of, parse_token_list, quote_string, scan_quoted
from angelia.core.patterns import lazy

__all__ = (
    "BasicAuth",
    "Challenge",
    "DigestChallenge",
    "digest_authorization",
    "digest_challenge",
    "digest_key",
    "digest_response",
    "encode_basic_auth",
    "parse_auth_parameters",
    "parse_challenges",
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
        shown = f"login={self.login!r}, password='***', encoding={self.encoding!r}"
        return f"{type(self).__name__}({shown})"


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


# --- challenges --------------------------------------------------------------------------------


class Challenge(NamedTuple):
    """What a server asks for: `scheme` and the names of `parameters` are in lower case."""

    scheme: str
    parameters: dict[str, str]
    token68: str = ""


# RFC 9110 §11.2.
_TOKEN68: Final = lazy(r"([A-Za-z0-9\-._~+/]+=*)[ \t]*(?:,|\Z)")
_SEPARATORS: Final = lazy(r"[ \t,]*")
_EQUALS: Final = lazy(r"[ \t]*=[ \t]*")
_BLANKS: Final = lazy(r"[ \t]*")
# More than tokens, for servers that leave the quotes out.
_BARE_VALUE: Final = lazy(r'[^ \t,"]*')
_TO_COMMA: Final = lazy(r"[^,]*")

# ``realm=,`` reads as a token68 as well; these schemes have none.
_SCHEMES_WITHOUT_TOKEN68: Final = frozenset({"basic", "bearer", "digest"})


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """The challenges in `WWW-Authenticate` fields (RFC 9110 §11.6.1), in order.

    A comma separates challenges as well as parameters: a name that an equals sign follows is a
    parameter of the challenge before it, any other begins one. Of a parameter given twice the first
    counts, and what is neither is left out.
    """
    challenges: list[Challenge] = []
    for text in values:
        _scan_challenges(text, challenges)
    return challenges


def parse_auth_parameters(text: str) -> dict[str, str]:
    """Parameters separated by commas, as `Authentication-Info` has them (RFC 7615)."""
    return _scan_challenges(f"info {text}", [])


def _scan_challenges(text: str, challenges: list[Challenge]) -> dict[str, str]:
    """Add the challenges in one field line; the parameters of the last."""
    at, size = 0, len(text)
    scheme = ""
    parameters: dict[str, str] = {}
    while (at := end_of(_SEPARATORS, text, at)) < size:
        name = TOKEN.match(text, at)
        if name is None:
            at = end_of(_TO_COMMA, text, at)
            continue
        at = name.end()
        equals = _EQUALS.match(text, at) if scheme else None
        if equals is not None:
            value, at = _scan_value(text, equals.end())
            parameters.setdefault(name[0].lower(), value)
            continue
        scheme, parameters, token68 = name[0].lower(), {}, ""
        if scheme not in _SCHEMES_WITHOUT_TOKEN68:
            found = _TOKEN68.match(text, end_of(_BLANKS, text, at))
            # RFC 9110 §11.2: a space parts the scheme from what is its own.
            if found is not None and text[at] in " \t":
                token68, at = found[1], found.end()
        challenges.append(Challenge(scheme, parameters, token68))
    return parameters


def _scan_value(text: str, at: int) -> tuple[str, int]:
    if text.startswith('"', at):
        value, at, _ = scan_quoted(text, at)
        return value, at
    end = end_of(_BARE_VALUE, text, at)
    return text[at:end], end


# --- Digest ------------------------------------------------------------------------------------

# RFC 7616 §6.1 and, for servers that have them, SHA and SHA-512; by the name in capitals, with
# the name that hashlib has for it.
_HASHES: Final = {
    "MD5": "md5",
    "SHA": "sha1",
    "SHA-256": "sha256",
    "SHA256": "sha256",
    "SHA-512": "sha512",
    "SHA512": "sha512",
    "SHA-512-256": "sha512_256",
}
_SESSION_SUFFIX: Final = "-SESS"


class DigestChallenge(NamedTuple):
    """A Digest challenge that can be answered (RFC 7616 §3.3)."""

    realm: str
    nonce: str
    # In the server's own case, and None where it names none, which means MD5.
    algorithm: str | None = None
    opaque: str | None = None
    # The protection that was chosen: "auth", "auth-int", or None where the server offers none.
    qop: str | None = None
    domain: str = ""
    stale: bool = False
    userhash: bool = False
    is_utf8: bool = False


def digest_challenge(challenges: Iterable[Challenge]) -> DigestChallenge | None:
    """The first Digest challenge that can be answered; None if there is none.

    RFC 7616 §3.7: servers put the one that they prefer first.
    """
    for challenge in challenges:
        if challenge.scheme == "digest":
            found = _digest_challenge(challenge.parameters)
            if found is not None:
                return found
    return None


def _digest_challenge(parameters: Mapping[str, str]) -> DigestChallenge | None:
    realm, nonce = parameters.get("realm"), parameters.get("nonce")
    algorithm = parameters.get("algorithm") or None
    if realm is None or not nonce or _hash_name(algorithm) is None:
        return None
    offered = parse_token_list([parameters.get("qop", "")])
    qop = next((name for name in ("auth", "auth-int") if name in offered), None)
    if offered and qop is None:
        return None
    return DigestChallenge(
        realm,
        nonce,
        algorithm,
        parameters.get("opaque"),
        qop,
        parameters.get("domain", ""),
        parameters.get("stale", "").lower() == "true",
        parameters.get("userhash", "").lower() == "true",
        parameters.get("charset", "").lower() == "utf-8",
    )


def digest_key(challenge: DigestChallenge, login: str, password: str, cnonce: str) -> str:
    """H(A1) (RFC 7616 §3.4.2): what the answers to a challenge are made with.

    For a ``-sess`` algorithm it holds for as long as the challenge does, with the `cnonce` of the
    first answer.
    """
    name = challenge.algorithm
    login, password = _normalized(challenge, login), _normalized(challenge, password)
    key = _hash(name, f"{login}:{challenge.realm}:{password}")
    if _is_session(name):
        key = _hash(name, f"{key}:{challenge.nonce}:{cnonce}")
    return key


def digest_response(
    challenge: DigestChallenge,
    *,
    key: str,
    method: str,
    target: str,
    count: int,
    cnonce: str,
    content: bytes = b"",
) -> str:
    """The proof (RFC 7616 §3.4.1) that whoever sends the request has `key`.

    `target` is the request target as it goes out, `count` how many requests have used the nonce,
    this one included, and `content` the body, which only ``auth-int`` protects.
    """
    name = challenge.algorithm
    covered = f"{method}:{target}"
    if challenge.qop == "auth-int":
        covered = f"{covered}:{_hash(name, content)}"
    proof = _hash(name, covered)
    if challenge.qop is None:
        # RFC 2069, which RFC 7616 §3.4.1 no longer has and old servers still speak.
        return _hash(name, f"{key}:{challenge.nonce}:{proof}")
    return _hash(name, f"{key}:{challenge.nonce}:{count:08x}:{cnonce}:{challenge.qop}:{proof}")


def digest_authorization(
    challenge: DigestChallenge,
    *,
    login: str,
    key: str,
    method: str,
    target: str,
    count: int,
    cnonce: str,
    content: bytes = b"",
) -> str:
    """The value of an `Authorization` field that answers `challenge` (RFC 7616 §3.4)."""
    response = digest_response(
        challenge,
        key=key,
        method=method,
        target=target,
        count=count,
        cnonce=cnonce,
        content=content,
    )
    parts = [
        _digest_username(challenge, login),
        f"realm={quote_string(challenge.realm)}",
        f"nonce={quote_string(challenge.nonce)}",
        f"uri={quote_string(target)}",
        f'response="{response}"',
    ]
    if challenge.algorithm is not None:
        parts.append(f"algorithm={challenge.algorithm}")
    if challenge.opaque is not None:
        parts.append(f"opaque={quote_string(challenge.opaque)}")
    if challenge.qop is not None:
        parts += [f"qop={challenge.qop}", f"nc={count:08x}", f'cnonce="{cnonce}"']
    if challenge.userhash:
        parts.append("userhash=true")
    return "Digest " + ", ".join(parts)


def _digest_username(challenge: DigestChallenge, login: str) -> str:
    login = _normalized(challenge, login)
    # RFC 7616 §3.4.4.
    if challenge.userhash:
        return f'username="{_hash(challenge.algorithm, f"{login}:{challenge.realm}")}"'
    # RFC 7616 §3.4: only a server that speaks of charsets knows of username*.
    if challenge.is_utf8 and not login.isascii():
        return f"username*=UTF-8''{quote(login, safe='')}"
    return f"username={quote_string(login)}"


def _normalized(challenge: DigestChallenge, text: str) -> str:
    # RFC 7616 §4: UTF-8 means the normalization form C.
    if challenge.is_utf8 and not text.isascii():
        # A megabyte of tables, for this case alone.
        import unicodedata

        return unicodedata.normalize("NFC", text)
    return text


def _is_session(algorithm: str | None) -> bool:
    return algorithm is not None and algorithm.upper().endswith(_SESSION_SUFFIX)


def _hash_name(algorithm: str | None) -> str | None:
    """The name that hashlib has for `algorithm`; None where this Python cannot compute it."""
    algorithm = algorithm or "MD5"
    # Letters beyond ASCII have capitals in it: one form of the small s is such a letter.
    if not algorithm.isascii():
        return None
    import hashlib

    name = _HASHES.get(algorithm.upper().removesuffix(_SESSION_SUFFIX))
    return name if name in hashlib.algorithms_available else None


def _hash(algorithm: str | None, data: str | bytes) -> str:
    name = _hash_name(algorithm)
    if name is None:
        raise ValueError(f"cannot compute the digest algorithm {algorithm!r}")
    import hashlib

    # What was received as no UTF-8 goes into the hash as the octets it was.
    octets = data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")
    return hashlib.new(name, octets, usedforsecurity=False).hexdigest()
