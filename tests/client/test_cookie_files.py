"""Cookies in files: our JSON, and what aiohttp's jars have written."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import stat
from collections import defaultdict
from http.cookies import Morsel, SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from angelia.client.cookie_files import load_cookies
from angelia.client.cookies import CookieJar

HOST = URL("https://example.com/x/")
WWW = URL("https://www.example.com/x/")
LINES = [
    'json={"a": [1, "é"]}',
    'quoted="x y"; Path=/x; HttpOnly; SameSite=Lax',
    "wide=1; Domain=.example.com; Path=/",
    "late=1; Max-Age=1000; Secure",
    "dated=1; Expires=Wed, 21 Oct 2099 07:28:00 GMT",
    "huge=1; Max-Age=99999999999999999999",
    "{odd}/name=\udcff",
]


def make_jar(*lines: str, **options: Any) -> CookieJar:
    """A jar with a clock that stands still."""
    jar = CookieJar(**options)
    jar._now = lambda: 1_800_000_000.0
    jar.update_cookies_from_headers(lines, HOST)
    return jar


class Place:
    """Where a file is, or is not yet; all of its functions block, as those of a jar do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)

    def write(self, content: bytes, mode: int = 0o600) -> None:
        """Put a file there."""
        self.path.write_bytes(content)
        self.path.chmod(mode)

    def write_json(self, document: object) -> None:
        """Put a file there that has a document."""
        self.write(json.dumps(document).encode())

    def make_folder(self) -> None:
        """Put a folder there."""
        self.path.mkdir()

    @property
    def mode(self) -> int:
        """Who may do what with the file."""
        return stat.S_IMODE(self.path.stat().st_mode)

    @property
    def siblings(self) -> list[str]:
        """What lies where the file lies, with the file."""
        return [entry.name for entry in self.path.parent.iterdir()]


@pytest.fixture(name="place")
def place_fixture(tmp_path: Path) -> Place:
    """Where a test has its file."""
    return Place(tmp_path / "cookies.json")


async def test_round_trip(place: Place) -> None:
    """A jar that is saved and loaded sends the same, and shows the same."""
    jar = make_jar(*LINES)
    jar.update_cookies({"shared": "x y", "plain": "1/2"})
    jar.save(place)
    other = make_jar("old=1")
    other.load(place)
    for url in (HOST, WWW, URL("http://example.com/"), URL("http://127.0.0.1/")):
        assert other.header_for(url) == jar.header_for(url)
    assert other.host_only_cookies == jar.host_only_cookies
    assert sorted(map(repr, other)) == sorted(map(repr, jar))
    assert [dict(morsel) for morsel in other] == [dict(morsel) for morsel in jar]
    other.save(place)
    again = make_jar()
    again.load(place)
    assert again.header_for(HOST) == jar.header_for(HOST)


async def test_absolute_deadlines(place: Place) -> None:
    """A deadline is the one that the server set, however long the file lies there."""
    jar = make_jar("a=1; Max-Age=1000", "b=2; Max-Age=10", "c=3")
    jar.save(place)
    other = CookieJar()
    now = 1_800_000_000.0 + 900
    other._now = lambda: now
    other.load(place)
    assert sorted(morsel.key for morsel in other) == ["a", "c"]
    now += 100
    assert [morsel.key for morsel in other] == ["c"]


async def test_replaced_as_a_whole(place: Place) -> None:
    """The file is its owner's alone, also where it was not; nothing else is left behind."""
    place.write(b"old", 0o666)
    make_jar("a=1").save(str(place.path))
    assert place.mode == 0o600
    assert place.siblings == ["cookies.json"]


async def test_failing_to_save(place: Place) -> None:
    """Where saving fails the old file stays as it was, and nothing is left behind."""
    place.make_folder()
    with pytest.raises(OSError, match=r"cookies\.json"):
        make_jar("a=1").save(place)
    assert place.siblings == ["cookies.json"]
    with pytest.raises(FileNotFoundError):
        make_jar("a=1").save(place.path / "none" / "cookies")


async def test_limits(place: Place) -> None:
    """A file does not make a jar hold more than it may."""
    make_jar(*(f"c{number}=1" for number in range(20))).save(place)
    jar = make_jar(max_cookies=5)
    jar.load(place)
    assert len(jar) == 5


def saved(**changes: Any) -> bytes:
    """A file with one cookie, some of it changed."""
    row = {
        "name": "a",
        "value": "1",
        "coded_value": "1",
        "domain": "example.com",
        "path": "/",
        "host_only": True,
        "expires": None,
        "received": True,
        "attributes": {},
    }
    document = {"format": "angelia-cookies", "version": 1, "cookies": [row | changes]}
    return json.dumps(document).encode()


