"""`Set-Cookie` and `Cookie` fields <-> morsels, dates, and the matching of hosts and paths."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from http.cookies import CookieError, Morsel, SimpleCookie
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.core.cookies import (
    MAX_ATTRIBUTE_SIZE,
    MAX_COOKIE_SIZE,
    MAX_TIME,
    ReceivedMorsel,
    breaks_promise,
    deadline_of,
    default_path,
    domain_chain,
    domain_matches,
    is_address,
    is_public_suffix,
    make_morsel,
    merge_cookie_headers,
    morsels_of,
    octets,
    parse_cookie_date,
    parse_cookie_header,
    parse_max_age,
    parse_set_cookie,
    parse_set_cookies,
    path_matches,
    quoted,
    serialize_cookie_header,
    wire_value,
)
from counting import calls_of, is_linear

# With lone surrogates: the octets of a field that are no UTF-8 become such.
TEXT = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=40)


def attributes(morsel: Morsel[str] | None) -> dict[str, Any]:
    """What a morsel has besides name and value."""
    assert morsel is not None
    return {name: value for name, value in morsel.items() if value}


class TestSetCookieField:
    """RFC 6265 §5.2, with the limits of RFC 6265bis §5.6."""

    @pytest.mark.parametrize(
        ("line", "name", "value", "coded"),
        [
            ("a=1", "a", "1", "1"),
            (" a \t=\t 1 ; Path=/", "a", "1", "1"),
            ("a=", "a", "", ""),
            ("a=b=c==", "a", "b=c==", "b=c=="),
            ('a={"x": [1, 2]}', "a", '{"x": [1, 2]}', '{"x": [1, 2]}'),
            ('a="x y"', "a", "x y", '"x y"'),
            ('a="x', "a", '"x', '"x'),
            ('a=x"', "a", 'x"', 'x"'),
            ('a="', "a", '"', '"'),
            ('a=""', "a", "", '""'),
            ('a="x;y"; Path=/', "a", '"x', '"x'),
            (r'a="\303\251"', "a", "Ã©", r'"\303\251"'),
            (r'a="\"\\\054"', "a", '"\\,', r'"\"\\\054"'),
            ("{a}/b[c]=1", "{a}/b[c]", "1", "1"),
            ("a b=1", "a b", "1", "1"),
            ("ä=ö", "ä", "ö", "ö"),
            ("a=\udcff", "a", "\udcff", "\udcff"),
            ("Path=/x; Path=/", "Path", "/x", "/x"),
            ("$Version=1", "$Version", "1", "1"),
            ("expires=now, a=2", "expires", "now, a=2", "now, a=2"),
        ],
    )
    def test_one_cookie(self, line: str, name: str, value: str, coded: str) -> None:
        """Up to the first semicolon stands one cookie, whatever its name; its octets are kept."""
        morsel = parse_set_cookie(line)
        assert morsel is not None
        assert (morsel.key, morsel.value, morsel.coded_value) == (name, value, coded)

    @pytest.mark.parametrize("line", ["", ";", "a", "=1", "=a=1", " =1", "; a=1", "a; b=1"])
    def test_without_a_name(self, line: str) -> None:
        """A field without a name or an equals sign sets nothing."""
        assert parse_set_cookie(line) is None

    @pytest.mark.parametrize("character", [chr(code) for code in range(32) if code != 9] + ["\x7f"])
    @pytest.mark.parametrize("template", ["a{}=1", "a=1{}2", 'a="{}"', "a=1; Path=/{}", "a=1; X{}"])
    def test_control_characters(self, template: str, character: str) -> None:
        """A control character anywhere drops the cookie (RFC 6265bis §5.6 (1))."""
        assert parse_set_cookie(template.format(character)) is None

    def test_only_that_cookie(self) -> None:
        """A cookie that is dropped does not stop those after it."""
        lines = ["a=1", "b=\0", "nothing", "c=3"]
        assert [morsel.key for morsel in parse_set_cookies(lines)] == ["a", "c"]

    def test_escaped_control_characters(self) -> None:
        """A value that would decode to control characters is left coded."""
        morsel = parse_set_cookie(r'a="x\015\012Set: y"')
        assert morsel is not None
        assert morsel.value == morsel.coded_value == r'"x\015\012Set: y"'

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Path=/x; Domain=.Example.com", {"path": "/x", "domain": ".Example.com"}),
            ("PATH = /x ;\tsecure ; HTTPONLY", {"path": "/x", "secure": True, "httponly": True}),
            ("Secure=false", {"secure": True}),
            ("Unknown=1; =2; ; Path", {}),
            ("Path=/x; Path=/y", {"path": "/y"}),
            ("Path=/x; Path=", {}),
            ('Path="/x"; SameSite=Lax', {"path": "/x", "samesite": "Lax"}),
            ("Max-Age=5; Max-Age=x", {"max-age": "5"}),
            (
                "Expires=Wed, 21 Oct 2015 07:28:00 GMT; Expires=soon",
                {"expires": "Wed, 21 Oct 2015 07:28:00 GMT"},
            ),
            ("Path=/a=b", {"path": "/a=b"}),
        ],
    )
    def test_attributes(self, text: str, expected: dict[str, Any]) -> None:
        """Known attributes count, in any case, the last of each; broken deadlines do not."""
        assert attributes(parse_set_cookie(f"a=1; {text}")) == expected

    def test_limits(self) -> None:
        """Longer than 4096 octets a cookie is ignored, longer than 1024 an attribute."""
        assert parse_set_cookie("a=" + "x" * (MAX_COOKIE_SIZE - 1)) is not None
        assert parse_set_cookie("a=" + "x" * MAX_COOKIE_SIZE) is None
        assert parse_set_cookie("a=" + "é" * (MAX_COOKIE_SIZE // 2)) is None
        path = "/" + "x" * (MAX_ATTRIBUTE_SIZE - 1)
        assert attributes(parse_set_cookie(f"a=1; Path={path}")) == {"path": path}
        assert attributes(parse_set_cookie(f"a=1; Path={path}x")) == {}

    @given(TEXT)
    def test_any_text(self, line: str) -> None:
        """Any text is a cookie or none, and never an error; its octets can be sent."""
        morsel = parse_set_cookie(line)
        if morsel is not None:
            assert parse_cookie_header(f"{morsel.key}={morsel.coded_value}")

    @pytest.mark.parametrize(
        "line",
        [
            'a="' + "\\" * 200_000,
            'a="' + "\\0" * 200_000 + '"',
            "a=1" + "; x" * 200_000,
            ";" * 10**6,
        ],
    )
    def test_linear_time(self, line: str) -> None:
        """A long field costs work in proportion to its length, also where it unquotes badly."""

        def cost(size: int) -> int:
            piece = line[:size]
            return calls_of(lambda: (parse_set_cookie(piece), parse_cookie_header(piece)))

        assert is_linear(cost, 1000)
        # Anything worse inside a single search would not come to its end.
        parse_set_cookie(line)
        parse_cookie_header(line)

    def test_unquoting_in_linear_time(self) -> None:
        """So does a value with many escapes, where no limit of a field stands before it."""

        def cost(count: int) -> int:
            return calls_of(lambda: parse_cookie_header('a="' + "\\\\\\054" * count + '"'))

        assert is_linear(cost, 200)
        (pair,) = parse_cookie_header('a="' + "\\\\\\054" * 100_000 + '"')
        assert pair[1].value == "\\," * 100_000


class TestMorsels:
    """Morsels are the standard library's, in all ways but the check of names."""

    def test_copies(self) -> None:
        """A copy of a received morsel is received, too, and has the attributes."""
        morsel = parse_set_cookie('a="x"; Path=/y')
        assert morsel is not None
        for other in (morsel.copy(), copy.copy(morsel)):
            assert isinstance(other, ReceivedMorsel)
            assert other == morsel
            other["path"] = "/z"
            assert morsel["path"] == "/y"

    def test_in_a_simple_cookie(self) -> None:
        """It can be put into a `SimpleCookie`."""
        cookies: SimpleCookie = SimpleCookie()
        morsel = parse_set_cookie("a=1")
        assert morsel is not None
        cookies["a"] = morsel
        assert cookies["a"] is morsel


