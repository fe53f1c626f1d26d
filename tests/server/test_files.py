"""Files as answers: whole, in parts, conditional, coded, and never from outside."""

from __future__ import annotations

import asyncio
import gzip
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from angelia.core.fields import serialize_http_date
from angelia.server.files import Directory, FileResponse, _open
from angelia.server.http_exception import HTTPException
from angelia.server.request import Request
from angelia.server.stream_response import StreamResponse
from server.kit import Answer, ask, connected, next_descriptor, serving

pytestmark = [pytest.mark.usefixtures("loop_kind"), pytest.mark.deadline(15)]

CONTENT = bytes(range(256)) * 4
OLD = 1_700_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with a few files, and something secret beside it."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "file.bin").write_bytes(CONTENT)
    os.utime(root / "file.bin", (OLD, OLD))
    (root / "empty").write_bytes(b"")
    (root / "sub").mkdir()
    (root / "sub" / "index.html").write_text("<p>index")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "rootless").mkdir()
    (tmp_path / "rootless" / "file").write_text("secret")
    return root


def get(path: bytes, *fields: bytes, method: bytes = b"GET") -> bytes:
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"%b %b HTTP/1.1\r\nHost: h\r\n%b\r\n" % (method, path, lines)


async def fetch(root: Path, path: bytes, *fields: bytes, method: bytes = b"GET") -> Answer:
    async with serving(Directory(root)) as server:
        return await ask(server, get(path, *fields, method=method), head=method == b"HEAD")


class TestWhole:
    async def test_file(self, root: Path) -> None:
        """Content, length, type and validators."""
        answer = await fetch(root, b"/file.bin?x")
        assert (answer.status, answer.body) == (200, CONTENT)
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["accept-ranges"] == "bytes"
        moment = datetime.fromtimestamp(OLD, UTC)
        assert answer.headers["last-modified"] == serialize_http_date(moment)
        assert answer.headers["etag"].startswith('"')
        index = await fetch(root, b"/sub/")
        assert (index.body, index.headers["content-type"]) == (
            b"<p>index",
            "text/html; charset=utf-8",
        )

    async def test_head_and_empty(self, root: Path) -> None:
        """HEAD has the length and no content; an empty file is one."""
        answer = await fetch(root, b"/file.bin", method=b"HEAD")
        assert answer.headers["content-length"] == str(len(CONTENT))
        answer = await fetch(root, b"/empty")
        assert (answer.status, answer.body) == (200, b"")
        assert (await fetch(root, b"/empty", b"Range: bytes=0-")).status == 416

    async def test_large_and_next(self, root: Path) -> None:
        """A large file comes whole, and the connection goes on."""
        large = os.urandom(5_000_000)
        (root / "large").write_bytes(large)
        async with serving(Directory(root)) as server, connected(server) as wire:
            for _ in range(2):
                wire.send(get(b"/large"))
                assert (await wire.answer()).body == large
            wire.send(get(b"/file.bin"))
            assert (await wire.answer()).body == CONTENT

    async def test_methods(self, root: Path) -> None:
        """Only GET and HEAD."""
        answer = await fetch(root, b"/file.bin", b"Content-Length: 0", method=b"POST")
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")

    async def test_client_goes(self, root: Path) -> None:
        """A client that goes in the middle leaves no file open."""
        (root / "large").write_bytes(bytes(50_000_000))
        async with serving(Directory(root)) as server, connected(server) as wire:
            wire.send(get(b"/large"))
            await wire.reader.readexactly(1000)
            wire.writer.transport.abort()
            await server.close(10)
        assert not any("large" in name for name in open_files())


def open_files() -> list[str]:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        return []
    names = []
    for entry in folder.iterdir():
        try:
            names.append(str(entry.readlink()))
        except FileNotFoundError:
            continue
    return names


