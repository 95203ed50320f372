"""The order of the rooms, and of the files inside a room, as pyproject.toml states it for import-linter."""

import tomllib

import pytest
from importlinter.cli import lint_imports

from tests.architecture.sources import PACKAGE, ROOT, rooms

PYPROJECT = ROOT / "pyproject.toml"
CONTRACTS = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
ORDER = [
    "cli", "main", "reactions", "modules", "console", "erasure", "streams", "archive", "events", "templates",
    "members", "accounts", "mfa", "incidents", "identity", "webhooks", "functions", "jobs", "plans", "limits",
    "observability", "web", "embedded", "kernel",
]  # fmt: skip


def test_every_import_contract_is_kept(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    ended = lint_imports(config_filename=str(PYPROJECT), no_cache=True)
    assert ended == 0, capsys.readouterr().out


def test_the_rooms_stand_in_the_documented_order() -> None:
    contract = next(one for one in CONTRACTS if one["id"] == "rooms")
    assert contract["exhaustive"] is True
    assert [layer.strip("()") for layer in contract["layers"]] == ORDER


def test_every_room_of_several_layers_has_an_order_inside() -> None:
    ordered = {one["containers"][0] for one in CONTRACTS if one["type"] == "layers" and one.get("exhaustive")}
    layered = {
        room for room in rooms() if (PACKAGE / room / "queries.py").exists() or (PACKAGE / room / "queries").exists()
    }
    assert {f"mainstay.{room}" for room in layered} <= ordered


def test_no_import_is_excused_without_a_reason_on_its_line() -> None:
    lines = PYPROJECT.read_text(encoding="utf-8").splitlines()
    excuses = [line for line in lines if "->" in line and line.lstrip().startswith('"mainstay')]
    listed = sum(len(one.get("ignore_imports", ())) for one in CONTRACTS)
    assert len(excuses) == listed
    assert [line for line in excuses if "#" not in line] == []
