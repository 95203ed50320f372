"""Archives by hand: every step run here and now, and what waits."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import typer

from mainstay import archive as archives
from mainstay import events
from mainstay.cli import output
from mainstay.cli.operating import OPERATOR, company_named, workspace_named
from mainstay.cli.output import FAILED, USAGE, CommandFailed
from mainstay.kernel import settings as settings_of
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.errors import MainstayError
from mainstay.kernel.regions import Regions

archive = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Archive and retention. Works on the databases and object stores of the settings, as the operator.",
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, a line each.")]


@archive.command("run")
def run(
    *,
    cut: Annotated[bool, typer.Option("--cut", help="Also cut what the settings let leave the database.")] = False,
    as_json: AsJson = False,
) -> None:
    """Mark what left its retention window, then archive every day that is due.

    \b
    Ends with 1 if a day could not be archived; the others are. Run it again at any time.
      mainstay archive run
      mainstay archive run --cut
    """

    async def work() -> bool:
        is_whole = True
        async with _grounds() as grounds:
            for ground in grounds:
                told = await _run(ground, cut=cut)
                is_whole = is_whole and not told["failed"]
                _show(told, as_json)
        return is_whole

    if not output.run(work()):
        raise typer.Exit(FAILED)


@archive.command("status")
def status(*, as_json: AsJson = False) -> None:
    """Show what waits for the archive and what is in it, by database."""

    async def work() -> None:
        async with _grounds() as grounds:
            for ground in grounds:
                _show({"database": ground.name, **await archives.figures(ground.db)}, as_json)

    output.run(work())


@archive.command("verify")
def verify(
    *,
    company: Annotated[str | None, typer.Option(help="Only this company: slug or id.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read every archived object and prove each of its events.

    Ends with 1 if an object is damaged or missing.
    """

    async def work() -> bool:
        is_sound = True
        async with _grounds() as grounds:
            wanted = None if company is None else (await company_named(grounds[0].home, company)).id
            for ground in grounds:
                found = await archives.verify_all(ground, company_id=wanted)
                bad = [one for one in found if one.outcome != "sound"]
                for one in bad:
                    _show({"object": one.day.name, "outcome": one.outcome, **(one.finding or {})}, as_json)
                _show({"database": ground.name, "verified": len(found), "notSound": len(bad)}, as_json)
                is_sound = is_sound and not bad
        return is_sound

    if not output.run(work()):
        raise typer.Exit(FAILED)


@archive.command("retention")
def retention(
    *,
    company: Annotated[str, typer.Option(help="Slug or id.")],
    workspace: Annotated[str, typer.Option(help="Slug or id.")],
    days: Annotated[int | None, typer.Option(help="Days of its own; without, those of its company again.")] = None,
) -> None:
    """Set how many days one workspace keeps its events before they go to the archive."""

    async def work() -> None:
        async with _grounds() as grounds:
            home = grounds[0].home
            owner = await company_named(home, company)
            one = await workspace_named(home, owner, workspace)
            async with home.begin() as tx:
                await archives.override_retention(tx, OPERATOR, owner.id, one.id, days=days)

    output.run(work())


async def _run(ground: archives.Ground, *, cut: bool) -> dict[str, Any]:
    marked = await archives.mark(ground)
    archived, days, failed = 0, 0, []
    async for day in archives.due_days(ground):
        days += 1
        output.tell(f"{ground.name}: day {days}: {day.name}")
        try:
            archived += await archives.archive_day(ground, day)
        except (MainstayError, events.Unproven) as error:
            failed.append({"object": day.name, "failure": str(error)})
    told = {"database": ground.name, "marked": marked, "days": days, "archived": archived, "failed": failed}
    if cut:
        report = await archives.cut(ground)
        told |= {"daysCut": report.days, "partitionsDropped": report.partitions}
    return told


@asynccontextmanager
async def _grounds() -> AsyncIterator[list[archives.Ground]]:
    settings = settings_of.load(os.environ)
    regions = Regions.connect(settings, size=2, name="mainstay cli")
    keyring = Keyring(settings.secret, settings.secret_previous)
    try:
        yield [archives.ground_of(settings, regions, db, keyring) for _, db in regions.all()]
    except ValueError as error:
        raise CommandFailed(str(error), code=USAGE) from None
    finally:
        await regions.close()


def _show(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.show_json(told)
    else:
        output.show_record({name: value for name, value in told.items() if value not in (None, [])})
