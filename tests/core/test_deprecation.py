"""Deprecation warnings: for which line, however deep in the library they are raised."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable

import pytest

from angelia.core.deprecation import warn_deprecated, warn_loop_argument


def in_module(name: str, source: str, **names: object) -> types.ModuleType:
    """A module of that name, made of `source`; no file, which coverage would look for."""
    module = types.ModuleType(name)
    module.__dict__.update(names)
    exec(compile(source, f"<{name}>", "exec"), module.__dict__)  # noqa: S102 - ours, above
    return module


def lines(use: Callable[[], object]) -> list[str]:
    """The files for whose lines `use` warned."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        use()
    assert all(item.category is DeprecationWarning for item in seen)
    return [item.filename for item in seen]


@pytest.mark.parametrize("depth", range(4))
def test_own_frames_are_skipped(depth: int) -> None:
    """Any number of the library's frames may be between the user's line and the warning."""
    inner = in_module("angelia.inner", "def use(): warn('old')", warn=warn_deprecated)
    use: Callable[..., object] = inner.use
    for number in range(depth):
        use = in_module(f"angelia.m{number}", "def use(): return inner()", inner=use).use
    user = in_module("program", "def use(): return inner()", inner=use)
    assert lines(user.use) == ["<program>"]


def test_names_that_only_look_like_ours() -> None:
    """A package whose name begins like the library's is a user."""
    user = in_module("angelia_plugin", "def use(): warn('old')", warn=warn_deprecated)
    assert lines(user.use) == ["<angelia_plugin>"]


def derived() -> type:
    """A class of the library whose base class, in another module, was given a loop."""
    base = in_module(
        "angelia.things",
        "class Base:\n    def __init__(self): warn(self)",
        warn=warn_loop_argument,
    )
    source = "class Derived(Base):\n    def __init__(self): super().__init__()"
    made: type = in_module("angelia.kinds", source, Base=base.Base).Derived
    return made


def test_loop_of_a_user() -> None:
    """Whoever makes the object is told, not the constructors in between."""
    user = in_module("program", "def use(): return make()", make=derived())
    assert lines(user.use) == ["<program>"]


def test_loop_that_the_library_hands_on() -> None:
    """What the library itself makes with a loop is not the user's affair."""
    other = in_module("angelia.other", "def use(): return make()", make=derived())
    user = in_module("program", "def use(): return inner()", inner=other.use)
    assert lines(user.use) == []
