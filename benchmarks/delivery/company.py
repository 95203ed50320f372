"""What is delivered and to whom: messages of about 500 bytes, and companies whose endpoints want them."""

import json
import os
from collections.abc import Sequence

import asyncpg

from mainstay import webhooks
from mainstay.kernel import ids
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.kernel.outbox import Actor
from mainstay.kernel.settings import load

_ACTOR = Actor(kind="operator", id="benchmark")
_EMPTIED = ("deliveries", "messages", "attempts", "jobs", "endpoints", "endpoint_health", "announcements")
OPEN = "select count(*) from mainstay.deliveries where status in ('PENDING', 'RETRYING')"


def body_of(number: int) -> str:
    """A message of about 500 bytes."""
    data = {
        "id": f"evt_{number:08}",
        "action": "invoice.paid",
        "actor": {"id": "user_8412", "name": "Ada Lovelace", "email": "ada@example.com"},
        "target": {"id": "inv_20931", "type": "invoice"},
        "payload": {"amount": 1250, "currency": "EUR", "method": "card", "note": "n" * 190},
    }
    body = {"type": "invoice.paid", "timestamp": "2026-01-02T03:04:05.000006Z", "data": data}
    return json.dumps(body, separators=(",", ":"))


def message(company_id: str, number: int) -> webhooks.Message:
    """One message for a company."""
    return webhooks.Message(
        id=ids.new_id(),
        company_id=company_id,
        workspace_id=None,
        type="invoice.paid",
        body=body_of(number),
        trace_id=ids.new_trace_id(),
    )


async def empty(connection: asyncpg.Connection) -> None:
    """No endpoint and nothing of earlier turns is left."""
    for table in _EMPTIED:
        if await connection.fetchval("select to_regclass($1) is not null", f"mainstay.{table}"):
            await connection.execute(f"truncate mainstay.{table}")


async def make_company(db: Database, urls: Sequence[str], environment: dict[str, str]) -> str:
    """A company id that has an endpoint for every URL, and each wants every message."""
    company_id = ids.new_id()
    await _register(db, [(company_id, url) for url in urls], environment)
    return company_id


async def make_companies(db: Database, urls: Sequence[str], environment: dict[str, str]) -> list[str]:
    """A company id for every URL, each with one endpoint that wants every message."""
    owners = [(ids.new_id(), url) for url in urls]
    await _register(db, owners, environment)
    return [company_id for company_id, _ in owners]


async def _register(db: Database, owners: Sequence[tuple[str, str]], environment: dict[str, str]) -> None:
    settings = load({**os.environ, **environment})
    keyring = Keyring(settings.secret)
    async with db.begin() as tx:
        for company_id, url in owners:
            wanted = webhooks.NewEndpoint(url=url, events=["invoice.*"])
            await webhooks.register(
                tx, _ACTOR, wanted, company_id=company_id, keyring=keyring, allow=settings.outbound_allow
            )
        await tx.connection.execute("delete from mainstay.announcements")
