"""Make the environment of the benchmarks: .venv-bench, with the peers and angelia in it.

Run it again to bring the environment up to date::

    python benchmarks/prepare.py

The environment of the project stays as it is: it has none of the peers.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
ENVIRONMENT = PROJECT / ".venv-bench"
PYTHON = ENVIRONMENT / "bin" / "python"


def pip(*arguments: str) -> bool:
    """Run pip of the environment.

    Returns:
        Whether it succeeded.
    """
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=False).returncode == 0


def prepare() -> None:
    """Create the environment, or bring it up to date.

    Raises:
        SystemExit: What nothing can be measured without cannot be installed.
    """
    if not PYTHON.exists():
        venv.create(ENVIRONMENT, with_pip=True)
    # No tool that walks the project need be told about the environment.
    ENVIRONMENT.joinpath(".gitignore").write_text("*\n")
    if not pip("install", "-q", "--upgrade", "-r", str(HERE / "requirements.txt")):
        raise SystemExit("the peers could not be installed")
    # Editable, so that what is measured is the tree as it is; this compiles the C extension too.
    if not pip("install", "-q", "-e", str(PROJECT)):
        print("angelia could not be installed; it is measured from src, compiled or not as it is")
        if not pip("install", "-q", "aiosignal", "multidict", "yarl"):
            raise SystemExit("the dependencies of angelia could not be installed")


if __name__ == "__main__":
    prepare()
    sys.stdout.write(f"ready: {PYTHON}\n")
