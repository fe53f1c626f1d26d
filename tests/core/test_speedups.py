"""The leaf loops: each rule for both implementations, and the two against each other."""

from __future__ import annotations

import importlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, istr

import angelia.core
from angelia.core import pure, speedups

MODULES: list[ModuleType] = [pure]
if speedups.IMPLEMENTATION == "c":
    MODULES.append(importlib.import_module("angelia.core._speedups"))

both = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__[13:])
needs_both = pytest.mark.skipif(len(MODULES) < 2, reason="the C module is not there")

NO_LIMITS = (8190, 8190, 128)


def response(module: Any, data: bytes, start: int = 0, limits: tuple[int, ...] = NO_LIMITS) -> Any:
    return module.scan_response_head(data, start, *limits)


def request(module: Any, data: bytes, start: int = 0, limits: tuple[int, ...] = NO_LIMITS) -> Any:
    return module.scan_request_head(data, start, *limits)


def fields_of(module: Any, block: bytes) -> Any:
    scanned = response(module, b"HTTP/1.1 200 OK\r\n" + block + b"\r\n\r\n")
    return None if scanned is None else scanned[4]


# --- which implementation ----------------------------------------------------------------------


def compiled_files() -> list[Path]:
    (folder,) = angelia.core.__path__
    return [*Path(folder).glob("_speedups*.so"), *Path(folder).glob("_speedups*.pyd")]


@pytest.mark.skipif(os.environ.get("ANGELIA_PURE") == "1", reason="Python was asked for")
def test_compiled_module_is_used_where_it_exists() -> None:
    """A module that was built but does not load is a broken build, not a reason to be slow."""
    if compiled_files():
        importlib.import_module("angelia.core._speedups")
        assert speedups.IMPLEMENTATION == "c"
    else:
        assert speedups.IMPLEMENTATION == "pure"


@pytest.mark.parametrize("choice", ["1", "0"])
def test_environment_chooses(choice: str) -> None:
    """ANGELIA_PURE=1 chooses Python; any other value lets the C module in."""
    code = "from angelia.core import speedups; print(speedups.IMPLEMENTATION, speedups.mask)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "ANGELIA_PURE": choice},
    )
    expected = "c" if choice != "1" and compiled_files() else "pure"
    assert result.stdout.split()[0] == expected
    assert ("built-in" in result.stdout) == (expected == "c")


@both
def test_tables_are_shared(module: Any) -> None:
    """A well-known name is one object for all heads, in both spellings, and remembers its case."""
    for name in pure.WELL_KNOWN_FIELDS:
        for spelling in (name, name.lower()):
            block = f"{spelling}: x\r\n{spelling}: y".encode()
            (first, _), (second, _) = fields_of(module, block)
            assert first == spelling
            assert first is second
            assert isinstance(first, istr)


def test_tables() -> None:
    """The tables name each field once, and special fields in lower case."""
    lowered = [name.lower() for name in pure.WELL_KNOWN_FIELDS]
    assert len(set(lowered)) == len(lowered)
    for special in (pure.SPECIAL_RESPONSE_FIELDS, pure.SPECIAL_REQUEST_FIELDS):
        assert special <= set(lowered)


# --- response heads ----------------------------------------------------------------------------


