"""Queues by hand: what is in each, stopping one, letting it go on, and its slots."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import typer

from mainstay import jobs
from mainstay.cli import output
from mainstay.cli.operating import OPERATOR, operators_regions
from mainstay.cli.output import USAGE, CommandFailed
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.outbox import Actor
from mainstay.kernel.regions import REGIONS

queues = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Queues of jobs. Works on DATABASE_URL as the operator."
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts, a line each.")]
OfRegion = Annotated[str | None, typer.Option("--region", help="The database of this region instead of the home one.")]
Queue = Annotated[str, typer.Argument(help="As 'mainstay queues list' names it.")]
_COUNTS = ("waiting", "delayed", "active", "retrying", "completed", "failed")


@asynccontextmanager
async def database_of(region: str | None) -> AsyncIterator[Database]:
    """The home database, or that of a region."""
    if region is not None and region.upper() not in REGIONS:
        raise CommandFailed(f"--region must be one of {', '.join(REGIONS)}", code=USAGE)
    async with operators_regions() as regions:
        yield regions.home if region is None else regions.of(region.upper())


@queues.command("list")
def list_queues(*, region: OfRegion = None, as_json: AsJson = False) -> None:
    """Show every queue with its jobs by state, and the name of the set of its failed jobs.

    \b
      mainstay queues list
      mainstay queues list --json | jq 'select(.failed > 0)'
    """

    async def read() -> list[jobs.QueueStats]:
        async with database_of(region) as db:
            return list((await jobs.stats(db)).values())

    found = [jobs.desk.shown.queue_shown(one) for one in output.run(read())]
    if as_json:
        for one in found:
            output.show_json(one)
        return
    rows = [
        (
            one["queue"],
            *(_count(one[name], one["bound"]) for name in _COUNTS),
            one["pausedBy"],
            one["concurrency"],
            one["failedSet"],
        )
        for one in found
    ]
    output.show_table(("queue", *_COUNTS, "paused by", "slots set", "failed set"), rows, empty="There is no queue.")


@queues.command("findings")
def findings(*, region: OfRegion = None, as_json: AsJson = False) -> None:
    """Show patterns in failures: the same one again and again, backoff at its end, exhaustion, full memory.

    \b
      mainstay queues findings
    """

    async def read() -> list[dict[str, Any]]:
        async with database_of(region) as db, db.begin(readonly=True) as tx:
            return [jobs.desk.shown.finding_shown(one) for one in await jobs.desk.findings.find(tx)]

    found = output.run(read())
    if as_json:
        for one in found:
            output.show_json(one)
        return
    columns = ("code", "queue", "kind", "sentence")
    output.show_table(columns, ([one[name] for name in columns] for one in found), empty="Nothing stands out.")


@queues.command("pause")
def pause(queue: Queue, *, region: OfRegion = None) -> None:
    """Start no job of the queue from now on; what runs now runs to its end.

    \b
      mainstay queues pause nova:report
    """
    _settle(queue, region, jobs.pause)
    output.tell(f"{queue} is paused")


@queues.command("resume")
def resume(queue: Queue, *, region: OfRegion = None) -> None:
    """Start the queue's jobs again.

    \b
      mainstay queues resume nova:report
    """
    _settle(queue, region, jobs.resume)
    output.tell(f"{queue} runs")


@queues.command("concurrency")
def concurrency(
    queue: Queue,
    slots: Annotated[str, typer.Argument(help="Slots of each worker, 1 to 10,000, or 'default'.")],
    *,
    region: OfRegion = None,
) -> None:
    """Set how many of the queue's jobs each worker runs at once, while they run; 'default' is as configured.

    \b
      mainstay queues concurrency nova:report 8
      mainstay queues concurrency nova:report default
    """
    if slots != "default" and not (slots.isascii() and slots.isdigit() and len(slots) < 9):
        output.fail(CommandFailed("the slots are a number, or 'default'", code=USAGE))
    wanted = None if slots == "default" else int(slots)

    async def act(tx: Tx, actor: Actor, name: str) -> None:
        await jobs.set_concurrency(tx, actor, name, wanted)

    _settle(queue, region, act)
    output.tell(f"{queue} has {'its configured' if wanted is None else wanted} slots in each worker")


def _settle(queue: str, region: str | None, act: Callable[[Tx, Actor, str], Awaitable[None]]) -> None:
    async def work() -> None:
        async with database_of(region) as db, db.begin() as tx:
            await act(tx, OPERATOR, queue)

    output.run(work())


def _count(number: int, bound: int) -> str:
    return f"{number}+" if number >= bound else str(number)
