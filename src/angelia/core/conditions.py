"""Conditional requests (RFC 9110 §13): whether a representation is to be sent, from its validators.

Owns: the comparison of entity tags and dates, and the order in which the fields count. Pure
functions of what was received; knows nothing of files, requests or responses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from angelia.core.fields import ETag, parse_etags, parse_http_date

__all__ = ("failed_precondition", "is_same_representation", "serialize_etag")

_SAFE: Final = frozenset({"GET", "HEAD"})


def serialize_etag(tag: ETag) -> str:
    """An entity tag as it stands in a field."""
    return f'W/"{tag.value}"' if tag.is_weak else f'"{tag.value}"'


def failed_precondition(
    method: str,
    fields: Mapping[str, Sequence[str]],
    etag: ETag | None,
    last_modified: datetime | None,
) -> int | None:
    """The status to answer instead of the representation, 304 or 412; None to go on.

    `fields` has the values of the fields whose names begin with ``if-``, by lower-case name. The
    order is that of RFC 9110 §13.2.2.
    """
    if "if-match" in fields:
        if not _matches(fields["if-match"], etag, strong=True):
            return 412
    elif "if-unmodified-since" in fields:
        since = _date(fields["if-unmodified-since"])
        if since is not None and last_modified is not None and _whole(last_modified) > since:
            return 412
    if "if-none-match" in fields:
        if _matches(fields["if-none-match"], etag, strong=False):
            return 304 if method in _SAFE else 412
    elif "if-modified-since" in fields and method in _SAFE:
        since = _date(fields["if-modified-since"])
        if since is not None and last_modified is not None and _whole(last_modified) <= since:
            return 304
    return None


def is_same_representation(
    if_range: str, etag: ETag | None, last_modified: datetime | None, now: datetime
) -> bool:
    """Whether `If-Range` names what there is now, so that a part of it completes the peer's.

    RFC 9110 §13.1.5: only a strong validator does. A date is one when it is older than a second
    (§8.8.2.2): what changed twice within it would have the same.
    """
    tags = parse_etags([if_range])
    if tags:
        return etag is not None and not etag.is_weak and tags == (etag,)
    date = parse_http_date(if_range)
    if date is None or last_modified is None:
        return False
    modified = _whole(last_modified)
    return date == modified and (now - modified).total_seconds() >= 1


def _matches(values: Sequence[str], etag: ETag | None, *, strong: bool) -> bool:
    tags = parse_etags(values)
    if tags == (ETag("*"),):
        # The tag "*" in quotes reads the same; taken for any, it fails towards sending less.
        return etag is not None
    if etag is None:
        return False
    if strong:
        # RFC 9110 §8.8.3.2: a weak tag equals nothing, not even itself.
        return not etag.is_weak and etag in tags
    return any(tag.value == etag.value for tag in tags)


def _date(values: Sequence[str]) -> datetime | None:
    # A list of dates is none (RFC 9110 §13.1.3): the field is ignored.
    return parse_http_date(values[0]) if len(values) == 1 else None


def _whole(moment: datetime) -> datetime:
    """The moment as `Last-Modified` tells it: in whole seconds."""
    return moment.astimezone(UTC).replace(microsecond=0)
