"""The documents name what there is: their links lead somewhere, and no setting, metric or command is left out."""

import re
from pathlib import Path

import pytest

from mainstay import cli, main
from mainstay.cli.roles import matrix_markdown
from mainstay.kernel import settings, telemetry
from tests.architecture.sources import ROOT, shown

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
_COMMAND = re.compile(r"\bmainstay ([a-z]+(?:-[a-z]+)*(?: [a-z]+)?)")
_GROUPS = {"companies", "workspaces", "people", "keys", "events", "webhooks", "archive"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=shown)
def test_links_lead_somewhere(path: Path) -> None:
    links = [link for link in _LINK.findall(path.read_text(encoding="utf-8")) if not link.startswith("http")]
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_setting_is_documented_with_its_meaning() -> None:
    page = (ROOT / "docs/operations/settings.md").read_text(encoding="utf-8")
    described = [line.removeprefix("# ") for line in settings.example().splitlines() if line.startswith("# ")]
    named = [line.partition("=")[0] for line in described if re.match(r"[A-Z_]+=", line)]
    assert [name for name in named if name != "MONGO_URI" and f"| `{name}` |" not in page] == []


def test_every_metric_is_documented() -> None:
    page = (ROOT / "docs/operations/metrics.md").read_text(encoding="utf-8")
    assert main.partitioned()  # brings in every room with its metrics
    own = [name for name in telemetry.REGISTRY._names_to_collectors if not name.startswith(("process_", "python_"))]
    families = {re.sub(r"_(?:bucket|sum|count|created)$", "", name) for name in own}
    totals = {name for name in families if f"{name}_total" in families}
    assert [name for name in sorted(families - totals) if f"`{name}`" not in page] == []


def test_documents_speak_of_commands_that_exist() -> None:
    commands = set(cli._COMMANDS)
    spoken = {
        found.split()[0]
        for path in DOCUMENTS
        for block in re.findall(r"`(mainstay [^`]*)`|^(?:    )?(mainstay .*)$", path.read_text(encoding="utf-8"), re.M)
        for found in _COMMAND.findall("".join(block))
    }
    assert spoken <= commands
    assert commands - {"companies", "workspaces"} <= spoken | _GROUPS


def test_the_table_of_roles_is_the_one_that_guards_read() -> None:
    text = (ROOT / "docs/reference/roles.md").read_text(encoding="utf-8")
    found = text.partition("by `mainstay roles --markdown` -->\n\n")[2].partition("\n\n<!-- /roles -->")[0]
    assert found == matrix_markdown(), "run `mainstay roles --markdown` and put what it prints there"
