"""What of URLs and fields may be shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from angelia.redaction import shown, shown_fields, shown_headers, shown_url


class TestURLs:
    @pytest.mark.parametrize(
        ("text", "visible"),
        [
            ("http://h/", "http://h/"),
            ("http://u:s3cret@h/x?y#z", "http://u:***@h/x?y#z"),
            ("http://:s3cret@h/", "http://:***@h/"),
            ("http://s3cret@h/", "http://***@h/"),
            ("http://u:s3cret@[::1]:8080/", "http://u:***@[::1]:8080/"),
            ("http://h/a@b", "http://h/a@b"),
            ("http://h:8080/a@b", "http://h:8080/a@b"),
            ("http://[::1]:8080/a@b", "http://[::1]:8080/a@b"),
        ],
    )
    def test_urls(self, text: str, visible: str) -> None:
        """The password is masked; a user who has none may be a token, and is masked too."""
        assert shown_url(text) == visible
        assert shown_url(URL(text)) == visible

    @pytest.mark.parametrize(
        ("text", "visible"),
        [
            ("", ""),
            ("no url", "no url"),
            ("u:s3cret@h", "u:***@h"),
            ("s3cret@h", "***@h"),
            ("//u:s3cret@h", "//u:***@h"),
            ("http://u:s3cr@et@h/", "http://u:***@h/"),
            ("http://u:s3/cr?et#@h/", "http://u:***@h/"),
            ("http://u:s3cret@[h", "http://u:***@[h"),
            ("http://u:s3//cret@h", "http://u:***@h"),
            ("5; url=http://u:s3cret@h/", "5; url=http://u:***@h/"),
        ],
    )
    def test_what_is_none(self, text: str, visible: str) -> None:
        """A text that is no URL is masked up to its last ``@``, to be sure."""
        assert shown_url(text) == visible

    @given(st.text(st.sampled_from("au:/?#[]%1 ")), st.text(st.sampled_from("au:/?#[]%1 @")))
    def test_any_password(self, user: str, after: str) -> None:
        """Wherever a password stands between colon and ``@``, it is not shown."""
        user = user.replace(":", "").replace("/", "").replace("?", "").replace("#", "")
        assert "s3cret" not in shown_url(f"http://{user}:s3cret@{after}")


class TestFields:
    def test_names(self) -> None:
        """Names decide, in any case; URLs in values lose their passwords."""
        pairs = [
            ("Host", "h"),
            ("AUTHORIZATION", "Basic x"),
            ("cookie", "a=b"),
            ("Set-Cookie", "a=b"),
            ("Location", "http://u:s3cret@h/"),
            ("X-Api-Key", "s3cret"),
        ]
        assert shown_fields(pairs) == [
            ("Host", "h"),
            ("AUTHORIZATION", "***"),
            ("cookie", "***"),
            ("Set-Cookie", "***"),
            ("Location", "http://u:***@h/"),
            ("X-Api-Key", "***"),
        ]

    def test_repr(self) -> None:
        """What is no secret looks as it does in the multidict's own representation."""
        headers = CIMultiDict([("Host", "h"), ("host", "i")])
        for each in (headers, CIMultiDictProxy(headers), CIMultiDict[str]()):
            assert shown_headers(each) == repr(each)
        assert shown_headers(None) == "None"

    def test_values(self) -> None:
        """Content is counted, not shown."""
        assert shown(b"s3cret") == "<6 bytes>"
        assert shown(URL("http://u:s3cret@h/")) == "URL('http://u:***@h/')"
        assert shown("text") == "'text'"
