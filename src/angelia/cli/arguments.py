"""Arguments -> values: what a command line says.

Owns: the parsers, their help, and one typed value per command. Opens no file and no connection.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Sequence
from typing import Any, Final

from angelia.cli.exits import UsageError
from angelia.cli.parsing import Parser, count, port, positive, seconds, size
from angelia.cli.serve_arguments import ServeOptions, parse_serve_arguments

__all__ = (
    "DemoOptions",
    "FetchOptions",
    "LoadOptions",
    "RequestOptions",
    "ServeOptions",
    "WebSocketOptions",
    "parse_arguments",
)

_EPILOG: Final = """\
other commands:
  angelia load URL -n 10000 -c 50   send many requests, print rate and latencies
  angelia serve module:app          serve an application: a handler, ASGI or WSGI
  angelia serve --directory DIR     serve files
  angelia ws URL                    talk over a WebSocket; --listen PORT echoes
  angelia demo                      show what angelia does, against a server of its own
(a host of such a name is reached by its whole URL, as in http://demo/)

URL may do without http://, and :8080/path is a port of localhost.

exit codes:
  0   a response came, whatever its status
  1   the status was 400 or more, with --fail
  2   the command line cannot be done
  3   no connection, a timeout, or a broken response
"""

_LOAD_EPILOG: Final = """\
The latency of a request runs from its start to the last octet of the response, redirects and the
wait for a connection included; percentiles are exact to 1 %.

exit codes: 0, 1 for statuses of 400 or more with --fail, 2 for usage, 3 if a request failed.
"""

_WS_EPILOG: Final = """\
At the end of standard input a Close is sent; what the server still says is shown. Text messages are
written as lines, binary ones as they are; a terminal gets them escaped.

exit codes: 0, 1 if the server refused the handshake or closed with an error, 2 for usage, 3 if the
connection was not there or broke.
"""

# What curl takes after -C; here the place to go on from is always the end of the part file.
_CONTINUE_CLUSTER: Final = re.compile(r"-[LSfiksvI]*C")


@dataclasses.dataclass(slots=True, kw_only=True)
class RequestOptions:
    """What a request is made of, as the user wrote it."""

    url: str
    method: str | None = None
    headers: list[str] = dataclasses.field(default_factory=list)
    # Pairs of the kind (data, raw, binary or json) and the text.
    data: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    form: list[str] = dataclasses.field(default_factory=list)
    auth: str | None = None
    digest: bool = False
    proxy: str | None = None
    insecure: bool = False
    cacert: str | None = None
    unix_socket: str | None = None
    follow: bool = True
    max_redirects: int = 10
    timeout: float | None = None
    connect_timeout: float = 30.0
    fail: bool = False
    silent: bool = False
    head: bool = False


@dataclasses.dataclass(slots=True, kw_only=True)
class FetchOptions(RequestOptions):
    """One request, shown or saved."""

    verbose: bool = False
    include: bool = False
    output: str | None = None
    resume: bool = False


@dataclasses.dataclass(slots=True, kw_only=True)
class LoadOptions(RequestOptions):
    """Many requests, counted."""

    number: int = 1000
    concurrency: int = 10


@dataclasses.dataclass(slots=True)
class DemoOptions:
    """The demonstration takes no wishes."""


@dataclasses.dataclass(slots=True, kw_only=True)
class WebSocketOptions(RequestOptions):
    """A conversation over a WebSocket, or a server that sends back what it gets."""

    # Without a URL there is a port to listen on.
    listen: int | None = None
    host: str = "127.0.0.1"
    origin: str | None = None
    protocols: list[str] = dataclasses.field(default_factory=list)
    heartbeat: float | None = None
    compress: bool = False
    binary: bool = False
    max_size: int = 0


class _DataAction(argparse.Action):
    """Keeps the order of --data and its kin, which are joined in the end."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        kind = {"--data-raw": "raw", "--data-binary": "binary", "--json": "json"}.get(
            option_string or "", "data"
        )
        collected = [*getattr(namespace, self.dest), (kind, str(values))]
        setattr(namespace, self.dest, collected)


