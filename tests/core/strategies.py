"""Hypothesis strategies for HTTP/1.1: heads, content, whole responses, and ways to spoil them."""

from __future__ import annotations

from hypothesis import strategies as st

TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

names = st.text(st.sampled_from(TOKEN_CHARACTERS), min_size=1, max_size=10)


def _value(octets: bytes) -> str:
    visible = bytes(octet for octet in octets if octet >= 0x20 and octet != 0x7F)
    return visible.decode("utf-8", "surrogateescape").strip(" \t")


values = st.binary(max_size=30).map(_value)

field_lists = st.lists(st.tuples(names, values), max_size=8)
