"""Tests of angelia.hosting.systemd."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from angelia.hosting.systemd import inherited_descriptors, notify

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")

# Puts a socket where systemd does before it asks.
ACTIVATED = """
import os, socket, sys
os.dup2(int(sys.argv[1]), 3)
from angelia.hosting.systemd import inherited_descriptors
environ = {**os.environ, "LISTEN_PID": str(os.getpid())}
found = inherited_descriptors(environ)
print(found, [os.get_inheritable(fd) for fd in found], sorted(n for n in environ if "LISTEN" in n))
for fd in found:
    print(socket.socket(fileno=os.dup(fd)).getsockname()[1])
"""


def test_inherited() -> None:
    """The sockets begin with descriptor 3, are not passed on, and the variables are gone."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-c", ACTIVATED, str(sock.fileno())],
            env={
                **os.environ,
                "LISTEN_FDS": "1",
                "LISTEN_FDNAMES": "http",
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
            pass_fds=[sock.fileno()],
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.stdout, done.stderr) == (f"[3] [False] []\n{port}\n", "")


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "-1", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "\u0661", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "0", "LISTEN_PID": str(os.getpid())},
    ],
)
def test_nothing_inherited(environ: dict[str, str]) -> None:
    """Sockets of another process, or a count that is none, are none of ours."""
    assert inherited_descriptors(environ) == []


def test_descriptors_that_are_not_there() -> None:
    """A count that is wrong is an error of the system's."""
    with pytest.raises(OSError, match="Bad file descriptor"):
        inherited_descriptors({"LISTEN_FDS": "9" * 20, "LISTEN_PID": str(os.getpid())})


def test_notify(tmp_path: Path) -> None:
    """The states go to the socket that NOTIFY_SOCKET names, in one message."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        notify({"NOTIFY_SOCKET": path}, "READY=1", "STATUS=serving")
        assert manager.recv(100) == b"READY=1\nSTATUS=serving"


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
def test_notify_abstract() -> None:
    """An @ stands for the NUL of an abstract name."""
    name = f"angelia-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        notify({"NOTIFY_SOCKET": f"@{name}"}, "READY=1")
        assert manager.recv(100) == b"READY=1"


def test_nobody_to_notify(tmp_path: Path) -> None:
    """Without a manager, or with one that is gone, nothing happens."""
    notify({}, "READY=1")
    notify({"NOTIFY_SOCKET": "vsock:2:1"}, "READY=1")
    notify({"NOTIFY_SOCKET": str(tmp_path / "gone")}, "READY=1")
