"""What the tests of `angelia.core` share: the choice of the leaf loops' implementation."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest

from angelia.core import pure, speedups


# Of module scope: hypothesis runs many examples under one fixture.
@pytest.fixture(scope="module", params=["pure", "c"])
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs HTTP/1.1 tests over the leaf loops in Python, and over those in C where they are."""
    name: str = request.param
    if name == "c" and speedups.IMPLEMENTATION != "c":
        pytest.skip("the C module is not there")
    module = pure if name == "pure" else importlib.import_module("angelia.core._speedups")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("angelia.core.h1.scan_response_head", module.scan_response_head)
        patch.setattr("angelia.core.h1_server.scan_request_head", module.scan_request_head)
        patch.setattr("angelia.core.h1_wire.serialize_head", module.serialize_head)
        patch.setattr("angelia.core.h1_wire.serialize_and_group", module.serialize_and_group)
        patch.setattr("angelia.core.h1_body.serialize_head", module.serialize_head)
        yield name
