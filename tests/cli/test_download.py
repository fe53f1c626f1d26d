"""Tests of angelia.cli.download: files that are whole or not there, and -C."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from angelia.cli.download import Step, decide, range_fields
from angelia.cli.main import main
from angelia.cli.partial import Validator
from cli.site import Request, Site, reply

CONTENT = bytes(range(256)) * 40
ETAG = 'ETag: "v1"'
DATED = (
    "Date: Mon, 06 Jul 2026 10:00:01 GMT",
    "Last-Modified: Mon, 06 Jul 2026 10:00:00 GMT",
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test has a directory of its own and is in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files() -> dict[str, bytes]:
    """The files of the directory with their content, sidecars without."""
    return {
        path.name: b"" if path.suffix == ".json" else path.read_bytes() for path in Path().iterdir()
    }


def cut_at(size: int, *fields: str) -> bytes:
    """A response that ends after `size` octets of the content."""
    return reply(CONTENT[:size], *fields, length=len(CONTENT))


def ranged(*fields: str, validator: str = '"v1"') -> Callable[[Request], bytes]:
    """A server that knows ranges."""

    def answer(request: Request) -> bytes:
        wanted = request.headers.get("range")
        if wanted is None or request.headers.get("if-range") != validator:
            return reply(CONTENT, *fields)
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(CONTENT):
            unsatisfied = f"Content-Range: bytes */{len(CONTENT)}"
            return reply(b"", unsatisfied, status="416 Range Not Satisfiable")
        sent = f"Content-Range: bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        return reply(CONTENT[start:], sent, *fields, status="206 Partial Content")

    return answer


def interrupted(size: int, *fields: str) -> Site:
    """Makes the part file of a download that broke off; gives the server, which is over."""
    with Site(cut_at(size, *fields)) as site:
        assert main(["-s", "-o", "file", site.url]) == 3
    return site


def resumed(
    answer: Callable[[Request], bytes] | bytes, *arguments: str
) -> tuple[int, list[Request]]:
    """What -C makes of the part file: its exit code, and the requests it took."""
    part = Path("file.part.json")
    with Site(answer) as site:
        if part.exists():  # Of another server: the port is another.
            text = part.read_text("utf-8")
            part.write_text(_with_port(text, site.port), "utf-8")
        code = main(["-C", *arguments, "-o", "file", site.url])
    return code, site.requests


def _with_port(text: str, port: int) -> str:
    before, _, rest = text.partition("127.0.0.1:")
    return f"{before}127.0.0.1:{port}{rest.lstrip('0123456789')}"


# --- the decision --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "content_range", "step"),
    [
        (200, None, Step.REPLACE),
        (203, None, Step.REPLACE),
        (206, "bytes 5-9/10", Step.APPEND),
        (206, "bytes 5-9/*", Step.APPEND),
        (206, "bytes 4-9/10", Step.ASK_FOR_ALL),
        (206, "bytes 6-9/10", Step.ASK_FOR_ALL),
        (206, None, Step.ASK_FOR_ALL),
        (206, "nonsense", Step.ASK_FOR_ALL),
        (416, "bytes */5", Step.COMPLETE),
        (416, "bytes */9", Step.ASK_FOR_ALL),
        (416, "bytes */4", Step.ASK_FOR_ALL),
        (416, None, Step.ASK_FOR_ALL),
        (404, None, Step.REFUSE),
        (503, "bytes 5-9/10", Step.REFUSE),
    ],
)
def test_decide(status: int, content_range: str | None, step: Step) -> None:
    """What comes is appended only if it says that it begins where the part ends."""
    assert decide(status, content_range, 5) is step


def test_range_fields() -> None:
    """The rest is asked for on the condition that nothing has changed (RFC 9110 §13.1.5)."""
    assert range_fields(5, Validator("http://x/", '"v"')) == {
        "Range": "bytes=5-",
        "If-Range": '"v"',
    }


# --- whole downloads -----------------------------------------------------------------------------


def test_whole(capfd: pytest.CaptureFixture[str]) -> None:
    """The file is there in the end, alone, and standard output stays empty."""
    with Site(reply(CONTENT, ETAG)) as site:
        assert main(["-o", "file", site.url]) == 0
    assert files() == {"file": CONTENT}
    assert site.requests[0].headers["accept-encoding"] == "identity"
    assert capfd.readouterr() == ("", "saved 10.2 kB to " + str(Path("file").resolve()) + "\n")


def test_content_coding_is_kept() -> None:
    """What is saved are the octets that the ranges count: those on the wire."""
    coded = gzip.compress(CONTENT)
    with Site(reply(coded, "Content-Encoding: gzip")) as site:
        assert main(["-s", "-o", "file", site.url]) == 0
    assert files() == {"file": coded}


@pytest.mark.parametrize("size", [0, 1, len(CONTENT) - 1])
def test_broken_off_without_validator(size: int) -> None:
    """A download that breaks off leaves the old file, and nothing that cannot be gone on with."""
    Path("file").write_bytes(b"old")
    interrupted(size)
    assert files() == {"file": b"old"}


def test_broken_off_with_validator(capfd: pytest.CaptureFixture[str]) -> None:
    """A download that can be gone on with says so, and never has the final name before the end."""
    with Site(cut_at(100, ETAG)) as site:
        assert main(["-o", "file", site.url]) == 3
    assert files() == {"file.part": CONTENT[:100], "file.part.json": b""}
    assert "-C goes on" in capfd.readouterr().err


def test_no_connection_leaves_nothing() -> None:
    """Without a response there is no file at all."""
    assert main(["-s", "-o", "file", "http://127.0.0.1:1/"]) == 3
    assert files() == {}


def test_error_status() -> None:
    """An error is saved like curl does, unless --fail says that it is none of what was wanted."""
    with Site(reply(b"no", status="404 Not Found")) as site:
        assert main(["-s", "-f", "-o", "file", site.url]) == 1
        assert files() == {}
        assert main(["-s", "-o", "file", site.url]) == 0
    assert files() == {"file": b"no"}


def test_directory_and_missing_directory(capfd: pytest.CaptureFixture[str]) -> None:
    """What cannot be written is told before anything is asked for."""
    Path("dir").mkdir()
    with Site(reply(CONTENT)) as site:
        assert main(["-o", "dir", site.url]) == 2
        assert main(["-o", "none/file", site.url]) == 2
    assert site.requests == []
    assert "dir" in capfd.readouterr().err


def test_devices() -> None:
    """A device is written to, and stays what it is."""
    with Site(reply(CONTENT)) as site:
        assert main(["-s", "-o", os.devnull, site.url]) == 0
        assert main(["-s", "-f", "-o", os.devnull, site.url]) == 0
    assert not Path(os.devnull).is_file()


def test_full_disk() -> None:
    """A disk that is full is an error of the file's."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with Site(reply(CONTENT)) as site:
        assert main(["-s", "-o", "/dev/full", site.url]) == 2


