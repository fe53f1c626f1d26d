"""The Digest middleware: whom it answers, how often, and with what."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from multidict import CIMultiDict
from yarl import URL

from angelia.client.digest import MAX_SPACES, DigestAuthMiddleware
from angelia.core.auth import (
    DigestChallenge,
    digest_challenge,
    digest_key,
    digest_response,
    parse_challenges,
)
from angelia.errors import ClientPayloadError

LOGIN, PASSWORD = "user", "secret"


class Body:
    """A body that counts how often it was asked for."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked = 0

    async def as_bytes(self) -> bytes:
        self.asked += 1
        await asyncio.sleep(0)
        return self.content


class Request:
    def __init__(
        self, url: str, method: str = "GET", body: Any = b"", authorization: str | None = None
    ) -> None:
        self.url = URL(url)
        self.method = method
        self.body = body
        self.headers: CIMultiDict[str] = CIMultiDict()
        if authorization is not None:
            self.headers["Authorization"] = authorization


class Response:
    def __init__(self, status: int, *fields: tuple[str, str]) -> None:
        self.status = status
        self.headers = CIMultiDict(fields)
        self.released = False

    def release(self) -> None:
        self.released = True


def proof(authorization: str, password: str, request: Request, content: bytes) -> tuple[str, str]:
    """The response parameter, and what it should be."""
    (given,) = parse_challenges([authorization])
    found = given.parameters
    challenge = DigestChallenge(
        found["realm"], found["nonce"], found.get("algorithm"), qop=found.get("qop")
    )
    key = digest_key(challenge, found["username"], password, found.get("cnonce", ""))
    expected = digest_response(
        challenge,
        key=key,
        method=request.method,
        target=found["uri"],
        count=int(found.get("nc", "0"), 16),
        cnonce=found.get("cnonce", ""),
        content=content,
    )
    return found["response"], expected


class Server:
    """Challenges with a new nonce until it is answered; remembers what was asked."""

    def __init__(self, parameters: str = "qop=auth", lifetime: int = 1000) -> None:
        self.parameters = parameters
        self.lifetime = lifetime
        self.password = PASSWORD
        self.number = 0
        self.uses = 0
        self.seen: list[dict[str, str] | None] = []
        self.released: list[bool] = []
        self.challenges: list[Response] = []
        self.info: str | None = None
        self.extra: list[str] = []

    @property
    def nonce(self) -> str:
        return f"nonce{self.number}"

    def challenge(self, *, stale: bool = False) -> Response:
        self.number += 1
        self.uses = 0
        text = f'Digest realm="r", nonce="{self.nonce}", {self.parameters}'
        if stale:
            text += ", stale=TRUE"
        fields = [("WWW-Authenticate", value) for value in [*self.extra, text]]
        response = Response(401, *fields)
        self.challenges.append(response)
        return response

    async def __call__(self, request: Any) -> Any:
        await asyncio.sleep(0)
        authorization = request.headers.get("Authorization")
        if authorization is None or not authorization.startswith("Digest "):
            self.seen.append(None)
            return self.challenge()
        (given,) = parse_challenges([authorization])
        self.seen.append(given.parameters)
        content = request.body.content if isinstance(request.body, Body) else request.body
        one, other = proof(authorization, self.password, request, content)
        if one != other or given.parameters["uri"] != request.url.raw_path_qs:
            return self.challenge()
        if given.parameters["nonce"] != self.nonce or self.uses >= self.lifetime:
            return self.challenge(stale=True)
        self.uses += 1
        return Response(200, *([("Authentication-Info", self.info)] if self.info else []))

    @property
    def nonces(self) -> list[str | None]:
        return [None if one is None else f"{one['nonce']}:{one.get('nc')}" for one in self.seen]


async def send(
    middleware: DigestAuthMiddleware,
    handler: Callable[[Any], Awaitable[Any]],
    url: str = "http://h/",
    **options: Any,
) -> int:
    request: Any = Request(url, **options)
    response = await middleware(request, handler)
    return response.status


