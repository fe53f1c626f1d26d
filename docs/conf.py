"""How Sphinx builds the documentation.

The build needs no network: links into other projects' documentation come from the lists in
`_inventories`, which hold the names that ours refers to.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import angelia

HERE = Path(__file__).parent

project = "angelia"
author = "the angelia authors"
project_copyright = "the angelia authors"
version = release = angelia.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "_inventories"]
default_role = "py:obj"
python_use_unqualified_type_names = True
maximum_signature_line_length = 88

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# README, SECURITY and the others are included from the root, where their links point to files.
suppress_warnings = ["myst.xref_missing", "myst.header"]

html_theme = "furo"
html_title = f"angelia {release}"
html_show_sourcelink = False

# --- links to other projects ---------------------------------------------------------------------

INVENTORIES = {
    "python": "https://docs.python.org/3",
    "yarl": "https://yarl.aio-libs.org/en/latest",
    "multidict": "https://multidict.aio-libs.org/en/latest",
    "aiosignal": "https://aiosignal.aio-libs.org/en/stable",
}


def _inventory(name: str) -> str:
    """Write the inventory of a project from our list of its names; return the file's path.

    A line of the list: ``name role page#anchor``; ``$`` stands for the name.
    """
    head = f"# Sphinx inventory version 2\n# Project: {name}\n# Version: \n"
    head += "# The remainder of this file is compressed using zlib.\n"
    entries = [
        f"{name} {role} 1 {place} -\n"
        for line in (HERE / "_inventories" / f"{name}.txt").read_text().splitlines()
        if line and not line.startswith("#")
        for name, role, place in [line.split()]
    ]
    directory = HERE / "_build" / "inventories"
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.inv"
    path.write_bytes(head.encode() + zlib.compress("".join(entries).encode()))
    return str(path.relative_to(HERE))


intersphinx_mapping = {name: (url, _inventory(name)) for name, url in INVENTORIES.items()}
