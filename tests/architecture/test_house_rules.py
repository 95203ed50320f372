"""What must hold in every tracked file: no word on where packages come from, and no path of a machine."""

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

from mainstay.kernel import settings
from tests.architecture.sources import ROOT, python_files, shown, tree_of

LINES_THAT_START_AN_ARGUMENT = 300
_DASHES = "-" * 2
INDEX_OPTIONS = [
    *(_DASHES + name for name in ("index" + "-url", "extra" + "-index-url", "find" + "-links", "trusted" + "-host")),
    *(prefix + "_INDEX" + "_URL" for prefix in ("PIP", "PIP_EXTRA", "UV", "UV_EXTRA")),
    "UV_DEFAULT" + "_INDEX",
    "npm_config" + "_registry",
]
_MACHINE_PATH = re.compile(r"(?<![\w.})*/:\]-])/(?:work|tmp|home|root|Users|private|mnt)/(?!\*)[\w.{<-]")
_CONTRACT = re.compile(r"(?:NP|DR|HL)-[A-Z]{1,3}-\d{2,3}")
_NOT_KEPT = {".venv", ".git", ".mainstay", ".hypothesis", "node_modules", "__pycache__", "dist"}
_NAMES_TO_AVOID = {"service.py", "utils.py", "models.py", "helpers.py", "common.py", "misc.py", "manager.py"}


@cache
def tracked() -> list[Path]:
    """Every file that the repository keeps and this checkout has; without a repository, every file that is no cache."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, text=True)
    if listed.returncode == 0:
        return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    return [p for p in ROOT.rglob("*") if p.is_file() and not _NOT_KEPT & set(p.relative_to(ROOT).parts)]


@cache
def text_of(path: Path) -> str | None:
    """The file's text, or None where it is not text."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None


def lines_with(pattern: re.Pattern[str], *, files: list[Path]) -> list[str]:
    """Every place in these files where the pattern is found."""
    return [
        f"{shown(path)}:{number} {found.group()}"
        for path in files
        for number, line in enumerate((text_of(path) or "").splitlines(), 1)
        if (found := pattern.search(line))
    ]


def test_lock_files_name_packages_and_hashes_not_places() -> None:
    locks = [path for path in tracked() if "lock" in path.name and path.suffix in (".lock", ".json", ".txt", ".yaml")]
    assert locks
    assert lines_with(re.compile('://|"resolved"|^registry'), files=locks) == []


def test_no_file_says_where_packages_come_from() -> None:
    pattern = re.compile("|".join(re.escape(option) for option in INDEX_OPTIONS))
    assert lines_with(pattern, files=tracked()) == []


def test_npm_is_told_to_keep_places_out_of_its_lock() -> None:
    for lock in (path for path in tracked() if path.name == "package-lock.json"):
        assert "omit-lockfile-registry-resolved=true" in (lock.parent / ".npmrc").read_text(encoding="utf-8")


def test_no_file_holds_a_path_of_somebodys_machine() -> None:
    assert lines_with(_MACHINE_PATH, files=[path for path in tracked() if path != Path(__file__)]) == []


def test_the_example_of_the_settings_is_current() -> None:
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == settings.example()


def test_no_secret_has_a_default() -> None:
    lines = settings.example().splitlines()
    named = [line for line in lines if re.match(r"#? ?[A-Z_]*(SECRET|TOKEN|URL)[A-Z_]*=", line)]
    assert named
    assert [line for line in named if not line.endswith("=")] == []


def test_contract_marks_name_rows_of_the_ledger() -> None:
    wrong = [
        f"{shown(path)}:{node.lineno}"
        for path in python_files("tests")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "contract"
        if not node.args
        or not all(isinstance(row, ast.Constant) and _CONTRACT.fullmatch(str(row.value)) for row in node.args)
    ]
    assert wrong == []


def test_no_file_is_named_after_nothing() -> None:
    assert [shown(path) for path in python_files("src") if path.name in _NAMES_TO_AVOID] == []


def test_files_over_the_budget_are_listed() -> None:
    """Shown with `pytest -s`; a budget starts an argument and fails nothing."""
    sizes = {shown(path): (text_of(path) or "").count("\n") for path in python_files("src", "tests", "benchmarks")}
    for name, size in sorted(sizes.items(), key=lambda one: -one[1]):
        if size > LINES_THAT_START_AN_ARGUMENT:
            print(f"{size:5} lines  {name}")


def test_settings_given_as_text_have_their_declared_types() -> None:
    given = {
        "DATABASE_URL": "postgresql://db/mainstay", "MAINSTAY_SECRET": "s" * 32, "JWT_ACCESS_SECRET": "j" * 32,
        "JWT_REFRESH_SECRET": "r" * 32, "PORT": "3000", "DATABASE_POOL_SIZE": "7", "SHUTDOWN_SECONDS": "1.5",
        "METRICS_PUBLIC": "false",
        "QUEUE_CONCURRENCY": "9",
    }  # fmt: skip
    found = settings.load(given)
    assert (found.port, found.database_pool_size, found.shutdown_seconds, found.queue_concurrency) == (3000, 7, 1.5, 9)
    assert found.metrics_public is False