class TestAnswers:
    @pytest.mark.parametrize(
        "parameters",
        [
            "qop=auth",
            'qop="auth,auth-int"',
            "qop=auth-int",
            "algorithm=MD5",
            "algorithm=md5-sess, qop=auth",
            "algorithm=SHA, qop=auth",
            "algorithm=SHA-256, qop=auth-int",
            "algorithm=sha-256-SESS, qop=auth",
            "algorithm=SHA-512, qop=auth",
        ],
    )
    async def test_kinds(self, parameters: str) -> None:
        """Every algorithm and protection, the server's spelling of the algorithm returned."""
        server = Server(parameters)
        middleware = DigestAuthMiddleware(LOGIN, PASSWORD)
        for _ in range(3):
            assert await send(middleware, server, "http://h/a?b=c", body=Body(b"content")) == 200
        assert server.seen[0] is None
        assert all(one is not None for one in server.seen[1:])
        last = server.seen[-1] or {}
        if "algorithm" in parameters:
            assert f"algorithm={last['algorithm']}" in parameters

    async def test_count(self) -> None:
        """RFC 7616 §3.4: nc grows with each request, in eight hexadecimal digits."""
        server = Server()
        middleware = DigestAuthMiddleware(LOGIN, PASSWORD)
        for _ in range(3):
            await send(middleware, server)
        assert server.nonces == [
            None,
            "nonce1:00000001",
            "nonce1:00000002",
            "nonce1:00000003",
        ]

    async def test_count_not_preemptive(self) -> None:
        """It grows too where the server repeats its nonce with each challenge."""
        seen = []

        async def handler(request: Any) -> Any:
            value = request.headers.get("Authorization")
            if value is None:
                return Response(401, ("WWW-Authenticate", 'Digest realm="r", nonce="n", qop=auth'))
            seen.append(parse_challenges([value])[0].parameters["nc"])
            return Response(200)

        middleware = DigestAuthMiddleware(LOGIN, PASSWORD, preemptive=False)
        for _ in range(3):
            assert await send(middleware, handler) == 200
        assert seen == ["00000001", "00000002", "00000003"]

    async def test_concurrent(self) -> None:
        """Requests at the same time never share a count."""
        server = Server("qop=auth-int")
        middleware = DigestAuthMiddleware(LOGIN, PASSWORD)
        await send(middleware, server, body=Body(b"first"))
        statuses = await asyncio.gather(
            *(send(middleware, server, body=Body(b"x" * n)) for n in range(10))
        )
        assert statuses == [200] * 10
        assert len(set(server.nonces)) == len(server.nonces) == 12

    @pytest.mark.parametrize(
        ("url", "target"),
        [
            ("http://h", "/"),
            ("http://h/\u00e9 b?q=\u00fc#f", "/%C3%A9%20b?q=%C3%BC"),
            ('http://h/"x\\"', "/%22x%5C%22"),
        ],
    )
    async def test_target(self, url: str, target: str) -> None:
        """The digest covers the encoded target that goes out."""
        server = Server()
        assert await send(DigestAuthMiddleware(LOGIN, PASSWORD), server, url) == 200
        assert (server.seen[-1] or {})["uri"] == target

    async def test_encoded_target(self) -> None:
        """A URL given as encoded is covered octet for octet."""
        server = Server()
        request: Any = Request("http://h/")
        request.url = URL('http://h/%7e"?a=%zz', encoded=True)
        response = await DigestAuthMiddleware(LOGIN, PASSWORD)(request, server)
        assert response.status == 200
        assert (server.seen[-1] or {})["uri"] == '/%7e"?a=%zz'

    async def test_integrity_reads_the_body(self) -> None:
        """auth-int covers the body; auth does not touch it."""
        for qop, asked in (("auth", 0), ("auth-int", 1)):
            body = Body(b"content")
            server = Server(f"qop={qop}")
            middleware = DigestAuthMiddleware(LOGIN, PASSWORD)
            assert await send(middleware, server, method="POST", body=body) == 200
            assert body.asked == asked

    async def test_spent_body(self) -> None:
        """A body that cannot be read again raises, and nothing wrong is sent."""

        class Spent(Body):
            async def as_bytes(self) -> bytes:
                raise ClientPayloadError("spent")

        server = Server("qop=auth-int")
        with pytest.raises(ClientPayloadError):
            await send(DigestAuthMiddleware(LOGIN, PASSWORD), server, body=Spent(b""))
        assert server.nonces == [None]
        assert server.challenges[0].released

    async def test_several_schemes(self) -> None:
        """The Digest challenge is found among others, in one field or more."""
        server = Server()
        server.extra = ['Negotiate, Basic realm="b", Bearer', 'Digest realm="r", nonce=""']
        assert await send(DigestAuthMiddleware(LOGIN, PASSWORD), server) == 200

    async def test_challenges_are_released(self) -> None:
        """A response that is answered is released, one that is returned is not."""
        server = Server()
        server.password = "other"
        assert await send(DigestAuthMiddleware(LOGIN, PASSWORD), server) == 401
        assert [one.released for one in server.challenges] == [True, False]

    @pytest.mark.parametrize("value", ["Basic realm=x", "Digest realm=x", "Digest", "", None])
    async def test_unanswerable(self, value: str | None) -> None:
        """Without a challenge that can be answered the 401 is the caller's."""
        calls = []

        async def handler(request: Any) -> Any:
            calls.append(dict(request.headers))
            return Response(401, *([] if value is None else [("WWW-Authenticate", value)]))

        assert await send(DigestAuthMiddleware(LOGIN, PASSWORD), handler) == 401
        assert calls == [{}]

    async def test_other_statuses(self) -> None:
        """Only 401 is a challenge."""

        async def handler(request: Any) -> Any:
            return Response(407, ("WWW-Authenticate", 'Digest realm="r", nonce="n"'))

        assert await send(DigestAuthMiddleware(LOGIN, PASSWORD), handler) == 407


