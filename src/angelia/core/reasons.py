"""Reason phrases: what status lines say to people (RFC 9110 §15).

Owns nothing but the table. Recipients ignore it (RFC 9112 §4).
"""

from __future__ import annotations

import http
from typing import Final

__all__ = ("reason_of",)

_REASONS: Final[dict[int, str]] = {status.value: status.phrase for status in http.HTTPStatus}


def reason_of(status: int) -> str:
    """The usual reason phrase of a status; empty where there is none."""
    return _REASONS.get(status, "")
