"""The leaf loops in C where the compiled module is there, else in Python.

Owns nothing but the choice. ``ANGELIA_PURE=1`` in the environment chooses Python.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from angelia.core.pure import (
    SPECIAL_REQUEST_FIELDS,
    SPECIAL_RESPONSE_FIELDS,
    RequestScan,
    ResponseScan,
    Special,
    advise_huge_pages,
    mask,
    scan_frame,
    scan_messages,
    scan_request_head,
    scan_response_head,
    serialize_and_group,
    serialize_frame,
    serialize_head,
)

__all__ = (
    "IMPLEMENTATION",
    "SPECIAL_REQUEST_FIELDS",
    "SPECIAL_RESPONSE_FIELDS",
    "RequestScan",
    "ResponseScan",
    "Special",
    "advise_huge_pages",
    "mask",
    "scan_frame",
    "scan_messages",
    "scan_request_head",
    "scan_response_head",
    "serialize_and_group",
    "serialize_frame",
    "serialize_head",
)


IMPLEMENTATION = "pure"
"""``c`` or ``pure``."""

if not TYPE_CHECKING and os.environ.get("ANGELIA_PURE") != "1":
    with suppress(ImportError):
        from angelia.core._speedups import (
            advise_huge_pages,
            mask,
            scan_frame,
            scan_messages,
            scan_request_head,
            scan_response_head,
            serialize_and_group,
            serialize_frame,
            serialize_head,
        )

        IMPLEMENTATION = "c"
