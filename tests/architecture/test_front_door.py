"""A room is entered by its front door, and its front door says what it is for."""

import ast
import importlib
from pathlib import Path

import pytest

from tests.architecture.sources import (
    BY_MODULE,
    COMPOSITION,
    PACKAGE,
    front_door,
    imports_of,
    python_files,
    room_of,
    rooms,
    shown,
    tree_of,
)

DOCSTRING_LINES = range(5, 31)
NAMES_AT_MOST = 32
"""About thirty nouns and verbs; errors and constants come with them and are not counted."""
ENTERED = [room for room in rooms() if room not in BY_MODULE]


def test_nobody_imports_from_inside_another_room() -> None:
    breaches = [
        f"{shown(path)}:{line} takes {module} {name}".rstrip()
        for path in python_files("src/mainstay")
        for line, module, name in imports_of(path)
        if _breach(room_of(path), module, name)
    ]
    assert breaches == []


def test_nobody_reaches_through_a_front_door() -> None:
    breaches = []
    for path in python_files("src/mainstay"):
        entered = {
            alias.asname or alias.name: alias.name
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.ImportFrom) and node.module == "mainstay" and not node.level
            for alias in node.names
            if alias.name in ENTERED
        }
        breaches += [
            f"{shown(path)}:{node.lineno} uses {entered[node.value.id]}.{node.attr}"
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in entered
            if node.attr not in front_door(entered[node.value.id])
        ]
    assert breaches == []


@pytest.mark.parametrize("room", rooms())
def test_a_room_says_what_it_is_for(room: str) -> None:
    docstring = ast.get_docstring(tree_of(PACKAGE / room / "__init__.py"))
    assert docstring is not None
    lines = docstring.count("\n") + 1
    # The kernel and the web toolkit are collections of modules, each with its own sentence.
    assert lines in DOCSTRING_LINES or (room in BY_MODULE and lines <= max(DOCSTRING_LINES))


@pytest.mark.parametrize("room", ENTERED)
def test_a_room_offers_few_names_and_all_of_them_exist(room: str) -> None:
    names = front_door(room)
    offered = {name: getattr(importlib.import_module(f"mainstay.{room}"), name) for name in names}
    counted = [name for name, value in offered.items() if not name.isupper() and not _is_error(value)]
    assert 0 < len(counted) <= NAMES_AT_MOST
    tree = tree_of(PACKAGE / room / "__init__.py")
    bound = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert names == bound


@pytest.mark.parametrize("path", python_files("src/mainstay"), ids=shown)
def test_every_module_says_what_it_is_in_its_first_line(path: Path) -> None:
    docstring = ast.get_docstring(tree_of(path))
    assert docstring
    assert docstring.split("\n\n")[0].rstrip().endswith((".", ":", ".)"))


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


def _breach(room: str, module: str, name: str) -> bool:
    parts = module.split(".")
    if parts[0] != "mainstay":
        return False
    if len(parts) == 1:
        return False
    target = parts[1]
    if target == room or target in BY_MODULE or target in COMPOSITION:
        return False
    return len(parts) > 2 or (name != "" and name not in front_door(target))
