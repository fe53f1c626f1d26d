"""Credentials from netrc."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from pathlib import Path

import pytest

from angelia.client import netrc as module
from angelia.client.netrc import lookup, netrc_auth
from angelia.core.auth import BasicAuth

CONTENT = """
machine example.com login user password secret
machine Mixed.Example login m password n
machine account.example account acc password p
machine colon.example login a:b password c
machine letters.example login u password \u20ac
machine bare.example login only
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path that $NETRC names; nothing is there."""
    path = tmp_path / "file"
    monkeypatch.setenv("NETRC", str(path))
    return path


@pytest.fixture
def filled(file: Path) -> Path:
    file.write_text(CONTENT, "utf-8")
    return file


class TestEntries:
    @pytest.mark.parametrize(
        ("host", "expected"),
        [
            ("example.com", BasicAuth("user", "secret")),
            ("EXAMPLE.com", BasicAuth("user", "secret")),
            ("mixed.example", BasicAuth("m", "n")),
            ("account.example", BasicAuth("acc", "p")),
            ("letters.example", BasicAuth("u", "\u20ac", "utf-8")),
            ("bare.example", BasicAuth("only", "")),
            ("www.example.com", None),
            ("com", None),
            ("default", None),
        ],
    )
    @pytest.mark.usefixtures("filled")
    def test_lookup(self, host: str, expected: BasicAuth | None) -> None:
        """Entries are matched on the whole host, without case."""
        assert lookup(host) == expected

    @pytest.mark.parametrize("host", ["other.example", "default"])
    def test_default(self, file: Path, host: str) -> None:
        """The default entry is for all other hosts, unless the caller does not want it."""
        file.write_text("machine a login b password c\ndefault login d password e\n")
        assert lookup(host) == BasicAuth("d", "e")
        assert lookup(host, use_default=False) is None
        assert lookup("a", use_default=False) == BasicAuth("b", "c")

    def test_changes_count(self, file: Path) -> None:
        """The file is read anew for each lookup."""
        for password in ("one", "two"):
            file.write_text(f"machine h login u password {password}\n")
            assert lookup("h") == BasicAuth("u", password)


class TestPlaces:
    def test_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without $NETRC it is .netrc in the home directory, _netrc on Windows."""
        monkeypatch.setattr(Path, "home", lambda: tmp_path)
        (tmp_path / ".netrc").write_text("machine h login unix password p\n")
        (tmp_path / "_netrc").write_text("machine h login windows password p\n")
        assert lookup("h", environ={}) == BasicAuth("unix", "p")
        assert lookup("h", environ={"NETRC": ""}) == BasicAuth("unix", "p")
        monkeypatch.setattr(os, "name", "nt")
        assert lookup("h", environ={}) == BasicAuth("windows", "p")

    def test_homeless(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A user without a home directory has no file."""

        def home() -> Path:
            raise RuntimeError("no home")

        monkeypatch.setattr(Path, "home", home)
        assert lookup("h", environ={}) is None

    async def test_off_the_loop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The file is read in another thread than the loop's."""
        threads: list[int] = []

        def record(host: str, use_default: bool) -> None:
            threads.append(threading.get_ident())

        monkeypatch.setattr(module, "lookup", record)
        assert await netrc_auth("h") is None
        assert threads
        assert threads != [threading.get_ident()]


class TestFailures:
    @pytest.mark.parametrize("below", ["", "directory/file"])
    def test_missing(
        self,
        file: Path,
        below: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A missing file is silent, also where its directory is none."""
        if below:
            file.write_text("")
            monkeypatch.setenv("NETRC", str(file / below))
        assert lookup("h") is None
        assert not caplog.records

    @pytest.mark.parametrize(
        "content",
        [
            b"machine h login u password hunter2 hunter2 x\n",
            b"machine h password=hunter2\n",
            b"machine h login \xff\xfe password hunter2\n",
            b"machine h login a:b password hunter2\n",
        ],
    )
    def test_broken(self, file: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
        """A broken file, or entry, warns without telling secrets, and the request goes on."""
        file.write_bytes(content)
        found = lookup("h")
        if b"\xff" in content and found is not None:
            pytest.skip("the locale's charset reads these octets")
        assert found is None
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert str(file) in caplog.text
        assert "hunter2" not in caplog.text

    def test_unreadable(self, file: Path, caplog: pytest.LogCaptureFixture) -> None:
        """What is there and cannot be read warns."""
        file.mkdir()
        assert lookup("h") is None
        assert [record.levelno for record in caplog.records] == [logging.WARNING]

    @pytest.mark.usefixtures("filled")
    async def test_concurrent(self) -> None:
        """Many lookups at once all get their answer."""
        found = await asyncio.gather(*(netrc_auth("example.com") for _ in range(20)))
        assert set(found) == {BasicAuth("user", "secret")}
