"""What the protocols of both roles share, by the example of the client's: writing and waiting."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap

import pytest

from angelia.errors import ClientConnectionResetError
from angelia.net.socket_protocol import JOIN_SIZE, KEEPS_BLOCKS, WriteBatch
from exchange_kit import Peer, turn
from peers.raw import response

OK = response(b"hello")


class TestWriteBatch:
    async def test_one_turn(self) -> None:
        """Requests of one turn are written at its end, each once, in order."""
        batch = WriteBatch(asyncio.get_running_loop())
        peers = [Peer(batch) for _ in range(3)]
        for peer in peers:
            peer.get()
        assert all(peer.socket.writes == [] for peer in peers)
        await turn()
        assert all(len(peer.socket.writes) == 1 for peer in peers)
        for peer in peers:
            peer.receive(OK)
            peer.get()
        await turn()
        assert all(len(peer.socket.writes) == 2 for peer in peers)

    async def test_closed_in_the_same_turn(self) -> None:
        """A connection that was closed in the same turn is not written to; others are."""
        batch = WriteBatch(asyncio.get_running_loop())
        closed, lost, aborted, good = (Peer(batch) for _ in range(4))
        for peer in (closed, lost, aborted, good):
            exchange = peer.get()
            if peer is closed:
                exchange.close()
            elif peer is lost:
                peer.socket.lose()
            elif peer is aborted:
                peer.transport.abort()
        await turn()
        assert [len(p.socket.writes) for p in (closed, lost, aborted, good)] == [0, 0, 0, 1]

    async def test_head_and_content_in_one_write(self) -> None:
        """Content that follows in the same turn takes the head along, and nothing goes twice."""
        peer = Peer()
        exchange = peer.post()
        exchange.send_content(b"body", end=True)
        await turn()
        assert len(peer.socket.writes) == 1
        assert peer.socket.written.startswith(b"POST / HTTP/1.1\r\n")

    async def test_large_content_is_not_copied(self) -> None:
        """Large buffers are handed on as they are."""
        peer = Peer()
        exchange = peer.post()
        content = b"x" * (2 * JOIN_SIZE)
        exchange.send_content(content, end=True)
        assert content in peer.socket.written
        assert peer.socket.calls == ["writelines"] or len(peer.socket.writes) > 1


def test_memory_of_pieces_is_kept() -> None:
    """What pieces of a read's size lay in is there for the next ones: no page is made anew."""
    if not KEEPS_BLOCKS or os.environ.get("LD_PRELOAD"):
        pytest.skip("another allocator")
    # In a process of its own: what the tests before have freed has moved the thresholds.
    script = """
        import asyncio, resource
        from angelia.net.socket_protocol import READ_SIZE, WriteBatch
        def page_faults():
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        WriteBatch(asyncio.new_event_loop())
        before = page_faults()
        for _ in range(100):
            pieces = [b"x" * READ_SIZE for _ in range(4)]
            del pieces
        print(page_faults() - before)
    """
    # The pieces have 256 pages of 4 KiB, and are made a hundred times.
    tunables = ("MALLOC_", "GLIBC_TUNABLES")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(tunables)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)],
        check=True,
        env=environment,
        stdout=subprocess.PIPE,
    )
    assert int(done.stdout) < 3000


class TestDrain:
    async def test_all_wake(self) -> None:
        """All who wait for the socket to take more are woken when it does."""
        peer = Peer()
        await peer.transport.drain()
        peer.transport.pause_writing()
        writers = [asyncio.create_task(peer.transport.drain()) for _ in range(3)]
        await turn()
        assert not any(task.done() for task in writers)
        peer.transport.resume_writing()
        await asyncio.gather(*writers)

    async def test_lost(self) -> None:
        """All who wait when the connection is lost get ClientConnectionResetError; so do later
        ones."""
        peer = Peer()
        peer.transport.pause_writing()
        writers = [asyncio.create_task(peer.transport.drain()) for _ in range(3)]
        await turn()
        peer.socket.lose()
        results = await asyncio.gather(*writers, return_exceptions=True)
        assert [type(result) for result in results] == [ClientConnectionResetError] * 3
        with pytest.raises(ClientConnectionResetError):
            await peer.transport.drain()

    async def test_cancelled(self) -> None:
        """One who is cancelled leaves nothing behind."""
        peer = Peer()
        peer.transport.pause_writing()
        writer = asyncio.create_task(peer.transport.drain())
        await turn()
        writer.cancel()
        await asyncio.wait([writer])
        assert not peer.transport._drain_waiters
        peer.transport.resume_writing()
