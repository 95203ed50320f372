"""`mainstay restrict`: people's routes closed during a suspected breach, and opened again."""

import json
from typing import Annotated, Any

import typer

from mainstay import incidents
from mainstay.cli import output
from mainstay.cli.operating import OPERATOR, operators_database

restrict = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Close people's routes during a suspected breach. Works on DATABASE_URL as the operator.",
)
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@restrict.command("on")
def switch_on(
    reason: Annotated[str, typer.Argument(help="Why, for the other operators: 3 to 500 characters.")],
) -> None:
    """Close people's routes in every process within a second: signing in and out, their API, their pages.

    \b
      mainstay restrict on "sessions may have been stolen"
    """

    async def work() -> None:
        async with operators_database() as db, db.begin() as tx:
            await incidents.restrict(tx, OPERATOR, reason=reason)

    output.run(work())
    output.tell("people's routes are closed; 'mainstay restrict off' opens them")


@restrict.command("off")
def switch_off() -> None:
    """Open people's routes again, in every process within a second.

    \b
      mainstay restrict off
    """

    async def work() -> incidents.Restriction | None:
        async with operators_database() as db, db.begin() as tx:
            return await incidents.lift(tx, OPERATOR)

    held = output.run(work())
    output.tell("people's routes were open already" if held is None else "people's routes are open")


@restrict.command("show")
def show(*, as_json: AsJson = False) -> None:
    """Say whether people's routes are closed, and why, since when and by whom.

    \b
      mainstay restrict show
    """

    async def read() -> dict[str, Any]:
        async with operators_database() as db:
            return incidents.restriction_shown(await incidents.find_restriction(db))

    found = output.run(read())
    if as_json:
        typer.echo(json.dumps(found))
    elif found["isRestricted"]:
        by = found["by"].get("name") or found["by"]["id"]
        typer.echo(f"closed since {found['since']} by {by}: {found['reason']}")
    else:
        typer.echo("open")
