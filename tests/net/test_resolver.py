"""Resolvers against this machine's own names, and against answers that no machine gives."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import textwrap
from types import SimpleNamespace
from typing import Any

import aiodns
import pytest

from angelia.net import resolver as module
from angelia.net.resolver import (
    AbstractResolver,
    AsyncResolver,
    DefaultResolver,
    ThreadedResolver,
)
from dial_kit import Run

KINDS = [ThreadedResolver, AsyncResolver, DefaultResolver]


@pytest.mark.parametrize("kind", KINDS)
class TestEveryResolver:
    def test_localhost(self, run: Run[None], kind: type[AbstractResolver]) -> None:
        """IPv4 only, IPv6 only and both; results keep the name and the port."""

        async def main() -> None:
            resolver = kind()
            try:
                for result in await resolver.resolve("localhost", 80):
                    assert result["family"] == socket.AF_INET
                    assert result["host"] == "127.0.0.1"
                    assert result["hostname"] == "localhost"
                    assert result["port"] == 80
                six = await resolver.resolve("::1", 443, socket.AF_INET6)
                assert [result["host"] for result in six] == ["::1"]
                both = await resolver.resolve("localhost", 80, socket.AF_UNSPEC)
                assert {result["family"] for result in both} <= {socket.AF_INET, socket.AF_INET6}
                assert both
            finally:
                await resolver.close()
                await resolver.close()

        run(main())

    def test_unknown_name(self, run: Run[None], kind: type[AbstractResolver]) -> None:
        """An unknown name is an OSError with the resolver's own words."""

        async def main() -> None:
            resolver = kind()
            try:
                with pytest.raises(OSError, match=r".+"):
                    await resolver.resolve("nowhere.invalid", 80, socket.AF_UNSPEC)
            finally:
                await resolver.close()

        run(main())

    def test_cancelled(self, run: Run[None], kind: type[AbstractResolver]) -> None:
        """A lookup can be cancelled."""

        async def main() -> None:
            resolver = kind()
            task = asyncio.ensure_future(resolver.resolve("localhost", 80))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await resolver.close()

        run(main())


class FakeLoop:
    """Answers getaddrinfo from a script."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.flags: list[int] = []

    async def getaddrinfo(self, host: str, port: int, *, flags: int, **_: Any) -> Any:
        self.flags.append(flags)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def threaded(*answers: object) -> tuple[ThreadedResolver, FakeLoop]:
    loop = FakeLoop(*answers)
    return ThreadedResolver(loop), loop  # type: ignore[arg-type]  # all that it uses of a loop


FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]
NOTHING = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


class TestThreadedResolver:
    def test_link_local_scope(self) -> None:
        """A link-local address keeps its scope, once."""
        info = (socket.AF_INET6, socket.SOCK_STREAM, 6, "")
        resolver, _ = threaded([(*info, ("fe80::1", 80, 0, 7)), (*info, ("fe80::2%lo", 80, 0, 1))])
        results = asyncio.run(resolver.resolve("a.test", 80, socket.AF_INET6))
        assert [result["host"] for result in results] == ["fe80::1%7", "fe80::2%lo"]

    def test_a_family_this_python_cannot_handle(self) -> None:
        """Such an address is left out; it may come as raw bytes."""
        odd = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (10, b"\x00" * 16))
        resolver, _ = threaded([odd, *FOUND])
        results = asyncio.run(resolver.resolve("a.test", 80, socket.AF_UNSPEC))
        assert [result["host"] for result in results] == ["127.0.0.1"]

    def test_localhost_without_a_network(self) -> None:
        """AI_ADDRCONFIG is dropped for localhost when nothing was found with it."""
        resolver, loop = threaded(NOTHING, FOUND)
        assert asyncio.run(resolver.resolve("localhost", 80))
        assert loop.flags == [socket.AI_ADDRCONFIG, 0]
        resolver, loop = threaded(NOTHING)
        with pytest.raises(socket.gaierror):
            asyncio.run(resolver.resolve("a.test", 80))
        assert loop.flags == [socket.AI_ADDRCONFIG]

    def test_flag_not_supported(self) -> None:
        """AI_ADDRCONFIG is dropped where the system does not know it."""
        resolver, loop = threaded(socket.gaierror(socket.EAI_BADFLAGS, "Bad flags"), FOUND)
        assert asyncio.run(resolver.resolve("a.test", 80))
        assert loop.flags == [socket.AI_ADDRCONFIG, 0]

    def test_a_name_that_cannot_be_encoded(self) -> None:
        """A label of more than 63 characters is an unknown name, not a UnicodeError."""
        with pytest.raises(socket.gaierror):
            asyncio.run(ThreadedResolver().resolve("x" * 64 + ".test", 80))


class Channel:
    """Answers as a c-ares channel does, from a script."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.flags: list[int] = []

    async def getaddrinfo(self, host: str, *, flags: int, **_: Any) -> Any:
        self.flags.append(flags)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(nodes=answer)


