"""Cookies in files: written as JSON, read from that and from the files of aiohttp's jars.

Owns: the formats, and the refusal of everything that is not cookies. Knows nothing of jars; a file
gives either all of its cookies or an error. All of it blocks.

aiohttp's older jars wrote pickles. A pickle can call whatever it names, so those are read by an
unpickler that can name the classes of cookies and nothing else.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import pathlib
import pickle
import tempfile
from collections.abc import Iterable, Mapping
from http.cookies import BaseCookie, CookieError, Morsel
from typing import Any, Final

from angelia.client.cookie_store import StoredCookie
from angelia.core.cookies import MAX_TIME, ReceivedMorsel, deadline_of, fill_morsel

__all__ = ("load_cookies", "save_cookies")

FORMAT: Final = "angelia-cookies"
VERSION: Final = 1


def save_cookies(cookies: Iterable[StoredCookie], file_path: str | os.PathLike[str]) -> None:
    """Write cookies to a file that only its owner can read.

    It is replaced as a whole, or, with an OSError, not at all.
    """
    rows = [
        {
            "name": cookie.name,
            "value": cookie.morsel.value,
            "coded_value": cookie.coded,
            "domain": cookie.domain,
            "path": cookie.path,
            "host_only": cookie.host_only,
            "expires": cookie.expires,
            "received": isinstance(cookie.morsel, ReceivedMorsel),
            "attributes": {key: value for key, value in cookie.morsel.items() if value},
        }
        for cookie in cookies
    ]
    path = pathlib.Path(file_path)
    # mkstemp makes files that only their owner can read, and nobody else has open.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"format": FORMAT, "version": VERSION, "cookies": rows}, file)
        pathlib.Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            pathlib.Path(temporary).unlink()
        raise


def load_cookies(file_path: str | os.PathLike[str], now: float) -> list[StoredCookie]:
    """The cookies of a file, of our format or one of aiohttp's.

    ValueError or `pickle.UnpicklingError` for other content, OSError where it cannot be read.
    """
    with pathlib.Path(file_path).open("rb") as file:
        written = min(os.fstat(file.fileno()).st_mtime, now)
        content = file.read()
    try:
        if content.lstrip()[:1] != b"{":
            return _from_pickle(content, written)
        document = json.loads(content)
        if document.get("format") == FORMAT:
            if document["version"] != VERSION:
                raise ValueError(f"cookies of version {document['version']!r} are not known")
            return [_from_row(row) for row in document["cookies"]]
        return _from_groups(document)
    except (KeyError, TypeError, AttributeError, RecursionError, CookieError) as error:
        raise ValueError(f"not a file of cookies: {error!r}") from error


# --- JSON ----------------------------------------------------------------------------------------


def _from_row(row: dict[str, Any]) -> StoredCookie:
    morsel = _morsel(
        row["name"], row["value"], row["coded_value"], received=row["received"] is True
    )
    for name, value in row["attributes"].items():
        _restore_attribute(morsel, name, value)
    expires = row["expires"]
    return StoredCookie(
        morsel,
        coded=morsel.coded_value,
        domain=_text(row["domain"]),
        path=_path(row["path"]),
        host_only=row["host_only"] is True,
        expires=None if expires is None else _moment(expires),
    )


def _from_groups(document: dict[str, dict[str, dict[str, Any]]]) -> list[StoredCookie]:
    """The JSON of aiohttp's jars: ``domain|path`` -> name -> attributes."""
    if not document:
        # Nothing in it says that it is about cookies.
        raise ValueError("not a file of cookies: an empty object")
    cookies = []
    for group, entries in document.items():
        domain, bar, path = group.partition("|")
        if not bar:
            raise ValueError(f"not a domain and a path: {group!r}")
        for entry in entries.values():
            morsel = _morsel(entry["key"], entry["value"], entry["coded_value"])
            for name in morsel.keys() & entry.keys():
                _restore_attribute(morsel, name, entry[name])
            expires = entry.get("expires_timestamp")
            cookies.append(
                StoredCookie(
                    morsel,
                    coded=morsel.coded_value,
                    domain=domain,
                    path=_path(morsel["path"] or path),
                    host_only=entry.get("host_only") is True,
                    expires=None if expires is None else _moment(expires),
                )
            )
    return cookies


def _morsel(name: object, value: object, coded: object, *, received: bool = False) -> Morsel[str]:
    if not isinstance(value, str):
        raise TypeError(f"no text: {value!r}")
    morsel = ReceivedMorsel() if received else Morsel()
    return fill_morsel(morsel, _text(name), value, _text(coded))


def _restore_attribute(morsel: Morsel[str], name: str, value: Any) -> None:
    if name == "partitioned" and name not in morsel:
        # A file of a newer release of Python.
        return
    if not isinstance(value, str | int | float):
        raise TypeError(f"no value of an attribute: {value!r}")
    morsel[name] = value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"no text: {value!r}")
    # A field could not hold those; so they were never in one.
    if any(ord(character) < 32 and character != "\t" for character in value):
        raise ValueError(f"a control character in {value!r}")
    return value


def _path(value: object) -> str:
    path = _text(value)
    return path if path.startswith("/") else "/"


def _moment(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"no moment: {value!r}")
    return min(float(value), MAX_TIME) if value > 0 else 0.0


# --- pickles -------------------------------------------------------------------------------------


class _CookieUnpickler(pickle.Unpickler):
    """Builds cookies and the containers around them, and nothing else."""

    _ALLOWED: Final = frozenset(
        {
            ("http.cookies", "BaseCookie"),
            ("http.cookies", "Morsel"),
            ("http.cookies", "SimpleCookie"),
            ("collections", "defaultdict"),
            ("builtins", "dict"),
        }
    )

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) in self._ALLOWED:
            return super().find_class(module_name, global_name)
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is no part of a cookie")


def _from_pickle(content: bytes, written: float) -> list[StoredCookie]:
    try:
        loaded = _CookieUnpickler(io.BytesIO(content)).load()
    except (EOFError, IndexError, ImportError, OverflowError, MemoryError) as error:
        # What a broken pickle raises besides UnpicklingError and what the caller translates.
        raise pickle.UnpicklingError(f"not a pickle of cookies: {error!r}") from error
    if not isinstance(loaded, Mapping):
        raise TypeError(f"no mapping but {type(loaded).__name__}")
    cookies: list[StoredCookie] = []
    for (domain, path), group in loaded.items():
        if not isinstance(group, BaseCookie):
            raise TypeError(f"no cookies but {type(group).__name__}")
        cookies += [
            _from_morsel(entry, _text(domain), _text(path), written) for entry in group.values()
        ]
    return cookies


def _from_morsel(entry: object, domain: str, path: str, written: float) -> StoredCookie:
    if not isinstance(entry, Morsel):
        raise TypeError(f"no cookie but {type(entry).__name__}")
    # A new one: what was in the pickle may be of any type.
    morsel = _morsel(entry.key, entry.value, entry.coded_value)
    for name, value in entry.items():
        _restore_attribute(morsel, name, value)
    return StoredCookie(
        morsel,
        coded=morsel.coded_value,
        domain=domain,
        path=_path(morsel["path"] or path),
        # Pickles do not tell a host's cookies from a domain's: both name the domain. Sent to too
        # few hosts a cookie is missed, sent to too many it is given away.
        host_only=True,
        expires=deadline_of(morsel, written),
    )
