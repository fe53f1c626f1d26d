"""ChainMapProxy: several mappings, seen as one."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia import ChainMapProxy


class TestLookup:
    """The first mapping that has a key gives its value."""

    def test_order(self) -> None:
        """Earlier mappings hide later ones; what none has is a KeyError that names the key."""
        chain = ChainMapProxy([{"a": 1, "b": 2}, {"b": 3, "c": 4}])
        assert (chain["a"], chain["b"], chain["c"]) == (1, 2, 4)
        with pytest.raises(KeyError, match="'d'"):
            chain["d"]

    def test_get(self) -> None:
        """`get` has a default, None unless it is given; a value of None is a value."""
        maps: list[dict[str, int | None]] = [{"a": None}, {"a": 1, "b": 2}]
        chain = ChainMapProxy(maps)
        assert chain.get("a", 5) is None
        assert chain.get("b") == 2
        assert chain.get("c") is None
        assert chain.get("c", 5) == 5
        assert chain.get("c", default=5) == 5

    def test_views(self) -> None:
        """Each key once, with the value that it has."""
        chain = ChainMapProxy([{"a": 1, "b": 2}, {"b": 3, "c": 4}])
        assert list(chain) == ["b", "c", "a"]
        assert dict(chain.items()) == {"a": 1, "b": 2, "c": 4}
        assert sorted(chain.values()) == [1, 2, 4]
        assert set(chain.keys()) == {"a", "b", "c"}
        assert "c" in chain
        assert "d" not in chain
        assert isinstance(chain, Mapping)

    def test_unhashable_key(self) -> None:
        """What cannot be a key is a TypeError, as with any mapping."""
        chain: ChainMapProxy[Any, int] = ChainMapProxy([{"a": 1}])
        with pytest.raises(TypeError, match="unhashable"):
            chain[[]]

    def test_nothing(self) -> None:
        """A chain of nothing, or of empty mappings, is empty and false."""
        empty: list[dict[str, int]] = [{}, {}]
        for maps in ([], empty):
            chain = ChainMapProxy(maps)
            assert not chain
            assert len(chain) == 0
            assert list(chain) == []
        assert ChainMapProxy([{}, {"a": 1}])

    @given(st.lists(st.dictionaries(st.integers(0, 9), st.integers())))
    def test_as_chain_map(self, maps: list[dict[int, int]]) -> None:
        """It reads as `collections.ChainMap` does, in the same order."""
        chain = ChainMapProxy(maps)
        other = ChainMap(*maps)
        assert list(chain.items()) == list(other.items())
        assert len(chain) == len(other)
        assert bool(chain) is bool(other)
        assert chain == other
        assert all((key in chain) is (key in other) for key in range(10))


class TestView:
    """It shows what is there, and changes none of it."""

    def test_live(self) -> None:
        """What changes in a mapping is seen; a list of mappings that changes is not."""
        first: dict[str, int] = {}
        maps: list[Mapping[str, int]] = [first, MappingProxyType({"a": 1})]
        chain = ChainMapProxy(maps)
        maps.clear()
        assert chain["a"] == 1
        first["a"] = 2
        assert chain["a"] == 2

    def test_read_only(self) -> None:
        """There is no way to set, delete or add anything."""
        chain: Any = ChainMapProxy([{"a": 1}])
        with pytest.raises(TypeError):
            chain["a"] = 2
        with pytest.raises(TypeError):
            del chain["a"]
        with pytest.raises(AttributeError):
            chain.color = "red"
        for name in ("update", "pop", "popitem", "clear", "setdefault"):
            assert not hasattr(chain, name)

    def test_equality(self) -> None:
        """Equal to a mapping with the same items; so it has no hash."""
        chain = ChainMapProxy([{"a": 1}, {"a": 2, "b": 3}])
        assert chain == {"a": 1, "b": 3}
        assert chain == ChainMapProxy([{"b": 3}, {"a": 1}])
        assert chain != {"a": 1}
        with pytest.raises(TypeError, match="unhashable"):
            hash(chain)

    def test_repr(self) -> None:
        """It shows its mappings, in order."""
        assert repr(ChainMapProxy([{"a": 1}, {}])) == "ChainMapProxy({'a': 1}, {})"

    def test_no_subclass(self) -> None:
        """Subclassing is refused."""
        with pytest.raises(TypeError, match="Mine from ChainMapProxy is forbidden"):
            type("Mine", (ChainMapProxy,), {})
