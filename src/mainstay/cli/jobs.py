"""Jobs by hand: listing, looking, putting in line, and acting on one or on many by a filter."""

import asyncio
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from mainstay import jobs as engine
from mainstay.cli import output
from mainstay.cli.operating import OPERATOR, company_named, moment_of, operators_regions
from mainstay.cli.output import FAILED, USAGE, CommandFailed
from mainstay.cli.queues import AsJson, OfRegion, Queue, database_of
from mainstay.jobs import desk
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.regions import REGIONS

jobs = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Jobs of queues. Works on DATABASE_URL as the operator."
)
Target = Annotated[list[str], typer.Argument(help="Ids of jobs, or one queue, or the set of its failed jobs.")]
Kind = Annotated[str | None, typer.Option(help="Only jobs of this kind.")]
Lane = Annotated[str | None, typer.Option(help="Only jobs of this lane.")]
Company = Annotated[str | None, typer.Option(help="Only jobs of this company: slug or id.")]
Error = Annotated[str | None, typer.Option(help="Only dead jobs whose error holds this text.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count.")]
_WAIT_SECONDS = 0.1
_DONE = {"redrive": "redriven", "clear": "cleared", "cancel": "cancelled", "promote": "retried"}
_ONE = {"redrive": desk.redrive, "clear": desk.clear, "cancel": desk.cancel, "promote": desk.retry}


@jobs.command("list")
def list_jobs(
    queue: Annotated[str, typer.Argument(help="A queue, or the set of its failed jobs such as nova:email:failed.")],
    *,
    state: Annotated[str | None, typer.Option(help=", ".join((*desk.finding.LIST_STATES, "failed")) + ".")] = None,
    kind: Kind = None,
    lane: Lane = None,
    company: Company = None,
    error: Error = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="At most so many, the newest.")] = 50,
    region: OfRegion = None,
    as_json: AsJson = False,
) -> None:
    """List a queue's jobs in one state, newest first.

    \b
      mainstay jobs list nova:email --state retrying
      mainstay jobs list nova:email:failed --error timeout
    """

    async def read() -> tuple[str, Any]:
        async with database_of(region) as db, db.begin(readonly=True) as tx:
            name, is_set = await desk.queue_named(tx, queue)
            wanted = desk.finding.state_named(state, is_set=is_set)
            if wanted is None:
                raise CommandFailed(f"{queue} has no list of '{state}' jobs", code=USAGE)
            company_id = None if company is None else (await company_named(db, company)).id
            match = engine.Match(name, kind, lane, company_id, error if wanted == "dead" else None)
            return wanted, await _read_page(tx, wanted, match, limit)

    wanted, rows = output.run(read())
    shown = [desk.shown.listed(row) for row in rows]
    if as_json:
        for one in shown:
            output.show_json(one)
        return
    last = "error" if wanted == "dead" else "dueAt" if wanted in ("delayed", "retrying") else "startedAt"
    columns = ("id", "kind", "lane", "attempt", "enqueuedAt", last)
    output.show_table(columns, ([one[name] for name in columns] for one in shown), empty=f"No job is {wanted}.")


async def _read_page(tx: Tx, state: Any, match: engine.Match, limit: int) -> list[Any]:
    """Up to `limit` jobs, however many pages that takes."""
    rows: list[Any] = []
    position = None
    while len(rows) < limit:
        page = await desk.finding.read_page(tx, state, match, position=position, limit=limit - len(rows))
        rows += page.rows
        position = page.following
        if position is None:
            break
    return rows


@jobs.command("show")
def show(
    job: Annotated[int, typer.Argument(help="The job's id.")], *, region: OfRegion = None, as_json: AsJson = False
) -> None:
    """Show one job wherever it is, with its payload and its failed attempts.

    \b
      mainstay jobs show 4711
    """

    async def read() -> dict[str, Any]:
        async with database_of(region) as db, db.begin(readonly=True) as tx:
            return desk.shown.job_shown(*await desk.finding.get_with_attempts(tx, job))

    found = output.run(read())
    if as_json:
        output.show_json(found)
        return
    attempts = found.pop("attempts")
    payload = json.dumps(found.pop("payload"), ensure_ascii=False)
    output.show_record({**{name: value for name, value in found.items() if value is not None}, "payload": payload})
    for one in attempts:
        print(f"attempt {one['attempt']}  {one['startedAt']}  {one['outcome']}: {one['error']}")


