"""Fixtures that start the peers: one process of each kind per test session.

Owns the life of the processes and what a test gets to know of them: addresses, accounts,
certificates, logs. What each peer offers is said beside it (`nginx`, `echo_app`, `socks_server`).
A peer that is missing skips the test, or fails it, as `require_peer` decides.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from yarl import URL

from peers.nginx import Nginx, write_configuration
from peers.process import LOOPBACK, PASSWORD, PASSWORD_HASH, USER, Process, free_port

TESTS = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class HTTPProxy:
    """A proxy, with an account or without: ``url`` needs none, ``auth_url`` needs the one."""

    url: URL
    auth_url: URL
    https_url: URL | None
    log: Path

    user: str = USER
    password: str = PASSWORD

    def logged(self) -> str:
        """Return what the proxy wrote so far of the requests it saw."""
        return self.log.read_text(errors="replace")


@dataclass(frozen=True, slots=True)
class SOCKSProxy:
    """A SOCKS server's port on 127.0.0.1; ``auth_port`` is the one that asks for the account."""

    port: int
    auth_port: int | None
    log: Path

    user: str = USER
    password: str = PASSWORD

    def logged(self) -> str:
        """Return what the server wrote so far of the requests it saw."""
        return self.log.read_text(errors="replace")


# --- the machine ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def peers_directory() -> Iterator[Path]:
    """A directory that servers can read which gave up being root."""
    directory = Path(tempfile.mkdtemp(prefix="angelia-peers-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def has_ipv6() -> bool:
    """Whether ::1 can be bound here."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture
def ipv6(has_ipv6: bool) -> str:
    """The IPv6 loopback address; skips the test (or fails it) where there is none."""
    if not has_ipv6:
        if os.environ.get("ANGELIA_REQUIRE_PEERS") == "1":
            pytest.fail("ANGELIA_REQUIRE_PEERS=1, but there is no ::1 here", pytrace=False)
        pytest.skip("there is no ::1 here")
    return "::1"


# --- certificates --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    """The authority that the peers' certificates are of."""
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_path(ca: trustme.CA, peers_directory: Path) -> Path:
    """Its certificate as a PEM file, for ``curl --cacert``."""
    path = peers_directory / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="session")
def certificate_path(ca: trustme.CA, peers_directory: Path) -> Path:
    """Key and certificate for localhost, 127.0.0.1 and ::1, in one PEM file."""
    path = peers_directory / "localhost.pem"
    ca.issue_cert("localhost", LOOPBACK, "::1").private_key_and_cert_chain_pem.write_to_path(
        str(path)
    )
    path.chmod(0o644)  # A throw-away key; squid reads it after it gave up being root.
    return path


@pytest.fixture(scope="session")
def client_certificate_path(ca: trustme.CA, peers_directory: Path) -> Path:
    """Key and certificate of a client, for the server that asks for one."""
    path = peers_directory / "client.pem"
    ca.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="session")
def client_ssl(ca: trustme.CA) -> ssl.SSLContext:
    """A client's context that trusts `ca`, and verifies as the default one does."""
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


@pytest.fixture(scope="session")
def server_ssl(certificate_path: Path) -> ssl.SSLContext:
    """A server's context with `ca`'s certificate for localhost, for `RawServer(tls=...)`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_path)
    return context


# --- servers -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def uvicorn_url(require_peer: Callable[[str], str], peers_directory: Path) -> Iterator[URL]:
    """The echo application under uvicorn with httptools."""
    require_peer("module:uvicorn")
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "peers.echo_app:app", "--app-dir", str(TESTS)]
    command += ["--host", LOOPBACK, "--port", str(port), "--http", "httptools", "--loop", "asyncio"]
    command += ["--timeout-keep-alive", "75", "--no-access-log", "--log-level", "warning"]
    with Process(command, log=peers_directory / "uvicorn.log", ready=[port]):
        yield URL.build(scheme="http", host=LOOPBACK, port=port)


@pytest.fixture(scope="session")
def nginx(
    require_peer: Callable[[str], str],
    peers_directory: Path,
    certificate_path: Path,
    ca_path: Path,
    has_ipv6: bool,
    uvicorn_url: URL,
) -> Iterator[Nginx]:
    """nginx on free ports; see `Nginx` for what it offers."""
    program = require_peer("nginx")
    directory = peers_directory / "nginx"
    directory.mkdir()
    ports = [free_port() for _ in range(4)]
    server = Nginx(directory, *ports)
    configuration = write_configuration(
        server,
        certificate=certificate_path,
        authority=ca_path,
        upstream_port=uvicorn_url.port or 0,
        ipv6=has_ipv6,
    )
    command = [program, "-p", str(directory), "-e", "stderr", "-c", str(configuration)]
    with Process(command, log=directory / "log", ready=ports):
        yield server


@pytest.fixture(scope="session")
def http_server_url(peers_directory: Path) -> Iterator[URL]:
    """Python's own ``http.server``, with HTTP/1.1, serving ``hello.txt``."""
    directory = peers_directory / "http.server"
    directory.mkdir()
    (directory / "hello.txt").write_bytes(b"hello\n")
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", LOOPBACK, "--protocol", "HTTP/1.1"]
    command += ["--directory", str(directory), str(port)]
    with Process(command, log=peers_directory / "http.server.log", ready=[port]):
        yield URL.build(scheme="http", host=LOOPBACK, port=port)


# --- proxies -------------------------------------------------------------------------------------