@both
def test_response_head(module: Any) -> None:
    """Version, status, reason, fields in order and in their case, and the special ones."""
    data = (
        b"HTTP/1.1 404 Not Found\r\nServer: nginx\r\nX-Thing:1\r\ncontent-LENGTH: 12 \r\n"
        b"Set-Cookie: a=1\r\nset-cookie: b=2\r\nSet-Cookie: c=3\r\nEmpty:\r\n\r\nrest"
    )
    assert response(module, data) == (
        len(data) - 4,
        1,
        404,
        "Not Found",
        [
            ("Server", "nginx"),
            ("X-Thing", "1"),
            ("content-LENGTH", "12"),
            ("Set-Cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("Set-Cookie", "c=3"),
            ("Empty", ""),
        ],
        {"content-length": "12", "set-cookie": ["a=1", "b=2", "c=3"]},
    )


@both
def test_start(module: Any) -> None:
    """A head may begin anywhere in the data; the end counts from the data's beginning."""
    head = b"HTTP/1.0 200 OK\r\n\r\n"
    data = b"xyz" + head + head
    assert response(module, data, 3) == (3 + len(head), 0, 200, "OK", [], {})
    assert response(module, data, 3 + len(head))[0] == len(data)
    assert response(module, data) is None
    assert response(module, data, len(data)) is None
    assert response(module, data, len(data) + 100) is None
    with pytest.raises(ValueError, match="negative"):
        response(module, data, -1)


@both
@pytest.mark.parametrize("name", sorted(pure.SPECIAL_RESPONSE_FIELDS))
def test_special_fields_in_any_case(module: Any, name: str) -> None:
    """Names of special fields have no case."""
    for spelling in (
        name,
        name.upper(),
        name.title(),
        name.swapcase(),
        name[:-1] + name[-1].upper(),
    ):
        scanned = response(module, f"HTTP/1.1 200 OK\r\n{spelling}: v\r\n\r\n".encode())
        assert scanned[4] == [(spelling, "v")]
        assert scanned[5] == {name: "v"}


@both
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"HTTP/1.1 200 OK", (1, 200, "OK")),
        (b"HTTP/1.0 100 ", (0, 100, "")),
        (b"HTTP/1.1 999", (1, 999, "")),
        (b"HTTP/1.1 200  two  words ", (1, 200, "two  words")),
        (b"HTTP/1.1 200 \ta\tb", (1, 200, "a\tb")),
        ("HTTP/1.1 200 Schön".encode(), (1, 200, "Schön")),
        (b"HTTP/1.1 200 \xff", (1, 200, "\udcff")),
        (b"HTTP/1.2 200 OK", None),
        (b"HTTP/2.0 200 OK", None),
        (b"http/1.1 200 OK", None),
        (b"HTTP/1.1  200 OK", None),
        (b"HTTP/1.1\t200 OK", None),
        (b"HTTP/1.1 200\tOK", None),
        (b"HTTP/1.1 2000 OK", None),
        (b"HTTP/1.1 20 OK", None),
        (b"HTTP/1.1 099 OK", None),
        (b"HTTP/1.1 +20 OK", None),
        (b"HTTP/1.1 2_0 OK", None),
        ("HTTP/1.1 \uff1200 OK".encode(), None),
        ("HTTP/1.1 ٢٠٠ OK".encode(), None),
        (b"HTTP/1.1 200OK", None),
        (b"HTTP/1.1 200 O\0K", None),
        (b"HTTP/1.1 200 O\x7fK", None),
        (b"HTTP/1.1 200 O\rK", None),
        (b"HTTP/1.1 200 O\nK", None),
        (b" HTTP/1.1 200 OK", None),
        (b"\r\nHTTP/1.1 200 OK", None),
        (b"", None),
        (b"HTTP/1.1", None),
        (b"ICY 200 OK", None),
    ],
)
def test_status_line(module: Any, line: bytes, expected: tuple[int, int, str] | None) -> None:
    """RFC 9112 §4: three ASCII digits between single spaces; the rest is for the slow parser."""
    scanned = response(module, line + b"\r\nA: b\r\n\r\n")
    assert (None if scanned is None else scanned[1:4]) == expected


FIELD_LINES = [
    (b"A: b", [("A", "b")]),
    (b"A:b", [("A", "b")]),
    (b"A: \t b c \t ", [("A", "b c")]),
    (b"A:", [("A", "")]),
    (b"A: \t ", [("A", "")]),
    (b"A: b:c", [("A", "b:c")]),
    (b"A: b\tc", [("A", "b\tc")]),
    (b"!#$%&'*+-.^_`|~0aZ: b", [("!#$%&'*+-.^_`|~0aZ", "b")]),
    ("A: grün".encode(), [("A", "grün")]),
    (b"A: gr\xfcn", [("A", "gr\udcfcn")]),
    (b"A: \xe2\x82", [("A", "\udce2\udc82")]),
    (b"A: \xed\xb3\xbf", [("A", "\udced\udcb3\udcbf")]),
    (b"A: \xc2\x80", [("A", "\x80")]),
    (b"A: \xc2\xa0b", [("A", "\xa0b")]),
    (b"A : b", None),
    (b"A\t: b", None),
    (b" A: b", None),
    (b"A: b\r\n c", None),
    (b"A: b\r\n\tc", None),
    (b": b", None),
    (b"A", None),
    (b"A b: c", None),
    (b"A\0: b", None),
    (b"A\xc3\xa4: b", None),
    (b"A(: b", None),
    (b'"A": b', None),
    (b"A: b\nC: d", None),
    (b"A: b\rC: d", None),
    (b"A: b\r\r\nC: d", None),
    (b"A: b\0c", None),
    (b"A: b\x7fc", None),
    (b"A: b\x0bc", None),
    (b"A: b\x1fc", None),
    (b"A: b\x0c", None),
    (b"A: b\n", None),
    (b"\nA: b", None),
]


