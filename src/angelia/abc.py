"""The abstract base classes that users may implement, under the documented names."""

from angelia.client.cookies import AbstractCookieJar
from angelia.net.payload import AbstractStreamWriter
from angelia.net.resolver import AbstractResolver, ResolveResult
from angelia.server.access_log import AbstractAccessLogger
from angelia.server.routing import AbstractMatchInfo, AbstractRouter, AbstractView

__all__ = (
    "AbstractAccessLogger",
    "AbstractCookieJar",
    "AbstractMatchInfo",
    "AbstractResolver",
    "AbstractRouter",
    "AbstractStreamWriter",
    "AbstractView",
    "ResolveResult",
)
