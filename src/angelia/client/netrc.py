"""Credentials from the user's netrc file, for sessions with `trust_env`.

Owns: where the file is, and that nothing about it can fail a request. The file is read in a thread
and anew each time, so that a change counts at once. Knows nothing of requests: the caller says
which host it is about to speak to.
"""

from __future__ import annotations

import asyncio
import logging
import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

from angelia.core.auth import BasicAuth

__all__ = ("netrc_auth",)

_logger: Final = logging.getLogger("angelia.client")

_Entry: TypeAlias = tuple[str, str | None, str | None]


async def netrc_auth(host: str, *, use_default: bool = True) -> BasicAuth | None:
    """The credentials for `host`, a name without port; None where the file has none.

    The file is the one that ``$NETRC`` names, or else ``~/.netrc`` (``~/_netrc`` on Windows). That
    there is none is in order; one that cannot be read or is malformed is logged as a warning.
    Without `use_default` the file's entry for all other hosts does not count: where a redirect
    leads, for one, was not the user's choice.
    """
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, lookup, host, use_default)


def lookup(
    host: str, use_default: bool = True, environ: Mapping[str, str] = os.environ
) -> BasicAuth | None:
    """What `netrc_auth` does, blocking."""
    path = _path(environ)
    if path is None:
        return None
    try:
        found = netrc.netrc(str(path)).hosts
    except (FileNotFoundError, NotADirectoryError):
        return None
    # A file in another charset is a ValueError.
    except (OSError, ValueError, netrc.NetrcParseError) as exc:
        _logger.warning("Could not read the netrc file %s: %s", path, _reason(exc))
        return None
    entry = _entry(found, host, use_default)
    if entry is None:
        return None
    login, account, password = entry
    login = login or account or ""
    password = password or ""
    try:
        return BasicAuth(login, password, _charset(login + password))
    except ValueError as exc:
        _logger.warning("Unusable credentials for %s in the netrc file %s: %s", host, path, exc)
        return None


def _path(environ: Mapping[str, str]) -> Path | None:
    named = environ.get("NETRC")
    if named:
        return Path(named)
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home / ("_netrc" if os.name == "nt" else ".netrc")


def _entry(hosts: Mapping[str, _Entry], host: str, use_default: bool) -> _Entry | None:
    wanted = host.lower()
    for name, entry in hosts.items():
        # The standard library keeps the file's default under a name that a host may have, too.
        if name != "default" and name.lower() == wanted:
            return entry
    return hosts.get("default") if use_default else None


def _charset(text: str) -> str:
    """Basic credentials go out as Latin-1, unless that lacks a letter."""
    try:
        text.encode("latin1")
    except UnicodeEncodeError:
        return "utf-8"
    return "latin1"


def _reason(exc: Exception) -> str:
    # The parser's message quotes the token it stumbled on, which may be the password.
    if isinstance(exc, netrc.NetrcParseError):
        return f"malformed in line {exc.lineno}"
    if isinstance(exc, OSError):
        return exc.strerror or type(exc).__name__
    return type(exc).__name__
