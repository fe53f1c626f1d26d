"""MockConnector: requests through the real session and server, without sockets."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

import angelia
from angelia.testing import MockConnector


class TestReplies:
    """`MockConnector.add`."""

    async def test_json(self) -> None:
        """A registered reply is what the request is answered with."""
        mock = MockConnector()
        mock.add("GET", "http://example.org/a", status=201, json={"a": 1}, headers={"X-A": "b"})
        async with (
            angelia.ClientSession(connector=mock) as session,
            session.get("http://example.org/a") as response,
        ):
            assert (response.status, response.reason) == (201, "Created")
            assert response.headers["X-A"] == "b"
            assert await response.json() == {"a": 1}
        mock.assert_requested("GET", "http://example.org/a", times=1)
        mock.assert_all_used()

    @pytest.mark.parametrize(
        ("pattern", "url"),
        [
            ("http://h/", "http://h"),
            ("http://h:80/", "http://h/"),
            ("https://h/a?x=1&y=2", "https://h/a?y=2&x=1"),
            ("/a%20b", "http://h/a b"),
            ("http://h/#f", "http://h/#g"),
            (re.compile(r"http://h/\d+"), "http://h/17"),
        ],
    )
    async def test_fits(self, pattern: str | re.Pattern[str], url: str) -> None:
        """URLs fit that mean the same; a relative one fits any host, a pattern the whole text."""
        mock = MockConnector()
        mock.add("*", pattern, text="x")
        async with angelia.ClientSession(connector=mock) as session, session.get(url) as response:
            assert await response.text() == "x"
        assert len(mock.requested("GET", pattern)) == 1

    @pytest.mark.parametrize(
        ("method", "pattern"),
        [
            ("POST", "http://h/a"),
            ("GET", "http://h/"),
            ("GET", "https://h/a"),
            ("GET", "http://h:81/a"),
            ("GET", "http://h/a?x=1"),
            ("GET", re.compile("http://h/")),
        ],
    )
    async def test_does_not_fit(self, method: str, pattern: str | re.Pattern[str]) -> None:
        """What differs in method, origin, path or query is something else, and the error says what
        was asked for."""
        mock = MockConnector()
        mock.add(method, pattern)
        async with angelia.ClientSession(connector=mock) as session:
            with pytest.raises(angelia.ClientConnectionError, match=r"GET http://h/a$"):
                await session.get("http://h/a")
        with pytest.raises(AssertionError, match="not used up"):
            mock.assert_all_used()
        with pytest.raises(AssertionError, match=r"GET http://h/a\b"):
            mock.assert_requested(method, pattern)

    async def test_times(self) -> None:
        """Replies are used in their order, each as often as was said."""
        mock = MockConnector()
        mock.add("GET", "/", text="1", times=2)
        mock.add("GET", "/", text="2", times=1)
        async with angelia.ClientSession(connector=mock) as session:
            texts = []
            for _ in range(3):
                async with session.get("http://h/") as response:
                    texts.append(await response.text())
            assert texts == ["1", "1", "2"]
            with pytest.raises(angelia.ClientConnectionError):
                await session.get("http://h/")

    async def test_exception(self) -> None:
        """A registered exception is raised, anew each time."""
        mock = MockConnector()
        error = angelia.ServerDisconnectedError("gone")
        mock.add("GET", "/", exception=error)
        mock.add("POST", "/", exception=TimeoutError)
        async with angelia.ClientSession(connector=mock) as session:
            for _ in range(2):
                with pytest.raises(angelia.ServerDisconnectedError, match="gone") as caught:
                    await session.get("http://h/")
                assert caught.value is not error
            with pytest.raises(TimeoutError):
                await session.post("http://h/", data=b"x")
        assert [item.body for item in mock.requests] == [None, None, None]

    async def test_wrong_use(self) -> None:
        """What cannot be answered with is refused when it is registered."""
        async with MockConnector() as mock:
            for arguments in (
                {"times": 0},
                {"status": 100},
                {"text": "a", "json": 1},
                {"text": "a", "exception": OSError()},
            ):
                with pytest.raises(ValueError, match=r"."):
                    mock.add("GET", "/", **arguments)


class TestRequests:
    """`MockConnector.requests`."""

    async def test_records(self) -> None:
        """Method, URL, fields and body are what was sent."""
        mock = MockConnector()
        mock.add("POST", "/")
        async with (
            angelia.ClientSession(connector=mock) as session,
            session.post("http://h/", json=[1], headers={"X-A": "1"}),
        ):
            pass
        (record,) = mock.requests
        assert (record.method, str(record.url), record.body) == ("POST", "http://h/", b"[1]")
        assert record.headers["X-A"] == "1"
        assert record.headers["Host"] == "h"

    async def test_redirects_and_cookies(self) -> None:
        """Redirects are followed and cookies sent, as by any session."""
        mock = MockConnector()
        headers = {"Location": "/b", "Set-Cookie": "a=1"}
        mock.add("GET", "http://h/a", status=302, headers=headers)
        mock.add("GET", "http://h/b", text="there")
        async with (
            angelia.ClientSession(connector=mock) as session,
            session.get("http://h/a") as response,
        ):
            assert await response.text() == "there"
            assert len(response.history) == 1
        assert mock.requests[1].headers["Cookie"] == "a=1"


@pytest.mark.usefixtures("loop_kind")
class TestHandler:
    """A handler answers."""

    async def test_echo(self) -> None:
        """A large body goes there and back, with back-pressure, over one connection."""

        async def handler(request: angelia.Request) -> angelia.StreamResponse:
            response = angelia.StreamResponse()
            await response.prepare(request)
            async for piece in request.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

        body = bytes(range(256)) * 4096
        mock = MockConnector(handler)
        async with angelia.ClientSession(connector=mock) as session:
            for scheme in ("http", "https"):
                async with session.post(f"{scheme}://h/", data=body) as response:
                    assert await response.read() == body
        assert mock.requests[0].body is None

    async def test_error(self) -> None:
        """An error in the handler is a 500, as with a real server."""

        async def handler(request: angelia.Request) -> angelia.Response:
            raise angelia.HTTPException(418, "short and stout")

        async with (
            angelia.ClientSession(connector=MockConnector(handler)) as session,
            session.get("http://h/") as response,
        ):
            assert response.status == 418

    async def test_broken_off(self) -> None:
        """An answer that breaks off is an error of its content."""

        async def handler(request: angelia.Request) -> angelia.StreamResponse:
            response = angelia.StreamResponse(headers={"Content-Length": "10"})
            await response.prepare(request)
            await response.write(b"12345")
            raise ConnectionError("the end")

        async with (
            angelia.ClientSession(connector=MockConnector(handler)) as session,
            session.get("http://h/") as response,
        ):
            with pytest.raises(angelia.ClientPayloadError):
                await response.read()

    async def test_timeout(self) -> None:
        """A handler that does not answer runs into the session's timeout."""

        async def handler(request: angelia.Request) -> angelia.Response:
            await asyncio.Event().wait()
            raise AssertionError

        timeout = angelia.ClientTimeout(total=0.01)
        async with angelia.ClientSession(connector=MockConnector(handler)) as session:
            with pytest.raises(TimeoutError):
                await session.get("http://h/", timeout=timeout)

    async def test_file(self, tmp_path: Path) -> None:
        """Files are sent without the system's help."""
        path = tmp_path / "file"
        path.write_bytes(b"x" * 100_000)

        async def handler(request: angelia.Request) -> angelia.StreamResponse:
            return angelia.FileResponse(path)

        async with (
            angelia.ClientSession(connector=MockConnector(handler)) as session,
            session.get("http://h/") as response,
        ):
            assert len(await response.read()) == 100_000
