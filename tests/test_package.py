"""The package as a whole: its public names, its types, its layers, its build."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import angelia
from angelia import hdrs

ROOT = Path(__file__).parent.parent
PACKAGE = Path(angelia.__file__).parent
REFERENCE = ROOT / "docs" / "reference"

# What `import angelia` may not pull in: optional packages, and modules that cost start-up time.
LATE = (
    "aiodns",
    "brotli",
    "python_socks",
    "rich",
    "uvloop",
    "unittest",
    "angelia.cli",
    "angelia.testing",
)


def _module_names() -> list[str]:
    found = pkgutil.walk_packages(angelia.__path__, prefix="angelia.")
    return sorted(module.name for module in found if not module.name.endswith("__main__"))


class TestPublicNames:
    """`angelia.__all__`."""

    def test_all_is_importable(self) -> None:
        """Each public name exists, once."""
        assert len(set(angelia.__all__)) == len(angelia.__all__)
        missing = [name for name in angelia.__all__ if not hasattr(angelia, name)]
        assert missing == []

    def test_no_public_name_is_left_out(self) -> None:
        """What is there without an underscore, and is no module of ours, is in `__all__`."""
        there = {
            name
            for name, value in vars(angelia).items()
            if not name.startswith("_") and not isinstance(value, ModuleType)
        }
        assert there - set(angelia.__all__) - {"annotations"} == set()

    @pytest.mark.parametrize("name", sorted({*angelia.__all__} - {"__version__"}))
    def test_documented(self, name: str) -> None:
        """Each public name has its place in the reference."""
        pages = "\n".join(page.read_text() for page in REFERENCE.glob("*.rst"))
        assert re.search(rf"\bangelia\.{re.escape(name)}\b", pages), f"{name} is in no page"

    def test_version(self) -> None:
        """The version is the one of the build."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert angelia.__version__ == project["version"]


class TestModules:
    """All modules of the package."""

    @pytest.mark.parametrize("name", _module_names())
    def test_imports_by_itself(self, name: str) -> None:
        """Each module can be imported, says what it is for, and has what its `__all__` lists."""
        try:
            module = importlib.import_module(name)
        except ImportError as exc:
            if exc.name is None or exc.name.startswith("angelia"):
                raise
            pytest.skip(f"needs {exc.name}")
        if not name.endswith("._speedups"):
            assert module.__doc__
        assert [item for item in getattr(module, "__all__", ()) if not hasattr(module, item)] == []

    @pytest.mark.parametrize("name", ["abc", "hdrs"])
    def test_modules_of_the_package(self, name: str) -> None:
        """`import angelia` is enough for the public modules."""
        code = f"import angelia; print(angelia.{name}.__name__)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert done.stdout.decode().strip() == f"angelia.{name}"

    def test_import_is_lean(self) -> None:
        """`import angelia` loads no optional package, nor what only some programs need."""
        code = f"import sys, angelia; print([n for n in {LATE!r} if n in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert done.stdout == b"[]\n"

    def test_no_asserts(self) -> None:
        """No module depends on `assert`: the package is the same under ``python -O``."""
        guilty = [
            path.relative_to(PACKAGE)
            for path in PACKAGE.rglob("*.py")
            if re.search(r"^\s*assert\b", path.read_text(), re.MULTILINE)
        ]
        assert guilty == []


class TestBuild:
    """What an installation has."""

    def test_typed(self) -> None:
        """PEP 561: the marker is shipped."""
        assert (PACKAGE / "py.typed").exists()

    def test_compiled_module_loads(self) -> None:
        """A compiled module that was built is used, unless the environment asks for pure Python."""
        from angelia.core import speedups

        if os.environ.get("ANGELIA_PURE") == "1":
            assert speedups.IMPLEMENTATION == "pure"
        elif importlib.util.find_spec("angelia.core._speedups") is None:
            assert os.environ.get("ANGELIA_REQUIRE_PEERS") != "1", "the C extension was not built"
            pytest.skip("there is no compiled module here")
        else:
            assert speedups.IMPLEMENTATION == "c"

    def test_layers(self) -> None:
        """Rooms import downwards only."""
        pytest.importorskip("importlinter")
        command = [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as c;c()",
        ]
        environ = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout.decode()


class TestHdrs:
    """`angelia.hdrs`."""

    def test_names_match_values(self) -> None:
        """A constant is named after the field, and equals it in any case."""
        fields = {
            name: value
            for name, value in vars(hdrs).items()
            if name.isupper() and not name.startswith("METH_")
        }
        assert len(fields) > 100
        for name, value in fields.items():
            assert value.upper().replace("-", "_") == name

    def test_methods(self) -> None:
        """Methods are named after themselves, and METH_ALL has all of them."""
        methods = {
            value
            for name, value in vars(hdrs).items()
            if name.startswith("METH_") and isinstance(value, str)
        }
        assert methods - {"*"} == hdrs.METH_ALL
