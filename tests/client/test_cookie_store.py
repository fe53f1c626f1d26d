"""Where cookies lie: limits with their order of eviction, expiry, and what it costs to look."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.client.cookie_store import CookieStore, StoredCookie
from angelia.core.cookies import make_morsel

NOW = 1000.0


def cookie(
    name: str,
    domain: str = "a.org",
    *,
    secure: bool = False,
    expires: float | None = None,
    path: str = "/",
) -> StoredCookie:
    """A cookie to keep."""
    morsel = make_morsel(name, "1", "1")
    if secure:
        morsel["secure"] = True
    return StoredCookie(
        morsel, coded="1", domain=domain, path=path, host_only=True, expires=expires
    )


def names(store: CookieStore) -> str:
    """The names in a store, in order."""
    return "".join(sorted(kept.name for kept in store))


def find(store: CookieStore, name: str) -> StoredCookie:
    """The one cookie of a name."""
    (found,) = (kept for kept in store if kept.name == name)
    return found


def test_identity() -> None:
    """Domain, path and name tell cookies apart; a replacement is as old as what it replaces."""
    store = CookieStore()
    first = cookie("a")
    store.add(first, NOW)
    store.add(cookie("a", path="/x"), NOW)
    store.add(cookie("a", "b.org"), NOW)
    again = cookie("a")
    store.add(again, NOW)
    assert len(store) == 3
    assert again.created == first.created
    assert first not in list(store)
    assert sorted(store.domains()) == ["a.org", "b.org"]


def test_domains_end() -> None:
    """A domain without cookies takes no room."""
    store = CookieStore()
    store.add(cookie("a"), NOW)
    store.discard("a.org", "/", "other")
    store.discard("other.org", "/", "a")
    assert len(store) == 1
    store.discard("a.org", "/", "a")
    assert len(store) == 0
    assert store.domains() == []
    assert store.of_domain("a.org") is None


@pytest.mark.parametrize("limits", [(3, 100), (100, 3)], ids=["per-domain", "total"])
class TestEviction:
    """RFC 6265bis §5.7: the same order for both limits."""

    def test_expired_first(self, limits: tuple[int, int]) -> None:
        """What has expired goes before all else, secure or not."""
        store = CookieStore(*limits)
        store.add(cookie("a"), NOW)
        store.add(cookie("b", secure=True, expires=NOW + 1), NOW)
        store.add(cookie("c"), NOW)
        store.add(cookie("d"), NOW + 1)
        assert names(store) == "acd"

    def test_then_not_secure(self, limits: tuple[int, int]) -> None:
        """Then those that are not secure, even the newest."""
        store = CookieStore(*limits)
        for name in "abc":
            store.add(cookie(name, secure=True), NOW)
        store.add(cookie("d"), NOW)
        assert names(store) == "abc"

    def test_then_least_used(self, limits: tuple[int, int]) -> None:
        """Among equals, those whose last use is longest ago."""
        for secure in (False, True):
            store = CookieStore(*limits)
            for name in "abc":
                store.add(cookie(name, secure=secure), NOW)
            store.touch(find(store, "a"))
            store.add(cookie("d", secure=secure), NOW)
            assert names(store) == "acd"

    def test_replacement(self, limits: tuple[int, int]) -> None:
        """A replacement takes no more room."""
        store = CookieStore(*limits)
        for name in "abccc":
            store.add(cookie(name), NOW)
        assert names(store) == "abc"


def test_other_domains_stay() -> None:
    """A domain that sets too many loses its own."""
    store = CookieStore(2, 100)
    store.add(cookie("z", "b.org"), NOW)
    for name in "abc":
        store.add(cookie(name), NOW)
    assert names(store) == "bcz"


def test_expiry_of_a_replaced_cookie() -> None:
    """The deadline of what was replaced takes nothing away."""
    store = CookieStore()
    store.add(cookie("a", expires=NOW + 1), NOW)
    store.add(cookie("a", expires=NOW + 9), NOW)
    store.expire(NOW + 1)
    assert len(store) == 1
    store.expire(NOW + 9)
    assert len(store) == 0
    assert not store.has_deadlines


def test_bounded_deadlines() -> None:
    """A cookie that is set again and again leaves no trail of deadlines."""
    store = CookieStore()
    for number in range(10_000):
        store.add(cookie("a", expires=NOW + number + 1), NOW)
    assert len(store._deadlines) < 100


def test_replace() -> None:
    """All are exchanged, without those that have expired."""
    store = CookieStore()
    store.add(cookie("a", expires=NOW + 5), NOW)
    store.replace([cookie("b"), cookie("c", expires=NOW), cookie("d", expires=NOW + 1)], NOW)
    assert names(store) == "bd"


def test_repr() -> None:
    """A cookie shows itself without its value, which is a secret."""
    morsel = make_morsel("a", "secret", "secret")
    kept = StoredCookie(
        morsel, coded="secret", domain="a.org", path="/", host_only=True, expires=None
    )
    assert repr(kept) == "<StoredCookie a a.org/ host-only None>"


class _Step(NamedTuple):
    name: str
    domain: str
    secure: bool
    lifetime: float | None
    passing: float


STEPS = st.builds(
    _Step,
    st.sampled_from("abcdef"),
    st.sampled_from(["a.org", "b.org", "c.org"]),
    st.booleans(),
    st.none() | st.floats(0.5, 20),
    st.floats(0, 5),
)


@given(st.lists(STEPS, max_size=60))
def test_always_in_bounds(steps: list[_Step]) -> None:
    """Whatever is added, limits hold, nothing has expired, and all the books agree."""
    store = CookieStore(3, 6)
    now = NOW
    for step in steps:
        now += step.passing
        expires = None if step.lifetime is None else now + step.lifetime
        store.add(cookie(step.name, step.domain, secure=step.secure, expires=expires), now)
        store.expire(now)
        kept = list(store)
        assert len(kept) == len(store) == len(store._plain) + len(store._secure) <= 6
        for domain in store.domains():
            group = store.of_domain(domain)
            assert group is not None
            assert 0 < len(group) <= 3
        assert all(entry.expires is None or entry.expires > now for entry in kept)
        for entry in kept[::2]:
            store.touch(entry)
