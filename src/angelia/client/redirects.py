"""Redirects: from a response to the next request, or to a refusal.

Owns the policy as pure functions: where a `Location` leads, with which method, which fields and
whether with the body (RFC 9110 §15.4). Knows nothing of connections, cookie jars or responses; the
session counts the hops, sends, and chooses cookies, credentials and proxies for each hop anew.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from multidict import CIMultiDict
from yarl import URL

from angelia import hdrs
from angelia.core.patterns import lazy
from angelia.errors import (
    InvalidURL,
    InvalidUrlRedirectClientError,
    NonHttpUrlRedirectClientError,
)
from angelia.net.addresses import check_host, check_port
from angelia.redaction import shown_url

__all__ = (
    "REDIRECT_STATUSES",
    "Redirect",
    "RedirectPolicy",
    "headers_after_redirect",
    "keeps_body",
    "next_hop",
    "redirect_target",
    "redirected_method",
    "same_origin",
)

# RFC 9110 §15.4: 300 leaves the choice to the user, 304 is no redirect, 305 and 306 are no more.
REDIRECT_STATUSES: Final = frozenset({301, 302, 303, 307, 308})

HTTP_SCHEMES: Final = frozenset({"http", "https"})


# --- methods and fields ------------------------------------------------------------------------


def redirected_method(status: int, method: str) -> str:
    """The method of the request that follows a redirect with `status`."""
    # RFC 9110 §15.4.4: 303 asks to fetch something else; HEAD asks for no more than its head.
    if status == 303:
        return method if method == hdrs.METH_HEAD else hdrs.METH_GET
    # §15.4.2, §15.4.3: for POST, and only for it, user agents have always done so.
    if status in (301, 302) and method == hdrs.METH_POST:
        return hdrs.METH_GET
    return method


def keeps_body(status: int, method: str) -> bool:
    """Whether the request that follows a redirect has the body of the one before."""
    return status != 303 and redirected_method(status, method) == method


# RFC 9110 §15.4 (2) leaves the choice to the user agent; what gives access stays with its origin,
# and a `Host` that was given for one origin names no other.
_OF_THE_ORIGIN: Final = (
    hdrs.AUTHORIZATION,
    hdrs.COOKIE,
    hdrs.PROXY_AUTHORIZATION,
    hdrs.HOST,
)

# RFC 9110 §15.4 (4), and §10.1.1: who sends no content expects no 100.
_OF_THE_BODY: Final = (
    hdrs.CONTENT_DIGEST,
    hdrs.CONTENT_DISPOSITION,
    hdrs.CONTENT_ENCODING,
    hdrs.CONTENT_LANGUAGE,
    hdrs.CONTENT_LENGTH,
    hdrs.CONTENT_LOCATION,
    hdrs.CONTENT_MD5,
    hdrs.CONTENT_RANGE,
    hdrs.CONTENT_TYPE,
    hdrs.DIGEST,
    hdrs.EXPECT,
    hdrs.LAST_MODIFIED,
    hdrs.REPR_DIGEST,
    hdrs.TRAILER,
    hdrs.TRANSFER_ENCODING,
)


def headers_after_redirect(
    headers: CIMultiDict[str], *, is_same_origin: bool, body_dropped: bool
) -> CIMultiDict[str]:
    """The fields of the next request, as a copy: each field that goes goes with all its lines."""
    kept = headers.copy()
    if not is_same_origin:
        for name in _OF_THE_ORIGIN:
            kept.popall(name, None)
    if body_dropped:
        for name in _OF_THE_BODY:
            kept.popall(name, None)
    return kept


# A WebSocket begins as an HTTP request to the same server (RFC 6455 §4.1).
_CARRIERS: Final = {"ws": "http", "wss": "https"}


def same_origin(one: URL, other: URL) -> bool:
    """Whether scheme, host and port are the same (RFC 9110 §4.3.1), defaults filled in.

    ``ws`` is the same as ``http``, ``wss`` as ``https``.
    """
    return (
        _CARRIERS.get(one.scheme, one.scheme) == _CARRIERS.get(other.scheme, other.scheme)
        and one.port == other.port
        and (one.raw_host or "").lower() == (other.raw_host or "").lower()
    )


# --- targets -----------------------------------------------------------------------------------

# RFC 3986 §3, appendix B: scheme, authority, the rest.
_PARTS: Final = lazy(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*):)?(?://(?P<authority>[^/?#]*))?(?P<rest>.*)",
    re.DOTALL,
)
_CONTROL: Final = lazy(r"[\x00-\x1f\x7f]")
# Octets that are no UTF-8 arrive as these.
_SURROGATE: Final = lazy("[\udc80-\udcff]")
# RFC 9112 §3.2: spaces end a request's target, and a URI is ASCII.
_NOT_IN_A_TARGET: Final = lazy("[^\x21-\x7e]")


def redirect_target(
    current: URL,
    location: str,
    *,
    requote: bool = True,
    schemes: frozenset[str] = HTTP_SCHEMES,
) -> URL:
    """Where `location`, received in an answer to a request for `current`, leads.

    References are resolved against `current` (RFC 3986 §5.2), also those that repeat its scheme
    without a host: ``http:/path``, ``http:path``. Without a fragment of its own the target inherits
    that of `current` (RFC 9110 §10.2.2). With `requote` it is percent-encoded as any URL is;
    without, path and query stay as they came, but for spaces and what is not ASCII, which no
    request line can hold.

    Raises `NonHttpUrlRedirectClientError` for a scheme that is not in `schemes`, and
    `InvalidUrlRedirectClientError` for what is malformed, names no host, or names one in a form
    that only some programs read as an address.
    """
    # Some parsers of URLs leave control characters out, so that others see another URL.
    if _CONTROL.search(location):
        raise InvalidUrlRedirectClientError(_redacted(location), "has control characters")
    location = location.strip(" ")
    parts = _PARTS.fullmatch(location)
    if parts is None:
        raise InvalidUrlRedirectClientError(_redacted(location), "is no URL reference")
    scheme = (parts["scheme"] or current.scheme).lower()
    if scheme not in schemes:
        raise NonHttpUrlRedirectClientError(_redacted(location))
    authority, rest = parts["authority"], parts["rest"]
    unsendable = _SURROGATE if requote else _NOT_IN_A_TARGET
    rest = unsendable.sub(_percent_encoded, rest)
    try:
        if authority is not None:
            target = _absolute(scheme, authority, rest, requote=requote)
        else:
            target = _relative(current, scheme, rest, requote=requote)
        if "#" not in rest:
            target = target.with_fragment(current.fragment or None)
    except InvalidURL as exc:
        raise InvalidUrlRedirectClientError(_redacted(location), exc.description) from exc
    except (TypeError, ValueError) as exc:
        raise InvalidUrlRedirectClientError(_redacted(location), "is no URL") from exc
    return target


def _absolute(scheme: str, authority: str, rest: str, *, requote: bool) -> URL:
    # RFC 9110 §4.2.1: an http URI with an empty host is to be rejected. And there are programs
    # that take a backslash for a slash, so that the host ends before it.
    if not authority or "\\" in authority:
        raise InvalidURL(scheme, "names no host")
    check_port(authority)
    root = URL(f"{scheme}://{authority}/")
    # Letters that turn into the digits of an address pass filters that look for the digits.
    if check_host(root.raw_host or "") is not None and not authority.isascii():
        raise InvalidURL(scheme, "names an address in other than ASCII digits")
    if rest[:1] != "/":
        rest = f"/{rest}"
    return URL(f"{str(root)[:-1]}{rest}", encoded=not requote)


def _relative(current: URL, scheme: str, rest: str, *, requote: bool) -> URL:
    if scheme != current.scheme:
        raise InvalidURL(scheme, "names no host")
    # RFC 3986 §4.2: a first segment with a colon would be read as a scheme.
    if ":" in re.split("[/?#]", rest, maxsplit=1)[0]:
        rest = f"./{rest}"
    return current.join(URL(rest, encoded=not requote))


def _percent_encoded(found: re.Match[str]) -> str:
    return "".join(f"%{octet:02X}" for octet in found[0].encode("utf-8", "surrogateescape"))


def _redacted(location: str) -> str:
    """`location` as messages and logs may have it: without password, on one line, printable."""
    visible = _CONTROL.sub(lambda found: f"%{ord(found[0]):02X}", location)
    return shown_url(_SURROGATE.sub(_percent_encoded, visible))


# --- the whole ---------------------------------------------------------------------------------


class RedirectPolicy(NamedTuple):
    """What a session says about redirects: quote targets anew, and the schemes it can speak."""

    requote: bool = True
    schemes: frozenset[str] = HTTP_SCHEMES


class Redirect(NamedTuple):
    """The request that follows a redirect, as far as that decides it.

    `url` has its fragment, and credentials if the location gave any; they replace those of the
    first request. Cookies and credentials that were given for one origin only go on with
    `is_same_origin`, the body with `keeps_body`.
    """

    method: str
    url: URL
    headers: CIMultiDict[str]
    keeps_body: bool
    is_same_origin: bool


_DEFAULT_POLICY: Final = RedirectPolicy()


def next_hop(
    status: int,
    location: str | None,
    *,
    method: str,
    url: URL,
    headers: CIMultiDict[str],
    policy: RedirectPolicy = _DEFAULT_POLICY,
) -> Redirect | None:
    """What follows a response with `status` and `location` to a request; None if it is no redirect.

    `url`, with its fragment, and `headers` are those of the request that was answered. A redirect
    status without a location is an ordinary response. Raises what `redirect_target` raises.
    """
    if status not in REDIRECT_STATUSES or not location:
        return None
    target = redirect_target(url, location, requote=policy.requote, schemes=policy.schemes)
    is_same = same_origin(url, target)
    keep = keeps_body(status, method)
    return Redirect(
        redirected_method(status, method),
        target,
        headers_after_redirect(headers, is_same_origin=is_same, body_dropped=not keep),
        keep,
        is_same,
    )
