"""Negotiation of content codings: RFC 9110 §12.5.3."""

from __future__ import annotations

import pytest

from angelia.core.negotiation import choose_coding, parse_weights

AVAILABLE = ("zstd", "br", "gzip", "deflate")


@pytest.mark.parametrize(
    ("values", "coding"),
    [
        ([], None),
        ([""], None),
        (["gzip"], "gzip"),
        (["GZIP"], "gzip"),
        (["x-gzip"], "gzip"),
        (["deflate, gzip, br"], "br"),
        (["deflate", "gzip"], "gzip"),
        (["gzip;q=1.0, br;q=0.5"], "gzip"),
        (["gzip;q=0"], None),
        (["gzip;q=0.000"], None),
        (["*"], "zstd"),
        (["*;q=0"], None),
        (["zstd;q=0, *"], "br"),
        (["identity"], None),
        (["identity, gzip;q=0.5"], None),
        (["identity;q=0.5, gzip;q=0.5"], "gzip"),
        (["identity;q=0, gzip;q=0.1"], "gzip"),
        (["compress"], None),
        (["gzip;q=2"], None),
        (["gzip;q=0.1234"], None),
        (["gzip;q=\u0661"], None),
        (["gzip;level=9"], None),
        (["gzip ; q=0.5"], "gzip"),
    ],
)
def test_choice(values: list[str], coding: str | None) -> None:
    """The best of what the peer accepts; none where it says nothing or refuses."""
    assert choose_coding(values, AVAILABLE) == coding


def test_first_counts() -> None:
    """Of a coding that is named twice the first counts."""
    assert parse_weights(["gzip;q=0.5, gzip;q=1"]) == {"gzip": 0.5}


def test_many_members() -> None:
    """What is beyond any list that makes sense is not read."""
    assert choose_coding([",".join(f"c{n}" for n in range(100_000)) + ",gzip"], AVAILABLE) is None