def node(family: int, *address: object) -> SimpleNamespace:
    """One address of a c-ares answer."""
    return SimpleNamespace(family=family, protocol=6, addr=address)


def scripted(*answers: object) -> tuple[AsyncResolver, Channel]:
    resolver, channel = AsyncResolver(), Channel(*answers)
    vars(resolver)["_resolver"] = channel
    return resolver, channel


class TestAsyncResolver:
    def test_shared_channel(self, run: Run[None]) -> None:
        """Resolvers without options share a channel on a loop, and the last one closes it."""

        async def main() -> None:
            first, second = AsyncResolver(), AsyncResolver()
            own = AsyncResolver(None, ["127.0.0.1"], timeout=1)
            for resolver in (first, second, own):
                await resolver.resolve("127.0.0.1", 80)
            assert first._resolver is second._resolver
            assert own._resolver is not first._resolver
            await first.close()
            assert await second.resolve("127.0.0.1", 80)
            await second.close()
            await own.close()
            assert await first.resolve("127.0.0.1", 80), "a closed resolver opens again"
            await first.close()

        run(main())

    def test_odd_answers(self) -> None:
        """Scopes are kept, and a family that this Python cannot handle is left out."""
        resolver, _ = scripted(
            [
                node(socket.AF_INET6, b"fe80::1", 80, 0, 7),
                node(socket.AF_INET6, b"fe80::2%lo", 80, 0, 1),
                node(socket.AF_INET6, b"2001:db8::1", 80, 0, 0),
                # As of a Python without IPv6, and of a family that nobody has.
                node(socket.AF_INET6, b"\x00" * 16, 80),
                node(socket.AF_UNIX, b"/run/x"),
                node(socket.AF_INET, b"127.0.0.1", 80),
            ]
        )
        results = asyncio.run(resolver.resolve("a.test", 80, socket.AF_UNSPEC))
        assert [result["host"] for result in results] == [
            "fe80::1%7",
            "fe80::2%lo",
            "2001:db8::1",
            "127.0.0.1",
        ]
        assert {result["hostname"] for result in results} == {"a.test"}

    def test_nothing_usable(self) -> None:
        """An answer of nothing but odd addresses is none: an OSError, not an empty list."""
        resolver, _ = scripted([node(socket.AF_UNIX, b"/run/x")])
        with pytest.raises(OSError, match="no usable address"):
            asyncio.run(resolver.resolve("a.test", 80, socket.AF_UNSPEC))

    def test_localhost_without_a_network(self) -> None:
        """AI_ADDRCONFIG is dropped for localhost when nothing was found with it."""
        found = [node(socket.AF_INET, b"127.0.0.1", 80)]
        nothing = aiodns.error.DNSError(4, "Domain name not found")
        answers: list[object] = [nothing, []]
        for first in answers:
            resolver, channel = scripted(first, found)
            assert asyncio.run(resolver.resolve("localhost", 80))
            assert channel.flags == [socket.AI_ADDRCONFIG, 0]
        resolver, channel = scripted(nothing)
        with pytest.raises(OSError, match="Domain name not found"):
            asyncio.run(resolver.resolve("a.test", 80))
        assert channel.flags == [socket.AI_ADDRCONFIG]

    def test_without_aiodns(self) -> None:
        """AsyncResolver says what is missing; the default one uses threads."""
        script = """
            import asyncio, sys
            sys.modules["aiodns"] = None
            from angelia.net.resolver import AsyncResolver, DefaultResolver, ThreadedResolver
            try:
                AsyncResolver()
            except RuntimeError as error:
                assert "aiodns" in str(error)
            else:
                raise SystemExit("no RuntimeError")
            async def main():
                resolver = DefaultResolver()
                assert await resolver.resolve("127.0.0.1", 80)
                assert isinstance(resolver._chosen, ThreadedResolver)
            asyncio.run(main())
        """
        subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)

    def test_imported_at_the_first_use(self) -> None:
        """Neither the import nor a resolver's making loads aiodns."""
        script = """
            import sys
            from angelia.net.resolver import DefaultResolver
            DefaultResolver()
            assert "aiodns" not in sys.modules
        """
        subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)

    def test_messages(self) -> None:
        """The second argument of c-ares' error is what a user can read."""
        assert module._dns_message(ValueError(4, "Domain name not found")) == (
            "Domain name not found"
        )
        assert module._dns_message(ValueError()) == "DNS lookup failed"
        assert "no usable address" in module._dns_message(None)