class TestRefusals:
    async def test_wrong_password(self) -> None:
        """A refused answer is not repeated, and the next request does not begin with it."""
        server = Server()
        server.password = "other"
        middleware = DigestAuthMiddleware(LOGIN, PASSWORD)
        for _ in range(2):
            assert await send(middleware, server) == 401
        assert server.nonces == [None, "nonce1:00000001", None, "nonce3:00000001"]

    async def test_stale(self) -> None:
        """RFC 7616 §3.3: a stale nonce is answered again, with the new one."""
        server = Server(lifetime=1)
        middleware = DigestAuthMiddleware(LOGIN, PASSWORD)
        for _ in range(3):
            assert await send(middleware, server) == 200
        assert server.nonces == [
            None,
            "nonce1:00000001",
            "nonce1:00000002",
            "nonce2:00000001",
            "nonce2:00000002",
            "nonce3:00000001",
        ]

    @pytest.mark.parametrize("preemptive", [True, False])
    async def test_always_stale(self, preemptive: bool) -> None:
        """A server for which every nonce is stale gets one more answer, not a loop."""
        server = Server(lifetime=0)
        middleware = DigestAuthMiddleware(LOGIN, PASSWORD, preemptive=preemptive)
        for _ in range(2):
            before = len(server.seen)
            assert await send(middleware, server) == 401
            assert len(server.seen) - before == 3

    async def test_forgotten_nonce(self) -> None:
        """A server that lost its nonces, and does not call them stale, is answered anew."""
        server = Server()
        middleware = DigestAuthMiddleware(LOGIN, PASSWORD)
        await send(middleware, server)

        async def restarted(request: Any) -> Any:
            value = request.headers.get("Authorization", "")
            if "nonce9" not in value:
                return Response(401, ("WWW-Authenticate", 'Digest realm="r", nonce="nonce9"'))
            return Response(200)

        assert await send(middleware, restarted) == 200

    async def test_next_nonce(self) -> None:
        """RFC 7616 §3.5: Authentication-Info names the nonce for the next answer."""
        server = Server()
        middleware = DigestAuthMiddleware(LOGIN, PASSWORD)
        await send(middleware, server)
        server.info = 'nextnonce="nonce2", qop=auth'
        await send(middleware, server)
        server.number = 2
        await send(middleware, server)
        await send(middleware, server)
        assert server.nonces[1:] == [
            "nonce1:00000001",
            "nonce1:00000002",
            "nonce2:00000001",
            "nonce2:00000002",
        ]


