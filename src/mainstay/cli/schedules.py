"""Schedules by hand: when each runs, what became of its runs, and one run now."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Annotated

import typer

from mainstay.cli import output
from mainstay.cli.operating import OPERATOR, operators_regions
from mainstay.cli.output import FAILED, USAGE, CommandFailed
from mainstay.jobs import recurring
from mainstay.kernel.db import Database
from mainstay.kernel.regions import REGIONS

schedules = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Recurring jobs. Works straight on the database of the settings, as the operator.",
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, a line each.")]
Region = Annotated[str | None, typer.Option(help="The database of this region instead of the home one.")]
Name = Annotated[str, typer.Argument(help="As 'mainstay schedules list' names it.")]


@schedules.command("list")
def list_all(
    *,
    family: Annotated[str | None, typer.Option(help="Only this family.")] = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Show every schedule: its slots (UTC), its next one, the end of its last run, and what is wrong.

    \b
    Ends with 1 if a schedule is late, missing, overlapping or failing.
      mainstay schedules list
      mainstay schedules list --family audit --json
    """

    async def read() -> list[recurring.ListedSchedule]:
        async with _database(region) as db:
            return await recurring.list_schedules(db, family=family)

    found = output.run(read())
    if as_json:
        for one in found:
            output.show_json(one.shown())
    else:
        rows = [
            (one.family, one.name, one.slots, _minute(one.next_at), *_last(one.last_run), ", ".join(one.concerns))
            for one in found
        ]
        columns = ("family", "name", "slots", "next", "last", "state", "took", "wrong")
        output.show_table(columns, rows, empty="No schedule is known: has a worker run within the last day?")
    if any(one.concerns for one in found):
        raise typer.Exit(FAILED)


@schedules.command("show")
def show(
    name: Name,
    *,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many of its newest runs.")] = 10,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Show one schedule and its newest runs.

    \b
      mainstay schedules show plans.rollover
    """

    async def read() -> tuple[recurring.ListedSchedule, list[recurring.ScheduleRun]]:
        async with _database(region) as db:
            return await recurring.get_schedule(db, name), await recurring.list_runs(db, name, limit=limit)

    one, runs = output.run(read())
    if as_json:
        output.show_json({**one.shown(), "runs": [run.shown() for run in runs]})
        return
    output.show_record({key: value for key, value in one.shown().items() if key != "lastRun"})
    print()
    rows = [
        (
            run.job_id,
            _second(run.due_at),
            run.asked_by,
            _second(run.started_at),
            *_last(run)[1:],
            run.attempt,
            run.covered,
        )
        for run in runs
    ]
    columns = ("job", "due", "by hand", "started", "state", "took", "attempt", "slots covered")
    output.show_table(columns, rows, empty="It has not run yet.")


@schedules.command("run")
def run(name: Name, *, region: Region = None, as_json: AsJson = False) -> None:
    """Run it once as soon as a worker is free; a run that has not ended stands for it.

    \b
      mainstay schedules run archive.verify
    """

    async def ask() -> recurring.RunByHand:
        async with _database(region) as db, db.begin() as tx:
            return await recurring.run_now(tx, OPERATOR, name)

    asked = output.run(ask())
    if as_json:
        output.show_json({"schedule": name, "jobId": str(asked.job_id), "isNew": asked.is_new})
    else:
        print(f"job {asked.job_id}" + ("" if asked.is_new else " stands for it: it had not ended"))


@asynccontextmanager
async def _database(region: str | None) -> AsyncIterator[Database]:
    if region is not None and region not in REGIONS:
        raise CommandFailed(f"--region: there are {', '.join(REGIONS)}", code=USAGE)
    async with operators_regions() as regions:
        yield regions.home if region is None else regions.of(region)


def _last(run: recurring.ScheduleRun | None) -> tuple[str | None, str | None, str | None]:
    if run is None:
        return None, None, None
    took = None if run.duration is None else f"{run.duration / timedelta(seconds=1):.2f} s"
    return _second(run.started_at or run.due_at), run.state + (" (late)" if run.is_late else ""), took


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if not moment.second else f"{moment:%Y-%m-%d %H:%M:%S}"


def _second(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"
