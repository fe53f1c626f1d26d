"""The grammar of field values."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.core.fields import (
    ETag,
    MediaType,
    content_disposition_filename,
    decode_ext_value,
    is_token,
    keep_alive_timeout,
    parse_content_disposition,
    parse_etags,
    parse_http_date,
    parse_links,
    parse_media_type,
    parse_parameters,
    parse_token_list,
    quote_string,
    scan_quoted,
    serialize_http_date,
)
from angelia.errors import BadContentDispositionHeader, BadContentDispositionParam
from counting import calls_of, is_linear


class TestTokensAndStrings:
    @pytest.mark.parametrize("text", ["a", "GET", "!#$%&'*+-.^_`|~09azAZ"])
    def test_tokens(self, text: str) -> None:
        """RFC 9110 §5.6.2: fifteen marks, digits and letters."""
        assert is_token(text)

    @pytest.mark.parametrize(
        "text", ["", "a b", "a\n", "é", "a:", "(a)", "\uff21", "\u0661", "a\0"]
    )
    def test_no_tokens(self, text: str) -> None:
        """Nothing else, whatever Unicode calls a letter or a digit."""
        assert not is_token(text)

    @given(st.text())
    def test_quoting_is_undone(self, text: str) -> None:
        """RFC 9110 §5.6.4: a quoted string reads as what was quoted, and ends where it ends."""
        quoted = quote_string(text)
        assert scan_quoted(f"x{quoted}y", 1) == (text, len(quoted) + 1, True)

    def test_unclosed(self) -> None:
        """A string that is not closed ends with the text, and says so."""
        assert scan_quoted('"abc', 0) == ("abc", 4, False)
        assert scan_quoted('"abc\\', 0) == ("abc", 5, False)
        assert scan_quoted("abc", 1) == ("", 1, False)

    def test_lists(self) -> None:
        """RFC 9110 §5.6.1: members over all lines, without case and empty ones."""
        values = ["keep-alive, Upgrade", " ", ",,\tclose ,"]
        assert parse_token_list(values) == ["keep-alive", "upgrade", "close"]

    def test_other_letters(self) -> None:
        """Only ASCII letters have a case here: the Kelvin sign stays what it is."""
        assert parse_token_list(["\u212aeep-Alive, \u0130D, A"]) == [
            "\u212aeep-Alive",
            "\u0130D",
            "a",
        ]


class TestMediaTypes:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("text/html", ("text", "html", "", {})),
            (" Text/HTML ; Charset=UTF-8", ("text", "html", "", {"charset": "UTF-8"})),
            ('text/html;charset="utf-8"', ("text", "html", "", {"charset": "utf-8"})),
            ("text/html;", ("text", "html", "", {})),
            ("text/html; ;;charset=a;charset=b", ("text", "html", "", {"charset": "a"})),
            ("text/html; charset = a", ("text", "html", "", {"charset": "a"})),
            ("text/html; charset=", ("text", "html", "", {"charset": ""})),
            ("text/html; charset", ("text", "html", "", {})),
            ('a/b; x="c;d\\"e"; y=f', ("a", "b", "", {"x": 'c;d"e', "y": "f"})),
            ('a/b; x="never closed; y=f', ("a", "b", "", {"x": "never closed; y=f"})),
            ("a/b; x=1 2; y=3", ("a", "b", "", {"x": "1", "y": "3"})),
            ("application/vnd.api+JSON", ("application", "vnd.api", "json", {})),
            ("application/a+b+xml", ("application", "a+b", "xml", {})),
            ("application/a+", ("application", "a+", "", {})),
            ("", ("", "", "", {})),
            ("text", ("", "", "", {})),
            ("text/", ("", "", "", {})),
            ("text/a b", ("", "", "", {})),
            ("text/html, text/plain", ("", "", "", {})),
            ("text; charset=x", ("", "", "", {"charset": "x"})),
            ("te\u0131t/html", ("", "", "", {})),
        ],
    )
    def test_parse(self, text: str, expected: tuple[str, str, str, dict[str, str]]) -> None:
        """RFC 9110 §8.3.1; a wrong type leaves the names empty and reads the parameters."""
        assert parse_media_type(text) == MediaType(*expected)

    @pytest.mark.parametrize("text", ["text/html", "application/vnd.api+json", ""])
    def test_essence(self, text: str) -> None:
        """The essence is the type as it was written, in lower case."""
        assert parse_media_type(text.upper()).essence == text

    @pytest.mark.parametrize(
        ("text", "is_json"),
        [
            ("application/json", True),
            ("Application/JSON; x=y", True),
            ("application/problem+json", True),
            ("model/gltf+json", True),
            ("application/jsonx", False),
            ("application/xjson", False),
            ("text/json", False),
            ("application/json+xml", False),
            ("json", False),
        ],
    )
    def test_json(self, text: str, is_json: bool) -> None:
        """RFC 6839 §3.1: application/json and +json under any type, and no look-alikes."""
        assert parse_media_type(text).is_json is is_json

    def test_parameters_at(self) -> None:
        """Parameters are read from where they begin."""
        assert parse_parameters("a=b; C=d", 4) == {"c": "d"}


class TestDates:
    MOMENT = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)

    @pytest.mark.parametrize(
        "text",
        [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            " sun, 6 nov 1994 08:49:37 UTC ",
            "Mon, 06 Nov 1994 08:49:37 +0000",
        ],
    )
    def test_forms(self, text: str) -> None:
        """RFC 9110 §5.6.7: three forms, and small liberties."""
        assert parse_http_date(text) == self.MOMENT

    @pytest.mark.parametrize(
        "text",
        [
            None,
            "",
            "0",
            "-1",
            "Sun, 06 Nov 1994",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 0000 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 EST",
            "Sun, 06 Nov 1994 08:49:37 GMT x",
            "Sun, 0\u0666 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 99999 08:49:37 GMT",
        ],
    )
    def test_invalid(self, text: str | None) -> None:
        """What is no date reads as None."""
        assert parse_http_date(text) is None

    def test_liberties(self) -> None:
        """Two-digit years lie between 1970 and 2069; a leap second is the second before."""
        for year, full in [(69, 2069), (70, 1970), (99, 1999), (0, 2000)]:
            found = parse_http_date(f"Monday, 01-Jan-{year:02} 00:00:00 GMT")
            assert found is not None
            assert found.year == full
        leap = parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT")
        assert leap == datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)

    def test_serialize(self) -> None:
        """RFC 9110 §5.6.7: IMF-fixdate, in GMT wherever the moment was."""
        there = self.MOMENT.astimezone(timezone(timedelta(hours=-5)))
        assert serialize_http_date(there) == "Sun, 06 Nov 1994 08:49:37 GMT"

    @given(st.datetimes(timezones=st.just(UTC)))
    def test_inverse(self, moment: datetime) -> None:
        """A date that is written reads as the same second."""
        assert parse_http_date(serialize_http_date(moment)) == moment.replace(microsecond=0)


class TestEntityTags:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            (['"a"'], [ETag("a")]),
            (['W/"a", "b"', '"c,d"'], [ETag("a", True), ETag("b"), ETag("c,d")]),
            ([' , "" ,'], [ETag("")]),
            ([" * "], [ETag("*")]),
            (['"*"'], [ETag("*")]),
            ([], []),
            (["a"], []),
            (['w/"a"'], []),
            (['"a", b, "c"'], [ETag("a")]),
            (['"a" "b"'], []),
            (['"never closed'], []),
        ],
    )
    def test_parse(self, values: list[str], expected: list[ETag]) -> None:
        """RFC 9110 §8.8.3, §13.1.1: weak and strong tags, up to what is none."""
        assert list(parse_etags(values)) == expected


class TestLinks:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([], []),
            (["<a>"], [("a", {})]),
            (['<http://h/?a=1,2;3>; rel="next"; Title=x'],
             [("http://h/?a=1,2;3", {"rel": "next", "title": "x"})]),
            (["<a>;rel=prev,<b>; rel=next", "<c>"],
             [("a", {"rel": "prev"}), ("b", {"rel": "next"}), ("c", {})]),
            (['<a>; rel="x, <b>; y"; z="\\"", <c>'],
             [("a", {"rel": "x, <b>; y", "z": '"'}), ("c", {})]),
            (["<a>; rel=one; rel=two"], [("a", {"rel": "one"})]),
            (["<a>; title*=UTF-8'de'%e2%82%ac"], [("a", {"title*": "€"})]),
            (["<a>; title*=nope; b=c"], [("a", {"b": "c"})]),
            (["<a>; ; crossorigin; x = y ;"], [("a", {"crossorigin": "", "x": "y"})]),
            (["junk, <a>; rel=b junk, x <c>, <d>"], [("a", {"rel": "b"}), ("d", {})]),
            (['"<x>", <a>'], [("a", {})]),
            (["<never closed", "<>"], [("", {})]),
            ([",, ,< a >"], [("a", {})]),
            (['<a>; b="never closed, <c>'], [("a", {"b": "never closed, <c>"})]),
        ],
    )  # fmt: skip
    def test_parse(self, values: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
        """RFC 8288 §3: targets and their parameters; what is no link is left out."""
        assert parse_links(values) == expected


def parsed(header: str) -> tuple[str | None, dict[str, str], list[type[Warning]], str | None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        disposition, parameters = parse_content_disposition(header)
        filename = content_disposition_filename(parameters)
    return disposition, parameters, [one.category for one in caught], filename


class TestContentDisposition:
    @pytest.mark.parametrize(
        ("header", "filename"),
        [
            ("attachment", None),
            ("INLINE", None),
            ("attachment; size=3", None),
            ("attachment; xfilename=a", None),
            ('attachment; filename="foo.html"', "foo.html"),
            ("attachment; FILENAME=foo.html", "foo.html"),
            ("attachment;filename  =  foo.html  ;", "foo.html"),
            ("attachment; ;;filename=foo.html", "foo.html"),
            ('attachment; filename=""', ""),
            ("attachment; filename=", ""),
            ("attachment; filename=; size=3", ""),
            ('attachment; filename="f\\oo \\"q\\".html"', 'foo "q".html'),
            ('form-data; name="d"; filename="a; b=c"', "a; b=c"),
            ("attachment; filename='foo.html'", "'foo.html'"),
            ('attachment; filename="foo-%41.html"', "foo-%41.html"),
            ('attachment; filename="foo-\xe4.html"', "foo-\xe4.html"),
            ('attachment; filename="=?utf-8?Q?a?="', "=?utf-8?Q?a?="),
            ('attachment; filename="/etc/x"', "etc/x"),
            ('attachment; filename="\\\\\\\\host\\\\x"', "host\\x"),
            ("attachment; filename*=UTF-8''%2f%5cx", "x"),
            ("attachment; filename*=iso-8859-1''foo-%E4.html", "foo-\xe4.html"),
            ("attachment; filename* = UTF-8'en'foo-%c3%a4.html", "foo-\xe4.html"),
            ("attachment; filename*=''foo-%c3%a4.html", "foo-\xe4.html"),
            ("attachment; filename*=\"UTF-8''foo-%c3%a4.html\"", "foo-\xe4.html"),
            ('attachment; filename*="foo%20bar.html"', "foo bar.html"),
            ("attachment; filename*=UTF-8''A-%2541.html", "A-%41.html"),
            ("attachment; filename=\"a\"; filename*=UTF-8''b", "b"),
            ("attachment; filename*=UTF-8''b; filename=\"a\"", "b"),
            ('attachment; filename*0="foo."; filename*1="html"', "foo.html"),
            ('attachment; filename*1="html"; filename*0="foo."', "foo.html"),
            ("attachment; filename*0*=UTF-8''f-%c3%a4; filename*1=\".html\"", "f-\xe4.html"),
            ("attachment; filename*0*=UTF-8''%c3; filename*1*=%a4", "\xe4"),
            ('attachment; filename*0="/a"; filename*2="c"', "a"),
            ('attachment; filename*0="a"; filename*01="b"', "a"),
            ('attachment; filename*1="b"', None),
            ('attachment; filename="x"; filename*0="y"', "x"),
        ],
    )
    def test_filename(self, header: str, filename: str | None) -> None:
        """RFC 6266, RFC 8187 and RFC 2231 forms, with the liberties that senders take."""
        disposition, _, caught, found = parsed(header)
        assert disposition == header.partition(";")[0].lower()
        assert caught == []
        assert found == filename

    @pytest.mark.parametrize(
        "header",
        [
            '"inline"',
            ";filename=a",
            "filename=a; attachment",
            "attachment filename=a",
            "attachment; filename=a; filename=b",
            "attachment; filename=a b",
            "attachment; filename=a,b",
            "attachment; filename=a[1](2).html",
            "attachment; filename==?utf-8?Q?a?=",
            'attachment; filename="a".txt',
            'attachment; filename="never closed',
            'attachment; filename=a"b;c"d',
            "attachment; foo=foo filename=bar",
            "attachment; filename",
            "attachment, inline",
            "\u0130nline",
        ],
    )
    def test_malformed(self, header: str) -> None:
        """A malformed field warns and reads as none."""
        assert parsed(header) == (None, {}, [BadContentDispositionHeader], None)

    @pytest.mark.parametrize(
        "value", ["bogus''x", "UTF-8'x", "UTF-8''%", "UTF-8''%zz", "UTF-8''%e4", "hex''61"]
    )
    def test_undecodable(self, value: str) -> None:
        """A parameter in an unknown charset, or unfit for it, warns and is left out."""
        disposition, parameters, caught, found = parsed(
            f"attachment; filename*={value}; filename=plain"
        )
        assert (disposition, parameters, found) == ("attachment", {"filename": "plain"}, "plain")
        assert caught == [BadContentDispositionParam]

    @pytest.mark.parametrize("first", ["bogus''x", "UTF-8''%e4"])
    def test_undecodable_continuation(self, first: str) -> None:
        """The same where the parameter comes in pieces."""
        with pytest.warns(BadContentDispositionParam):
            assert content_disposition_filename({"filename*0*": first}) is None

    def test_absent(self) -> None:
        """No field, no disposition and no warning."""
        assert parse_content_disposition(None) == (None, {})
        assert parse_content_disposition("") == (None, {})

    def test_other_name(self) -> None:
        """Other parameters take the same forms, and keep their leading separators."""
        _, parameters = parse_content_disposition("form-data; name*=UTF-8''%2f%c3%a4")
        assert content_disposition_filename(parameters, "name") == "/\xe4"
        assert content_disposition_filename(parameters) is None

    def test_warnings_are_few(self) -> None:
        """Python remembers the texts of warnings: a peer cannot choose them."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for number in range(3):
                parse_content_disposition(f"attachment; {number}")
                parse_content_disposition(f"attachment; a*=x{number}''%")
        assert len({str(one.message) for one in caught}) == 2

    def test_ext_value(self) -> None:
        """RFC 8187 §3.2.1: charset, language, value."""
        assert decode_ext_value("UTF-8'en'%c2%a3 rates") == "£ rates"
        with pytest.raises(ValueError, match="unknown charset"):
            decode_ext_value("none''x")
        with pytest.raises(ValueError):
            decode_ext_value("plain")