# --- going on ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 100, len(CONTENT) - 1])
@pytest.mark.parametrize(
    ("fields", "validator"), [((ETAG,), '"v1"'), (DATED, "Mon, 06 Jul 2026 10:00:00 GMT")]
)
def test_resume(size: int, fields: tuple[str, ...], validator: str) -> None:
    """The rest is asked for on condition, and completes the file."""
    interrupted(size, *fields)
    code, requests = resumed(ranged(*fields, validator=validator))
    assert code == 0
    assert files() == {"file": CONTENT}
    assert [request.headers.get("range") for request in requests] == [f"bytes={size}-"]
    assert requests[0].headers["if-range"] == validator


def test_resume_with_nothing_there() -> None:
    """-C without a part is a download like any other."""
    code, requests = resumed(ranged(ETAG), "-s")
    assert (code, files()) == (0, {"file": CONTENT})
    assert "range" not in requests[0].headers


def test_resume_of_what_has_changed() -> None:
    """A server that answers with all of it has another state: what there was is thrown away."""
    interrupted(100, ETAG)
    code, requests = resumed(reply(b"new content", 'ETag: "v2"'))
    assert (code, files(), len(requests)) == (0, {"file": b"new content"}, 1)


def test_resume_without_ranges_that_breaks_off_again() -> None:
    """After a full answer that broke off too, the part is the beginning of the new state."""
    interrupted(100, ETAG)
    code, _ = resumed(cut_at(50, 'ETag: "v2"'), "-s")
    assert code == 3
    assert files()["file.part"] == CONTENT[:50]
    assert '\\"v2\\"' in Path("file.part.json").read_text("utf-8")


