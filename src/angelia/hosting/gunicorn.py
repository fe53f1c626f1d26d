"""Worker classes for gunicorn: handlers, ASGI and WSGI applications in several processes.

Owns: what gunicorn's settings mean for an `angelia.Server`, the life of one worker process between
gunicorn's signals. Processes, sockets and settings are gunicorn's. Needs gunicorn to be installed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import sys
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta
from types import FrameType, MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final

from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

from angelia.hosting.asgi import ASGIHandler
from angelia.hosting.wsgi import DEFAULT_THREADS, WSGIHandler
from angelia.hosting.wsgi_environ import make_environ
from angelia.server.access_log import AbstractAccessLogger, escaped
from angelia.server.server import Server

if TYPE_CHECKING:
    from angelia.server.options import Handler
    from angelia.server.request import Request
    from angelia.server.stream_response import StreamResponse

__all__ = (
    "ASGIUvloopWorker",
    "ASGIWorker",
    "HandlerUvloopWorker",
    "HandlerWorker",
    "WSGIUvloopWorker",
    "WSGIWorker",
)

# A sign of life for gunicorn's master, whose own clock counts seconds.
HEARTBEAT_INTERVAL: Final = 1.0
# Of `graceful_timeout`: gunicorn kills a worker when it is over, and what the application does at
# its end comes after the last request.
CLOSING_SHARE: Final = 0.9
# Clients that are at work ask again in this time, and are told then to ask elsewhere.
IDLE_TIME: Final = 1.0
# Where gunicorn's settings say "unlimited": nothing that a client sends is.
LARGEST_LINE: Final = 1024 * 1024
MOST_FIELDS: Final = 32768


class HandlerWorker(Worker):  # type: ignore[misc]  # gunicorn has no type information
    """Runs a handler: ``gunicorn -k angelia.hosting.gunicorn.HandlerWorker module:handler``.

    A handler that is an asynchronous context manager is entered before the first request, and left
    after the last one.
    """

    uvloop: ClassVar[bool] = False
    # Handlers read what a request's content coding hides; applications expect it as it came.
    auto_decompress: ClassVar[bool] = True

    # Options of `Server` that gunicorn has no settings for.
    server_options: Mapping[str, Any] = MappingProxyType({})

    # Set while the loop runs: what a signal's handler may talk to.
    _loop: asyncio.AbstractEventLoop | None = None
    _stopping: asyncio.Event
    # Stop now, not when the requests are answered.
    _at_once: bool = False

    def make_handler(self) -> Handler:
        """The handler for what gunicorn has loaded."""
        handler: Handler = self.wsgi
        return handler

    # --- the life of the process ---------------------------------------------------------------

    def run(self) -> None:
        """Serve until gunicorn says that it is enough."""
        with asyncio.Runner(loop_factory=self._loop_factory()) as runner:
            started = runner.run(self._main())
        if not started:
            # Tells gunicorn not to try again and again.
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def _loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop]:
        if not self.uvloop:
            return asyncio.new_event_loop
        try:
            import uvloop
        except ImportError as error:
            self.log.critical("%s needs uvloop: pip install uvloop", type(self).__name__)
            raise SystemExit(Arbiter.WORKER_BOOT_ERROR) from error
        factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
        return factory

    async def _main(self) -> bool:
        """Serve; False where the handler or the server could not begin."""
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        _adopt_logs(self.log)
        heart = asyncio.create_task(self._beat())
        try:
            return await self._serve()
        finally:
            self._loop = None
            heart.cancel()

    async def _serve(self) -> bool:
        async with AsyncExitStack() as stack:
            try:
                server = await self._begin(stack)
            except Exception:
                self.log.exception("the worker cannot begin")
                return False
            await self._stopping.wait()
            timeout = 0 if self._at_once else self.cfg.graceful_timeout * CLOSING_SHARE
            await server.close(timeout, idle_time=min(IDLE_TIME, timeout))
        if self._at_once:
            self.cfg.worker_int(self)
        return True

    async def _begin(self, stack: AsyncExitStack) -> Server:
        handler = self.make_handler()
        context_manager: object = handler
        if isinstance(context_manager, AbstractAsyncContextManager):
            await stack.enter_async_context(context_manager)
        server = await stack.enter_async_context(self._server(self._counted(handler)))
        context = _ssl_context(self.cfg) if self.cfg.is_ssl else None
        for sock in self.sockets:
            await server.start(fd=sock.fileno(), ssl=context, backlog=self.cfg.backlog)
        return server

    def _server(self, handler: Handler) -> Server:
        cfg = self.cfg
        access_log = _AccessLog(self.log, cfg)
        options: dict[str, Any] = {
            "max_line_size": cfg.limit_request_line or LARGEST_LINE,
            "max_field_size": cfg.limit_request_field_size or LARGEST_LINE,
            "max_headers": cfg.limit_request_fields or MOST_FIELDS,
            "keepalive_timeout": cfg.keepalive,
            "auto_decompress": self.auto_decompress,
            "access_log": access_log if access_log.enabled else None,
        }
        return Server(handler, **{**options, **self.server_options})

    def _counted(self, handler: Handler) -> Handler:
        """The handler, with what gunicorn's settings ask of each request."""
        if not self.cfg.max_requests and self.cfg.keepalive:
            return handler
        return _Counted(handler, self._count, keep_alive=self.cfg.keepalive > 0)

    def _count(self) -> None:
        self.nr += 1
        if self.nr == self.max_requests:
            self.log.info("Worker (pid:%s) has had its %d requests", self.pid, self.nr)
            self._stop()

    # --- signals -------------------------------------------------------------------------------

    # The loop's own handlers would be gone with the loop, and a second SIGTERM, as systemd sends to
    # all processes of a service, would kill a worker that is about to exit.

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM: answer what was sent, then exit."""
        self._stop()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """SIGINT and SIGQUIT: exit now."""
        if self._loop is None:
            super().handle_quit(sig, frame)
        self._at_once = True
        self._stop()

    def _stop(self) -> None:
        self.alive = False
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)

    async def _beat(self) -> None:
        """Show that the loop runs, and watch for what is not told by a signal."""
        interval = min(HEARTBEAT_INTERVAL, self.timeout / 2 or HEARTBEAT_INTERVAL)
        while True:
            self.notify()
            if self.ppid != os.getppid():
                self.log.info("Parent changed, shutting down: %s", self)
                self._stop()
            elif not self.alive:
                # The reloader says so.
                self._stop()
            await asyncio.sleep(interval)


class ASGIWorker(HandlerWorker):
    """Runs an ASGI application; gunicorn's ``root_path`` and ``asgi_lifespan`` are its."""

    auto_decompress: ClassVar[bool] = False

    def make_handler(self) -> Handler:
        """An `ASGIHandler`."""
        return ASGIHandler(
            self.wsgi,
            root_path=_setting(self.cfg, "root_path", "").rstrip("/"),
            lifespan=_setting(self.cfg, "asgi_lifespan", "auto"),
        )


