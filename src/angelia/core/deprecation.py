"""Deprecation warnings that point at whoever uses what is deprecated.

Owns: which line of a program a warning is for. Knows nothing of what is deprecated.

The library's own frames between a user's line and the one that warns are not counted by hand: how
many there are depends on how a request is used, by ``await`` or in ``async with``.
"""

from __future__ import annotations

import sys
import warnings
from types import FrameType
from typing import Any, Final

__all__ = ("warn_deprecated", "warn_loop_argument")

_OURS: Final = f"{__name__.partition('.')[0]}."


def _module(frame: FrameType) -> str:
    return f"{frame.f_globals.get('__name__', '')}."


def _constructs(frame: FrameType, owner: Any) -> bool:
    """Whether one of our constructors runs there, for `owner`."""
    if frame.f_code.co_name != "__init__" or not _module(frame).startswith(_OURS):
        return False
    return frame.f_locals.get("self") is owner


def warn_deprecated(message: str) -> None:
    """Warn the nearest caller that is no part of the library."""
    level = 2
    frame = sys._getframe(1)
    while _module(frame).startswith(_OURS) and frame.f_back is not None:
        frame = frame.f_back
        level += 1
    warnings.warn(message, DeprecationWarning, stacklevel=level)


def warn_loop_argument(owner: Any) -> None:
    """Warn whoever gave an event loop to the constructor of `owner`, but not the library itself."""
    level = 2
    frame = sys._getframe(1)
    # Constructors of base classes are called by those of their subclasses.
    while _constructs(frame, owner) and frame.f_back is not None:
        frame = frame.f_back
        level += 1
    if _module(frame).startswith(_OURS):
        return
    warnings.warn(
        f"the loop argument of {type(owner).__name__} is deprecated, the running loop is used",
        DeprecationWarning,
        stacklevel=level,
    )