class TestConditions:
    async def test_not_modified(self, root: Path) -> None:
        """304 without content, with the validators; 412 where it should not have changed."""
        first = await fetch(root, b"/file.bin")
        etag = first.headers["etag"].encode()
        date = first.headers["last-modified"].encode()
        for field in (b"If-None-Match: " + etag, b"If-Modified-Since: " + date):
            answer = await fetch(root, b"/file.bin", field)
            assert (answer.status, answer.body) == (304, b"")
            assert answer.headers["etag"].encode() == etag
            assert "content-type" not in answer.headers
        answer = await fetch(root, b"/file.bin", b'If-Match: "other"')
        assert (answer.status, answer.body) == (412, b"")


class TestRanges:
    @pytest.mark.parametrize(
        ("value", "start", "stop"),
        [
            (b"bytes=0-9", 0, 10),
            (b"bytes=1000-", 1000, 1024),
            (b"bytes=-24", 1000, 1024),
            (b"BYTES=5-5", 5, 6),
            (b"bytes=0-99999", 0, 1024),
            (b"bytes=0-5,3-9", 0, 10),
        ],
    )
    async def test_one(self, root: Path, value: bytes, start: int, stop: int) -> None:
        """A part, and which one it is."""
        answer = await fetch(root, b"/file.bin", b"Range: " + value)
        assert (answer.status, answer.body) == (206, CONTENT[start:stop])
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/1024"

    async def test_several(self, root: Path) -> None:
        """Several parts between boundaries."""
        answer = await fetch(root, b"/file.bin", b"Range: bytes=0-1,10-11,-1")
        assert answer.status == 206
        kind, _, boundary = answer.headers["content-type"].partition("; boundary=")
        assert kind == "multipart/byteranges"
        parts = answer.body.split(b"\r\n--" + boundary.encode())
        assert parts[0] == b""
        assert parts[-1] == b"--\r\n"
        assert [part.partition(b"\r\n\r\n")[2] for part in parts[1:-1]] == [
            CONTENT[0:2],
            CONTENT[10:12],
            CONTENT[-1:],
        ]
        assert b"Content-Range: bytes 10-11/1024" in parts[2]

    async def test_not_there(self, root: Path) -> None:
        """416 says how long the file is; what is no range is ignored."""
        answer = await fetch(root, b"/file.bin", b"Range: bytes=2000-")
        assert (answer.status, answer.headers["content-range"]) == (416, "bytes */1024")
        for value in (b"bytes=a-b", b"lines=1-2", b"bytes=9-1", "bytes=\u0661-".encode()):
            assert (await fetch(root, b"/file.bin", b"Range: " + value)).status == 200

    async def test_if_range(self, root: Path) -> None:
        """The rest only of the same file, else all of it."""
        etag = (await fetch(root, b"/file.bin")).headers["etag"].encode()
        for tag, status in ((etag, 206), (b'"other"', 200), (b"W/" + etag, 200)):
            fields = (b"Range: bytes=0-1", b"If-Range: " + tag)
            assert (await fetch(root, b"/file.bin", *fields)).status == status


class TestCodings:
    async def test_siblings(self, root: Path) -> None:
        """A coded sibling for those who like it, with the type of the file itself."""
        packed = gzip.compress(b"text" * 100)
        (root / "a.txt").write_bytes(b"text" * 100)
        (root / "a.txt.gz").write_bytes(packed)
        answer = await fetch(root, b"/a.txt", b"Accept-Encoding: GZIP")
        assert answer.body == packed
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        answer = await fetch(root, b"/a.txt", b"Accept-Encoding: gzip;q=0")
        assert answer.body == b"text" * 100
        assert answer.headers["vary"] == "Accept-Encoding"
        # The archive itself is an archive.
        answer = await fetch(root, b"/a.txt.gz", b"Accept-Encoding: gzip")
        assert (answer.body, answer.headers["content-type"]) == (packed, "application/gzip")
        assert "content-encoding" not in answer.headers


