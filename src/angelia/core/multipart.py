"""Multipart: parts <-> octets (RFC 2046 §5.1, RFC 7578).

Owns: delimiters, part heads, their limits, and the notation of ``Content-Disposition``. Knows
nothing of streams, files, or what a part's content means.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

__all__ = ("serialize_content_disposition",)

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9110 §5.5: CR, LF and NUL end fields and strings; other controls have no business in them.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def serialize_content_disposition(
    disposition: str,
    parameters: Mapping[str, str],
    *,
    quote_fields: bool = True,
    charset: str = "utf-8",
) -> str:
    """A ``Content-Disposition`` value.

    With `quote_fields`, ``filename`` is percent-encoded in `charset`, and any other parameter that
    is not ASCII gets the extended notation of RFC 2231 §4. Without, each goes as a quoted string.
    ValueError where a name is no token, or a value has a control character: neither notation may
    become a way to begin a field of one's own.
    """
    if not _TOKEN.fullmatch(disposition):
        raise ValueError(f"not a disposition type: {disposition!r}")
    pieces = [disposition]
    for name, value in parameters.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"not a parameter name: {name!r}")
        if _CONTROL.search(value):
            raise ValueError(f"control character in the {name} parameter: {value!r}")
        if quote_fields and name.lower() == "filename":
            pieces.append(f'{name}="{quote(value, safe="", encoding=charset)}"')
        elif quote_fields and not value.isascii():
            pieces.append(f"{name}*={charset}''{quote(value, safe='', encoding=charset)}")
        else:
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            pieces.append(f'{name}="{escaped}"')
    return "; ".join(pieces)
