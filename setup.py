"""Build the optional C extension; everything else about the package is in pyproject.toml.

The leaf loops of `angelia.core` have twins in pure Python, so a machine without a C compiler gets
a complete install that is slower. The environment decides when that is not what is wanted:

``ANGELIA_PURE=1``
    Do not compile.
``ANGELIA_REQUIRE_SPEEDUPS=1``
    Fail when the extension cannot be compiled.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCE = "src/angelia/core/_speedups.c"
REQUIRED = os.environ.get("ANGELIA_REQUIRE_SPEEDUPS") == "1"


def announce(reason: str) -> None:
    """Say why there will be no compiled module, where the reader of a build log sees it."""
    line = "*" * 72
    sys.stderr.write(
        f"{line}\nangelia: building without angelia.core._speedups: {reason}.\n"
        f"angelia works without it, in pure Python, only slower.\n{line}\n"
    )


class OptionalBuild(build_ext):
    """Compile if that is possible; say so and go on if it is not."""

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as exc:
            # Compilers and their drivers fail in more ways than have a class in common.
            if REQUIRED:
                raise
            announce(f"the C compiler failed or is missing ({exc})")


def extensions() -> list[Extension]:
    if os.environ.get("ANGELIA_PURE") == "1":
        announce("ANGELIA_PURE=1 asks for that")
        return []
    if not Path(__file__).with_name("src").joinpath("angelia/core/_speedups.c").exists():
        if REQUIRED:
            raise SystemExit(f"angelia: ANGELIA_REQUIRE_SPEEDUPS=1, but {SOURCE} is missing")
        announce(f"{SOURCE} is missing")
        return []
    flags = [] if sys.platform == "win32" else ["-O3", "-fno-strict-aliasing"]
    return [
        Extension(
            "angelia.core._speedups",
            [SOURCE],
            extra_compile_args=flags,
            # So that an editable install does not look for what could not be built.
            optional=not REQUIRED,
        )
    ]


setup(ext_modules=extensions(), cmdclass={"build_ext": OptionalBuild})
