"""Letters that wait for a sender, from the command line."""

import os
from typing import Annotated, Any

import typer

from mainstay import accounts
from mainstay.cli import output
from mainstay.cli.operating import operators_database
from mainstay.cli.output import CommandFailed
from mainstay.kernel import settings as settings_of
from mainstay.kernel.clock import iso
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.paging import MAX_LIMIT

letters = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Letters that wait for a sender. Works on DATABASE_URL."
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@letters.command("list")
def list_letters(
    limit: Annotated[int, typer.Option(min=1, max=MAX_LIMIT, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the letters that wait; in production only how many there are of each kind.

    \b
      mainstay letters list
    """
    settings = settings_of.load(os.environ)

    async def find() -> tuple[dict[str, int], list[accounts.letters.Letter]]:
        async with operators_database() as db:
            if settings.profile == "production":
                return await accounts.letters.count_letters(db), []
            return {}, await accounts.letters.list_letters(db, limit=limit)

    kinds, found = output.run(find())
    if settings.profile == "production":
        if as_json:
            output.show_json({"waiting": sum(kinds.values()), "kinds": kinds})
        else:
            output.show_table(("kind", "waiting"), kinds.items(), empty="No letter waits.")
        return
    if as_json:
        for one in found:
            output.show_json(
                {"id": one.id, "kind": one.kind, "recipient": one.recipient, "createdAt": iso(one.created_at)}
            )
        return
    rows = [(one.id, one.kind, one.recipient, iso(one.created_at)) for one in found]
    output.show_table(("id", "kind", "to", "written"), rows, empty="No letter waits.")


@letters.command("show")
def show_letter(letter: Annotated[str, typer.Argument(help="Id of the letter.")], as_json: AsJson = False) -> None:
    """Show a letter with its link, which is a way into an account; not in production.

    \b
      mainstay letters show 0190f1a2-…
    """
    settings = settings_of.load(os.environ)
    if settings.profile == "production":
        output.fail(CommandFailed("letters are read by those they are for", "In development they can be shown."))
    keyring = Keyring(settings.secret, settings.secret_previous)

    async def read() -> tuple[accounts.letters.Letter, Any]:
        async with operators_database() as db:
            return await accounts.letters.read_letter(db, keyring, settings, letter)

    found, written = output.run(read())
    if as_json:
        output.show_json({"recipient": found.recipient, "subject": written.subject, "text": written.text,
                          "link": written.link})  # fmt: skip
    else:
        output.show_record({"to": found.recipient, "subject": written.subject})
        print()
        for line in written.text.splitlines():
            print(line)