class WSGIWorker(HandlerWorker):
    """Runs a WSGI application, in as many threads as ``--threads`` says (32 if that is 1).

    The environment variable ``SCRIPT_NAME`` tells where the application is mounted.
    """

    auto_decompress: ClassVar[bool] = False

    def make_handler(self) -> Handler:
        """A `WSGIHandler`."""
        return WSGIHandler(
            self.wsgi,
            threads=self.cfg.threads if self.cfg.threads > 1 else DEFAULT_THREADS,
            script_name=os.environ.get("SCRIPT_NAME", "").rstrip("/"),
            multiprocess=self.cfg.workers > 1,
            # A thread that hangs is named in the log before gunicorn kills the worker.
            close_timeout=self.cfg.graceful_timeout * (1 - CLOSING_SHARE) / 2,
        )


class HandlerUvloopWorker(HandlerWorker):
    """A `HandlerWorker` on uvloop."""

    uvloop: ClassVar[bool] = True


class ASGIUvloopWorker(ASGIWorker):
    """An `ASGIWorker` on uvloop."""

    uvloop: ClassVar[bool] = True


class WSGIUvloopWorker(WSGIWorker):
    """A `WSGIWorker` on uvloop."""

    uvloop: ClassVar[bool] = True


class _Counted:
    """A handler that tells of each request, and may end each connection with it."""

    __slots__ = ("_count", "_handler", "_keep_alive")

    def __init__(self, handler: Handler, count: Callable[[], None], *, keep_alive: bool) -> None:
        self._handler = handler
        self._count = count
        self._keep_alive = keep_alive

    def __call__(self, request: Request) -> Awaitable[StreamResponse]:
        self._count()
        if not self._keep_alive:
            request._exchange.keep_alive = False
        return self._handler(request)


