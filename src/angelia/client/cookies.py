"""Cookie jars: which cookies are kept, and which go with a request (RFC 6265 §5.3, §5.4).

Owns: storage, limits, expiry, and saving. The grammar is `core.cookies`'. Knows nothing of requests
but their URL.

Cookies lie by domain, so that a request looks only at its host's domain and those above it: what
other domains have costs it nothing. Expiry costs no timer; it is looked at when a cookie is.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.cookies
import io
import ipaddress
import json
import logging
import os
import pathlib
import pickle
import tempfile
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from http.cookies import BaseCookie, Morsel, SimpleCookie
from types import MappingProxyType
from typing import Any, Final

from yarl import URL

from angelia.core.cookies import (
    default_path,
    domain_matches,
    make_morsel,
    pairs_of,
    parse_set_cookies,
    path_matches,
    quoted,
)
from angelia.core.fields import parse_http_date

__all__ = ("AbstractCookieJar", "CookieJar", "DummyCookieJar", "request_cookie_header")

logger = logging.getLogger("angelia.client")

# RFC 6265bis §5.7 asks for at least 50 per domain and 3000 in all; browsers keep 180 and 3300.
MAX_PER_DOMAIN: Final = 180
MAX_TOTAL: Final = 3300
# One response may set so many, as in browsers' networks.
MAX_PER_RESPONSE: Final = 50
# What one request carries: servers refuse heads beyond 8 KiB.
MAX_PER_REQUEST: Final = 150
MAX_HEADER_SIZE: Final = 8190

# Names that promise how a cookie was set (RFC 6265bis §4.1.3).
SECURE_PREFIX: Final = "__secure-"
HOST_PREFIX: Final = "__host-"

# The year 9999, in seconds: no deadline is beyond it, whatever Max-Age says.
MAX_TIME: Final = 253402300799.0

SECURE_SCHEMES: Final = frozenset({"https", "wss"})


class AbstractCookieJar(Sized, Iterable[Morsel[str]]):
    """What a session needs of a cookie jar."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop if loop is not None else asyncio.get_running_loop()

    @property
    def cookies(self) -> Mapping[tuple[str, str], SimpleCookie]:
        """The cookies by domain and path; a copy."""
        return MappingProxyType({})

    @property
    def host_only_cookies(self) -> frozenset[tuple[str, str]]:
        """Domain and name of those cookies that go back only to the host that set them."""
        return frozenset()

    @property
    def quote_cookie(self) -> bool:
        """Whether values are quoted where RFC 6265 wants it."""
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
        """Take over what `Set-Cookie` fields say."""
        morsels = parse_set_cookies(headers[:MAX_PER_RESPONSE])
        ignored = len(headers) - len(morsels)
        if ignored:
            logger.warning("%d cookies of %s were not accepted", ignored, response_url.host)
        for morsel in morsels:
            self.update_cookies([(morsel.key, morsel)], response_url)

    @abstractmethod
    def filter_cookies(self, request_url: URL) -> BaseCookie[str]:
        """The cookies that go with a request."""

    def header_for(self, url: URL, cookies: Any = None) -> str:
        """The value of a request's `Cookie` field: the jar's cookies and those of the request.

        Those of the request win over the jar's of the same name, and are not kept.
        """
        chosen: dict[str, str] = {
            morsel.key: morsel.coded_value for morsel in self.filter_cookies(url).values()
        }
        chosen.update(self._acceptable(url, cookies))
        return _header(chosen)

    def _acceptable(self, url: URL, cookies: Any) -> list[tuple[str, str]]:
        """The cookies of one request, as far as they may go with it."""
        if not cookies:
            return []
        host = url.raw_host or ""
        if _is_address(host) and not self.unsafe:
            return []
        pairs = []
        for name, value in pairs_of(cookies):
            if isinstance(value, Morsel):
                if value["secure"] and not self._is_secure(url):
                    continue
                pairs.append((name, value.coded_value))
            else:
                pairs.append((name, quoted(str(value)) if self.quote_cookie else str(value)))
        return pairs

    def _is_secure(self, url: URL) -> bool:
        if url.scheme in SECURE_SCHEMES:
            return True
        origins = self.treat_as_secure_origin
        return bool(origins) and url.absolute and url.origin() in origins


def request_cookie_header(cookies: Any) -> str:
    """The value of a `Cookie` field for `cookies`, where no jar has a say."""
    return _header(
        {
            name: value.coded_value if isinstance(value, Morsel) else quoted(str(value))
            for name, value in pairs_of(cookies)
        }
    )


