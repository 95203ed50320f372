"""Announcements of every room become events in the system workspace of the company they concern."""

from collections.abc import Mapping, Sequence

import orjson

from mainstay.events import canonical, ingest, intake
from mainstay.events.intake import Place, Prepared
from mainstay.events.queries import chains
from mainstay.events.schemas import ActorIn, TargetIn
from mainstay.kernel.crypto import digest_of
from mainstay.kernel.db import Tx
from mainstay.kernel.errors import MainstayError
from mainstay.kernel.outbox import Announcement

CATEGORY = "mainstay"


async def record(tx: Tx, facts: Sequence[Announcement], places: Mapping[str | None, Place]) -> None:
    """Each fact is one event of its company's system workspace, exactly once by the announcement's id."""
    prepared = [_prepare(fact, places.get(fact.company_id) or places[None]) for fact in facts]
    prepared.sort(key=lambda event: event.row[0])
    for result in await ingest.append(tx, prepared):
        if isinstance(result, MainstayError):
            raise result


async def start_chains(tx: Tx, starts: Sequence[tuple[str, str, bool]]) -> None:
    """Each workspace has a chain in this database: (workspace, company, whether its events are counted as used)."""
    await chains.start_chains_everywhere(tx, starts)


async def drop_empty_chains(tx: Tx, workspace_ids: Sequence[str]) -> None:
    """Those of the workspaces that never had an event in this database have no chain in it."""
    await chains.drop_empty_chains_everywhere(tx, workspace_ids)


def _prepare(fact: Announcement, place: Place) -> Prepared:
    actor = ActorIn(id=fact.actor.id, name=fact.actor.name, email=fact.actor.email)
    subject = fact.name.partition(".")[0]
    target_id = fact.data.get("id") or fact.data.get(f"{subject}Id")
    target = TargetIn(id=str(target_id), type=subject) if target_id else None
    parts = (
        canonical.canonical_value({name: text for name in ("id", "email", "name") if (text := getattr(actor, name))}),
        None if target is None else canonical.canonical_value({"id": target.id or "", "type": target.type or ""}),
        canonical.canonical(orjson.dumps(dict(fact.data))),
        canonical.canonical(orjson.dumps({"actorKind": fact.actor.kind})),
        None,
    )
    return intake.place_parts(
        place,
        fact.trace_id,
        action=fact.name,
        category=CATEGORY,
        project_id=None,
        actor=actor,
        target=target,
        parts=parts,
        occurred=fact.at,
        idempotency=digest_of(fact.id)[:16],
        fingerprint=digest_of(fact.id)[16:],
    )