@both
@pytest.mark.parametrize(("block", "expected"), FIELD_LINES)
@pytest.mark.parametrize("padding", ["", "12345678" * 4])
def test_field_lines(module: Any, block: bytes, expected: Any, padding: str) -> None:
    """RFC 9112 §5: token, colon, value without control characters but TAB; no folding."""
    if padding and expected is not None:
        block = (
            b"X: " + padding.encode() + b"\r\n" + block.replace(b": b", b": b" + padding.encode())
        )
        expected = [
            ("X", padding),
            *((name, value.replace("b", "b" + padding, 1)) for name, value in expected),
        ]
        if b": b" not in block:
            return
    assert fields_of(module, block) == expected


@both
@pytest.mark.parametrize("position", range(15))
def test_every_octet_in_a_value(module: Any, position: int) -> None:
    """Of the control characters only TAB may be in a value, wherever it stands."""
    for octet in range(256):
        value = bytearray(b"abcdefghijklmno")
        value[position] = octet
        allowed = octet == 9 or (octet >= 0x20 and octet != 0x7F)
        expected = bytes(value).strip(b" \t").decode("utf-8", "surrogateescape")
        assert fields_of(module, b"A: " + value) == ([("A", expected)] if allowed else None)


@both
def test_every_octet_in_a_name(module: Any) -> None:
    """A name is a token (RFC 9110 §5.6.2)."""
    for octet in set(range(256)) - {ord(":")}:
        name = b"X" + bytes([octet]) + b"Y"
        character = chr(octet)
        allowed = octet < 128 and (character.isalnum() or character in "!#$%&'*+-.^_`|~")
        expected = [(f"X{character}Y", "v")] if allowed else None
        assert fields_of(module, name + b": v") == expected


