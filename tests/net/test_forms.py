"""FormData: which body a form becomes, and what no form may carry."""

from __future__ import annotations

import io
import pathlib
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
from multidict import MultiDict, MultiDictProxy

from angelia.net.forms import FormData
from angelia.net.multipart import BodyPartReader, MultipartReader
from angelia.net.multipart_writer import MultipartWriter
from payload_kit import written

URLENCODED = "application/x-www-form-urlencoded"


async def parts_of(form: FormData) -> list[tuple[dict[str, str], bytes]]:
    """Headers and content of each part of a multipart form."""
    body = form()
    assert isinstance(body, MultipartWriter)
    octets = await body.as_bytes()
    assert body.size in (None, len(octets))
    parts = []
    async for part in MultipartReader(body.headers, octets):
        assert isinstance(part, BodyPartReader)
        parts.append((dict(part.headers), await part.read()))
    return parts


class TestUrlencoded:
    """Forms without files."""

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({}, ""),
            ({"a": "1", "b": ""}, "a=1&b="),
            ([("a", "1"), ("a", "2")], "a=1&a=2"),
            (MultiDict([("a", "1"), ("b", "2"), ("a", "3")]), "a=1&b=2&a=3"),
            (MultiDictProxy(MultiDict([("a", "1")])), "a=1"),
            ([MultiDict([("a", "1")]), ("b", "2")], "a=1&b=2"),
            ({"a": "é &=+/ \r\n"}, "a=%C3%A9+%26%3D%2B%2F+%0D%0A"),
            ({"a": 1, "b": 1.5}, "a=1&b=1.5"),
            ({"a": ["1", "2"]}, "a=1&a=2"),
        ],
    )
    async def test_encoding(self, fields: Any, text: str) -> None:
        """Order, repeated names and blank values are kept; text is UTF-8."""
        form = FormData(fields)
        assert not form.is_multipart
        body = form()
        assert body.content_type == URLENCODED
        assert body.size == len(text)
        assert await written(body) == text.encode()

    async def test_charset(self) -> None:
        """Another charset is announced."""
        body = FormData({"a": "é"}, charset="latin-1")()
        assert body.content_type == f"{URLENCODED}; charset=latin-1"
        assert await written(body) == b"a=%E9"


