"""Events that transactions emitted in SQL and the intake refused: showing them, and trying or dropping them by hand."""

from typing import Annotated, Any

import typer

from mainstay.cli import output
from mainstay.cli.operating import OPERATOR, operators_regions
from mainstay.cli.output import USAGE, CommandFailed
from mainstay.events import Emissions
from mainstay.kernel.db import Database
from mainstay.kernel.regions import REGIONS, Regions

_PAGE = 1_000


def emitted(
    *,
    region: Annotated[str | None, typer.Option(help="Only the database of this region.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=_PAGE, help="How many to list.")] = 100,
    after: Annotated[int, typer.Option(help="List those with higher ids than this.")] = 0,
    retry: Annotated[list[int] | None, typer.Option(help="Put this one in line again. May be repeated.")] = None,
    retry_all: Annotated[bool, typer.Option("--retry-all", help="Put all of them in line again.")] = False,
    discard: Annotated[list[int] | None, typer.Option(help="Throw this one away for good. May be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, an event a line.")] = False,
) -> None:
    """List events that SQL emitted and the intake refused, with the reason; works on DATABASE_URL, as the operator.

    \b
    Ids belong to a database: where there are several, name the --region to act.
      mainstay emitted
      mainstay emitted --retry 41 --retry 42
      mainstay emitted --retry-all
      mainstay emitted --discard 41
    """
    if region is not None and region.upper() not in REGIONS:
        output.fail(CommandFailed(f"there is no region '{region}'", f"There are {', '.join(REGIONS)}.", code=USAGE))

    async def work() -> None:
        async with operators_regions() as regions:
            named = _databases(regions, region)
            if (retry or discard) and len(named) > 1:
                raise CommandFailed("there are several databases", "Name the --region of these events.", code=USAGE)
            for name, db in named:
                if retry or retry_all or discard:
                    await _act(db, None if retry_all else retry, discard or [])
                else:
                    await _list(name, db, after, limit, as_json=as_json)

    output.run(work())


def _databases(regions: Regions, region: str | None) -> list[tuple[str, Database]]:
    if region is None:
        return regions.all()
    return [(region.upper(), regions.of(region.upper()))]


async def _act(db: Database, again: list[int] | None, gone: list[int]) -> None:
    async with db.begin() as tx:
        dropped = await Emissions.discard(tx, OPERATOR, gone) if gone else 0
        retried = await Emissions.retry(tx, OPERATOR, again) if again is None or again else 0
    output.tell(f"{retried} in line again, {dropped} thrown away")


async def _list(name: str, db: Database, after: int, limit: int, *, as_json: bool) -> None:
    found = await Emissions.list_refused(db, after=after, limit=limit)
    if as_json:
        for one in found:
            told: dict[str, Any] = {
                "id": one.id, "database": name, "companyId": one.company_id, "workspaceId": one.workspace_id,
                "eventId": one.event_id, "event": one.event, "emittedAt": one.emitted_at.isoformat(),
                "refusedAt": one.refused_at.isoformat(), "reason": one.reason, "detail": one.detail,
            }  # fmt: skip
            output.show_json(told)
        return
    rows = [(one.id, one.workspace_id, f"{one.refused_at:%Y-%m-%d %H:%M:%S}", one.reason, one.detail) for one in found]
    output.show_table(
        ("id", "workspace", "refused", "reason", "detail"), rows, empty=f"{name}: no emitted event was refused"
    )
