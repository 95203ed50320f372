"""People, from the command line."""

from typing import Annotated

import typer

from mainstay import mfa
from mainstay.cli import output
from mainstay.cli.operating import OPERATOR, operators_database
from mainstay.cli.output import CommandFailed

people = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="People. Works on DATABASE_URL as the operator.")
Person = Annotated[str, typer.Argument(help="Email or id of the person.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@people.callback()
def _group() -> None:
    """Keeps the group a group while it has one command."""


@people.command("reset-mfa")
def reset_mfa(person: Person, as_json: AsJson = False) -> None:
    """Take away the second factor of somebody who lost app and recovery codes; every session of theirs ends.

    Make sure that it is they who ask: whoever knows their password can sign in afterwards.

    \b
      mainstay people reset-mfa ada@example.com
    """

    async def reset() -> tuple[str, int]:
        async with operators_database() as db:
            person_id = await mfa.find_person_id(db, person)
            if person_id is None:
                raise CommandFailed(f"there is no person '{person}'")
            return person_id, await mfa.reset_by_operator(db, OPERATOR, person_id)

    person_id, ended = output.run(reset())
    if as_json:
        output.show_json({"personId": person_id, "sessionsEnded": ended})
    else:
        output.tell(f"{person} has no second factor any more; {ended} sessions ended")
