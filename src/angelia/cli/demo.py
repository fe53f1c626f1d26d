"""``angelia demo``: what client and server are for, done once, both of them in this process.

Owns: the steps, what each has to find, and how it is told. A step that finds something else fails
the demonstration. Reads as an introduction to the library, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from angelia.cli.demo_site import GZIPPED_TEXT, STREAM_LINES, serving
from angelia.cli.exits import ExitCode
from angelia.cli.heads import milliseconds
from angelia.cli.output import Output, escaped_line

if TYPE_CHECKING:
    import angelia

__all__ = ("demo",)

CONCURRENT: Final = 50
# Above what any step takes on a slow machine; the demonstration must end.
TIMEOUT: Final = 20.0
SHORT_TIMEOUT: Final = 0.2


class _Unexpected(Exception):
    """A step has found something else than it should have."""


Step: TypeAlias = Callable[["angelia.ClientSession"], Awaitable[str]]


def _expect(found: object, expected: object, what: str) -> None:
    if found != expected:
        raise _Unexpected(f"{what} is {found!r}, not {expected!r}")


async def _get(session: angelia.ClientSession) -> str:
    async with session.get("/hello") as response:
        text = await response.text()
    _expect(response.status, 200, "the status")
    _expect(text, "hello, world\n", "the text")
    return f"GET /hello -> {response.status} {response.reason}, {response.content_type}, {text!r}"


async def _post_json(session: angelia.ClientSession) -> str:
    sent = {"name": "angelia", "words": ["message", "ἀγγελία"]}
    async with session.post("/echo", json=sent) as response:
        echo = await response.json()
    _expect(echo["type"], "application/json", "the content type that the server saw")
    return f"POST /echo with JSON -> {response.status}, the server saw {echo['body']}"


async def _post_form(session: angelia.ClientSession) -> str:
    async with session.post("/echo", data={"to": "you", "text": "good news"}) as response:
        echo = await response.json()
    _expect(echo["body"], "to=you&text=good+news", "the form that the server saw")
    return f"POST /echo with a form -> {response.status}, the server saw {echo['body']}"


async def _stream(session: angelia.ClientSession) -> str:
    lines = []
    async with session.get("/stream") as response:
        async for line in response.content:
            lines.append(line)  # noqa: PERF401  # To show how a stream is read.
    _expect(len(lines), STREAM_LINES, "the number of lines")
    return f"GET /stream -> {len(lines)} lines, each read as it came, the last {lines[-1]!r}"


async def _redirect(session: angelia.ClientSession) -> str:
    async with session.get("/moved") as response:
        await response.read()
    _expect([hop.status for hop in response.history], [302], "the history")
    _expect(response.url.path, "/hello", "the path in the end")
    return f"GET /moved -> {response.history[0].status}, followed to {response.url.path}"


async def _cookies(session: angelia.ClientSession) -> str:
    async with session.get("/login") as response:
        await response.read()
    async with session.get("/whoami") as response:
        seen = await response.json()
    _expect(seen["cookie"], "session=s3cret", "the cookie that the server saw")
    return f"GET /login set a cookie, GET /whoami sent it back: {seen['cookie']}"


async def _gzip(session: angelia.ClientSession) -> str:
    async with session.get("/gzip") as response:
        text = await response.text()
    _expect(text, GZIPPED_TEXT, "the text")
    return (
        f"GET /gzip -> {response.content_length} bytes of gzip on the wire, "
        f"{len(text)} characters of text"
    )


async def _concurrently(session: angelia.ClientSession) -> str:
    async def one() -> int:
        async with session.get("/hello") as response:
            return len(await response.read())

    start = time.perf_counter()
    sizes = await asyncio.gather(*(one() for _ in range(CONCURRENT)))
    _expect(sizes, [13] * CONCURRENT, "the sizes")
    took = milliseconds(time.perf_counter() - start)
    return f"{CONCURRENT} x GET /hello at the same time, over 10 connections -> all 200, in {took}"


async def _status_error(session: angelia.ClientSession) -> str:
    import angelia

    try:
        async with session.get("/missing", raise_for_status=True):
            pass
    except angelia.ClientResponseError as error:
        _expect(error.status, 404, "the status")
        return f"GET /missing -> {type(error).__name__}: {error.status} {error.message}"
    raise _Unexpected("a missing page raised nothing")


async def _broken(session: angelia.ClientSession) -> str:
    import angelia

    try:
        async with session.get("/broken") as response:
            await response.read()
    except angelia.ClientPayloadError as error:
        return f"GET /broken, which ends too early -> {type(error).__name__}"
    raise _Unexpected("content that ends too early raised nothing")


async def _timeout(session: angelia.ClientSession) -> str:
    import angelia

    try:
        async with session.get("/slow", timeout=angelia.ClientTimeout(total=SHORT_TIMEOUT)):
            pass
    except TimeoutError as error:
        return f"GET /slow, with {SHORT_TIMEOUT:g} s for it -> {type(error).__name__}"
    raise _Unexpected("a timeout raised nothing")


async def _refused(session: angelia.ClientSession) -> str:
    import angelia

    try:
        # Port 1 is that of a service nobody runs (RFC 1078).
        async with session.get("http://127.0.0.1:1/"):
            pass
    except angelia.ClientConnectorError as error:
        return f"GET of a closed port -> {type(error).__name__}"
    raise _Unexpected("a closed port raised nothing")


_STEPS: Final[tuple[tuple[str, Step], ...]] = (
    ("a request", _get),
    ("JSON", _post_json),
    ("a form", _post_form),
    ("a stream", _stream),
    ("a redirect", _redirect),
    ("cookies", _cookies),
    ("compression", _gzip),
    ("concurrency", _concurrently),
    ("an error status", _status_error),
    ("a broken response", _broken),
    ("a timeout", _timeout),
    ("no server", _refused),
)


async def demo(output: Output) -> int:
    """Do the steps and tell them; 0 if each found what it should, else 1."""
    import angelia

    failed = 0
    async with serving() as (base, served):
        output.line(f"angelia {angelia.__version__}, client and server in this process: {base}")
        # The server sets its cookie for an address, which a jar accepts only if it is told to.
        jar = angelia.CookieJar(unsafe=True)
        async with angelia.ClientSession(
            f"{base}/",
            connector=angelia.TCPConnector(limit=10),
            cookie_jar=jar,
            timeout=angelia.ClientTimeout(total=TIMEOUT),
        ) as session:
            for title, step in _STEPS:
                failed += not await _tell(title, step, session, output)
        mark = output.styled("ok", "green")
        text = f"{len(served)} requests, the first {served[0]}" if served else "no requests"
        output.line(f"{mark}  {'the server'.ljust(17)}  answered {escaped_line(text)}")
    if failed:
        output.error(f"{failed} of {len(_STEPS)} steps found something else than they should have")
        return ExitCode.HTTP_ERROR
    output.line(f"all {len(_STEPS)} steps found what they should have")
    return ExitCode.OK


async def _tell(title: str, step: Step, session: angelia.ClientSession, output: Output) -> bool:
    import angelia

    start = time.perf_counter()
    try:
        text = await step(session)
    except (_Unexpected, angelia.ClientError, OSError) as error:
        mark = output.styled("failed", "red", "bold")
        output.line(f"{mark}  {title}: {escaped_line(f'{type(error).__name__}: {error}')}")
        return False
    took = milliseconds(time.perf_counter() - start)
    mark = output.styled("ok", "green")
    output.line(f"{mark}  {title.ljust(17)}  {escaped_line(text)}  ({took})")
    output.flush()
    return True