@both
def test_incomplete_heads(module: Any) -> None:
    """Cut anywhere, a head is not there yet."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Y: z\r\n\r\n"
    assert response(module, head) is not None
    for cut in range(len(head)):
        assert response(module, head[:cut]) is None
        assert response(module, b"abc" + head[:cut], 3) is None
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Y: z\r\n\r\n"
    assert request(module, head) is not None
    for cut in range(len(head)):
        assert request(module, head[:cut]) is None


@both
@pytest.mark.parametrize("character", ["a", "ä", "€"])
def test_limits(module: Any, character: str) -> None:
    """Limits count octets without CRLF, and what is exactly at a limit is within."""
    line = f"HTTP/1.1 200 {character * 30}".encode()
    field = f"X: {character * 50}".encode()
    head = line + b"\r\n" + field + b"\r\nY: z\r\n\r\n"
    within = (len(line), len(field), 2)
    assert response(module, head, 0, within) is not None
    for index in range(3):
        limits = list(within)
        limits[index] -= 1
        assert response(module, head, 0, tuple(limits)) is None
    assert response(module, b"HTTP/1.1 200 OK\r\n\r\n", 0, (15, 0, 0)) is not None
    assert request(module, b"GET /abc HTTP/1.1\r\nX: y\r\n\r\n", 0, (17, 4, 1)) is not None
    assert request(module, b"GET /abc HTTP/1.1\r\nX: y\r\n\r\n", 0, (16, 4, 1)) is None
    assert request(module, b"GET /abc HTTP/1.1\r\nX: y\r\n\r\n", 0, (17, 3, 1)) is None


# --- request heads -----------------------------------------------------------------------------


@both
def test_request_head(module: Any) -> None:
    """Method, target, fields and the special ones."""
    data = (
        b"xPOST /a?b=c HTTP/1.1\r\nHOST: example.org\r\nExpect: 100-continue\r\nhost: b\r\n\r\nrest"
    )
    assert request(module, data, 1) == (
        len(data) - 4,
        1,
        "POST",
        "/a?b=c",
        [("HOST", "example.org"), ("Expect", "100-continue"), ("host", "b")],
        {"host": ["example.org", "b"], "expect": "100-continue"},
    )


@both
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET / HTTP/1.1", (1, "GET", "/")),
        (b"get / HTTP/1.0", (0, "get", "/")),
        (b"M-SEARCH * HTTP/1.1", (1, "M-SEARCH", "*")),
        (b"CONNECT a:1 HTTP/1.1", (1, "CONNECT", "a:1")),
        (b"GET http://a/%00 HTTP/1.1", (1, "GET", "http://a/%00")),
        (b"GET  / HTTP/1.1", None),
        (b"GET /  HTTP/1.1", None),
        (b"GET / HTTP/1.1 ", None),
        (b" GET / HTTP/1.1", None),
        (b"GET /\tHTTP/1.1", None),
        (b"GET\t/ HTTP/1.1", None),
        (b"GET /a b HTTP/1.1", None),
        (b"GET /a\tb HTTP/1.1", None),
        (b"GET  HTTP/1.1", None),
        (b"GET / HTTP/1.2", None),
        (b"GET / HTTP/2.0", None),
        (b"GET / HTTP/1.11", None),
        (b"GET / http/1.1", None),
        (b"GET /", None),
        (b"G@T / HTTP/1.1", None),
        (b"G\xc3\xa4T / HTTP/1.1", None),
        ("GET /ä HTTP/1.1".encode(), None),
        (b"GET /\x7f HTTP/1.1", None),
        (b"GET /\0 HTTP/1.1", None),
        (b"GET /\r HTTP/1.1", None),
        (b"GET /\xff HTTP/1.1", None),
        (b"PRI * HTTP/2.0", None),
        (b"\r\nGET / HTTP/1.1", None),
    ],
)
def test_request_line(module: Any, line: bytes, expected: tuple[int, str, str] | None) -> None:
    """RFC 9112 §3: a token, visible ASCII and a version, with single spaces between."""
    scanned = request(module, line + b"\r\nHost: a\r\n\r\n")
    assert (None if scanned is None else scanned[1:4]) == expected


@both
@pytest.mark.parametrize("name", sorted(pure.SPECIAL_REQUEST_FIELDS))
def test_special_request_fields(module: Any, name: str) -> None:
    """Requests have their own special fields."""
    scanned = request(module, f"GET / HTTP/1.1\r\n{name.upper()}: v\r\n\r\n".encode())
    assert scanned[5] == {name: "v"}


# --- the two against each other ----------------------------------------------------------------

PIECES = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 404 Not Found\r\n",
    b"GET / HTTP/1.1\r\n",
    b"POST /path?query HTTP/1.0\r\n",
    b"Content-Length: 5\r\n",
    b"content-length: 5\r\n",
    b"CONTENT-LENGTH: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Set-Cookie: a=b\r\n",
    b"Host: example.org\r\n",
    b"X-Long-And-Unknown-Name: some value that is longer than eight octets\r\n",
    "Grün: grün\r\n".encode(),
    b"\r\n",
    b"\r",
    b"\n",
    b"\t",
    b" ",
    b":",
    b"\xff",
    b"\xe2\x82\xac",
    b"\0",
    b"a",
]

heads = st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=12).map(b"".join)


def mutated_heads() -> Iterator[bytes]:
    """Valid heads with a few octets changed, removed or put in."""
    chooser = random.Random(9110)
    bases = [
        PIECES[0] + b"".join(PIECES[4:11]) + b"\r\n",
        PIECES[2] + b"".join(PIECES[4:11]) + b"\r\n",
        PIECES[0] + b"A: " + "Größe €".encode() + b"\r\nB: \t x \t\r\n\r\n",
    ]
    interesting = b"\r\n\t :\0\x7f\x80\xff\xc3(Aa1/."
    for _ in range(4000):
        head = bytearray(chooser.choice(bases))
        for _ in range(chooser.randint(0, 3)):
            position = chooser.randrange(len(head))
            octet = chooser.choice(interesting)
            match chooser.randrange(3):
                case 0:
                    head[position] = octet
                case 1:
                    del head[position]
                case _:
                    head.insert(position, octet)
        yield bytes(head)


def compare_scans(data: bytes, start: int, limits: tuple[int, int, int]) -> None:
    python, compiled = MODULES
    for scan in (response, request):
        expected = scan(python, data, start, limits)
        found = scan(compiled, data, start, limits)
        assert found == expected
        if found is not None:
            # Not the order of fields alone: that of the special ones too.
            assert list(found[5]) == list(expected[5])


@needs_both
@given(heads, st.integers(0, 20), st.tuples(*[st.integers(0, 90)] * 3))
@example(b"HTTP/1.1 200 OK\r\n\r\n", 0, (15, 0, 0))
@settings(max_examples=400, deadline=None)
def test_scanners_agree(data: bytes, start: int, limits: tuple[int, int, int]) -> None:
    """Whatever comes, both implementations see the same head or none."""
    compare_scans(data, start, limits)
    compare_scans(data + b"\r\n\r\n", 0, NO_LIMITS)


@needs_both
def test_scanners_agree_on_mutated_heads() -> None:
    """Nor does a change of a few octets in a valid head set them apart."""
    for data in mutated_heads():
        compare_scans(data, 0, NO_LIMITS)


def outcome(module: Any, line: str, headers: list[tuple[str, str]]) -> bytes | str:
    try:
        result: bytes = module.serialize_head(line, headers)
    except UnicodeError:
        return "not translated"
    except ValueError:
        return "refused"
    return result


names = st.sampled_from(["Host", "X-Y", "", "a b", "ä"]) | st.text(max_size=4)
values = st.text(max_size=20) | st.text(
    st.sampled_from("ab \t\r\n\0\x7f\x80äß€\udc80\udcff\ud800\udfff😀"), max_size=12
)


@needs_both
@given(values, st.lists(st.tuples(names, values), max_size=4))
@settings(max_examples=400, deadline=None)
def test_serializers_agree(line: str, headers: list[tuple[str, str]]) -> None:
    """Both implementations write the same head, or both refuse it."""
    python, compiled = MODULES
    expected = outcome(python, line, headers)
    assert expected != "not translated"
    assert outcome(compiled, line, headers) == expected


@given(
    st.lists(
        st.tuples(
            st.text(st.sampled_from("!#$%&'*+-.^_`|~09azAZ"), min_size=1, max_size=10)
            | st.sampled_from(pure.WELL_KNOWN_FIELDS),
            st.binary(max_size=40)
            .filter(lambda value: not any(c < 32 or c == 127 for c in value))
            .map(lambda value: value.decode("utf-8", "surrogateescape").strip(" \t")),
        ),
        max_size=10,
    )
)
@settings(max_examples=200, deadline=None)
def test_scanning_is_the_inverse_of_serializing(fields: list[tuple[str, str]]) -> None:
    """What is serialized is scanned as it was, by any pair of implementations."""
    for writer in MODULES:
        head = writer.serialize_head("HTTP/1.1 200 OK", fields)
        for reader in MODULES:
            assert response(reader, head)[:5] == (len(head), 1, 200, "OK", fields)


# --- serializing -------------------------------------------------------------------------------


@both
def test_serialize_head(module: Any) -> None:
    """Start line, fields in order and in their case, empty line."""
    assert module.serialize_head(
        "GET / HTTP/1.1", [("Host", "a"), ("x-y", ""), ("X-Y", "b\tc")]
    ) == (b"GET / HTTP/1.1\r\nHost: a\r\nx-y: \r\nX-Y: b\tc\r\n\r\n")
    assert module.serialize_head("HTTP/1.1 200 OK", ()) == b"HTTP/1.1 200 OK\r\n\r\n"


@both
def test_serialize_text_beyond_ascii(module: Any) -> None:
    """Text goes out as UTF-8, and received octets that were no UTF-8 as they came."""
    head = module.serialize_head("HTTP/1.1 200 Schön", [("A", "€ \udcff"), ("B", "\xa0\x80")])
    assert head == "HTTP/1.1 200 Schön\r\nA: € ".encode() + b"\xff\r\nB: \xc2\xa0\xc2\x80\r\n\r\n"


@both
@pytest.mark.parametrize("size", [100, 2000, 2048, 5000, 300_000])
def test_serialize_large_heads(module: Any, size: int) -> None:
    """Heads of any size go out, whether one field is large or there are many."""
    assert (
        module.serialize_head("A", [("X", "v" * size)]) == b"A\r\nX: " + b"v" * size + b"\r\n\r\n"
    )
    count = size // 10
    assert module.serialize_head("A", [("X", "12345")] * count) == (
        b"A\r\n" + b"X: 12345\r\n" * count + b"\r\n"
    )


@both
def test_serialize_any_iterable(module: Any) -> None:
    """Pairs come from whatever gives them: multidict views, generators, lists of lists."""
    fields = [("Host", "a"), ("Via", "b"), ("Via", "c")]
    expected = b"A\r\nHost: a\r\nVia: b\r\nVia: c\r\n\r\n"

    class Text(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "never asked"

        __repr__ = __format__ = __str__  # type: ignore[assignment]  # only the text counts

    for pairs in (
        CIMultiDict(fields).items(),
        (pair for pair in fields),
        tuple(fields),
        [list(pair) for pair in fields],
        [(istr(name), value) for name, value in fields],
        [(Text(name), Text(value)) for name, value in fields],
        dict.fromkeys(fields),
    ):
        assert module.serialize_head(Text("A"), pairs) == expected


@both
def test_serialize_pairs_that_change_their_list(module: Any) -> None:
    """A list that shrinks while its pairs are unpacked is a strange caller, not a crash."""
    pairs: list[Any] = []

    class Pair:
        def __iter__(self) -> Iterator[str]:
            pairs.clear()
            return iter(("A", "b"))

    pairs.extend(Pair() for _ in range(10))
    assert module.serialize_head("L", pairs) == b"L\r\nA: b\r\n\r\n"


@both
@pytest.mark.parametrize("bad", ["\r", "\n", "\0", "\x7f", "\x01", "\x1f", "\x0b", "\r\nEvil: 1"])
@pytest.mark.parametrize("around", ["", "x", "ä", "12345678"])
def test_serialize_refuses_control_characters(module: Any, bad: str, around: str) -> None:
    """No control character goes out, so nobody's value ends a line or a head; names tell which."""
    text = around + bad + around
    with pytest.raises(ValueError, match="start line has control character"):
        module.serialize_head(text, [])
    with pytest.raises(ValueError, match="value of header 'X-Secret' has control") as caught:
        module.serialize_head("A", [("Fine", "yes"), ("X-Secret", text)])
    assert repr(bad[0]) in str(caught.value)
    assert "Evil" not in str(caught.value)
    with pytest.raises(ValueError, match="name is not a token"):
        module.serialize_head("A", [(text, "value")])