class TestQuoting:
    """RFC 2109 §4.1, as `http.cookies` does it."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("abc", "abc"),
            ("", '""'),
            ("a b", '"a b"'),
            ("a/b", '"a/b"'),
            ('a"b\\c', r'"a\"b\\c"'),
            ("a;b,c", r'"a\073b\054c"'),
            ("a\r\nb\0", r'"a\015\012b\000"'),
            ("é", r'"\351"'),
            ("日", '"日"'),
        ],
    )
    def test_quoted(self, value: str, expected: str) -> None:
        """What is no token stands in quotes; what would break out of them is escaped."""
        assert quoted(value) == expected

    @given(st.text(st.characters(codec="latin-1"), max_size=40))
    def test_as_the_standard_library(self, value: str) -> None:
        """Servers in Python write the same."""
        assert quoted(value) == SimpleCookie().value_encode(value)[1]

    @given(st.text(st.characters(min_codepoint=32), max_size=40))
    def test_inverse(self, value: str) -> None:
        """What is quoted reads as it was."""
        if "\x7f" not in value:
            ((name, morsel),) = parse_cookie_header(f"a={quoted(value)}")
            assert (name, morsel.value) == ("a", value)

    @given(TEXT)
    def test_safe(self, value: str) -> None:
        """Whatever the value, it ends neither itself nor the field."""
        assert len(parse_cookie_header(f"a={quoted(value)}; b=1")) == 2


class TestWireValue:
    """How a user's value is sent."""

    @pytest.mark.parametrize(
        ("value", "quote", "expected"),
        [
            ("a/b", True, '"a/b"'),
            ("a/b", False, "a/b"),
            ('"a"', True, r'"\"a\""'),
            ('"a"', False, '"a"'),
        ],
    )
    def test_text(self, value: str, quote: bool, expected: str) -> None:
        """A text is quoted where it needs that, or else sent as it is."""
        assert wire_value(value, quote=quote) == expected

    @pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\0b", "a;b", "\x7f"])
    def test_refused(self, value: str) -> None:
        """Unquoted it must not end itself or the field: that would set other cookies or fields."""
        with pytest.raises(ValueError, match="semicolon"):
            wire_value(value, quote=False)

    @pytest.mark.parametrize(
        ("value", "coded", "quote", "expected"),
        [
            ("a/b", "a/b", True, '"a/b"'),
            ("a/b", "a/b", False, "a/b"),
            ("a b", '"a b"', True, '"a b"'),
            ("a b", '"a b"', False, "a b"),
            ("a;b", r'"a\073b"', True, r'"a\073b"'),
            ("a;b", r'"a\073b"', False, r'"a\073b"'),
            ("a;b", '"a;b"', True, r'"a\073b"'),
        ],
    )
    def test_morsel(self, value: str, coded: str, quote: bool, expected: str) -> None:
        """A morsel's own coding is kept where it is quoted, and used where the value needs it."""
        assert wire_value(make_morsel("a", value, coded), quote=quote) == expected

    @pytest.mark.parametrize("quote", [True, False])
    @pytest.mark.parametrize("coded", ["a/b", '"a b"', '"', '{"x": "é"}'])
    def test_received(self, coded: str, quote: bool) -> None:
        """What a server sent goes back octet for octet."""
        morsel = parse_set_cookie(f"a={coded}")
        assert morsel is not None
        assert wire_value(morsel, quote=quote) == coded

    def test_poisoned_morsel(self) -> None:
        """A morsel cannot bring a second field in."""
        with pytest.raises(ValueError, match="semicolon"):
            wire_value(make_morsel("a", "x;y", "x\r\nSet: y"), quote=False)

    def test_octets(self) -> None:
        """A size is that of the octets that are sent."""
        assert [octets(text) for text in ("abc", "é", "日", "\udcff", "\ud800")] == [3, 2, 3, 1, 1]


