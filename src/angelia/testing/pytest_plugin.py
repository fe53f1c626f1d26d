"""The pytest plugin: fixtures that start servers and clients, and close them after the test.

Load it in the top-level ``conftest.py``::

    pytest_plugins = ["angelia.testing.pytest_plugin"]

Owns: the life of what the fixtures make: it is closed in the event loop of its test, when the test
has ended, whichever plugin runs the test. Tests that are coroutine functions, and that no other
plugin runs, run with `asyncio.run`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Generator
from contextlib import AsyncExitStack
from typing import Any, Final, TypeAlias

import pytest

from angelia.server.options import Handler
from angelia.testing.client import TestClient
from angelia.testing.server import RawServer, Script, TestServer

__all__ = ("angelia_client", "angelia_server", "raw_server")

ServerFactory: TypeAlias = Callable[..., Awaitable[TestServer]]
ClientFactory: TypeAlias = Callable[..., Awaitable[TestClient]]
RawServerFactory: TypeAlias = Callable[..., Awaitable[RawServer]]

# What the test's fixtures have started.
_STARTED: Final = pytest.StashKey[AsyncExitStack]()


def _started(request: pytest.FixtureRequest) -> AsyncExitStack:
    node: pytest.Item = request.node
    started = node.stash.get(_STARTED, None)
    if started is not None:
        # It runs already, perhaps as something that another plugin has made of it.
        return started
    if not inspect.iscoroutinefunction(getattr(node, "obj", None)):
        raise pytest.UsageError(f"{request.fixturename} is for tests that are coroutine functions")
    started = node.stash[_STARTED] = AsyncExitStack()
    return started


@pytest.fixture
def angelia_server(request: pytest.FixtureRequest) -> ServerFactory:
    """``server = await angelia_server(handler, ...)``: a `TestServer` that has started."""
    started = _started(request)

    async def start(handler: Handler, **options: Any) -> TestServer:
        return await started.enter_async_context(TestServer(handler, **options))

    return start


@pytest.fixture
def angelia_client(request: pytest.FixtureRequest) -> ClientFactory:
    """``client = await angelia_client(server_or_handler, ...)``: a `TestClient` of it."""
    started = _started(request)

    async def start(server: TestServer | RawServer | Handler, **options: Any) -> TestClient:
        return await started.enter_async_context(TestClient(server, **options))

    return start


@pytest.fixture
def raw_server(request: pytest.FixtureRequest) -> RawServerFactory:
    """``server = await raw_server(script)``: a `RawServer` that has started."""
    started = _started(request)

    async def start(script: Script | bytes, **options: Any) -> RawServer:
        return await started.enter_async_context(RawServer(script, **options))

    return start


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Let an asynchronous test close what it has started, before its loop ends."""
    function = getattr(item, "obj", None)
    if not isinstance(item, pytest.Function) or not inspect.iscoroutinefunction(function):
        return (yield)

    # A fixture may still be asked for while the test runs.
    started = item.stash.setdefault(_STARTED, AsyncExitStack())

    @functools.wraps(function)
    async def closing(*args: Any, **kwargs: Any) -> None:
        async with started:
            await function(*args, **kwargs)

    # Before a plugin for asyncio makes something else of it.
    item.obj = closing
    try:
        return (yield)
    finally:
        item.obj = function
        del item.stash[_STARTED]


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine function, if nobody else does."""
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    asyncio.run(function(**arguments))
    return True
