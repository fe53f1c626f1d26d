"""Proactive negotiation of content codings (RFC 9110 §12.5.3).

Owns: what `Accept-Encoding` prefers. Pure; which codings exist is said by who asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from angelia.core.patterns import lazy

__all__ = ("choose_coding", "parse_weights")

# RFC 9110 §12.4.2.
_WEIGHT: Final = lazy(r"[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*")

# Nobody knows as many codings; what is beyond is not read.
MAX_MEMBERS: Final = 32


def parse_weights(values: Sequence[str]) -> dict[str, float]:
    """Lower-case name -> weight, of each member; one with a malformed weight counts as refused."""
    weights: dict[str, float] = {}
    for member in ",".join(values).split(",", MAX_MEMBERS)[:MAX_MEMBERS]:
        name, semicolon, parameter = member.partition(";")
        name = name.strip(" \t")
        if not name or not name.isascii():
            continue
        weight = 1.0
        if semicolon:
            found = _WEIGHT.fullmatch(parameter)
            weight = 0.0 if found is None else float(found[1])
        weights.setdefault(name.lower(), weight)
    return weights


def choose_coding(values: Sequence[str], available: Sequence[str]) -> str | None:
    """The coding of `available`, best first, that a peer with this `Accept-Encoding` wants.

    None for no coding: nothing was said, nothing fits, or the peer likes none better.
    """
    if not values:
        return None
    weights = parse_weights(values)
    other = weights.get("*", 0.0)
    best, best_weight = None, weights.get("identity", 0.0)
    for name in available:
        weight = weights.get(name, weights.get("x-gzip", other) if name == "gzip" else other)
        if weight > best_weight or (best is None and weight > 0 and weight == best_weight):
            best, best_weight = name, weight
    return best
