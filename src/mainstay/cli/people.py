"""People, from the command line."""

import os
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from mainstay import members, mfa
from mainstay.cli import output
from mainstay.cli.operating import OPERATOR, operators_database
from mainstay.cli.output import CommandFailed
from mainstay.kernel import settings as settings_of
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Connection, Tx

people = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="People. Works on DATABASE_URL as the operator.")
Person = Annotated[str, typer.Argument(help="Email or id of the person.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@people.command("reset-mfa")
def reset_mfa(person: Person, as_json: AsJson = False) -> None:
    """Take away the second factor of somebody who lost app and recovery codes; every session of theirs ends.

    Make sure that it is they who ask: whoever knows their password can sign in afterwards.

    \b
      mainstay people reset-mfa ada@example.com
    """

    async def reset() -> tuple[str, int]:
        async with operators_database() as db:
            person_id = await _id_of(db, person)
            return person_id, await mfa.reset_by_operator(db, OPERATOR, person_id)

    person_id, ended = output.run(reset())
    if as_json:
        output.show_json({"personId": person_id, "sessionsEnded": ended})
    else:
        output.tell(f"{person} has no second factor any more; {ended} sessions ended")


@people.command("show")
def show_person(person: Person, as_json: AsJson = False) -> None:
    """Show a person with their companies.

    \b
      mainstay people show ada@example.com
    """

    async def show() -> members.Person:
        async with operators_database() as db:
            return await members.read_person(db, await _id_of(db, person))

    _show(output.run(show()), as_json)


@people.command("suspend")
def suspend_person(person: Person, as_json: AsJson = False) -> None:
    """Suspend a person in every company: all sessions end at once, and a letter tells them. Keys that they made go on.

    \b
      mainstay people suspend ada@example.com
    """
    settings = settings_of.load(os.environ)
    keyring = Keyring(settings.secret, settings.secret_previous)
    shown = _change(person, lambda tx, person_id: members.suspend_person(tx, keyring, OPERATOR, person_id), as_json)
    for one in shown.companies:
        if one.has_no_owner:
            output.tell(f"{one.company_name} ({one.company_id}) has no owner now who can act")


@people.command("restore")
def restore_person(person: Person, as_json: AsJson = False) -> None:
    """End the suspension of a person, who signs in anew; companies that suspended them on their own still do.

    \b
      mainstay people restore ada@example.com
    """
    _change(person, lambda tx, person_id: members.restore_person(tx, OPERATOR, person_id), as_json)


def _change(person: str, act: Callable[[Tx, str], Awaitable[members.Person]], as_json: bool) -> members.Person:
    async def change() -> members.Person:
        async with operators_database() as db, db.begin() as tx:
            return await act(tx, await _id_of(tx, person))

    changed = output.run(change())
    _show(changed, as_json)
    return changed


async def _id_of(db: Connection, person: str) -> str:
    person_id = await mfa.find_person_id(db, person)
    if person_id is None:
        raise CommandFailed(f"there is no person '{person}'")
    return person_id


def _show(person: members.Person, as_json: bool) -> None:
    told = members.person_shown(person)
    if as_json:
        output.show_json(told)
        return
    output.show_record({name: value for name, value in told.items() if name != "companies"})
    rows = [
        (one.company_name, one.role, "suspended" if one.is_suspended else "", one.company_id)
        for one in person.companies
    ]
    output.show_table(("company", "role", "state", "id"), rows, empty="no company")
