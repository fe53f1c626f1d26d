"""AccessLogger: a line for each request, by a format string.

Owns: the format's directives, the escaping of what a client sent. Knows nothing of connections.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from angelia.core.patterns import lazy

if TYPE_CHECKING:
    from angelia.server.request import Request
    from angelia.server.stream_response import StreamResponse

__all__ = ("DEFAULT_FORMAT", "AbstractAccessLogger", "AccessLogger")

DEFAULT_FORMAT: Final = '%a %t "%r" %s %b "%{Referer}i" "%{User-Agent}i"'

_DIRECTIVE: Final = lazy(r"%(?:\{([!#$&'*+\-.^_`|~0-9A-Za-z]+)\}([io])|(Tf|[%atPrsbTD]))")
# What could end the line (Unicode has two more ends of lines), or the quotes around a value, or
# speak to a terminal, or turn the order in which it shows what follows.
_UNSAFE: Final = lazy(r'[\x00-\x1f\x7f-\x9f"\\\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')

# A field of the log is no longer: the rest of it says nothing more about the request.
MAX_VALUE: Final = 1024


class _Entry(NamedTuple):
    request: Request
    response: StreamResponse
    seconds: float


_Part: TypeAlias = Callable[[_Entry], str]


def escaped(text: str) -> str:
    """What a client sent, fit for a line of a log."""
    if len(text) > MAX_VALUE:
        text = f"{text[:MAX_VALUE]}..."
    return _UNSAFE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class AbstractAccessLogger(ABC):
    """What a server tells of each request that it has answered."""

    __slots__ = ("log_format", "logger")

    def __init__(self, logger: logging.Logger, log_format: str) -> None:
        self.logger = logger
        self.log_format = log_format

    @property
    def enabled(self) -> bool:
        """Whether anybody wants to know; otherwise `log` is not called."""
        return True

    @abstractmethod
    def log(self, request: Request, response: StreamResponse, time: float) -> None:
        """Write about one request, which took `time` seconds."""


class AccessLogger(AbstractAccessLogger):
    """Writes a line for each request to `logger`, with level INFO.

    Directives: ``%a`` remote address, ``%t`` local time, ``%P`` process, ``%r`` request line,
    ``%s`` status, ``%b`` octets of content, ``%T`` seconds, ``%Tf`` seconds with fractions, ``%D``
    microseconds, ``%{Name}i`` and ``%{Name}o`` fields of request and response, ``%%`` a percent
    sign. ValueError for a format with others.
    """

    def __init__(
        self, logger: logging.Logger | None = None, log_format: str = DEFAULT_FORMAT
    ) -> None:
        if logger is None:
            logger = logging.getLogger("angelia.access")
        super().__init__(logger, log_format)
        self._parts = _parse(log_format)

    @property
    def enabled(self) -> bool:
        """Whether anybody reads the lines."""
        return self.logger.isEnabledFor(logging.INFO)

    def log(self, request: Request, response: StreamResponse, time: float) -> None:
        """Write the line of one request, which took `time` seconds."""
        entry = _Entry(request, response, time)
        parts = [part if isinstance(part, str) else part(entry) for part in self._parts]
        self.logger.info("%s", "".join(parts))


def _parse(log_format: str) -> list[str | _Part]:
    parts: list[str | _Part] = []
    at = 0
    while (percent := log_format.find("%", at)) >= 0:
        found = _DIRECTIVE.match(log_format, percent)
        if found is None:
            raise ValueError(f"unknown directive in an access log's format: {log_format[percent:]}")
        parts.append(log_format[at:percent])
        name, side, letter = found.groups()
        if letter == "%":
            parts.append("%")
        elif letter:
            parts.append(_PARTS[letter])
        else:
            parts.append(_request_field(name) if side == "i" else _response_field(name))
        at = found.end()
    return [*parts, log_format[at:]]


def _request_field(name: str) -> _Part:
    return lambda entry: escaped(entry.request.headers.get(name, "-"))


def _response_field(name: str) -> _Part:
    return lambda entry: escaped(entry.response.headers.get(name, "-"))


def _request_line(entry: _Entry) -> str:
    major, minor = entry.request.version
    return escaped(f"{entry.request.method} {entry.request.target} HTTP/{major}.{minor}")


def _time(entry: _Entry) -> str:
    return local_time(time.time() - entry.seconds)


def local_time(moment: float) -> str:
    """Seconds since 1970 as a log tells them, in the zone and the half of the year they are of."""
    local = dt.datetime.fromtimestamp(moment, dt.UTC).astimezone()
    return local.strftime("[%d/%b/%Y:%H:%M:%S %z]")


_PARTS: Final[dict[str, _Part]] = {
    "a": lambda entry: entry.request.remote or "-",
    "t": _time,
    "P": lambda _entry: f"<{os.getpid()}>",
    "r": _request_line,
    "s": lambda entry: str(entry.response.status),
    "b": lambda entry: str(entry.response.body_length),
    "T": lambda entry: str(round(entry.seconds)),
    "Tf": lambda entry: f"{entry.seconds:06f}",
    "D": lambda entry: str(round(entry.seconds * 1_000_000)),
}
