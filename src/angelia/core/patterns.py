"""Regular expressions that are compiled when they are first used.

Compiling all of them costs every program that imports the package about eight milliseconds, and
most programs use few. Owns nothing else.
"""

from __future__ import annotations

import re
from typing import Any, AnyStr, cast

__all__ = ("lazy",)


class _LazyPattern:
    """Stands for a compiled pattern; after the first use its methods are found here at once."""

    def __init__(self, pattern: str | bytes, flags: int) -> None:
        self._pattern = pattern
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        compiled = re.compile(self._pattern, self._flags)
        for method in ("fullmatch", "match", "search", "sub", "split", "findall", "finditer"):
            setattr(self, method, getattr(compiled, method))
        return getattr(compiled, name)

    def __repr__(self) -> str:
        return f"lazy({self._pattern!r})"


def lazy(pattern: AnyStr, flags: int = 0) -> re.Pattern[AnyStr]:
    """As `re.compile`, but later; an invalid pattern is found out at its first use."""
    return cast("re.Pattern[AnyStr]", _LazyPattern(pattern, flags))