@both
def test_serialize_refuses_tab_in_the_start_line(module: Any) -> None:
    """TAB belongs into values only."""
    with pytest.raises(ValueError, match=r"start line has control character '\\t'"):
        module.serialize_head("GET\t/ HTTP/1.1", [])


@both
@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a:", ":a", "ä", "a\t", "(a)", "a\udcff", "\uff21"]
)
def test_serialize_refuses_names_that_are_no_tokens(module: Any, name: str) -> None:
    """A name is a token (RFC 9110 §5.1); the error quotes it."""
    with pytest.raises(ValueError, match="name is not a token") as caught:
        module.serialize_head("A", [(name, "value")])
    assert repr(name) in str(caught.value)


@both
def test_serialize_quotes_little(module: Any) -> None:
    """An error shows the beginning of a long name."""
    with pytest.raises(ValueError, match="not a token") as caught:
        module.serialize_head("A", [("a " * 1000, "value")])
    assert len(str(caught.value)) < 120
    with pytest.raises(ValueError, match="control character") as caught:
        module.serialize_head("A", [("a" * 1000, "\n")])
    assert len(str(caught.value)) < 140


@both
def test_serialize_refuses_lone_surrogates(module: Any) -> None:
    """What no octets stand for is refused; a surrogate escape never makes an ASCII octet."""
    for bad in ("\ud800", "\udc0a", "\udc7f", "\udd00"):
        with pytest.raises(ValueError, match="value of header 'X' has a lone surrogate") as caught:
            module.serialize_head("A", [("X", bad)])
        assert not isinstance(caught.value, UnicodeError)
        with pytest.raises(ValueError, match="start line has a lone surrogate"):
            module.serialize_head(bad, [])


