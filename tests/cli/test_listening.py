"""Tests of angelia.cli.listening."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from angelia.cli.exits import UsageError
from angelia.cli.listening import HANDED_DOWN, open_sockets, url_of
from angelia.cli.serve_arguments import ServeOptions

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sockets of POSIX")

LOOPBACK = "127.0.0.1"
# An address of the range for documentation, which no machine has.
ELSEWHERE = "192.0.2.1"

Resolve = Callable[[dict[str, list[str]]], None]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Gives names addresses of one's own."""
    system = socket.getaddrinfo

    def resolve(known: dict[str, list[str]]) -> None:
        def look_up(host: Any, *arguments: Any, **options: Any) -> list[Any]:
            return [
                found
                for address in known.get(host, [host])
                for found in system(address, *arguments, **options)
            ]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    return resolve


@pytest.fixture
def path() -> Iterator[str]:
    """A path that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="angelia") as name:
        yield f"{name}/s"


def connects(address: tuple[str, int]) -> bool:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(address):
        return True
    return False


class TestTCP:
    """Hosts and ports."""

    def test_free_port(self) -> None:
        """Port 0 takes a free one; with the end nobody listens there any more."""
        with open_sockets(ServeOptions(host=LOOPBACK, port=0), {}) as listening:
            (sock,) = listening.sockets
            address = sock.getsockname()
            assert url_of(sock, "https") == f"https://{LOOPBACK}:{address[1]}/"
            assert connects(address)
        assert not connects(address)

    def test_several_addresses(self, ipv6: str, names: Resolve) -> None:
        """A name is listened on at all its addresses, with the same port, be that a free one."""
        names({"both": [LOOPBACK, ipv6, LOOPBACK]})
        with open_sockets(ServeOptions(host="both", port=0), {}) as listening:
            first, second = [url_of(sock, "http") for sock in listening.sockets]
            port = listening.sockets[0].getsockname()[1]
            assert (first, second) == (f"http://{LOOPBACK}:{port}/", f"http://[::1]:{port}/")
            assert connects((LOOPBACK, port))
            assert connects((ipv6, port))

    def test_addresses_of_others(self, names: Resolve) -> None:
        """Addresses that this machine does not have are left out, unless there is no other."""
        names({"some": [ELSEWHERE, LOOPBACK], "none": [ELSEWHERE]})
        with open_sockets(ServeOptions(host="some", port=0), {}) as listening:
            assert [sock.getsockname()[0] for sock in listening.sockets] == [LOOPBACK]
        with pytest.raises(UsageError, match=r"^cannot listen on none, port 0: "):
            open_sockets(ServeOptions(host="none", port=0), {})

    def test_taken(self, names: Resolve) -> None:
        """A port that is taken is an error, and no socket is left at the other addresses."""
        names({"both": ["127.0.0.2", LOOPBACK]})
        with socket.create_server((LOOPBACK, 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(UsageError, match=rf"cannot listen on both, port {port}: Address"):
                open_sockets(ServeOptions(host="both", port=port), {})
            assert not connects(("127.0.0.2", port))

    def test_taken_for_one_address(self, names: Resolve, monkeypatch: pytest.MonkeyPatch) -> None:
        """A free port that is taken at the second address is given up for another one."""
        names({"both": ["127.0.0.2", LOOPBACK]})
        with socket.create_server((LOOPBACK, 0)) as other:
            taken = other.getsockname()[1]
            bind = socket.socket.bind
            tried: list[int] = []

            class Socket(socket.socket):
                def bind(self, address: Any) -> None:
                    if address == ("127.0.0.2", 0):
                        tried.append(0)
                        # The first port that the system finds is a bad one.
                        address = ("127.0.0.2", taken if len(tried) == 1 else 0)
                    bind(self, address)

            monkeypatch.setattr(socket, "socket", Socket)
            with open_sockets(ServeOptions(host="both", port=0), {}) as listening:
                ports = {sock.getsockname()[1] for sock in listening.sockets}
            assert len(tried) == 2
            assert len(ports) == 1
            assert taken not in ports


class TestUnix:
    """Unix sockets and their files."""

    def test_file(self, path: str) -> None:
        """The file is there for as long as it is listened on."""
        with open_sockets(ServeOptions(unix=path), {}) as listening:
            assert url_of(listening.sockets[0], "http") == f"unix:{path}"
            assert Path(path).is_socket()
        assert not Path(path).exists()

    def test_stale_file(self, path: str) -> None:
        """A file that nobody listens at is replaced."""
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        with (
            open_sockets(ServeOptions(unix=path), {}),
            socket.socket(socket.AF_UNIX) as client,
        ):
            client.connect(path)

    @pytest.mark.parametrize("backlog", [0, 16])
    def test_taken(self, path: str, backlog: int) -> None:
        """One that somebody listens at is not, were they busy."""
        with socket.socket(socket.AF_UNIX) as other, contextlib.ExitStack() as stack:
            other.bind(path)
            other.listen(backlog)
            # With a backlog of 0 this one is all that there is room for.
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(path)
            with pytest.raises(UsageError, match="another server listens there"):
                open_sockets(ServeOptions(unix=path), {})
            assert Path(path).is_socket()

    def test_other_file(self, path: str) -> None:
        """A file that is no socket stays."""
        Path(path).write_text("mine")
        with pytest.raises(UsageError, match="there is a file of that name"):
            open_sockets(ServeOptions(unix=path), {})
        assert Path(path).read_text() == "mine"

    def test_no_directory(self, path: str) -> None:
        """A directory that is not there is an error that says so."""
        with pytest.raises(UsageError, match=r"cannot listen on .*: No such file"):
            open_sockets(ServeOptions(unix=f"{path}/s"), {})

    @pytest.mark.parametrize("replaced", [True, False])
    def test_file_of_another(self, path: str, replaced: bool) -> None:
        """At the end only the own file is removed."""
        with open_sockets(ServeOptions(unix=path), {}), contextlib.ExitStack() as stack:
            Path(path).unlink()
            if replaced:
                other = stack.enter_context(socket.socket(socket.AF_UNIX))
                other.bind(path)
        assert Path(path).exists() is replaced

    def test_abstract_name(self) -> None:
        """A name in no file system is shown as it is written elsewhere."""
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.bind(f"\0angelia-{os.getpid()}")
            except OSError:
                pytest.skip("there are no such names here")
            assert url_of(sock, "http") == f"unix:@angelia-{os.getpid()}"


class TestInherited:
    """Descriptors of sockets that others have opened."""

    def test_bound(self) -> None:
        """One that is bound, and not listened on, is listened on."""
        with socket.socket() as sock:
            sock.bind((LOOPBACK, 0))
            with open_sockets(ServeOptions(fd=os.dup(sock.fileno())), {}) as listening:
                assert connects(listening.sockets[0].getsockname())

    def test_handed_down(self) -> None:
        """Those of a process of ours come first, and the variable is gone then."""
        with socket.create_server((LOOPBACK, 0)) as one, socket.create_server((LOOPBACK, 0)) as two:
            numbers = f"{os.dup(one.fileno())},{os.dup(two.fileno())}"
            environ = {HANDED_DOWN: numbers, "OTHER": "x"}
            with open_sockets(ServeOptions(port=1), environ) as listening:
                addresses = [sock.getsockname() for sock in listening.sockets]
                assert addresses == [one.getsockname(), two.getsockname()]
                assert not any(os.get_inheritable(sock.fileno()) for sock in listening.sockets)
            assert environ == {"OTHER": "x"}

    def test_no_stream(self) -> None:
        """One that cannot be listened on is refused, and closed with the others."""
        with (
            socket.create_server((LOOPBACK, 0)) as stream,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        ):
            numbers = [os.dup(sock.fileno()) for sock in (stream, datagrams)]
            environ = {HANDED_DOWN: ",".join(map(str, numbers))}
            with pytest.raises(UsageError, match=f"cannot listen on descriptor {numbers[1]}: "):
                open_sockets(ServeOptions(), environ)
            for number in numbers:
                with pytest.raises(OSError, match="Bad file descriptor"):
                    os.fstat(number)

    def test_fewer_than_told(self) -> None:
        """More sockets than there are were counted by mistake."""
        environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1024"}
        with pytest.raises(UsageError, match="the sockets that LISTEN_FDS counts: Bad file"):
            open_sockets(ServeOptions(), environ)
