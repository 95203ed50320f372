"""`mainstay roles`: what each role may do, as guards read it."""

from typing import Annotated

import typer

from mainstay.cli import output
from mainstay.web import roles as table

COLUMNS = ("Act", "What it is", "Owner", "Manager", "Staff")


def roles(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table as docs/reference/roles.md holds it.")
    ] = False,
) -> None:
    """Show what owners, managers and staff may do, and which feature lets staff do it too.

    \b
      mainstay roles
      mainstay roles --markdown
    """
    if markdown:
        typer.echo(matrix_markdown())
        return
    rows = [[one.replace("`", "") for one in row] for row in table.matrix()]
    output.show_table(tuple(one.lower() for one in COLUMNS), rows, empty="There are no acts.")


def matrix_markdown() -> str:
    """The table of the documentation."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|---|---|---|---|"]
    lines += [f"| `{name}` | {' | '.join(rest)} |" for name, *rest in table.matrix()]
    return "\n".join(lines)
