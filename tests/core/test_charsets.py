"""Charsets: the names that peers may give, and the codecs that they get."""

from __future__ import annotations

import codecs
import contextlib
import encodings
import pkgutil
from encodings.aliases import aliases

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.core.charsets import codec_of

NO_CHARSETS = (
    *("aliases", "base64_codec", "bz2_codec", "charmap", "hex_codec", "idna", "mbcs", "oem"),
    *("palmos", "punycode", "quopri_codec", "raw_unicode_escape", "rot_13", "undefined"),
    *("unicode_escape", "uu_codec", "zlib_codec"),
)


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("utf-8", "utf-8"),
        ("UTF8", "utf-8"),
        ("Utf_8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("latin-1", "iso8859-1"),
        ("ISO-8859-15", "iso8859-15"),
        ("iso_8859-1:1987", "iso8859-1"),
        ("windows-1252", "cp1252"),
        ("US-ASCII", "ascii"),
        ("ANSI_X3.4-1968", "ascii"),
        ("UTF-16", "utf-16"),
        ("Shift_JIS", "shift_jis"),
        ("KOI8-U", "koi8-u"),
    ],
)
def test_known(charset: str, codec: str) -> None:
    """The names that charsets have on the wire, in any case, are those of Python's codecs."""
    assert codec_of(charset) == codec


@pytest.mark.parametrize(
    "charset",
    [
        *NO_CHARSETS,
        *("", ".", "..", "rot13", "hex", "zip", "nonsense", "os", "utf\uff0d8", "utf-\uff18"),
        *("x" * 8000, "\udc80"),
    ],
)
def test_refused(charset: str) -> None:
    """What is no charset is refused by one error, and never looked for."""
    before = len(encodings._cache)
    with pytest.raises(LookupError, match="unknown charset"):
        codec_of(charset)
    assert len(encodings._cache) == before


def test_complete() -> None:
    """Each codec of the standard library that is a charset can be named, and each alias of it."""
    modules = {module.name for module in pkgutil.iter_modules(encodings.__path__)}
    for name in (modules | set(aliases)) - set(NO_CHARSETS):
        if aliases.get(name) not in NO_CHARSETS:
            assert codec_of(name) == codecs.lookup(aliases.get(name, name)).name


@given(st.text(max_size=40), st.binary(max_size=40))
def test_errors(charset: str, octets: bytes) -> None:
    """Any name and any octets give a text or one of two errors, and nothing is remembered."""
    before = len(encodings._cache)
    with contextlib.suppress(LookupError, UnicodeDecodeError):
        octets.decode(codec_of(charset))
    assert len(encodings._cache) <= max(before, 130)


@given(st.sampled_from(sorted({*aliases.values()} - {*NO_CHARSETS})), st.binary(max_size=60))
def test_octets(charset: str, octets: bytes) -> None:
    """What a charset has no character for is a UnicodeDecodeError, in each of them."""
    with contextlib.suppress(UnicodeDecodeError):
        octets.decode(codec_of(charset))
