"""What every test of angelia runs under: async tests, a watch on leaks, the peers it needs.

Owns: how an ``async def`` test gets its event loop (the `loop_kind` fixture asks for both kinds);
what it must not leave behind (tasks, failures that only the loop saw, objects that warn when they
are collected); when a missing peer is a skip and when a failure. The peers themselves are in
`peers.fixtures`. Fixtures are ordinary functions: what needs the loop is opened in the test.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import itertools
import os
import shutil
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import pytest
from hypothesis import settings

pytest_plugins = ["peers.fixtures", "pytester"]

# How fast an example runs says something about the machine, not about the code. In CI the examples
# are the same every time (.ci/run asks for that), so that a failure is the change's.
settings.register_profile(
    "angelia", deadline=None, derandomize="ANGELIA_SAME_EXAMPLES" in os.environ
)
settings.load_profile("angelia")

REFUSED_HANDSHAKE = "Error on transport creation for incoming connection"

LoopFactory: TypeAlias = Callable[[], asyncio.AbstractEventLoop]
RequirePeer: TypeAlias = Callable[[str], str]

# A guard against hangs, far above what a test may take; `deadline` changes it for one test.
DEADLINE = 60.0

# After a test, what it closed may need some turns of the loop until it is gone: a transport tells
# its protocol one turn after close(), a cancelled task ends in the next. No time passes in them.
SETTLING_TURNS = 20

# After so many async tests a collection looks at everything that is there.
WHOLE_COLLECTION_INTERVAL = 500

# Where the distributions put servers, which is not in every user's PATH.
EXTRA_PATHS = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/lib/squid", "/usr/lib64/squid")


# Where `make peers` installs what is npm's.
NODE_MODULES = Path(__file__).parent.parent / ".venvs" / "node" / "node_modules"


# --- async tests ---------------------------------------------------------------------------------


class Leaks:
    """What went wrong on a loop that no test function could see."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Be the exception handler of a loop."""
        # In debug mode a loop tells of clients that do not like a test server's certificate.
        if context.get("message") == REFUSED_HANDSHAKE:
            return
        lines = [str(context.get("message", "the loop's exception handler was called"))]
        lines += [f"  {key}: {value!r}" for key, value in context.items() if key != "message"]
        self.found.append("\n".join(lines))

    def add_tasks(self, tasks: set[asyncio.Task[Any]]) -> None:
        self.found += [f"task left pending: {task!r}" for task in tasks]


async def _watched(main: Coroutine[Any, Any, Any], deadline: float, leaks: Leaks) -> None:
    asyncio.get_running_loop().set_exception_handler(leaks.handle)
    this = asyncio.current_task()
    guard = asyncio.timeout(deadline)
    try:
        async with guard:
            await main
    except TimeoutError as exc:
        if guard.expired():
            raise AssertionError(f"the test was still running after {deadline:g} seconds") from exc
        raise
    for _ in range(SETTLING_TURNS):
        if asyncio.all_tasks() == {this}:
            break
        await asyncio.sleep(0)
    leaks.add_tasks({task for task in asyncio.all_tasks() if task is not this})
    # Futures whose exception nobody took complain when they are collected: now, not in a later
    # test. One more turn for what collecting them scheduled.
    gc.collect()
    await asyncio.sleep(0)


def run_async_test(
    make: Callable[[], Coroutine[Any, Any, Any]],
    *,
    loop_factory: LoopFactory | None = None,
    deadline: float = DEADLINE,
) -> None:
    """Run one coroutine to its end on a loop of its own; fail if it leaves something behind.

    Raises what the coroutine raises, else `pytest.fail` for tasks left pending and for calls of
    the loop's exception handler ("exception was never retrieved", fatal errors of transports).
    """
    leaks = Leaks()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_watched(make(), deadline, leaks))
    # Unclosed sockets, transports and generators warn now; the warnings are errors.
    gc.collect()
    set_survivors_aside()
    if leaks.found:
        pytest.fail("the test left something behind:\n" + "\n".join(leaks.found), pytrace=False)


_runs = itertools.count(1)


def set_survivors_aside() -> None:
    """Keep the next collections cheap: what outlives a test is mostly pytest's, and stays.

    Two collections a test over all that has ever been there take most of a run's time. What
    became garbage later is found now and then.
    """
    if next(_runs) % WHOLE_COLLECTION_INTERVAL == 0:
        gc.unfreeze()
        gc.collect()
    gc.freeze()


def _loop_factory(kind: str) -> LoopFactory | None:
    if kind == "stock":
        return None
    uvloop = pytest.importorskip("uvloop")
    factory: LoopFactory = uvloop.new_event_loop
    return factory


@pytest.fixture(params=["stock", "uvloop"])
def loop_kind(request: pytest.FixtureRequest) -> str:
    """Makes an async test run twice: on asyncio's own loop and on uvloop.

    Ask for it as a parameter, or for a whole module or class with
    ``pytest.mark.usefixtures("loop_kind")``.
    """
    kind: str = request.param
    return kind


def _deadline(item: pytest.Item) -> float:
    mark = item.get_closest_marker("deadline")
    return DEADLINE if mark is None else float(mark.args[0])


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run ``async def`` tests, those under hypothesis' `given` too."""
    function = pyfuncitem.obj
    run = functools.partial(
        run_async_test,
        loop_factory=_loop_factory(str(pyfuncitem.funcargs.get("loop_kind", "stock"))),
        deadline=_deadline(pyfuncitem),
    )
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", None)
    if inner is not None and inspect.iscoroutinefunction(inner):

        @functools.wraps(inner)
        def example(*args: Any, **kwargs: Any) -> None:
            run(lambda: inner(*args, **kwargs))

        function.hypothesis.inner_test = example
        return None
    if not inspect.iscoroutinefunction(function):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    run(lambda: function(**arguments))
    return True


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin with what is there set aside."""
    gc.collect()
    set_survivors_aside()


# --- peers ---------------------------------------------------------------------------------------


def _missing(name: str) -> NoReturn:
    """Skip the test, or fail it where all peers have to be there."""
    if os.environ.get("ANGELIA_REQUIRE_PEERS") == "1":
        pytest.fail(f"ANGELIA_REQUIRE_PEERS=1, but there is no {name} here", pytrace=False)
    pytest.skip(f"there is no {name} here")


@pytest.fixture(scope="session")
def require_peer() -> RequirePeer:
    """Finds a program (``nginx``), a module (``module:uvicorn``), a package of npm's (``npm:ws``).

    The answer is its path, the module's name, or the directory that NODE_PATH has to name.
    What is missing skips the test; with ``ANGELIA_REQUIRE_PEERS=1`` it fails it.
    """
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *EXTRA_PATHS])

    @functools.cache
    def find(name: str) -> str | None:
        if name.startswith("module:"):
            module = name.removeprefix("module:")
            return module if find_spec(module) is not None else None
        if name.startswith("npm:"):
            package = NODE_MODULES / name.removeprefix("npm:") / "package.json"
            return str(NODE_MODULES) if package.exists() else None
        return shutil.which(name, path=path)

    def require(name: str) -> str:
        found = find(name)
        if found is None:
            _missing(name)
        return found

    return require
