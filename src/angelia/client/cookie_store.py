"""Where the cookies of a jar lie: by domain, in bounds, without those that have expired.

Owns: the index, the limits with their order of eviction, and expiry. Knows nothing of URLs, fields
or files; which cookie may be set or sent is the jar's policy. The time comes in as an argument.

A request looks at its host's domain and those above it only, so what other domains have costs it
nothing. Expiry costs no timer: deadlines lie in a heap that is looked at when the store is.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from http.cookies import Morsel
from typing import Final

from angelia.core.cookies import octets

__all__ = ("MAX_PER_DOMAIN", "MAX_TOTAL", "CookieStore", "StoredCookie")

# RFC 6265bis §6.1 asks for at least 50 per domain and 3000 in all; browsers keep 180 and 3300.
MAX_PER_DOMAIN: Final = 180
MAX_TOTAL: Final = 3300

# A heap keeps the deadlines of cookies that are gone; so many more than there are cookies.
_SPARE_DEADLINES: Final = 64


class StoredCookie:
    """A cookie with what decides whether it is sent.

    `coded` is its value as it is sent; `domain` is ``""`` for cookies that all hosts get;
    `expires` is absolute, in seconds since 1970, and None for the cookie of a session.
    """

    __slots__ = (
        "coded",
        "created",
        "domain",
        "expires",
        "host_only",
        "morsel",
        "name",
        "path",
        "secure",
        "size",
        "used",
    )

    def __init__(
        self,
        morsel: Morsel[str],
        *,
        coded: str,
        domain: str,
        path: str,
        host_only: bool,
        expires: float | None,
    ) -> None:
        self.morsel = morsel
        self.name = morsel.key
        self.coded = coded
        self.domain = domain
        self.path = path
        self.host_only = host_only
        self.expires = expires
        self.secure = bool(morsel["secure"])
        self.size = octets(self.name) + 1 + octets(coded)
        # When it was stored first, and used last, on the store's own clock: it counts.
        self.created = 0
        self.used = 0

    def __repr__(self) -> str:
        # No value: those of cookies are secrets.
        kind = "host-only" if self.host_only else "domain"
        return f"<StoredCookie {self.name} {self.domain}{self.path} {kind} {self.expires}>"


class CookieStore:
    """Cookies by domain, path and name.

    Over a limit there are evicted first the expired ones, then those that are not secure, and of
    these the least recently used (RFC 6265bis §5.7).
    """

    __slots__ = (
        "_clock",
        "_deadlines",
        "_domains",
        "_max_per_domain",
        "_max_total",
        "_plain",
        "_secure",
        "count",
        "version",
    )

    def __init__(self, max_per_domain: int = MAX_PER_DOMAIN, max_total: int = MAX_TOTAL) -> None:
        self._max_per_domain = max_per_domain
        self._max_total = max_total
        self._domains: dict[str, dict[tuple[str, str], StoredCookie]] = {}
        self.count = 0
        self._clock = 0
        # Another number whenever a cookie came or went.
        self.version = 0
        # Those that are evicted first come first.
        self._plain: OrderedDict[StoredCookie, None] = OrderedDict()
        self._secure: OrderedDict[StoredCookie, None] = OrderedDict()
        # The number tells apart those of one moment, so that cookies need no order.
        self._deadlines: list[tuple[float, int, StoredCookie]] = []

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[StoredCookie]:
        """All cookies, of which some may be gone before the iteration ends."""
        return iter([cookie for group in self._domains.values() for cookie in group.values()])

    @property
    def has_deadlines(self) -> bool:
        """Whether time may take something away."""
        return bool(self._deadlines)

    def of_domain(self, domain: str) -> Mapping[tuple[str, str], StoredCookie] | None:
        """The cookies of one domain by path and name; None without any."""
        return self._domains.get(domain)

    def domains(self) -> list[str]:
        """The domains that have cookies."""
        return list(self._domains)

    def add(self, cookie: StoredCookie, now: float) -> None:
        """Keep `cookie`, in the place of the one with its domain, path and name."""
        self.version += 1
        self._clock += 1
        cookie.created = cookie.used = self._clock
        key = (cookie.path, cookie.name)
        group = self._domains.setdefault(cookie.domain, {})
        old = group.get(key)
        if old is None:
            self.count += 1
        else:
            # RFC 6265 §5.3 (11.3): a cookie stays as old as it was.
            cookie.created = old.created
            self._order(old).pop(old)
        group[key] = cookie
        self._order(cookie)[cookie] = None
        if cookie.expires is not None:
            heapq.heappush(self._deadlines, (cookie.expires, self._clock, cookie))
            self._compact()
        if len(group) > self._max_per_domain or self.count > self._max_total:
            self._evict(group, now)

    def touch(self, cookie: StoredCookie) -> None:
        """Note that `cookie` is used."""
        self._clock += 1
        cookie.used = self._clock
        self._order(cookie).move_to_end(cookie)

    def remove(self, cookie: StoredCookie) -> None:
        """Forget a cookie that is there."""
        self.version += 1
        group = self._domains[cookie.domain]
        del group[cookie.path, cookie.name]
        del self._order(cookie)[cookie]
        self.count -= 1
        if not group:
            del self._domains[cookie.domain]

    def discard(self, domain: str, path: str, name: str) -> None:
        """Forget a cookie, if it is there."""
        cookie = self._domains.get(domain, {}).get((path, name))
        if cookie is not None:
            self.remove(cookie)

    def clear(self) -> None:
        """Forget all."""
        self.version += 1
        self._domains.clear()
        self._plain.clear()
        self._secure.clear()
        self._deadlines.clear()
        self.count = 0

    def expire(self, now: float) -> None:
        """Forget the cookies whose deadline has come."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= now:
            cookie = heapq.heappop(deadlines)[2]
            if self._has(cookie):
                self.remove(cookie)

    def replace(self, cookies: Iterable[StoredCookie], now: float) -> None:
        """Forget all, and keep `cookies` as far as they have not expired."""
        self.clear()
        for cookie in cookies:
            if cookie.expires is None or cookie.expires > now:
                self.add(cookie, now)

    def _order(self, cookie: StoredCookie) -> OrderedDict[StoredCookie, None]:
        return self._secure if cookie.secure else self._plain

    def _has(self, cookie: StoredCookie) -> bool:
        return cookie in self._order(cookie)

    def _evict(self, group: Mapping[tuple[str, str], StoredCookie], now: float) -> None:
        self.expire(now)
        while len(group) > self._max_per_domain:
            self.remove(min(group.values(), key=lambda cookie: (cookie.secure, cookie.used)))
        while self.count > self._max_total:
            self.remove(next(iter(self._plain or self._secure)))

    def _compact(self) -> None:
        """Drop the deadlines of cookies that are gone, once they are the larger part."""
        if len(self._deadlines) > 2 * self.count + _SPARE_DEADLINES:
            self._deadlines = [entry for entry in self._deadlines if self._has(entry[2])]
            heapq.heapify(self._deadlines)