class TestCookieField:
    """RFC 6265 §4.2."""

    def test_no_attributes(self) -> None:
        """Names of attributes are those of cookies here; what is none is left out."""
        header = 'path=/; a=1; expires = x ; $Version=1; b="x y"; none; =1; c=\0; d='
        assert [(name, morsel.value) for name, morsel in parse_cookie_header(header)] == [
            ("path", "/"),
            ("a", "1"),
            ("expires", "x"),
            ("$Version", "1"),
            ("b", "x y"),
            ("d", ""),
        ]

    @given(
        st.lists(
            st.tuples(
                st.from_regex(r"[A-Za-z0-9_.{}/\[\]-]+", fullmatch=True),
                st.from_regex(r'["!#-+.-:<-\[\]-~-]*', fullmatch=True),
            )
        )
    )
    def test_twins(self, pairs: list[tuple[str, str]]) -> None:
        """What is serialized parses as it was."""
        parsed = parse_cookie_header(serialize_cookie_header(pairs))
        assert [(name, morsel.coded_value) for name, morsel in parsed] == pairs

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ((), ""),
            (("a=1; b=2", "b=3; c=4"), "a=1; b=3; c=4"),
            (("a=1;; ;b", "", 'a="x y"'), 'a="x y"; b'),
        ],
    )
    def test_merge(self, values: tuple[str, ...], expected: str) -> None:
        """Several fields become one; a later cookie replaces its namesake, untouched are others."""
        assert merge_cookie_headers(*values) == expected


