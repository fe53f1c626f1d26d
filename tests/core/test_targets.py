"""Targets and hosts: their forms, and whether they agree. The attacks on a server have the rest."""

from __future__ import annotations

from contextlib import nullcontext, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from angelia.core.targets import check_host, check_target
from angelia.errors import HeadError


class TestTarget:
    """RFC 9112 §3.2."""

    @pytest.mark.parametrize(
        ("method", "target", "host"),
        [
            ("GET", "/", "a"),
            ("GET", "//a", None),
            ("OPTIONS", "*", "a"),
            ("GET", "http://a", "a"),
            ("GET", "https://A:0443/", "a"),
            ("GET", "http://a:/", "a:80"),
            ("CONNECT", "a:443", None),
            ("CONNECT", "[::1]:443", "[::1]"),
        ],
    )
    def test_fine(self, method: str, target: str, host: str | None) -> None:
        """Each form in its place."""
        check_target(method, target, host)

    @pytest.mark.parametrize(
        ("method", "target", "host"),
        [
            ("GET", "*", "a"),
            ("GET", "http://a:0/", "a"),
            ("GET", "http://a@b/", None),
            ("CONNECT", "/", None),
            ("CONNECT", "a", None),
            ("CONNECT", "a:443", "a:444"),
        ],
    )
    def test_refused(self, method: str, target: str, host: str | None) -> None:
        """Another form, and a Host that says something else; 400 is the answer."""
        with pytest.raises(HeadError) as caught:
            check_target(method, target, host)
        assert caught.value.status == 400

    @pytest.mark.parametrize(
        ("host", "fine"),
        [
            ("[::]", True),
            ("[2001:DB8::1]:80", True),
            ("[::ffff:1.2.3.4]", True),
            ("[1.2.3.4]", False),
            ("[::::]", False),
            ("[:]", False),
            ("[1:2]", False),
            ("[::1.2.3]", False),
            ("[::12345]", False),
        ],
    )
    def test_ipv6(self, host: str, fine: bool) -> None:
        """RFC 3986 §3.2.2: between brackets is an address, or nothing that a URL can have."""
        with nullcontext() if fine else pytest.raises(HeadError):
            check_host(host)

    @given(st.from_regex(r"[A-Za-z0-9._~%-]{1,9}|\[[0-9A-Fa-f:.]{1,9}\](:[0-9]{0,5})?"))
    def test_in_url(self, host: str) -> None:
        """Each Host that passes can be the host of a URL, so that a handler can ask for that."""
        with suppress(HeadError):
            check_host(host)
            assert URL(f"http://{host}/%41", encoded=True).path == "/A"

    @given(st.sampled_from(["GET", "OPTIONS", "CONNECT"]), st.text(min_size=1), st.text())
    def test_any_text(self, method: str, target: str, host: str) -> None:
        """Any text passes or is refused."""
        try:
            check_host(host)
            check_target(method, target, host)
        except HeadError as error:
            assert error.status == 400  # noqa: PT017 - nothing need be raised
