"""Who listens to what: the only list of announcement -> reaction.

Every announcement is also recorded in the audit log, except how a delivery ended: an event of that would be delivered
in its turn, and a receiver that fails would feed itself (D-04).
"""

from collections.abc import Mapping, Sequence

from mainstay import events, identity, webhooks
from mainstay.events import Place
from mainstay.kernel.db import Tx
from mainstay.kernel.outbox import Announcement, Reaction

REACTIONS: Mapping[str, Sequence[Reaction]] = {}


async def record(tx: Tx, facts: Sequence[Announcement]) -> None:
    """Each fact is an event in the system workspace of its company, or of the operator."""
    facts = [fact for fact in facts if not _is_delivery_outcome(fact)]
    if not facts:
        return
    companies = {fact.company_id for fact in facts if fact.company_id is not None}
    found = await identity.system_workspaces(tx, sorted(companies))
    places: dict[str | None, Place] = {
        workspace.company_id: Place(workspace.id, workspace.company_id, workspace.region, None) for workspace in found
    }
    places[None] = places[identity.OPERATOR_COMPANY]
    await events.record(tx, facts, places)


def _is_delivery_outcome(fact: Announcement) -> bool:
    return fact.name == "job.died" and fact.data.get("queue") == webhooks.QUEUE
