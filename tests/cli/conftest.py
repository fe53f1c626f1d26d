"""What every test of the command line runs under: an environment that says nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import angelia


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxies, no credentials, no wishes for colours from the user who runs the tests."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in {"NO_COLOR", "FORCE_COLOR"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("TERM", "xterm")
    # For programs that are started elsewhere than here.
    monkeypatch.setenv("PYTHONPATH", str(Path(angelia.__file__).parents[1]))