@both
def test_serialize_wants_str(module: Any) -> None:
    """Only text is a name or a value: nothing is converted in silence."""
    with pytest.raises(TypeError, match="header name is not a str but bytes"):
        module.serialize_head("A", [(b"X", "y")])
    for value in (5, None, b"y", ["y"]):
        with pytest.raises(TypeError, match="value of header 'X' is not a str but"):
            module.serialize_head("A", [("X", value)])
    with pytest.raises(TypeError):
        module.serialize_head(b"A", [])
    with pytest.raises(TypeError):
        module.serialize_head("A", [5])
    with pytest.raises(TypeError):
        module.serialize_head("A", 5)
    for pair in ((), ("a",), ("a", "b", "c")):
        with pytest.raises(ValueError, match=r"name and a value|values to unpack"):
            module.serialize_head("A", [pair])


# --- masking -----------------------------------------------------------------------------------


def test_mask_of_rfc_6455() -> None:
    """RFC 6455 §5.7: the masked "Hello" of its examples."""
    for module in MODULES:
        masked = module.mask(b"Hello", bytes.fromhex("37fa213d"))
        assert masked == bytes.fromhex("7f9f4d5158")


@both
@pytest.mark.parametrize("size", [*range(20), 1000, 65537])
def test_mask(module: Any, size: int) -> None:
    """Octet i is XORed with octet i mod 4 of the key; masking twice gives the data back."""
    data = random.Random(size).randbytes(size)
    key = b"\x01\xff\x00\x80"
    masked = module.mask(data, key)
    assert masked == bytes(octet ^ key[i % 4] for i, octet in enumerate(data))
    assert module.mask(masked, key) == data
    assert module.mask(bytearray(data), bytearray(key)) == masked
    assert module.mask(memoryview(data), key) == masked
    assert module.mask(memoryview(b"x" + data)[1:], key) == masked


