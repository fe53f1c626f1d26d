"""What systemd and a service say to each other: inherited sockets, and the state of the service.

Owns: the protocols of sd_listen_fds(3) and sd_notify(3), which others speak as well. Knows nothing
of servers.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from typing import Final

__all__ = ("inherited_descriptors", "notify")

# SD_LISTEN_FDS_START: behind standard input, output and error.
FIRST_DESCRIPTOR: Final = 3
# Far above what a service listens on: a number that came by another way is no count of sockets.
MAX_DESCRIPTORS: Final = 1024


def inherited_descriptors(environ: MutableMapping[str, str]) -> list[int]:
    """The numbers of the sockets that this process was started with, empty for none.

    The variables that say so are removed from `environ`, and the descriptors are not inherited any
    further.
    """
    process, count = environ.get("LISTEN_PID", ""), environ.get("LISTEN_FDS", "")
    if process != str(os.getpid()) or not (count.isascii() and count.isdecimal()):
        # They are meant for another process.
        return []
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)
    number = min(int(count[:8]), MAX_DESCRIPTORS)
    descriptors = list(range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + number))
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return descriptors


def notify(environ: MutableMapping[str, str], *states: str) -> None:
    """Tell the service manager assignments such as ``READY=1``, if it wants to know.

    Does nothing where nobody listens: a service runs as well without a manager.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return
    if address[0] == "@":
        address = f"\0{address[1:]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto("\n".join(states).encode(), address)
        except OSError:
            return
