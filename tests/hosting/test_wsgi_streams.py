"""``wsgi.input`` and ``wsgi.errors``: the file methods of PEP 3333."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.hosting.wsgi_streams import ErrorStream, InputStream

TEXT = b"one\ntwo\n\nfour without an end"


def stream(*pieces: bytes) -> InputStream:
    """A stream of these pieces."""
    left = iter((*pieces, b""))
    return InputStream(lambda: next(left), ended=False)


def cuts(octets: bytes) -> list[InputStream]:
    """The octets whole, in two pieces cut at every place, and one by one."""
    halves = [stream(octets[:at], octets[at:]) for at in range(1, len(octets))]
    return [stream(octets), *halves, stream(*(bytes([octet]) for octet in octets))]


class TestInput:
    @pytest.mark.parametrize(
        "use",
        [
            lambda file: file.read(),
            lambda file: file.read(-1),
            lambda file: file.read(None),
            lambda file: [file.read(5), file.read(0), file.read(100), file.read(1)],
            lambda file: [file.readline() for _ in range(6)],
            lambda file: [file.readline(2) for _ in range(8)],
            lambda file: [file.readline(-1), file.readline(0), file.readline(4)],
            lambda file: file.readlines(),
            lambda file: [file.readlines(5), file.readlines()],
            list,
            lambda file: [next(file), file.read(2), file.readline(), file.read()],
        ],
    )
    def test_is_like_a_file(self, use: Callable[[object], object]) -> None:
        """However the body is cut into pieces, it reads as a file of the same octets does."""
        expected = use(io.BytesIO(TEXT))
        assert [use(cut) for cut in cuts(TEXT)] == [expected] * (len(TEXT) + 1)

    @given(
        st.lists(st.binary(min_size=1, max_size=8), max_size=6),
        st.lists(st.tuples(st.sampled_from(["read", "readline"]), st.integers(-1, 9)), max_size=12),
    )
    def test_any_calls(self, pieces: list[bytes], calls: list[tuple[str, int]]) -> None:
        """Any calls on any pieces give what a file gives."""
        ours, file = stream(*pieces), io.BytesIO(b"".join(pieces))
        assert [getattr(ours, name)(size) for name, size in calls] == [
            getattr(file, name)(size) for name, size in calls
        ]

    def test_asks_for_no_more_than_it_needs(self) -> None:
        """What was asked for and one piece are kept: the rest stays where it is."""
        asked: list[int] = []

        def more() -> bytes:
            asked.append(1)
            return b"abcd"

        file = InputStream(more, b"xyz", ended=False)
        assert (file.read(3), len(asked)) == (b"xyz", 0)
        assert (file.read(5), len(asked)) == (b"abcda", 2)
        assert file.read(0) == b""
        assert len(asked) == 2

    def test_ended(self) -> None:
        """After the end nobody is asked any more."""
        file = InputStream(lambda: pytest.fail("asked after the end"), b"a", ended=True)
        assert (file.read(), file.read(), file.readline(), list(file)) == (b"a", b"", b"", [])
        assert repr(file) == "<InputStream 0 bytes ended>"

    def test_errors_pass(self) -> None:
        """An error of the source is the reader's, and what came before is not lost."""

        def more() -> bytes:
            raise OSError("gone")

        file = InputStream(more, b"abc", ended=False)
        with pytest.raises(OSError, match="gone"):
            file.read()
        assert file.read(3) == b"abc"


class TestErrors:
    def test_lines(self, caplog: pytest.LogCaptureFixture) -> None:
        """Each complete line is an entry, the rest one at the next flush; empty ones are none."""
        errors = ErrorStream(logging.getLogger("test.wsgi.errors"))
        assert errors.write("one\ntw") == 6
        errors.writelines(["o\r\n", "\n", "three"])
        assert caplog.messages == ["one", "two"]
        errors.flush()
        errors.flush()
        assert caplog.messages == ["one", "two", "three"]
        assert {record.levelname for record in caplog.records} == {"ERROR"}

    def test_text_only(self) -> None:
        """PEP 3333: a text stream."""
        with pytest.raises(TypeError, match="bytes"):
            ErrorStream(logging.getLogger("test")).write(b"x")  # type: ignore[arg-type]  # refused
