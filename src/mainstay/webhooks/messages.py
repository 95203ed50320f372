"""Messages: what happened, on its way to every endpoint that wants to know."""

from collections.abc import Sequence
from dataclasses import dataclass

from mainstay.kernel.db import Tx
from mainstay.webhooks.queries import deliveries


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One thing to tell: `id` is a UUIDv7 and becomes `webhook-id`; `body` is sent exactly as it is here.

    Without a workspace only company-wide endpoints hear it.
    """

    id: str
    company_id: str
    workspace_id: str | None
    type: str
    body: str
    trace_id: str


async def publish(tx: Tx, messages: Sequence[Message]) -> int:
    """Every active endpoint that wants a message has a pending delivery of it with its job; how many deliveries.

    All of it commits or rolls back with the caller's transaction. A message that nobody wants leaves no trace.
    """
    if not messages:
        return 0
    columns = zip(*((m.id, m.company_id, m.workspace_id, m.type, m.body, m.trace_id) for m in messages), strict=True)
    return await deliveries.fan_out_everywhere(tx, [list(column) for column in columns])