class TestGivenCookies:
    """What users give as cookies."""

    def test_kinds(self) -> None:
        """Mappings, pairs, morsels and one morsel; a morsel's name is its own."""
        morsel = make_morsel("m", "1", "1")
        simple: SimpleCookie = SimpleCookie("s=2; Path=/")
        assert morsels_of({"a": "1", "b": 2}) == [("a", "1"), ("b", "2")]
        assert morsels_of([("a", "1"), ("a", "2")]) == [("a", "1"), ("a", "2")]
        assert morsels_of(simple) == [("s", simple["s"])]
        assert morsels_of(morsel) == [("m", morsel)]
        assert morsels_of([morsel]) == [("m", morsel)]
        assert morsels_of({"other": morsel}) == [("m", morsel)]
        assert morsels_of(iter([("a", "1")])) == [("a", "1")]

    @pytest.mark.parametrize("cookies", ["a=1; b=2", b"a=1"])
    def test_text(self, cookies: str | bytes) -> None:
        """A text is no cookies: nobody knows how it is meant."""
        with pytest.raises(TypeError):
            morsels_of(cookies)

    @pytest.mark.parametrize("name", ["", "a b", "a;b", "a=b", "a,b", "a\r\nb", "a\0", "\t"])
    def test_names(self, name: str) -> None:
        """A name that would read as something else is refused."""
        with pytest.raises(CookieError):
            morsels_of({name: "1"})

    @pytest.mark.parametrize("name", ["path", "$Version", "{a}", "a/b", "ä"])
    def test_odd_names(self, name: str) -> None:
        """Odd names, which servers use, are not."""
        assert morsels_of({name: "1"}) == [(name, "1")]

    def test_received(self) -> None:
        """What a server sent may have a blank in its name."""
        morsel = parse_set_cookie("a b=1")
        assert morsels_of([morsel]) == [("a b", morsel)]


