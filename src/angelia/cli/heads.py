"""Heads of requests and responses as lines.

Owns: how a head looks, what of it is secret, and what --verbose tells about the way to a response.
Must not know about bodies.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from yarl import URL

from angelia.cli.layout import Style, plain
from angelia.cli.output import Output, escaped_line
from angelia.core.reasons import reason_of as usual_reason

if TYPE_CHECKING:
    import angelia

__all__ = (
    "milliseconds",
    "reason_of",
    "request_lines",
    "response_lines",
    "timing_line",
    "verbose_trace",
)

_Callback: TypeAlias = Callable[..., Awaitable[None]]

# What --verbose prints ends up in reports and logs: of these only the scheme is shown.
_SECRET: Final = frozenset({"authorization", "proxy-authorization"})
_PHASES: Final = ("queue", "dns", "connect", "tls", "first_byte", "total")


def _status_style(status: int) -> str:
    if status >= 400:
        return "red"
    return "yellow" if status >= 300 else "green"


def response_lines(response: angelia.ClientResponse, style: Style = plain) -> list[str]:
    """The status line and the fields of a response, in the order and case of the peer."""
    version = response.version
    major_minor = "1.1" if version is None else f"{version.major}.{version.minor}"
    status = f"{response.status} {escaped_line(response.reason or '')}".rstrip()
    lines = [f"HTTP/{major_minor} {style(status, _status_style(response.status), 'bold')}"]
    for raw_name, raw_value in response.raw_headers:
        name = escaped_line(raw_name.decode("utf-8", "surrogateescape"))
        value = escaped_line(raw_value.decode("utf-8", "surrogateescape"))
        lines.append(f"{style(name, 'cyan')}: {value}")
    return lines


def request_lines(method: str, url: URL, headers: Mapping[str, str]) -> list[str]:
    """The request line and the fields that were sent, without secrets."""
    target = url.raw_path_qs
    lines = [f"{escaped_line(method)} {target} HTTP/1.1"]
    for name, value in headers.items():
        shown = value
        if name.lower() in _SECRET:
            scheme, space, _ = value.partition(" ")
            shown = f"{scheme} [not shown]" if space else "[not shown]"
        lines.append(f"{name}: {escaped_line(shown)}")
    return lines


def milliseconds(seconds: float) -> str:
    """A duration for people: ``1.24 ms``."""
    if seconds >= 10:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.2f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"


def timing_line(timings: Any) -> str:
    """The phases that took place, with their durations."""
    parts = []
    for phase in _PHASES:
        seconds = getattr(timings, phase)
        if seconds is not None:
            parts.append(f"{phase.replace('_', ' ')} {milliseconds(seconds)}")
    return ", ".join(parts)


def verbose_trace(output: Output) -> angelia.TraceConfig:
    """Signals that tell standard error what happens, when it happens."""
    import angelia

    def telling(mark: str, lines_of: Callable[[Any], Iterable[str]]) -> _Callback:
        async def tell(*arguments: Any) -> None:
            # The session, the context of the trace, and what this is about.
            for line in lines_of(arguments[-1]):
                output.note(f"{output.styled_note(mark, 'dim')} {line}".rstrip())

        return tell

    def request(params: Any) -> list[str]:
        return [*request_lines(params.method, params.url, params.headers), ""]

    def response(params: Any) -> list[str]:
        return [*response_lines(params.response), ""]

    trace = angelia.TraceConfig()
    trace.on_dns_resolvehost_start.append(
        telling("*", lambda params: [f"resolving {escaped_line(params.host)}"])
    )
    trace.on_connection_create_start.append(telling("*", lambda _: ["connecting"]))
    trace.on_connection_create_end.append(telling("*", lambda _: ["connected"]))
    trace.on_connection_reuseconn.append(telling("*", lambda _: ["using an open connection"]))
    trace.on_request_headers_sent.append(telling(">", request))
    trace.on_request_redirect.append(telling("<", response))
    trace.on_request_end.append(telling("<", response))
    return trace


def reason_of(response: angelia.ClientResponse) -> str:
    """The reason phrase of a response, or the usual one."""
    return response.reason or usual_reason(response.status)
