"""What the arguments of a session and of its requests must be.

Owns: the checks that need nothing but the value, with errors that name argument and value. They
run before anything else happens. Must not know what an argument is for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from multidict import istr

from angelia.core.auth import BasicAuth

__all__ = (
    "check_auth",
    "check_call",
    "check_class",
    "check_count",
    "check_flag_or_call",
    "check_kind",
    "check_pairs",
    "check_size",
    "checked_names",
    "checked_sequence",
)

T = TypeVar("T")

# Values may be bodies or secrets: an error shows so many characters of them.
MAX_SHOWN: Final = 100


def _wrong(name: str, wanted: str, value: object) -> TypeError:
    shown = repr(value)
    if len(shown) > MAX_SHOWN:
        shown = f"{shown[:MAX_SHOWN]}..."
    return TypeError(f"{name} is {wanted}, not {shown}")


def check_kind(name: str, value: object, kind: type[Any], wanted: str) -> None:
    """TypeError unless `value` is None or of its kind."""
    if value is not None and not isinstance(value, kind):
        raise _wrong(name, wanted, value)


def check_pairs(name: str, value: object) -> None:
    """TypeError unless `value` is a mapping or an iterable, as of pairs."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise _wrong(name, "a mapping, or pairs of a name and a value", value)


def check_class(name: str, value: object, base: type[Any]) -> None:
    """TypeError unless `value` is a class that inherits from `base`."""
    if not isinstance(value, type) or not issubclass(value, base):
        raise _wrong(name, f"a subclass of {base.__name__}", value)


def check_call(name: str, value: object, *, optional: bool = False) -> None:
    """TypeError unless `value` can be called; None may be admitted."""
    if not callable(value) and not (optional and value is None):
        raise _wrong(name, "a function", value)


def check_flag_or_call(name: str, value: object) -> None:
    """TypeError unless `value` is None, a bool, or can be called."""
    if value is not None and not isinstance(value, bool) and not callable(value):
        raise _wrong(name, "True, False or a coroutine function", value)


def check_auth(name: str, value: object) -> None:
    """TypeError unless `value` is None or `BasicAuth`; a secret perhaps, it is not shown."""
    if value is not None and not isinstance(value, BasicAuth):
        raise TypeError(f"{name} is a BasicAuth, not a {type(value).__name__}")


def check_count(name: str, value: object, *, least: int = 0) -> None:
    """TypeError unless `value` is an int, ValueError if it is below `least`."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(name, "a whole number", value)
    if value < least:
        raise ValueError(f"{name} is {least} or more, not {value}")


def check_size(name: str, value: object) -> None:
    """TypeError unless `value` is an int, ValueError unless it is positive."""
    check_count(name, value, least=1)


def checked_names(name: str, value: Iterable[str] | None) -> frozenset[istr]:
    """Names of fields; TypeError for a single str, which would be taken for its letters."""
    if value is None:
        return frozenset()
    wanted = "an iterable of names"
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise _wrong(name, wanted, value)
    names = tuple(value)
    for item in names:
        if not isinstance(item, str):
            raise _wrong(name, wanted, item)
    return frozenset(map(istr, names))


def checked_sequence(
    name: str, value: Iterable[T] | None, wanted: str, accepts: Callable[[object], bool]
) -> tuple[T, ...]:
    """All of an iterable, each of which `accepts` is true for; TypeError else."""
    if value is None:
        return ()
    if not isinstance(value, Iterable):
        raise _wrong(name, f"a sequence of {wanted}", value)
    items = tuple(value)
    for item in items:
        if not accepts(item):
            raise _wrong(name, f"a sequence of {wanted}", item)
    return items