@jobs.command("why")
def why(
    job: Annotated[int, typer.Argument(help="The job's id.")], *, region: OfRegion = None, as_json: AsJson = False
) -> None:
    """Tell why a job is not running: every reason that holds, the one that counts first.

    \b
      mainstay jobs why 4711
    """

    async def read() -> dict[str, Any]:
        async with database_of(region) as db:
            return desk.shown.reasons_shown(await desk.reasons.why(db, job))

    found = output.run(read())
    if as_json:
        output.show_json(found)
        return
    for one in found["reasons"]:
        print(f"{one['code']:20} {one['sentence']}")


@jobs.command("enqueue")
def enqueue(
    queue: Queue,
    kind: Annotated[str, typer.Argument(help="A public kind of the queue.")],
    *,
    payload: Annotated[str, typer.Option(help="The payload as JSON; '-' reads it from standard input.")] = "null",
    delay: Annotated[int | None, typer.Option(help="Milliseconds from now.")] = None,
    run_at: Annotated[str | None, typer.Option(help="When, as RFC 3339.")] = None,
    attempts: Annotated[int | None, typer.Option(help="Starts in all; 1 is no second try.")] = None,
    priority: Annotated[int | None, typer.Option(help="0 to 10, lower first.")] = None,
    dedupe_key: Annotated[str | None, typer.Option(help="No second unfinished job of the kind with it.")] = None,
    lane: Annotated[str | None, typer.Option(help="Its lane; the company's own unless given.")] = None,
    company: Annotated[str | None, typer.Option(help="Whose job it is: slug or id.")] = None,
    region: OfRegion = None,
    as_json: AsJson = False,
) -> None:
    """Put a job of a public kind in line.

    \b
      mainstay jobs enqueue shop:images shop.resize --payload '{"image": 7}'
    """
    given = {
        "kind": kind,
        "payload": _json_of(payload),
        "delay": delay,
        "runAt": run_at,
        "attempts": attempts,
        "priority": priority,
        "dedupeKey": dedupe_key,
        "lane": lane,
    }

    async def put() -> engine.Enqueued:
        async with operators_regions() as regions:
            db = await _database_for(regions, region, company, given)
            async with db.begin() as tx:
                name, _ = await desk.queue_named(tx, queue)
                return (await desk.public.enqueue_public(tx, name, [desk.public.job_of(given)]))[0]

    made = output.run(put())
    if as_json:
        output.show_json({**asdict(made), "id": str(made.id)})
    else:
        output.tell("an unfinished job has this dedupe key" if made.deduplicated else f"in line: {queue}")
        print(made.id)


@jobs.command("run")
def run(
    kind: Annotated[str, typer.Argument(help="Any kind that a worker has a task for.")],
    *,
    payload: Annotated[str, typer.Option(help="The payload as JSON; '-' reads it from standard input.")] = "null",
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for its end.")] = 60,
    region: OfRegion = None,
    as_json: AsJson = False,
) -> None:
    """Run one job of a kind by hand, once, and show how it ended; ends with 1 unless it completed.

    \b
      mainstay jobs run jobs.expire
    """
    body = _json_of(payload)

    async def work() -> Any:
        async with database_of(region) as db:
            async with db.begin() as tx:
                job_id = await desk.public.run_by_hand(tx, OPERATOR, kind, body)
            return await _ended(db, kind, job_id, wait)

    ran = output.run(work())
    told = {"jobId": str(ran.job_id), "outcome": ran.outcome, "error": ran.job.error if ran.job else None}
    if as_json:
        output.show_json(told)
    else:
        output.show_record({name: value for name, value in told.items() if value is not None})
    if ran.outcome != "completed":
        if ran.outcome is None:
            output.tell(f"it has not ended yet: 'mainstay jobs show {ran.job_id}' tells more")
        raise typer.Exit(FAILED)


async def _ended(db: Database, kind: str, job_id: int, wait: float) -> Any:
    """The run once it has ended, or as it stands after so many seconds."""
    until = asyncio.get_running_loop().time() + wait
    while True:
        ran = await desk.public.get_run(db, kind, job_id)
        if ran.outcome is not None or asyncio.get_running_loop().time() >= until:
            return ran
        await asyncio.sleep(_WAIT_SECONDS)