class TestMultipart:
    """Forms with files, and whatever else makes them multipart."""

    @pytest.mark.parametrize(
        "options",
        [{"content_type": "text/plain"}, {"filename": "a.txt"}],
    )
    async def test_options_make_it_multipart(self, options: dict[str, str]) -> None:
        """A content type or a file name cannot be said in an urlencoded form."""
        form = FormData()
        form.add_field("a", "1", **options)
        assert form.is_multipart
        assert form().content_type.startswith("multipart/form-data; boundary=")

    async def test_default_to_multipart(self) -> None:
        """A form can be multipart without need."""
        form = FormData({"a": "é", "b": 2}, default_to_multipart=True)
        assert await parts_of(form) == [
            (
                {
                    "Content-Type": "text/plain; charset=utf-8",
                    "Content-Disposition": 'form-data; name="a"',
                },
                "é".encode(),
            ),
            (
                {
                    "Content-Type": "text/plain; charset=utf-8",
                    "Content-Disposition": 'form-data; name="b"',
                },
                b"2",
            ),
        ]

    async def test_charset(self) -> None:
        """The form's charset is that of each text."""
        parts = await parts_of(FormData({"a": "é"}, charset="latin-1", default_to_multipart=True))
        assert parts[0][0]["Content-Type"] == "text/plain; charset=latin-1"
        assert parts[0][1] == b"\xe9"

    @pytest.mark.parametrize("value", [b"xy", bytearray(b"xy"), memoryview(b"xy")])
    async def test_bytes(self, value: Any) -> None:
        """Bytes are a file that is called as the field, unless they are given another name."""
        form = FormData({"a.png": value})
        form.add_field("b", value, filename="c.txt")
        assert await parts_of(form) == [
            (
                {
                    "Content-Type": "image/png",
                    "Content-Disposition": 'form-data; name="a.png"; filename="a.png"',
                },
                b"xy",
            ),
            (
                {
                    "Content-Type": "text/plain",
                    "Content-Disposition": 'form-data; name="b"; filename="c.txt"',
                },
                b"xy",
            ),
        ]

    async def test_files(self, tmp_path: pathlib.Path) -> None:
        """A file is called as it is in the file system, or as the field if it has no name."""
        path = tmp_path / "ä b.bin"
        path.write_bytes(b"xyz")
        with path.open("rb") as file, tempfile.NamedTemporaryFile(suffix=".png") as other:
            file.read(1)
            form = FormData([("a", file), file, ("b", io.BytesIO(b"w")), io.StringIO("v")])
            form.add_field("c", other)
            parts = await parts_of(form)
            assert [content for _, content in parts] == [b"yz", b"yz", b"w", b"v", b""]
            name = pathlib.Path(other.name).name
            assert [headers["Content-Disposition"] for headers, _ in parts] == [
                'form-data; name="a"; filename="%C3%A4%20b.bin"',
                "form-data; name*=utf-8''%C3%A4%20b.bin; filename=\"%C3%A4%20b.bin\"",
                'form-data; name="b"; filename="b"',
                'form-data; name="unknown"; filename="unknown"',
                f'form-data; name="c"; filename="{name}"',
            ]
            assert form().reusable
            await form().close()
            assert file.closed

    async def test_a_file_alone(self) -> None:
        """A form can be made of one file."""
        parts = await parts_of(FormData(io.BytesIO(b"x")))
        assert parts[0][0]["Content-Disposition"] == (
            'form-data; name="unknown"; filename="unknown"'
        )

    async def test_async_iterable(self) -> None:
        """A source without a size makes the form multipart, and its size unknown."""

        async def source() -> AsyncIterator[bytes]:
            yield b"one"
            yield b"two"

        form = FormData({"a": source()})
        assert form().size is None
        assert (await parts_of(form))[0][1] == b"onetwo"

    async def test_explicit_content_type(self) -> None:
        """The type that was given is the part's type."""
        form = FormData()
        form.add_field("a", '{"é": 1}', content_type="application/json")
        assert await parts_of(form) == [
            (
                {
                    "Content-Type": "application/json",
                    "Content-Disposition": 'form-data; name="a"',
                },
                '{"é": 1}'.encode(),
            )
        ]

    async def test_quote_fields(self) -> None:
        """Without quoting, names and file names go as they are, as quoted strings."""
        form = FormData(quote_fields=False)
        form.add_field("é", "1", filename='a"b.txt')
        headers, _ = (await parts_of(form))[0]
        assert headers["Content-Disposition"] == 'form-data; name="é"; filename="a\\"b.txt"'

    async def test_transfer_encoding_is_not_sent(self) -> None:
        """RFC 7578 §4.7: form data has no Content-Transfer-Encoding; asking for one warns."""
        form = FormData()
        with pytest.warns(DeprecationWarning, match="content_transfer_encoding"):
            form.add_field("a", b"x", content_transfer_encoding="base64")
        assert await parts_of(form) == [
            (
                {
                    "Content-Type": "application/octet-stream",
                    "Content-Disposition": 'form-data; name="a"',
                },
                b"x",
            )
        ]

    async def test_same_body_until_it_changes(self) -> None:
        """A form begins at the files' first positions each time it is sent."""
        form = FormData({"a": io.BytesIO(b"abc")})
        body = form()
        first = await written(body)
        assert form() is body
        assert await written(body) == first
        form.add_field("b", "1")
        assert form() is not body


class TestRefused:
    """What no form may carry."""

    @pytest.mark.parametrize("quote_fields", [True, False])
    @pytest.mark.parametrize("bad", ["a\rb", "a\nb", "a\r\nX: 1", "a\0"])
    @pytest.mark.parametrize("where", ["name", "filename", "content_type"])
    def test_injection(self, where: str, bad: str, quote_fields: bool) -> None:
        """CR, LF and NUL are refused in whatever goes into a part's head."""
        form = FormData(quote_fields=quote_fields)
        arguments = {"name": "a", where: bad}
        with pytest.raises(ValueError, match=where):
            form.add_field(value="x", **arguments)
        assert repr(form) == "<FormData urlencoded []>"

    def test_injection_by_a_file(self, tmp_path: pathlib.Path) -> None:
        """The name of a file in the file system is no exception."""
        path = tmp_path / "a\r\nX: 1"
        path.touch()
        with path.open("rb") as file, pytest.raises(ValueError, match="filename"):
            FormData({"a": file})

    @pytest.mark.parametrize("where", ["name", "filename", "content_type"])
    def test_not_text(self, where: str) -> None:
        """Names, file names and content types are str."""
        arguments: dict[str, Any] = {"name": "a", where: b"a"}
        with pytest.raises(TypeError, match=where):
            FormData().add_field(value="x", **arguments)

    @pytest.mark.parametrize("fields", ["text", b"bytes", 1, ["a"], [("a",)], [("a", "b", "c")]])
    def test_not_fields(self, fields: Any) -> None:
        """What is neither mapping, pair nor file is no field."""
        with pytest.raises(TypeError, match="field"):
            FormData(fields)

    def test_no_value(self) -> None:
        """None is no value: it would be sent as a word."""
        with pytest.raises(TypeError, match="'a'"):
            FormData({"a": None})

    def test_not_a_body(self) -> None:
        """What no body can be made of is named when the form becomes one."""
        form = FormData({"a": object()}, default_to_multipart=True)
        with pytest.raises(TypeError, match="'a'"):
            form()
