"""The server of the WebSocket measurements: started on its own core, and always taken away."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ("ws_serving",)

SCRIPT = Path(__file__).with_name("ws_server.py")


@contextmanager
def ws_serving(python: Path, core: int, environment: Mapping[str, str]) -> Iterator[str]:
    """Run `ws_server.py`, and give its URL.

    Raises:
        RuntimeError: It did not start.
    """
    process = subprocess.Popen(
        [str(python), str(SCRIPT), "--core", str(core)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError("the server of the WebSockets did not start")
        yield f"ws://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()
