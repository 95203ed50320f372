"""The audit log's pages as plain requests meet them: one application in this process, a profile for each role."""

from dataclasses import dataclass
from typing import Any

import httpx

from mainstay.kernel.db import Database, Sql
from tests.tenancy import Tenancy


@dataclass(frozen=True)
class Console:
    """The application in this process, and a browser profile for each role of one company."""

    app: httpx.AsyncClient
    tenancy: Tenancy
    profiles: dict[str, httpx.AsyncClient]
    tokens: dict[str, str]

    async def send(self, **more: Any) -> None:
        """An event is stored."""
        event = {"action": "user.signed_in", "actor": {"id": "u-1"}, **more}
        answer = await self.app.post("/v1/key/workspace/events", json=event, headers=self.tenancy.auth)
        assert answer.status_code == 201

    async def get(self, path: str, role: str = "owner") -> httpx.Response:
        """The page."""
        return await self.profiles[role].get(path)

    async def post(self, path: str, role: str = "owner", **fields: str) -> httpx.Response:
        """The answer to a form of a page."""
        return await self.profiles[role].post(path, data={"csrf": self.tokens[role], **fields})


_TYPES = {
    "workspace_id": "uuid", "company_id": "uuid", "day": "date", "first_seq": "bigint", "last_seq": "bigint",
    "archived_seq": "bigint", "flagged_seq": "bigint", "bytes": "bigint", "archived_at": "timestamptz",
    "sha256": "bytea", "verified_at": "timestamptz", "finding": "jsonb", "cut_at": "timestamptz",
}  # fmt: skip


async def archived(db: Database, tenancy: Tenancy, day: str, **more: Any) -> None:
    """A day of ten events stands in the list, as the room keeps it."""
    values = {
        "workspace_id": tenancy.workspace_id, "company_id": tenancy.company_id, "day": day, "data_region": "US",
        "first_seq": 1, "last_seq": 10, "archived_seq": 10, "flagged_seq": 10, "bytes": 2_048,
        "archived_at": "2026-01-03T04:00:00Z", "sha256": "\\x00", "verified_at": "2026-01-04T04:00:00Z",
        "outcome": "sound", **more,
    }  # fmt: skip
    columns = ", ".join(values)
    marks = ", ".join(f"${n}::text::{_TYPES.get(name, 'text')}" for n, name in enumerate(values, 1))
    insert = Sql("test.archived", f"insert into mainstay.archive_days ({columns}) values ({marks})")
    await db.run(insert, *(None if value is None else str(value) for value in values.values()))
