"""Conditional requests: RFC 9110 §13."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from angelia.core.conditions import failed_precondition, is_same_representation, serialize_etag
from angelia.core.fields import ETag, serialize_http_date

MODIFIED = datetime(2024, 5, 1, 12, 0, 0, 500, tzinfo=UTC)
SAME = serialize_http_date(MODIFIED)
EARLIER = serialize_http_date(MODIFIED - timedelta(days=1))
LATER = serialize_http_date(MODIFIED + timedelta(days=1))
STRONG = ETag("abc")
WEAK = ETag("abc", is_weak=True)


@pytest.mark.parametrize(
    ("method", "fields", "etag", "status"),
    [
        ("GET", {}, STRONG, None),
        # §13.1.1: strong comparison.
        ("GET", {"if-match": ['"abc"']}, STRONG, None),
        ("GET", {"if-match": ['"x", "abc"']}, STRONG, None),
        ("GET", {"if-match": ['"x"', '"abc"']}, STRONG, None),
        ("GET", {"if-match": ['W/"abc"']}, STRONG, 412),
        ("GET", {"if-match": ['"abc"']}, WEAK, 412),
        ("GET", {"if-match": ['"x"']}, STRONG, 412),
        ("GET", {"if-match": ["*"]}, STRONG, None),
        ("GET", {"if-match": ["*"]}, None, 412),
        ("PUT", {"if-match": ['"x"']}, STRONG, 412),
        # §13.1.2: weak comparison; 412 where the method changes something.
        ("GET", {"if-none-match": ['"abc"']}, STRONG, 304),
        ("HEAD", {"if-none-match": ['W/"abc"']}, STRONG, 304),
        ("GET", {"if-none-match": ['"abc"']}, WEAK, 304),
        ("GET", {"if-none-match": ['"x"']}, STRONG, None),
        ("GET", {"if-none-match": ["*"]}, STRONG, 304),
        ("PUT", {"if-none-match": ["*"]}, STRONG, 412),
        ("PUT", {"if-none-match": ["*"]}, None, None),
        ("GET", {"if-none-match": ["rubbish"]}, STRONG, None),
        # §13.1.3.
        ("GET", {"if-modified-since": [SAME]}, None, 304),
        ("GET", {"if-modified-since": [LATER]}, None, 304),
        ("GET", {"if-modified-since": [EARLIER]}, None, None),
        ("GET", {"if-modified-since": ["rubbish"]}, None, None),
        ("GET", {"if-modified-since": [SAME, SAME]}, None, None),
        ("POST", {"if-modified-since": [SAME]}, None, None),
        # §13.1.4.
        ("GET", {"if-unmodified-since": [SAME]}, None, None),
        ("GET", {"if-unmodified-since": [EARLIER]}, None, 412),
        ("PUT", {"if-unmodified-since": [EARLIER]}, None, 412),
        ("GET", {"if-unmodified-since": ["rubbish"]}, None, None),
        # §13.2.2: the tags count, and the dates beside them do not.
        ("GET", {"if-none-match": ['"x"'], "if-modified-since": [SAME]}, STRONG, None),
        ("GET", {"if-match": ['"abc"'], "if-unmodified-since": [EARLIER]}, STRONG, None),
        ("GET", {"if-match": ['"abc"'], "if-none-match": ['"abc"']}, STRONG, 304),
    ],
)
def test_preconditions(
    method: str, fields: dict[str, list[str]], etag: ETag | None, status: int | None
) -> None:
    """Each field by its rule, in the order of §13.2.2."""
    assert failed_precondition(method, fields, etag, MODIFIED) == status


def test_without_date() -> None:
    """Without a date of modification the conditions on it hold."""
    for name in ("if-modified-since", "if-unmodified-since"):
        assert failed_precondition("GET", {name: [EARLIER]}, None, None) is None


def test_if_range() -> None:
    """Only a strong validator says that the rest is of the same octets (§13.1.5)."""
    now = MODIFIED + timedelta(hours=1)
    assert is_same_representation('"abc"', STRONG, MODIFIED, now)
    assert not is_same_representation('W/"abc"', WEAK, MODIFIED, now)
    assert not is_same_representation('"abc"', WEAK, MODIFIED, now)
    assert not is_same_representation('"x"', STRONG, MODIFIED, now)
    assert not is_same_representation('"abc"', None, MODIFIED, now)
    assert is_same_representation(SAME, STRONG, MODIFIED, now)
    assert not is_same_representation(LATER, STRONG, MODIFIED, now)
    assert not is_same_representation(EARLIER, STRONG, MODIFIED, now)
    assert not is_same_representation(SAME, STRONG, None, now)
    assert not is_same_representation("rubbish", STRONG, MODIFIED, now)
    # §8.8.2.2: in the second in which it changed a date is weak.
    assert not is_same_representation(SAME, STRONG, MODIFIED, MODIFIED)


def test_etag_text() -> None:
    """A tag as it stands in a field."""
    assert serialize_etag(STRONG) == '"abc"'
    assert serialize_etag(WEAK) == 'W/"abc"'