class TestRoot:
    @pytest.mark.parametrize(
        "path",
        [
            b"/../secret",
            b"/..%2fsecret",
            b"/%2e%2e/secret",
            b"/sub/../../secret",
            b"/sub/..%5c..%5csecret",
            b"/../rootless/file",
            b"//etc/passwd",
            b"/%2fetc/passwd",
            b"/c:/secret",
            b"/file.bin%00.txt",
            b"/file.bin/",
            b"/file.bin/x",
            b"/missing",
            b"/sub/missing/",
            b"/%ff",
            b"/" + b"x" * 300,
            b"/file.bin::$DATA",
            b"http://h/../secret",
        ],
    )
    async def test_nothing_else(self, root: Path, path: bytes) -> None:
        """What is outside, or not there, is 404, and the same one."""
        answer = await fetch(root, path)
        if path == b"/file.bin/":
            # A trailing slash names the same file.
            assert answer.status == 200
            return
        assert (answer.status, answer.body) == (404, b"404: Not Found")

    async def test_links(self, root: Path) -> None:
        """Links out of the root are not followed unless that was asked for, siblings neither."""
        (root / "link").symlink_to(root.parent / "secret")
        (root / "inside").symlink_to(root / "file.bin")
        (root / "b.txt").write_text("b")
        (root / "b.txt.gz").symlink_to(root.parent / "secret")
        assert (await fetch(root, b"/link")).status == 404
        assert (await fetch(root, b"/inside")).body == CONTENT
        assert (await fetch(root, b"/b.txt", b"Accept-Encoding: gzip")).status == 404
        async with serving(Directory(root, follow_symlinks=True)) as server:
            assert (await ask(server, get(b"/link"))).body == b"secret"

    @pytest.mark.parametrize("follow", [False, True])
    async def test_loop(self, root: Path, follow: bool) -> None:
        """A link that leads to itself is no file, nor has it files below it."""
        (root / "loop").symlink_to("loop")
        async with serving(Directory(root, follow_symlinks=follow)) as server:
            assert (await ask(server, get(b"/loop"))).status == 404
            assert (await ask(server, get(b"/loop/file.bin"))).status == 404

    async def test_special(self, root: Path) -> None:
        """A pipe is no file, and nobody waits for its writer."""
        os.mkfifo(root / "pipe")
        assert (await fetch(root, b"/pipe")).status == 404

        async def handler(request: Request) -> StreamResponse:
            return FileResponse(root / "pipe")

        async with serving(handler) as server:
            assert (await ask(server, get(b"/"))).status == 403

    async def test_response_of_directory(self, root: Path) -> None:
        """A directory is no file either, and its descriptor is closed."""

        async def handler(request: Request) -> StreamResponse:
            return FileResponse(root)

        async with serving(handler) as server:
            assert (await ask(server, get(b"/"))).status == 403
        before = next_descriptor()
        with pytest.raises(HTTPException):
            _open(root, ())
        assert next_descriptor() <= before

    def test_no_directory(self, root: Path) -> None:
        """The root is a directory."""
        with pytest.raises(ValueError, match="not a directory"):
            Directory(root / "file.bin")


async def test_response_of_a_handler(root: Path) -> None:
    """A handler's own status, type and fields are kept; a missing file is 404."""

    async def handler(request: Request) -> StreamResponse:
        if request.path == "/missing":
            return FileResponse(root / "missing")
        return FileResponse(
            root / "file.bin", status=404, headers={"Content-Type": "a/b", "ETag": '"mine"'}
        )

    async with serving(handler) as server:
        answer = await ask(server, get(b"/", b"Range: bytes=0-1"))
        assert (answer.status, answer.body) == (404, CONTENT)
        assert (answer.headers["content-type"], answer.headers["etag"]) == ("a/b", '"mine"')
        assert (await ask(server, get(b"/missing"))).status == 404


async def test_file_shrinks(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that becomes shorter while it is sent breaks the connection."""
    path = root / "shrinking"
    path.write_bytes(bytes(30_000_000))
    async with serving(Directory(root)) as server, connected(server) as wire:
        wire.send(get(b"/shrinking"))
        await wire.reader.readexactly(1000)
        await asyncio.get_running_loop().run_in_executor(None, path.write_bytes, b"")
        rest = await wire.rest()
        assert len(rest) < 30_000_000
