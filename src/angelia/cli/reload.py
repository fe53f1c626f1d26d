"""``angelia serve --reload``: a process that starts the server again when a source file changes.

Owns: what counts as a source file, the look at all of them, the life of the process that serves.
The sockets are opened here and handed down, so that clients wait during a restart and ports stay.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from types import FrameType
from typing import Final, TypeAlias

from angelia.cli.exits import ExitCode
from angelia.cli.listening import HANDED_DOWN, Listening, open_sockets
from angelia.cli.output import Output, escaped_line
from angelia.cli.serve_arguments import ServeOptions

__all__ = ("WATCHED", "changed", "serve_again", "snapshot")

# In the environment of the process that serves.
WATCHED: Final = "ANGELIA_SERVE_WATCHED"
# Between two looks at the files, in seconds.
INTERVAL: Final = 0.5
# A request that waits longer is not waited for: somebody wants to see the change.
PATIENCE: Final = 3.0
# A directory with so many files, of any kind, is no project; what lies behind is not watched.
MAX_FILES: Final = 20_000
MAX_ENTRIES: Final = 200_000
# Not the project's own source.
_OTHERS: Final = frozenset({"__pycache__", "node_modules"})

Snapshot: TypeAlias = dict[str, tuple[int, int]]


def snapshot(root: Path) -> Snapshot:
    """Time of change and size of each Python file below `root`.

    Hidden directories and virtual environments are left out.
    """
    found: Snapshot = {}
    waiting = [str(root)]
    seen = 0
    while waiting:
        # A directory that has just gone has no files.
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                seen += 1
                if seen > MAX_ENTRIES or len(found) >= MAX_FILES:
                    return found
                if entry.is_dir(follow_symlinks=False):
                    if _is_own(entry):
                        waiting.append(entry.path)
                elif entry.name.endswith(".py"):
                    # Links that lead nowhere are the locks of an editor.
                    with contextlib.suppress(OSError):
                        facts = entry.stat()
                        found[entry.path] = facts.st_mtime_ns, facts.st_size
    return found


def _is_own(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith(".") or entry.name in _OTHERS:
        return False
    return not Path(entry.path, "pyvenv.cfg").exists()


def changed(before: Snapshot, after: Snapshot) -> str | None:
    """One of the files that are new, gone or different; None if there is none."""
    for path, _ in sorted(before.items() ^ after.items()):
        return path
    return None


def serve_again(
    options: ServeOptions, arguments: list[str], output: Output, environ: MutableMapping[str, str]
) -> int:
    """Run ``angelia`` with `arguments` in another process, again after each change.

    Returns the exit code of the last one when a signal has ended it. Raises `UsageError`.
    """
    with open_sockets(options, environ) as listening:
        return _Supervisor(arguments, listening, output, environ).run()


def end_process(process: subprocess.Popen[bytes]) -> None:
    """End the process: gracefully, then at once, then for certain."""
    for end in (process.terminate, process.terminate, process.kill):
        end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
            return
    process.wait()


class _Supervisor:
    __slots__ = ("_arguments", "_environ", "_listening", "_output", "_process", "_stopped")

    def __init__(
        self,
        arguments: list[str],
        listening: Listening,
        output: Output,
        environ: MutableMapping[str, str],
    ) -> None:
        self._arguments = arguments
        self._listening = listening
        self._output = output
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def run(self) -> int:
        """Serve until a signal, again and again."""
        root = Path.cwd()
        with self._handled_signals():
            while True:
                # What changes from now on may have been read before the change.
                before = snapshot(root)
                process = self._process = self._start()
                if self._is_stopped():
                    process.terminate()
                path = self._watch(process, root, before)
                if path is None:
                    return _exit_code(process.returncode)
                name = os.path.relpath(path, root)
                self._output.note(escaped_line(f"angelia: {name} has changed, starting again"))
                end_process(process)

    def _is_stopped(self) -> bool:
        # A signal changes it at any time.
        return self._stopped

    def _start(self) -> subprocess.Popen[bytes]:
        descriptors = [sock.fileno() for sock in self._listening.sockets]
        # Both ends of the process belong to the same user, who gave the arguments.
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "angelia", *self._arguments],
            pass_fds=descriptors,
            env={
                **self._environ,
                HANDED_DOWN: ",".join(map(str, descriptors)),
                WATCHED: "1",
            },
        )

    def _watch(self, process: subprocess.Popen[bytes], root: Path, before: Snapshot) -> str | None:
        """The file that has changed; None when the process has ended because it was asked to."""
        told = False
        while True:
            try:
                code = process.wait(INTERVAL)
            except subprocess.TimeoutExpired:
                pass
            else:
                if self._is_stopped() or code == ExitCode.OK:
                    return None
                if not told:
                    self._output.note("angelia: waiting for a change")
                    told = True
                # There is nobody to pass a signal to: it ends this process as it ends others.
                time.sleep(INTERVAL)
                if self._is_stopped():
                    return None
            if not self._is_stopped() and (path := changed(before, snapshot(root))) is not None:
                return path

    @contextlib.contextmanager
    def _handled_signals(self) -> Iterator[None]:
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self._pass_on) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_on(self, signum: int, frame: FrameType | None) -> None:
        self._stopped = True
        process = self._process
        # A terminal has sent its SIGINT to both of us.
        if process is not None and not (signum == signal.SIGINT and _has_terminal()):
            process.send_signal(signum)


def _exit_code(code: int) -> int:
    # A signal may have come before it was handled there.
    ended_by_signal = code in (-signal.SIGTERM, -signal.SIGINT, ExitCode.INTERRUPTED)
    return ExitCode.OK if ended_by_signal else code


def _has_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()
