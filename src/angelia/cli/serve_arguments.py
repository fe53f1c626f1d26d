"""The arguments of ``angelia serve`` -> one value.

Owns: the parser, its help, which options exclude each other. Opens nothing and imports nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from angelia.cli.exits import UsageError
from angelia.cli.parsing import Parser, count, duration, port, positive, seconds, size

__all__ = ("LIMITS", "ServeOptions", "parse_serve_arguments")

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8080

_EPILOG: Final = """\
APP is an import string: a handler, an ASGI or a WSGI application, found in the current directory
first; 'module:make_app()' calls what it names. Which of the three it is tell its parameters, or
--interface. Sockets that systemd passes are used where no address is given.

SIGTERM and SIGINT stop the server gracefully, a second one at once.

exit codes: 0 when it was stopped, 2 if it cannot serve what the arguments say.
"""


class Limit(NamedTuple):
    """A limit of `Server` as an option."""

    option: str
    parameter: str
    type: Any
    metavar: str
    help: str


LIMITS: Final = (
    Limit("--limit-line", "max_line_size", size, "SIZE", "of the request line (8190)"),
    Limit("--limit-field", "max_field_size", size, "SIZE", "of a header field (8190)"),
    Limit("--limit-fields", "max_headers", count, "N", "header fields (128)"),
    Limit("--limit-head", "max_head_size", size, "SIZE", "of the whole head (64K)"),
    Limit("--limit-body", "max_body_size", size, "SIZE", "of a body read whole (1M; 0: any)"),
    Limit("--limit-form-fields", "max_form_fields", count, "N", "fields of a form (1000)"),
    Limit("--limit-decompressed", "max_decompressed_size", size, "SIZE", "of a decoded body (any)"),
    Limit("--limit-connections", "max_connections", count, "N", "open at a time (0: any)"),
    Limit("--limit-head-time", "head_timeout", duration, "SECONDS", "for a head (30)"),
    Limit("--limit-body-time", "body_timeout", duration, "SECONDS", "between body pieces (60)"),
    Limit("--limit-idle-time", "keepalive_timeout", duration, "SECONDS", "between requests (75)"),
    Limit("--limit-send-time", "send_timeout", duration, "SECONDS", "to take what is sent (60)"),
    Limit("--limit-linger-time", "lingering_time", duration, "SECONDS", "for unread bodies (10)"),
)


@dataclasses.dataclass(slots=True, kw_only=True)
class ServeOptions:
    """What to serve, where, and how."""

    app: str | None = None
    directory: str | None = None
    interface: str = "auto"
    host: str | None = None
    port: int | None = None
    unix: str | None = None
    fd: int | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    workers: int = 1
    threads: int | None = None
    root_path: str = ""
    reload: bool = False
    access_log: str | None = None
    loop: str = "auto"
    graceful_timeout: float = 60.0
    # Keyword arguments of `Server`.
    limits: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def names_address(self) -> bool:
        """Whether the user said where to listen."""
        places = (self.host, self.port, self.unix, self.fd)
        return any(place is not None for place in places)


def _parser(default_format: str) -> Parser:
    parser = Parser(
        prog="angelia serve",
        usage="angelia serve [options] (APP | --directory DIR)",
        description="Serve an application, or the files of a directory.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("app", metavar="APP", nargs="?", help="what to serve, as module:name")
    add("--directory", metavar="DIR", help="serve the files below DIR, dotfiles too; no listings")
    add(
        "--interface",
        choices=("auto", "handler", "asgi", "wsgi"),
        default="auto",
        help="how the application is called (auto)",
    )
    add("--root-path", default="", metavar="PATH", help="where a proxy has mounted the application")
    add("--threads", type=positive, metavar="N", help="for a WSGI application (32)")
    add("--loop", choices=("auto", "asyncio", "uvloop"), default="auto", help="the event loop")
    add("--workers", type=positive, default=1, metavar="N", help="processes, by gunicorn (1)")
    add("--reload", action="store_true", help="start again when a source file changes")
    add(
        "--access-log",
        nargs="?",
        const=default_format,
        metavar="FORMAT",
        help="a line per request on standard output; give APP before this, or -- behind",
    )
    add(
        "--graceful-timeout",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="for requests under way when the server stops (60)",
    )
    group = parser.add_argument_group("where").add_argument
    group("--host", metavar="HOST", help=f"a name or address ({DEFAULT_HOST})")
    group("--port", type=port, metavar="PORT", help=f"0 for any ({DEFAULT_PORT})")
    group("--unix", metavar="PATH", help="a Unix socket instead")
    group("--fd", type=count, metavar="N", help="a listening socket that was inherited instead")
    group("--tls-cert", metavar="FILE", help="certificates (PEM), the server's first: HTTPS")
    group("--tls-key", metavar="FILE", help="the private key, where that file has none")
    group = parser.add_argument_group(
        "limits",
        "what a client may ask for; sizes in bytes, or with K, M or G; a time of 0 has no end",
    ).add_argument
    for limit in LIMITS:
        group(
            limit.option,
            dest=limit.parameter,
            type=limit.type,
            metavar=limit.metavar,
            help=limit.help,
        )
    return parser


def parse_serve_arguments(arguments: Sequence[str]) -> ServeOptions:
    """What the arguments behind ``serve`` ask for.

    Raises `UsageError`; SystemExit with 0 once help was printed.
    """
    # The default of --access-log; the server is imported only for what serves.
    from angelia.server.access_log import DEFAULT_FORMAT

    values = vars(_parser(DEFAULT_FORMAT).parse_args(arguments))
    given = {limit.parameter: values.pop(limit.parameter) for limit in LIMITS}
    limits = {name: value for name, value in given.items() if value is not None}
    options = ServeOptions(**values, limits=limits)
    _check(options)
    return options


def _check(options: ServeOptions) -> None:
    if options.app is None and options.directory is None:
        logged = options.access_log
        if logged is not None and "%" not in logged:
            raise UsageError(f"{logged!r} is the format of --access-log here: give APP before it")
        raise UsageError("give an application, as module:name, or --directory DIR")
    if options.app is not None and options.directory is not None:
        raise UsageError("an application and --directory are different things: give one of them")
    if options.directory is not None and options.interface != "auto":
        raise UsageError("--interface is for applications")
    places = [options.host is not None or options.port is not None]
    places += [options.unix is not None, options.fd is not None]
    if sum(places) > 1:
        raise UsageError("--host and --port, --unix and --fd are different places: give one")
    if options.tls_key is not None and options.tls_cert is None:
        raise UsageError("--tls-key needs --tls-cert")
    if options.reload and options.workers > 1:
        raise UsageError("--reload is for one process, --workers for several: give one of them")
    if options.directory is not None and options.workers > 1:
        raise UsageError("--workers is for applications")
