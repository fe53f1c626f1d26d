"""What the tests of `angelia.net` share: both event loops, certificates, a watch on leaks."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import Coroutine
from typing import Any

import pytest
import trustme
import uvloop

from dial_kit import Certificates, Run, watched


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run[Any]:
    """Runs a coroutine on each kind of event loop, and fails if it leaves a socket or a task."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def runner(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=factory) as loop:
            return loop.run(watched(main))

    return runner


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    """For localhost, target.test and the loopback addresses."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "target.test", "127.0.0.1", "::1")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(server)
    server.set_alpn_protocols(["http/1.1"])
    client = ssl.create_default_context()
    authority.configure_trust(client)
    der = ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())
    return Certificates(authority, server, client, hashlib.sha256(der).digest())


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