def _add_header_argument(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument(
        "-H",
        "--header",
        dest="headers",
        metavar="NAME:VALUE",
        action="append",
        default=[],
        help=text,
    )


def _add_timeout_argument(
    parser: argparse.ArgumentParser, default: float | None, text: str
) -> None:
    parser.add_argument(
        "-m",
        "--timeout",
        "--max-time",
        dest="timeout",
        type=seconds,
        default=default,
        metavar="SECONDS",
        help=text,
    )


def _add_connection_arguments(parser: argparse.ArgumentParser) -> None:
    """Who asks, and by which way: what requests and WebSockets share."""
    add = parser.add_argument
    add("-u", "--auth", "--user", dest="auth", metavar="USER:PASSWORD", help="Basic credentials")
    add("-x", "--proxy", metavar="URL", help="by default what HTTP_PROXY and its kin say")
    add("-k", "--insecure", action="store_true", help="accept any certificate")
    add("--cacert", metavar="FILE", help="certificates (PEM) to trust instead of the system's")
    add("--unix-socket", metavar="PATH", help="connect to a Unix socket")
    add(
        "--connect-timeout",
        type=seconds,
        default=30.0,
        metavar="SECONDS",
        help="for connecting to an address (30)",
    )


def _add_request_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("url", metavar="URL", help="what to ask for")
    add("-X", "--request", dest="method", metavar="METHOD", help="GET, or POST if there is a body")
    _add_header_argument(
        parser, "a field to send; 'Name:' leaves an automatic one out, 'Name;' sends it empty"
    )
    add(
        "-d",
        "--data",
        "--data-raw",
        "--data-binary",
        "--json",
        dest="data",
        metavar="TEXT",
        action=_DataAction,
        default=[],
        help="the body; @FILE reads it from a file, @- from standard input. --data drops line ends "
        "of files, --data-binary keeps them, --data-raw takes @ as it is, --json sends JSON",
    )
    add(
        "-F",
        "--form",
        dest="form",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a field of a multipart form; NAME=@FILE uploads a file, NAME=<FILE takes its text; "
        "';type=' and ';filename=' may follow",
    )
    _add_connection_arguments(parser)
    add("--digest", action="store_true", help="use the credentials for Digest authentication")
    add(
        "-L",
        "--location",
        dest="follow",
        action="store_true",
        default=True,
        help="follow redirects, which is the default",
    )
    add("--no-follow", dest="follow", action="store_false", help="show redirects themselves")
    add("--max-redirects", type=count, default=10, metavar="N", help="10; 0 for no limit")
    add("-f", "--fail", action="store_true", help="exit with 1 for statuses of 400 or more")
    add("-s", "--silent", action="store_true", help="no progress and no hints")
    add("-S", "--show-error", action="store_true", dest="show_error", help="the default")
    add("-I", "--head", action="store_true", help="ask for the head only")


def _fetch_parser(version: str) -> argparse.ArgumentParser:
    parser = Parser(
        prog="angelia",
        description="Make an HTTP request and show the response.",
        epilog=_EPILOG,
    )
    _add_request_arguments(parser)
    add = parser.add_argument
    _add_timeout_argument(parser, None, "for everything; by default there is none")
    add("-v", "--verbose", action="store_true", help="show requests, redirects and timings")
    add("-i", "--include", action="store_true", help="write the head to standard output, always")
    add("-o", "--output", metavar="FILE", help="save the body; FILE changes only when all has come")
    add(
        "-C",
        "--continue-at",
        dest="resume",
        action="store_true",
        help="with -o: go on where an earlier try ended (also -C -)",
    )
    add("-V", "--version", action="version", version=f"angelia {version}")
    return parser


def _load_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="angelia load",
        description="Send many requests and measure them.",
        epilog=_LOAD_EPILOG,
    )
    _add_request_arguments(parser)
    add = parser.add_argument
    add(
        "-n",
        "--requests",
        dest="number",
        type=positive,
        default=1000,
        metavar="N",
        help="how many requests (1000)",
    )
    add(
        "-c",
        "--concurrency",
        type=positive,
        default=10,
        metavar="N",
        help="how many at a time (10)",
    )
    _add_timeout_argument(parser, 30.0, "for each request (30)")
    return parser


