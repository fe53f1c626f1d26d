"""Credentials through a real session: Basic, Digest, netrc, and those of proxies."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from yarl import URL

import angelia
from angelia.core.auth import (
    digest_challenge,
    digest_key,
    digest_response,
    parse_auth_parameters,
    parse_challenges,
)
from peers.raw import RawServer, response

pytestmark = pytest.mark.usefixtures("loop_kind")

OK = response(b"ok")
LOGIN, PASSWORD = "user", "secret"
CHALLENGE = 'Digest realm="r", nonce="n1", qop="auth", algorithm=SHA-256'


def challenge(value: str = CHALLENGE) -> bytes:
    return response(b"who?", f"WWW-Authenticate: {value}", status="401 Unauthorized")


def moved(location: str | URL, status: str = "307 Temporary Redirect") -> bytes:
    return response(b"", f"Location: {location}", status=status)


def fields(wire: bytes, name: str = "Authorization") -> list[str | None]:
    """The values of a field in the requests of one connection, None where one is without."""
    heads = re.findall(rb"[A-Z]+ \S+ HTTP/1\.1\r\n.*?\r\n\r\n", wire, re.DOTALL)
    values: list[str | None] = []
    for head in heads:
        found = re.search(rf"\r\n{name}: ([^\r]*)\r\n".encode(), head, re.IGNORECASE)
        values.append(None if found is None else found[1].decode())
    return values


def is_answer(
    value: str | None, to: str, method: str, target: str, count: int, content: bytes = b""
) -> bool:
    """Whether `value` is the answer to a challenge, computed from what it says."""
    if value is None or not value.startswith("Digest "):
        return False
    said = parse_auth_parameters(value[len("Digest ") :])
    asked = digest_challenge(parse_challenges([to]))
    assert asked is not None
    key = digest_key(asked, LOGIN, PASSWORD, said["cnonce"])
    expected = digest_response(
        asked,
        key=key,
        method=method,
        target=target,
        count=count,
        cnonce=said["cnonce"],
        content=content,
    )
    return (
        said["response"] == expected
        and said["uri"] == target
        and said["nonce"] == asked.nonce
        and said["nc"] == f"{count:08x}"
    )


def digest_session(preemptive: bool = True) -> angelia.ClientSession:
    digest = angelia.DigestAuthMiddleware(LOGIN, PASSWORD, preemptive=preemptive)
    return angelia.ClientSession(middlewares=(digest,))


class TestDigest:
    async def test_answered(self) -> None:
        """RFC 7616 §3.4: a challenge is answered for the target as it was sent."""
        async with RawServer([challenge(), OK]) as server, digest_session() as session:
            async with session.get(server.url / "a b", params={"q": "x y"}) as resp:
                assert resp.status == 200
            (wire,) = server.requests
        first, second = fields(wire)
        assert first is None
        assert is_answer(second, CHALLENGE, "GET", "/a%20b?q=x+y", 1)

    @pytest.mark.parametrize("preemptive", [True, False])
    async def test_preemptive(self, preemptive: bool) -> None:
        """Later requests carry an answer from the start, unless that is switched off."""
        answers = [challenge(), OK, OK] if preemptive else [challenge(), OK, challenge(), OK]
        async with RawServer(answers) as server, digest_session(preemptive) as session:
            for _ in range(2):
                async with session.get(server.url) as resp:
                    assert resp.status == 200
                    await resp.read()
            (wire,) = server.requests
        values = fields(wire)
        assert [value is not None for value in values] == (
            [False, True, True] if preemptive else [False, True, False, True]
        )
        assert is_answer(values[-1], CHALLENGE, "GET", "/", 2)

    async def test_stale(self) -> None:
        """A stale nonce is replaced once; a second one ends it."""
        stale = CHALLENGE.replace("n1", "n2") + ", stale=true"
        again = CHALLENGE.replace("n1", "n3") + ", stale=true"
        answers = [challenge(), OK, challenge(stale), OK, challenge(again), challenge(stale)]
        async with RawServer(answers) as server, digest_session() as session:
            for status in (200, 200, 401):
                async with session.get(server.url) as resp:
                    assert resp.status == status
                    await resp.read()
            values = fields(b"".join(server.requests))
        assert len(values) == 6
        assert is_answer(values[3], stale, "GET", "/", 1)

    async def test_wrong_password(self) -> None:
        """A refused answer is not repeated."""
        async with RawServer([challenge(), challenge()]) as server, digest_session() as session:
            async with session.get(server.url) as resp:
                assert resp.status == 401
                assert await resp.read() == b"who?"
            assert len(fields(b"".join(server.requests))) == 2

    @pytest.mark.parametrize("data", [b"content", "content", {"a": "b"}])
    async def test_integrity(self, data: object) -> None:
        """With ``auth-int`` the body is part of the answer, and sent with each attempt."""
        value = CHALLENGE.replace('"auth"', '"auth-int"')
        content = b"a=b" if isinstance(data, dict) else b"content"
        async with RawServer([challenge(value), OK]) as server, digest_session() as session:
            async with session.post(server.url, data=data) as resp:
                assert resp.status == 200
            wire = b"".join(server.requests)
        assert is_answer(fields(wire)[1], value, "POST", "/", 1, content)
        assert wire.count(b"\r\n\r\n" + content) == 2

    async def test_redirected_elsewhere(self) -> None:
        """Another origin gets no answer, whatever it asks."""
        async with (
            RawServer([challenge()]) as other,
            RawServer([challenge(), moved(other.url)]) as server,
            digest_session() as session,
        ):
            async with session.get(server.url) as resp:
                assert resp.status == 401
                assert resp.url == other.url
            assert fields(b"".join(other.requests)) == [None]

    async def test_redirected_within(self) -> None:
        """Each hop has an answer of its own."""
        async with (
            RawServer([challenge(), moved("/two?q=1"), OK]) as server,
            digest_session() as session,
        ):
            async with session.get(server.url) as resp:
                assert resp.status == 200
            values = fields(b"".join(server.requests))
        assert is_answer(values[2], CHALLENGE, "GET", "/two?q=1", 2)


class TestBasic:
    async def test_session_and_base_url(self) -> None:
        """With a `base_url` the session's credentials go to its origin only."""
        auth = angelia.BasicAuth(LOGIN, PASSWORD)
        async with (
            RawServer([OK]) as other,
            RawServer([OK]) as server,
            angelia.ClientSession(server.url, auth=auth) as session,
        ):
            await (await session.get("/")).read()
            await (await session.get(other.url)).read()
            assert fields(b"".join(server.requests)) == [auth.encode()]
            assert fields(b"".join(other.requests)) == [None]

    async def test_in_the_url(self) -> None:
        """Credentials of the URL are sent, also those of a redirect's target."""
        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            target = server.url.with_user("u2").with_password("p2")
            async with RawServer([moved(target)]) as first:
                url = first.url.with_user("").with_password("p")
                async with session.get(url) as resp:
                    assert resp.url == server.url
                assert fields(b"".join(first.requests)) == [angelia.BasicAuth("", "p").encode()]
            assert fields(b"".join(server.requests)) == [angelia.BasicAuth("u2", "p2").encode()]

    async def test_twice(self) -> None:
        """Two kinds of credentials are refused before connecting."""
        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            auth = angelia.BasicAuth(LOGIN)
            with pytest.raises(ValueError, match="Cannot combine"):
                await session.get(server.url.with_user("u"), auth=auth)
            with pytest.raises(ValueError, match="Cannot combine"):
                await session.get(server.url, auth=auth, headers={"authorization": "x"})
            assert server.connections == 0


