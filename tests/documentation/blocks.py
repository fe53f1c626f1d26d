"""The code of the documentation's pages: fenced blocks, and commands in indented ones.

Owns: how code is found in Markdown, and how a test puts its own ports and paths into it. Knows
nothing of what the code does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

__all__ = ("ROOT", "Block", "blocks", "commands", "filled", "pages")

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code: its language ("" for none) and the heading that it stands under."""

    page: str
    line: int
    heading: str
    language: str
    text: str

    def with_text(self, text: str) -> Block:
        """The block with another text."""
        return replace(self, text=text)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """The pages that are written for users, relative to the repository."""
    found = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").glob("*.md"))]
    return ["README.md", *found]


def blocks(page: str, *, language: str | None = None, heading: str | None = None) -> list[Block]:
    """The blocks of a page in order, or those of one language, or below one heading."""
    path = ROOT / page
    if not path.exists():
        pytest.skip(f"there is no {page} here")
    found: list[Block] = []
    under, fence, code = "", "", [""]
    begun = 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if fence:
            if line == "```":
                found.append(Block(page, begun, under, fence[3:], "\n".join(code) + "\n"))
                fence = ""
            else:
                code.append(line)
        elif line.startswith("```"):
            fence, code, begun = line, [], number
        elif line.startswith("#"):
            under = line.lstrip("# ")
        elif line.startswith("    "):
            # Each line of an indented block is a command.
            found.append(Block(page, number, under, "", line.strip() + "\n"))
    return [
        block
        for block in found
        if language in (None, block.language) and heading in (None, block.heading)
    ]


def commands(program: str) -> list[Block]:
    """The lines of all pages that call a program."""
    return [
        Block(block.page, block.line + number, block.heading, "", line)
        for page in pages()
        for block in blocks(page, language="")
        for number, line in enumerate(block.text.splitlines())
        if line.split()[:1] == [program]
    ]


def filled(text: str, changes: Mapping[str, object]) -> str:
    """The text with ports and paths of the test's own; each has to be there."""
    for old, new in changes.items():
        assert old in text, f"no {old!r} in:\n{text}"
        text = text.replace(old, str(new))
    return text