def _ws_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="angelia ws",
        description="Talk over a WebSocket: each line that is typed, or read, is a message.",
        epilog=_WS_EPILOG,
    )
    add = parser.add_argument
    add("url", metavar="URL", nargs="?", default="", help="ws, wss, http or https")
    add("--listen", type=port, metavar="PORT", help="be a server that sends back what it gets")
    add("--host", default="127.0.0.1", help="where to listen (127.0.0.1)")
    _add_header_argument(parser, "a field of the handshake")
    add("--origin", help="the Origin field")
    add(
        "--protocol",
        dest="protocols",
        metavar="NAME",
        action="append",
        default=[],
        help="a subprotocol to offer; the most wanted one first",
    )
    add("--heartbeat", type=seconds, metavar="SECONDS", help="send a Ping when it is quiet")
    add("--compress", action="store_true", help="offer permessage-deflate")
    add("-b", "--binary", action="store_true", help="send binary messages")
    add("--max-size", type=size, default=0, metavar="SIZE", help="of a message; 0, any, by default")
    _add_connection_arguments(parser)
    add("-s", "--silent", action="store_true", help="no hints")
    return parser


def _demo_parser() -> argparse.ArgumentParser:
    return Parser(
        prog="angelia demo",
        description="Do what client and server do, both in this process. Needs no network.",
    )


def _without_offsets(arguments: Sequence[str]) -> list[str]:
    """`arguments` without the ``-`` of curl's ``-C -``; -C takes no value here."""
    kept: list[str] = []
    for index, argument in enumerate(arguments):
        if argument == "--":
            return [*kept, *arguments[index:]]
        if argument == "-" and index > 0:
            before = arguments[index - 1]
            if before == "--continue-at" or _CONTINUE_CLUSTER.fullmatch(before):
                continue
        kept.append(argument)
    return kept


def parse_arguments(
    arguments: Sequence[str], version: str
) -> FetchOptions | LoadOptions | ServeOptions | WebSocketOptions | DemoOptions:
    """What the arguments ask for.

    Raises `UsageError`; SystemExit with 0 once help or the version was printed.
    """
    command = arguments[0] if arguments else ""
    if command == "demo":
        _demo_parser().parse_args(arguments[1:])
        return DemoOptions()
    if command == "serve":
        return parse_serve_arguments(arguments[1:])
    if command == "ws":
        return _checked_ws(WebSocketOptions(**vars(_ws_parser().parse_args(arguments[1:]))))
    if command == "load":
        values = vars(_load_parser().parse_args(arguments[1:]))
        values.pop("show_error")
        options: LoadOptions | FetchOptions = LoadOptions(**values)
    else:
        values = vars(_fetch_parser(version).parse_args(_without_offsets(arguments)))
        values.pop("show_error")
        options = FetchOptions(**values)
        _check_download(options)
    _check_request(options)
    return options


def _checked_ws(options: WebSocketOptions) -> WebSocketOptions:
    if bool(options.url) == (options.listen is not None):
        raise UsageError("give either a URL or --listen PORT")
    _check_request(options)
    return options


def _check_request(options: RequestOptions) -> None:
    kinds = {kind for kind, _ in options.data}
    if options.form and options.data:
        raise UsageError("--form and --data or --json are different bodies: give one of them")
    if "json" in kinds and len(kinds) > 1:
        raise UsageError("--json and --data are different bodies: give one of them")
    if options.head and (options.form or options.data):
        raise UsageError("--head asks for no body and sends none")
    if options.digest and options.auth is None:
        raise UsageError("--digest needs --auth")
    if options.unix_socket is not None and options.proxy is not None:
        raise UsageError("--unix-socket and --proxy are different ways: give one of them")


def _check_download(options: FetchOptions) -> None:
    if options.output == "-":
        if options.resume:
            raise UsageError("-C goes on with a file, and standard output is none")
        return
    if options.output is not None and options.head:
        raise UsageError("--head has no body to save")
    if not options.resume:
        return
    if options.output is None:
        raise UsageError("-C needs -o FILE")
    if options.form or options.data or (options.method or "GET").upper() != "GET":
        # RFC 9110 §14.2: a Range means nothing with other methods.
        raise UsageError("-C is for GET requests without a body")
