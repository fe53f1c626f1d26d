"""The fields that a request has though nobody wrote them.

Owns: which they are, and that what a caller or a session says wins. Knows nothing of bodies, whose
fields depend on them.
"""

from __future__ import annotations

import sys
from typing import Final

from multidict import CIMultiDict

from angelia import hdrs
from angelia.core.coding import available_codings
from angelia.version import __version__

__all__ = ("add_missing", "default_headers", "first_headers")

USER_AGENT: Final = f"Python/{sys.version_info[0]}.{sys.version_info[1]} angelia/{__version__}"


def default_headers() -> CIMultiDict[str]:
    """The fields that a request gets when its caller does not say otherwise."""
    return CIMultiDict(
        (
            (hdrs.ACCEPT, "*/*"),
            (hdrs.ACCEPT_ENCODING, ", ".join(available_codings())),
            (hdrs.USER_AGENT, USER_AGENT),
        )
    )


def first_headers(
    host: str, headers: CIMultiDict[str], defaults: CIMultiDict[str]
) -> CIMultiDict[str]:
    """`Host`, the session's fields and the automatic ones, for a request with none of its own."""
    own = headers.copy()
    # RFC 9112 §3.2: one, and no more. The last one given is meant.
    given = own.popall(hdrs.HOST, None) or [host]
    result = CIMultiDict(((hdrs.HOST, given[-1]),))
    result.extend(own)
    add_missing(result, defaults)
    return result


def add_missing(headers: CIMultiDict[str], defaults: CIMultiDict[str]) -> None:
    """Add those of `defaults` whose names `headers` does not have."""
    for name, value in defaults.items():
        if name not in headers:
            headers[name] = value