def _header(chosen: Mapping[str, str]) -> str:
    parts: list[str] = []
    size = 0
    for name, value in chosen.items():
        part = f"{name}={value}"
        size += len(part) + 2
        if len(parts) >= MAX_PER_REQUEST or size > MAX_HEADER_SIZE:
            break
        parts.append(part)
    return "; ".join(parts)


def _is_address(host: str) -> bool:
    # An address has a colon, or ends with a digit; names of hosts do not (RFC 1123 §2.1).
    if ":" not in host and not host[-1:].isdigit():
        return False
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


class _Cookie:
    """A stored cookie. `expires` is absolute, in seconds since 1970; None for the session."""

    __slots__ = ("domain", "expires", "host_only", "morsel", "path", "secure", "used")

    def __init__(
        self,
        morsel: Morsel[str],
        *,
        domain: str,
        path: str,
        host_only: bool,
        expires: float | None,
        used: float,
    ) -> None:
        self.morsel = morsel
        self.domain = domain
        self.path = path
        self.host_only = host_only
        self.expires = expires
        self.secure = bool(morsel["secure"])
        self.used = used


class CookieJar(AbstractCookieJar):
    """Keeps cookies as RFC 6265 says, in memory; `save` and `load` keep them in a file.

    - `unsafe`: accept cookies of hosts that are IP addresses;
    - `quote_cookie`: quote values that need it, as RFC 2109 did;
    - `treat_as_secure_origin`: origins (str or URL, one or several) that get secure cookies
      without TLS;
    - `max_per_domain`, `max_cookies`: limits, 180 and 3300; beyond them expired cookies are evicted
      first, then those that are not secure, then those used longest ago; ours.

    RuntimeError where no event loop runs.
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
    ) -> None:
        super().__init__(loop=loop)
        self._unsafe = unsafe
        self._quote = quote_cookie
        if treat_as_secure_origin is None:
            origins: Iterable[str | URL] = ()
        elif isinstance(treat_as_secure_origin, str | URL):
            origins = (treat_as_secure_origin,)
        else:
            origins = treat_as_secure_origin
        self._secure_origins = frozenset(URL(origin).origin() for origin in origins)
        self._max_per_domain = max_per_domain
        self._max_cookies = max_cookies
        # By domain, then by path and name. Shared cookies have the domain "".
        self._domains: dict[str, dict[tuple[str, str], _Cookie]] = {}
        self._count = 0
        self._now: Callable[[], float] = time.time

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._count} cookies of {len(self._domains)} domains>"

    @property
    def quote_cookie(self) -> bool:
        return self._quote

    @property
    def unsafe(self) -> bool:
        return self._unsafe

    @property
    def treat_as_secure_origin(self) -> frozenset[URL]:
        return self._secure_origins

    @property
    def cookies(self) -> Mapping[tuple[str, str], SimpleCookie]:
        found: dict[tuple[str, str], SimpleCookie] = {}
        for cookie in self._live():
            jar = found.setdefault((cookie.domain, cookie.path), SimpleCookie())
            dict.__setitem__(jar, cookie.morsel.key, cookie.morsel.copy())
        return MappingProxyType(found)

    @property
    def host_only_cookies(self) -> frozenset[tuple[str, str]]:
        return frozenset((c.domain, c.morsel.key) for c in self._live() if c.host_only and c.domain)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Morsel[str]]:
        return iter([cookie.morsel for cookie in self._live()])

    def _live(self) -> list[_Cookie]:
        self._drop_expired()
        return [cookie for cookies in self._domains.values() for cookie in cookies.values()]

    # --- taking over ---------------------------------------------------------------------------

    def update_cookies(self, cookies: Any, response_url: URL = URL()) -> None:  # noqa: B008 - as above
        host = (response_url.raw_host or "").lower().rstrip(".")
        if host and _is_address(host) and not self._unsafe:
            return
        for name, value in pairs_of(cookies):
            if isinstance(value, Morsel):
                morsel = value.copy()
            else:
                text = str(value)
                morsel = make_morsel(name, text, quoted(text) if self._quote else text)
            self._store(morsel, host, response_url)

    def _store(self, morsel: Morsel[str], host: str, url: URL) -> None:
        now = self._now()
        domain = morsel["domain"].lower().lstrip(".").rstrip(".")
        host_only = not domain
        if host_only:
            domain = host
        elif host and not self._may_set(domain, host):
            return
        elif domain == host and _is_address(host):
            host_only = True
        path = morsel["path"]
        if not path.startswith("/"):
            path = default_path(url.raw_path) if host else "/"
        if host and not self._keeps_promises(morsel, host_only, path, url):
            return
        morsel["domain"], morsel["path"] = domain, path
        cookies = self._domains.setdefault(domain, {})
        key = (path, morsel.key)
        expires = self._deadline(morsel, now)
        if expires is not None and expires <= now:
            if cookies.pop(key, None) is not None:
                self._count -= 1
            if not cookies:
                del self._domains[domain]
            return
        if key not in cookies:
            self._count += 1
        cookies[key] = _Cookie(
            morsel, domain=domain, path=path, host_only=host_only, expires=expires, used=now
        )
        if len(cookies) > self._max_per_domain:
            self._evict(list(cookies.values()), now)
        if self._count > self._max_cookies:
            self._evict([c for group in self._domains.values() for c in group.values()], now)

    @staticmethod
    def _may_set(domain: str, host: str) -> bool:
        if domain == host:
            return True
        # RFC 6265 §5.3 (5): nobody speaks for a public suffix; a single label always is one.
        return "." in domain and not _is_address(host) and domain_matches(domain, host)

    def _keeps_promises(self, morsel: Morsel[str], host_only: bool, path: str, url: URL) -> bool:
        secure = bool(morsel["secure"])
        # RFC 6265bis §5.7: a secure cookie comes over TLS.
        if secure and not self._is_secure(url):
            return False
        name = morsel.key.lower()
        if name.startswith(SECURE_PREFIX):
            return secure
        if name.startswith(HOST_PREFIX):
            return secure and host_only and path == "/"
        return True

    @staticmethod
    def _deadline(morsel: Morsel[str], now: float) -> float | None:
        # RFC 6265 §5.3 (3): Max-Age wins over Expires.
        text = str(morsel["max-age"])
        if text:
            digits = text.removeprefix("-")
            if digits.isascii() and digits.isdigit():
                if text.startswith("-") or not digits.strip("0"):
                    return 0.0
                return min(now + int(digits[:12]), MAX_TIME)
            morsel["max-age"] = ""
        if morsel["expires"]:
            date = parse_http_date(morsel["expires"])
            if date is not None:
                return date.timestamp()
            morsel["expires"] = ""
        return None

    def _evict(self, candidates: list[_Cookie], now: float) -> None:
        """Drop the least worth of `candidates`."""
        victim = min(
            candidates,
            key=lambda c: (c.expires is None or c.expires > now, c.secure, c.used),
        )
        self._remove(victim)

    def _remove(self, cookie: _Cookie) -> None:
        cookies = self._domains.get(cookie.domain)
        if cookies is not None and cookies.pop((cookie.path, cookie.morsel.key), None) is not None:
            self._count -= 1
            if not cookies:
                del self._domains[cookie.domain]

    def _drop_expired(self) -> None:
        now = self._now()
        expired = [
            cookie
            for cookies in self._domains.values()
            for cookie in cookies.values()
            if cookie.expires is not None and cookie.expires <= now
        ]
        for cookie in expired:
            self._remove(cookie)

    # --- choosing ------------------------------------------------------------------------------

    def filter_cookies(self, request_url: URL | str = URL()) -> BaseCookie[str]:  # noqa: B008 - as above
        """The cookies that go with a request; the one with the longest path for each name."""
        url = URL(request_url)
        chosen: SimpleCookie = SimpleCookie()
        for cookie in self._matching(url):
            morsel = make_morsel(cookie.morsel.key, cookie.morsel.value, self._coded(cookie.morsel))
            dict.__setitem__(chosen, morsel.key, morsel)
        return chosen

    def header_for(self, url: URL, cookies: Any = None) -> str:
        chosen: dict[str, str] = {}
        if self._count:
            for cookie in self._matching(url):
                chosen[cookie.morsel.key] = self._coded(cookie.morsel)
        chosen.update(self._acceptable(url, cookies))
        return _header(chosen) if chosen else ""

    def _coded(self, morsel: Morsel[str]) -> str:
        # What the server sent goes back as it came.
        return morsel.coded_value if self._quote else morsel.coded_value or morsel.value

    def _matching(self, url: URL) -> list[_Cookie]:
        """The cookies for `url`, those with shorter paths first."""
        host = (url.raw_host or "").lower().rstrip(".")
        domains = [""]
        if host and not _is_address(host):
            labels = host.split(".")
            domains += [".".join(labels[start:]) for start in range(len(labels))]
        elif host and self._unsafe:
            domains.append(host)
        elif host:
            return []
        now = self._now()
        secure = self._is_secure(url)
        path = url.raw_path
        found: list[_Cookie] = []
        expired: list[_Cookie] = []
        for domain in domains:
            for cookie in self._domains.get(domain, {}).values():
                if cookie.expires is not None and cookie.expires <= now:
                    expired.append(cookie)
                elif (
                    (not cookie.host_only or domain in ("", host))
                    and (secure or not cookie.secure)
                    and path_matches(cookie.path, path)
                ):
                    cookie.used = now
                    found.append(cookie)
        for cookie in expired:
            self._remove(cookie)
        found.sort(key=lambda cookie: (cookie.domain != "", len(cookie.path)))
        return found

    # --- forgetting ----------------------------------------------------------------------------

    def clear(self, predicate: Callable[[Morsel[str]], bool] | None = None) -> None:
        if predicate is None:
            self._domains.clear()
            self._count = 0
            return
        for cookie in self._live():
            if predicate(cookie.morsel):
                self._remove(cookie)

    def clear_domain(self, domain: str) -> None:
        domain = domain.lower().lstrip(".")
        for known in list(self._domains):
            if domain_matches(domain, known):
                self._count -= len(self._domains.pop(known))

    # --- files ---------------------------------------------------------------------------------

    def save(self, file_path: str | os.PathLike[str]) -> None:
        """Write the cookies to a file as JSON, readable only by its owner. Blocks."""
        rows = [
            {
                "name": cookie.morsel.key,
                "value": cookie.morsel.value,
                "coded_value": cookie.morsel.coded_value,
                "domain": cookie.domain,
                "path": cookie.path,
                "host_only": cookie.host_only,
                "expires": cookie.expires,
                "attributes": {k: v for k, v in cookie.morsel.items() if v},
            }
            for cookie in self._live()
        ]
        path = pathlib.Path(file_path)
        # mkstemp makes files that only their owner can read.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"version": 1, "cookies": rows}, file)
            pathlib.Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                pathlib.Path(temporary).unlink()
            raise

    def load(self, file_path: str | os.PathLike[str]) -> None:
        """Replace the cookies by those of a file; on an error they stay as they were. Blocks.

        Reads what `save` writes, and old pickles, as far as those hold cookies and nothing else.
        ValueError or `pickle.UnpicklingError` for other content.
        """
        content = pathlib.Path(file_path).read_bytes()
        stored = _from_json(content) if content[:1] == b"{" else _from_pickle(content)
        domains: dict[str, dict[tuple[str, str], _Cookie]] = {}
        now = self._now()
        for cookie in stored:
            if cookie.expires is None:
                cookie.expires = self._deadline(cookie.morsel, now)
            if cookie.expires is None or cookie.expires > now:
                domains.setdefault(cookie.domain, {})[cookie.path, cookie.morsel.key] = cookie
        self._domains = domains
        self._count = sum(map(len, domains.values()))


def _from_json(content: bytes) -> list[_Cookie]:
    try:
        rows = json.loads(content)["cookies"]
        cookies = []
        for row in rows:
            morsel = make_morsel(str(row["name"]), str(row["value"]), str(row["coded_value"]))
            for name, value in row["attributes"].items():
                morsel[name] = value
            expires = row["expires"]
            cookies.append(
                _Cookie(
                    morsel,
                    domain=str(row["domain"]),
                    path=str(row["path"]),
                    host_only=bool(row["host_only"]),
                    expires=None if expires is None else float(expires),
                    used=0.0,
                )
            )
    except (KeyError, TypeError, AttributeError, http.cookies.CookieError) as error:
        raise ValueError(f"not a file of cookies: {error!r}") from error
    return cookies


class _CookieUnpickler(pickle.Unpickler):
    """Builds cookies and the containers around them, and nothing else."""

    _ALLOWED: Final = frozenset(
        {
            ("http.cookies", "SimpleCookie"),
            ("http.cookies", "BaseCookie"),
            ("http.cookies", "Morsel"),
            ("collections", "defaultdict"),
        }
    )

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) in self._ALLOWED:
            return super().find_class(module_name, global_name)
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is no part of a cookie")


def _from_pickle(content: bytes) -> list[_Cookie]:
    try:
        loaded = _CookieUnpickler(io.BytesIO(content)).load()
        cookies = []
        for (domain, path), jar in loaded.items():
            for morsel in jar.values():
                if not isinstance(morsel, Morsel):
                    raise TypeError("not a cookie")  # noqa: TRY301 - told as any other nonsense
                own_domain = morsel["domain"] or domain
                cookies.append(
                    _Cookie(
                        morsel,
                        domain=str(own_domain),
                        path=str(path) or "/",
                        host_only=not morsel["domain"],
                        expires=None,
                        used=0.0,
                    )
                )
    except (EOFError, AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"not a file of cookies: {error!r}") from error
    return cookies


class DummyCookieJar(AbstractCookieJar):
    """Keeps no cookies; the ones that a request gives are sent all the same."""

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