def test_resume_broken_off_again() -> None:
    """What came of the rest is kept for the next try."""
    interrupted(100, ETAG)
    last = len(CONTENT) - 1
    piece = reply(
        CONTENT[100:150], f"Content-Range: bytes 100-{last}/{last + 1}", ETAG,
        status="206 Partial Content", length=last - 99,
    )  # fmt: skip
    assert resumed(piece, "-s")[0] == 3
    assert files()["file.part"] == CONTENT[:150]
    code, requests = resumed(ranged(ETAG), "-s")
    assert (code, files()) == (0, {"file": CONTENT})
    assert requests[0].headers["range"] == "bytes=150-"


def test_resume_with_less_than_the_rest() -> None:
    """A server may send less than was asked for; the file is not whole then."""
    interrupted(100, ETAG)
    piece = reply(
        CONTENT[100:150], f"Content-Range: bytes 100-149/{len(CONTENT)}", ETAG,
        status="206 Partial Content",
    )  # fmt: skip
    assert resumed(piece, "-s")[0] == 3
    assert files()["file.part"] == CONTENT[:150]
    assert "file" not in files()


def test_resume_of_all_there_is() -> None:
    """A part that has everything becomes the file (RFC 9110 §15.5.17)."""
    # The head was wrong about the length, so that the first try failed with all octets there.
    with Site(reply(CONTENT, ETAG, length=len(CONTENT) + 1)) as site:
        assert main(["-s", "-o", "file", site.url]) == 3
    code, requests = resumed(ranged(ETAG), "-s")
    assert (code, files()) == (0, {"file": CONTENT})
    assert len(requests) == 1


@pytest.mark.parametrize(
    "useless",
    [
        reply(b"", "Content-Range: bytes */50", status="416 Range Not Satisfiable"),
        reply(b"", status="416 Range Not Satisfiable"),
        reply(b"xxx", "Content-Range: bytes 0-2/10", status="206 Some"),
        reply(b"xxx", "Content-Range: bytes 100-102/103", 'ETag: "v2"', status="206 Some"),
        reply(b"xxx", "Content-Type: multipart/byteranges; boundary=x", status="206 Some"),
    ],
)
def test_resume_with_useless_answers(useless: bytes) -> None:
    """What cannot be the rest is not taken for it: all is asked for once more, without a range."""
    interrupted(100, ETAG)

    def answer(request: Request) -> bytes:
        return useless if "range" in request.headers else reply(CONTENT, ETAG)

    code, requests = resumed(answer, "-s")
    assert (code, files(), len(requests)) == (0, {"file": CONTENT}, 2)


def test_resume_keeps_the_part_when_the_server_fails() -> None:
    """An error is neither the rest nor a reason to throw away what there is."""
    interrupted(100, ETAG)
    code, _ = resumed(reply(b"sorry", status="503 Service Unavailable"))
    assert code == 1
    assert files() == {"file.part": CONTENT[:100], "file.part.json": b""}


def test_resume_of_another_url() -> None:
    """The part of another resource is not asked about: the whole is downloaded."""
    interrupted(100, ETAG)
    with Site(ranged(ETAG)) as site:
        assert main(["-s", "-C", "-o", "file", f"{site.url}/other"]) == 0
    assert "range" not in site.requests[0].headers
    assert files() == {"file": CONTENT}


def test_weak_tags_are_not_enough() -> None:
    """A weak entity tag does not promise the same octets: nothing is kept."""
    interrupted(100, 'ETag: W/"v1"')
    assert files() == {}