@jobs.command("redrive")
def redrive(
    target: Target,
    *,
    kind: Kind = None,
    lane: Lane = None,
    company: Company = None,
    error: Error = None,
    died_since: Annotated[str | None, typer.Option(help="Only those that died since: a time, or 12h (ago).")] = None,
    died_until: Annotated[str | None, typer.Option(help="Only those that died before: a time, or 12h (ago).")] = None,
    dry_run: DryRun = False,
    region: OfRegion = None,
    as_json: AsJson = False,
) -> None:
    """Put dead jobs in line again with all their attempts ahead.

    \b
      mainstay jobs redrive 4711 4712
      mainstay jobs redrive nova:email --error timeout --dry-run
    """
    chosen = {
        "kind": kind,
        "lane": lane,
        "company": company,
        "error": error,
        "since": died_since,
        "until": died_until,
    }
    _act("redrive", target, chosen, dry_run=dry_run, region=region, as_json=as_json)


@jobs.command("clear")
def clear(
    target: Target,
    *,
    kind: Kind = None,
    lane: Lane = None,
    company: Company = None,
    error: Error = None,
    died_since: Annotated[str | None, typer.Option(help="Only those that died since: a time, or 12h (ago).")] = None,
    died_until: Annotated[str | None, typer.Option(help="Only those that died before: a time, or 12h (ago).")] = None,
    confirm: Annotated[str | None, typer.Option(help="The queue's name again; asked for unless given.")] = None,
    dry_run: DryRun = False,
    region: OfRegion = None,
    as_json: AsJson = False,
) -> None:
    """Clear dead jobs away; it cannot be undone, so that the queue's name is asked for.

    \b
      mainstay jobs clear nova:email:failed --confirm nova:email
    """
    chosen = {
        "kind": kind,
        "lane": lane,
        "company": company,
        "error": error,
        "since": died_since,
        "until": died_until,
    }
    if not dry_run and not _ids_of(target):
        _confirm(desk.finding.queue_of(target[0])[0], confirm)
    _act("clear", target, chosen, dry_run=dry_run, region=region, as_json=as_json)


@jobs.command("cancel")
def cancel(
    target: Target,
    *,
    kind: Kind = None,
    lane: Lane = None,
    company: Company = None,
    dry_run: DryRun = False,
    region: OfRegion = None,
    as_json: AsJson = False,
) -> None:
    """End jobs that have not begun.

    \b
      mainstay jobs cancel 4711
      mainstay jobs cancel nova:report --company acme
    """
    chosen = {"kind": kind, "lane": lane, "company": company}
    _act("cancel", target, chosen, dry_run=dry_run, region=region, as_json=as_json)


@jobs.command("retry")
def retry(
    target: Target,
    *,
    kind: Kind = None,
    lane: Lane = None,
    company: Company = None,
    dry_run: DryRun = False,
    region: OfRegion = None,
    as_json: AsJson = False,
) -> None:
    """Put delayed and retrying jobs in line now.

    \b
      mainstay jobs retry 4711
      mainstay jobs retry nova:webhook --lane acme
    """
    chosen = {"kind": kind, "lane": lane, "company": company}
    _act("promote", target, chosen, dry_run=dry_run, region=region, as_json=as_json)


@jobs.command("kinds")
def list_kinds(*, region: OfRegion = None, as_json: AsJson = False) -> None:
    """List every kind of job that a worker ever had a task for."""

    async def read() -> list[dict[str, Any]]:
        async with database_of(region) as db:
            return await desk.public.list_kinds(db)

    found = output.run(read())
    if as_json:
        for one in found:
            output.show_json(one)
        return
    columns = ("kind", "queue", "priority", "attempts", "isPublic", "share")
    output.show_table(columns, ([one[name] for name in columns] for one in found), empty="No worker ever ran.")