class TestDeadlines:
    """RFC 6265 §5.1.1, §5.2.1, §5.2.2."""

    @pytest.mark.parametrize(
        "text",
        [
            "Wed, 21 Oct 2015 07:28:00 GMT",
            "Wednesday, 21-Oct-15 07:28:00 GMT",
            "Wed Oct 21 07:28:00 2015",
            "21 oct 2015 7:28:0",
            "2015 October 21st; 07:28:00Z",
            "\t(07:28:00)~21~OCTOBER~15",
            "Wed, 21 Oct 2015 07:28:00 +0200",
        ],
    )
    def test_dates(self, text: str) -> None:
        """Dates are read in whatever order and with whatever between; the zone never counts."""
        assert parse_cookie_date(text) == datetime(2015, 10, 21, 7, 28, tzinfo=UTC).timestamp()

    @pytest.mark.parametrize(
        ("text", "year"), [("70", 1970), ("99", 1999), ("00", 2000), ("69", 2069), ("9999", 9999)]
    )
    def test_years(self, text: str, year: int) -> None:
        """Two digits are of the years 1970 to 2069."""
        moment = datetime(year, 1, 1, tzinfo=UTC).timestamp()
        assert parse_cookie_date(f"1 Jan {text} 00:00:00") == moment

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "soon",
            "0",
            "-1",
            "21 Oct 2015",
            "21 Oct 07:28:00",
            "Oct 2015 07:28:00 ",
            "30 Feb 2015 07:28:00",
            "32 Oct 2015 07:28:00",
            "21 Oct 2015 24:28:00",
            "21 Oct 1600 07:28:00",
            "21 Oct 20155 07:28:00",
            "٢١ Oct 2015 07:28:00",
        ],
    )
    def test_no_dates(self, text: str) -> None:
        """What lacks a part, or has an impossible one, is none."""
        assert parse_cookie_date(text) is None

    @given(st.text(st.sampled_from("0123456789: -janJAN\t;~é")))
    def test_any_date(self, text: str) -> None:
        """Any text is a date or none."""
        parse_cookie_date(text)

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("5", 5.0),
            ("0", 0.0),
            ("-1", 0.0),
            ("-0", 0.0),
            ("0000000000000007", 7.0),
            ("9" * 5000, float("inf")),
            ("-" + "9" * 5000, 0.0),
            ("", None),
            ("-", None),
            ("+5", None),
            ("5s", None),
            ("5.0", None),
            ("\N{ARABIC-INDIC DIGIT FIVE}", None),
            ("--5", None),
        ],
    )
    def test_max_age(self, text: str, seconds: float | None) -> None:
        """Digits with or without a minus; nothing overflows."""
        assert parse_max_age(text) == seconds

    @pytest.mark.parametrize(
        ("given_attributes", "deadline"),
        [
            ({}, None),
            ({"max-age": "5"}, 105.0),
            ({"max-age": 5}, 105.0),
            ({"max-age": "0"}, 0.0),
            ({"max-age": "5", "expires": "Wed, 21 Oct 2015 07:28:00 GMT"}, 105.0),
            ({"max-age": "x", "expires": "1 Jan 1970 00:00:07"}, 7.0),
            ({"expires": "soon"}, None),
            ({"expires": 5}, 105.0),
            ({"expires": -(10**400)}, 0.0),
            ({"expires": 10**400}, MAX_TIME),
            ({"max-age": "9" * 400}, MAX_TIME),
        ],
    )
    def test_deadline(self, given_attributes: dict[str, Any], deadline: float | None) -> None:
        """Max-Age beats Expires; the result is absolute, and never an OverflowError."""
        morsel = make_morsel("a", "1", "1")
        for name, value in given_attributes.items():
            morsel[name] = value
        assert deadline_of(morsel, 100.0) == deadline


