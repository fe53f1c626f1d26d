"""The leaf loops in C where the compiled module is there, else in Python.

Owns nothing but the choice. ``ANGELIA_PURE=1`` in the environment chooses Python.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from angelia.core.pure import (
    SPECIAL_REQUEST_FIELDS,
    SPECIAL_RESPONSE_FIELDS,
    RequestScan,
    ResponseScan,
    Special,
)

__all__ = (
    "IMPLEMENTATION",
    "SPECIAL_REQUEST_FIELDS",
    "SPECIAL_RESPONSE_FIELDS",
    "RequestScan",
    "ResponseScan",
    "Special",
    "mask",
    "scan_request_head",
    "scan_response_head",
    "serialize_head",
)


def _compiled() -> bool:
    if os.environ.get("ANGELIA_PURE") == "1":
        return False
    try:
        import angelia.core._speedups  # noqa: F401 - the attempt is the question
    except ImportError:
        return False
    return True


IMPLEMENTATION: Final = "c" if _compiled() else "pure"

if TYPE_CHECKING or IMPLEMENTATION == "pure":
    from angelia.core.pure import mask, scan_request_head, scan_response_head, serialize_head
else:
    from angelia.core._speedups import (
        mask,
        scan_request_head,
        scan_response_head,
        serialize_head,
    )
