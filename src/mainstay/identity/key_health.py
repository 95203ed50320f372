"""How keys are used, for those who look after them: which nobody needs any more, and which somebody tries in vain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import orjson

from mainstay.identity.key_use import WINDOW
from mainstay.identity.queries import key_uses as use_rows
from mainstay.kernel.db import Connection, Record

IDLE_AFTER = timedelta(days=90)
Use = Literal["used", "never_used", "idle"]


@dataclass(frozen=True, slots=True)
class KeyHealth:
    """Use of one key. `addresses` are those of the last 30 days, 100 at most, an IPv6 /64 counted as one; `refusals`
    since the key was made; all of it a second old at most."""

    use: Use
    uses_5m: int
    last_used_at: datetime | None
    last_address: str | None
    addresses: int
    refusals: Mapping[str, int]
    refused_at: datetime | None
    refused_address: str | None


async def health_of(db: Connection, company_id: str, key_ids: Sequence[str]) -> dict[str, KeyHealth]:
    """How each of the company's keys is used, by its id."""
    rows = await use_rows.health_of(db, company_id, key_ids, window=WINDOW, idle_after=IDLE_AFTER)
    return {str(row["key_id"]): _of(row) for row in rows}


def _of(row: Record) -> KeyHealth:
    return KeyHealth(
        use="never_used" if row["last_used_at"] is None else "idle" if row["is_idle"] else "used",
        uses_5m=row["uses_5m"],
        last_used_at=row["last_used_at"],
        last_address=row["last_address"] or None,
        addresses=row["addresses"],
        refusals=dict.fromkeys(("address", "read_only", "scope"), 0) | orjson.loads(row["refusals"]),
        refused_at=row["refused_at"],
        refused_address=row["refused_address"] or None,
    )
