"""Tests of `angelia.core`: octets in, octets out. A package, so that they can share their kits."""
