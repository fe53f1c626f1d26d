"""make_mocked_request and make_response."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from yarl import URL

import angelia
from angelia.testing import make_mocked_request, make_response


class TestMockedRequest:
    """`make_mocked_request`."""

    def test_head(self) -> None:
        """Outside of event loops, a request has what was given, and nothing else."""
        request = make_mocked_request("GET", "/a%20b?c=d", {"X-A": "1", "Cookie": "e=f"})
        assert (request.method, request.path, request.query["c"]) == ("GET", "/a b", "d")
        assert dict(request.headers) == {"X-A": "1", "Cookie": "e=f"}
        assert request.cookies == {"e": "f"}
        assert request.url == URL("http://127.0.0.1:80/a%20b?c=d")
        assert request.remote == "127.0.0.1"
        assert request.keep_alive
        assert not request.body_exists
        assert asyncio.run(request.read()) == b""

    def test_facts(self) -> None:
        """What a connection would tell can be chosen."""
        request = make_mocked_request(
            "GET",
            "/",
            {"Host": "example.org", "Connection": "close"},
            scheme="https",
            remote="10.0.0.1",
            extra={"cipher": "c"},
            version=angelia.HttpVersion10,
            state=17,
        )
        assert str(request.url) == "https://example.org/"
        assert (request.remote, request.secure, request.state) == ("10.0.0.1", True, 17)
        assert request.get_extra_info("cipher") == "c"
        assert request.version == angelia.HttpVersion10
        assert not request.keep_alive

    async def test_payload(self) -> None:
        """A body is read as any."""
        request = make_mocked_request("POST", "/", payload=b'{"a": 1}')
        assert request.can_read_body
        assert await request.json() == {"a": 1}
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert (await make_mocked_request("POST", "/", form, payload=b"a=b").post())["a"] == "b"

    async def test_too_large(self) -> None:
        """The limit of bodies holds."""
        request = make_mocked_request("POST", "/", payload=b"1234", max_body_size=3)
        with pytest.raises(angelia.HTTPException) as caught:
            await request.read()
        assert caught.value.status == 413

    async def test_streamed_answer(self) -> None:
        """A handler that sends its answer piece by piece can be called with it."""
        request = make_mocked_request("GET", "/", {"Accept-Encoding": "gzip"})
        response = angelia.StreamResponse()
        response.enable_compression()
        await response.prepare(request)
        await response.write(b"abc")
        await response.write_eof()
        assert response.ended
        assert response.body_length

    async def test_whole_answer(self) -> None:
        """So can one that prepares an answer whose content is at hand."""
        request = make_mocked_request("GET", "/", remote="192.0.2.1")
        assert request.remote == "192.0.2.1"
        response = angelia.Response(text="hello")
        await response.prepare(request)
        await response.write_eof()
        assert response.ended
        assert response.body_length == 5


class TestMakeResponse:
    """`make_response`."""

    async def test_json(self) -> None:
        """It is what a session would return."""
        response = make_response("PUT", "http://h/a#b", status=201, json={"a": [1]})
        async with response:
            assert (response.status, response.reason, response.method) == (201, "Created", "PUT")
            assert (str(response.url), str(response.real_url)) == ("http://h/a", "http://h/a#b")
            assert await response.json() == {"a": [1]}
            assert response.content_length == 10
            assert response.raw_headers[0] == (b"Content-Type", b"application/json")

    async def test_text_and_fields(self) -> None:
        """Fields may repeat; a text has its charset."""
        response = make_response(
            headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")],
            text="käse",
            request_headers={"X-A": "1"},
        )
        assert {name: morsel.value for name, morsel in response.cookies.items()} == {
            "a": "1",
            "b": "2",
        }
        assert await response.text() == "käse"
        assert response.request_info.headers["x-a"] == "1"

    async def test_coded(self) -> None:
        """A coded body is decoded, and can be read as a stream."""
        body = gzip.compress(b"abc" * 100)
        response = make_response(body=body, headers={"Content-Encoding": "gzip"})
        assert b"".join([piece async for piece in response.content.iter_any()]) == b"abc" * 100

    async def test_status(self) -> None:
        """It raises for its status as any, and has a history."""
        first = make_response(status=302)
        response = make_response(status=404, history=(first,))
        assert response.history == (first,)
        assert await response.read() == b""
        with pytest.raises(angelia.ClientResponseError) as caught:
            response.raise_for_status()
        assert caught.value.status == 404

    async def test_wrong_use(self) -> None:
        """What is no response is refused."""
        with pytest.raises(ValueError, match="final"):
            make_response(status=100)
        with pytest.raises(ValueError, match="one of"):
            make_response(text="a", json=1)
        with pytest.raises(ValueError, match=r"."):
            make_response(headers={"A": "b\r\nc"})
