"""Functions by hand: what is declared, their runs with every step, cancel one, run one again, send an event."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

import orjson
import typer

from mainstay import functions as room
from mainstay.cli import output
from mainstay.cli.operating import OPERATOR, operators_regions
from mainstay.cli.output import USAGE, CommandFailed
from mainstay.kernel import ids, outbox
from mainstay.kernel.db import Database
from mainstay.kernel.regions import REGIONS

functions = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Functions and their runs. Works straight on the database of the settings, as the operator.",
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, a line each.")]
Region = Annotated[str | None, typer.Option(help="The database of this region instead of the home one.")]
RunId = Annotated[str, typer.Argument(help="As 'mainstay functions runs' lists it.")]
_STATES = ("queued", "running", "waiting", "completed", "failed", "cancelled", "skipped")


@functions.command("list")
def list_all(*, region: Region = None, as_json: AsJson = False) -> None:
    """Show every function that has runs, with how many are in each state (10,000 is a floor).

    \b
      mainstay functions list
    """

    async def read() -> list[room.RunCounts]:
        async with _database(region) as db:
            return await room.count_runs(db)

    found = output.run(read())
    if as_json:
        for one in found:
            output.show_json({"id": one.function_id, "group": one.group, "runs": one.runs})
        return
    states = ("open", "completed", "failed", "cancelled", "skipped")
    rows = [(one.group, one.function_id, *(one.runs.get(state) for state in states)) for one in found]
    output.show_table(("group", "function", *states), rows, empty="No function has run yet.")


@functions.command("runs")
def runs(
    function: Annotated[str | None, typer.Argument(help="Only of this function.")] = None,
    *,
    state: Annotated[str | None, typer.Option(help=f"Only in this state: {', '.join(_STATES)}.")] = None,
    before: Annotated[str | None, typer.Option(help="Only before this run, for the next page.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000)] = 20,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Show runs, newest first.

    \b
      mainstay functions runs credit.charge.postdated --state failed
    """

    async def read() -> list[room.ListedRun]:
        if state is not None and state not in _STATES:
            raise CommandFailed(f"--state: there are {', '.join(_STATES)}", code=USAGE)
        if before is not None and not ids.is_uuid(before):
            raise CommandFailed("--before needs the id of a run", code=USAGE)
        async with _database(region) as db:
            wanted: Any = state
            return await room.list_runs(db, function_id=function, state=wanted, before_id=before, limit=limit)

    found = output.run(read())
    if as_json:
        for one in found:
            output.show_json(one._asdict())
        return
    rows = [
        (one.id, one.function_id, one.state, _second(one.created_at), _second(one.ended_at), _why(one)) for one in found
    ]
    output.show_table(("run", "function", "state", "created", "ended", "why"), rows, empty="There is no such run.")


@functions.command("show")
def show(run: RunId, *, region: Region = None, as_json: AsJson = False) -> None:
    """Show one run: its events, its output, and each step with its times, attempts and what it gave.

    \b
      mainstay functions show 01993c55-…
    """

    async def read() -> room.RunShown:
        async with _database(region) as db:
            return await room.get_run(db, run)

    found = output.run(read())
    if as_json:
        steps = [step._asdict() for step in found.steps]
        told = {"events": found.events, "output": found.output, "parent_id": found.parent_id, "steps": steps}
        output.show_json({**found.run._asdict(), **told})
        return
    output.show_record({**found.run._asdict(), "events": _cut(found.events), "output": _cut(found.output)})
    print()
    rows = [
        (
            step.id, step.kind, step.state, step.attempt, _second(step.started_at),
            _second(step.ended_at or step.wake_at), _cut(step.error or step.output),
        )
        for step in found.steps
    ]  # fmt: skip
    columns = ("step", "kind", "state", "attempt", "started", "ended, or wakes", "gave")
    output.show_table(columns, rows, empty="No step has ended yet.")


@functions.command("cancel")
def cancel(run: RunId, *, region: Region = None) -> None:
    """Begin no further step of a run; the one at hand runs to its end.

    \b
      mainstay functions cancel 01993c55-…
    """

    async def act() -> None:
        async with _database(region) as db, db.begin() as tx:
            await room.cancel_run(tx, OPERATOR, run)

    output.run(act())
    print(f"run {run} is cancelled")


@functions.command("rerun")
def rerun(run: RunId, *, region: Region = None) -> None:
    """Run a function again with the events of one of its runs, from the first step.

    \b
      mainstay functions rerun 01993c55-…
    """

    async def act() -> str:
        async with _database(region) as db, db.begin() as tx:
            return await room.rerun(tx, OPERATOR, run)

    print(f"run {output.run(act())}")


@functions.command("send")
def send(
    name: Annotated[str, typer.Argument(help="The event's name, such as shop/order.paid.")],
    data: Annotated[str, typer.Argument(help="Its data as JSON.")] = "{}",
    *,
    key: Annotated[str | None, typer.Option("--id", help="An id that does nothing again within 24 hours.")] = None,
    region: Region = None,
) -> None:
    """Send an event, as applications send theirs.

    \b
      mainstay functions send credit/payment.due '{"payment": "p-1"}'
    """

    async def act() -> list[str]:
        try:
            given = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise CommandFailed(f"the data are no JSON: {error}", code=USAGE) from None
        async with _database(region) as db, db.begin() as tx:
            sent = await room.send(tx, [{"name": name, "data": given, "id": key}])
            told = {"name": name, "eventId": sent[0]}
            await outbox.announce(tx, "function_event.sent_by_hand", company_id=None, actor=OPERATOR, data=told)
            return sent

    print(f"event {output.run(act())[0]}")


@asynccontextmanager
async def _database(region: str | None) -> AsyncIterator[Database]:
    if region is not None and region not in REGIONS:
        raise CommandFailed(f"--region: there are {', '.join(REGIONS)}", code=USAGE)
    async with operators_regions() as regions:
        yield regions.home if region is None else regions.of(region)


def _why(run: room.ListedRun) -> str | None:
    return run.reason or (None if run.error is None else _cut(run.error.get("message"), 60))


def _cut(value: object, length: int = 200) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return text if len(text) <= length else text[: length - 1] + "…"


def _second(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"