@jobs.command("acts")
def acts(
    act: Annotated[str | None, typer.Argument(help="The id of one of them.")] = None,
    *,
    end: Annotated[bool, typer.Option("--cancel", help="End it where it stands.")] = False,
    region: OfRegion = None,
    as_json: AsJson = False,
) -> None:
    """Show acts on many jobs and how far they are, the newest first; or one of them.

    \b
      mainstay jobs acts
      mainstay jobs acts 0199… --cancel
    """

    async def read() -> list[dict[str, Any]]:
        async with database_of(region) as db:
            if act is None:
                return await desk.bulk.read(db)
            async with db.begin() as tx:
                return [await (desk.bulk.cancel(tx, OPERATOR, act) if end else desk.bulk.get(tx, act))]

    found = output.run(read())
    if as_json:
        for one in found:
            output.show_json(one)
    elif act is not None:
        output.show_record(found[0])
    else:
        columns = ("id", "act", "queue", "state", "counted", "done", "createdAt")
        output.show_table(columns, ([one[name] for name in columns] for one in found), empty="There was none.")


def _act(
    act: Any, target: list[str], chosen: dict[str, str | None], *, dry_run: bool, region: str | None, as_json: bool
) -> None:
    """The act is done to the jobs of these ids, or to those of a queue that match."""
    ids = _ids_of(target)
    if ids and (any(chosen.values()) or dry_run):
        output.fail(CommandFailed("a filter needs a queue, and ids need none", code=USAGE))

    async def one_by_one() -> None:
        async with database_of(region) as db:
            for job_id in ids:
                async with db.begin() as tx:
                    await _ONE[act](tx, OPERATOR, job_id)
                output.tell(f"{job_id} {_DONE[act]}")

    async def many() -> dict[str, Any]:
        async with database_of(region) as db, db.begin() as tx:
            match = await _match_of(db, tx, target[0], chosen)
            if dry_run:
                found = await desk.bulk.count(tx, act, match)
                return {"dryRun": True, "matched": found.matched, "isFloor": found.is_floor}
            return await desk.bulk.begin(tx, OPERATOR, act, match)

    if ids:
        output.run(one_by_one())
        return
    told = output.run(many())
    if as_json:
        output.show_json(told)
    elif dry_run:
        print(f"{told['matched']}{'+' if told['isFloor'] else ''} jobs match")
    elif told["state"] == "done":
        print(f"{told['done']} jobs {_DONE[act]}")
    else:
        print(f"a job does it: 'mainstay jobs acts {told['id']}' tells how far it is")


async def _match_of(db: Database, tx: Tx, queue: str, chosen: dict[str, str | None]) -> engine.Match:
    name, _ = await desk.queue_named(tx, queue)
    company = chosen.get("company")
    since, until = (None if text is None else _moment_of(text) for text in (chosen.get("since"), chosen.get("until")))
    return engine.Match(
        name,
        chosen["kind"],
        chosen["lane"],
        None if company is None else (await company_named(db, company)).id,
        chosen.get("error"),
        since,
        until,
    )


def _moment_of(text: str) -> datetime:
    """The time that is given, or that lies so long ago (90m, 12h, 7d)."""
    now = datetime.now(UTC)
    moment = moment_of(text, now=now)
    return moment if "-" in text else now - (moment - now)


def _ids_of(target: list[str]) -> list[int]:
    """The ids, where the target is ids; none where it is a queue."""
    if all(one.isascii() and one.isdigit() and len(one) < 19 for one in target):
        return [int(one) for one in target]
    if len(target) > 1:
        output.fail(CommandFailed("give ids of jobs, or one queue", code=USAGE))
    return []


def _confirm(queue: str, given: str | None) -> None:
    if given is None and sys.stdin.isatty():
        given = typer.prompt(f"Clearing cannot be undone. Type {queue} to clear its failed jobs", err=True)
    if given != queue:
        output.fail(CommandFailed(f"nothing was cleared: it needs --confirm {queue}", code=USAGE))


def _json_of(text: str) -> Any:
    try:
        return json.loads(sys.stdin.read() if text == "-" else text)
    except ValueError as error:
        output.fail(CommandFailed(f"the payload is not JSON: {error}", code=USAGE))


async def _database_for(regions: Any, region: str | None, company: str | None, given: dict[str, Any]) -> Database:
    """Where the job belongs: the database of its company, else of the region, else home."""
    if company is not None:
        owner = await company_named(regions.home, company)
        given["companyId"] = owner.id
        return regions.of(owner.data_region)  # type: ignore[no-any-return]
    if region is None:
        return regions.home  # type: ignore[no-any-return]
    if region.upper() not in REGIONS:
        raise CommandFailed(f"--region must be one of {', '.join(REGIONS)}", code=USAGE)
    return regions.of(region.upper())  # type: ignore[no-any-return]
