"""Tests of angelia.cli.request_parts: texts -> parts of a request."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.cli.exits import LocalFileError, UsageError
from angelia.cli.request_parts import (
    FormItem,
    body_bytes,
    expand_url,
    parse_form_item,
    parse_headers,
)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://example.org", "http://example.org"),
        ("HTTPS://example.org/a?b=c", "https://example.org/a?b=c"),
        ("example.org", "http://example.org"),
        ("example.org/path?q=1#f", "http://example.org/path?q=1#f"),
        ("//example.org/x", "http://example.org/x"),
        ("localhost:8080", "http://localhost:8080"),
        ("localhost:8080/a://b", "http://localhost:8080/a://b"),
        (":8080/x", "http://localhost:8080/x"),
        (":8080", "http://localhost:8080"),
        (":/x", "http://localhost/x"),
        (":", "http://localhost"),
        (":8080?q", "http://localhost:8080/?q"),
        ("[::1]:8080/x", "http://[::1]:8080/x"),
        ("user:pw@example.org/", "http://user:pw@example.org/"),
        ("  example.org ", "http://example.org"),
        ("example.org/a b", "http://example.org/a%20b"),
    ],
)
def test_urls(text: str, url: str) -> None:
    """A URL without a scheme is http; a port alone is one of localhost."""
    assert str(expand_url(text)) == url


@pytest.mark.parametrize(
    "text", ["", "http://", "ftp://example.org/", "file:///etc/passwd", ":x/", "http://[::1", "a:b"]
)
def test_bad_urls(text: str) -> None:
    """What is no http URL is a usage error, whatever is wrong with it."""
    with pytest.raises(UsageError, match=r"URL|scheme"):
        expand_url(text)


@given(st.text())
def test_any_text_is_a_url_or_a_usage_error(text: str) -> None:
    """No text makes anything but a URL with a host or a usage error."""
    try:
        url = expand_url(text)
    except UsageError:
        return
    assert url.host
    assert url.scheme in {"http", "https"}


def test_headers() -> None:
    """A value is trimmed, a colon alone leaves a field out, a semicolon sends an empty one."""
    fields, omitted = parse_headers(["A: b", "a:c:d", "X-Empty;", "User-Agent:", "Accept: \t"])
    assert list(fields.items()) == [("A", "b"), ("a", "c:d"), ("X-Empty", "")]
    assert omitted == ["User-Agent", "Accept"]


@pytest.mark.parametrize("line", ["", "A", ":", ": b", ";", "A b"])
def test_bad_headers(line: str) -> None:
    """A header without a name or without a colon is a usage error that shows it."""
    with pytest.raises(UsageError, match="header"):
        parse_headers([line])


def test_data_is_joined(tmp_path: Path) -> None:
    """--data is joined by ampersands; from files it loses its line ends, --data-binary does not."""
    file = tmp_path / "body"
    file.write_bytes(b"a=1\r\nb\0=2\n")
    assert body_bytes([("data", "x=ä"), ("data", f"@{file}")]) == "x=ä&a=1b=2".encode()
    assert body_bytes([("binary", f"@{file}")]) == b"a=1\r\nb\0=2\n"
    assert body_bytes([("raw", "@literal")]) == b"@literal"
    assert body_bytes([("data", "")]) == b""


def test_json_is_sent_as_it_is(tmp_path: Path) -> None:
    """--json is joined by nothing, and files of it stay whole."""
    file = tmp_path / "body"
    file.write_bytes(b'{"a":\n1')
    assert body_bytes([("json", f"@{file}"), ("json", "}")]) == b'{"a":\n1}'


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """@- reads standard input, octet by octet."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n")))
    assert body_bytes([("binary", "@-")]) == b"\xff\n"


def test_missing_file(tmp_path: Path) -> None:
    """A file that cannot be read is named, with the reason."""
    with pytest.raises(LocalFileError, match=r"none.*No such file"):
        body_bytes([("data", f"@{tmp_path}/none")])


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("a=b", FormItem("a", "b", None, False, None, None)),
        ("a=", FormItem("a", "", None, False, None, None)),
        ("a=b=c;d", FormItem("a", "b=c;d", None, False, None, None)),
        ("a=b;type=text/x", FormItem("a", "b", None, False, None, "text/x")),
        ("f=@dir/x.txt", FormItem("f", None, "dir/x.txt", True, "x.txt", None)),
        ("f=@-", FormItem("f", None, "-", True, "stdin", None)),
        ("f=<x.txt", FormItem("f", None, "x.txt", False, None, None)),
        (
            'f=@x;type=image/png;filename="y.png"',
            FormItem("f", None, "x", True, "y.png", "image/png"),
        ),
        ("f=@x; filename=y", FormItem("f", None, "x", True, "y", None)),
    ],
)
def test_form_items(text: str, item: FormItem) -> None:
    """Fields of forms are written as curl's users write them."""
    assert parse_form_item(text) == item


@pytest.mark.parametrize("text", ["", "a", "=b", "a=@", "a=<"])
def test_bad_form_items(text: str) -> None:
    """A field needs a name and an equals sign, and a file a name."""
    with pytest.raises(UsageError):
        parse_form_item(text)
