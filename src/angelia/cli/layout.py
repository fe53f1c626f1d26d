"""JSON with a line for each member and element, for people.

Owns: the layout and the colours. No token changes: names that come twice, digits beyond a float's
and escapes stay as the peer wrote them. Bounded in memory and linear in time, whatever comes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final, NoReturn, TypeAlias

from angelia.cli.output import escaped

__all__ = ("Style", "laid_out_json", "plain")

Style: TypeAlias = Callable[..., str]

# Deeper JSON would mostly consist of indentation, which grows with the square of the depth.
MAX_DEPTH: Final = 60
INDENT: Final = "    "

# RFC 8259 §2, for text that is known to be valid. Possessive quantifiers: no way back, so linear.
_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[-+.0-9A-Za-z]++|[][{}:,]', re.DOTALL)
_CLOSERS: Final = {"{": "}", "[": "]"}
_LITERALS: Final = frozenset({"true", "false", "null"})


def _refuse(constant: str) -> NoReturn:
    # RFC 8259 §6 has no NaN and no Infinity; Python's reader does.
    raise ValueError(constant)


def _is_json(text: str) -> bool:
    try:
        # Numbers stay texts: an integer of a megabyte is valid, and no work.
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def plain(text: str, *_styles: str) -> str:
    return text


def laid_out_json(text: str, style: Style = plain) -> str | None:
    """`text` laid out, its control characters escaped; None if it is not JSON, or nested too deep.

    `style` gets each string, number and literal with the name of its colour.
    """
    if not _is_json(text):
        return None
    pieces: list[str] = []
    depth = 0
    # The bracket that was opened last, while nothing stands behind it.
    opened = last_string = ""
    for match in _TOKEN.finditer(text):
        lexeme = match[0]
        if lexeme in "]}":
            depth -= 1
            pieces.append(lexeme if opened else f"\n{INDENT * depth}{lexeme}")
            opened = ""
            continue
        if opened:
            pieces.append("\n" + INDENT * depth)
            opened = ""
        if lexeme in _CLOSERS:
            depth += 1
            if depth > MAX_DEPTH:
                return None
            pieces.append(lexeme)
            opened = lexeme
        elif lexeme == ",":
            pieces.append(",\n" + INDENT * depth)
        elif lexeme == ":":
            # What stands before a colon is a name, and was styled as a string.
            pieces[-1] = style(escaped(last_string), "cyan")
            pieces.append(": ")
        elif lexeme.startswith('"'):
            last_string = lexeme
            pieces.append(style(escaped(lexeme), "green"))
        else:
            pieces.append(style(lexeme, "magenta" if lexeme in _LITERALS else "yellow"))
    return "".join(pieces)