SQUID = """
http_port {loopback}:{port}
http_port {loopback}:{auth_port}
{https}
auth_param basic program {helper} {directory}/passwords
auth_param basic children 1 startup=1 idle=1
auth_param basic realm angelia
acl account proxy_auth REQUIRED
acl asks localport {auth_port}
http_access deny asks !account
http_access allow all
cache deny all
cache_mem 8 MB
access_log stdio:{directory}/access.log
cache_log {directory}/cache.log
cache_store_log none
pid_filename {directory}/squid.pid
coredump_dir {directory}
pinger_enable off
shutdown_lifetime 0 seconds
visible_hostname localhost
buffered_logs off
"""


def _squid_account() -> pwd.struct_passwd:
    """Return whom squid becomes when root starts it; the name depends on the distribution."""
    known = {account.pw_name: account for account in pwd.getpwall()}
    return next(known[name] for name in ("proxy", "squid", "nobody") if name in known)


@pytest.fixture(scope="session")
def squid(
    require_peer: Callable[[str], str], peers_directory: Path, certificate_path: Path
) -> Iterator[HTTPProxy]:
    """squid: a port for everybody, one for the account, and one that speaks TLS itself."""
    program, helper = require_peer("squid"), require_peer("basic_ncsa_auth")
    directory = peers_directory / "squid"
    directory.mkdir()
    (directory / "passwords").write_text(f"{USER}:{PASSWORD_HASH}\n")
    (directory / "access.log").touch()
    if os.geteuid() == 0:
        account = _squid_account()
        for path in (directory, *directory.iterdir()):
            os.chown(path, account.pw_uid, account.pw_gid)
    port, auth_port, https_port = (free_port() for _ in range(3))
    https = f"https_port {LOOPBACK}:{https_port} tls-cert={certificate_path}"
    configuration = directory / "squid.conf"
    configuration.write_text(
        SQUID.format(
            auth_port=auth_port,
            directory=directory,
            helper=helper,
            https=https,
            loopback=LOOPBACK,
            port=port,
        )
    )
    command = [program, "-N", "-d", "1", "-f", str(configuration)]
    with Process(command, log=directory / "log", ready=[port, auth_port, https_port]):
        yield HTTPProxy(
            url=URL.build(scheme="http", host=LOOPBACK, port=port),
            auth_url=URL.build(scheme="http", host=LOOPBACK, port=auth_port),
            https_url=URL.build(scheme="https", host="localhost", port=https_port),
            log=directory / "access.log",
        )


@pytest.fixture(scope="session")
def proxy_py(require_peer: Callable[[str], str], peers_directory: Path) -> Iterator[HTTPProxy]:
    """proxy.py: a port for everybody, and one for the account."""
    require_peer("module:proxy")
    directory = peers_directory / "proxy.py"
    directory.mkdir()
    port, auth_port = free_port(), free_port()
    base = [sys.executable, "-m", "proxy", "--hostname", LOOPBACK, "--num-workers", "1"]
    base += ["--num-acceptors", "1", "--data-dir", str(directory), "--cache-dir", str(directory)]
    log = directory / "log"
    with ExitStack() as stack:
        stack.enter_context(Process([*base, "--port", str(port)], log=log, ready=[port]))
        command = [*base, "--port", str(auth_port), "--basic-auth", f"{USER}:{PASSWORD}"]
        stack.enter_context(Process(command, log=log, ready=[auth_port]))
        yield HTTPProxy(
            url=URL.build(scheme="http", host=LOOPBACK, port=port),
            auth_url=URL.build(scheme="http", host=LOOPBACK, port=auth_port),
            https_url=None,
            log=log,
        )


@pytest.fixture(scope="session")
def socks(peers_directory: Path) -> Iterator[SOCKSProxy]:
    """Our own SOCKS server (4, 4a, 5), on a port for everybody and one for the account."""
    port, auth_port = free_port(), free_port()
    log = peers_directory / "socks.log"
    base = [sys.executable, "-m", "peers.socks_server"]
    with ExitStack() as stack:
        stack.enter_context(Process([*base, str(port)], log=log, ready=[port], cwd=TESTS))
        command = [*base, str(auth_port), USER, PASSWORD]
        stack.enter_context(Process(command, log=log, ready=[auth_port], cwd=TESTS))
        yield SOCKSProxy(port, auth_port, log)


DANTE = """
logoutput: stderr
internal: {loopback} port = {port}
external: lo
clientmethod: none
socksmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{
    from: 0.0.0.0/0 to: 0.0.0.0/0
}}
socks pass {{
    from: 0.0.0.0/0 to: 0.0.0.0/0
    protocol: tcp
    log: connect
}}
"""


@pytest.fixture(scope="session")
def dante(require_peer: Callable[[str], str], peers_directory: Path) -> Iterator[SOCKSProxy]:
    """Dante, a SOCKS server (4, 5) of another make; only root may start it."""
    program = require_peer("danted")
    if os.geteuid() != 0:
        pytest.skip("only root can start danted")
    directory = peers_directory / "dante"
    directory.mkdir()
    port = free_port()
    configuration = directory / "danted.conf"
    configuration.write_text(DANTE.format(loopback=LOOPBACK, port=port))
    log = directory / "log"
    command = [program, "-f", str(configuration), "-p", str(directory / "danted.pid")]
    with Process(command, log=log, ready=[port]):
        yield SOCKSProxy(port, None, log)
