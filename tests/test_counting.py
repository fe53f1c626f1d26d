"""Counted work: what is linear, and what is not."""

from __future__ import annotations

import threading
import zlib

from counting import calls_of, counted, is_linear


def test_calls() -> None:
    """Calls of Python and of C count, each once."""

    def inner() -> None:
        "".strip()
        "".strip()

    assert calls_of(inner) - calls_of(lambda: None) == 2


def test_linear_or_not() -> None:
    """A loop in a loop is told from a loop."""

    def once(size: int) -> int:
        return calls_of(lambda: [chr(number) for number in range(size)])

    def squared(size: int) -> int:
        return calls_of(lambda: [chr(n) for limit in range(size) for n in range(limit)])

    assert is_linear(once, 50)
    assert not is_linear(squared, 50)


def test_chosen_in_threads() -> None:
    """The calls that were asked for are counted, in threads too, and none behind the block."""

    def is_inflating(function: object) -> bool:
        return type(getattr(function, "__self__", None)).__module__ == "zlib"

    def inflate() -> None:
        zlib.decompressobj().decompress(zlib.compress(b"x"))

    with counted(is_inflating) as work:
        inflate()
        thread = threading.Thread(target=inflate)
        thread.start()
        thread.join()
    inflate()
    assert work.chosen == 2
    calls = work.calls
    inflate()
    assert work.calls == calls