@both
@pytest.mark.parametrize("key", [b"", b"abc", b"abcde"])
def test_mask_wants_a_key_of_four_octets(module: Any, key: bytes) -> None:
    """A key of another length is the caller's mistake."""
    with pytest.raises(ValueError, match=f"has {len(key)} bytes, not 4"):
        module.mask(b"data", key)


@both
def test_mask_wants_buffers(module: Any) -> None:
    """Text has no octets to mask."""
    with pytest.raises(TypeError):
        module.mask("text", b"abcd")
    with pytest.raises(TypeError):
        module.mask(5, b"abcd")


# --- memory ------------------------------------------------------------------------------------

LEAK_CHECK = """
import resource, sys
from angelia.core import speedups

HEAD = (b"HTTP/1.1 200 OK\\r\\nServer: x\\r\\nX-Unknown-%d: y\\r\\nCONTENT-length: 5\\r\\n"
        b"Set-Cookie: \\xc3\\xa4=1\\r\\nset-cookie: b=2\\r\\nSet-Cookie: c=3\\r\\n\\r\\n")
REQUEST = b"FETCH /a HTTP/1.1\\r\\nHost: x\\r\\nhost: y\\r\\n\\r\\n"
BAD = [[("A", "b\\r")], [("a b", "c")], [("A", "\\ud800")], [("A", 5)], [(5, "A")], [("A",)], 5]


def turn():
    assert speedups.scan_response_head(HEAD, 0, 8190, 8190, 128) is not None
    assert speedups.scan_request_head(REQUEST, 0, 8190, 8190, 128) is not None
    for cut in (14, 60, 90, len(HEAD) - 2):
        assert speedups.scan_response_head(HEAD[:cut] + b"\\0", 0, 8190, 8190, 128) is None
    assert speedups.scan_request_head(REQUEST[:-2] + b"\\0", 0, 8190, 8190, 128) is None
    speedups.serialize_head("A", [("X", "v\\xe4\\u20ac"), ["Y", "v" * 3000]])
    speedups.serialize_head("A", iter([("X", "v")]))
    for bad in BAD:
        try:
            speedups.serialize_head("A", bad)
        except (TypeError, ValueError):
            pass
    speedups.mask(b"data", b"1234")


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


for _ in range(2000):
    turn()
blocks, before = sys.getallocatedblocks(), peak()
for _ in range(int(sys.argv[1])):
    turn()
print(sys.getallocatedblocks() - blocks, peak() - before)
"""