class TestKeepAlive:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("timeout=5", 5.0),
            ("Timeout=5, max=100", 5.0),
            ('max=1, timeout = "7"', 7.0),
            (["max=1", "timeout=0"], 0.0),
            ("timeout=5, timeout=9", 5.0),
            ("", None),
            ("max=100", None),
            ("timeout=", None),
            ("timeout=-1", None),
            ("timeout=1.5", None),
            ("timeout=\u0661", None),
            ("xtimeout=5", None),
            ("timeout=" + "9" * 5000, None),
        ],
    )
    def test_timeout(self, value: str | list[str], seconds: float | None) -> None:
        """RFC 2068 §19.7.1.1: whole seconds in ASCII digits, or nothing."""
        assert keep_alive_timeout(value) == seconds


def disposition(text: str) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, parameters = parse_content_disposition(text)
        return content_disposition_filename(parameters)


PARSERS: list[Callable[[str], Any]] = [
    parse_media_type,
    parse_http_date,
    disposition,
    keep_alive_timeout,
    lambda text: parse_links([text]),
    lambda text: parse_etags([text]),
    lambda text: parse_token_list([text]),
]


class TestAnyText:
    @given(
        st.text(st.sampled_from("a/b;=\"\\,<>*0'% \tW-:1\u00e4\udce4")), st.sampled_from(PARSERS)
    )
    def test_never_an_error(self, text: str, parse: Callable[[str], Any]) -> None:
        """Any text gives a value."""
        parse(text)

    @pytest.mark.parametrize("parse", PARSERS)
    def test_linear(self, parse: Callable[[str], Any]) -> None:
        """No text takes more than linear work; one that did inside a match would not end."""
        starts = ["", "a/b;c=", "<a>;b=", '"']
        units = ["a", "a/b;", '"', "\\", '"a\\', ";", " ", ",", "<", "<,", ">,<", "a=", "a=b;"]
        units += [" ;", "<a>;", "x,", "'", "%", '"a",', 'W/"', "a*=b'", ", ", "<a> ", "a ", "\t,"]
        for start, unit, end in itertools.product(starts, units, ("", ">")):

            def text(size: int, start: str = start, unit: str = unit, end: str = end) -> str:
                return start + unit * (size // len(unit)) + end

            def cost(size: int, text: Callable[[int], str] = text) -> int:
                whole = text(size)
                return calls_of(lambda: parse(whole))

            assert is_linear(cost, 500), text(20)
            parse(text(60_000))