def test_what_the_others_change(place: Place) -> None:
    """Unchanged, the file of the tests below is one of cookies."""
    place.write(saved())
    assert [repr(cookie) for cookie in load_cookies(place, 0.0)] == [
        "<StoredCookie a example.com/ host-only None>"
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"{",
        b"[]",
        b"\xff",
        b'{"a": 1}',
        b'{"a|/": 1}',
        b'{"a|/": {"b": 1}}',
        b'{"format": "angelia-cookies"}',
        b'{"format": "angelia-cookies", "version": 2, "cookies": []}',
        b'{"format": "angelia-cookies", "version": 1, "cookies": 5}',
        b'{"a":' * 100_000,
        saved(name=5),
        saved(name="a\r\nb"),
        saved(value=None),
        saved(coded_value="1\r\nX: y"),
        saved(domain=["a"]),
        saved(expires="soon"),
        saved(expires=float("nan")),
        saved(expires=True),
        saved(attributes={"nonsense": "1"}),
        saved(attributes={"path": ["/"]}),
        saved(attributes=[]),
        # Pickles: of nothing, of other things, and broken ones.
        pickle.dumps(None),
        pickle.dumps([1]),
        pickle.dumps({"a": "b"}),
        pickle.dumps({("a", "/"): {"b": "c"}}),
        pickle.dumps({("a", "/"): SimpleCookie()})[:-5],
        b"\x80\x04.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x05\x96" + b"\xff" * 8,
        b"(" * 1000,
    ],
)
async def test_other_content(place: Place, content: bytes) -> None:
    """What is no file of cookies is told so, and the jar stays as it was."""
    place.write(content)
    jar = make_jar("kept=1")
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        jar.load(place)
    assert jar.header_for(HOST) == "kept=1"


async def test_no_file(place: Place) -> None:
    """A file that is not there is an OSError, and the jar stays as it was."""
    jar = make_jar("kept=1")
    with pytest.raises(FileNotFoundError):
        jar.load(place)
    assert len(jar) == 1


@given(st.binary(max_size=60))
def test_any_content(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Any octets are cookies or one of two errors."""
    place = Place(tmp_path_factory.getbasetemp() / "any")
    for prefix in (b"", b"{", b"\x80\x04"):
        place.write(prefix + content)
        with contextlib.suppress(ValueError, pickle.UnpicklingError):
            load_cookies(place, 0.0)


async def test_the_json_of_aiohttp(place: Place) -> None:
    """Its files are read with deadlines, and with which cookies are for one host."""
    common = {"value": "1", "coded_value": "1", "path": "/"}
    document = {
        "|": {"s": {**common, "key": "s"}},
        "example.com|/x": {
            "h": {**common, "key": "h", "path": "/x", "domain": "example.com", "host_only": True},
        },
        "example.com|": {
            "d": {**common, "key": "d", "domain": "example.com", "secure": True},
            "old": {**common, "key": "old", "expires_timestamp": 5.5},
            "late": {**common, "key": "late", "expires_timestamp": 1_900_000_000.5},
        },
    }
    place.write_json(document)
    jar = make_jar()
    jar.load(place)
    assert jar.header_for(HOST) == "h=1; d=1; late=1; s=1"
    assert jar.header_for(WWW) == "d=1; late=1; s=1"
    assert jar.header_for(URL("http://example.com/")) == "late=1; s=1"


def pickled(protocol: int, **attributes: Any) -> bytes:
    """A pickle as older jars wrote it: a host's cookie named its domain, too."""
    cookies: dict[tuple[str, str], SimpleCookie] = defaultdict(SimpleCookie)
    group = cookies["example.com", "/"]
    group["a"] = "x y"
    for name, value in attributes.items():
        group["a"][name.replace("_", "-")] = value
    return pickle.dumps(cookies, protocol)


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
async def test_pickles(place: Place, protocol: int) -> None:
    """Pickles are read; which cookies were a domain's nobody knows, so none is."""
    place.write(pickled(protocol, domain="example.com", path="/", httponly=True))
    jar = make_jar("old=1")
    jar.load(place)
    assert jar.header_for(HOST) == 'a="x y"'
    assert jar.header_for(WWW) == ""
    (morsel,) = jar
    assert morsel["httponly"] is True


async def test_lifetime_in_pickles(place: Place) -> None:
    """A lifetime counts from when the file was written, the nearest that is known."""
    place.write(pickled(4, max_age="1000"))
    os.utime(place, (1_800_000_000 - 900, 1_800_000_000 - 900))
    (cookie,) = load_cookies(place, 1_800_000_000.0)
    assert cookie.expires == 1_800_000_100
    os.utime(place, (1_900_000_000, 1_900_000_000))
    (cookie,) = load_cookies(place, 1_800_000_000.0)
    assert cookie.expires == 1_800_001_000


class _Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize(
    "function",
    [print, eval, exec, os.system, getattr, __import__, Path, bytearray, Morsel.set, type],
    ids=str,
)
@pytest.mark.parametrize("where", ["whole", "group", "morsel", "value"])
async def test_calls_in_pickles(
    place: Place, function: Any, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pickle calls nothing but the classes of cookies, wherever the call stands."""
    call: Any = _Call(function, "print('called')")
    if where == "value":
        morsel: Morsel[str] = Morsel()
        dict.__setitem__(morsel, "path", call)
        call = morsel
    content: Any = call if where == "whole" else {("a", "/"): call}
    if where in ("morsel", "value"):
        group: SimpleCookie = SimpleCookie()
        dict.__setitem__(group, "a", call)
        content = {("a", "/"): group}
    place.write(pickle.dumps(content))
    jar = make_jar("kept=1")
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        jar.load(place)
    assert "called" not in capsys.readouterr().out
    assert jar.header_for(HOST) == "kept=1"
