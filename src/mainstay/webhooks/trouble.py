"""Endpoints that fail and their newest failures, as an overview tells them."""

from dataclasses import dataclass
from datetime import datetime

from mainstay.kernel.db import Connection, Record
from mainstay.webhooks.endpoints import SWITCHED_OFF
from mainstay.webhooks.queries import trouble as rows

ENDPOINTS_AT_MOST = 20
FAILURES_AT_MOST = 10


@dataclass(frozen=True, slots=True)
class TroubledEndpoint:
    """An endpoint that is disabled, or whose tries failed since its last success; `url` is None for a pull endpoint."""

    id: str
    url: str | None
    description: str
    disabled_at: datetime | None
    disabled_reason: str | None
    failures: int
    failing_since: datetime | None
    open_until: datetime | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A delivery whose newest try failed; `type` is None once its message is gone."""

    delivery_id: str
    endpoint_id: str
    type: str | None
    status: str
    attempts: int
    status_code: int | None
    error: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Trouble:
    """The company's 20 latest endpoints in trouble and their 10 newest failures."""

    endpoints: list[TroubledEndpoint]
    failures: list[Failure]


async def read(connection: Connection, *, company_id: str) -> Trouble:
    """What fails now. An endpoint that was switched off by its owner is in no trouble."""
    found = await rows.troubled_endpoints(
        connection, company_id=company_id, forgiven_reason=SWITCHED_OFF, limit=ENDPOINTS_AT_MOST
    )
    endpoints = [TroubledEndpoint(**{**dict(row), "id": str(row["id"])}) for row in found]
    if not endpoints:
        return Trouble([], [])
    ids = [endpoint.id for endpoint in endpoints]
    failed = await rows.newest_failures(connection, company_id=company_id, endpoint_ids=ids, limit=FAILURES_AT_MOST)
    return Trouble(endpoints, [_failure(row) for row in failed])


def _failure(row: Record) -> Failure:
    return Failure(
        delivery_id=str(row["id"]),
        endpoint_id=str(row["endpoint_id"]),
        type=row["type"],
        status=row["status"],
        attempts=row["attempts"],
        status_code=row["last_status_code"],
        error=row["last_error"],
        at=row["updated_at"],
    )
