"""UploadTracker: counting, restarting, settling."""

from __future__ import annotations

import asyncio

import pytest

from angelia.errors import UploadAbortedError
from angelia.net.upload import UploadTracker


def started(total: int | None = 10) -> UploadTracker:
    tracker = UploadTracker()
    tracker.start(total)
    return tracker


def test_new() -> None:
    """Nothing is written before the request begins."""
    tracker = UploadTracker()
    assert (tracker.bytes_written, tracker.total, tracker.done) == (0, None, False)
    assert repr(tracker) == "<UploadTracker not begun 0/?>"


def test_counts() -> None:
    """Octets add up, also where the size is unknown."""
    tracker = started(None)
    tracker.wrote(3)
    tracker.wrote(4)
    assert tracker.bytes_written == 7
    assert tracker.total is None


def test_each_attempt_counts_anew() -> None:
    """A body that is sent again is counted again, from nothing."""
    tracker = started(10)
    tracker.wrote(10)
    tracker.restart()
    assert (tracker.bytes_written, tracker.total) == (0, 10)
    tracker.restart(4)
    tracker.wrote(4)
    assert (tracker.bytes_written, tracker.total) == (4, 4)


def test_one_request_only() -> None:
    """A second request is refused, whatever became of the first."""
    tracker = started()
    with pytest.raises(RuntimeError):
        tracker.start(1)
    tracker.finish()
    with pytest.raises(RuntimeError):
        tracker.start(1)


def test_sent_again_after_it_was_complete() -> None:
    """A body that went out whole, and is sent again for a redirect, counts anew and is complete."""
    tracker = started(3)
    tracker.wrote(3)
    tracker.finish()
    tracker.restart()
    assert tracker.done
    tracker.wrote(2)
    tracker.abort()
    assert tracker.bytes_written == 2
    asyncio.run(tracker.wait())


def test_sent_again_after_it_was_aborted() -> None:
    """A body that is sent again may yet go out whole."""
    tracker = started(3)
    tracker.wrote(2)
    tracker.abort(OSError())
    tracker.wrote(1)
    assert tracker.bytes_written == 2
    tracker.restart()
    assert not tracker.done
    tracker.wrote(3)
    tracker.finish()
    asyncio.run(tracker.wait())
    assert tracker.bytes_written == 3


@pytest.mark.parametrize("verb", ["finish", "restart"])
def test_nothing_to_finish(verb: str) -> None:
    """What has not begun can neither finish nor restart."""
    with pytest.raises(RuntimeError):
        getattr(UploadTracker(), verb)()


def test_complete() -> None:
    """Waiting gives None once the body went out whole, to each who waits, then and later."""

    async def main() -> None:
        tracker = UploadTracker()
        waiting = [asyncio.create_task(tracker.wait()) for _ in range(2)]
        await asyncio.sleep(0)
        tracker.start(1)
        tracker.wrote(1)
        assert not any(task.done() for task in waiting)
        tracker.finish()
        tracker.abort(OSError())
        assert await asyncio.gather(*waiting) == [None, None]
        await tracker
        assert tracker.bytes_written == 1

    asyncio.run(main())


def test_restarted_at_once() -> None:
    """Who waits is not told of an attempt that failed and was followed by another."""

    async def main() -> None:
        tracker = started()
        waiting = asyncio.create_task(tracker.wait())
        await asyncio.sleep(0)
        tracker.abort(OSError())
        tracker.restart()
        await asyncio.sleep(0)
        assert not waiting.done()
        tracker.finish()
        await waiting

    asyncio.run(main())


def test_aborted() -> None:
    """Waiting raises UploadAbortedError, with the reason, if the body never went out whole."""

    async def main() -> None:
        tracker = started()
        waiting = asyncio.create_task(tracker.wait())
        await asyncio.sleep(0)
        tracker.wrote(3)
        reason = OSError("gone")
        tracker.abort(reason)
        tracker.finish()
        for awaitable in (waiting, tracker.wait()):
            with pytest.raises(UploadAbortedError, match="3 bytes") as caught:
                await awaitable
            assert caught.value.__cause__ is reason

    asyncio.run(main())


def test_aborted_before_it_began() -> None:
    """A request that fails before its body begins has aborted the upload."""
    tracker = UploadTracker()
    tracker.abort()

    async def main() -> None:
        with pytest.raises(UploadAbortedError):
            await tracker

    asyncio.run(main())


def test_cancelled_wait() -> None:
    """Cancelling one wait leaves the upload and the others alone."""

    async def main() -> None:
        tracker = started()
        first, second = (asyncio.create_task(tracker.wait()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        tracker.finish()
        await second

    asyncio.run(main())


def test_cancelled_while_settling() -> None:
    """A wait that is cancelled in the very turn of the outcome breaks nothing."""

    async def main() -> None:
        tracker = started()
        waiting = asyncio.create_task(tracker.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        tracker.finish()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
