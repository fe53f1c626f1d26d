"""Charsets that a peer names: which of Python's codecs a message may choose.

Owns: the names and their codecs. Knows nothing of messages, nor of what a user chooses by himself.

`codecs` takes more names than is good here. Some codecs are no charsets: punycode needs a time that
is quadratic in the text, and others run over what came in ways of their own. And it keeps each name
that it has not found, for good. So names that are not of the standard library never get there.
"""

from __future__ import annotations

import codecs
import encodings
from encodings.aliases import aliases
from functools import cache
from typing import Final

__all__ = ("codec_of",)

# Codecs that have no name but the module's.
_WITHOUT_ALIAS: Final = (
    "cp1006",
    "cp720",
    "cp737",
    "cp856",
    "cp874",
    "cp875",
    "koi8_t",
    "koi8_u",
    "mac_arabic",
    "mac_croatian",
    "mac_farsi",
    "mac_romanian",
    "utf_8_sig",
)

# Codecs that have a name among the aliases and do not make text of octets, or depend on the system.
_NO_CHARSETS: Final = frozenset(
    {
        "base64_codec",
        "bz2_codec",
        "hex_codec",
        "mbcs",
        "oem",
        "quopri_codec",
        "rot_13",
        "uu_codec",
        "zlib_codec",
    }
)


@cache
def _codecs() -> dict[str, str]:
    """Codecs by all their names, normalized."""
    known = {codec: codec for codec in (*_WITHOUT_ALIAS, *aliases.values())}
    known |= aliases
    return {
        name.lower().replace(".", "_"): codec
        for name, codec in known.items()
        if codec not in _NO_CHARSETS
    }


def codec_of(charset: str) -> str:
    """The codec for a charset that a peer names; LookupError where it is none that Python has.

    What the codec refuses is a UnicodeDecodeError, and its time is linear in the octets.
    """
    if charset in ("utf-8", "UTF-8"):
        return "utf-8"
    name = encodings.normalize_encoding(charset).lower().replace(".", "_")
    codec = _codecs().get(name) if charset.isascii() else None
    if codec is None:
        raise LookupError(f"unknown charset: {charset[:40]!r}")
    return codecs.lookup(codec).name
