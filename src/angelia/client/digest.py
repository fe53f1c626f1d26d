"""DigestAuthMiddleware: answers Digest challenges (RFC 7616) with a login and a password.

Owns: whom an answer is for, how often one is given, and the state of each nonce. What an answer
consists of is computed in `core.auth`. Knows nothing of connections or redirects: each hop of a
redirect comes here as a request of its own, and is judged by its URL alone.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from yarl import URL

from angelia import hdrs
from angelia.client.redirects import same_origin
from angelia.core.auth import (
    DigestChallenge,
    digest_authorization,
    digest_challenge,
    digest_key,
    parse_auth_parameters,
    parse_challenges,
)
from angelia.core.patterns import lazy

if TYPE_CHECKING:
    from angelia.client.request import ClientRequest
    from angelia.client.response import ClientResponse

__all__ = ("DigestAuthMiddleware",)

# Octets of randomness in a client nonce: as many as a 128-bit key has.
_CNONCE_SIZE: Final = 16

# Members of a `domain` that are looked at. Real ones have one or two.
MAX_SPACES: Final = 32

_CONTROL: Final = lazy(r"[\x00-\x1f\x7f]")

_Origin: TypeAlias = tuple[str, str | None, int | None]


class _Space(NamedTuple):
    """What a member of `domain` stands for: the URLs of an origin at and below a path."""

    root: URL

    def covers(self, url: URL) -> bool:
        path = self.root.raw_path
        return same_origin(self.root, url) and (
            url.raw_path == path or url.raw_path.startswith(path.rstrip("/") + "/")
        )


def _spaces(url: URL, domain: str) -> tuple[_Space, ...]:
    """The protection space that a challenge to a request for `url` names (RFC 7616 §3.3)."""
    root = url.origin().with_path("/")
    members = domain.split(maxsplit=MAX_SPACES)[:MAX_SPACES]
    if not members:
        return (_Space(root),)
    spaces = []
    for member in members:
        try:
            space = root.join(URL(member))
        except ValueError:
            continue
        # What was given over TLS is not sent without it, whoever asks for that.
        if space.raw_host and space.scheme in (url.scheme, "https"):
            spaces.append(_Space(space))
    return tuple(spaces)


class _Session:
    """A challenge that is being answered: the key made for it, and how often its nonce was used."""

    __slots__ = ("challenge", "cnonce", "count", "key", "spaces")

    def __init__(
        self, challenge: DigestChallenge, key: str, cnonce: str, spaces: tuple[_Space, ...]
    ) -> None:
        self.challenge = challenge
        self.key = key
        self.cnonce = cnonce
        self.spaces = spaces
        self.count = 0

    def same_nonce(self, challenge: DigestChallenge) -> bool:
        """Whether `challenge` repeats the one that this answers."""
        own = self.challenge
        return (own.nonce, own.realm, own.algorithm, own.is_utf8) == (
            challenge.nonce,
            challenge.realm,
            challenge.algorithm,
            challenge.is_utf8,
        )

    def take(self) -> tuple[DigestChallenge, int]:
        """What to answer now, and how often its nonce has been used then (RFC 7616 §3.4)."""
        self.count += 1
        return self.challenge, self.count

    def renew(self, nonce: str) -> None:
        """RFC 7616 §3.5: the server wishes the next answer to have another nonce."""
        if nonce != self.challenge.nonce:
            self.challenge = self.challenge._replace(nonce=nonce)
            self.count = 0


class DigestAuthMiddleware:
    """A client middleware for HTTP Digest authentication (RFC 7616).

    ::

        digest = DigestAuthMiddleware("user", "password")
        async with ClientSession(middlewares=(digest,)) as session: ...

    Speaks for the origin of the first request it sees, and for the URLs that a challenge of that
    origin names in `domain`; to all others, also where a redirect leads there, it gives nothing.
    The algorithms are MD5, SHA, SHA-256, SHA-512, SHA-512-256 where OpenSSL has it, and their
    ``-sess`` forms, with `qop` ``auth``, ``auth-int`` or none.

    With `preemptive`, later requests in the protection space of a challenge carry an answer to it
    from the start, which saves a round trip. An answer that was refused is not repeated, unless the
    server calls its nonce stale; then once.

    Raises `ValueError` where login or password is None or has control characters, or the login has
    a colon.
    """

    def __init__(self, login: str, password: str, preemptive: bool = True) -> None:
        if login is None:
            raise ValueError("None is not allowed as login value")
        if password is None:
            raise ValueError("None is not allowed as password value")
        # RFC 7616 §3.4.2 joins login, realm and password with colons.
        if ":" in login:
            raise ValueError("A ':' is not allowed in the login")
        if _CONTROL.search(login) or _CONTROL.search(password):
            raise ValueError("Control characters are not allowed in login and password")
        self._login = login
        self._password = password
        self._preemptive = preemptive
        self._anchor: URL | None = None
        self._anchor_spaces: tuple[_Space, ...] = ()
        self._sessions: dict[_Origin, _Session] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._login!r} for {self._anchor or 'no origin yet'}>"

    async def __call__(
        self, request: ClientRequest, handler: Callable[[ClientRequest], Awaitable[ClientResponse]]
    ) -> ClientResponse:
        """Send the request through `handler`, and once or twice more if it is challenged."""
        url = request.url
        if self._anchor is None:
            self._anchor = url.origin()
        if not self._speaks_for(url):
            return await handler(request)
        session = self._session_for(request)
        # One answer to a challenge, and one more if that is what its nonce was too old for.
        answers_left = 2
        if session is not None:
            answers_left = 1
            await self._authorize(request, session)
        guessed = session is not None
        response = await handler(request)
        while response.status == 401 and answers_left:
            challenge = digest_challenge(
                parse_challenges(response.headers.getall(hdrs.WWW_AUTHENTICATE, []))
            )
            if challenge is None or not _deserves_answer(challenge, session, guessed=guessed):
                break
            answers_left -= 1
            guessed = False
            session = self._adopt(challenge, url)
            response.release()
            await self._authorize(request, session)
            response = await handler(request)
        self._note(response, url, session)
        return response

    # --- whom an answer is for -------------------------------------------------------------------

    def _speaks_for(self, url: URL) -> bool:
        anchor = self._anchor
        return anchor is not None and (
            same_origin(anchor, url) or any(space.covers(url) for space in self._anchor_spaces)
        )

    def _session_for(self, request: ClientRequest) -> _Session | None:
        """The session to answer from before being asked; None without one for this URL."""
        if not self._preemptive or self._anchor is None:
            return None
        # The caller's own credentials go first. An answer of ours may be left from the hop before.
        present = request.headers.get(hdrs.AUTHORIZATION, "Digest ")
        if present[:7].lower() != "digest ":
            return None
        for origin in (_origin(request.url), _origin(self._anchor)):
            session = self._sessions.get(origin)
            if session is not None and any(space.covers(request.url) for space in session.spaces):
                return session
        return None

    # --- answers -------------------------------------------------------------------------------

    def _adopt(self, challenge: DigestChallenge, url: URL) -> _Session:
        """The session for a challenge that came in answer to a request for `url`."""
        origin = _origin(url)
        spaces = _spaces(url, challenge.domain)
        if self._anchor is not None and same_origin(self._anchor, url):
            self._anchor_spaces = spaces
        else:
            # Only the first origin may say who else is to be trusted.
            spaces = tuple(space for space in spaces if same_origin(space.root, url))
        session = self._sessions.get(origin)
        if session is not None and session.same_nonce(challenge):
            # The count goes on.
            session.challenge, session.spaces = challenge, spaces
            return session
        cnonce = os.urandom(_CNONCE_SIZE).hex()
        key = digest_key(challenge, self._login, self._password, cnonce)
        session = self._sessions[origin] = _Session(challenge, key, cnonce, spaces)
        return session

    async def _authorize(self, request: ClientRequest, session: _Session) -> None:
        challenge, count = session.take()
        content = b""
        if challenge.qop == "auth-int":
            body = request.body
            content = body if isinstance(body, bytes) else await body.as_bytes()
        request.headers[hdrs.AUTHORIZATION] = digest_authorization(
            challenge,
            login=self._login,
            key=session.key,
            method=request.method,
            target=request.url.raw_path_qs,
            count=count,
            cnonce=session.cnonce,
            content=content,
        )

    def _note(self, response: ClientResponse, url: URL, session: _Session | None) -> None:
        """Learn from the last response to what `session` answered."""
        if session is None:
            return
        if response.status == 401:
            for origin in [key for key, kept in self._sessions.items() if kept is session]:
                del self._sessions[origin]
            return
        info = response.headers.get(hdrs.AUTHENTICATION_INFO)
        if info and (nonce := parse_auth_parameters(info).get("nextnonce")):
            session.renew(nonce)


def _deserves_answer(
    challenge: DigestChallenge, answered: _Session | None, *, guessed: bool
) -> bool:
    """Whether to answer, after the last request had an answer from `answered`.

    `guessed` says that nobody had asked for that one.
    """
    if answered is None or challenge.stale:
        return True
    # Refused, and not for its age: the same again would be refused again.
    return guessed and not answered.same_nonce(challenge)


def _origin(url: URL) -> _Origin:
    return url.scheme, url.raw_host, url.port
