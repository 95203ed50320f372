"""The daily check: stored events against the templates that their workspaces have now. Events stay as they are."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

import msgspec
import orjson

from mainstay import jobs
from mainstay.kernel import ids, outbox
from mainstay.kernel.db import Connection, Database, Record, Tx
from mainstay.kernel.outbox import Actor
from mainstay.kernel.paging import Cursors
from mainstay.kernel.work import Job
from mainstay.templates.queries import reports as rows
from mainstay.templates.queries.checking import prune_flags_everywhere
from mainstay.templates.rules import Breach, Facts, Rules, broken
from mainstay.templates.schemas import report_shown

CHECK_WORKSPACE: Final = "templates.check_workspace"
QUEUE: Final = jobs.UPKEEP
EXAMPLES_AT_MOST: Final = 5
STEPS_AT_ONCE: Final = 50
"""Steps of one job; a workspace that has more to check goes on in another one."""
REPORTS_KEPT: Final = timedelta(days=400)
_WORKSPACES_AT_ONCE: Final = 500
_FLAGS_AT_ONCE: Final = 5_000
_NIL = "00000000-0000-0000-0000-000000000000"
_ENFORCER = Actor(kind="job", id="templates.check", name="Template check")

ReadOn = Callable[[str, str, int, datetime], Awaitable[tuple[Sequence[Mapping[str, Any]], int, datetime]]]
"""The next stored events of a chain (company, workspace) behind a seq and its time, and where it stands behind them."""


@dataclass(slots=True)
class _Found:
    """What one step found of one rule."""

    breach: Breach
    events: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)


async def start(db: Database) -> int:
    """Every workspace that has templates is in line to be checked; how many. What is past its time is gone: reports of
    400 days ago, and flags of events that are not stored any more."""
    await rows.prune_reports_everywhere(db, REPORTS_KEPT)
    while await prune_flags_everywhere(db, limit=_FLAGS_AT_ONCE) == _FLAGS_AT_ONCE:
        continue
    after, count = _NIL, 0
    while found := await rows.assigned_everywhere(db, after=after, limit=_WORKSPACES_AT_ONCE):
        places = [(str(row["company_id"]), str(row["workspace_id"])) for row in found]
        async with db.begin() as tx:
            for company_id, workspace_id in places:
                await _line_up(tx, company_id, workspace_id)
        after, count = places[-1][1], count + len(places)
    return count


async def run(db: Database, read_on: ReadOn, job: Job) -> None:
    """The workspace of the job is checked to its end, or as far as one job goes and the rest is in line."""
    company_id, workspace_id = job.payload["companyId"], job.payload["workspaceId"]
    for _ in range(STEPS_AT_ONCE):
        if not await step(db, read_on, company_id, workspace_id):
            async with db.begin() as tx:
                await _tell(tx, company_id, workspace_id)
            return
    async with db.begin() as tx:
        await _line_up(tx, company_id, workspace_id, rest=job.id)


async def step(db: Database, read_on: ReadOn, company_id: str, workspace_id: str) -> bool:
    """The next events are checked against those templates that are least far, and counted in the day's report.

    Whether there may be more. What was found and how far it came commit together, so no event is counted twice.
    """
    positions = await rows.positions_of(db, company_id, workspace_id)
    if not positions:
        return False
    least = min((row["seq"], row["received_at"]) for row in positions)
    ours = [row for row in positions if row["seq"] == least[0]]
    events, seq, received_at = await read_on(company_id, workspace_id, least[0], least[1])
    if seq <= least[0]:
        return False
    async with db.begin() as tx:
        await rows.lock_check(tx, workspace_id)
        if [_place(row) for row in await rows.positions_of(tx, company_id, workspace_id)] != [
            _place(row) for row in positions
        ]:
            return True
        marks = [(str(row["id"]), row["version"]) for row in ours]
        await rows.move_check(tx, company_id, workspace_id, marks, seq=seq, received_at=received_at)
        day = await rows.today_everywhere(tx)
        for row in ours:
            await _report(tx, company_id, workspace_id, row, events, day)
    return True


async def list_reports(
    db: Connection,
    cursors: Cursors,
    company_id: str,
    *,
    workspace_id: str | None,
    template_id: str | None,
    cursor: str | None,
    limit: int,
) -> dict[str, Any]:
    """One page of what the checks found, newest first, with the cursor behind it. Invalid for another list's cursor."""
    scope = f"template_reports/{company_id}/{workspace_id or ''}/{template_id or ''}"
    before = None if cursor is None else str(cursors.open(scope, cursor)[0])
    found = await rows.list_reports(
        db, company_id, workspace_id=workspace_id, template_id=template_id, before=before, limit=limit + 1
    )
    page = found[:limit]
    more = len(found) > limit
    next_cursor = cursors.seal(scope, [str(page[-1]["id"])]) if more else None
    return {"data": [report_shown(row) for row in page], "meta": {"nextCursor": next_cursor, "hasMore": more}}


def found_in(rules: Rules, events: Iterable[Mapping[str, Any]]) -> list[_Found]:
    """What the events break of the rules, one for each field or key, with the first of them as examples."""
    found: dict[str, _Found] = {}
    for event in events:
        for breach in broken(rules, _facts(event)):
            one = found.setdefault(breach.pointer, _Found(breach))
            one.events += 1
            if len(one.examples) < EXAMPLES_AT_MOST:
                one.examples.append({"id": str(event["id"]), "seq": event["seq"]})
    return list(found.values())


async def _report(
    tx: Tx, company_id: str, workspace_id: str, template: Record, events: Sequence[Mapping[str, Any]], day: date
) -> None:
    for one in found_in(msgspec.json.decode(template["rules"], type=Rules), events):
        values = (
            ids.new_id(),
            template["id"],
            template["name"],
            template["version"],
            day,
            one.breach.rule,
            one.breach.pointer,
            one.events,
            orjson.dumps(one.examples).decode(),
            EXAMPLES_AT_MOST,
        )
        await rows.add_report(tx, company_id, workspace_id, values)


async def _tell(tx: Tx, company_id: str, workspace_id: str) -> None:
    """The company hears of what was found, once a template and run."""
    found: dict[tuple[str, int], list[Record]] = {}
    for row in await rows.take_untold(tx, company_id, workspace_id):
        found.setdefault((str(row["template_id"]), row["template_version"]), []).append(row)
    for (template_id, version), several in sorted(found.items()):
        data = {
            "templateId": template_id,
            "name": several[0]["template_name"],
            "version": version,
            "workspaceId": workspace_id,
            "day": several[0]["day"].isoformat(),
            "breaches": [
                {"rule": row["rule"], "pointer": "#" + row["pointer"], "events": row["events"]} for row in several
            ],
        }
        await outbox.announce(tx, "template.violated", company_id=company_id, actor=_ENFORCER, data=data)


async def _line_up(tx: Tx, company_id: str, workspace_id: str, *, rest: int | None = None) -> None:
    await jobs.enqueue(
        tx,
        CHECK_WORKSPACE,
        {"companyId": company_id, "workspaceId": workspace_id},
        queue=QUEUE,
        lane=f"templates/{company_id}",
        company_id=company_id,
        dedupe_key=workspace_id if rest is None else f"{workspace_id}/{rest}",
    )


def _place(row: Record) -> tuple[str, int, int]:
    return str(row["id"]), row["version"], row["seq"]


def _facts(event: Mapping[str, Any]) -> Facts:
    actor = {name: value for name in ("id", "email", "name") if (value := event[f"actor_{name}"])}
    return Facts(event["action"], event["category"], event["project_id"], actor, metadata=event["metadata"])