def test_nothing_leaks() -> None:
    """Neither what succeeds nor what fails leaves memory behind."""
    pytest.importorskip("resource")
    turns = 100_000 if speedups.IMPLEMENTATION == "c" else 2000
    result = subprocess.run(
        [sys.executable, "-c", LEAK_CHECK, str(turns)], check=True, capture_output=True, text=True
    )
    blocks, kibibytes = map(int, result.stdout.split())
    # One leaked object in one of the branches would be `turns` blocks.
    assert blocks < 1000
    assert kibibytes < 1024


# --- advise_huge_pages -------------------------------------------------------------------------


@both
@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 10_000, 5_000_000])
def test_advice_changes_nothing(module: Any, size: int) -> None:
    """An advice about memory leaves its content alone, whatever its size."""
    data = bytearray(os.urandom(size))
    before = bytes(data)
    assert module.advise_huge_pages(memoryview(data)) is None
    assert data == before


@both
def test_advice_needs_memory_of_its_own(module: Any) -> None:
    """Memory that others may share is refused."""
    with pytest.raises(BufferError):
        module.advise_huge_pages(memoryview(b"abc"))


# --- what a server needs of them ---------------------------------------------------------------


@both
@pytest.mark.parametrize("target", ["/#a", "/\\a", "#", "\\", "/a#", "/a\\"])
def test_targets_without_fragment_and_backslash(module: Any, target: str) -> None:
    """RFC 9112 §3.2: no form of a target has either of them."""
    assert request(module, f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()) is None


@both
@pytest.mark.parametrize("name", sorted(pure.SPECIAL_REQUEST_FIELDS))
def test_twins_of_special_fields(module: Any, name: str) -> None:
    """With underscores for hyphens a special field's name is not scanned; any other name is."""
    if "-" not in name:
        return
    for spelling in (name.replace("-", "_"), name.replace("-", "_", 1).upper()):
        wire = f"GET / HTTP/1.1\r\n{spelling}: v\r\n\r\n".encode()
        assert request(module, wire) is None
        assert fields_of(module, f"{spelling}: v".encode()) == [(spelling, "v")]
    for other in (f"x_{name}", f"{name}_", "x_y", "_" * 40):
        wire = f"GET / HTTP/1.1\r\n{other}: v\r\n\r\n".encode()
        assert request(module, wire)[4] == [(other, "v")]


@both
def test_serialize_and_group(module: Any) -> None:
    """The wire of serialize_head(), and the special fields among the headers."""
    headers = [
        ("Content-LENGTH", "5"),
        ("A", "b"),
        ("Set-Cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("SET-cookie", "c=3"),
        (istr("Connection"), "close"),
    ]
    for given_headers in (headers, tuple(headers), iter(headers), CIMultiDict(headers).items()):
        wire, special = module.serialize_and_group("HTTP/1.1 200 OK", given_headers)
        assert wire == module.serialize_head("HTTP/1.1 200 OK", headers)
        assert special == {
            "content-length": "5",
            "set-cookie": ["a=1", "b=2", "c=3"],
            "connection": "close",
        }
        assert {type(key) for key in special} == {str}


@both
@pytest.mark.parametrize(
    ("line", "headers", "error"),
    [
        ("a\rb", [], ValueError),
        ("a", [("b", "c\n")], ValueError),
        ("a", [("b c", "d")], ValueError),
        ("a", [("b", 1)], TypeError),
        ("a", None, TypeError),
    ],
)
def test_serialize_and_group_refuses(
    module: Any, line: str, headers: Any, error: type[Exception]
) -> None:
    """It refuses what serialize_head() refuses."""
    with pytest.raises(error):
        module.serialize_and_group(line, headers)
    if module is not pure:
        with pytest.raises(TypeError, match="2 positional"):
            module.serialize_and_group(line)
