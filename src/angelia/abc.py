"""The abstract base classes that users may implement, under the documented names."""

from angelia.client.cookies import AbstractCookieJar
from angelia.net.payload import AbstractStreamWriter
from angelia.net.resolver import AbstractResolver, ResolveResult

__all__ = (
    "AbstractCookieJar",
    "AbstractResolver",
    "AbstractStreamWriter",
    "ResolveResult",
)
