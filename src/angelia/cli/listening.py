"""The sockets that ``angelia serve`` listens on.

Owns: how an address becomes listening sockets, what they are called to people, and the end of a
Unix socket's file. Opened before the application runs, so that a process that takes over for
another gets them as they are. Knows nothing of HTTP but the names of its URLs.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import socket
import stat
from collections.abc import MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from angelia.cli.exits import UsageError
from angelia.cli.parsing import count
from angelia.cli.serve_arguments import DEFAULT_HOST, DEFAULT_PORT, ServeOptions
from angelia.hosting.systemd import inherited_descriptors

__all__ = ("HANDED_DOWN", "Listening", "open_sockets", "url_of")

# The descriptors, with commas, that a process of ours has passed on to the one that serves.
HANDED_DOWN: Final = "ANGELIA_SERVE_FDS"
# As in `Server`.
BACKLOG: Final = 1024
# A port that is free for one family of addresses may be taken for another one.
ATTEMPTS: Final = 16


class Listening:
    """Listening sockets, and the file of one that is removed with it."""

    __slots__ = ("_file", "_path", "_process", "sockets")

    def __init__(self, sockets: list[socket.socket], path: str | None = None) -> None:
        self.sockets = sockets
        self._path = path
        self._file = None if path is None else _identity(path)
        self._process = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        for sock in self.sockets:
            sock.close()
        # A process that was forked from this one ends, and the server goes on.
        if self._path is None or self._process != os.getpid():
            return
        # Another server may have put its own file there.
        if self._file == _identity(self._path):
            with contextlib.suppress(OSError):
                Path(self._path).unlink()


def open_sockets(options: ServeOptions, environ: MutableMapping[str, str]) -> Listening:
    """Listen where `options` say, or on what systemd has passed. Raises `UsageError`."""
    handed_down = environ.pop(HANDED_DOWN, "")
    if handed_down:
        return _inherited(_numbers(handed_down))
    if options.fd is not None:
        return _inherited([options.fd])
    try:
        descriptors = inherited_descriptors(environ)
    except OSError as error:
        raise _refused("the sockets that LISTEN_FDS counts", error) from error
    if descriptors and not options.names_address:
        return _inherited(descriptors)
    if options.unix is not None:
        try:
            return Listening([_unix_socket(options.unix)], options.unix)
        except OSError as error:
            raise _refused(options.unix, error) from error
    host = DEFAULT_HOST if options.host is None else options.host
    port = DEFAULT_PORT if options.port is None else options.port
    try:
        return Listening(_tcp_sockets(host, port))
    except OSError as error:
        raise _refused(f"{host}, port {port}", error) from error


def url_of(sock: socket.socket, scheme: str) -> str:
    """How people, and clients, call what `sock` listens on."""
    address = sock.getsockname()
    if not isinstance(address, tuple):
        name = os.fsdecode(address)
        return f"unix:{name.replace(chr(0), '@')}"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{scheme}://{host}:{address[1]}/"


def _refused(place: str, error: OSError) -> UsageError:
    return UsageError(f"cannot listen on {place}: {error.strerror or error}")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        facts = Path(path).lstat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _numbers(handed_down: str) -> list[int]:
    try:
        return [count(number) for number in handed_down.split(",")]
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{HANDED_DOWN} is not for us: {str(error)[:100]}") from error


def _inherited(descriptors: list[int]) -> Listening:
    with contextlib.ExitStack() as stack:
        sockets = []
        for descriptor in descriptors:
            try:
                sockets.append(stack.enter_context(_adopted(descriptor)))
            except OSError as error:
                raise _refused(f"descriptor {descriptor}", error) from error
        stack.pop_all()
    return Listening(sockets)


def _adopted(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    sock = socket.socket(fileno=descriptor)
    try:
        # One that nobody listens on yet is bound at least; datagrams are refused by the system.
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


# --- TCP -----------------------------------------------------------------------------------------


def _tcp_sockets(host: str, port: int) -> list[socket.socket]:
    """A socket for each address of `host`, all with the same port."""
    for _ in range(ATTEMPTS - 1):
        try:
            return _try_tcp_sockets(host, port)
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE:
                raise
    return _try_tcp_sockets(host, port)


def _try_tcp_sockets(host: str, port: int) -> list[socket.socket]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    with contextlib.ExitStack() as stack:
        for family, _, protocol, _, address in dict.fromkeys(found):
            if sockets:
                port = sockets[0].getsockname()[1]
            try:
                sock = _tcp_socket(family, protocol, address, port)
            except OSError as error:
                # A name may stand for an address of a family that this machine does without.
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                failure = error
            else:
                sockets.append(stack.enter_context(sock))
        stack.pop_all()
    if failure is not None and not sockets:
        raise failure
    return sockets


def _tcp_socket(
    family: int, protocol: int, address: tuple[object, ...], port: int
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM, protocol)
    try:
        if os.name == "posix":
            # Connections of an earlier run that linger do not keep the port from us.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # IPv4 has a socket of its own.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address[0], port, *address[2:]))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


# --- Unix sockets --------------------------------------------------------------------------------


def _unix_socket(path: str) -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise OSError(errno.EAFNOSUPPORT, "there are no Unix sockets here")
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove the file of a socket on which nobody listens any more."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "there is a file of that name")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
        except BlockingIOError:  # Somebody listens, and is busy.
            pass
    raise OSError(errno.EADDRINUSE, "another server listens there")
