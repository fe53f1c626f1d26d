"""Tests of angelia.cli.partial: part files and their sidecars."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from angelia.cli.exits import LocalFileError
from angelia.cli.partial import (
    ContentRange,
    PartFile,
    Validator,
    is_special,
    parse_content_range,
)

PLACE = URL("http://example.org/file")
ETAG = Validator.of(PLACE, {"ETag": '"v1"'})
MONDAY = "Mon, 06 Jul 2026 10:00:00 GMT"
SECOND_LATER = "Mon, 06 Jul 2026 10:00:01 GMT"


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


class Failure(Exception):
    """What goes wrong in the middle of a download."""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes 5-9/10", ContentRange(5, 9, 10)),
        ("BYTES 0-0/*", ContentRange(0, 0, None)),
        ("bytes */10", ContentRange(None, None, 10)),
        (None, None),
        ("", None),
        ("bytes 5-4/10", None),
        ("bytes 5-10/10", None),
        ("bytes 5-9", None),
        ("bytes \u0665-9/10", None),
        ("items 5-9/10", None),
        ("bytes 5-9/10 ", None),
        ("bytes -9/10", None),
        (f"bytes 0-1/{'9' * 5000}", None),
    ],
)
def test_content_range(value: str | None, expected: ContentRange | None) -> None:
    """A range is taken only as RFC 9110 §14.4 writes it, and only if it is possible."""
    assert parse_content_range(value) == expected


@given(st.text())
def test_any_content_range(value: str) -> None:
    """No field makes anything but a range or None."""
    parse_content_range(value)
    parse_content_range(f"bytes {value}")


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ({"ETag": '"v1"', "Last-Modified": MONDAY, "Date": SECOND_LATER}, '"v1"'),
        ({"ETag": 'W/"v1"', "Last-Modified": MONDAY, "Date": SECOND_LATER}, MONDAY),
        ({"ETag": 'W/"v1"'}, None),
        ({"ETag": "v1"}, None),
        ({"ETag": '"a"b"'}, None),
        ({"Last-Modified": MONDAY, "Date": MONDAY}, None),
        ({"Last-Modified": MONDAY}, None),
        ({"Last-Modified": "yesterday", "Date": SECOND_LATER}, None),
        ({"Last-Modified": MONDAY, "Date": "Mon, 99 Foo 99999 99:99:99 GMT"}, None),
        ({}, None),
    ],
)
def test_validators(headers: dict[str, str], value: str | None) -> None:
    """Only strong validators promise the same octets (RFC 9110 §8.8.2.2, §8.8.3)."""
    validator = Validator.of(PLACE, headers)
    assert (validator and validator.value) == value


def test_places_have_no_secrets() -> None:
    """What goes to the disk has neither credentials nor a query."""
    validator = Validator.of(URL("http://u:p@example.org/f?token=t#x"), {"ETag": '"v"'})
    assert validator == Validator("http://example.org/f", '"v"')


def test_finish(tmp_path: Path) -> None:
    """The file appears whole, and nothing else is left."""
    final = tmp_path / "file"
    with PartFile(final) as part:
        part.restart(ETAG)
        part.write(b"hello ")
        part.write(b"world")
        assert not final.exists()
        part.finish()
    assert final.read_bytes() == b"hello world"
    assert names(tmp_path) == ["file"]


def test_failure_leaves_the_old_file(tmp_path: Path) -> None:
    """A failure leaves the old file as it was, and the part to go on with."""
    final = tmp_path / "file"
    final.write_bytes(b"old")
    with contextlib.suppress(Failure), PartFile(final) as part:
        part.restart(ETAG)
        part.write(b"new")
        raise Failure
    assert final.read_bytes() == b"old"
    assert (tmp_path / "file.part").read_bytes() == b"new"
    with PartFile(final) as part:
        assert part.can_continue(PLACE) == ETAG
        assert part.size == 3
        part.write(b"er")
        part.finish()
    assert final.read_bytes() == b"newer"
    assert names(tmp_path) == ["file"]


def test_failure_without_validator_leaves_nothing(tmp_path: Path) -> None:
    """A part that cannot be gone on with is removed."""
    with PartFile(tmp_path / "file") as part:
        part.restart(None)
        part.write(b"new")
    assert names(tmp_path) == []


def test_an_untouched_part_stays(tmp_path: Path) -> None:
    """A try that fails before it has anything leaves what an earlier one had."""
    with PartFile(tmp_path / "file") as part:
        part.restart(ETAG)
        part.write(b"new")
    with PartFile(tmp_path / "file"):
        pass
    with PartFile(tmp_path / "file") as part:
        assert part.can_continue(PLACE) == ETAG


def test_other_url(tmp_path: Path) -> None:
    """A part of another resource is not gone on with; another query is the same resource."""
    with PartFile(tmp_path / "file") as part:
        part.restart(ETAG)
        part.write(b"new")
        assert part.can_continue(URL("http://example.org/other")) is None
        assert part.can_continue(URL("https://example.org/file")) is None
        assert part.can_continue(URL("http://u@example.org/file?signature=2")) == ETAG


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", '"x"', "1", "{}", '{"place": 1, "value": "\\"v\\""}',
        '{"place": "http://example.org/file"}',
        '{"place": "http://example.org/file", "value": "W/\\"v\\""}',
        '{"place": "http://example.org/file", "value": "\\"v\\"\\r\\nX: y"}',
        "[" * 10_000, "\udcff",
    ],
)  # fmt: skip
def test_bad_sidecars(tmp_path: Path, text: str) -> None:
    """A sidecar that we have not written means that there is nothing to go on with."""
    (tmp_path / "file.part").write_bytes(b"some")
    (tmp_path / "file.part.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with PartFile(tmp_path / "file") as part:
        assert part.can_continue(PLACE) is None


def test_restart_forgets_the_validator_first(tmp_path: Path) -> None:
    """The old sidecar never stands beside new octets."""
    with PartFile(tmp_path / "file") as part:
        part.restart(ETAG)
        part.write(b"longer than the next")
        part.restart(None)
        assert not part.sidecar.exists()
        assert part.path.read_bytes() == b""
        part.write(b"x")
        assert part.path.read_bytes() == b"x"


def test_sidecar_is_small_json(tmp_path: Path) -> None:
    """The sidecar says of what the part is the beginning."""
    with PartFile(tmp_path / "file") as part:
        part.restart(ETAG)
        part.write(b"x")
        facts = json.loads(part.sidecar.read_bytes())
    assert facts == {"place": "http://example.org/file", "value": '"v1"'}


def test_two_downloads_of_one_file(tmp_path: Path) -> None:
    """A second download into the same part is refused, and leaves the first alone."""
    with PartFile(tmp_path / "file") as part:
        part.restart(ETAG)
        part.write(b"mine")
        with (
            pytest.raises(LocalFileError, match="another download"),
            PartFile(tmp_path / "file"),
        ):
            pass
        part.finish()
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_mode_of_the_old_file(tmp_path: Path) -> None:
    """A file that others could not read does not become one that they can."""
    final = tmp_path / "file"
    final.write_bytes(b"old")
    final.chmod(0o600)
    with PartFile(final) as part:
        part.restart(None)
        part.finish()
    assert stat.S_IMODE(final.stat().st_mode) == 0o600


def test_links(tmp_path: Path) -> None:
    """A link stays one, its target is replaced; a link in the part's place is not followed."""
    (tmp_path / "dir").mkdir()
    target = tmp_path / "dir" / "target"
    target.write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to(target)
    with PartFile(link) as part:
        part.restart(None)
        part.write(b"new")
        part.finish()
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "file.part").symlink_to(victim)
    with pytest.raises(LocalFileError), PartFile(tmp_path / "file"):
        pass
    assert victim.read_bytes() == b"precious"


def test_unwritable(tmp_path: Path) -> None:
    """A directory that is not there is named."""
    with pytest.raises(LocalFileError, match="No such file"), PartFile(tmp_path / "no" / "file"):
        pass


def test_special_files(tmp_path: Path) -> None:
    """Devices are written to, directories are refused, everything else is a file to be made."""
    assert is_special(Path(os.devnull))
    assert not is_special(tmp_path / "new")
    with pytest.raises(LocalFileError, match="directory"):
        is_special(tmp_path)
