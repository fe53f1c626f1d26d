"""Tools for tests of programs that use angelia: servers, clients, requests and replies to order.

Nothing here is loaded by ``import angelia``. The fixtures for pytest are in
`angelia.testing.pytest_plugin`, which nothing here imports either.
"""

from __future__ import annotations

from angelia.testing.client import TestClient
from angelia.testing.factories import make_mocked_request, make_response
from angelia.testing.mock import MockConnector, RecordedRequest
from angelia.testing.server import RawServer, TestServer, unused_port

__all__ = (
    "MockConnector",
    "RawServer",
    "RecordedRequest",
    "TestClient",
    "TestServer",
    "make_mocked_request",
    "make_response",
    "unused_port",
)
