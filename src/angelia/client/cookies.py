"""Cookie jars: which cookies are taken over, and which go with a request (RFC 6265 §5.3, §5.4).

Owns: that policy, and the public face of jars. The grammar is `core.cookies`', the index with its
limits `cookie_store`'s, the formats of files `cookie_files`', and the cookies that one request
brings along `request_cookies`'. Knows nothing of requests but their URL.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from http.cookies import BaseCookie, Morsel, SimpleCookie
from types import MappingProxyType
from typing import Any, Final

from yarl import URL

from angelia.client.cookie_store import MAX_PER_DOMAIN, MAX_TOTAL, CookieStore, StoredCookie
from angelia.client.request_cookies import (
    MAX_HEADER_SIZE,
    MAX_PER_REQUEST,
    SECURE_SCHEMES,
    domain_of,
    host_of,
    join_cookies,
    origin_of,
    origins_of,
    path_of,
    request_cookie_header,
    request_cookies,
)
from angelia.core.cookies import (
    MAX_COOKIE_SIZE,
    breaks_promise,
    deadline_of,
    default_path,
    domain_chain,
    domain_matches,
    is_address,
    is_public_suffix,
    make_morsel,
    morsels_of,
    octets,
    parse_set_cookie,
    path_matches,
    serialize_cookie_header,
    wire_value,
)
from angelia.core.deprecation import warn_loop_argument

__all__ = (
    "AbstractCookieJar",
    "CookieJar",
    "DummyCookieJar",
    "has_own_filter",
    "request_cookie_header",
    "request_cookies",
)

logger = logging.getLogger("angelia.client")

# One response may set so many, as in browsers' networks.
MAX_PER_RESPONSE: Final = 50
# What was chosen is kept for so many URLs.
MAX_KNOWN: Final = 256
# How much of a peer's text one line of the log may hold.
MAX_LOGGED: Final = 64


class AbstractCookieJar(Sized, Iterable[Morsel[str]]):
    """What a session needs of a cookie jar.

    - `loop`: the event loop, by default the running one; deprecated. RuntimeError without either.
    """

    def __init__(self, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        if loop is not None:
            warn_loop_argument(self)
        self._loop = asyncio.get_running_loop() if loop is None else loop

    @property
    def cookies(self) -> Mapping[tuple[str, str], SimpleCookie]:
        """The cookies by domain and path, the path without its last slash; a copy."""
        return MappingProxyType({})

    @property
    def host_only_cookies(self) -> frozenset[tuple[str, str, str]]:
        """Domain, path and name of the cookies that only go back to the very host that set them.

        The path is without its last slash, as in `cookies`.
        """
        return frozenset()

    @property
    def quote_cookie(self) -> bool:
        """Whether values that a user gives are quoted, as RFC 2109 wants it."""
        return True

    @property
    def unsafe(self) -> bool:
        """Whether hosts that are IP addresses may have cookies."""
        return False

    @property
    def treat_as_secure_origin(self) -> frozenset[URL]:
        """Origins that get secure cookies without TLS."""
        return frozenset()

    @abstractmethod
    def clear(self, predicate: Callable[[Morsel[str]], bool] | None = None) -> None:
        """Forget all cookies, or those for which `predicate` is true."""

    @abstractmethod
    def clear_domain(self, domain: str) -> None:
        """Forget the cookies of a domain and of those below it."""

    @abstractmethod
    def update_cookies(self, cookies: Any, response_url: URL = URL()) -> None:  # noqa: B008 - a URL is immutable
        """Take cookies over: those of a response, or, without a URL, for all hosts."""

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: URL) -> None:
        """Take over what the `Set-Cookie` fields of one response say, at most 50 of them.

        What cannot be read is left out, and told to the log in one line.
        """
        morsels = []
        ignored = []
        for line in headers[:MAX_PER_RESPONSE]:
            morsel = parse_set_cookie(line)
            if morsel is None:
                ignored.append(line)
            else:
                morsels.append((morsel.key, morsel))
        ignored += headers[MAX_PER_RESPONSE:]
        if ignored:
            # No value of a cookie: it may be a secret.
            logger.warning(
                "%d of %d cookies from %.*s were ignored, the first: %r",
                len(ignored),
                len(headers),
                MAX_LOGGED,
                response_url.raw_host,
                ignored[0].partition("=")[0][:MAX_LOGGED],
            )
        if morsels:
            self.update_cookies(morsels, response_url)

    @abstractmethod
    def filter_cookies(self, request_url: URL) -> BaseCookie[str]:
        """The cookies that go with a request, without attributes."""

    def header_for(self, url: URL, cookies: Any = None) -> str:
        """The value of a request's `Cookie` field; empty without any cookie.

        - `url`: where the request goes;
        - `cookies`: those of this request only; they win over the jar's of the same name, always
          are sent, and are not kept. `http.cookies.CookieError` or ValueError where a field cannot
          hold them.

        The jar adds its own up to 150 cookies and 8190 octets in all.
        """
        own = self._own(url, cookies) if cookies else {}
        found = [(morsel.key, morsel.coded_value) for morsel in self.filter_cookies(url).values()]
        return join_cookies(found, own)

    def _own(self, url: URL, cookies: Any) -> dict[str, str]:
        return request_cookies(
            cookies,
            url,
            quote_cookie=self.quote_cookie,
            unsafe=self._sends_to_addresses,
            is_secure=self._is_secure(url),
        )

    @property
    def _sends_to_addresses(self) -> bool:
        return self.unsafe

    def _is_secure(self, url: URL) -> bool:
        if url.scheme in SECURE_SCHEMES:
            return True
        origins = self.treat_as_secure_origin
        return bool(origins) and url.raw_host is not None and origin_of(url) in origins


class CookieJar(AbstractCookieJar):
    """Keeps cookies as RFC 6265bis says, in memory; `save` and `load` keep them in a file.

    - `unsafe`: accept cookies of hosts that are IP addresses;
    - `quote_cookie`: quote values that a user gives and that are no tokens, as RFC 2109 did. What
      a server sent goes back octet for octet, quoted or not;
    - `treat_as_secure_origin`: origins (str or URL, one or several) that may set and get secure
      cookies without TLS;
    - `loop`: deprecated;
    - `max_per_domain`, `max_cookies`: limits, 180 and 3300; beyond them expired cookies are evicted
      first, then those that are not secure, then those used longest ago. Ours;
    - `public_suffix`: says of a domain in lower case whether nobody may set cookies for all of it
      (RFC 6265 §5.3 (5)). By default such are single labels and those like ``co.uk``. Ours.

    A secure cookie can neither be set nor be replaced without TLS, and names with the prefixes
    ``__Secure-`` and ``__Host-`` are kept to their promises. RuntimeError where no event loop runs.
    """

    def __init__(
        self,
        *,
        unsafe: bool = False,
        quote_cookie: bool = True,
        treat_as_secure_origin: str | URL | Iterable[str | URL] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        max_per_domain: int = MAX_PER_DOMAIN,
        max_cookies: int = MAX_TOTAL,
        public_suffix: Callable[[str], bool] = is_public_suffix,
    ) -> None:
        super().__init__(loop=loop)
        if max_per_domain < 1 or max_cookies < 1:
            raise ValueError("a jar holds at least one cookie")
        self._unsafe = unsafe
        self._quote = quote_cookie
        self._secure_origins = origins_of(treat_as_secure_origin)
        self._is_public_suffix = public_suffix
        self._store = CookieStore(max_per_domain, max_cookies)
        self._now: Callable[[], float] = time.time
        # What was chosen for a URL, until the store changes.
        self._known: dict[URL, tuple[tuple[StoredCookie, ...], str]] = {}
        self._known_version = 0

    @property
    def unsafe(self) -> bool:
        return self._unsafe

    @property
    def quote_cookie(self) -> bool:
        return self._quote

    @property
    def treat_as_secure_origin(self) -> frozenset[URL]:
        return self._secure_origins

    @property
    def cookies(self) -> Mapping[tuple[str, str], SimpleCookie]:
        found: dict[tuple[str, str], SimpleCookie] = {}
        for cookie in self._live():
            group = found.setdefault((cookie.domain, cookie.path.rstrip("/")), SimpleCookie())
            # Without SimpleCookie's check of the name.
            dict.__setitem__(group, cookie.name, cookie.morsel.copy())
        return MappingProxyType(found)

    @property
    def host_only_cookies(self) -> frozenset[tuple[str, str, str]]:
        return frozenset(
            (cookie.domain, cookie.path.rstrip("/"), cookie.name)
            for cookie in self._live()
            if cookie.host_only
        )

    def __bool__(self) -> bool:
        # Sessions ask before each request: a jar that never had a cookie answers at once.
        return self._store.count > 0 and len(self) > 0

    def __len__(self) -> int:
        if self._store.has_deadlines:
            self._store.expire(self._now())
        return len(self._store)

    def __iter__(self) -> Iterator[Morsel[str]]:
        return iter([cookie.morsel for cookie in self._live()])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {len(self)} cookies>"

    def _live(self) -> list[StoredCookie]:
        self._store.expire(self._now())
        return list(self._store)

    # --- taking over ---------------------------------------------------------------------------

    def update_cookies(self, cookies: Any, response_url: URL | str | None = URL()) -> None:  # noqa: B008 - as above
        """Take cookies over: those of a response, or, without a URL, for all hosts.

        - `cookies`: a mapping, `SimpleCookie` included, an iterable of pairs or of morsels, or one
          morsel; morsels are copied.

        What the host of `response_url` may not set is left out. `http.cookies.CookieError` or
        ValueError where no field can hold a name or a value.
        """
        # The documentation names None for "no URL", too.
        url = URL() if response_url is None else URL(response_url)
        host = host_of(url)
        if host and not self._unsafe and is_address(host):
            return
        now = self._now()
        self._store.expire(now)
        for name, value in morsels_of(cookies):
            coded = wire_value(value, quote=self._quote)
            morsel = value.copy() if isinstance(value, Morsel) else make_morsel(name, value, coded)
            self._take(morsel, coded, url, host, now)

    def _take(self, morsel: Morsel[str], coded: str, url: URL, host: str, now: float) -> None:
        """Keep one cookie, or forget it if it says so, as far as `host` may do that."""
        scope = self._scope(morsel, host)
        if scope is None:
            return
        domain, host_only = scope
        path = morsel["path"]
        if not path.startswith("/"):
            path = default_path(url.raw_path) if host else "/"
        if host and not self._may_set(morsel, coded, url, host, path):
            return
        morsel["domain"], morsel["path"] = domain, path
        expires = deadline_of(morsel, now)
        if expires is not None and expires <= now:
            self._store.discard(domain, path, morsel.key)
            return
        cookie = StoredCookie(
            morsel, coded=coded, domain=domain, path=path, host_only=host_only, expires=expires
        )
        self._store.add(cookie, now)

    def _scope(self, morsel: Morsel[str], host: str) -> tuple[str, bool] | None:
        """A cookie's domain, and whether it is for that host only; None where it is refused."""
        domain = domain_of(morsel)
        if domain is None:
            return None
        if not host or not domain:
            # Without either all hosts get it.
            return domain or host, not domain and bool(host)
        if not domain_matches(domain, host):
            return None
        if is_address(host):
            return host, True
        # RFC 6265 §5.3 (5): nobody speaks for a public suffix, but a host that is one for itself.
        if self._is_public_suffix(domain):
            return (host, True) if domain == host else None
        return domain, False

    def _may_set(self, morsel: Morsel[str], coded: str, url: URL, host: str, path: str) -> bool:
        """Whether a host may set a cookie of its own domain (RFC 6265bis §5.7)."""
        if octets(morsel.key) + octets(coded) > MAX_COOKIE_SIZE:
            return False
        secure = bool(morsel["secure"])
        if breaks_promise(
            morsel.key, secure=secure, host_only=not morsel["domain"], path=morsel["path"]
        ):
            return False
        # Steps 8 and 16: what concerns secure cookies has to come over TLS.
        return self._is_secure(url) or not (secure or self._hides(morsel.key, host, path))

    def _hides(self, name: str, host: str, path: str) -> bool:
        """Whether a secure cookie would be hidden by one of that name that is not.

        RFC 6265bis §5.7 (16): who cannot read it, since there is no TLS, may not stand in for it.
        """
        for domain in domain_chain(host):
            for cookie in (self._store.of_domain(domain) or {}).values():
                if cookie.secure and cookie.name == name and path_matches(cookie.path, path):
                    return True
        return False

    # --- choosing ------------------------------------------------------------------------------

    def filter_cookies(self, request_url: URL | str = URL()) -> BaseCookie[str]:  # noqa: B008 - as above
        """The cookies that go with a request, without attributes: up to 150, and 8190 octets.

        Of several with one name it is the one with the longest path; of those, the one with the
        longest domain.
        """
        chosen: SimpleCookie = SimpleCookie()
        room, number = MAX_HEADER_SIZE + 2, MAX_PER_REQUEST
        for cookie in self._matching(URL(request_url)).values():
            if cookie.size + 2 <= room and number:
                morsel = make_morsel(cookie.name, cookie.morsel.value, cookie.coded)
                # Without SimpleCookie's check of the name.
                dict.__setitem__(chosen, cookie.name, morsel)
                room -= cookie.size + 2
                number -= 1
        return chosen

    def header_for(self, url: URL, cookies: Any = None) -> str:
        if has_own_filter(self):
            return super().header_for(url, cookies)
        own = self._own(url, cookies) if cookies else {}
        store = self._store
        if store.has_deadlines:
            store.expire(self._now())
        if not store:
            return serialize_cookie_header(own.items()) if own else ""
        if self._known_version != store.version:
            self._known.clear()
            self._known_version = store.version
        known = self._known.get(url)
        if known is not None and not own:
            for cookie in known[0]:
                store.touch(cookie)
            return known[1]
        found = self._matching(url)
        header = join_cookies([(name, cookie.coded) for name, cookie in found.items()], own)
        if not own:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[url] = tuple(found.values()), header
        return header

    def _matching(self, url: URL) -> dict[str, StoredCookie]:
        """The cookies for `url` by name, those with the longest path first (RFC 6265 §5.4)."""
        store = self._store
        if store.has_deadlines:
            store.expire(self._now())
        host = host_of(url)
        domains = domain_chain(host) if self._unsafe or not is_address(host) else []
        path = path_of(url)
        is_secure: bool | None = None
        found: list[StoredCookie] = []
        for domain in ("", *domains) if host else ("",):
            group = store.of_domain(domain)
            if group is None:
                continue
            if is_secure is None:
                is_secure = self._is_secure(url)
            found += [
                cookie
                for cookie in group.values()
                if (is_secure or not cookie.secure)
                and (not cookie.host_only or domain == host or not domain)
                and path_matches(cookie.path, path)
            ]
        if len(found) > 1:
            found.sort(key=_precedence)
        chosen: dict[str, StoredCookie] = {}
        for cookie in found:
            if chosen.setdefault(cookie.name, cookie) is cookie:
                store.touch(cookie)
        return chosen

    # --- forgetting ----------------------------------------------------------------------------

    def clear(self, predicate: Callable[[Morsel[str]], bool] | None = None) -> None:
        """Forget all cookies, or those for which `predicate` is true; none if it raises."""
        if predicate is None:
            self._store.clear()
            return
        for cookie in [cookie for cookie in self._live() if predicate(cookie.morsel)]:
            self._store.remove(cookie)

    def clear_domain(self, domain: str) -> None:
        """Forget the cookies of a domain and of those below it, but not those for all hosts."""
        domain = domain.lower().removeprefix(".").removesuffix(".")
        self._store.expire(self._now())
        for cookie in list(self._store):
            if cookie.domain and domain_matches(domain, cookie.domain):
                self._store.remove(cookie)

    # --- files ---------------------------------------------------------------------------------

    def save(self, file_path: str | os.PathLike[str]) -> None:
        """Write the cookies to a file as JSON, readable only by its owner; blocks.

        The file is replaced as a whole. Cookies of sessions are written too.
        """
        # Here, since few programs have cookies in files, and what writes them imports much.
        from angelia.client.cookie_files import save_cookies

        save_cookies(self._live(), file_path)

    def load(self, file_path: str | os.PathLike[str]) -> None:
        """Replace the cookies by those of a file; on an error they stay as they were. Blocks.

        Reads what `save` writes, and the files of aiohttp's jars: JSON, and the older pickles as
        far as those hold cookies and nothing else. A pickle does not say which cookies are for one
        host only; all of them are taken for such.

        ValueError or `pickle.UnpicklingError` for other content.
        """
        now = self._now()
        from angelia.client.cookie_files import load_cookies

        self._store.replace(load_cookies(file_path, now), now)