class TestMatching:
    """RFC 6265 §5.1.3, §5.1.4, §5.3."""

    @pytest.mark.parametrize(
        ("domain", "host", "matches"),
        [
            ("example.com", "example.com", True),
            ("example.com", "www.example.com", True),
            ("example.com", "notexample.com", False),
            ("www.example.com", "example.com", False),
            ("0.0.1", "127.0.0.1", False),
            ("127.0.0.1", "127.0.0.1", True),
            ("1", "::1", False),
        ],
    )
    def test_domains(self, domain: str, host: str, matches: bool) -> None:
        """Domains match on the borders of labels, and addresses only themselves."""
        assert domain_matches(domain, host) is matches
        assert (domain in domain_chain(host)) is matches

    def test_long_hosts(self) -> None:
        """What is too long to be a host has no parents: they would cost its length squared."""
        host = "a." * 100_000 + "com"
        assert domain_chain(host) == [host]

    @pytest.mark.parametrize(
        ("host", "is_one"),
        [
            ("127.0.0.1", True),
            ("::1", True),
            ("fe80::1%eth0", True),
            ("2130706433", True),
            ("127.1", True),
            ("0x7f.1", True),
            ("0x7f000001", True),
            ("example.com", False),
            ("1.example.com", False),
            ("localhost", False),
            ("example.c0m", False),
            ("", False),
        ],
    )
    def test_addresses(self, host: str, is_one: bool) -> None:
        """An address is also what a resolver would read as one."""
        assert is_address(host) is is_one

    @pytest.mark.parametrize(
        ("domain", "is_one"),
        [
            ("com", True),
            ("localhost", True),
            ("co.uk", True),
            ("com.au", True),
            ("example.com", False),
            ("example.uk", False),
            ("a.co.uk", False),
            ("co.com", False),
        ],
    )
    def test_public_suffixes(self, domain: str, is_one: bool) -> None:
        """Single labels, and the second level that countries share out."""
        assert is_public_suffix(domain) is is_one

    @pytest.mark.parametrize(
        ("cookie_path", "path", "matches"),
        [
            ("/", "/", True),
            ("/", "/any", True),
            ("/dir", "/dir", True),
            ("/dir", "/dir/x", True),
            ("/dir", "/dirx", False),
            ("/dir/", "/dir/x", True),
            ("/dir/", "/dir", False),
            ("/dir/x", "/dir", False),
        ],
    )
    def test_paths(self, cookie_path: str, path: str, matches: bool) -> None:
        """Paths match on the borders of segments."""
        assert path_matches(cookie_path, path) is matches

    @pytest.mark.parametrize(
        ("path", "expected"),
        [("/", "/"), ("/x", "/"), ("/x/", "/x"), ("/x/y", "/x"), ("", "/"), ("x/y", "/")],
    )
    def test_default_path(self, path: str, expected: str) -> None:
        """The path of a cookie without one is the directory of the request's."""
        assert default_path(path) == expected

    @pytest.mark.parametrize(
        ("name", "secure", "host_only", "path", "breaks"),
        [
            ("a", False, False, "", False),
            ("__a", False, False, "", False),
            ("__Secure-a", True, False, "", False),
            ("__Secure-a", False, True, "/", True),
            ("__secure-a", False, True, "/", True),
            ("__Host-a", True, True, "/", False),
            ("__Host-a", False, True, "/", True),
            ("__Host-a", True, False, "/", True),
            ("__HOST-a", True, True, "/x", True),
            ("__Host-a", True, True, "", True),
            # Servers that take off whatever is a blank in Unicode see the same name.
            ("\u00a0__Host-a", True, False, "/", True),
            ("\u2000__Secure-a", False, True, "/", True),
            ("a__Host-", False, False, "", False),
        ],
    )
    def test_prefixes(
        self, name: str, secure: bool, host_only: bool, path: str, breaks: bool
    ) -> None:
        """What a name promises has to hold, in whatever case it is written."""
        assert breaks_promise(name, secure=secure, host_only=host_only, path=path) is breaks