class TestPreemption:
    async def test_off(self) -> None:
        """Without preemptive every request waits for its challenge."""
        server = Server()
        middleware = DigestAuthMiddleware(LOGIN, PASSWORD, preemptive=False)
        for _ in range(2):
            assert await send(middleware, server) == 200
        assert server.nonces == [None, "nonce1:00000001", None, "nonce2:00000001"]

    async def test_path_space(self) -> None:
        """Only what domain names, on the borders of segments, gets an answer unasked."""
        server = Server('qop=auth, domain="/private /also/"')
        middleware = DigestAuthMiddleware(LOGIN, PASSWORD)
        await send(middleware, server, "http://h/private/x")
        for path, expected in [
            ("/private", True),
            ("/private/y?z", True),
            ("/also/x", True),
            ("/privately", False),
            ("/", False),
            ("/also", False),
        ]:
            before = len(server.seen)
            assert await send(middleware, server, f"http://h{path}") == 200
            assert (server.seen[before] is not None) is expected, path

    @pytest.mark.parametrize("domain", ["", 'domain="", ', "domain=, "])
    async def test_whole_origin(self, domain: str) -> None:
        """RFC 7616 §3.3: without domain, or with an empty one, it is the whole origin."""
        server = Server(f"{domain}qop=auth")
        middleware = DigestAuthMiddleware(LOGIN, PASSWORD)
        await send(middleware, server, "http://h/a")
        await send(middleware, server, "http://h:80/b/c")
        assert server.nonces == [None, "nonce1:00000001", "nonce1:00000002"]

    async def test_own_credentials(self) -> None:
        """Credentials that the caller gave go first; a challenge to them is answered."""
        server = Server()
        middleware = DigestAuthMiddleware(LOGIN, PASSWORD)
        await send(middleware, server)
        assert await send(middleware, server, authorization="Bearer x") == 200
        assert server.nonces[2:] == [None, "nonce2:00000001"]

    async def test_left_over_answer(self) -> None:
        """An answer that a redirect carried over from the hop before is replaced."""
        server = Server()
        middleware = DigestAuthMiddleware(LOGIN, PASSWORD)
        await send(middleware, server)
        assert await send(middleware, server, "http://h/b", authorization="Digest old=1") == 200
        assert server.nonces[2:] == ["nonce1:00000002"]


class TestScope:
    @pytest.mark.parametrize(
        "other",
        ["http://evil/", "https://h/", "http://h:81/", "http://sub.h/", "http://h.evil/"],
    )
    async def test_other_origins(self, other: str) -> None:
        """Another origin, wherever a redirect leads, gets no answer, asked or unasked."""
        server, foreign = Server(), Server()
        middleware = DigestAuthMiddleware(LOGIN, PASSWORD)
        await send(middleware, server)
        assert await send(middleware, foreign, other) == 401
        assert foreign.nonces == [None]
        assert await send(middleware, server) == 200
        assert server.seen[-1] is not None

    async def test_first_request_decides(self) -> None:
        """The origin is that of the first request, though another challenges first."""

        async def handler(request: Any) -> Any:
            return Response(302)

        foreign, server = Server(), Server()
        middleware = DigestAuthMiddleware(LOGIN, PASSWORD)
        await send(middleware, handler, "http://h/")
        assert await send(middleware, foreign, "http://evil/") == 401
        assert await send(middleware, server, "http://h/") == 200

    async def test_listed_space(self) -> None:
        """What domain lists elsewhere is answered, on its path only."""
        server = Server('qop=auth, domain="/ http://other/api ::bad http://[x"')
        other = Server()
        middleware = DigestAuthMiddleware(LOGIN, PASSWORD)
        await send(middleware, server)
        assert await send(middleware, other, "http://other/api/x") == 200
        assert await send(middleware, other, "http://other/") == 401
        assert await send(middleware, other, "https://other/api") == 401
        # The first origin's nonce, unasked; then that origin's own.
        assert other.nonces == ["nonce1:00000002", "nonce1:00000001", None, None]

    async def test_spaces_do_not_spread(self) -> None:
        """An origin that was listed cannot list others."""
        server = Server('qop=auth, domain="/ http://other/"')
        other = Server('qop=auth, domain="/ http://evil/"')
        evil = Server()
        middleware = DigestAuthMiddleware(LOGIN, PASSWORD)
        await send(middleware, server)
        assert await send(middleware, other, "http://other/") == 200
        assert await send(middleware, evil, "http://evil/") == 401
        assert evil.nonces == [None]

    async def test_no_downgrade(self) -> None:
        """An origin with TLS cannot send its answers to one without."""
        server, other = Server('qop=auth, domain="http://h/ http://other/"'), Server()
        middleware = DigestAuthMiddleware(LOGIN, PASSWORD)
        await send(middleware, server, "https://h/")
        for url in ("http://h/", "http://other/"):
            assert await send(middleware, other, url) == 401
        assert other.nonces == [None, None]

    async def test_many_spaces(self) -> None:
        """A long domain is read up to its limit."""
        names = " ".join(f"http://h{n}/" for n in range(MAX_SPACES + 10))
        server, other = Server(f'qop=auth, domain="{names}"'), Server()
        middleware = DigestAuthMiddleware(LOGIN, PASSWORD)
        await send(middleware, server)
        assert await send(middleware, other, f"http://h{MAX_SPACES - 1}/") == 200
        assert await send(middleware, other, f"http://h{MAX_SPACES}/") == 401