def _precedence(cookie: StoredCookie) -> tuple[bool, int, int, int]:
    # Those for all hosts last; RFC 6265 §5.4 (2): longer paths first, then the older cookie.
    return (not cookie.domain, -len(cookie.path), -len(cookie.domain), cookie.created)


class DummyCookieJar(AbstractCookieJar):
    """Keeps no cookies; the ones that a request gives are sent all the same, to all hosts."""

    def __iter__(self) -> Iterator[Morsel[str]]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def clear(self, predicate: Callable[[Morsel[str]], bool] | None = None) -> None:
        """Nothing to forget."""

    def clear_domain(self, domain: str) -> None:
        """Nothing to forget."""

    def update_cookies(self, cookies: Any, response_url: URL = URL()) -> None:  # noqa: B008 - as above
        """Nothing is kept."""

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: URL) -> None:
        """Nothing is parsed, nothing kept."""

    def filter_cookies(self, request_url: URL) -> BaseCookie[str]:
        return SimpleCookie()

    @property
    def _sends_to_addresses(self) -> bool:
        # Nothing is taken from any host, so no setting is there to protect one.
        return True


def has_own_filter(jar: AbstractCookieJar) -> bool:
    """Whether `filter_cookies` of a jar is its maker's: asked each time, however many it holds."""
    made_here = (CookieJar.filter_cookies, DummyCookieJar.filter_cookies)
    return type(jar).filter_cookies not in made_here