def _setting(cfg: Any, name: str, default: str) -> Any:
    """A setting that gunicorn has had since its version 24 only."""
    return cfg.settings[name].get() if name in cfg.settings else default


def _ssl_context(cfg: Any) -> ssl.SSLContext:
    """The context that gunicorn's settings describe; a hook may change it."""

    def default() -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=cfg.ca_certs)
        context.load_cert_chain(cfg.certfile, cfg.keyfile)
        context.verify_mode = ssl.VerifyMode(cfg.cert_reqs)
        if cfg.ciphers:
            context.set_ciphers(cfg.ciphers)
        context.set_alpn_protocols(["http/1.1"])
        return context

    context: ssl.SSLContext = cfg.ssl_context(cfg, default)
    return context


# --- logs --------------------------------------------------------------------------------------


def _adopt_logs(log: Any) -> None:
    """Write our logs to gunicorn's error log, unless the application has a place for them."""
    logger = logging.getLogger("angelia")
    if not logger.hasHandlers():
        for handler in log.error_log.handlers:
            logger.addHandler(handler)
        logger.setLevel(log.error_log.level)


class _Answered:
    """A response, or with its fields alone a request, as gunicorn's loggers know them."""

    __slots__ = ("headers", "sent", "status")

    def __init__(self, headers: list[tuple[str, str]], status: str = "", sent: int = 0) -> None:
        self.headers = headers
        self.status = status
        self.sent = sent


class _AccessLog(AbstractAccessLogger):
    """Tells gunicorn's logger of each request."""

    __slots__ = ("_enabled", "_log")

    def __init__(self, log: Any, cfg: Any) -> None:
        super().__init__(log.access_log, cfg.access_log_format)
        self._log = log
        # Nobody listens to the usual logger without one of these; another kind knows by itself.
        self._enabled = bool(
            type(log) is not Logger
            or cfg.accesslog
            or cfg.logconfig
            or cfg.logconfig_dict
            or cfg.logconfig_json
            or cfg.syslog
        )

    @property
    def enabled(self) -> bool:
        """Whether the settings ask for a log."""
        return self._enabled

    def log(self, request: Request, response: StreamResponse, time: float) -> None:
        """Write about one request, which took `time` seconds."""
        answered = _Answered(
            _fit(response.headers.items()),
            f"{response.status} {response.reason}",
            response.body_length,
        )
        asked = _Answered(_fit((name.upper(), text) for name, text in request._head.headers))
        environ = make_environ(request)
        for name, value in environ.items():
            if name.startswith("HTTP_") or name in _OF_CLIENTS:
                environ[name] = _readable(value)
        if credentials := request.headers.get("Authorization"):
            environ["HTTP_AUTHORIZATION"] = _user_only(credentials)
        # A Unix socket's clients have no address.
        environ["REMOTE_ADDR"] = environ["REMOTE_ADDR"] or "-"
        self._log.access(answered, asked, environ, timedelta(seconds=time))


# Variables with text of the client's, beside those of fields.
_OF_CLIENTS: Final = frozenset(
    {"PATH_INFO", "SCRIPT_NAME", "QUERY_STRING", "RAW_URI", "REQUEST_URI", "CONTENT_TYPE"}
)


def _fit(fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, escaped(text)) for name, text in fields]


def _readable(text: str) -> str:
    """A variable of PEP 3333, each octet a character, for a line of the log."""
    if not text.isascii():
        text = text.encode("latin-1").decode("utf-8", "surrogateescape")
    return escaped(text)


def _user_only(credentials: str) -> str:
    """Basic credentials with the name only, from which gunicorn takes it, fit for the log."""
    scheme, _, coded = credentials.partition(" ")
    if not (coded and scheme.lower().startswith("basic")):
        return escaped(credentials)
    try:
        user, _, _ = b64decode(coded.encode("utf-8", "surrogateescape")).partition(b":")
    except ValueError:
        return escaped(credentials)
    name = escaped(user.decode("utf-8", "surrogateescape"))
    return f"Basic {b64encode(name.encode() + b':').decode()}"
