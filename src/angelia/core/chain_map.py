"""ChainMapProxy: several mappings seen as one, which nobody can change through it.

Owns: the order in which the mappings are asked. Knows nothing of what they hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar, overload

__all__ = ("ChainMapProxy",)

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class ChainMapProxy(Mapping[K, V]):
    """A read-only view of several mappings: the first that has a key gives its value.

    As `collections.ChainMap`, without what changes anything. It copies nothing: what changes in
    one of `maps` is seen. Iteration follows the order of `ChainMap`, the last mapping's keys first,
    each key once. Equal to any mapping with the same items, and so not hashable.

    It is not made to be subclassed: TypeError.
    """

    __slots__ = ("_maps",)

    def __init__(self, maps: Iterable[Mapping[K, V]]) -> None:
        self._maps = tuple(maps)

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError(f"Inheritance class {cls.__name__} from ChainMapProxy is forbidden")

    def __getitem__(self, key: K) -> V:
        for mapping in self._maps:
            try:
                return mapping[key]
            except KeyError:
                continue
        raise KeyError(key)

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V | T) -> V | T: ...
    def get(self, key: K, default: Any = None) -> Any:
        """The value of `key`, or `default` where none of the mappings has it."""
        for mapping in self._maps:
            if key in mapping:
                return mapping[key]
        return default

    def __contains__(self, key: object) -> bool:
        return any(key in mapping for mapping in self._maps)

    def __iter__(self) -> Iterator[K]:
        keys: dict[K, None] = {}
        for mapping in reversed(self._maps):
            keys.update(dict.fromkeys(mapping))
        return iter(keys)

    def __len__(self) -> int:
        return len(set().union(*self._maps))

    def __bool__(self) -> bool:
        return any(self._maps)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._maps))})"
