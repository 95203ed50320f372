"""Endpoints: a customer's URL, what it subscribes to, and its secret."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from mainstay.kernel import ids, outbox
from mainstay.kernel.addresses import AllowList
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.errors import Invalid
from mainstay.kernel.outbox import Actor
from mainstay.webhooks import schemas, signing
from mainstay.webhooks.errors import EndpointNotFound, TooManyEndpoints
from mainstay.webhooks.queries import endpoints as rows
from mainstay.webhooks.schemas import EndpointChange, NewEndpoint

ENDPOINTS_AT_MOST: Final = 1_000
SWITCHED_OFF: Final = "switched off"

FindWorkspace = Callable[[Connection, str, str], Awaitable[object | None]]
"""The company's (first id) workspace (second id), or None: the identity room's answer, which `main` hands in."""

_ANNOUNCED = {
    "url": "url",
    "events": "events",
    "retries": "retries",
    "is_active": "isActive",
    "workspace_id": "workspaceId",
    "description": "description",
}


async def register(
    tx: Tx, actor: Actor, wanted: NewEndpoint, *, company_id: str, keyring: Keyring, allow: AllowList
) -> tuple[Record, str]:
    """The company has the endpoint; its row, and its secret for the only time."""
    values = {name: getattr(wanted, name) for name in _ANNOUNCED}
    schemas.check(values, allow)
    if await rows.count_endpoints(tx, company_id=company_id) >= ENDPOINTS_AT_MOST:
        raise TooManyEndpoints(f"A company may have {ENDPOINTS_AT_MOST:,} webhooks; delete one first.")
    endpoint_id, secret = ids.new_id(), signing.new_secret()
    values |= {
        "id": endpoint_id,
        "secret_sealed": keyring.seal(secret.encode(), endpoint_id.encode()),
        "created_by": msgspec.json.encode(actor).decode(),
        **_switched(on=wanted.is_active),
    }
    row = await rows.add_endpoint(tx, company_id=company_id, values=values)
    data = {public: values[name] for name, public in _ANNOUNCED.items()}
    await _announce(tx, actor, "endpoint.created", row, data)
    return row, secret


async def get(connection: Connection, *, company_id: str, endpoint_id: str, deleted_too: bool = False) -> Record:
    """The company's endpoint; EndpointNotFound where it has none of that id."""
    row = None
    if ids.is_uuid(endpoint_id):
        row = await rows.find_endpoint(
            connection, company_id=company_id, endpoint_id=endpoint_id, deleted_too=deleted_too
        )
    if row is None:
        raise EndpointNotFound
    return row


async def change(
    tx: Tx, actor: Actor, wanted: EndpointChange, *, company_id: str, endpoint_id: str, allow: AllowList
) -> Record:
    """The given fields have their new values; what changed is announced, with old and new."""
    values = wanted.given()
    schemas.check(values, allow)
    before = await get(tx, company_id=company_id, endpoint_id=endpoint_id)
    changes = [
        {"field": _ANNOUNCED[name], "old": _plain(before[name]), "new": value}
        for name, value in values.items()
        if _plain(before[name]) != value
    ]
    if not changes:
        return before
    if values.get("is_active") is not None and values["is_active"] != before["is_active"]:
        values |= _switched(on=values["is_active"])
    row = await rows.change_endpoint(tx, company_id=company_id, endpoint_id=endpoint_id, values=values)
    if row is None:
        raise EndpointNotFound
    await _announce(tx, actor, "endpoint.changed", row, {"url": row["url"], "changes": changes})
    return row


def _switched(*, on: bool) -> dict[str, Any]:
    if on:
        return {"disabled_at": None, "disabled_reason": None}
    return {"disabled_at": rows.now(), "disabled_reason": SWITCHED_OFF}


async def delete(tx: Tx, actor: Actor, *, company_id: str, endpoint_id: str) -> None:
    """The endpoint is in no list and gets nothing more; its log stays readable for as long as logs are kept."""
    before = await get(tx, company_id=company_id, endpoint_id=endpoint_id)
    if not await rows.delete_endpoint(tx, company_id=company_id, endpoint_id=endpoint_id):
        raise EndpointNotFound
    await _announce(tx, actor, "endpoint.deleted", before, {"url": before["url"]})


async def rotate_secret(
    tx: Tx, actor: Actor, *, company_id: str, endpoint_id: str, keyring: Keyring, overlap_seconds: int
) -> tuple[Record, str]:
    """A new secret signs, beside the old one for the overlap; the row, and the new secret for the only time."""
    endpoint_id = str((await get(tx, company_id=company_id, endpoint_id=endpoint_id))["id"])
    secret = signing.new_secret()
    row = await rows.rotate_secret(
        tx,
        company_id=company_id,
        endpoint_id=endpoint_id,
        sealed=keyring.seal(secret.encode(), endpoint_id.encode()),
        overlap_seconds=overlap_seconds,
    )
    if row is None:
        raise EndpointNotFound
    await _announce(tx, actor, "endpoint.secret_rotated", row, {"overlapSeconds": overlap_seconds})
    return row, secret


async def require_workspace(
    connection: Connection, find_workspace: FindWorkspace, *, company_id: str, workspace_id: object
) -> None:
    """Passes no workspace and the company's own ones; Invalid for any other."""
    if isinstance(workspace_id, str) and await find_workspace(connection, company_id, workspace_id) is None:
        raise Invalid(faults=[schemas.no_such_workspace()])


async def _announce(tx: Tx, actor: Actor, name: str, row: Record, data: dict[str, Any]) -> None:
    await outbox.announce(
        tx,
        name,
        company_id=str(row["company_id"]),
        actor=actor,
        data={"endpointId": str(row["id"]), **data},
    )


def _plain(value: Any) -> Any:
    """A column's value as a caller writes it."""
    return value if value is None or isinstance(value, str | int | list) else str(value)
