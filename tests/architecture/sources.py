"""The tree as the architecture tests read it: rooms, modules and their syntax trees."""

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from sqlalchemy import Table

from mainstay.kernel.db import metadata

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "mainstay"
BY_MODULE = frozenset({"kernel", "web"})
"""Rooms whose modules are imported by name; every other room is entered by its `__init__`."""
COMPOSITION = frozenset({"cli", "main", "reactions"})
"""What stands above the rooms and joins them."""


@cache
def rooms() -> tuple[str, ...]:
    """The names of all rooms, without what composes them."""
    return tuple(sorted(p.parent.name for p in PACKAGE.glob("*/__init__.py") if p.parent.name not in COMPOSITION))


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of one file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def python_files(*folders: str) -> list[Path]:
    """Every Python file below these folders of the checkout."""
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py"))


def room_of(path: Path) -> str:
    """The room (or composing module) that a file of the package belongs to; empty for the package's own `__init__`."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def shown(path: Path) -> str:
    """The path as a reader of a failure wants it."""
    return path.relative_to(ROOT).as_posix()


@cache
def front_door(room: str) -> frozenset[str]:
    """The names that a room offers."""
    return frozenset(getattr(importlib.import_module(f"mainstay.{room}"), "__all__", ()))


def imports_of(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line, module, name) of every import; the name is empty for `import module`. Relative ones are made absolute."""
    package = ["mainstay", *path.relative_to(PACKAGE).parent.parts] if PACKAGE in path.parents else []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, module, alias.name


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every string in the file that is not a docstring."""
    tree = tree_of(path)
    skipped = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
        and isinstance(node.body[0].value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.lineno, node.value


@cache
def declared_tables() -> tuple[Table, ...]:
    """Every table that a room declares, whether or not the code composes statements on it."""
    for path in PACKAGE.glob("*/tables.py"):
        importlib.import_module(f"mainstay.{path.parent.name}.tables")
    return tuple(sorted(metadata.tables.values(), key=lambda table: table.name))
