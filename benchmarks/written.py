"""Puts measured tables between their markers in the reference page, and plots beside it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine

PAGE = "reference/benchmarks.md"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def when_and_where() -> str:
    """One line of when and on what the figures were measured."""
    return f"Measured {datetime.now(UTC):%Y-%m-%d}: {machine.describe()}."


def write(docs: Path, name: str, text: str) -> None:
    """The page's block of that name holds this text and nothing else."""
    page = docs / PAGE
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{page} has no place for {name}: {begin} ... {end}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
    print(f"wrote {name} into {page}")


def plot(docs: Path, name: str, svg: str) -> None:
    """The plot of that name is beside the page."""
    path = (docs / PAGE).with_name(f"{name}.svg")
    path.write_text(svg, encoding="utf-8")
    print(f"wrote {path}")
