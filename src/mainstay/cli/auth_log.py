"""`mainstay auth-log`: what was refused to whom."""

import os
from datetime import datetime
from typing import Annotated, Any

import typer

from mainstay import incidents
from mainstay.cli import output
from mainstay.cli.operating import moment_of, operators_database
from mainstay.cli.output import USAGE, CommandFailed
from mainstay.kernel import ids
from mainstay.kernel.clock import SystemClock
from mainstay.kernel.crypto import Keyring

_COLUMNS = ("at", "kind", "reason", "times", "address", "personId", "route")


def auth_log(
    *,
    kind: Annotated[str | None, typer.Option(help="Such as login_failed, bad_token, role_refused.")] = None,
    person: Annotated[str | None, typer.Option(help="The id of a person.")] = None,
    email: Annotated[
        str | None, typer.Option(help="What somebody typed; needs MAINSTAY_SECRET, as the log holds a digest.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="A network address.")] = None,
    since: Annotated[str | None, typer.Option(help="How far back (90m, 24h, 7d), or a time.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts, a line each.")] = False,
) -> None:
    """Show logins that failed, and codes, tokens, roles and keys that were refused, newest first.

    \b
      mainstay auth-log --since 24h
      mainstay auth-log --kind login_failed --email ada@example.com
    """
    if person is not None and not ids.is_uuid(person):
        output.fail(CommandFailed("--person must be an id", code=USAGE))
    secret = os.environ.get("MAINSTAY_SECRET", "")
    if email is not None and not secret:
        output.fail(CommandFailed("--email needs MAINSTAY_SECRET", code=USAGE))

    async def read() -> list[dict[str, Any]]:
        filters = incidents.Filters(
            kind=kind, person_id=person, email=email, address=address, since=None if since is None else _back(since)
        )
        async with operators_database() as db:
            found = await incidents.read_log(db, Keyring(secret), filters, limit=limit)
        return [incidents.entry_shown(row) for row in found]

    rows = output.run(read())
    if as_json:
        for one in rows:
            output.show_json(one)
        return
    output.show_table(_COLUMNS, ([one[name] for name in _COLUMNS] for one in rows), empty="Nothing was refused.")


def _back(text: str) -> datetime:
    """The moment that long ago, or the time itself."""
    now = SystemClock().now()
    moment = moment_of(text, now=now)
    return min(moment, now - (moment - now))