class TestConstruction:
    @pytest.mark.parametrize(
        ("login", "password"),
        [(None, "p"), ("u", None), ("a:b", "p"), ("a\r\n", "p"), ("a", "p\0")],
    )
    def test_refuses(self, login: Any, password: Any) -> None:
        """None, a colon in the login and control characters raise ValueError."""
        with pytest.raises(ValueError):
            DigestAuthMiddleware(login, password)

    async def test_repr(self) -> None:
        """repr tells for whom, and no password."""
        middleware = DigestAuthMiddleware(LOGIN, "hunter2")
        assert "no origin" in repr(middleware)
        await send(middleware, Server(), "http://example.org/")
        assert "http://example.org" in repr(middleware)
        assert "hunter2" not in repr(middleware)


class TestCurl:
    """Another implementation computes the same."""

    @pytest.mark.parametrize(
        "parameters",
        [
            'realm="r", nonce="n"',
            'realm="r\\"q", nonce="n", qop=auth, opaque="o"',
            'realm="r", nonce="n", qop=auth, algorithm=MD5-sess',
            'realm="r", nonce="n", qop="auth", algorithm=SHA-256',
            'realm="r", nonce="n", qop="auth", algorithm=SHA-256-sess',
        ],
    )
    async def test_agrees(self, parameters: str, require_peer: Callable[[str], str]) -> None:
        """curl's answers to a challenge are the ones that we would compute."""
        curl = require_peer("curl")
        answers: list[str] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while head := await reader.readuntil(b"\r\n\r\n"):
                    lines = head.decode("latin1").split("\r\n")
                    values = [line.split(": ", 1)[1] for line in lines if "Authorization" in line]
                    answers.extend(values)
                    field = "" if values else f"WWW-Authenticate: Digest {parameters}\r\n"
                    status = "200 OK" if values else "401 Unauthorized"
                    writer.write(
                        f"HTTP/1.1 {status}\r\n{field}Content-Length: 0\r\n\r\n".encode("latin1")
                    )
                    await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            process = await asyncio.create_subprocess_exec(
                curl, "-qsS", "--noproxy", "*", "--max-time", "10", "--digest",
                "-u", f"{LOGIN}:{PASSWORD}", f"http://127.0.0.1:{port}/a%20b?c=d",
            )  # fmt: skip
            assert await process.wait() == 0
        (authorization,) = answers
        challenge = digest_challenge(parse_challenges([f"Digest {parameters}"]))
        assert challenge is not None
        assert parse_challenges([authorization])[0].parameters["uri"] == "/a%20b?c=d"
        one, other = proof(authorization, PASSWORD, Request("http://h/a%20b?c=d"), b"")
        assert one == other