class TestNetrc:
    @pytest.fixture
    def netrc(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The file that ``$NETRC`` names, with one entry; no proxies."""
        for name in ("http_proxy", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        path = tmp_path / "netrc"
        path.write_text("machine 127.0.0.1 login u password p\n")
        path.chmod(0o600)
        monkeypatch.setenv("NETRC", str(path))
        return path

    @pytest.fixture
    def broken_netrc(self, netrc: Path) -> None:
        """The file is there, and is none."""
        netrc.write_text("machine 127.0.0.1 passwort hidden\n")

    @pytest.fixture
    def no_netrc(self, netrc: Path) -> None:
        """There is no file."""
        netrc.unlink()

    @pytest.mark.parametrize("trust_env", [True, False])
    @pytest.mark.usefixtures("netrc")
    async def test_used(self, trust_env: bool) -> None:
        """The file counts with `trust_env` only, and for the host on any port."""
        async with RawServer([OK]) as server, angelia.ClientSession(trust_env=trust_env) as session:
            await (await session.get(server.url)).read()
            expected = angelia.BasicAuth("u", "p").encode() if trust_env else None
            assert fields(b"".join(server.requests)) == [expected]

    @pytest.mark.usefixtures("netrc")
    async def test_explicit_wins(self) -> None:
        """What the caller gives, in any way, wins over the file."""
        auth = angelia.BasicAuth("own")
        async with RawServer([OK] * 3) as server, angelia.ClientSession(trust_env=True) as session:
            await (await session.get(server.url, auth=auth)).read()
            await (await session.get(server.url, headers={"authorization": "x"})).read()
            await (await session.get(server.url.with_user("own"))).read()
            assert fields(b"".join(server.requests)) == [auth.encode(), "x", auth.encode()]

    @pytest.mark.usefixtures("broken_netrc")
    async def test_broken(self, caplog: pytest.LogCaptureFixture) -> None:
        """A broken file warns, without its secrets, and the request goes on."""
        with caplog.at_level(logging.WARNING, "angelia"):
            async with RawServer([OK]) as server, angelia.ClientSession(trust_env=True) as session:
                await (await session.get(server.url)).read()
                assert fields(b"".join(server.requests)) == [None]
        assert "malformed in line 1" in caplog.text
        assert "hidden" not in caplog.text

    @pytest.mark.usefixtures("no_netrc")
    async def test_missing(self, caplog: pytest.LogCaptureFixture) -> None:
        """That there is no file is in order."""
        async with RawServer([OK]) as server, angelia.ClientSession(trust_env=True) as session:
            await (await session.get(server.url)).read()
            assert fields(b"".join(server.requests)) == [None]
        assert caplog.text == ""


class TestProxies:
    async def test_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With `trust_env` the proxy and its credentials are chosen anew for each hop."""
        monkeypatch.setenv("NETRC", "/nonexistent")
        async with (
            RawServer([OK]) as direct,
            RawServer([moved(direct.url)]) as proxy,
            angelia.ClientSession(trust_env=True) as session,
        ):
            url = proxy.url.with_user("u").with_password("p")
            monkeypatch.setenv("http_proxy", str(url))
            monkeypatch.setenv("no_proxy", f"127.0.0.1:{direct.port}")
            async with session.get("http://example.test/path") as resp:
                assert resp.url == direct.url
            (wire,) = proxy.requests
            assert wire.startswith(
                b"GET http://example.test/path HTTP/1.1\r\nHost: example.test\r\n"
            )
            assert fields(wire, "Proxy-Authorization") == [angelia.BasicAuth("u", "p").encode()]
            assert fields(b"".join(direct.requests), "Proxy-Authorization") == [None]

    async def test_arguments(self) -> None:
        """`proxy`, `proxy_auth` and `proxy_headers` reach the proxy of an http target."""
        auth = angelia.BasicAuth(LOGIN, PASSWORD)
        async with RawServer([OK]) as proxy, angelia.ClientSession() as session:
            async with session.get(
                "http://example.test/", proxy=proxy.url, proxy_auth=auth, proxy_headers={"X": "1"}
            ) as resp:
                assert resp.status == 200
            (wire,) = proxy.requests
            assert fields(wire, "Proxy-Authorization") == [auth.encode()]
            assert fields(wire, "X") == ["1"]
