"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

RequirePeer = Callable[[str], str]

CONFTEST = 'pytest_plugins = ["angelia.testing.pytest_plugin"]'

TESTS = """
import asyncio, angelia, pytest
from angelia.testing import TestClient, TestServer

MARK
started = []

async def hello(request):
    return angelia.Response(text="hello")

async def test_client(angelia_client):
    client = await angelia_client(hello)
    started.append(client)
    async with client.get("/") as response:
        assert await response.text() == "hello"

class TestInClass:
    async def test_server(self, angelia_server, angelia_client):
        server = await angelia_server(hello)
        started.append(await angelia_client(server))

async def test_raw(raw_server, angelia_client):
    client = await angelia_client(await raw_server(b"HTTP/1.1 204 No Content\\r\\n\\r\\n"))
    async with client.get("/") as response:
        assert response.status == 204

@pytest.mark.parametrize("number", [1])
async def test_late(request, number):
    started.append(await request.getfixturevalue("angelia_client")(hello))

async def test_all_closed():
    assert len(started) == 3
    for client in started:
        assert client.session.closed and client.port is None
"""


def _run(pytester: pytest.Pytester, mark: str, *arguments: str) -> pytest.RunResult:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(TESTS.replace("MARK", mark))
    return pytester.runpytest_subprocess("-Werror", "-p", "no:cacheprovider", *arguments)


def test_alone(pytester: pytest.Pytester) -> None:
    """Tests run, and what they started is closed when they end; no class looks like a test."""
    _run(pytester, "", "-p", "no:asyncio", "-p", "no:anyio").assert_outcomes(passed=5)


def test_anyio(pytester: pytest.Pytester, require_peer: RequirePeer) -> None:
    """Another plugin may run the tests."""
    require_peer("module:anyio")
    mark = "pytestmark = pytest.mark.anyio\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'"
    _run(pytester, mark, "-p", "no:asyncio").assert_outcomes(passed=5)


@pytest.mark.parametrize(("mode", "others"), [("auto", ()), ("strict", ("-p", "no:anyio"))])
def test_asyncio(
    pytester: pytest.Pytester, require_peer: RequirePeer, mode: str, others: tuple[str, ...]
) -> None:
    """pytest-asyncio runs the tests, in each of its modes, beside anyio's plugin or not."""
    require_peer("module:pytest_asyncio")
    # Without it, pytest-asyncio warns.
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    mark = "" if mode == "auto" else "pytestmark = pytest.mark.asyncio"
    result = _run(pytester, mark, f"--asyncio-mode={mode}", *others)
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["*asyncio: mode=*"])


def test_fixtures_of_pytest_asyncio(pytester: pytest.Pytester, require_peer: RequirePeer) -> None:
    """An asynchronous fixture's server is of the test's loop, and the client finds it there."""
    require_peer("module:pytest_asyncio")
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        """
        import angelia, asyncio, pytest_asyncio
        from angelia.testing import TestServer

        async def hello(request):
            return angelia.Response(text="hello")

        @pytest_asyncio.fixture
        async def server():
            async with TestServer(hello) as server:
                yield server

        async def test_client(server, angelia_client):
            client = await angelia_client(server)
            async with client.get("/") as response:
                assert await response.text() == "hello"
        """
    )
    arguments = ("-Werror", "-p", "no:cacheprovider", "--asyncio-mode=auto")
    pytester.runpytest_subprocess(*arguments).assert_outcomes(passed=1)


def test_failure(pytester: pytest.Pytester) -> None:
    """A test that fails is a failed one, and closes what it started all the same."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        """
        started = []

        async def test_fails(angelia_client):
            started.append(await angelia_client(None))
            assert 1 == 2

        def test_closed():
            assert started[0].session.closed

        def test_not_async(angelia_client):
            pass
        """
    )
    arguments = ("-Werror", "-p", "no:cacheprovider", "-p", "no:asyncio")
    result = pytester.runpytest_subprocess(*arguments)
    result.assert_outcomes(failed=1, passed=1, errors=1)
    result.stdout.fnmatch_lines(["*angelia_client is for tests that are coroutine functions*"])
