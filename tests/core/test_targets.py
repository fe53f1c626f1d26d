"""Targets and hosts: their forms, and whether they agree. The attacks on a server have the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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

    @given(st.sampled_from(["GET", "OPTIONS", "CONNECT"]), st.text(min_size=1), st.text())
    def test_any_text(self, method: str, target: str, host: str) -> None:
        """Any text passes or is refused."""
        try:
            check_host(host)
            check_target(method, target, host)
        except HeadError as error:
            assert error.status == 400  # noqa: PT017 - nothing need be raised
