"""RFC 8305 §5: the staggered race, with a fake clock instead of waiting."""

from __future__ import annotations

import asyncio
import socket

import pytest

from angelia.net.addresses import AddrInfoType
from angelia.net.happy_eyeballs import MIN_ATTEMPT_DELAY, connect_first, join_errors


class FakeClockLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes at once when there is nothing to do."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        ready = self._ready  # type: ignore[attr-defined]  # a fake clock needs the loop's queues
        scheduled = self._scheduled  # type: ignore[attr-defined]  # as above
        if not ready and scheduled:
            self.now = max(self.now, min(handle.when() for handle in scheduled))
        super()._run_once()  # type: ignore[misc]  # as above


class Socket(socket.socket):
    """Notes that it was closed."""

    closed = False

    def close(self) -> None:
        self.closed = True
        super().close()


class Network:
    """Attempts that end as planned: after how many seconds, and with which error, if any."""

    def __init__(self, plan: dict[str, tuple[float, BaseException | None]]) -> None:
        self.plan = plan
        self.started: list[tuple[str, float]] = []
        self.sockets: dict[str, Socket] = {}
        self.cancelled: list[str] = []

    @property
    def infos(self) -> list[AddrInfoType]:
        return [(socket.AF_INET, 1, 6, "", (name,)) for name in self.plan]

    async def attempt(self, info: AddrInfoType) -> socket.socket:
        name = info[4][0]
        loop = asyncio.get_running_loop()
        self.started.append((name, loop.time()))
        seconds, error = self.plan[name]
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        if error is not None:
            raise error
        sock = self.sockets[name] = Socket()
        return sock

    async def race(self, delay: float | None) -> str:
        sock = await connect_first(self.infos, self.attempt, delay)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        (winner,) = (name for name, made in self.sockets.items() if made is sock)
        for name, made in self.sockets.items():
            assert made.closed == (name != winner)
        sock.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return winner


def run(main: object) -> object:
    with asyncio.Runner(loop_factory=FakeClockLoop) as runner:
        return runner.run(main)  # type: ignore[arg-type]  # a coroutine


REFUSED = ConnectionRefusedError(111, "refused")


def test_first_wins() -> None:
    """An address that connects within the delay is the only one that is tried."""
    network = Network({"a": (0.1, None), "b": (0, None)})
    assert run(network.race(0.25)) == "a"
    assert network.started == [("a", 0)]


def test_attempts_are_delayed() -> None:
    """Each attempt starts a delay after the one before; the first to connect wins."""
    network = Network({"a": (10, None), "b": (10, None), "c": (0.1, None), "d": (0, None)})
    assert run(network.race(0.25)) == "c"
    assert network.started == [("a", 0), ("b", 0.25), ("c", 0.5)]
    assert sorted(network.cancelled) == ["a", "b"]


def test_a_failure_starts_the_next_at_once() -> None:
    """An attempt that fails does not hold up the next one, and the delay counts from there."""
    network = Network({"a": (0.1, REFUSED), "b": (10, None), "c": (0, None)})
    assert run(network.race(0.25)) == "c"
    assert network.started == [("a", 0), ("b", pytest.approx(0.1)), ("c", pytest.approx(0.35))]


def test_an_early_attempt_may_still_win() -> None:
    """The earlier address goes on while later ones are tried."""
    network = Network({"a": (0.3, None), "b": (10, None)})
    assert run(network.race(0.25)) == "a"
    assert network.cancelled == ["b"]


def test_two_at_once() -> None:
    """Of two that connect in the same turn the preferred one wins, the other is closed."""
    network = Network({"a": (0.5, None), "b": (0.25, None)})
    assert run(network.race(0.25)) == "a"


def test_without_a_delay() -> None:
    """None tries the addresses in sequence, however long each takes."""
    network = Network({"a": (60, REFUSED), "b": (60, REFUSED), "c": (1, None)})
    assert run(network.race(None)) == "c"
    assert network.started == [("a", 0), ("b", 60), ("c", 120)]


def test_the_delay_has_a_lower_bound() -> None:
    """RFC 8305 §5: never all at once, whatever was asked for."""
    network = Network({"a": (10, None), "b": (1, None)})
    assert run(network.race(0)) == "b"
    assert network.started[1] == ("b", MIN_ATTEMPT_DELAY)


@pytest.mark.parametrize("delay", [None, 0.25])
def test_all_fail(delay: float | None) -> None:
    """The errors of all attempts are kept, in their order."""
    second = OSError(113, "unreachable")
    network = Network({"a": (0.1, REFUSED), "b": (0.1, second)})
    with pytest.raises(ExceptionGroup) as caught:
        run(network.race(delay))
    assert list(caught.value.exceptions) == [REFUSED, second]


@pytest.mark.parametrize("delay", [None, 0.25])
def test_other_errors_end_the_race(delay: float | None) -> None:
    """What is no OSError is nobody's address at fault: it is raised, and the rest is cancelled."""
    network = Network({"a": (0.5, LookupError("x")), "b": (10, None)})
    with pytest.raises(LookupError):
        run(network.race(delay))
    assert network.cancelled == ([] if delay is None else ["b"])


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.25, 0.3, 0.6])
def test_cancelled(seconds: float) -> None:
    """Cancelling the race cancels every attempt that runs."""
    network = Network({"a": (10, None), "b": (10, None), "c": (10, None)})

    async def main() -> None:
        task = asyncio.ensure_future(network.race(0.25))
        await asyncio.sleep(seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert network.cancelled == [name for name, _ in network.started]

    run(main())


def test_cancelled_when_one_has_just_connected() -> None:
    """A socket that was connected in the turn of the cancellation is closed."""
    network = Network({"a": (10, None), "b": (0.25, None)})

    async def main() -> None:
        task = asyncio.ensure_future(network.race(0.25))
        while "b" not in network.sockets:
            await asyncio.sleep(0)
            if asyncio.get_running_loop().time() < 0.5 and not network.sockets:
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert network.sockets["b"].closed

    run(main())


def test_join_errors() -> None:
    """One error stands for itself; different ones are told together, of the first's kind."""
    assert join_errors([REFUSED]) is REFUSED
    assert join_errors([REFUSED, ConnectionRefusedError(111, "refused")]) is REFUSED
    joined = join_errors([REFUSED, OSError(113, "unreachable")])
    assert isinstance(joined, ConnectionRefusedError)
    assert "refused" in str(joined)
    assert "unreachable" in str(joined)
    assert isinstance(joined.__cause__, ExceptionGroup)
